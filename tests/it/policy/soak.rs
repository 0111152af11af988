//! The soak of real agents, and the way back from it.

use std::time::Duration;

use pointsman_testbed::{
    disk::{DiskImage, Slot},
    fakes::{OnReboot, Systemd},
    node::Death,
    process::Signal,
};
use semaphore::etcd::Unlocked;

use super::{members::member, *};
use crate::{
    agents::{bin, hook, undrained},
    trials::{self, runs_from},
};

/// Long enough that it does not pass by itself in a test.
pub(super) const LONG: Duration = Duration::from_secs(3600);

pub(super) async fn policy(site: &Site, soak: Option<Duration>) {
    let change = PolicyChange {
        soak,
        unset: Vec::from_iter(soak.is_none().then_some(Field::Soak)),
        ..PolicyChange::default()
    };
    let set = site.semaphore.set_policy(&change, "ann@desk", false).await;
    set.unwrap();
}

/// A node that soaks on version 2, from slot B; and its disk.
pub(super) async fn soaking(site: &Site, name: &str) -> (Node, DiskImage) {
    let (node, disk) = trials::node(site, name, &[]).await;
    node.stage("2").await;
    site.phase(&node, Phase::Soaking).await;
    node.wait_status(|status| status.starts_with("soaking"))
        .await;
    (node, disk)
}

/// Makes the node's checks fail, at any time.
pub(super) fn breaks(node: &Node) {
    hook(node, "health.d/90-broken", "echo no service; exit 1");
}

/// A person makes the slot with the image before the next one, and asks for the reboot.
pub(super) async fn go_back(site: &Site, node: &Node) {
    for words in [
        &["slots", "prioritize", "A"][..],
        &["reboot", "--reason", "go back"],
    ] {
        let done = site.command(node, words).await;
        assert_eq!(done.code, Some(0), "{done:?}");
    }
}

async fn ends_soak(node: &Node, code: i32, says: &str) {
    let ended = node.run(bin(), &["soak", "end"]).await;
    assert_eq!(ended.code, Some(code), "{ended:?}");
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains(says), "{said}");
}

/// A node that runs version 2 and is being checked, until its file `checked` is there.
async fn being_checked(site: &Site) -> Node {
    let (node, _) = trials::node(site, "node-1", &[]).await;
    let wait = format!("[ -e {} ]", node.path("checked").display());
    hook(&node, "health.d/50-wait", &wait);
    node.stage("2").await;
    site.phase(&node, Phase::Proving).await;
    node
}

pub(super) async fn settled(node: &Node) -> bool {
    let asked = node.run(bin(), &["slots", "settled"]).await;
    asked.code == Some(0)
}

#[tokio::test]
async fn node_that_soaks_keeps_the_lock_until_its_time_is_over() {
    let site = Site::new("soak");
    policy(&site, Some(Duration::from_secs(3))).await;
    let (first, disk) = trials::node(&site, "node-1", &[]).await;
    let (second, _) = trials::node(&site, "node-2", &[]).await;
    let systemd = Systemd::start(first.bus()).await;
    first.stage("2").await;
    let soaks = site.phase(&first, Phase::Soaking).await;
    second.stage("2").await;
    second
        .wait_status(|status| status.contains("the only place is taken by node-1"))
        .await;
    // It carries load, its slot is good; but its image is not proven yet, and update_engine waits.
    assert_eq!(undrained(&first), ["proving"]);
    assert!(disk.bits(Slot::B).successful);
    assert_eq!(member(&site, &first).await.as_deref(), Some(""));
    assert!(soaks.soaks_until.is_some() && !settled(&first).await);
    assert_eq!(systemd.asked(), []);
    let status = site.status(&second).await;
    assert!(status.stdout.contains("soaks until "), "{status:?}");
    assert!(status.stdout.contains("s left)"), "{status:?}");
    // Its agent is killed, and goes on with it.
    first.kill().await;
    first.start_again();
    first
        .wait_status(|status| status.starts_with("soaking"))
        .await;
    runs_from(&second, Slot::B, 1).await;
    let new = first.boot_id();
    let record = site.record(&first, |record| record.state == "idle").await;
    assert_eq!(
        (record.boot_id, record.runs.version.as_deref()),
        (new, Some("2"))
    );
    assert_eq!(member(&site, &first).await, record.runs.digest);
    let started = ("StartUnit".to_owned(), "update-engine.service".to_owned());
    eventually(
        "update_engine is started",
        async || systemd.asked(),
        |asked| *asked == [started.clone()],
    )
    .await;
    assert!(settled(&first).await);
}

