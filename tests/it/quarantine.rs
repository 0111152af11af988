//! What an attacker of the quarantine and of the guard for etcd's members has tried.

use pointsman_testbed::{
    disk::{Bits, Slot},
    etcd::{Cluster, unique_prefix},
    fakes::Status,
    node::{AutoReboot, Death, Node},
    proxy::{Mode, Proxy},
};
use semaphore::{etcd::Paused, records::Phase};

use crate::{
    agents::{Site, agent, machine},
    support::{eventually, found, holder, on},
    trials::{judge, node},
};

#[tokio::test]
async fn member_guard_reason_is_reported_again_when_etcd_is_back() {
    let cluster = Cluster::builder(3).fast_elections().start().await;
    let prefix = unique_prefix("quarantine-1");
    let proxy = Proxy::start(cluster.address(0)).await;
    let a = machine("node-a").await;
    let member = cluster.endpoint(0);
    agent(
        &a,
        &[proxy.url()],
        &prefix,
        &[("POINTSMAN_ETCD_MEMBER", member.as_str())],
    )
    .await;
    a.wait_ready().await;
    a.wait_status(|s| s == "idle").await;
    cluster.kill_member(2).await;
    a.update_engine().ready("2").await;
    a.wait_status(|s| s.starts_with("waiting: ") && s.contains("is not healthy"))
        .await;
    proxy.set(Mode::Refuse).await;
    a.wait_status(|s| s.contains("cannot be reached") || s.contains(&proxy.url()))
        .await;
    proxy.set(Mode::Pass).await;
    a.wait_status(|status| status.starts_with("waiting: ") && status.contains("is not healthy"))
        .await;
}

#[tokio::test]
async fn uncoordinated_trial_is_recorded_in_the_cluster() {
    let site = Site::new("quarantine-2");
    let (node, disk) = node(&site, "node-1", &[]).await;
    disk.post_install(Slot::B, "2");
    node.reboot(Death::Term).await;
    node.wait_status(|s| s == "idle").await;
    assert!(disk.bits(Slot::B).successful);
    let record = site
        .record(&node, |record| record.runs.version.as_deref() == Some("2"))
        .await;
    assert_eq!(record.slot.as_deref(), Some("USR-B"));
}

#[tokio::test]
async fn uncoordinated_trial_is_recorded_as_ended() {
    let site = Site::new("quarantine-3");
    let (node, disk) = node(&site, "node-1", &[]).await;
    judge(&node, "health-cluster.d", &["2"]);
    disk.post_install(Slot::B, "2");
    node.reboot(Death::Term).await;
    node.wait_status(|s| s.starts_with("unproven: ")).await;
    site.record(&node, |r| r.state == "unproven").await;
    // Once proven it is put first: a rollback would be undone.
    let back = site.command(&node, &["rollback"]).await;
    assert_eq!(back.code, Some(3), "{back:?}");
    assert!(
        back.stderr.contains("the running slot USR-B is on trial")
            && back
                .stderr
                .contains("A reboot now boots the other slot without this"),
        "{back:?}"
    );
    // With a further try, it would not.
    let b = disk.bits(Slot::B);
    disk.set(Slot::B, Bits { tries: 1, ..b });
    let back = site.command(&node, &["rollback"]).await;
    assert!(
        back.code == Some(3) && !back.stderr.contains("without this"),
        "{back:?}"
    );
    disk.set(Slot::B, b);
    judge(&node, "health-cluster.d", &[]);
    node.wait_status(|s| s == "idle").await;
    assert!(disk.bits(Slot::B).successful);
    site.record(&node, |record| record.state == "idle").await;
}

/// A node with two slots that reboots when it is asked to; its agent is not started.
async fn two_slots(config: &str) -> Node {
    let node = machine("node-1").await;
    node.add_disk("1");
    node.auto_reboot(AutoReboot::default());
    node.write("etc/pointsman/config.yaml", config);
    node
}

async fn told(site: &Site, node: &Node, args: &[&str]) {
    let said = site.command(node, args).await;
    assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
}

const BAD: [&str; 5] = ["quarantine", "add", "2", "--reason", "eats disks"];

#[tokio::test]
async fn reset_update_is_not_booted_without_pinning() {
    for config in ["strategy: reboot\n", "pin-booted-slot: false\n"] {
        let site = Site::new("quarantine-reset");
        let node = two_slots(config).await;
        site.start(&node, &[("POINTSMAN_QUARANTINE_RESET", "500ms")])
            .await;
        node.wait_status(|s| s == "idle").await;
        told(&site, &node, &BAD).await;
        node.stage("2").await;
        node.update_engine().wait_for_calls("ResetStatus", 1).await;
        node.wait_status(|s| s == "idle").await;
        told(&site, &node, &["reboot"]).await;
        // Into what it runs; nothing else is next.
        node.logind().wait_reboots(1).await;
        node.wait_status(|status| status == "idle").await;
        assert_eq!((node.booted(), node.reboots()), (Slot::A, 1), "{config}");
    }
}

#[tokio::test]
async fn image_quarantined_while_staged_is_not_next_on_any_node() {
    for config in ["strategy: reboot\n", "pin-booted-slot: false\n"] {
        let site = Site::new("quarantine-not-next");
        let node = two_slots(config).await;
        site.start(&node, &[("POINTSMAN_RETRY_MAX", "50ms")]).await;
        node.wait_status(|s| s == "idle").await;
        told(&site, &node, &BAD).await;
        node.stage("2").await;
        let next = async || site.command(&node, &["slots", "next"]).await.stdout;
        node.wait_status(|status| status.contains("is quarantined"))
            .await;
        // A power cut, or somebody else's reboot, moves the node nowhere.
        eventually("the booted slot", next, |next| next == "USR-A\n").await;
        told(&site, &node, &["quarantine", "clear", "2"]).await;
        node.logind().wait_reboots(1).await;
        node.wait_status(|status| status == "idle").await;
        assert_eq!(node.booted(), Slot::B, "{config}");
    }
}

