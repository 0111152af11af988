//! An agent in unusual surroundings (odd journals, hooks, services, file systems): it reboots only when it may, and releases only
//! what it may.

mod random_reloads;

use std::{fs, os::unix::fs::symlink};

use pointsman_testbed::{
    disk::Slot,
    etcd::shared_cluster,
    fakes::{Job, OnReboot, Status, Systemd},
    node::{Death, Node},
    process::Signal,
};
use semaphore::records::Phase;

use crate::{
    agents::{Site, drained, draining, entry, hook, machine, slow_drain, undrained},
    support::eventually,
};

/// A node whose drain has begun and lasts, with a systemd on its bus.
async fn in_its_drain(site: &Site, env: &[(&str, &str)]) -> (Node, Systemd) {
    let node = machine("node-1").await;
    let systemd = Systemd::start(node.bus()).await;
    slow_drain(&node);
    site.start(&node, env).await;
    node.wait_status(|status| status == "idle").await;
    node.update_engine().ready("2").await;
    draining(&node).await;
    site.phase(&node, Phase::Draining).await;
    (node, systemd)
}

#[tokio::test]
async fn agent_terminated_by_a_shutdown_known_only_to_systemd_keeps_the_lock() {
    let site = Site::new("robust-term-job");
    let (node, systemd) = in_its_drain(&site, &[]).await;
    // `systemctl start reboot.target`, Ctrl-Alt-Del: logind is not asked, and says nothing.
    systemd.set_jobs([Job::reboot()]);
    assert_eq!(node.stop().await.code(), Some(0));
    let group = site.read().await;
    assert!(
        entry(&group, &node).is_some(),
        "released while going down: {group:?}"
    );
    assert!(undrained(&node).is_empty());
    systemd.set_jobs([]);
    node.reboot(Death::Term).await;
    site.free().await;
    assert_eq!(undrained(&node), ["proving"]);
}

#[tokio::test]
async fn a_shutdown_that_begins_during_the_undrain_keeps_the_semaphore() {
    let site = Site::new("robust-undo-job");
    let (node, systemd) = in_its_drain(&site, &[]).await;
    let (begun, go) = (node.path("undraining"), node.path("undrained-now"));
    let wait = format!(
        "touch {}; while [ ! -e {} ]; do sleep 0.02; done",
        begun.display(),
        go.display()
    );
    hook(&node, "post-boot.d/50-wait", &wait);
    node.child().signal(Signal::SIGTERM);
    eventually("the undrain", async || begun.exists(), |begun| *begun).await;
    systemd.set_jobs([Job::reboot()]);
    node.write("undrained-now", "");
    node.child().wait().await;
    let group = site.read().await;
    assert!(
        entry(&group, &node).is_some(),
        "released while going down: {group:?}"
    );
    systemd.set_jobs([]);
    node.reboot(Death::Term).await;
    site.free().await;
}

#[tokio::test]
async fn cancelled_shutdown_known_only_to_systemd_is_noticed() {
    let site = Site::new("robust-called-off");
    let (node, systemd) = in_its_drain(&site, &[("POINTSMAN_SHUTDOWN_TIMEOUT", "100ms")]).await;
    systemd.set_jobs([Job::reboot()]);
    drained(&node);
    node.wait_status(|status| status == "rebooting: the system is going down")
        .await;
    // `systemctl cancel`: nobody signals that either.
    node.update_engine().set_silently(Status::idle());
    systemd.set_jobs([]);
    site.free().await;
    assert!(node.logind().asked().is_empty());
}

#[tokio::test]
async fn hooks_that_cannot_be_looked_for_keep_the_node_up() {
    for moment in ["may-reboot.d", "pre-reboot.d"] {
        let site = Site::new("robust-hooks");
        let node = site.node("node-1", &[]).await;
        // Where the operator keeps them is not mounted.
        let folder = node.path("etc/pointsman/hooks");
        fs::create_dir_all(&folder).unwrap();
        symlink("/nowhere/at/all", folder.join(moment)).unwrap();
        node.update_engine().ready("2").await;
        let status = node
            .wait_status(|status| status.contains(moment) && status.starts_with("waiting"))
            .await;
        assert!(node.logind().asked().is_empty(), "{status}");
        fs::remove_file(folder.join(moment)).unwrap();
        node.logind().rebooted().await;
    }
}

#[tokio::test]
async fn a_closed_terminal_cancels_the_foreground_reboot() {
    let site = Site::new("robust-hup");
    let node = machine("node-1").await;
    slow_drain(&node);
    let child = site
        .foreground(&node, &["reboot", "--without-agent"])
        .spawn();
    draining(&node).await;
    child.signal(Signal::SIGHUP);
    child.wait().await;
    let said = fs::read_to_string(node.path("foreground.log")).unwrap();
    assert!(
        said.contains(
            "No agent will start after the reboot. Enable it now (systemctl enable pointsman), or release the reboot lock \
             yourself after the reboot: pointsman unlock"
        ),
        "{said}"
    );
    site.free().await;
    assert_eq!(undrained(&node), ["stepping-back"]);
    assert!(node.logind().asked().is_empty());
}

