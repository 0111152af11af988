//! A new image is proven, or rolled back: on real disk images, with the boot loader's own rule.

use std::time::Duration;

use pointsman_testbed::{
    disk::{Bits, DiskImage, Slot},
    etcd::shared_cluster,
    fakes::{OnReboot, Systemd},
    node::{AutoReboot, Death, Node},
    process::Signal,
    proxy::{Mode, Proxy},
};

use crate::{
    agents::{Site, agent, hook, machine, undrained},
    support::eventually,
};

pub(crate) const QUICK: [(&str, &str); 2] = [
    ("POINTSMAN_PROVING", "600ms"),
    ("POINTSMAN_RETRY_MAX", "100ms"),
];

/// A node that runs version 1 from A, reboots when it is asked to, and finds these versions bad.
pub(crate) async fn node(site: &Site, name: &str, bad: &[&str]) -> (Node, DiskImage) {
    let node = machine(name).await;
    let disk = node.add_disk("1");
    judge(&node, "health.d", bad);
    node.auto_reboot(AutoReboot::default());
    site.start(&node, &QUICK).await;
    node.wait_status(|status| status == "idle").await;
    (node, disk)
}

/// A check that fails on these versions.
pub(crate) fn judge(node: &Node, folder: &str, bad: &[&str]) {
    let release = node.path("etc/os-release");
    let tests: Vec<String> = bad
        .iter()
        .map(|version| {
            format!("if grep -qx VERSION_ID={version} {}; then echo version {version} is bad; exit 1; fi", release.display())
        })
        .collect();
    hook(
        node,
        &format!("{folder}/10-judge"),
        &format!("{}\nexit 0", tests.join("\n")),
    );
}

pub(crate) async fn runs_from(node: &Node, slot: Slot, reboots: usize) {
    eventually(
        "the slot it runs from",
        async || (node.booted(), node.reboots()),
        |found| *found == (slot, reboots),
    )
    .await;
}

#[tokio::test]
async fn good_image_is_marked_before_the_lock_is_released() {
    let site = Site::new("trial-good");
    let (node, disk) = node(&site, "node-1", &[]).await;
    let systemd = Systemd::start(node.bus()).await;
    node.stage("2").await;
    runs_from(&node, Slot::B, 1).await;
    site.free().await;
    let good = Bits {
        priority: 2,
        tries: 0,
        successful: true,
    };
    assert_eq!(disk.bits(Slot::B), good);
    assert_eq!(undrained(&node), ["proving"]);
    // update_engine, which was held back, is let in.
    let started = ("StartUnit".to_owned(), "update-engine.service".to_owned());
    eventually(
        "update_engine is started",
        async || systemd.asked(),
        |asked| *asked == [started.clone()],
    )
    .await;
    assert!(site.read().await.quarantine.is_empty());
}

#[tokio::test]
async fn bad_image_is_rolled_back_and_no_other_node_boots_it() {
    let site = Site::new("trial-bad");
    let (first, disk) = node(&site, "node-1", &["2"]).await;
    let (second, _) = node(&site, "node-2", &["2"]).await;
    first.stage("2").await;
    runs_from(&first, Slot::A, 2).await;
    site.free().await;
    assert!(disk.bits(Slot::A).successful && !disk.bits(Slot::B).successful);
    let bad = site.read().await.quarantine;
    assert!(
        bad[0]
            .reason
            .contains("10-judge failed with exit code 1; its last output: version 2 is bad"),
        "{bad:?}"
    );
    assert_eq!(bad[0].hostname, "node-1");
    // The same image on the other node: known by its content, it stays where it is and says why.
    second.stage("2").await;
    second
        .wait_status(|status| {
            status.contains("is quarantined") && status.contains("version 2 is bad")
        })
        .await;
    // Staged on the first one again, as update_engine will: neither.
    first.stage("2").await;
    first
        .wait_status(|status| status.contains("is quarantined"))
        .await;
    assert_eq!((first.reboots(), second.reboots()), (2, 0));
    // A better one is taken.
    for (node, reboots) in [(&first, 3), (&second, 1)] {
        node.stage("3").await;
        runs_from(node, Slot::B, reboots).await;
    }
    site.free().await;
}

