//! Agents that do not start, end by themselves, or begin no reboot because of what they find on the machine.

use std::fs;

use pointsman_testbed::{etcd::shared_cluster, fakes::PATIENCE, node::Node};
use semaphore::{
    etcd::Locked,
    records::{Holder, Phase},
};

use crate::{
    agents::{Site, agent, entry, machine, undrained},
    support::holder,
};

const JOURNAL: &str = "var/lib/pointsman/journal.json";

async fn exit_code(node: &Node) -> Option<i32> {
    node.child().wait_timeout(PATIENCE).await.unwrap().code()
}

#[tokio::test]
async fn an_agent_ends_when_the_bus_is_lost() {
    let site = Site::new("bus");
    site.lock().await;
    let node = site.node("node-1", &[]).await;
    node.update_engine().ready("2").await;
    site.until("it waits in the queue", |group| group.queue.len() == 1)
        .await;
    node.bus().kill().await;
    assert_eq!(exit_code(&node).await, Some(4));
    assert!(node.log().contains("the system bus was lost"));
    // Nor does it start without one.
    node.start_again();
    assert_eq!(exit_code(&node).await, Some(4));
    assert!(!node.notified().ready);
    // With the bus, it goes on where it was.
    node.bus().restart().await;
    node.update_engine().restart().await;
    node.logind().restart().await;
    node.start_again();
    site.unlock("operator").await;
    node.logind().rebooted().await;
}

#[tokio::test]
async fn an_agent_does_not_start_beside_another_coordinator() {
    let site = Site::new("coordinator");
    let node = machine("node-1").await;
    let path = "run/update-engine/coordinator.conf";
    let text = "NAME=locksmithd\nSTRATEGY=reboot\nSTATE=running\n";
    node.write(path, text);
    let file = fs::File::open(node.path(path)).unwrap();
    file.lock().unwrap();
    agent(&node, &shared_cluster().endpoints(), &site.prefix, &[]).await;
    assert_eq!(exit_code(&node).await, Some(1));
    assert!(node.log().contains("locksmithd"), "{}", node.log());
    assert_eq!(fs::read_to_string(node.path(path)).unwrap(), text);
    drop(file);
    site.start(&node, &[]).await;
    node.wait_status(|status| status == "idle").await;
}

#[tokio::test]
async fn an_agent_feeds_its_watchdog() {
    let site = Site::new("watchdog");
    let node = site.node("node-1", &[("WATCHDOG_USEC", "200000")]).await;
    let fed = node.notified().watchdog;
    node.wait_notified("four times WATCHDOG=1", |n| n.watchdog >= fed + 4)
        .await;
    node.stop().await;
    let node = site.node("node-2", &[]).await;
    assert_eq!(node.notified().watchdog, 0, "nobody asked to be told");
}

#[tokio::test]
async fn an_agent_is_ready_without_etcd_and_reboots_nothing() {
    let node = machine("node-1").await;
    let nowhere = ["http://127.0.0.1:1".to_owned()];
    agent(&node, &nowhere, "nowhere", &[("WATCHDOG_USEC", "200000")]).await;
    node.wait_ready().await;
    node.wait_status(|status| status.starts_with("idle")).await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.starts_with("queued") && status.contains("127.0.0.1:1"))
        .await;
    // It lives on meanwhile.
    let fed = node.notified().watchdog;
    node.wait_notified("WATCHDOG=1", |n| n.watchdog >= fed + 4)
        .await;
    assert!(node.logind().asked().is_empty());
}

/// The node says why it reboots nothing, and refuses to be asked.
async fn stays_up(site: &Site, node: &Node, why: &str) {
    site.start(node, &[]).await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.starts_with("waiting") && status.contains(why))
        .await;
    let asked = site.command(node, &["reboot"]).await;
    assert_eq!(asked.code, Some(3), "{asked:?}");
    assert!(asked.stderr.contains(why), "{asked:?}");
    let group = site.read().await;
    assert!(group.holders.is_empty() && group.queue.is_empty());
    assert!(node.logind().asked().is_empty());
}

#[tokio::test]
async fn an_unreadable_journal_keeps_the_node_up() {
    let site = Site::new("garbage");
    let node = machine("node-1").await;
    node.write(JOURNAL, "{\"version\":1,\"ent");
    stays_up(&site, &node, "journal.json cannot be used").await;
    assert_eq!(
        fs::read_to_string(node.path(JOURNAL)).unwrap(),
        "{\"version\":1,\"ent",
        "it may be all that tells what this node holds"
    );
    // As the error says.
    fs::remove_file(node.path(JOURNAL)).unwrap();
    node.stop().await;
    node.start_again();
    node.logind().rebooted().await;
}

#[tokio::test]
async fn missing_state_folder_keeps_the_node_up() {
    let site = Site::new("no-folder");
    let node = machine("node-1").await;
    fs::remove_dir_all(node.path("var/lib/pointsman")).unwrap();
    node.write("var/lib/pointsman", "");
    stays_up(&site, &node, "journal.json cannot be used").await;
}

#[tokio::test]
async fn unwritable_journal_stops_every_step() {
    let site = Site::new("no-writes");
    let node = site.node("node-1", &[]).await;
    fs::remove_dir_all(node.path("var/lib/pointsman")).unwrap();
    node.write("var/lib/pointsman", "");
    node.update_engine().ready("2").await;
    node.wait_status(|status| {
        status.starts_with("waiting") && status.contains("journal.json cannot be used")
    })
    .await;
    let asked = site.command(&node, &["reboot"]).await;
    assert_eq!(asked.code, Some(3), "{asked:?}");
    let group = site.read().await;
    assert!(group.holders.is_empty() && group.queue.is_empty());
    assert!(node.logind().asked().is_empty());
    // Repaired, it goes on by itself.
    fs::remove_file(node.path("var/lib/pointsman")).unwrap();
    node.logind().rebooted().await;
}

#[tokio::test]
async fn newer_journal_makes_the_node_release_and_start_nothing() {
    let site = Site::new("newer");
    let node = machine("node-1").await;
    let held = Holder {
        boot_id: "an-earlier-boot".into(),
        ..holder(node.machine_id(), Phase::Rebooting)
    };
    assert_eq!(site.semaphore.lock(&held).await.unwrap(), Locked::Taken);
    let journal = serde_json::json!({
        "version": 2,
        "novelty": true,
        "entry": {
            "stage": "committing",
            "boot_id": held.boot_id,
            "claim": {
                "nonce": held.nonce,
                "id": held.id,
                "keys": { "prefix": site.prefix, "group": "" },
            },
            "intent": { "reason": "update to 2", "to": { "version": "2" } },
            "from": { "version": "1" },
        },
    });
    node.write(JOURNAL, &journal.to_string());
    assert!(entry(&site.read().await, &node).is_some());
    site.start(&node, &[]).await;
    site.free().await;
    assert_eq!(undrained(&node), ["proving"]);
    node.update_engine().ready("3").await;
    node.wait_status(|status| status.starts_with("waiting") && status.contains("newer pointsman"))
        .await;
    let group = site.read().await;
    assert!(group.holders.is_empty() && group.queue.is_empty());
    assert!(node.logind().asked().is_empty());
    // Also after the next start: the version stands in what was written since.
    node.stop().await;
    node.start_again();
    node.wait_status(|status| status.contains("newer pointsman"))
        .await;
    assert!(node.logind().asked().is_empty());
}
