//! Agents that reboot their nodes: alone, one after the other, by each strategy, in their window.

use std::time::Duration;

use jiff::{ToSpan as _, Zoned};
use pointsman_testbed::node::{AutoReboot, Death, History, Node};
use semaphore::records::Phase;

use crate::agents::{Site, agent, bin, coordinator, machine, prepare, undrained};

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn node_reboots_into_its_update_and_releases_the_lock() {
    let site = Site::new("one");
    let node = site.node("node-1", &[]).await;
    coordinator(&node, "running").await;
    let record = site.record(&node, |record| record.state == "idle").await;
    assert_eq!(record.runs.version.as_deref(), Some("1"));

    node.update_engine().ready("2").await;
    node.logind().rebooted().await;
    let holder = site.phase(&node, Phase::Rebooting).await;
    assert_eq!(holder.from.version.as_deref(), Some("1"));
    assert_eq!(holder.to.version.as_deref(), Some("2"));
    assert_eq!(holder.boot_id, node.boot_id());
    coordinator(&node, "rebooting").await;
    let record = site
        .record(&node, |record| record.state == "rebooting")
        .await;
    assert_eq!(record.runs.version.as_deref(), Some("1"));
    assert!(undrained(&node).is_empty());

    node.reboot(Death::Term).await;
    node.wait_status(|status| status == "idle").await;
    site.free().await;
    let record = site.record(&node, |record| record.state == "idle").await;
    assert_eq!(record.runs.version.as_deref(), Some("2"));
    coordinator(&node, "running").await;
    assert_eq!(undrained(&node), ["proving"]);
    assert_eq!(node.logind().asked().len(), 1);
}

/// Three nodes want an update at once; `max` may be out.
async fn roll_out(max: u32) {
    let site = Site::new("three");
    site.semaphore.set_max(max, false).await.unwrap();
    let history = History::new();
    let mut nodes = Vec::new();
    for i in 1..=3 {
        let node = site.node(&format!("node-{i}"), &[]).await;
        node.auto_reboot(AutoReboot {
            delay: Duration::from_millis(200),
            history: history.clone(),
            ..AutoReboot::default()
        });
        nodes.push(node);
    }
    // All are in the queue before the first may go.
    let pause = serde_json::from_str("{}").unwrap();
    site.semaphore
        .pause(false, &pause, None, true)
        .await
        .unwrap();
    for node in &nodes {
        node.update_engine().ready("2").await;
    }
    site.until("three wait", |group| group.queue.len() == 3)
        .await;
    site.semaphore.resume(false).await.unwrap();
    history.wait_reboots(3, LIMIT).await;
    for node in &nodes {
        node.wait_status(|status| status == "idle").await;
        assert_eq!(node.reboots(), 1, "{}", node.name());
    }
    site.free().await;
    let most = u32::try_from(history.max_out_at_once()).unwrap();
    assert_eq!(most, max, "{:?}", history.events());
}

#[tokio::test]
async fn three_nodes_reboot_one_at_a_time() {
    roll_out(1).await;
}

#[tokio::test]
async fn max_two_lets_two_nodes_reboot_together_and_never_three() {
    roll_out(2).await;
}

#[tokio::test]
async fn sentinel_file_requests_a_reboot_without_update_engine() {
    let site = Site::new("sentinel");
    let node = Node::without_update_engine("node-1").await;
    prepare(&node);
    site.start(&node, &[]).await;
    node.wait_status(|status| status == "idle").await;
    site.lock().await;
    // Made, taken away, made again.
    node.write("run/reboot-required", "");
    site.until("it waits in the queue", |group| group.queue.len() == 1)
        .await;
    std::fs::remove_file(node.path("run/reboot-required")).unwrap();
    site.until("it left the queue", |group| group.queue.is_empty())
        .await;
    site.unlock("operator").await;
    assert!(node.logind().asked().is_empty());
    node.write("run/reboot-required", "");
    node.logind().rebooted().await;
    node.reboot(Death::Term).await;
    node.wait_status(|status| status == "idle").await;
    site.free().await;
    assert_eq!(node.logind().asked().len(), 1);
}

#[tokio::test]
async fn strategy_reboot_asks_no_etcd() {
    let node = machine("node-1").await;
    let history = History::new();
    node.auto_reboot(AutoReboot {
        history: history.clone(),
        ..AutoReboot::default()
    });
    let nowhere = ["http://127.0.0.1:1".to_owned()];
    let env = [("POINTSMAN_STRATEGY", "reboot")];
    agent(&node, &nowhere, "nowhere", &env).await;
    node.wait_ready().await;
    node.update_engine().ready("2").await;
    history.wait_reboots(1, LIMIT).await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!(undrained(&node), ["proving"]);
    assert!(!node.log().contains("etcd"), "{}", node.log());
}