#[tokio::test]
async fn image_that_fails_its_soak_is_quarantined_and_the_lock_is_kept() {
    let site = Site::new("soak-fails");
    policy(&site, Some(Duration::from_secs(4))).await;
    let (first, _) = soaking(&site, "node-1").await;
    let (second, _) = trials::node(&site, "node-2", &[]).await;
    breaks(&first);
    first
        .wait_status(|status| status.starts_with("soak-failed"))
        .await;
    let group = site
        .until("the quarantine", |group| !group.quarantine.is_empty())
        .await;
    let reason = &group.quarantine[0].reason;
    assert!(
        reason.contains("it failed its soak: ") && reason.contains("no service"),
        "{reason}"
    );
    assert_eq!(group.holders.len(), 1);
    second.stage("2").await;
    second
        .wait_status(|status| status.contains("is quarantined"))
        .await;
    let record = site
        .record(&first, |record| record.state == "soak-failed")
        .await;
    assert!(
        record.waits_for.contains("until a person decides"),
        "{}",
        record.waits_for
    );
    // Neither a new run of the agent nor another boot makes it good, although the checks pass.
    hook(&first, "health.d/90-broken", "exit 0");
    first.kill().await;
    first.start_again();
    first
        .wait_status(|status| status.starts_with("soak-failed"))
        .await;
    first.reboot(Death::Kill).await;
    first
        .wait_status(|status| status.starts_with("soak-failed"))
        .await;
    site.phase(&first, Phase::Soaking).await;
    ends_soak(&first, 0, "Its image stays quarantined").await;
    site.free().await;
    assert_eq!(member(&site, &first).await.as_deref(), Some(""));
    ends_soak(&first, 6, "this node is not soaking").await;
}

#[tokio::test]
async fn soak_ended_by_hand_or_by_unlock_counts_as_proof() {
    let site = Site::new("soak-ends");
    policy(&site, Some(LONG)).await;
    let (first, _) = soaking(&site, "node-1").await;
    ends_soak(&first, 0, "The soak is ended").await;
    site.free().await;
    assert_eq!(
        member(&site, &first).await,
        Some(members::runs(&site, &first, "2").await)
    );
    let (second, _) = soaking(&site, "node-2").await;
    let unlocked = site
        .semaphore
        .unlock(second.machine_id(), false)
        .await
        .unwrap();
    assert!(
        matches!(unlocked, Unlocked::Unlocked(Some(_))),
        "{unlocked:?}"
    );
    second.wait_status(|status| status == "idle").await;
    let runs = members::runs(&site, &second, "2").await;
    members::member_is(&site, &second, Some(&runs)).await;
}