#[tokio::test]
async fn a_check_may_pass_at_its_third_try() {
    let site = Site::new("trial-third");
    let node = machine("node-1").await;
    let disk = node.add_disk("1");
    let count = node.path("tries");
    hook(
        &node,
        "health.d/10-third",
        &format!("echo x >>{0}; [ $(wc -l <{0}) -ge 3 ]", count.display()),
    );
    node.auto_reboot(AutoReboot::default());
    site.start(&node, &[("POINTSMAN_PROVING", "1m")]).await;
    node.wait_status(|status| status == "idle").await;
    assert!(
        !count.exists(),
        "a boot that is no trial and holds nothing is not checked"
    );
    node.stage("2").await;
    runs_from(&node, Slot::B, 1).await;
    site.free().await;
    assert!(disk.bits(Slot::B).successful);
    assert_eq!(std::fs::read_to_string(count).unwrap().lines().count(), 3);
}

#[tokio::test]
async fn failed_boot_that_is_no_trial_stays_up_and_keeps_the_lock() {
    let site = Site::new("trial-none");
    let (node, disk) = node(&site, "node-1", &[]).await;
    let broken = node.path("broken");
    hook(
        &node,
        "health.d/20-disk",
        &format!(
            "[ ! -e {} ] || {{ echo no disk; exit 1; }}",
            broken.display()
        ),
    );
    node.write("broken", "");
    let asked = site.command(&node, &["reboot"]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    node.wait_status(|status| {
        status.starts_with("unproven: ")
            && status.contains("no disk")
            && status.contains("so the node stays up")
    })
    .await;
    let told = site
        .record(&node, |record| record.state == "unproven")
        .await;
    assert!(told.waits_for.contains("no disk"), "{told:?}");
    assert_eq!((node.reboots(), node.booted()), (1, Slot::A));
    assert_eq!(site.read().await.holders.len(), 1);
    assert!(site.read().await.quarantine.is_empty() && disk.bits(Slot::A).successful);
    std::fs::remove_file(broken).unwrap();
    site.free().await;
    assert_eq!(node.reboots(), 1);
}

#[tokio::test]
async fn cluster_check_is_unknown_in_an_uncoordinated_boot() {
    let site = Site::new("trial-cluster");
    let (node, disk) = node(&site, "node-1", &[]).await;
    judge(&node, "health-cluster.d", &["2"]);
    // Somebody reboots by hand into an image nobody cleared: the others may be starting, too.
    disk.post_install(Slot::B, "2");
    node.reboot(Death::Term).await;
    node.wait_status(|status| {
        status.starts_with("unproven: ") && status.contains("needs other nodes")
    })
    .await;
    assert_eq!((node.reboots(), node.booted()), (1, Slot::B));
    assert!(!disk.bits(Slot::B).successful);
    // Once it passes, the image is kept.
    judge(&node, "health-cluster.d", &[]);
    node.wait_status(|status| status == "idle").await;
    assert!(disk.bits(Slot::B).successful);
    // Of a boot made while holding the same failure counts.
    judge(&node, "health-cluster.d", &["3"]);
    node.stage("3").await;
    runs_from(&node, Slot::B, 3).await;
    site.free().await;
    assert_eq!(site.read().await.quarantine.len(), 1);
}

#[tokio::test]
async fn rollback_works_without_etcd_and_is_reported_later() {
    let site = Site::new("trial-alone");
    let proxy = Proxy::start(shared_cluster().address(0)).await;
    let node = machine("node-1").await;
    let disk = node.add_disk("1");
    judge(&node, "health.d", &["2"]);
    agent(&node, &[proxy.url()], &site.prefix, &QUICK).await;
    node.wait_status(|status| status == "idle").await;
    node.stage("2").await;
    node.logind().rebooted().await;
    proxy.set(Mode::Refuse).await;
    node.auto_reboot(AutoReboot::default());
    node.reboot(Death::Term).await;
    runs_from(&node, Slot::A, 2).await;
    node.wait_status(|status| status.starts_with("releasing: "))
        .await;
    assert_eq!(
        site.read().await.holders.len(),
        1,
        "kept until etcd answers"
    );
    proxy.set(Mode::Pass).await;
    site.free().await;
    let bad = site.read().await.quarantine;
    assert!(bad[0].reason.contains("version 2 is bad"), "{bad:?}");
    assert!(!disk.bits(Slot::B).successful);
}

#[tokio::test]
async fn interrupted_proof_is_forgiven_once() {
    let site = Site::new("trial-cut");
    let node = machine("node-1").await;
    let disk = node.add_disk("1");
    let proving = node.path("is-proving");
    hook(
        &node,
        "health.d/10-hang",
        &format!(
            "grep -qx VERSION_ID=2 {} || exit 0; touch {}; sleep 60",
            node.path("etc/os-release").display(),
            proving.display()
        ),
    );
    site.start(&node, &QUICK).await;
    node.wait_status(|status| status == "idle").await;
    for known in [0, 1] {
        let _ = std::fs::remove_file(&proving);
        node.stage("2").await;
        node.logind().wait_reboots(known + 1).await;
        node.reboot(Death::Term).await;
        eventually("it is proving", async || proving.exists(), |is| *is).await;
        assert_eq!(node.booted(), Slot::B);
        // The power fails: its one try is used up.
        node.reboot(Death::Kill).await;
        assert_eq!(node.booted(), Slot::A);
        site.free().await;
        assert_eq!(site.read().await.quarantine.len(), known, "{known}");
    }
    assert!(disk.bits(Slot::A).successful);
    tokio::time::timeout(Duration::from_secs(20), async {
        node.stage("2").await;
        node.wait_status(|status| status.contains("is quarantined"))
            .await;
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn checks_that_hang_are_ended_when_the_time_for_the_proof_is_over() {
    let site = Site::new("trial-hang");
    let node = machine("node-1").await;
    let disk = node.add_disk("1");
    let script = format!(
        "grep -qx VERSION_ID=2 {} || exit 0; sleep 3600",
        node.path("etc/os-release").display()
    );
    for name in ["health.d/10-a", "health.d/20-b", "health-wanted.d/10-c"] {
        hook(&node, name, &script);
    }
    // Each of them alone may take far longer than all of them together.
    let times = [
        ("POINTSMAN_HOOK_TIMEOUT", "1h"),
        ("POINTSMAN_PROVING", "1s"),
    ];
    let others = QUICK
        .iter()
        .filter(|(name, _)| *name != "POINTSMAN_PROVING");
    let env: Vec<(&str, &str)> = others.copied().chain(times).collect();
    site.start(&node, &env).await;
    node.wait_status(|status| status == "idle").await;
    node.stage("2").await;
    node.logind().rebooted().await;
    node.reboot(Death::Term).await;
    node.logind().wait_reboots(2).await;
    node.reboot(Death::Term).await;
    site.free().await;
    assert_eq!(node.booted(), Slot::A);
    let bad = site.read().await.quarantine;
    let reason = &bad[0].reason;
    assert!(
        reason.contains("10-a did not end in the time that all hooks have together"),
        "{reason}"
    );
    assert!(
        reason.contains("20-b did not run, because no time was left"),
        "{reason}"
    );
    assert!(!disk.bits(Slot::B).successful);
}

#[tokio::test]
async fn the_other_slot_must_hold_what_ran_before() {
    let site = Site::new("trial-other");
    let (node, disk) = node(&site, "node-1", &["2"]).await;
    node.stage("2").await;
    runs_from(&node, Slot::A, 2).await;
    site.free().await;
    // This time what it would roll back to has been overwritten meanwhile.
    let wrecked = node.path("wrecked");
    hook(
        &node,
        "health.d/05-wreck",
        &format!("[ -e {} ] && exit 1 || exit 0", wrecked.display()),
    );
    node.stage("3").await;
    node.write("wrecked", "");
    node.logind().wait_reboots(3).await;
    eventually("on B", async || node.booted(), |slot| *slot == Slot::B).await;
    disk.write_image(Slot::A, "0");
    node.kill().await;
    node.start_again();
    node.wait_status(|status| {
        status.starts_with("unproven: ") && status.contains("not what ran here before")
    })
    .await;
    assert_eq!((node.booted(), node.reboots()), (Slot::B, 3));
    assert_eq!(site.read().await.holders.len(), 1);
}

#[tokio::test]
async fn boot_is_proven_only_after_systemd_has_started_its_units() {
    let site = Site::new("trial-units");
    let (node, disk) = node(&site, "node-1", &[]).await;
    let systemd = Systemd::start(node.bus()).await;
    node.write(
        "etc/pointsman/config.yaml",
        "checks: {ignore-units: 'motd.service, x.mount'}\n",
    );
    // What may have failed, what waits for the proof itself, and what needs others in a boot made alone.
    systemd.set_failed(["motd.service", "etcd-member.service"]);
    let job = |unit: &str| pointsman_testbed::fakes::Job {
        unit: unit.into(),
        ..pointsman_testbed::fakes::Job::reboot()
    };
    systemd.set_jobs([job("update-engine.service")]);
    disk.post_install(Slot::B, "2");
    node.reboot(Death::Term).await;
    node.wait_status(|status| {
        status.contains("etcd-member.service has failed (this needs other nodes")
    })
    .await;
    assert_eq!((node.booted(), node.reboots()), (Slot::B, 1));
    systemd.set_failed(["motd.service"]);
    node.wait_status(|status| status == "idle").await;
    assert!(disk.bits(Slot::B).successful);
    // One of its own: the next image is rolled back.
    let seen = node.clone();
    systemd.fail(move || match seen.version().as_str() {
        "3" => vec!["sshd.service"],
        _ => Vec::new(),
    });
    node.stage("3").await;
    runs_from(&node, Slot::B, 3).await;
    site.free().await;
    let bad = site.read().await.quarantine;
    assert!(bad[0].reason.contains("sshd.service has failed"), "{bad:?}");
}

#[tokio::test]
async fn an_unproven_boot_is_judged_by_the_configuration_read_again() {
    let site = Site::new("trial-reload");
    let (node, _) = node(&site, "node-1", &[]).await;
    let systemd = Systemd::start(node.bus()).await;
    let seen = node.clone();
    systemd.fail(move || match seen.reboots() {
        0 => Vec::new(),
        _ => vec!["motd.service"],
    });
    let asked = site.command(&node, &["reboot"]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    node.wait_status(|s| s.starts_with("unproven: ") && s.contains("motd.service has failed"))
        .await;
    assert_eq!(site.read().await.holders.len(), 1);
    node.write(
        "etc/pointsman/config.yaml",
        "checks: {ignore-units: motd.service}\n",
    );
    node.child().signal(Signal::SIGHUP);
    site.free().await;
    assert_eq!((node.reboots(), node.booted()), (1, Slot::A));
}

#[tokio::test]
async fn image_that_breaks_the_journals_disk_is_quarantined() {
    let site = Site::new("trial-disk");
    let (node, disk) = node(&site, "node-1", &[]).await;
    // From the check on nothing can be written there, as long as this agent lives.
    let state = node.path("var/lib/pointsman");
    hook(
        &node,
        "health.d/10-spoil",
        &format!(
            "grep -qx VERSION_ID=2 {} || exit 0\n\
             agent=$(cut -d' ' -f4 /proc/$PPID/stat)\n\
             for f in journal.json writable; do mkdir -p {}/$f.$agent.new/x; done\n\
             echo the disk is spoilt; exit 1",
            node.path("etc/os-release").display(),
            state.display()
        ),
    );
    node.stage("2").await;
    runs_from(&node, Slot::A, 2).await;
    site.free().await;
    assert!(
        node.log().contains("journal.json cannot be used"),
        "{}",
        node.log()
    );
    assert_eq!(site.read().await.quarantine.len(), 1);
    assert_eq!(disk.bits(Slot::B).priority, 0, "left for good");
}

#[tokio::test]
async fn a_verdict_stands_when_the_agent_is_killed_before_the_reboot() {
    let site = Site::new("trial-verdict");
    let (node, _) = node(&site, "node-1", &["2"]).await;
    node.stage("2").await;
    node.logind().wait_reboots(1).await;
    node.logind().on_reboot(OnReboot::Fail("not yet".into()));
    node.wait_status(|s| s.starts_with("rolling-back: ") && s.contains("Failed: not yet"))
        .await;
    node.kill().await;
    // The check passes by now, and the image is quarantined all the same.
    judge(&node, "health.d", &[]);
    node.logind().on_reboot(OnReboot::Succeed);
    node.start_again();
    runs_from(&node, Slot::A, 2).await;
    site.free().await;
    assert_eq!(site.read().await.quarantine.len(), 1);
}
