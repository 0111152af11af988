//! A node that a person has locked by hand: what its agent does meanwhile.

use nix::sys::signal::Signal;
use pointsman_testbed::node::{Death, Node};
use semaphore::records::Phase;

use crate::{
    agents::{Site, bin, drained, draining, entry, hook, machine, slow_drain, undrained},
    support::eventually,
};

/// Locks the node on itself, by the command.
async fn lock(site: &Site, node: &Node, words: &[&str]) {
    let done = site
        .command(node, &[&["lock", "--reason", "disk"], words].concat())
        .await;
    assert_eq!(done.code, Some(0), "{done:?}");
}

async fn ask(node: &Node) {
    let done = node.run(bin(), &["reboot", "--reason", "firmware"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
}

#[tokio::test]
async fn reboot_under_a_lock_by_hand_keeps_the_lock() {
    let site = Site::new("by-hand");
    let node = site.node("node-1", &[]).await;
    lock(&site, &node, &[]).await;
    let locked = site.phase(&node, Phase::Manual).await;
    // Somebody waits for the place; the reboot does not wait behind it.
    let other = site.node("node-2", &[]).await;
    other.update_engine().ready("2").await;
    other
        .wait_status(|status| status.contains("first in the queue"))
        .await;

    // An update waits, and says for whom.
    node.update_engine().ready("2").await;
    let waits = node
        .wait_status(|status| status.contains("locked by hand since 20"))
        .await;
    let unlock = format!(
        ": disk (on node-1); to unlock it: pointsman unlock {}",
        node.machine_id()
    );
    assert!(waits.contains(&unlock), "{waits}");
    assert!(node.logind().asked().is_empty());

    ask(&node).await;
    node.logind().rebooted().await;
    let away = site.phase(&node, Phase::Rebooting).await;
    assert_eq!(away.reason.as_deref(), Some("firmware"));
    assert_eq!(away.by_hand.as_deref(), Some(&locked));
    assert_eq!(site.read().await.holders.len(), 1);
    let refused = site.command(&node, &["unlock"]).await;
    assert_eq!(refused.code, Some(3), "{refused:?}");

    node.reboot(Death::Kill).await;
    node.wait_status(|status| status == "idle").await;
    // As it was, to the last field; and the other still waits.
    assert_eq!(site.phase(&node, Phase::Manual).await, locked);
    assert_eq!(node.version(), "2");
    assert_eq!(undrained(&node), ["proving"]);
    assert!(other.logind().asked().is_empty());
    assert_eq!(site.read().await.holders.len(), 1);

    let done = site.command(&node, &["unlock"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    other.logind().rebooted().await;
}

#[tokio::test]
async fn a_pause_keeps_a_reboot_under_a_lock_by_hand_and_cancel_ends_it() {
    let site = Site::new("by-hand-paused");
    let node = site.node("node-1", &[]).await;
    lock(&site, &node, &[]).await;
    let pause = serde_json::from_str(r#"{"by":"ann","reason":"tea"}"#).unwrap();
    let paused = site.semaphore.pause(false, &pause, None, false).await;
    paused.unwrap();
    ask(&node).await;
    node.wait_status(|status| status.contains("paused by ann"))
        .await;
    let done = node.run(bin(), &["cancel"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    node.wait_status(|status| status == "idle").await;
    site.semaphore.resume(false).await.unwrap();
    let group = site
        .until("no ticket", |group| group.queue.is_empty())
        .await;
    assert_eq!(entry(&group, &node).unwrap().phase, Phase::Manual);
    assert!(node.logind().asked().is_empty());
}

#[tokio::test]
async fn a_lock_that_ends_during_the_drain_stops_the_reboot() {
    let site = Site::new("by-hand-ends");
    let node = machine("node-1").await;
    slow_drain(&node);
    site.start(&node, &[]).await;
    lock(&site, &node, &[]).await;
    ask(&node).await;
    draining(&node).await;
    let done = site.command(&node, &["unlock"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    node.wait_status(|status| status.contains("taken from this node"))
        .await;
    let first = |phases: &Vec<String>| phases.first().is_some_and(|phase| phase == "stepping-back");
    eventually("the undrain", async || undrained(&node), first).await;
}

#[tokio::test]
async fn a_node_drained_by_hand_is_drained_and_undrained_by_that_lock_alone() {
    let site = Site::new("by-hand-drained");
    let node = site.node("node-1", &[]).await;
    let ran = node.path("drains");
    hook(
        &node,
        "pre-reboot.d/20-note",
        &format!("echo $POINTSMAN_REASON >>{}", ran.display()),
    );
    lock(&site, &node, &["--drain"]).await;
    let locked = site.phase(&node, Phase::Manual).await;
    ask(&node).await;
    node.logind().rebooted().await;
    node.reboot(Death::Kill).await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!(site.phase(&node, Phase::Manual).await, locked);
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "disk\n");
    assert!(undrained(&node).is_empty());
    let done = site.command(&node, &["unlock"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(undrained(&node), ["proving"]);
}

#[tokio::test]
async fn agent_killed_under_a_lock_by_hand_restores_that_lock() {
    let site = Site::new("by-hand-killed");
    let node = machine("node-1").await;
    slow_drain(&node);
    site.start(&node, &[]).await;
    lock(&site, &node, &[]).await;
    let locked = site.phase(&node, Phase::Manual).await;
    ask(&node).await;
    draining(&node).await;
    node.kill().await;
    node.start_again();
    // What was asked for stands: it steps back, and goes once more.
    node.write("drained", "");
    node.logind().rebooted().await;
    node.reboot(Death::Kill).await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!(site.phase(&node, Phase::Manual).await, locked);
}

#[tokio::test]
async fn a_reboot_waits_until_the_drain_by_hand_has_ended() {
    let site = Site::new("by-hand-draining");
    let node = machine("node-1").await;
    slow_drain(&node);
    site.start(&node, &[]).await;
    let words = ["lock", "--drain", "--reason", "disk"];
    let lock = site.foreground(&node, &words).spawn();
    draining(&node).await;
    ask(&node).await;
    let waits = node
        .wait_status(|status| status.contains("locked by hand"))
        .await;
    assert!(waits.contains("the drain has not ended"), "{waits}");
    assert!(node.logind().asked().is_empty());
    drained(&node);
    assert!(lock.wait().await.success(), "{}", lock.log());
    node.logind().rebooted().await;
    node.reboot(Death::Kill).await;
    node.wait_status(|status| status == "idle").await;
    site.phase(&node, Phase::Manual).await;
    assert!(undrained(&node).is_empty());
}

#[tokio::test]
async fn a_drain_by_hand_that_was_killed_keeps_the_reboot_until_unlock_undoes_it() {
    let site = Site::new("by-hand-half");
    let node = machine("node-1").await;
    slow_drain(&node);
    site.start(&node, &[]).await;
    let lock = site.foreground(&node, &["lock", "--drain"]).spawn();
    draining(&node).await;
    lock.signal(Signal::SIGKILL);
    lock.wait().await;
    ask(&node).await;
    node.wait_status(|status| status.contains("the drain has not ended"))
        .await;
    assert!(node.logind().asked().is_empty());
    drained(&node);
    let done = site.command(&node, &["unlock"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(undrained(&node), ["proving"]);
    node.logind().rebooted().await;
}

#[tokio::test]
async fn unlock_undrains_no_node_that_it_refuses_to_unlock() {
    let site = Site::new("by-hand-refused");
    let node = site.node("node-1", &[]).await;
    lock(&site, &node, &["--drain"]).await;
    ask(&node).await;
    node.logind().rebooted().await;
    site.phase(&node, Phase::Rebooting).await;
    let refused = site.command(&node, &["unlock"]).await;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(undrained(&node).is_empty());
}

#[tokio::test]
async fn cancel_ends_a_reboot_under_a_lock_by_hand_also_where_an_update_is_staged() {
    let site = Site::new("by-hand-cancel");
    let node = machine("node-1").await;
    slow_drain(&node);
    site.start(&node, &[]).await;
    lock(&site, &node, &[]).await;
    let locked = site.phase(&node, Phase::Manual).await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("locked by hand"))
        .await;
    ask(&node).await;
    draining(&node).await;
    let done = node.run(bin(), &["cancel"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    drained(&node);
    // The update waits, as it did.
    node.wait_status(|status| status.contains("locked by hand since"))
        .await;
    assert_eq!(site.phase(&node, Phase::Manual).await, locked);
    assert!(node.logind().asked().is_empty());
}
