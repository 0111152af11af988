//! People logged in, and programs that block shutdowns.

use pointsman_testbed::node::Node;
use semaphore::records::Phase;

use crate::{
    agents::{Site, drained, draining, entry, slow_drain, undrained},
    support::eventually,
};

/// What stands on a terminal of the node, once it contains this.
async fn terminal(node: &Node, tty: &str, text: &str) -> String {
    let path = node.path("dev").join(tty);
    let read = async || std::fs::read_to_string(&path).unwrap();
    eventually(text, read, |found| found.contains(text)).await
}

#[tokio::test]
async fn logged_in_users_are_warned_and_awaited_before_the_queue() {
    let site = Site::new("grace");
    let node = site
        .node("node-1", &[("POINTSMAN_LOGIN_GRACE", "3s")])
        .await;
    node.write("dev/tty1", "");
    node.logind().log_in("1", "core", "tty1").await;
    let asked = std::time::Instant::now();
    node.update_engine().ready("2").await;
    let text = terminal(&node, "tty1", "Reboot pending").await;
    assert!(text.contains("in 3s"), "{text}");
    assert!(!text.contains("reboots now"), "{text}");
    let status = node
        .wait_status(|status| status.contains("logged in"))
        .await;
    assert!(status.contains("core (tty1)"), "{status}");
    let group = site.read().await;
    assert!(group.queue.is_empty() && group.holders.is_empty());
    let reboot = node.logind().rebooted().await;
    assert!(reboot.at - asked >= std::time::Duration::from_secs(3));
    terminal(&node, "tty1", "The system reboots now: update to 2").await;
}

#[tokio::test]
async fn last_logout_ends_the_login_grace_at_once() {
    let site = Site::new("leaving");
    let node = site
        .node("node-1", &[("POINTSMAN_LOGIN_GRACE", "1h")])
        .await;
    node.write("dev/pts/0", "");
    node.logind().log_in("1", "core", "pts/0").await;
    node.logind().log_in("2", "anna", "pts/0").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("core (pts/0), anna (pts/0)"))
        .await;
    node.logind().log_out("1").await;
    node.wait_status(|status| status.contains(": anna (pts/0) logged in"))
        .await;
    assert!(node.logind().asked().is_empty());
    node.logind().log_out("2").await;
    node.logind().rebooted().await;
}

#[tokio::test]
async fn shutdown_inhibitor_keeps_the_node_out_of_the_queue() {
    let site = Site::new("block");
    let node = site.node("node-1", &[]).await;
    // Only a block on shutdowns counts.
    node.logind().inhibit("ups", "slow disks", "delay").await;
    let block = node.logind().inhibit("backup", "copies", "block").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status == "waiting: backup blocks shutdowns: copies")
        .await;
    let group = site.read().await;
    assert!(group.queue.is_empty() && group.holders.is_empty());
    assert!(node.logind().asked().is_empty());
    node.logind().uninhibit(block).await;
    node.logind().rebooted().await;
}

#[tokio::test]
async fn shutdown_inhibitor_while_queued_or_draining_ends_the_reboot() {
    let site = Site::new("late-block");
    let node = site.node("node-1", &[]).await;
    slow_drain(&node);
    site.lock().await;
    node.update_engine().ready("2").await;
    site.until("it waits in the queue", |group| group.queue.len() == 1)
        .await;
    let blocked = |status: &str| status.contains("backup blocks shutdowns");
    let block = node.logind().inhibit("backup", "copies", "block").await;
    node.wait_status(blocked).await;
    assert!(site.read().await.queue.is_empty());
    site.unlock("operator").await;
    node.logind().uninhibit(block).await;

    draining(&node).await;
    site.phase(&node, Phase::Draining).await;
    assert!(undrained(&node).is_empty());
    let block = node.logind().inhibit("backup", "copies", "block").await;
    site.until("it releases the lock", |group| {
        entry(group, &node).is_none()
    })
    .await;
    node.wait_status(|status| status.starts_with("waiting: backup blocks"))
        .await;
    assert_eq!(undrained(&node), ["stepping-back"]);
    site.free().await;
    assert!(node.logind().asked().is_empty());

    drained(&node);
    node.logind().uninhibit(block).await;
    node.logind().rebooted().await;
}
