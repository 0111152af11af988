//! A staged update that grows old while its node waits: update_engine looks again (`updates.restage-after`).

use pointsman_testbed::{
    disk::{DiskImage, Slot},
    fakes::Check,
    node::{AutoReboot, Node},
    process::Signal,
};

use crate::{
    agents::{Site, hook, machine},
    support::eventually,
};

const FILE: &str = "etc/pointsman/config.yaml";

/// A node with two slots that reboots when it is asked to, and whose agent is idle.
async fn node(site: &Site, name: &str, env: &[(&str, &str)]) -> (Node, DiskImage) {
    let node = machine(name).await;
    let disk = node.add_disk("1");
    node.auto_reboot(AutoReboot::default());
    site.start(&node, env).await;
    node.wait_status(|status| status == "idle").await;
    (node, disk)
}

async fn told(site: &Site, node: &Node, args: &[&str]) {
    let said = site.command(node, args).await;
    assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
}

async fn resets(node: &Node, at_least: u64) {
    let engine = node.update_engine();
    engine.wait_for_calls("ResetStatus", at_least).await;
    engine.wait_for_calls("AttemptUpdate", at_least).await;
}

#[tokio::test]
async fn paused_node_reaches_what_is_newest_with_one_reboot() {
    // What is found may be newer, or the same image that is downloaded again; for a while nothing may be found at all.
    for (newest, pin) in [("3", true), ("2", true), ("3", false)] {
        let site = Site::new("restage");
        let node = machine("node-1").await;
        let disk = node.add_disk("1");
        node.auto_reboot(AutoReboot::default());
        let config =
            |after: &str| format!("pin-booted-slot: {pin}\nupdates: {{restage-after: {after}}}\n");
        node.write(FILE, &config("1s"));
        node.update_engine().checks(Check::NoUpdate);
        site.start(&node, &[]).await;
        node.wait_status(|status| status == "idle").await;
        told(&site, &node, &["pause", "--reason", "holidays"]).await;
        node.stage("2").await;
        node.wait_status(|status| status.starts_with("queued") && status.contains("holidays"))
            .await;
        let checked = || node.update_engine().status().last_checked_time;
        let before = checked();
        resets(&node, 1).await;
        eventually("the check's end", async || checked(), |now| *now != before).await;
        // It has found nothing: nothing is staged, the node waits for nothing, and boots what it runs.
        node.wait_status(|status| status == "idle").await;
        site.free().await;
        let next = async || site.command(&node, &["slots", "next"]).await.stdout;
        eventually("the booted slot", next, |next| next == "USR-A\n").await;
        let log = node.log();
        let said = "the staged update is reset: update_engine checks for a newer one";
        assert!(log.contains(said), "{log}");

        node.write(FILE, &config("off"));
        node.child().signal(Signal::SIGHUP);
        eventually(
            "the changed configuration",
            async || node.log(),
            |log| log.contains("the configuration has changed"),
        )
        .await;
        node.stage(newest).await;
        node.wait_status(|status| status.starts_with("queued") && status.contains("holidays"))
            .await;
        told(&site, &node, &["resume"]).await;
        node.logind().wait_reboots(1).await;
        node.wait_status(|status| status == "idle").await;
        assert_eq!((node.booted(), node.reboots()), (Slot::B, 1));
        assert_eq!(disk.version(Slot::B).as_deref(), Some(newest));
        assert_eq!(node.update_engine().calls("ResetStatus"), 1);
    }
}

#[tokio::test]
async fn node_that_waits_for_its_window_looks_again_also_after_a_restart_of_the_agent() {
    let site = Site::new("restage-window");
    // In twelve hours, by the clock of the machine.
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let opens = now.saturating_add(jiff::SignedDuration::from_hours(12));
    let opens = opens.strftime("%H:%M").to_string();
    let env = [
        ("POINTSMAN_WINDOW_START", opens.as_str()),
        ("POINTSMAN_WINDOW_LENGTH", "1h"),
        ("POINTSMAN_RESTAGE_AFTER", "3s"),
    ];
    let (node, _) = node(&site, "node-1", &env).await;
    let closed = |status: &str| status.contains("outside the reboot window");
    let staged = std::time::Instant::now();
    node.stage("2").await;
    node.wait_status(closed).await;
    node.kill().await;
    node.start_again();
    node.wait_status(closed).await;
    resets(&node, 1).await;
    assert!(staged.elapsed() >= std::time::Duration::from_secs(3));
    node.wait_status(|status| status == "idle").await;
    // The same again: it is as new as can be, and has its time.
    let staged = std::time::Instant::now();
    node.stage("2").await;
    resets(&node, 2).await;
    assert!(staged.elapsed() >= std::time::Duration::from_secs(3));
}

#[tokio::test]
async fn update_of_a_node_that_holds_or_that_a_person_reboots_is_not_reset() {
    let site = Site::new("restage-holds");
    let (node, disk) = node(&site, "node-1", &[("POINTSMAN_RESTAGE_AFTER", "3s")]).await;
    // Longer than an update may wait.
    hook(&node, "pre-reboot.d/10-slow", "sleep 4");
    node.stage("2").await;
    node.logind().wait_reboots(1).await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!(disk.version(node.booted()).as_deref(), Some("2"));
    assert_eq!(node.update_engine().calls("ResetStatus"), 0);

    told(&site, &node, &["pause", "--reason", "holidays"]).await;
    let asked = site.command(&node, &["reboot", "--reason", "disk"]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    node.stage("3").await;
    node.wait_status(|status| status.starts_with("queued"))
        .await;
    // Meanwhile another node's update grows old.
    let (other, _) = self::node(&site, "node-2", &[("POINTSMAN_RESTAGE_AFTER", "3s")]).await;
    other.stage("3").await;
    resets(&other, 1).await;
    told(&site, &node, &["resume"]).await;
    node.logind().wait_reboots(2).await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!(disk.version(node.booted()).as_deref(), Some("3"));
    assert_eq!(node.update_engine().calls("ResetStatus"), 0);
}