#[tokio::test]
async fn an_image_that_cannot_be_read_is_not_booted() {
    let site = Site::new("robust-unread");
    let node = machine("node-1").await;
    let disk = node.add_disk("1");
    site.start(&node, &[]).await;
    node.wait_status(|status| status == "idle").await;
    disk.post_install(Slot::B, "2");
    let content = fs::read(disk.path()).unwrap();
    fs::write(disk.path(), b"").unwrap();
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("it is not known which image is staged"))
        .await;
    let asked = site.command(&node, &["reboot"]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    node.wait_status(|status| status.contains("it is not known which image is staged"))
        .await;
    assert!(node.logind().asked().is_empty());
    fs::write(disk.path(), content).unwrap();
    node.logind().rebooted().await;
}

#[tokio::test]
async fn blocked_log_does_not_end_the_agent() {
    let site = Site::new("robust-log");
    let node = machine("node-1").await;
    let child = site
        .foreground(&node, &["agent"])
        .stderr("/dev/full")
        .spawn();
    node.update_engine().ready("2").await;
    tokio::select! {
        _ = node.logind().rebooted() => {}
        status = child.wait() => panic!("it ended: {status}"),
    }
}

#[tokio::test]
async fn lock_in_a_newer_programs_journal_is_released_from_any_stage() {
    let site = Site::new("robust-newer");
    let node = site.node("node-1", &[]).await;
    node.update_engine().ready("2").await;
    node.logind().rebooted().await;
    let nonce = site.phase(&node, Phase::Rebooting).await.nonce;
    node.kill().await;
    let path = "var/lib/pointsman/journal.json";
    let journal = fs::read_to_string(node.path(path)).unwrap();
    let newer = journal
        .replace(
            "\"version\": 1,",
            "\"version\": 2, \"colour\": {\"of\": \"it\"},",
        )
        .replace("\"committing\"", "\"levitating\"");
    assert!(newer.contains("levitating") && newer.contains("colour") && newer.contains(&nonce));
    node.write(path, &newer);
    node.reboot(Death::Kill).await;
    site.free().await;
    // And it begins nothing.
    node.update_engine().ready("3").await;
    node.wait_status(|status| status.contains("newer pointsman"))
        .await;
    assert!(site.read().await.queue.is_empty());
}

#[tokio::test]
async fn overlong_texts_from_etcd_are_cut() {
    let site = Site::new("robust-long");
    let node = site.node("node-1", &[]).await;
    let pause = serde_json::json!({"by": "ann\u{1b}[2J\nFORGED", "reason": "x".repeat(1_000_000)});
    let mut client = shared_cluster().client().await;
    client
        .put(site.semaphore.keys().pause(), pause.to_string(), None)
        .await
        .unwrap();
    node.update_engine().ready("2").await;
    let status = node
        .wait_status(|status| status.contains("is paused"))
        .await;
    assert!(status.len() < 5000, "{}", status.len());
    assert!(node.log().len() < 20_000, "{}", node.log().len());
    assert!(!node.log().contains("\nFORGED") && !status.contains('\u{1b}'));
    site.semaphore.resume(false).await.unwrap();
    node.logind().rebooted().await;
}

