//! Reboots that fail or hang, agents that are terminated, nodes with the same id, a journal of no use.

use std::time::Duration;

use pointsman_testbed::{
    fakes::{Job, OnReboot, Systemd},
    node::{Death, Node},
    process::Signal,
};
use semaphore::records::Phase;

use crate::agents::{Site, drained, draining, entry, machine, prepare, slow_drain, undrained};

#[tokio::test]
async fn a_reboot_call_that_fails_is_undone_and_tried_again() {
    let site = Site::new("fails");
    let node = site.node("node-1", &[("POINTSMAN_RETRY_MAX", "2s")]).await;
    node.logind().on_reboot(OnReboot::Fail("no power".into()));
    node.update_engine().ready("2").await;
    let first = node.logind().wait_asked(1).await;
    node.wait_status(|status| status.starts_with("waiting") && status.contains("no power"))
        .await;
    site.free().await;
    assert_eq!(undrained(&node), ["stepping-back"]);
    node.logind().on_reboot(OnReboot::Succeed);
    let second = node.logind().rebooted().await;
    assert!(second.at - first.at >= Duration::from_secs(2));
    assert_eq!(node.logind().asked().len(), 2);
}

#[tokio::test]
async fn a_reboot_call_that_nothing_follows_is_undone_and_not_repeated_at_once() {
    let site = Site::new("nothing");
    let env = [
        ("POINTSMAN_RETRY_MAX", "1h"),
        ("POINTSMAN_SHUTDOWN_TIMEOUT", "500ms"),
    ];
    let node = site.node("node-1", &env).await;
    node.logind().on_reboot(OnReboot::Nothing);
    node.update_engine().ready("2").await;
    node.logind().wait_asked(1).await;
    site.phase(&node, Phase::Rebooting).await;
    node.wait_status(|status| status.starts_with("waiting") && status.contains("no shutdown"))
        .await;
    site.free().await;
    assert_eq!(undrained(&node), ["stepping-back"]);
    assert_eq!(node.logind().asked().len(), 1);
    // A person who asks need not wait.
    node.logind().on_reboot(OnReboot::Succeed);
    let asked = site.command(&node, &["reboot"]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    node.logind().rebooted().await;
}

#[tokio::test]
async fn a_shutdown_that_hangs_keeps_the_semaphore() {
    let site = Site::new("hangs");
    let env = [
        ("POINTSMAN_RETRY_MAX", "1h"),
        ("POINTSMAN_SHUTDOWN_TIMEOUT", "50ms"),
    ];
    let node = site.node("node-1", &env).await;
    node.logind().on_reboot(OnReboot::Hang);
    node.update_engine().ready("2").await;
    node.logind().wait_asked(1).await;
    // Ten time-outs pass; after each it is looked whether the system still goes down.
    let looks = node.logind().calls("ListSessions");
    node.logind()
        .wait_for_calls("ListSessions", looks + 10)
        .await;
    let holder = site.phase(&node, Phase::Rebooting).await;
    assert_eq!(holder.boot_id, node.boot_id());
    assert!(undrained(&node).is_empty());
    assert_eq!(node.logind().asked().len(), 1);
    assert!(node.status().starts_with("rebooting"), "{}", node.status());

    node.logind().cancel_shutdown().await;
    site.free().await;
    node.wait_status(|status| status.starts_with("waiting"))
        .await;
    assert_eq!(undrained(&node), ["stepping-back"]);
    assert_eq!(node.logind().asked().len(), 1);
}

#[tokio::test]
async fn shutdown_known_only_to_systemd_keeps_the_lock() {
    let site = Site::new("job");
    let env = [
        ("POINTSMAN_RETRY_MAX", "1h"),
        ("POINTSMAN_SHUTDOWN_TIMEOUT", "1s"),
    ];
    let node = machine("node-1").await;
    let systemd = Systemd::start(node.bus()).await;
    site.start(&node, &env).await;
    node.logind().on_reboot(OnReboot::Nothing);
    node.update_engine().ready("2").await;
    node.logind().wait_asked(1).await;
    // Within the first time-out.
    systemd.set_jobs([Job::reboot()]);
    let looks = node.logind().calls("ListSessions");
    node.logind()
        .wait_for_calls("ListSessions", looks + 3)
        .await;
    site.phase(&node, Phase::Rebooting).await;
    assert!(undrained(&node).is_empty());
    systemd.set_jobs([]);
    site.free().await;
    assert_eq!(undrained(&node), ["stepping-back"]);
    assert_eq!(node.logind().asked().len(), 1);
}

#[tokio::test]
async fn terminated_agent_deletes_its_ticket() {
    let site = Site::new("term-queued");
    site.lock().await;
    let node = site.node("node-1", &[]).await;
    node.update_engine().ready("2").await;
    site.until("it waits in the queue", |group| group.queue.len() == 1)
        .await;
    assert_eq!(node.stop().await.code(), Some(0));
    assert!(site.read().await.queue.is_empty());
    assert!(node.notified().stopping);
    site.unlock("operator").await;
    node.start_again();
    node.logind().rebooted().await;
}

#[tokio::test]
async fn agent_terminated_while_draining_undoes_the_drain() {
    let site = Site::new("term-draining");
    let node = site.node("node-1", &[]).await;
    slow_drain(&node);
    node.update_engine().ready("2").await;
    draining(&node).await;
    site.phase(&node, Phase::Draining).await;
    assert_eq!(node.stop().await.code(), Some(0));
    let group = site.read().await;
    assert!(group.holders.is_empty() && group.queue.is_empty());
    assert_eq!(undrained(&node), ["stepping-back"]);
    assert!(node.logind().asked().is_empty());
    drained(&node);
    node.start_again();
    node.logind().rebooted().await;
}

#[tokio::test]
async fn agent_terminated_by_its_own_reboot_keeps_the_lock() {
    let site = Site::new("term-rebooting");
    let node = site.node("node-1", &[]).await;
    node.logind().on_reboot(OnReboot::Hang);
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.starts_with("rebooting"))
        .await;
    node.logind().wait_asked(1).await;
    let nonce = site.phase(&node, Phase::Rebooting).await.nonce;
    assert_eq!(node.stop().await.code(), Some(0));
    assert_eq!(site.phase(&node, Phase::Rebooting).await.nonce, nonce);
    // Started again while the system still goes down: it neither releases nor calls again.
    let looks = node.logind().calls("ListSessions");
    node.start_again();
    node.wait_status(|status| status.starts_with("rebooting"))
        .await;
    node.logind()
        .wait_for_calls("ListSessions", looks + 2)
        .await;
    assert_eq!(site.phase(&node, Phase::Rebooting).await.nonce, nonce);
    assert!(undrained(&node).is_empty());
    assert_eq!(node.logind().asked().len(), 1);
    node.logind().on_reboot(OnReboot::Succeed);
    node.reboot(Death::Term).await;
    node.wait_status(|status| status == "idle").await;
    site.free().await;
    assert_eq!(undrained(&node), ["proving"]);
}

