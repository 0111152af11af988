//! A copy of a node's disk is not the node.

use std::{fs, process::Command};

use nix::sys::signal::Signal;
use pointsman_testbed::node::{Death, Node};
use semaphore::records::Phase;

use crate::{
    agents::{Site, drained, draining, machine, prepare, remembers, slow_drain},
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
async fn copied_disk_blocks_release_and_take_with_a_reason() {
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
    let boot = copy.boot_id();
    site.record(&copy, |record| record.boot_id == boot).await;
    copy.stop().await;
    assert_eq!(site.read().await.holders.len(), 1);
    // The other one sees it with its next step.
    drained(&node);
    node.wait_status(|status| status.contains("another machine has this machine's id"))
        .await;
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
    assert!(made.log().contains("belongs to the node"), "{}", made.log());
}

#[tokio::test]
async fn copy_that_differs_only_in_its_host_name_releases_nothing() {
    let site = Site::new("clones-name");
    let node = machine("node-1").await;
    slow_drain(&node);
    site.start(&node, &[]).await;
    node.update_engine().ready("2").await;
    draining(&node).await;

    let copy = Node::with_machine_id("node-2", node.machine_id()).await;
    prepare(&copy);
    copy_journal(&node, &copy);
    site.start(&copy, &[]).await;
    let says = copy
        .wait_status(|status| status.contains("cannot be used"))
        .await;
    assert!(
        says.contains("the host name node-1, and this one has node-2"),
        "{says}"
    );
    copy.stop().await;
    assert_eq!(site.phase(&node, Phase::Draining).await.hostname, "node-1");
}

#[tokio::test]
async fn two_idle_nodes_with_one_machine_id_are_seen_by_both() {
    let site = Site::new("clones-idle");
    let node = site.node("node-1", &[]).await;
    let before = site.status(&node).await;
    assert!(!before.stdout.contains("warning"), "{before:?}");
    let twin = Node::with_machine_id("node-2", node.machine_id()).await;
    prepare(&twin);
    site.start(&twin, &[]).await;
    let twin_id = twin.boot_id();
    site.record(&node, |record| record.boot_id == twin_id).await;

    // The first one's agent has not written since; whoever asks is told all the same.
    let seen = site.status(&node).await;
    for words in [
        "warning: another machine has this machine's id",
        "node-2",
        &twin_id,
    ] {
        assert!(seen.stdout.contains(words), "{seen:?}");
    }
    let json = site.command(&node, &["status", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["node"]["warnings"].as_array().unwrap().len(), 1);

    // It writes again, and so does the other: both say it in their logs and unit status.
    node.child().signal(Signal::SIGHUP);
    node.wait_status(|status| status.contains("another machine has this machine's id"))
        .await;
    twin.child().signal(Signal::SIGHUP);
    twin.wait_status(|status| status.contains("node-1 wrote its record"))
        .await;
    assert!(twin.log().contains("another machine has"), "{}", twin.log());
}

#[tokio::test]
async fn a_node_alone_is_no_twin_over_reboots_restarts_and_reloads() {
    let site = Site::new("clones-alone");
    let node = site.node("node-1", &[]).await;
    for _ in 0..2 {
        node.update_engine().ready("2").await;
        node.logind().rebooted().await;
        node.reboot(Death::Kill).await;
        node.wait_status(|status| status == "idle").await;
        site.free().await;
    }
    node.kill().await;
    node.start_again();
    node.wait_status(|status| status == "idle").await;
    node.child().signal(Signal::SIGHUP);
    eventually(
        "the reload",
        async || node.log(),
        |log| log.contains("the configuration was read again"),
    )
    .await;
    let seen = site.status(&node).await;
    assert!(!seen.stdout.contains("warning"), "{seen:?}");
    assert!(!node.log().contains("another machine"), "{}", node.log());
}

#[tokio::test]
async fn node_without_its_journal_reports_its_lock_and_how_to_release_it() {
    let site = Site::new("clones-lost");
    let node = site.node("node-1", &[]).await;
    node.update_engine().ready("2").await;
    node.logind().rebooted().await;
    site.phase(&node, Phase::Rebooting).await;
    node.go_down(Death::Kill).await;
    fs::remove_dir_all(node.path("var/lib/pointsman")).unwrap();
    node.come_up().await;
    node.start_again();
    node.wait_status(|status| status == "idle").await;
    let unlock = format!("pointsman unlock {} --force", node.machine_id());
    eventually(
        "the warning",
        async || node.log(),
        |log| log.contains("its journal knows nothing of that") && log.contains(&unlock),
    )
    .await;
    let seen = site.status(&node).await;
    assert!(seen.stdout.contains(&unlock), "{seen:?}");
    // The command works as it is given, and the warning ends.
    let words: Vec<&str> = unlock.split(' ').skip(1).collect();
    let done = site.command(&node, &words).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let seen = site.status(&node).await;
    assert!(!seen.stdout.contains("warning"), "{seen:?}");
    node.update_engine().ready("3").await;
    node.logind().rebooted().await;
}

#[tokio::test]
async fn a_twin_that_wrote_meanwhile_is_seen_at_the_next_update() {
    let site = Site::new("clones-update");
    site.lock().await;
    let node = site.node("node-1", &[]).await;
    let twin = Node::with_machine_id("node-2", node.machine_id()).await;
    prepare(&twin);
    site.start(&twin, &[]).await;
    let twin_id = twin.boot_id();
    site.record(&node, |record| record.boot_id == twin_id).await;
    twin.stop().await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("another machine has this machine's id"))
        .await;
}

#[tokio::test]
async fn a_twin_that_wrote_while_no_agent_ran_is_seen_at_the_start() {
    for death in [None, Some(Death::Kill)] {
        let site = Site::new("clones-start");
        let node = site.node("node-1", &[]).await;
        let boot = node.boot_id();
        site.record(&node, |record| record.boot_id == boot).await;
        let quiet = |log: String| !log.contains("another machine");
        remembers(&node, "record").await;
        node.stop().await;
        let twin = Node::with_machine_id("node-2", node.machine_id()).await;
        prepare(&twin);
        site.start(&twin, &[]).await;
        let twin_id = twin.boot_id();
        site.record(&node, |record| record.boot_id == twin_id).await;
        assert!(quiet(node.log()), "{}", node.log());
        match death {
            Some(death) => node.reboot(death).await,
            None => node.start_again(),
        }
        node.wait_status(|status| status.contains("another machine has this machine's id"))
            .await;
    }
}

#[tokio::test]
async fn a_boot_that_the_journal_could_not_know_is_no_twins() {
    let site = Site::new("clones-read-only");
    let node = site.node("node-1", &[]).await;
    let state = node.path("var/lib/pointsman");
    let mount = |words: &[&str]| {
        let done = Command::new(words[0])
            .args(&words[1..])
            .arg(&state)
            .status();
        assert!(done.unwrap().success(), "{words:?}");
    };
    let before = site.record(&node, |_| true).await.since;
    node.go_down(Death::Kill).await;
    mount(&["mount", "--bind", &state.display().to_string()]);
    mount(&["mount", "-o", "remount,bind,ro"]);
    node.come_up().await;
    node.start_again();
    site.record(&node, |record| record.since != before).await;
    node.go_down(Death::Kill).await;
    mount(&["umount"]);
    node.come_up().await;
    node.start_again();
    let boot = node.boot_id();
    site.record(&node, |record| record.boot_id == boot).await;
    node.wait_status(|status| status == "idle").await;
    let seen = site.status(&node).await;
    assert!(!seen.stdout.contains("warning"), "{seen:?}");
    assert!(!node.log().contains("another machine"), "{}", node.log());
}
