//! What counts against a new image: only what is new on it; and systemd's own gate, `boot-complete.target`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use pointsman_testbed::{
    disk::Slot,
    fakes::{Job, Systemd},
    node::{AutoReboot, Death, Node},
};
use serde_json::Value;

use crate::{
    agents::{Site, hook, machine},
    support::eventually,
    trials::{node, runs_from},
};

/// From now on these units fail on these versions, besides those that always do.
fn fail_on(systemd: &Systemd, node: &Node, versions: &'static [&'static str], unit: &'static str) {
    let seen = node.clone();
    systemd.fail(move || {
        let bad = versions.contains(&seen.version().as_str());
        let always = ["old.service"];
        always.into_iter().chain(bad.then_some(unit)).collect()
    });
}

#[tokio::test]
async fn a_unit_that_had_failed_before_is_named_and_fails_no_trial() {
    let site = Site::new("health-before");
    let (node, disk) = node(&site, "node-1", &[]).await;
    let systemd = Systemd::start(node.bus()).await;
    // One that the package brings as well, on the new image only.
    fail_on(&systemd, &node, &["2"], "pointsman-cloud-config.service");
    node.stage("2").await;
    runs_from(&node, Slot::B, 1).await;
    site.free().await;
    assert!(disk.bits(Slot::B).successful);
    assert!(site.read().await.quarantine.is_empty());
    let says = "old.service has failed";
    let shown = site.command(&node, &["status"]).await;
    let line = format!("failed before: {says}\n");
    assert!(shown.stdout.contains(&line), "{shown:?}");
    let json = site.command(&node, &["status", "--json"]).await.stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["node"]["failed_before"], serde_json::json!([says]));
    assert!(
        node.log()
            .contains(&format!("{says}, as before the reboot")),
        "{}",
        node.log()
    );
    // Also for an agent that is started again.
    node.stop().await;
    node.start_again();
    node.wait_status(|status| status == "idle").await;
    let shown = site.command(&node, &["status"]).await;
    assert!(shown.stdout.contains(&line), "{shown:?}");
}

#[tokio::test]
async fn a_unit_that_fails_on_the_new_image_alone_rolls_it_back() {
    let site = Site::new("health-new");
    let (node, _) = node(&site, "node-1", &[]).await;
    let systemd = Systemd::start(node.bus()).await;
    fail_on(&systemd, &node, &["2"], "new.service");
    node.stage("2").await;
    runs_from(&node, Slot::A, 2).await;
    // Back on the image before, what always fails holds nothing up.
    site.free().await;
    let bad = site.read().await.quarantine;
    assert_eq!(bad[0].reason, "new.service has failed", "{bad:?}");
}

#[tokio::test]
async fn failed_unit_without_a_baseline_neither_proves_nor_rolls_back() {
    let site = Site::new("health-unknown");
    let (node, disk) = node(&site, "node-1", &[]).await;
    let systemd = Systemd::start(node.bus()).await;
    systemd.set_failed(["old.service"]);
    // Somebody boots the other slot, past the agent.
    disk.post_install(Slot::B, "2");
    node.reboot(Death::Kill).await;
    node.wait_status(|status| {
        status.starts_with("unproven: old.service has failed (whether that was so before")
    })
    .await;
    assert_eq!((node.booted(), node.reboots()), (Slot::B, 1));
    assert!(!disk.bits(Slot::B).successful);
    systemd.set_failed([]);
    node.wait_status(|status| status == "idle").await;
    assert!(disk.bits(Slot::B).successful);
}