#[tokio::test]
async fn way_back_needs_no_ticket_window_or_open_group() {
    let site = Site::new("soak-back");
    policy(&site, Some(LONG)).await;
    let (node, _) = soaking(&site, "node-1").await;
    let old = members::runs(&site, &node, "2").await;
    node.write(
        "etc/pointsman/config.yaml",
        "windows:\n- { at: 2001-01-01 02:00, for: 1h }\n",
    );
    node.kill().await;
    node.start_again();
    node.wait_status(|status| status.starts_with("soaking"))
        .await;
    let pause = serde_json::from_str(r#"{"by":"ann","reason":"stop"}"#).unwrap();
    site.semaphore
        .pause(false, &pause, None, true)
        .await
        .unwrap();
    site.semaphore.set_max(0, false).await.unwrap();
    slow_drain(&node);
    go_back(&site, &node).await;
    draining(&node).await;
    // The drain of the way back: the node still soaks in etcd, and a kill only sends it back there.
    assert_eq!(
        site.phase(&node, Phase::Soaking)
            .await
            .to
            .version
            .as_deref(),
        Some("2")
    );
    assert!(!settled(&node).await);
    drained(&node);
    runs_from(&node, Slot::A, 2).await;
    site.free().await;
    let now = members::runs(&site, &node, "1").await;
    assert_ne!(now, old);
    assert_eq!(member(&site, &node).await, Some(now));
    assert_eq!(undrained(&node), ["proving", "proving"]);
    assert!(settled(&node).await);
}

#[tokio::test]
async fn way_back_killed_or_failing_at_any_step_leaves_the_node_soaking() {
    let site = Site::new("soak-back-killed");
    policy(&site, Some(LONG)).await;
    let (node, _) = soaking(&site, "node-1").await;
    // In the drain.
    slow_drain(&node);
    go_back(&site, &node).await;
    draining(&node).await;
    node.kill().await;
    std::fs::remove_file(node.path("draining")).unwrap();
    node.start_again();
    // It is tried again: the request stands.
    draining(&node).await;
    // Taken back while it drains.
    let cancelled = node.run(bin(), &["cancel"]).await;
    assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
    node.wait_status(|status| status.starts_with("soaking"))
        .await;
    drained(&node);
    // After the commit: the reboot call fails, and etcd is told that the node soaks on.
    node.logind().on_reboot(OnReboot::Fail("not now".into()));
    go_back(&site, &node).await;
    node.wait_status(|status| {
        status.contains("the way back waits: ") && status.contains("not now")
    })
    .await;
    let cancelled = node.run(bin(), &["cancel"]).await;
    assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
    let holder = site.phase(&node, Phase::Soaking).await;
    assert_eq!(
        (holder.from.version.as_deref(), holder.to.version.as_deref()),
        (Some("1"), Some("2"))
    );
    // No shutdown follows the call before the agent is killed.
    node.logind().on_reboot(OnReboot::Nothing);
    go_back(&site, &node).await;
    let goes = site.phase(&node, Phase::Rebooting).await;
    assert_eq!(goes.to.digest, holder.from.digest);
    node.kill().await;
    node.logind().on_reboot(OnReboot::Succeed);
    node.start_again();
    runs_from(&node, Slot::A, 2).await;
    site.free().await;
}

#[tokio::test]
async fn soak_begins_from_the_start_after_a_power_cut() {
    let site = Site::new("soak-power");
    policy(&site, Some(Duration::from_secs(3))).await;
    let (node, _) = soaking(&site, "node-1").await;
    let before = site.phase(&node, Phase::Soaking).await.soaks_until;
    node.reboot(Death::Kill).await;
    let later = |group: &semaphore::etcd::Group| {
        let entry = crate::agents::entry(group, &node);
        entry.is_some_and(|entry| entry.phase == Phase::Soaking && entry.soaks_until > before)
    };
    site.until("it soaks from the start", later).await;
    site.free().await;
}

#[tokio::test]
async fn policy_decides_at_the_release_whether_a_node_soaks() {
    let site = Site::new("soak-policy");
    // Set while the boot is being checked.
    let node = being_checked(&site).await;
    let systemd = Systemd::start(node.bus()).await;
    policy(&site, Some(LONG)).await;
    node.write("checked", "");
    site.phase(&node, Phase::Soaking).await;
    // update_engine was let in with the proof, since the take knew of no soak.
    let asked = |method: &str| (method.to_owned(), "update-engine.service".to_owned());
    let now = async || systemd.asked();
    let stopped = [asked("StartUnit"), asked("StopUnit")];
    eventually("it is stopped", now, |found| *found == stopped).await;
    // Unset during the soak: what has begun goes on, and a person ends it.
    policy(&site, None).await;
    node.kill().await;
    node.start_again();
    node.wait_status(|status| status.starts_with("soaking"))
        .await;
    ends_soak(&node, 0, "The soak is ended").await;
    site.free().await;
    let started = [&stopped[..], &[asked("StartUnit")]].concat();
    eventually("it is started again", now, |found| *found == started).await;
}

#[tokio::test]
async fn policy_that_becomes_unusable_before_the_release_keeps_the_lock() {
    let site = Site::new("soak-unusable");
    let node = being_checked(&site).await;
    put(
        shared_cluster(),
        &site.semaphore.keys().policy(),
        r#"{"moon":"full"}"#,
    )
    .await;
    node.write("checked", "");
    node.wait_status(|status| status.contains("unknown field `moon`"))
        .await;
    assert_eq!(site.read().await.holders.len(), 1);
    let change = PolicyChange {
        soak: Some(LONG),
        replace: true,
        ..PolicyChange::default()
    };
    site.semaphore
        .set_policy(&change, "ann@desk", false)
        .await
        .unwrap();
    site.phase(&node, Phase::Soaking).await;
}

#[tokio::test]
async fn reboot_into_the_same_image_and_a_fall_back_do_not_soak() {
    let site = Site::new("soak-not");
    policy(&site, Some(LONG)).await;
    let (node, _) = trials::node(&site, "node-1", &["2"]).await;
    let asked = site.command(&node, &["reboot"]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    runs_from(&node, Slot::A, 1).await;
    site.free().await;
    node.stage("2").await;
    runs_from(&node, Slot::A, 3).await;
    site.free().await;
}

#[tokio::test]
async fn soak_under_a_former_group_ends_where_it_began() {
    let site = Site::new("soak-group");
    policy(&site, Some(Duration::from_secs(3))).await;
    let (node, _) = soaking(&site, "node-1").await;
    node.write("etc/pointsman/config.yaml", "group: blue\n");
    node.child().signal(Signal::SIGHUP);
    site.free().await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!(
        member(&site, &node).await,
        None,
        "it is a member of blue now"
    );
}

#[tokio::test]
async fn update_engine_that_was_skipped_is_started_by_the_next_run_of_the_agent() {
    let site = Site::new("soak-skipped");
    let (node, _) = trials::node(&site, "node-1", &[]).await;
    let systemd = Systemd::start(node.bus()).await;
    // Somebody stopped it: it stays so.
    node.kill().await;
    node.start_again();
    node.wait_status(|status| status == "idle").await;
    assert_eq!(systemd.asked(), []);
    // The agent died before it could start what it had held back.
    systemd.skip_update_engine();
    node.kill().await;
    node.start_again();
    let started = ("StartUnit".to_owned(), "update-engine.service".to_owned());
    let now = async || systemd.asked();
    eventually("it is started", now, |asked| *asked == [started.clone()]).await;
}
