//! A soak, or the way back from it, that is cut off by another boot.

use pointsman_testbed::{disk::Slot, node::Death};
use semaphore::etcd::{Accept, Unlocked};

use super::{
    soak::{LONG, breaks, go_back, policy, settled, soaking},
    *,
};
use crate::trials::runs_from;

#[tokio::test]
async fn node_goes_back_although_its_image_fails_its_checks_in_a_boot_after_the_failed_soak() {
    let site = Site::new("soak-cut-failed");
    policy(&site, Some(std::time::Duration::from_secs(4))).await;
    let (node, _) = soaking(&site, "node-1").await;
    breaks(&node);
    node.wait_status(|status| status.starts_with("soak-failed"))
        .await;
    node.reboot(Death::Kill).await;
    node.wait_status(|status| status.contains("no service"))
        .await;
    go_back(&site, &node).await;
    runs_from(&node, Slot::A, 3).await;
}

#[tokio::test]
async fn node_goes_back_although_its_image_fails_its_checks_in_a_boot_during_the_soak() {
    let site = Site::new("soak-cut-fails");
    policy(&site, Some(LONG)).await;
    let (node, _) = soaking(&site, "node-1").await;
    breaks(&node);
    node.reboot(Death::Kill).await;
    node.wait_status(|status| status.contains("so the image failed its soak"))
        .await;
    go_back(&site, &node).await;
    runs_from(&node, Slot::A, 3).await;
}

#[tokio::test]
async fn update_engine_waits_after_a_power_cut_in_the_way_back() {
    let site = Site::new("soak-cut-back");
    policy(&site, Some(LONG)).await;
    let (node, _) = soaking(&site, "node-1").await;
    slow_drain(&node);
    go_back(&site, &node).await;
    draining(&node).await;
    // The boot loader takes the slot that ran: the other one was not activated yet.
    node.kill().await;
    let undone = node
        .run(crate::agents::bin(), &["slots", "prioritize", "B"])
        .await;
    assert_eq!(undone.code, Some(0), "{undone:?}");
    drained(&node);
    node.go_down(Death::Kill).await;
    node.come_up().await;
    assert_eq!(node.booted(), Slot::B);
    // Before and after the agent has seen this boot.
    assert!(!settled(&node).await);
    node.start_again();
    node.wait_status(|status| status.starts_with("soaking"))
        .await;
    assert!(!settled(&node).await);
}