#[tokio::test]
async fn strategy_off_reboots_nothing() {
    let site = Site::new("off");
    let node = machine("node-1").await;
    site.start(&node, &[("POINTSMAN_STRATEGY", "off")]).await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("the strategy is `off`"))
        .await;
    coordinator(&node, "disabled").await;
    let refused = site.command(&node, &["reboot"]).await;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("`off`"), "{refused:?}");
    assert!(node.logind().asked().is_empty());
    // Without the agent, too.
    node.stop().await;
    let refused = node
        .run_plain(
            bin(),
            &["reboot", "--root", &node.root().display().to_string()],
            &[("POINTSMAN_STRATEGY", "off")],
        )
        .await;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(node.logind().asked().is_empty());
}

#[tokio::test]
async fn outside_its_window_a_node_takes_no_ticket() {
    let site = Site::new("closed");
    let node = machine("node-1").await;
    let later = Zoned::now().checked_add(2.hours()).unwrap();
    let start = later.strftime("%H:%M").to_string();
    let window = [
        ("POINTSMAN_WINDOW_START", start.as_str()),
        ("POINTSMAN_WINDOW_LENGTH", "1h"),
    ];
    site.start(&node, &window).await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("outside the reboot window; it opens"))
        .await;
    site.record(&node, |record| record.waits_for.contains("window"))
        .await;
    let group = site.read().await;
    assert!(group.queue.is_empty() && group.holders.is_empty());
    assert!(node.logind().asked().is_empty());
}

#[tokio::test]
async fn closing_window_removes_the_node_from_the_queue() {
    let site = Site::new("closing");
    site.lock().await;
    let node = machine("node-1").await;
    node.update_engine().ready("2").await;
    let now = Zoned::now();
    let start = now.strftime("%H:%M").to_string();
    // A window starts with a minute; this one lasts eight seconds from now.
    let length = format!("{}s", i64::from(now.second()) + 8);
    let window = [
        ("POINTSMAN_WINDOW_START", start.as_str()),
        ("POINTSMAN_WINDOW_LENGTH", &length),
    ];
    site.start(&node, &window).await;
    site.until("it waits in the queue", |group| group.queue.len() == 1)
        .await;
    node.wait_status(|status| status.contains("outside the reboot window"))
        .await;
    assert!(site.read().await.queue.is_empty());
    // Its turn, which it does not take any more.
    site.unlock("operator").await;
    site.free().await;
    assert!(node.logind().asked().is_empty());
}

#[tokio::test]
async fn reboot_needed_of_another_updater_requests_a_reboot_and_is_its_reason() {
    let site = Site::new("reboot-needed");
    site.lock().await;
    let node = Node::without_update_engine("node-1").await;
    prepare(&node);
    site.start(&node, &[]).await;
    node.wait_status(|status| status == "idle").await;
    // zypp-boot-plugin(8): how it may be rebooted. Names beside the other file are of an older request.
    node.write("run/reboot-needed", "reboot");
    node.write("run/reboot-required.pkgs", "old\n");
    site.until("its ticket", |group| group.queue.len() == 1)
        .await;
    // Two ask: one that takes its request back does not take back the other's.
    node.write("run/reboot-required", "");
    std::fs::remove_file(node.path("run/reboot-required")).unwrap();
    site.unlock("operator").await;
    let holder = site.phase(&node, Phase::Rebooting).await;
    let file = node.path("run/reboot-needed");
    assert_eq!(holder.reason, Some(format!("{} exists", file.display())));
}

#[tokio::test]
async fn packages_that_ask_for_a_reboot_are_named_and_the_kernel_is_in_the_record() {
    let site = Site::new("packages");
    site.lock().await;
    let node = Node::without_update_engine("node-1").await;
    prepare(&node);
    node.write("proc/sys/kernel/osrelease", "6.1.0-40-amd64\n");
    node.write(
        "run/reboot-required.pkgs",
        "linux-image-6.1\nlibc6\nlibc6\na\nb\nc\nd\n",
    );
    site.start(&node, &[]).await;
    let record = site.record(&node, |record| record.state == "idle").await;
    assert_eq!(record.kernel.as_deref(), Some("6.1.0-40-amd64"));
    node.write("run/reboot-required", "");
    site.until("its ticket", |group| group.queue.len() == 1)
        .await;
    site.unlock("operator").await;
    let holder = site.phase(&node, Phase::Rebooting).await;
    assert_eq!(
        holder.reason.as_deref(),
        Some("update of a, b, c, d, libc6 and 1 more")
    );
}