#[tokio::test]
async fn a_version_that_was_staged_here_is_known_when_a_person_makes_it_next() {
    let site = Site::new("quarantine-version");
    let node = two_slots("").await;
    site.lock().await;
    site.start(&node, &[]).await;
    node.stage("2").await;
    node.wait_status(|status| status.contains("taken by operator"))
        .await;
    // It is not staged any more, and the slot tells only its content.
    node.update_engine().set(Status::idle()).await;
    node.wait_status(|status| status == "idle").await;
    told(&site, &node, &BAD).await;
    told(&site, &node, &["slots", "prioritize", "B"]).await;
    site.unlock("operator").await;
    told(&site, &node, &["reboot"]).await;
    node.wait_status(|status| status.contains("2 is quarantined: eats disks"))
        .await;
    assert_eq!((node.booted(), node.reboots()), (Slot::A, 0));
}

#[tokio::test]
async fn a_slot_whose_version_was_never_seen_is_not_booted_while_a_version_is_quarantined() {
    for config in ["", "strategy: reboot\n"] {
        let site = Site::new("quarantine-nameless");
        let node = two_slots(config).await;
        site.start(&node, &[("POINTSMAN_RETRY_MAX", "50ms")]).await;
        node.wait_status(|status| status == "idle").await;
        told(&site, &node, &BAD).await;
        // A person has written an image there and made it next; of it only the content is known.
        node.disk().unwrap().post_install(Slot::B, "2");
        told(&site, &node, &["reboot"]).await;
        node.wait_status(|status| {
            status.contains("2 is quarantined: eats disks") && status.contains("may be that one")
        })
        .await;
        assert_eq!((node.booted(), node.reboots()), (Slot::A, 0), "{config}");
        told(&site, &node, &["quarantine", "clear", "2"]).await;
        node.logind().wait_reboots(1).await;
    }
}

#[tokio::test]
async fn a_quarantine_by_hand_holds_when_the_node_begins_to_ask_etcd() {
    let site = Site::new("quarantine-7");
    let node = two_slots("strategy: reboot\n").await;
    site.start(&node, &[]).await;
    node.wait_status(|s| s == "idle").await;
    told(&site, &node, &BAD).await;
    node.write("etc/pointsman/config.yaml", "strategy: etcd-lock\n");
    node.kill().await;
    node.start_again();
    node.wait_status(|s| s == "idle").await;
    node.stage("2").await;
    node.wait_status(|status| status.contains("is quarantined"))
        .await;
    // And the others learn of it.
    site.until("it is told", |group| group.quarantine.len() == 1)
        .await;
    assert_eq!(node.booted(), Slot::A);
}

#[tokio::test]
async fn a_refused_pause_leaves_no_lease() {
    let cluster = Cluster::builder(1).start().await;
    let prefix = unique_prefix("quarantine-9");
    let semaphore = on(&cluster, &prefix);
    let pause =
        |by: &str| serde_json::from_value(serde_json::json!({"by": by, "reason": "r"})).unwrap();
    semaphore
        .pause(false, &pause("ann"), None, false)
        .await
        .unwrap();
    for _ in 0..5 {
        let done = semaphore
            .pause(false, &pause("bob"), Some(9_000_000_000), false)
            .await
            .unwrap();
        assert!(matches!(done, Paused::ByAnother(_)));
    }
    let leases = cluster
        .client()
        .await
        .leases()
        .await
        .unwrap()
        .leases()
        .len();
    assert_eq!(leases, 0);
}

#[tokio::test]
async fn member_with_a_localhost_url_is_not_taken_for_the_nodes_own() {
    let cluster = Cluster::builder(1).start().await;
    peer(&cluster, "http://localhost:2380").await;
    let prefix = unique_prefix("quarantine-11");
    let semaphore = on(&cluster, &prefix);
    found(&semaphore).await;
    let a = machine("localhost").await;
    agent(&a, &cluster.endpoints(), &prefix, &[]).await;
    a.wait_ready().await;
    a.update_engine().ready("2").await;
    a.logind().wait_asked(1).await;
    let out = semaphore.read().await.unwrap().member_out;
    assert!(out.is_none(), "{out:?}");
}

#[tokio::test]
async fn queued_node_that_becomes_a_member_is_guarded() {
    let cluster = Cluster::builder(1).start().await;
    let prefix = unique_prefix("quarantine-12");
    let semaphore = on(&cluster, &prefix);
    semaphore
        .lock(&holder("operator", Phase::Manual))
        .await
        .unwrap();
    let a = machine("node-a").await;
    agent(&a, &cluster.endpoints(), &prefix, &[]).await;
    a.wait_ready().await;
    a.update_engine().ready("2").await;
    a.wait_status(|s| s.contains("first in the queue")).await;
    peer(&cluster, "http://node-a:2380").await;
    semaphore.unlock("operator", false).await.unwrap();
    a.logind().wait_asked(1).await;
    let out = semaphore.read().await.unwrap().member_out;
    assert!(out.is_some(), "rebooted as if it hosted no member");
}

async fn peer(cluster: &Cluster, url: &str) {
    let mut client = cluster.client().await;
    let members = client.member_list().await.unwrap();
    let id = members.members()[0].id();
    client.member_update(id, [url.to_owned()]).await.unwrap();
}