#[tokio::test]
async fn boot_complete_is_reached_once_the_agents_own_checks_have_passed() {
    let site = Site::new("health-complete");
    let (node, disk) = node(&site, "node-1", &["2"]).await;
    let systemd = Systemd::start(node.bus()).await;
    systemd.set_boot_complete(["check.service"]);
    let started = || {
        let asked = systemd.asked();
        let target = |(method, unit): &(String, String)| {
            method == "StartUnit" && unit == "boot-complete.target"
        };
        asked.iter().filter(|asked| target(asked)).count()
    };
    // The agent's own check fails on 2: the target is started on the way back only.
    node.stage("2").await;
    runs_from(&node, Slot::A, 2).await;
    site.free().await;
    assert_eq!(started(), 1);
    // 3 is good by the agent's checks, and not by the one that the target requires.
    fail_on(&systemd, &node, &["3"], "check.service");
    node.stage("3").await;
    runs_from(&node, Slot::A, 4).await;
    site.free().await;
    let bad = site.read().await.quarantine;
    let reason = |version: &str| {
        let mut all = bad.iter();
        let found = all.find(|bad| bad.what.version.as_deref() == Some(version));
        found.map(|bad| bad.reason.clone())
    };
    assert_eq!(reason("3").as_deref(), Some("check.service has failed"));
    // 4 fails it as well; but so did the image before it.
    fail_on(&systemd, &node, &["1", "4"], "check.service");
    node.stage("4").await;
    runs_from(&node, Slot::B, 5).await;
    site.free().await;
    assert!(disk.bits(Slot::B).successful);
}

#[tokio::test]
async fn failed_boot_complete_check_is_retried_until_the_time_limit() {
    let site = Site::new("health-gate");
    let node = machine("node-1").await;
    let disk = node.add_disk("1");
    node.auto_reboot(AutoReboot::default());
    let systemd = Systemd::start(node.bus()).await;
    systemd.set_boot_complete(["check.service"]);
    // So long that only the check's passing ends it.
    let env = [
        ("POINTSMAN_PROVING", "1h"),
        ("POINTSMAN_RETRY_MAX", "100ms"),
    ];
    site.start(&node, &env).await;
    node.wait_status(|status| status == "idle").await;
    let started = async || {
        let asked = systemd.asked();
        let target = |(_, unit): &&(String, String)| unit == "boot-complete.target";
        asked.iter().filter(target).count()
    };
    let bad = Arc::new(AtomicBool::new(true));
    let (fails, seen) = (bad.clone(), node.clone());
    systemd.fail(move || {
        // Not before the reboot: that would not count.
        let fails = seen.version() == "2" && fails.load(Ordering::SeqCst);
        fails.then_some("check.service").into_iter().collect()
    });
    node.stage("2").await;
    eventually("the target is started", started, |n| *n > 0).await;
    bad.store(false, Ordering::SeqCst);
    site.free().await;
    runs_from(&node, Slot::B, 1).await;
    assert!(disk.bits(Slot::B).successful);
    assert!(site.read().await.quarantine.is_empty());
}