#[tokio::test]
async fn agent_terminated_while_draining_by_another_reboot_keeps_the_lock() {
    let site = Site::new("term-other");
    let node = site.node("node-1", &[]).await;
    slow_drain(&node);
    node.update_engine().ready("2").await;
    draining(&node).await;
    node.logind().on_reboot(OnReboot::Hang);
    let address = format!("--address={}", node.bus().address());
    let (name, path) = ("org.freedesktop.login1", "/org/freedesktop/login1");
    let manager = "org.freedesktop.login1.Manager";
    let call = [
        &address, "call", name, path, manager, "Reboot", "b", "false",
    ];
    let called = node
        .run_plain(std::path::Path::new("busctl"), &call, &[])
        .await;
    assert_eq!(called.code, Some(0), "{called:?}");
    node.wait_status(|status| status == "rebooting: the system is going down")
        .await;
    assert_eq!(node.stop().await.code(), Some(0));
    let group = site.read().await;
    assert!(entry(&group, &node).is_some(), "{group:?}");
    node.reboot(Death::Term).await;
    node.wait_status(|status| status == "idle").await;
    site.free().await;
    assert_eq!(undrained(&node), ["proving"]);
}

#[tokio::test]
async fn second_node_with_the_same_id_waits_and_says_why() {
    let site = Site::new("clones");
    // Room enough for both, if they were two.
    site.semaphore.set_max(2, false).await.unwrap();
    let first = site.node("node-1", &[]).await;
    let second = Node::with_machine_id("node-2", first.machine_id()).await;
    prepare(&second);
    site.start(&second, &[]).await;
    first.update_engine().ready("2").await;
    first.logind().rebooted().await;
    let holder = site.phase(&first, Phase::Rebooting).await;
    assert_eq!(holder.hostname, "node-1");
    second.update_engine().ready("2").await;
    let status = second
        .wait_status(|status| status.contains("not by this node: by node-1, phase"))
        .await;
    assert!(status.starts_with("waiting"), "{status}");
    let group = site.read().await;
    assert_eq!(entry(&group, &first).unwrap().nonce, holder.nonce);
    assert!(second.logind().asked().is_empty());
    first.reboot(Death::Term).await;
    second.logind().rebooted().await;
    let holder = site.phase(&second, Phase::Rebooting).await;
    assert_eq!(holder.hostname, "node-2");
}

#[tokio::test]
async fn queue_moves_on_when_its_first_node_hangs() {
    let site = Site::new("hung");
    site.lock().await;
    let lease = [("POINTSMAN_TICKET_LEASE", "2s")];
    let first = site.node("node-1", &lease).await;
    let second = site.node("node-2", &lease).await;
    for (place, node) in [&first, &second].into_iter().enumerate() {
        node.update_engine().ready("2").await;
        site.until("it waits in the queue", |group| {
            group.queue.len() == place + 1
        })
        .await;
    }
    first.child().signal(Signal::SIGSTOP);
    site.unlock("operator").await;
    second.logind().rebooted().await;
    assert!(first.logind().asked().is_empty());
    // Awake again, it takes its place at the end of the queue.
    first.child().signal(Signal::SIGCONT);
    site.until("it waits again", |group| group.queue.len() == 1)
        .await;
    assert!(first.logind().asked().is_empty());
    second.reboot(Death::Term).await;
    first.logind().rebooted().await;
}

#[tokio::test]
async fn an_update_staged_before_the_agent_starts_is_seen() {
    let site = Site::new("before");
    let node = machine("node-1").await;
    node.update_engine()
        .set_silently(pointsman_testbed::fakes::Status::ready("2"));
    site.start(&node, &[]).await;
    node.logind().rebooted().await;
}

#[tokio::test]
async fn a_journal_of_twenty_gigabytes_is_refused_at_once_and_sigterm_ends_the_agent() {
    let site = Site::new("large-journal");
    let node = machine("node-1").await;
    node.write("var/lib/pointsman/journal.json", "{}");
    let journal = std::fs::OpenOptions::new()
        .write(true)
        .open(node.path("var/lib/pointsman/journal.json"))
        .unwrap();
    journal.set_len(20 << 30).unwrap();
    site.start(&node, &[]).await;
    node.update_engine().ready("2").await;
    let said = node
        .wait_status(|status| status.contains("journal.json"))
        .await;
    assert!(said.contains("found more than 1048576 bytes"), "{said}");
    assert!(node.stop().await.success());
}