/// The node after a failed soak that a person ended, idle on version 2.
async fn failed(site: &Site, name: &str) -> Node {
    let (node, _) = soaking(site, name).await;
    breaks(&node);
    node.wait_status(|status| status.starts_with("soak-failed"))
        .await;
    crate::agents::hook(&node, "health.d/90-broken", "exit 0");
    site.until("the quarantine", |group| !group.quarantine.is_empty())
        .await;
    let ended = node.run(crate::agents::bin(), &["soak", "end"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    site.free().await;
    node
}

async fn clear(site: &Site, node: &Node) {
    let cleared = site.command(node, &["quarantine", "clear", "2"]).await;
    assert_eq!(cleared.code, Some(0), "{cleared:?}");
}

#[tokio::test]
async fn image_that_failed_its_soak_is_proven_when_a_person_clears_it_and_not_by_a_reboot() {
    let site = Site::new("soak-cleared");
    policy(&site, Some(std::time::Duration::from_secs(4))).await;
    let node = failed(&site, "node-1").await;
    let asked = site.command(&node, &["reboot"]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    runs_from(&node, Slot::B, 2).await;
    site.free().await;
    let new = super::members::runs(&site, &node, "2").await;
    let told = async || super::members::member(&site, &node).await;
    assert_eq!(told().await.as_deref(), Some(""));
    // Its agent hears of it, also where it was started since.
    node.kill().await;
    node.start_again();
    node.wait_status(|status| status == "idle").await;
    assert_eq!(told().await.as_deref(), Some(""));
    clear(&site, &node).await;
    super::members::member_is(&site, &node, Some(&new)).await;
    let asked = site.command(&node, &["reboot"]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    runs_from(&node, Slot::B, 3).await;
    site.free().await;
    assert_eq!(told().await, Some(new));
}

#[tokio::test]
async fn image_that_was_cleared_while_no_agent_ran_is_proven_at_the_next_start() {
    let site = Site::new("soak-cleared-later");
    policy(&site, Some(std::time::Duration::from_secs(4))).await;
    let node = failed(&site, "node-1").await;
    let new = super::members::runs(&site, &node, "2").await;
    node.kill().await;
    clear(&site, &node).await;
    assert_eq!(
        super::members::member(&site, &node).await.as_deref(),
        Some("")
    );
    node.start_again();
    super::members::member_is(&site, &node, Some(&new)).await;
}

#[tokio::test]
async fn soak_goes_on_after_etcd_was_restored_and_accepted() {
    let cluster = Cluster::builder(1).start().await;
    let prefix = unique_prefix("soak-restored");
    let looker = on(&cluster, &prefix);
    crate::support::found(&looker).await;
    let soak = PolicyChange {
        soak: Some(LONG),
        ..PolicyChange::default()
    };
    looker.set_policy(&soak, "ann@desk", false).await.unwrap();
    cluster.write_beyond(100).await;
    let node = machine("node-1").await;
    node.add_disk("1");
    node.auto_reboot(AutoReboot::default());
    crate::agents::agent(&node, &cluster.endpoints(), &prefix, &crate::trials::QUICK).await;
    node.wait_status(|status| status == "idle").await;
    node.stage("2").await;
    node.wait_status(|status| status.starts_with("soaking"))
        .await;
    let soaks = async || {
        let group = looker.read().await.unwrap();
        let entry = crate::agents::entry(&group, &node);
        entry.is_some_and(|entry| entry.phase == Phase::Soaking)
    };
    eventually("it soaks", soaks, |soaks| *soaks).await;
    let snapshot = cluster.dir().join("soaks");
    cluster.snapshot(&snapshot).await;
    cluster.restore_same(&snapshot).await;
    let stopped = async || {
        let group = looker.read().await.ok()?;
        Some(group.pause_all?.store?.id)
    };
    let id = eventually("the agent stops the cluster", stopped, Option::is_some).await;
    let done = looker.accept(id.as_deref(), "ann", "looked").await.unwrap();
    assert!(matches!(done, Accept::Done(_)), "{done:?}");
    let log = async || node.log();
    eventually("the agent has seen that", log, |log| {
        log.contains("a person has accepted this store")
    })
    .await;
    node.wait_status(|status| {
        status.starts_with("soaking: 2 is proven, and stays") && !status.contains("etcd")
    })
    .await;
    assert!(soaks().await && !settled(&node).await);
    assert_eq!(
        get(&cluster, &looker.keys().member(node.machine_id()))
            .await
            .as_deref(),
        Some("")
    );
    // It watches its hold again.
    let unlocked = looker.unlock(node.machine_id(), false).await.unwrap();
    assert!(
        matches!(unlocked, Unlocked::Unlocked(Some(_))),
        "{unlocked:?}"
    );
    node.wait_status(|status| status == "idle").await;
}

#[tokio::test]
async fn soak_only_lasts_longer_while_the_node_reaches_nobody() {
    let site = Site::new("soak-alone");
    policy(&site, Some(std::time::Duration::from_secs(3))).await;
    let proxy = Proxy::start(shared_cluster().address(0)).await;
    let node = machine("node-1").await;
    node.add_disk("1");
    node.auto_reboot(AutoReboot::default());
    let unreachable = node.path("unreachable");
    let asks_others = format!("! [ -e {} ]", unreachable.display());
    crate::agents::hook(&node, "health-cluster.d/10-others", &asks_others);
    let env = crate::trials::QUICK;
    crate::agents::agent(&node, &[proxy.url()], &site.prefix, &env).await;
    node.wait_status(|status| status == "idle").await;
    node.stage("2").await;
    let before = site.phase(&node, Phase::Soaking).await;
    node.wait_status(|status| status.starts_with("soaking"))
        .await;
    // The switch of its rack is away, for longer than all that is left and than a proof may take.
    proxy.set(Mode::Refuse).await;
    node.write("unreachable", "");
    node.wait_status(|status| status.contains("; its end waits: "))
        .await;
    let group = site.read().await;
    assert_eq!(crate::agents::entry(&group, &node), Some(&before));
    std::fs::remove_file(unreachable).unwrap();
    // The checks pass, and etcd cannot be told yet.
    node.wait_status(|status| status.starts_with("releasing"))
        .await;
    assert_eq!(site.read().await.holders.len(), 1);
    proxy.set(Mode::Pass).await;
    site.free().await;
    let new = super::members::runs(&site, &node, "2").await;
    super::members::member_is(&site, &node, Some(&new)).await;
    assert!(site.read().await.quarantine.is_empty());
    assert_eq!((node.booted(), node.reboots()), (Slot::B, 1));
}

#[tokio::test]
async fn quarantine_that_a_restored_store_has_forgotten_was_cleared_by_nobody() {
    let cluster = Cluster::builder(1).start().await;
    let prefix = unique_prefix("soak-forgotten");
    let looker = on(&cluster, &prefix);
    crate::support::found(&looker).await;
    let soak = PolicyChange {
        soak: Some(std::time::Duration::from_secs(3)),
        ..PolicyChange::default()
    };
    looker.set_policy(&soak, "ann@desk", false).await.unwrap();
    cluster.write_beyond(100).await;
    let node = machine("node-1").await;
    node.add_disk("1");
    node.auto_reboot(AutoReboot::default());
    crate::agents::agent(&node, &cluster.endpoints(), &prefix, &crate::trials::QUICK).await;
    node.wait_status(|status| status == "idle").await;
    let snapshot = cluster.dir().join("before");
    cluster.snapshot(&snapshot).await;
    node.stage("2").await;
    node.wait_status(|status| status.starts_with("soaking"))
        .await;
    breaks(&node);
    node.wait_status(|status| status.starts_with("soak-failed"))
        .await;
    crate::agents::hook(&node, "health.d/90-broken", "exit 0");
    let quarantined = async || {
        looker
            .read()
            .await
            .is_ok_and(|group| !group.quarantine.is_empty())
    };
    eventually("the quarantine", quarantined, |stands| *stands).await;
    let ended = node.run(crate::agents::bin(), &["soak", "end"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    node.wait_status(|status| status == "idle").await;
    let runs = node.run(crate::agents::bin(), &["slots", "--json"]).await;
    let runs: serde_json::Value = serde_json::from_str(&runs.stdout).unwrap();
    let new = runs["slots"][1]["image"].as_str().unwrap().to_owned();
    cluster.restore_same(&snapshot).await;
    // Who has seen the store before would see as well that it is another one.
    let looker = on(&cluster, &prefix);
    let quarantined = async || {
        looker
            .read()
            .await
            .is_ok_and(|group| !group.quarantine.is_empty())
    };
    let stopped = async || {
        let group = looker.read().await.ok()?;
        Some(group.pause_all?.store?.id)
    };
    let id = eventually("the agent stops the cluster", stopped, Option::is_some).await;
    let done = looker.accept(id.as_deref(), "ann", "looked").await.unwrap();
    assert!(matches!(done, Accept::Done(_)), "{done:?}");
    eventually("it is quarantined again", quarantined, |stands| *stands).await;
    node.kill().await;
    node.start_again();
    node.wait_status(|status| status == "idle").await;
    let key = looker.keys().member(node.machine_id());
    let told = async || get(&cluster, &key).await;
    eventually("it tells what is proven", told, |told| {
        assert_ne!(told.as_deref(), Some(&*new));
        told.as_deref() == Some("")
    })
    .await;
}
