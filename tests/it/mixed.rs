//! Agents of the release before beside those of this one: what a policy means in such a group. Built from history: see
//! `pointsman_testbed::release_before`.

use std::{path::Path, time::Duration};

use pointsman_testbed::{
    disk::Slot,
    etcd::shared_cluster,
    node::{AutoReboot, Death, Node},
    release_before,
};
use semaphore::{
    policy::{Field, PolicyChange},
    records::Phase,
};

use crate::{
    agents::{Site, bin, entry, machine},
    support::eventually,
    trials::{QUICK, runs_from},
};

async fn start(program: &Path, site: &Site, node: &Node) {
    let endpoints = shared_cluster().endpoints().join(",");
    let args = ["--endpoint", &endpoints, "--key-prefix", &site.prefix];
    let env = [
        &QUICK[..],
        &[
            ("POINTSMAN_RETRY_MIN", "20ms"),
            ("POINTSMAN_REBOOT_DEADLINE", "2s"),
        ],
    ];
    node.start(program, &args, &env.concat()).await;
    node.wait_ready().await;
    node.wait_status(|status| status == "idle").await;
}

/// A node that runs version 1, whose agent is this program.
async fn node(program: &Path, site: &Site, name: &str) -> Node {
    let node = machine(name).await;
    node.add_disk("1");
    node.auto_reboot(AutoReboot::default());
    start(program, site, &node).await;
    node
}

async fn set(site: &Site, change: PolicyChange) {
    let set = site.semaphore.set_policy(&change, "ann@desk", false).await;
    set.unwrap();
}

#[tokio::test]
async fn agent_of_the_release_before_waits_for_a_node_that_soaks_and_keeps_the_percentage() {
    let Some(before) = release_before::program() else {
        return;
    };
    let site = Site::new("mixed-soak");
    set(
        &site,
        PolicyChange {
            soak: Some(Duration::from_secs(3600)),
            max_percent: Some(20),
            ..PolicyChange::default()
        },
    )
    .await;
    let new = node(bin(), &site, "new-1").await;
    let old = node(before, &site, "old-1").await;
    new.stage("2").await;
    site.phase(&new, Phase::Soaking).await;
    old.stage("2").await;
    old.wait_status(|status| status.contains("the only place is taken by"))
        .await;
    let status = site.status(&new).await;
    let says = "The policy does not hold for nodes whose agents do not know policies: old-1";
    assert!(status.stdout.contains(says), "{status:?}");
    // It shows what it does not know.
    let endpoints = shared_cluster().endpoints().join(",");
    let args = [
        "status",
        "--endpoint",
        &endpoints,
        "--key-prefix",
        &site.prefix,
    ];
    let status = old.run(before, &args).await;
    assert!(status.stdout.contains("soaking"), "{status:?}");
    let ended = new.run(bin(), &["soak", "end"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    runs_from(&old, Slot::B, 1).await;
    site.free().await;
    let document = site.read().await.document.unwrap().unwrap();
    assert_eq!((document.max, document.percent_max), (1, Some(1)));
}

#[tokio::test]
async fn agent_of_the_release_before_waits_for_no_wave_and_policy_set_says_so() {
    let Some(before) = release_before::program() else {
        return;
    };
    let site = Site::new("mixed-wave");
    let canary =
        semaphore::keys::Keys::new(&site.prefix, host::node::Group::new("canary").unwrap());
    let mut client = shared_cluster().client().await;
    client.put(canary.member("c1"), "W", None).await.unwrap();
    let old = node(before, &site, "old-1").await;
    site.record(&old, |_| true).await;
    let after = PolicyChange {
        after: Some(vec![canary.group().clone()]),
        ..PolicyChange::default()
    };
    let refused = site.semaphore.set_policy(&after, "ann@desk", false).await;
    let error = refused.unwrap_err().to_string();
    assert!(
        error.contains("run on 1 node of these groups: old-1. Waves do not wait for these nodes"),
        "{error}"
    );
    set(
        &site,
        PolicyChange {
            force: true,
            ..after
        },
    )
    .await;
    old.stage("2").await;
    runs_from(&old, Slot::B, 1).await;
    site.free().await;
    let args = [
        "waves",
        "--endpoint",
        &shared_cluster().endpoints().join(","),
        "--key-prefix",
        &site.prefix,
    ];
    let shown = old.run(bin(), &args).await;
    assert!(shown.stdout.contains("Comes after: canary"), "{shown:?}");
}

#[tokio::test]
async fn holder_of_the_release_before_is_never_passed_over() {
    let Some(before) = release_before::program() else {
        return;
    };
    let site = Site::new("mixed-lost");
    set(
        &site,
        PolicyChange {
            lost_grace: Some(Duration::from_secs(1)),
            ..PolicyChange::default()
        },
    )
    .await;
    let old = node(before, &site, "old-1").await;
    let new = node(bin(), &site, "new-1").await;
    old.auto_reboot(AutoReboot {
        delay: Duration::from_secs(3600),
        ..AutoReboot::default()
    });
    old.stage("2").await;
    site.phase(&old, Phase::Rebooting).await;
    new.stage("2").await;
    new.wait_status(|status| status.contains("the only place is taken by"))
        .await;
    let overdue = |group: &semaphore::etcd::Group| group.holders.iter().any(|held| held.overdue);
    site.until("it is overdue", overdue).await;
    // Its deadline has passed, and the grace after it as well.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(entry(&site.read().await, &old).is_some());
    let status = site.status(&new).await;
    assert!(status.stdout.contains("OVERDUE"), "{status:?}");
}

#[tokio::test]
async fn agent_that_is_put_back_to_the_release_before_ends_its_soak_and_goes_on() {
    let Some(before) = release_before::program() else {
        return;
    };
    let site = Site::new("mixed-back");
    set(
        &site,
        PolicyChange {
            soak: Some(Duration::from_secs(3600)),
            ..PolicyChange::default()
        },
    )
    .await;
    let node = node(bin(), &site, "node-1").await;
    node.stage("2").await;
    site.phase(&node, Phase::Soaking).await;
    node.kill().await;
    start(before, &site, &node).await;
    site.free().await;
    // And forward again, in the middle of a reboot.
    set(
        &site,
        PolicyChange {
            unset: vec![Field::Soak],
            ..PolicyChange::default()
        },
    )
    .await;
    node.auto_reboot(AutoReboot {
        death: Death::Kill,
        delay: Duration::from_secs(3600),
        ..AutoReboot::default()
    });
    node.stage("3").await;
    let down = async || node.child().is_running();
    eventually("it is down", down, |running| !running).await;
    site.phase(&node, Phase::Rebooting).await;
    node.come_up().await;
    start(bin(), &site, &node).await;
    site.free().await;
    assert_eq!(node.booted(), Slot::A);
}
