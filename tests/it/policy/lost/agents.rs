//! Real agents that are lost, and come back.

use pointsman_testbed::node::Death;

use super::*;
use crate::{
    agents::{entry, undrained},
    trials::judge,
};

const QUICK: [(&str, &str); 3] = [
    ("POINTSMAN_REBOOT_DEADLINE", "2s"),
    ("POINTSMAN_PROVING", "600ms"),
    ("POINTSMAN_RETRY_MAX", "100ms"),
];

/// A group that passes over lost nodes, with a node that runs version 1 from a disk and goes down when it is asked to.
async fn site(name: &str) -> (Site, Node) {
    let site = Site::new(name);
    site.semaphore
        .set_policy(&lost(1), "ann@desk", false)
        .await
        .unwrap();
    let node = machine("node-1").await;
    node.add_disk("1");
    judge(&node, "health.d", &["3"]);
    site.start(&node, &QUICK).await;
    node.wait_status(|status| status == "idle").await;
    (site, node)
}

/// Another node takes the lock, and holds it, with its drain.
async fn other(site: &Site) -> Node {
    let node = machine("node-2").await;
    slow_drain(&node);
    site.start(&node, &QUICK).await;
    let asked = site.command(&node, &["reboot"]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    node
}

/// The node goes to this version, and its machine stays away until the other one has passed over it.
async fn gets_lost(site: &Site, node: &Node, version: &str) -> Node {
    node.stage(version).await;
    node.logind().wait_asked(1).await;
    node.go_down(Death::Kill).await;
    let other = other(site).await;
    site.until("node-1 is lost", |group| {
        group.lost.contains_key(node.machine_id())
    })
    .await;
    draining(&other).await;
    other
}

async fn record_is_gone(site: &Site, node: &Node) {
    site.until("node-1 is not lost any more", |group| {
        !group.lost.contains_key(node.machine_id())
    })
    .await;
}

async fn member(site: &Site, node: &Node) -> String {
    let key = site.semaphore.keys().member(node.machine_id());
    get(shared_cluster(), &key).await.unwrap()
}

async fn log_says(node: &Node, text: &str) {
    let log = async || node.log();
    eventually(text, log, |log| log.contains(text)).await;
}

#[tokio::test]
async fn lost_node_that_is_back_on_the_new_image_takes_no_place_and_is_a_member_with_it() {
    let (site, node) = site("lost-back").await;
    let other = gets_lost(&site, &node, "2").await;
    assert_eq!(member(&site, &node).await, "");
    let bad = site.read().await.quarantine;
    assert_eq!(bad[0].what.version.as_deref(), Some("2"), "{bad:?}");
    node.come_up().await;
    node.start_again();
    record_is_gone(&site, &node).await;
    node.wait_status(|status| status == "idle").await;
    log_says(&node, "this node was thought lost at 20").await;
    log_says(
        &node,
        "passed over by the group's policy: it releases nothing, and is not counted as lost any more",
    )
    .await;
    log_says(&node, "was quarantined when it was thought lost. That stands until a person clears it: pointsman quarantine clear 2").await;
    assert!(!node.log().contains("had been released already"));
    // It has proven the image, and was undrained.
    assert_eq!(node.version(), "2");
    assert_eq!(undrained(&node), ["proving"]);
    let digest = bad[0].what.digest.clone().unwrap();
    assert_eq!(member(&site, &node).await, digest);
    let group = site.read().await;
    assert!(entry(&group, &node).is_none() && entry(&group, &other).is_some());
    assert_eq!(group.quarantine.len(), 1, "it stands");
    drained(&other);
    other.logind().wait_asked(1).await;
    other.reboot(Death::Term).await;
    site.free().await;
}

#[tokio::test]
async fn lost_node_that_is_back_on_the_old_image_leaves_the_quarantine_and_takes_no_place() {
    let (site, node) = site("lost-fell-back").await;
    // Its own check fails on this version.
    let other = gets_lost(&site, &node, "3").await;
    node.come_up().await;
    node.start_again();
    node.logind().wait_asked(1).await;
    assert!(
        site.read().await.lost.contains_key(node.machine_id()),
        "it is out still"
    );
    node.go_down(Death::Term).await;
    node.come_up().await;
    node.start_again();
    record_is_gone(&site, &node).await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!(node.version(), "1");
    log_says(&node, "this node was thought lost at 20").await;
    let group = site.read().await;
    assert!(entry(&group, &node).is_none() && entry(&group, &other).is_some());
    assert_eq!(group.quarantine.len(), 1);
    // Who thought it lost found that first.
    assert!(
        group.quarantine[0].reason.contains("did not come back"),
        "{:?}",
        group.quarantine
    );
}

#[tokio::test]
async fn node_lost_in_its_drain_undoes_it_and_goes_when_its_turn_comes_again() {
    let (site, node) = site("lost-drain").await;
    slow_drain(&node);
    node.stage("2").await;
    draining(&node).await;
    let other = machine("node-2").await;
    site.start(&other, &QUICK).await;
    let asked = site.command(&other, &["reboot"]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    log_says(&node, "this node was thought lost at 20").await;
    record_is_gone(&site, &node).await;
    assert!(site.read().await.quarantine.is_empty());
    eventually(
        "it undrains",
        async || undrained(&node),
        |phases| *phases == ["stepping-back"],
    )
    .await;
    assert!(node.logind().asked().is_empty());
    other.logind().wait_asked(1).await;
    other.reboot(Death::Term).await;
    // Its turn again: what it went to was never in question.
    drained(&node);
    node.logind().wait_asked(1).await;
    node.reboot(Death::Term).await;
    site.free().await;
    assert_eq!(node.version(), "2");
}

#[tokio::test]
async fn node_whose_grace_has_passed_and_behind_which_nobody_waits_comes_back_as_ever() {
    let (site, node) = site("lost-nobody-waits").await;
    node.stage("2").await;
    node.logind().wait_asked(1).await;
    node.go_down(Death::Kill).await;
    expired(&site.semaphore, node.machine_id()).await;
    node.come_up().await;
    node.start_again();
    site.free().await;
    node.wait_status(|status| status == "idle").await;
    let log = node.log();
    assert!(
        log.contains("the reboot lock is released") && !log.contains("thought lost"),
        "{log}"
    );
    assert!(site.read().await.quarantine.is_empty());
    assert_eq!(node.version(), "2");
}