#[tokio::test]
async fn reboot_already_called_is_not_reported_as_cancelled() {
    let site = Site::new("robust-cancel");
    let node = site.node("node-1", &[]).await;
    node.logind().on_reboot(OnReboot::Hang);
    let asked = site.command(&node, &["reboot"]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    node.logind().wait_asked(1).await;
    let taken = site.command(&node, &["cancel"]).await;
    assert_eq!(taken.code, Some(3), "{taken:?}");
    assert!(
        taken.stderr.contains("the reboot has already been called"),
        "{taken:?}"
    );
}

#[tokio::test]
async fn a_large_cluster_can_be_shown() {
    let site = Site::new("robust-large");
    let node = site.node("node-1", &[]).await;
    let mut client = shared_cluster().client().await;
    let reason = "x".repeat(600);
    for chunk in 0..80 {
        let puts: Vec<_> = (0..100)
            .map(|i| {
                let id = format!("{:032x}", chunk * 100 + i + 1);
                let record = serde_json::json!({"id": id, "hostname": "h", "state": "waiting", "reason": reason});
                etcd_client::TxnOp::put(site.semaphore.keys().node(&id), record.to_string(), None)
            })
            .collect();
        client
            .txn(etcd_client::Txn::new().and_then(puts))
            .await
            .unwrap();
    }
    let status = site.command(&node, &["status"]).await;
    assert_eq!(
        status.code,
        Some(0),
        "{} {}",
        status.stdout.len(),
        status.stderr
    );
}

/// Answers nothing as it should.
struct Liar;

#[zbus::interface(name = "com.coreos.update1.Manager")]
impl Liar {
    fn get_status(&self) -> Vec<(String, u8)> {
        vec![("UPDATE_STATUS_UPDATED_NEED_REBOOT".into(), 1)]
    }
}

#[tokio::test]
async fn invalid_update_engine_status_is_named_and_causes_no_reboot() {
    let site = Site::new("robust-liar");
    let node = machine("node-1").await;
    node.update_engine().stop().await;
    let liar = node.bus().connection().await;
    liar.object_server()
        .at("/com/coreos/update1", Liar)
        .await
        .unwrap();
    liar.request_name("com.coreos.update1").await.unwrap();
    site.start(&node, &[]).await;
    node.wait_status(|status| status == "idle").await;
    let shown = site.command(&node, &["status"]).await;
    assert!(shown.stdout.contains("GetStatus"), "{shown:?}");
    assert!(node.logind().asked().is_empty());
}

#[tokio::test]
async fn agent_and_foreground_reboot_exclude_each_other() {
    let site = Site::new("robust-two");
    let node = machine("node-1").await;
    slow_drain(&node);
    let child = site
        .foreground(&node, &["reboot", "--without-agent"])
        .spawn();
    draining(&node).await;
    let nonce = site.phase(&node, Phase::Draining).await.nonce;
    let second = site.command(&node, &["reboot", "--without-agent"]).await;
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(
        second
            .stderr
            .contains("already coordinates this node's reboots"),
        "{second:?}"
    );
    let agent = site.command(&node, &["agent"]).await;
    assert_eq!(agent.code, Some(1), "{agent:?}");
    assert_eq!(site.phase(&node, Phase::Draining).await.nonce, nonce);
    // Killed, its work is undone by whoever comes next.
    child.kill().await;
    site.start(&node, &[]).await;
    drained(&node);
    node.logind().rebooted().await;
    site.phase(&node, Phase::Rebooting).await;
    assert_eq!(undrained(&node), ["stepping-back"]);
    assert_eq!(node.logind().asked().len(), 1);
}

#[tokio::test]
async fn a_trial_whose_slots_cannot_be_read_is_not_taken_for_proven() {
    let site = Site::new("robust-survey");
    let node = machine("node-1").await;
    let disk = node.add_disk("1");
    site.start(&node, &[]).await;
    node.wait_status(|status| status == "idle").await;
    node.stage("2").await;
    node.logind().rebooted().await;
    node.go_down(Death::Kill).await;
    node.come_up().await;
    assert_eq!(node.booted(), Slot::B);
    let content = fs::read(disk.path()).unwrap();
    fs::write(disk.path(), b"").unwrap();
    node.start_again();
    node.wait_status(|status| status.starts_with("unproven: which slot runs is not known"))
        .await;
    site.phase(&node, Phase::Proving).await;
    fs::write(disk.path(), content).unwrap();
    node.kill().await;
    node.start_again();
    site.free().await;
    assert!(disk.bits(Slot::B).successful);
}

#[tokio::test]
async fn a_state_folder_that_cannot_be_written_keeps_the_node_up_and_is_named() {
    let site = Site::new("robust-state");
    let node = site.node("node-1", &[]).await;
    slow_drain(&node);
    node.update_engine().ready("2").await;
    draining(&node).await;
    // Where the commit should be journalled there is no folder any more.
    let folder = node.path("var/lib/pointsman");
    let aside = node.path("var/lib/aside");
    fs::rename(&folder, &aside).unwrap();
    symlink("pointsman", &folder).unwrap();
    drained(&node);
    node.wait_status(|status| status.starts_with("waiting") && status.contains("journal"))
        .await;
    site.free().await;
    assert_eq!(undrained(&node), ["stepping-back"]);
    assert!(node.logind().asked().is_empty());
    fs::remove_file(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    node.logind().rebooted().await;
    site.phase(&node, Phase::Rebooting).await;
}

#[tokio::test]
async fn hook_ends_with_its_process_whatever_its_children_print() {
    let site = Site::new("robust-chatty");
    let node = site
        .node("node-1", &[("POINTSMAN_HOOK_TIMEOUT", "5s")])
        .await;
    hook(
        &node,
        "pre-reboot.d/10-chatty",
        "yes & yes & yes >&2 & exit 0",
    );
    node.update_engine().ready("2").await;
    node.logind().rebooted().await;
}
