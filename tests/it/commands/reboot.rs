//! `reboot` and `cancel`.

use super::*;
use crate::agents::{draining, slow_drain};

#[tokio::test]
async fn a_reboot_is_requested_followed_and_cancelled() {
    let site = Site::new("asked");
    let node = site.node("node-1", &[]).await;
    let nothing = site.command(&node, &["cancel"]).await;
    assert_eq!(
        (nothing.code, nothing.stdout.contains("Nothing to cancel")),
        (Some(0), true),
        "{nothing:?}"
    );
    site.lock().await;
    let asked = site
        .command(&node, &["reboot", "--reason", "new disk"])
        .await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    assert!(asked.stdout.starts_with("Reboot requested. "), "{asked:?}");
    let status = site.command(&node, &["status"]).await.stdout;
    assert!(status.contains("requested: new disk"), "{status}");
    site.until("its ticket", |group| group.queue.len() == 1)
        .await;
    let back = site.command(&node, &["cancel"]).await;
    assert_eq!(back.stdout, "Reboot request cancelled.\n", "{back:?}");
    site.until("no ticket", |group| group.queue.is_empty())
        .await;
    assert!(node.logind().asked().is_empty());
    // And one that is followed to its end.
    site.unlock("operator").await;
    node.auto_reboot(pointsman_testbed::node::AutoReboot::default());
    let followed = site
        .command(&node, &["reboot", "--wait", "--reason", "again"])
        .await;
    assert_eq!(followed.code, Some(0), "{followed:?}");
    assert!(followed.stdout.contains("rebooting"), "{}", followed.stdout);
    node.logind().wait_reboots(1).await;
    node.wait_status(|status| status == "idle").await;
    site.free().await;
}

#[tokio::test]
async fn without_an_agent_the_reboot_is_done_in_the_foreground() {
    let site = Site::new("foreground");
    let node = machine("node-1").await;
    let endpoints = shared_cluster().endpoints().join(",");
    // Ctrl-C cancels the request, and leaves nothing.
    site.lock().await;
    let root = node.root().display().to_string();
    let address = node.bus().address();
    let args = [
        "reboot",
        "--root",
        &root,
        "--endpoint",
        &endpoints,
        "--key-prefix",
        &site.prefix,
    ];
    let once = || {
        site.foreground(&node, &["reboot", "--without-agent"])
            .spawn()
    };
    let process = once();
    site.until("its ticket", |group| group.queue.len() == 1)
        .await;
    process.signal(Signal::SIGINT);
    let ended = process.wait_timeout(PATIENCE).await.unwrap();
    assert_eq!(ended.code(), Some(130), "{}", process.log());
    site.until("no ticket", |group| group.queue.is_empty())
        .await;
    let journal = std::fs::read_to_string(node.path("var/lib/pointsman/journal.json")).unwrap();
    assert!(!journal.contains("request"), "{journal}");
    // And with a turn of its own it reboots, holding.
    site.unlock("operator").await;
    let process = once();
    node.logind().rebooted().await;
    site.phase(&node, Phase::Rebooting).await;
    // That one is not cancelled any more.
    process.signal(Signal::SIGTERM);
    let ended = process.wait_timeout(PATIENCE).await.unwrap();
    assert_eq!(ended.code(), Some(0), "{}", process.log());
    // The next boot's agent releases the lock.
    node.come_up().await;
    site.start(&node, &[]).await;
    site.free().await;
    // Nobody else may.
    let mut nobody = vec![
        "--reuid=65534".to_owned(),
        "--clear-groups".to_owned(),
        bin().display().to_string(),
    ];
    nobody.extend(args.map(str::to_owned));
    node.stop().await;
    let env = [("DBUS_SYSTEM_BUS_ADDRESS", address.as_str())];
    let refused = run("setpriv", &nobody, &env, PATIENCE).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    // Where an agent runs, it refuses: by name, and with what to do, not in the bus's own words.
    node.start_again();
    node.wait_ready().await;
    let root = node.root().display().to_string();
    for (command, method) in [("reboot", "RequestReboot"), ("cancel", "Cancel")] {
        let bin = bin().display().to_string();
        let args = [
            "--reuid=65534",
            "--clear-groups",
            &bin,
            command,
            "--root",
            &root,
        ];
        let refused = run("setpriv", args, &env, PATIENCE).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        let says = format!(
            "pointsman: {method} of org.pointsman.Agent1: permission denied\nrun the command as root\n"
        );
        assert_eq!(refused.stderr, says);
    }
}

#[tokio::test]
async fn foreground_reboot_without_coordination_needs_no_etcd() {
    let node = machine("node-1").await;
    node.write("etc/pointsman/config.yaml", "strategy: reboot\n");
    let root = node.root().display().to_string();
    let log = node.path("foreground.log");
    let process = Spec::new(bin(), &log)
        .args(["reboot", "--reason", "new disk", "--root", &root])
        .args(["--endpoint", "http://127.0.0.1:1"])
        .env("DBUS_SYSTEM_BUS_ADDRESS", node.bus().address())
        .spawn();
    node.logind().rebooted().await;
    assert!(process.is_running(), "it stays until the machine goes down");
    process.signal(Signal::SIGTERM);
    process.wait_timeout(PATIENCE).await.unwrap();
    let said = process.log();
    assert!(!said.contains("etcd"), "{said}");
}

#[tokio::test]
async fn commands_report_a_running_foreground_reboot() {
    let site = Site::new("foreground-beside");
    let node = machine("node-1").await;
    slow_drain(&node);
    let process = site
        .foreground(&node, &["reboot", "--without-agent"])
        .spawn();
    draining(&node).await;
    site.phase(&node, Phase::Draining).await;
    let kill = format!("kill {}", process.pid());
    for (args, code, says) in [
        (
            &["cancel"][..],
            3,
            "`pointsman reboot` runs in the foreground",
        ),
        (&["reboot"], 1, "already coordinates this node's reboots"),
    ] {
        let refused = site.command(&node, args).await;
        assert_eq!(refused.code, Some(code), "{refused:?}");
        for part in [says, &kill] {
            assert!(refused.stderr.contains(part), "{refused:?}");
        }
    }
    let status = site.command(&node, &["status"]).await.stdout;
    let here = format!(", in the foreground, process {}", process.pid());
    assert!(status.contains(&here), "{status}");
    // It only drains: what it holds is released without force, and it steps back.
    let unlocked = site.command(&node, &["unlock"]).await;
    assert_eq!(unlocked.code, Some(0), "{unlocked:?}");
    assert!(
        unlocked.stdout.contains("now undoes the drain"),
        "{unlocked:?}"
    );
    process.signal(Signal::SIGTERM);
    let ended = process.wait_timeout(PATIENCE).await.unwrap();
    assert_eq!(ended.code(), Some(143), "{}", process.log());
    site.free().await;
    assert!(node.logind().asked().is_empty());
}
