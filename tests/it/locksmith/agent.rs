//! What asks the agent, and the daemon's own name.

use pointsman_testbed::{
    etcd::shared_cluster,
    fakes::PATIENCE,
    node::Node,
    process::{Output, Signal, Spec, run},
};
use semaphore::records::Phase;

use super::Old;
use crate::{
    agents::{Site, machine},
    support::eventually,
};

/// A command of locksmith's, on this node.
async fn ctl(node: &Node, env: &[(&str, &str)], args: &[&str]) -> Output {
    let old = Old::ours("locksmithctl");
    let root = node.root().display().to_string();
    let env = [&[("POINTSMAN_ROOT", root.as_str())], env].concat();
    node.run_plain(&old.program, args, &env).await
}

#[tokio::test]
async fn a_reboot_is_asked_of_the_agent_and_waits_for_its_turn() {
    for command in ["send-need-reboot", "reboot"] {
        let site = Site::new(command);
        let node = site.node("node-1", &[]).await;
        site.lock().await;
        let done = ctl(&node, &[], &[command]).await;
        assert_eq!(
            (done.code, done.stdout.as_str(), done.stderr.as_str()),
            (Some(0), "", "")
        );
        site.until("its ticket", |group| group.queue.len() == 1)
            .await;
        assert!(node.logind().asked().is_empty());
        // The daemon's group and etcd are the command's as well.
        site.unlock("operator").await;
        site.phase(&node, Phase::Rebooting).await;
        node.logind().rebooted().await;
    }
}

#[tokio::test]
async fn reboot_needs_root_and_a_missing_agent_is_reported() {
    let node = machine("node-1").await;
    let done = ctl(&node, &[], &["send-need-reboot"]).await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr.contains("no agent") || done.stderr.contains("not running"),
        "{done:?}"
    );
    let old = Old::ours("locksmithctl");
    let program = old.program.display().to_string();
    for command in ["reboot", "send-need-reboot"] {
        let args = ["--reuid=65534", "--clear-groups", &program, command];
        let done = run("setpriv", args, &[], PATIENCE).await;
        let said = (done.code, done.stdout.as_str(), done.stderr.as_str());
        assert_eq!(said, (Some(1), "", "Must be root to initiate reboot.\n"));
    }
    assert!(node.logind().asked().is_empty());
}

#[tokio::test]
async fn locksmithd_mode_reboots_without_etcd_by_default() {
    let node = machine("node-1").await;
    let old = Old::ours("locksmithd");
    let start = |env: &[(&str, &str)], args: &[&str]| {
        let mut spec = Spec::new(&old.program, node.path("locksmithd.log"))
            .args(args)
            .env("POINTSMAN_ROOT", node.root())
            .env("DBUS_SYSTEM_BUS_ADDRESS", node.bus().address());
        for (name, value) in env {
            spec = spec.env(name, value);
        }
        spec.spawn()
    };
    let strategy = async || {
        let done = ctl(&node, &[], &["status"]).await;
        drop(done);
        let path = node.path("run/update-engine/coordinator.conf");
        std::fs::read_to_string(path).unwrap_or_default()
    };
    // What is wrong ends it, and reboots nothing.
    for (env, words) in [
        (
            ("REBOOT_STRATEGY", "at-once"),
            "REBOOT_STRATEGY: found \"at-once\", expected etcd-lock",
        ),
        (
            ("REBOOT_WINDOW_START", "04:00"),
            "given without window.length",
        ),
    ] {
        let process = start(&[env], &[]);
        let ended = process.wait_timeout(PATIENCE).await.unwrap();
        assert_eq!(ended.code(), Some(2), "{}", process.log());
        assert!(process.log().contains(words), "{}", process.log());
    }
    let site = Site::new("locksmithd");
    let endpoints = shared_cluster().endpoints().join(",");
    let etcd = [
        ("REBOOT_STRATEGY", "etcd-lock"),
        ("LOCKSMITHD_ENDPOINT", endpoints.as_str()),
        ("POINTSMAN_KEY_PREFIX", site.prefix.as_str()),
    ];
    let process = start(&etcd, &["-group", "blue", "--debug"]);
    eventually("etcd-lock", strategy, |text| {
        text.contains("STRATEGY=etcd-lock")
    })
    .await;
    process.signal(Signal::SIGTERM);
    assert_eq!(
        process.wait_timeout(PATIENCE).await.unwrap().code(),
        Some(0)
    );
    let process = start(&[], &[]);
    eventually("its default", strategy, |text| {
        text.contains("STRATEGY=reboot")
    })
    .await;
    node.update_engine().ready("2").await;
    node.logind().rebooted().await;
    process.kill().await;
}

#[tokio::test]
async fn reboot_without_an_agent_runs_in_the_foreground_and_needs_no_etcd_without_coordination() {
    let node = machine("node-1").await;
    let conf = "REBOOT_STRATEGY=reboot\nLOCKSMITHD_ENDPOINT=http://127.0.0.1:1\n";
    node.write("etc/flatcar/update.conf", conf);
    let old = Old::ours("locksmithctl");
    let process = Spec::new(&old.program, node.path("reboot.log"))
        .arg("reboot")
        .env("POINTSMAN_ROOT", node.root())
        .env("DBUS_SYSTEM_BUS_ADDRESS", node.bus().address())
        .spawn();
    node.logind().rebooted().await;
    process.signal(Signal::SIGTERM);
    process.wait_timeout(PATIENCE).await.unwrap();
    let said = process.log();
    assert!(
        said.contains("No agent runs") && !said.contains("etcd"),
        "{said}"
    );
}

#[tokio::test]
async fn locksmithd_password_flag_overrides_the_file_and_is_hidden() {
    let node = machine("node-1").await;
    node.write(
        "etc/pointsman/config.yaml",
        "strategy: etcd-lock\netcd: {username: somebody, password-file: /nowhere}\n",
    );
    let old = Old::ours("locksmithd");
    let endpoints = shared_cluster().endpoints().join(",");
    let process = Spec::new(&old.program, node.path("locksmithd.log"))
        .args(["-etcd-password", "s3cret", "-etcd-username=root"])
        .args(["-endpoint", &endpoints])
        .env("POINTSMAN_ROOT", node.root())
        .env("DBUS_SYSTEM_BUS_ADDRESS", node.bus().address())
        .spawn();
    // The agent leaves for the commands what it was told.
    let left = async || {
        assert!(process.is_running(), "{}", process.log());
        std::fs::read_to_string(node.path("run/pointsman/agent-password")).unwrap_or_default()
    };
    eventually("its password", left, |text| text == "s3cret").await;
    let line = std::fs::read(format!("/proc/{}/cmdline", process.pid())).unwrap();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    assert!(
        line.contains("-etcd-username=root") && !line.contains("s3cret"),
        "{line}"
    );
    process.kill().await;
    assert!(!process.log().contains("s3cret"), "{}", process.log());
}