/// A time zone so many hours east of Greenwich, as a file of it (tzfile(5)).
fn zone(hours: u8) -> Vec<u8> {
    let seconds = i32::from(hours) * 3600;
    // No transitions: one type, whose name has three letters.
    let counts = [0u32, 0, 0, 0, 1, 4].map(u32::to_be_bytes).concat();
    let header = [b"TZif2".as_slice(), &[0; 15], &counts].concat();
    let only = [seconds.to_be_bytes().as_slice(), &[0, 0], b"ABC\0"].concat();
    let rule = format!("\n<+{hours:02}>-{hours}\n");
    [&header, &only, &header, &only, rule.as_bytes()].concat()
}

#[tokio::test]
async fn a_wall_clock_that_is_set_opens_the_window_without_another_event() {
    let site = Site::new("wall-clock");
    let node = machine("node-1").await;
    // The machine's own clock stays: another zone sets the clock that windows go by.
    let opens =
        jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC) + jiff::Span::new().minutes(150);
    let window = format!(
        "window: {{start: \"{}\", length: 1h}}\n",
        opens.strftime("%H:%M")
    );
    node.write("etc/pointsman/config.yaml", &window);
    site.start(&node, &[("WATCHDOG_USEC", "200000")]).await;
    node.wait_status(|status| status == "idle").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.starts_with("waiting") && status.contains("window"))
        .await;
    std::fs::write(node.path("etc/localtime"), zone(3)).unwrap();
    node.logind().rebooted().await;
}

/// A list of one calendar window in UTC, as the configuration has it, that opened so many minutes ago (or opens) and lasts an hour.
fn calendar(opens: &Zoned, except: &str) -> String {
    format!(
        "windows:\n  - at: \"*-*-* {}\"\n    for: 60 minutes\n    zone: UTC\n    except: [{except}]\n",
        opens.strftime("%H:%M:%S")
    )
}

fn now_in_utc() -> Zoned {
    jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC)
}

#[tokio::test]
async fn a_calendar_window_keeps_a_node_until_it_opens() {
    let site = Site::new("calendar");
    let node = machine("node-1").await;
    let opens = now_in_utc() + 15.seconds();
    node.write("etc/pointsman/config.yaml", &calendar(&opens, "2020-01-01"));
    site.start(&node, &[]).await;
    node.update_engine().ready("2").await;
    let says = format!(
        "outside the reboot window; it opens {}",
        opens.strftime("%Y-%m-%d %H:%M:%S UTC")
    );
    node.wait_status(|status| status.contains(&says)).await;
    assert!(node.logind().asked().is_empty());
    node.logind().rebooted().await;
    let early = now_in_utc().duration_since(&opens);
    assert!(early.as_secs() >= 0, "{early}");
}

#[tokio::test]
async fn an_excepted_day_closes_a_calendar_window() {
    let site = Site::new("excepted");
    let node = machine("node-1").await;
    let now = now_in_utc();
    let opened = &now - 10.minutes();
    let days = format!("{}..{}", opened.date(), now.date());
    node.write("etc/pointsman/config.yaml", &calendar(&opened, &days));
    site.start(&node, &[]).await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("outside the reboot window; it opens"))
        .await;
    assert!(site.read().await.queue.is_empty());
}

#[tokio::test]
async fn a_node_whose_reboots_take_longer_than_what_is_left_waits_for_the_next_window() {
    let site = Site::new("too-short");
    let node = machine("node-1").await;
    // Ten minutes are left.
    let opened = now_in_utc() - 50.minutes();
    node.write(
        "etc/pointsman/config.yaml",
        &calendar(&opened, "2020-01-01"),
    );
    node.write(
        "var/lib/pointsman/journal.json",
        r#"{"version": 1, "reboot_seconds": [60, 1500, 90]}"#,
    );
    site.start(&node, &[]).await;
    node.update_engine().ready("2").await;
    let next = (opened + 24.hours())
        .strftime("%Y-%m-%d %H:%M:%S UTC")
        .to_string();
    let says = format!("waiting for the one that opens {next}");
    node.wait_status(|status| {
        status.contains("a reboot of this node takes 25m") && status.contains(&says)
    })
    .await;
    assert!(site.read().await.queue.is_empty());
    assert!(node.logind().asked().is_empty());
}

#[tokio::test]
async fn reboots_longer_than_every_window_do_not_keep_a_node() {
    let site = Site::new("outlasts");
    site.lock().await;
    let node = machine("node-1").await;
    let opened = now_in_utc() - 10.minutes();
    node.write(
        "etc/pointsman/config.yaml",
        &calendar(&opened, "2020-01-01"),
    );
    node.write(
        "var/lib/pointsman/journal.json",
        r#"{"version": 1, "reboot_seconds": [3601]}"#,
    );
    site.start(&node, &[]).await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| {
        status.contains("a reboot of this node takes 1h1s, longer than every reboot window")
    })
    .await;
    site.until("it waits in the queue", |group| group.queue.len() == 1)
        .await;
    site.unlock("operator").await;
    node.logind().rebooted().await;
}
