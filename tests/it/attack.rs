//! Attacks on what the agent promises: that it reboots only when it may, and gives back only what it may.

use std::{fs, os::unix::fs::symlink};

use pointsman::semaphore::records::Phase;
use pointsman_testbed::{
    disk::Slot,
    etcd::shared_cluster,
    fakes::{Job, Status, Systemd},
    node::{Death, Node},
    process::{Signal, Spec},
};

use crate::{
    agents::{Site, bin, drained, draining, entry, hook, machine, slow_drain, undrained},
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
async fn an_agent_ended_by_a_shutdown_only_systemd_knows_of_keeps_the_semaphore() {
    let site = Site::new("attack-term-job");
    let (node, systemd) = in_its_drain(&site, &[]).await;
    // `systemctl start reboot.target`, Ctrl-Alt-Del: logind is not asked, and says nothing.
    systemd.set_jobs([Job::reboot()]);
    assert_eq!(node.stop().await.code(), Some(0));
    let group = site.read().await;
    assert!(
        entry(&group, &node).is_some(),
        "given back while going down: {group:?}"
    );
    assert!(undrained(&node).is_empty());
    systemd.set_jobs([]);
    node.reboot(Death::Term).await;
    site.free().await;
    assert_eq!(undrained(&node), ["proving"]);
}

#[tokio::test]
async fn a_shutdown_that_begins_during_the_undrain_keeps_the_semaphore() {
    let site = Site::new("attack-undo-job");
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
        "given back while going down: {group:?}"
    );
    systemd.set_jobs([]);
    node.reboot(Death::Term).await;
    site.free().await;
}

#[tokio::test]
async fn a_called_off_shutdown_only_systemd_knew_of_is_noticed() {
    let site = Site::new("attack-called-off");
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
        let site = Site::new("attack-hooks");
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
async fn a_terminal_that_is_closed_takes_the_foreground_reboot_back() {
    let site = Site::new("attack-hup");
    let node = machine("node-1").await;
    slow_drain(&node);
    let endpoints = shared_cluster().endpoints().join(",");
    let root = node.root().display().to_string();
    let child = Spec::new(bin(), node.path("foreground.log"))
        .args([
            "reboot",
            "--root",
            &root,
            "--endpoint",
            &endpoints,
            "--key-prefix",
            &site.prefix,
        ])
        .env("DBUS_SYSTEM_BUS_ADDRESS", node.bus().address())
        .spawn();
    draining(&node).await;
    child.signal(Signal::SIGHUP);
    child.wait().await;
    site.free().await;
    assert_eq!(undrained(&node), ["stepping-back"]);
    assert!(node.logind().asked().is_empty());
}

#[tokio::test]
async fn an_image_that_cannot_be_read_is_not_booted() {
    let site = Site::new("attack-unread");
    let node = machine("node-1").await;
    let disk = node.add_disk("1");
    site.start(&node, &[]).await;
    node.wait_status(|status| status == "idle").await;
    disk.post_install(Slot::B, "2");
    let content = fs::read(disk.path()).unwrap();
    fs::write(disk.path(), b"").unwrap();
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("which image is staged cannot be told"))
        .await;
    let asked = site.command(&node, &["reboot"]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    node.wait_status(|status| status.contains("which image is staged cannot be told"))
        .await;
    assert!(node.logind().asked().is_empty());
    fs::write(disk.path(), content).unwrap();
    node.logind().rebooted().await;
}