#[tokio::test]
async fn health_reports_what_counts_now() {
    let site = Site::new("health-by-hand");
    let (node, disk) = node(&site, "node-1", &[]).await;
    let health = async |args: &[&str]| site.command(&node, &[&["health"], args].concat()).await;
    let json = async || -> Value {
        let shown = health(&["--json"]).await;
        serde_json::from_str(&shown.stdout).unwrap_or_else(|e| panic!("{e}: {shown:?}"))
    };
    let systemd = Systemd::start(node.bus()).await;
    let well = health(&[]).await;
    assert_eq!(well.code, Some(0), "{well:?}");
    assert_eq!(well.stdout, "This boot would pass its checks.\n");

    // Nobody looked before this boot.
    node.write(
        "etc/pointsman/config.yaml",
        "checks: {ignore-units: motd.service, cluster-units: kubelet.service}\n",
    );
    systemd.set_failed([
        "old.service",
        "motd.service",
        "pointsman-cloud-config.service",
    ]);
    let shown = health(&[]).await;
    assert_eq!(shown.code, Some(4), "{shown:?}");
    for words in [
        "old.service has failed                     unknown   it is not known whether it failed before",
        "motd.service has failed                    ignored   checks.ignore-units lists it",
        "pointsman-cloud-config.service has failed  exempt    it never counts",
    ] {
        assert!(shown.stdout.contains(words), "{}", shown.stdout);
    }

    // After a reboot by the agent it is known what had failed before; one that fails since counts.
    node.stage("2").await;
    runs_from(&node, Slot::B, 1).await;
    site.free().await;
    let now = json().await;
    assert_eq!(
        (&now["verdict"], &now["baseline"]),
        (&"pass".into(), &true.into()),
        "{now}"
    );
    assert_eq!(now["checks"][0]["standing"], "before", "{now}");
    // Of a boot before which nobody looked it says nothing.
    let boot_id = "proc/sys/kernel/random/boot_id";
    let this = node.boot_id();
    node.write(boot_id, "11111111-2222-3333-4444-555555555555\n");
    let other = json().await;
    node.write(boot_id, &format!("{this}\n"));
    assert_eq!(
        (&other["verdict"], &other["baseline"]),
        (&"unknown".into(), &false.into()),
        "{other}"
    );
    hook(&node, "health-wanted.d/10-tired", "echo tired; exit 1");
    systemd.set_failed(["old.service", "sshd.service"]);
    let failing = json().await;
    assert_eq!(failing["verdict"], "fail");
    assert_eq!(failing["reason"], "sshd.service has failed");
    assert!(
        failing["warnings"][0].as_str().unwrap().contains("tired"),
        "{failing}"
    );
    let page = include_str!("../../docs/reference/commands.md");
    let (_, page) = page.split_once("## `health --json`").unwrap();
    assert_eq!(
        crate::commands::paths(&failing),
        crate::commands::documented(page)
    );
    let shown = health(&[]).await;
    assert_eq!(shown.code, Some(1), "{shown:?}");

    // What is only starting may still come up; what needs others decides nothing alone; a failed hook does.
    let job = Job {
        unit: "slow.service".into(),
        ..Job::reboot()
    };
    systemd.set_failed(["kubelet.service"]);
    assert_eq!(json().await["verdict"], "unknown");
    systemd.set_failed([]);
    systemd.set_jobs([job]);
    assert_eq!(json().await["verdict"], "unknown");
    systemd.set_jobs([]);
    hook(&node, "health.d/20-no", "exit 1");
    assert_eq!(json().await["verdict"], "fail");
    // Nothing was done about it.
    assert!(disk.bits(Slot::B).successful);
    assert_eq!(node.reboots(), 1);
}

#[tokio::test]
async fn greenboots_checks_count_where_greenboot_does_not_run_them() {
    let site = Site::new("health-greenboot");
    let (node, disk) = node(&site, "node-1", &[]).await;
    let systemd = Systemd::start(node.bus()).await;
    let check = |path: &str, text: &str| node.write(&format!("{path}/50-check.sh"), text);
    // Neither executable nor with an interpreter line: greenboot gives them to bash.
    check(
        "etc/greenboot/check/required.d",
        &format!(
            "[[ $(<{}) != *VERSION_ID=2* ]]\n",
            node.path("etc/os-release").display()
        ),
    );
    check("usr/lib/greenboot/check/wanted.d", "echo tired; exit 1\n");
    node.write("etc/greenboot/check/required.d/README", "exit 1\n");
    node.stage("2").await;
    runs_from(&node, Slot::A, 2).await;
    site.free().await;
    let bad = site.read().await.quarantine;
    assert!(
        bad[0]
            .reason
            .contains("required.d/50-check.sh failed with exit code 1"),
        "{bad:?}"
    );
    let warned = "a check that is not required failed: the hook wanted.d/50-check.sh failed";
    assert!(node.log().contains(warned), "{}", node.log());
    // Greenboot runs them itself.
    systemd.set_enabled("greenboot-healthcheck.service", true);
    let cleared = site.command(&node, &["quarantine", "clear", "2"]).await;
    assert_eq!(cleared.code, Some(0), "{cleared:?}");
    node.wait_status(|status| status == "idle").await;
    node.stage("2").await;
    runs_from(&node, Slot::B, 3).await;
    site.free().await;
    assert!(disk.bits(Slot::B).successful);
}
