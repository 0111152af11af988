//! A copy of a node's disk is not the node.

use std::fs;

use pointsman::semaphore::records::Phase;
use pointsman_testbed::node::Node;

use crate::{
    agents::{Site, draining, machine, prepare, slow_drain},
    support::eventually,
};

/// Where firmware says which machine it is.
fn firmware(node: &Node, product: &str) {
    node.write("sys/class/dmi/id/product_uuid", &format!("{product}\n"));
}

const ONE: &str = "11111111-2222-3333-4444-555555555555";
const OTHER: &str = "66666666-7777-8888-9999-000000000000";

fn copy_journal(from: &Node, to: &Node) {
    let journal = "var/lib/pointsman/journal.json";
    fs::copy(from.path(journal), to.path(journal)).unwrap();
}

#[tokio::test]
async fn a_copied_disk_neither_releases_nor_takes_and_says_why() {
    let site = Site::new("clones");
    let node = machine("node-1").await;
    firmware(&node, ONE);
    slow_drain(&node);
    site.start(&node, &[]).await;
    node.update_engine().ready("2").await;
    draining(&node).await;

    // A machine with a copy of its disk comes up meanwhile.
    let copy = Node::with_machine_id("node-1", node.machine_id()).await;
    prepare(&copy);
    firmware(&copy, OTHER);
    copy_journal(&node, &copy);
    let before = fs::read(copy.path("var/lib/pointsman/journal.json")).unwrap();
    site.start(&copy, &[]).await;
    copy.update_engine().ready("2").await;
    let says = copy
        .wait_status(|status| status.contains("cannot be used"))
        .await;
    for words in [ONE, OTHER, "this disk is a copy", "machine id"] {
        assert!(says.contains(words), "{says}");
    }
    // What it holds is the other one's, and the journal stays as evidence.
    assert_eq!(site.phase(&node, Phase::Draining).await.hostname, "node-1");
    let after = fs::read(copy.path("var/lib/pointsman/journal.json")).unwrap();
    assert_eq!(before, after);
    copy.stop().await;
    assert_eq!(site.read().await.holders.len(), 1);
}

#[tokio::test]
async fn an_image_of_a_node_begins_with_a_journal_of_its_own() {
    let site = Site::new("clones-image");
    let node = machine("node-1").await;
    slow_drain(&node);
    site.start(&node, &[]).await;
    node.update_engine().ready("2").await;
    draining(&node).await;

    let made = machine("node-2").await;
    copy_journal(&node, &made);
    site.start(&made, &[]).await;
    made.wait_status(|status| status == "idle").await;
    assert_eq!(site.read().await.holders.len(), 1, "the other node's lock");
    // It takes part like any node; the other's journal is kept.
    made.update_engine().ready("2").await;
    eventually(
        "its ticket",
        async || site.read().await.queue,
        |queue| queue.iter().any(|ticket| ticket.id == made.machine_id()),
    )
    .await;
    let aside = format!("var/lib/pointsman/journal.of-{}.json", node.machine_id());
    assert!(made.path(&aside).exists(), "{}", made.log());
    assert!(made.log().contains("is that of the node"), "{}", made.log());
}
