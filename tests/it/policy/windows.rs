//! The reboot windows of a group's policy, beside the node's own.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ::windows::{WindowSpec, Windows};
use jiff::{SignedDuration, Timestamp, ToSpan as _, Zoned, tz::TimeZone};
use semaphore::etcd::{Claim, Clock, NodeWindows, Wait};

use super::*;
use crate::{agents::undrained, support::options};

/// A clock that goes, and that a test sets.
#[derive(Clone)]
struct SetClock(Arc<Mutex<(Zoned, Instant)>>);

impl SetClock {
    fn at(text: &str) -> Self {
        Self(Arc::new(Mutex::new((time(text), Instant::now()))))
    }

    fn set(&self, text: &str) {
        *self.0.lock().unwrap() = (time(text), Instant::now());
    }

    fn now(&self) -> Zoned {
        let (at, since) = self.0.lock().unwrap().clone();
        at + SignedDuration::try_from(since.elapsed()).unwrap()
    }
}

/// At this time of Wednesday, 2026-12-02.
fn time(text: &str) -> Zoned {
    let at: Timestamp = format!("2026-12-02T{text}Z").parse().unwrap();
    at.to_zoned(TimeZone::UTC)
}

fn specs(list: &[(&str, &str)]) -> Vec<WindowSpec> {
    let spec = |(at, length): &(&str, &str)| WindowSpec {
        at: (*at).into(),
        length: (*length).into(),
        zone: Some("UTC".into()),
        ..WindowSpec::default()
    };
    list.iter().map(spec).collect()
}

fn windows(list: &[(&str, &str)]) -> PolicyChange {
    PolicyChange {
        windows: Some(specs(list)),
        ..PolicyChange::default()
    }
}

fn no_windows() -> PolicyChange {
    PolicyChange {
        unset: vec![Field::Windows],
        ..PolicyChange::default()
    }
}

async fn set(semaphore: &Semaphore, change: &PolicyChange) {
    semaphore
        .set_policy(change, "ann@desk", false)
        .await
        .unwrap();
}

/// A node's claim, by this clock.
fn claim_at(id: &str, clock: &SetClock, own: &[(&str, &str)], usual: Option<Duration>) -> Claim {
    let clock = clock.clone();
    let mut claim = claim(id);
    claim.windows = Some(NodeWindows {
        own: Windows::of(None, &specs(own)).unwrap().on_node(id),
        usual,
        known: Vec::new(),
        clock: Clock(Arc::new(move || clock.now())),
    });
    claim
}

/// Waits in the queue; what it waits for.
fn waits(semaphore: Semaphore, claim: Claim) -> (Rc<RefCell<String>>, tokio::task::JoinHandle<()>) {
    let said = Rc::new(RefCell::new(String::new()));
    let says = said.clone();
    let task = tokio::task::spawn_local(async move {
        let note = |wait: Wait| *says.borrow_mut() = wait.waits_for;
        semaphore.acquire(&claim, note).await;
    });
    (said, task)
}

/// Waits until a node holds.
async fn holds_soon(task: tokio::task::JoinHandle<()>) {
    let limit = Duration::from_secs(20);
    let ended = tokio::time::timeout(limit, task).await;
    ended.expect("it takes the lock in time").unwrap();
}

async fn queued(semaphore: &Semaphore, ids: &[&str]) {
    let in_queue = async || {
        let queue = semaphore.read().await.unwrap().queue;
        queue
            .into_iter()
            .map(|ticket| ticket.id)
            .collect::<Vec<_>>()
    };
    eventually("the queue", in_queue, |found| found == ids).await;
}

const OUTSIDE: &str =
    "outside the reboot window of the group's policy; it opens 2026-12-03 02:00:00 UTC";

#[tokio::test]
async fn node_outside_the_policy_s_window_asks_nothing_until_it_opens() {
    let cluster = Cluster::builder(1).start().await;
    let prefix = unique_prefix("windows-cost");
    let on_it = || {
        // Nothing else that it does meanwhile is due in this test.
        let back_off = semaphore::etcd::BackOff {
            min: Duration::from_millis(20),
            max: Duration::from_secs(60),
        };
        let keys = Keys::new(&prefix, host::node::Group::new("").unwrap());
        Semaphore::new(options(cluster.endpoints()), keys, back_off)
    };
    let looker = on_it();
    looker.set_max(1, false).await.unwrap();
    set(&looker, &windows(&[("02:00", "1h")])).await;
    LocalSet::new()
        .run_until(async {
            let clock = SetClock::at("01:59:57");
            let (said, a) = waits(on_it(), claim_at("a", &clock, &[], None));
            says(
                &said,
                "outside the reboot window of the group's policy; it opens 2026-12-02 02:00:00 UTC",
            )
            .await;
            queued(&looker, &[]).await;
            let before = cluster.requests().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(cluster.requests().await.since(&before).total(), 0);
            holds_soon(a).await;
            let opened = clock.now();
            assert!(opened >= time("02:00:00"), "{opened}");
            // The look when it opens, and then what every node pays: the store's marks, ticket, take.
            let cost = cluster.requests().await.since(&before).total();
            assert!(cost <= 9, "{cost} requests");
        })
        .await;
}

#[tokio::test]
async fn windows_set_while_nodes_are_queued_take_them_out_of_the_queue() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let prefix = unique_prefix("windows-queued");
            let looker = on(cluster, &prefix);
            looker.set_max(1, false).await.unwrap();
            looker.lock(&holder("op", Phase::Manual)).await.unwrap();
            let clock = SetClock::at("12:00:00");
            let (said, a) = waits(on(cluster, &prefix), claim_at("a", &clock, &[], None));
            says(&said, "the only place is taken by").await;
            let (behind, b) = waits(on(cluster, &prefix), claim_at("b", &clock, &[], None));
            queued(&looker, &["a", "b"]).await;
            set(&looker, &windows(&[("02:00", "1h")])).await;
            queued(&looker, &[]).await;
            says(&said, OUTSIDE).await;
            says(&behind, OUTSIDE).await;
            // Its turn, which nobody takes; a person does, for whom the windows do not hold.
            looker.unlock("op", false).await.unwrap();
            let by_hand = holder("op", Phase::Manual);
            assert_eq!(looker.lock(&by_hand).await.unwrap(), Locked::Taken);
            looker.unlock("op", false).await.unwrap();
            assert!(!a.is_finished() && !b.is_finished());
            // Other windows are told at once; without any, the nodes go.
            set(&looker, &windows(&[("13:00", "1h")])).await;
            says(&said, "it opens 2026-12-02 13:00:00 UTC").await;
            set(&looker, &no_windows()).await;
            eventually(
                "one of them holds",
                async || looker.read().await.unwrap(),
                |group| group.holders.len() == 1 && group.queue.len() == 1,
            )
            .await;
            for task in [a, b] {
                task.abort();
            }
        })
        .await;
}

#[tokio::test]
async fn queued_node_leaves_the_queue_when_the_policy_s_window_closes() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let prefix = unique_prefix("windows-close");
            let looker = on(cluster, &prefix);
            looker.set_max(1, false).await.unwrap();
            looker.lock(&holder("op", Phase::Manual)).await.unwrap();
            set(&looker, &windows(&[("02:00", "1h")])).await;
            let clock = SetClock::at("02:59:57");
            let (said, a) = waits(on(cluster, &prefix), claim_at("a", &clock, &[], None));
            says(&said, "the only place is taken by").await;
            queued(&looker, &["a"]).await;
            says(&said, OUTSIDE).await;
            assert!(clock.now() >= time("03:00:00"));
            queued(&looker, &[]).await;
            looker.unlock("op", false).await.unwrap();
            assert!(looker.read().await.unwrap().holders.is_empty());
            a.abort();
        })
        .await;
}

#[tokio::test]
async fn window_that_closes_between_take_and_reboot_refuses_the_commit() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("windows-commit");
    let looker = on(cluster, &prefix);
    looker.set_max(1, false).await.unwrap();
    set(&looker, &windows(&[("02:00", "1h")])).await;
    let clock = SetClock::at("02:00:10");
    // For the take its reboots are short enough; for the commit that does not matter any more.
    let usual = Some(Duration::from_secs(50 * 60));
    let a = claim_at("a", &clock, &[("02:00", "2h")], usual);
    let holds = on(cluster, &prefix);
    holds.acquire(&a, |_| {}).await;
    clock.set("03:00:00");
    let text = "the reboot windows of this node and of the group's policy are not both open; they are from 2026-12-03 \
                02:00:00 UTC";
    let refused = holds.commit(&a).await.unwrap();
    assert!(
        matches!(&refused, Committed::No(why) if why.to_string() == text),
        "{refused:?}"
    );
    clock.set("02:55:00");
    assert_eq!(holds.commit(&a).await.unwrap(), Committed::Yes);
    // What is committed is committed.
    clock.set("03:00:00");
    assert_eq!(holds.commit(&a).await.unwrap(), Committed::Yes);
}

#[tokio::test]
async fn node_goes_when_its_own_windows_and_the_policy_s_are_open_and_long_enough() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let prefix = unique_prefix("windows-both");
            let looker = on(cluster, &prefix);
            looker.set_max(9, false).await.unwrap();
            set(&looker, &windows(&[("02:00", "4h")])).await;
            let own = [("05:00", "4h")];
            let clock = SetClock::at("04:59:57");
            let (said, a) = waits(on(cluster, &prefix), claim_at("a", &clock, &own, None));
            says(&said, "are not both open; they are from 2026-12-02 05:00:00 UTC").await;
            holds_soon(a).await;
            assert!(clock.now() >= time("05:00:00"));
            // Half an hour is left, and the next time both are open for an hour.
            let late = SetClock::at("05:30:00");
            let usual = |minutes: u64| Some(Duration::from_secs(minutes * 60));
            let (said, b) = waits(on(cluster, &prefix), claim_at("b", &late, &own, usual(45)));
            says(
                &said,
                "a reboot of this node takes 45m, and the reboot window of the group's policy closes 2026-12-02 06:00:00 UTC; \
                 waiting for the one that opens 2026-12-03 05:00:00 UTC",
            )
            .await;
            b.abort();
            // They never are for longer than an hour: then it does not count.
            let c = claim_at("c", &late, &own, usual(90));
            on(cluster, &prefix).acquire(&c, |_| {}).await;
        })
        .await;
}

#[tokio::test]
async fn node_is_told_the_policy_s_windows_where_it_knows_others() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("windows-told");
    let looker = on(cluster, &prefix);
    looker.set_max(9, false).await.unwrap();
    let list = [("02:00", "4h")];
    let clock = SetClock::at("03:00:00");
    let told = async |id: &str, known: &[(&str, &str)]| {
        let told = RefCell::new(Vec::new());
        let mut claim = claim_at(id, &clock, &[], None);
        claim.windows.as_mut().unwrap().known = specs(known);
        let note = |wait: Wait| told.borrow_mut().extend(wait.policy_windows);
        on(cluster, &prefix).acquire(&claim, note).await;
        told.into_inner()
    };
    assert_eq!(told("a", &[]).await, [[]; 0]);
    assert_eq!(told("b", &list).await, [[]]);
    set(&looker, &windows(&list)).await;
    assert_eq!(told("c", &list).await, [[]; 0]);
    assert_eq!(told("d", &[]).await, [specs(&list)]);
}

#[tokio::test]
async fn unusable_window_in_a_damaged_policy_stops_the_group_and_is_shown() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let prefix = unique_prefix("windows-damaged");
            let looker = on(cluster, &prefix);
            looker.set_max(2, false).await.unwrap();
            let clock = SetClock::at("02:30:00");
            let holds = on(cluster, &prefix);
            let a = claim_at("a", &clock, &[], None);
            holds.acquire(&a, |_| {}).await;
            let damaged = r#"{"windows":[{"at":"02:00","for":"4h"},{"at":"02:00","for":"4h","zone":"Nowhere"}]}"#;
            put(cluster, &looker.keys().policy(), damaged).await;
            let text = "the group's policy cannot be used: windows: window 2: zone: found \"Nowhere\", expected a time zone of \
                        this system such as Europe/Berlin or UTC; it reads: {";
            let (said, b) = waits(on(cluster, &prefix), claim_at("b", &clock, &[], None));
            says(&said, text).await;
            let refused = holds.commit(&a).await.unwrap();
            assert!(
                matches!(&refused, Committed::No(why) if why.to_string().contains(text)),
                "{refused:?}"
            );
            put(cluster, &looker.keys().policy(), r#"{"windows":[{"at":"02:00","for":"4h"}]}"#).await;
            // As with every policy that is put by hand, who waits as the first sees it with the document.
            looker.set_max(3, false).await.unwrap();
            holds_soon(b).await;
        })
        .await;
}

/// `policy set --window`, for an hour, by an operator.
async fn set_window(site: &Site, node: &Node, at: &str) {
    let words = ["policy", "set", "--window", at, "--for", "1h"];
    let done = site.command(node, &words).await;
    assert_eq!(done.code, Some(0), "{done:?}");
}

fn now() -> Zoned {
    Timestamp::now().to_zoned(TimeZone::UTC)
}

#[tokio::test]
async fn agent_waits_for_the_policy_s_window_and_reboots_in_it() {
    let site = Site::new("policy-windows");
    let node = site.node("node-1", &[]).await;
    set_window(&site, &node, "2030-01-01 02:00").await;
    node.update_engine().ready("2").await;
    let outside = "waiting: outside the reboot window of the group's policy; it opens 2030-01-01 02:00:00 UTC";
    node.wait_status(|status| status == outside).await;
    site.record(&node, |record| {
        record.state == "waiting" && outside.ends_with(&record.waits_for)
    })
    .await;
    assert!(site.read().await.queue.is_empty());
    let journal = std::fs::read_to_string(node.path("var/lib/pointsman/journal.json")).unwrap();
    assert!(journal.contains("2030-01-01 02:00"), "{journal}");
    let shown = site.status(&node).await.stdout;
    let line =
        "Reboot windows: 2030-01-01 02:00 for 1h in UTC (closed until 2030-01-01 02:00:00 UTC)";
    assert!(shown.contains(line), "{shown}");
    let opens = now() + 5.seconds();
    set_window(
        &site,
        &node,
        &opens.strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
    .await;
    let says = opens.strftime("it opens %Y-%m-%d %H:%M:%S UTC").to_string();
    node.wait_status(|status| status.ends_with(&says)).await;
    assert!(node.logind().asked().is_empty());
    node.logind().rebooted().await;
    let late = now().duration_since(&opens);
    assert!(late.as_secs() >= -1, "{late}");
}

#[tokio::test]
async fn agent_whose_policy_s_window_closes_during_the_drain_steps_back() {
    let site = Site::new("policy-windows-drain");
    let node = site.node("node-1", &[]).await;
    slow_drain(&node);
    node.update_engine().ready("2").await;
    draining(&node).await;
    set_window(&site, &node, "2030-01-01 02:00").await;
    drained(&node);
    node.wait_status(|status| {
        status.starts_with("waiting: ")
            && status
                .contains("outside the reboot window of the group's policy; it opens 2030-01-01")
    })
    .await;
    site.free().await;
    assert_eq!(undrained(&node), ["stepping-back"]);
    assert!(node.logind().asked().is_empty());
    let unset = site.command(&node, &["policy", "unset", "window"]).await;
    assert_eq!(unset.code, Some(0), "{unset:?}");
    node.logind().rebooted().await;
}

/// A node with an update staged, whose own windows and those of the policy are closed for years.
async fn closed(name: &str) -> (Site, Node) {
    let site = Site::new(name);
    let own = r#"[{"at": "2031-01-01 02:00", "for": "1h", "zone": "UTC"}]"#;
    let node = site.node("node-1", &[("POINTSMAN_WINDOWS", own)]).await;
    set_window(&site, &node, "2030-01-01 02:00").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("outside the reboot window"))
        .await;
    (site, node)
}

#[tokio::test]
async fn urgent_reboot_waits_for_its_turn_and_for_no_window() {
    let (site, node) = closed("urgent").await;
    site.lock().await;
    let run = async |args: &[&str]| site.command(&node, args).await;
    // An ordinary request waits for the windows.
    run(&["reboot", "--reason", "new disk"]).await.must(0);
    node.wait_status(|status| status.contains("outside the reboot window"))
        .await;
    assert!(site.read().await.queue.is_empty());
    let without = run(&["reboot", "--urgent"]).await;
    assert_eq!(without.code, Some(2), "{without:?}");
    assert!(without.stderr.contains("--reason"), "{without:?}");

    run(&["reboot", "--urgent", "--reason", "a hole"])
        .await
        .must(0);
    site.until("its ticket", |group| group.queue.len() == 1)
        .await;
    assert!(node.logind().asked().is_empty());
    let status = site.status(&node).await.stdout;
    assert!(status.contains("requested: urgent: a hole"), "{status}");
    // Cancelled, only the update is left, which waits for the windows.
    run(&["cancel"]).await.must(0);
    site.until("no ticket", |group| group.queue.is_empty())
        .await;
    run(&["reboot", "--urgent", "--reason", "a hole"])
        .await
        .must(0);
    site.until("its ticket", |group| group.queue.len() == 1)
        .await;

    slow_drain(&node);
    site.unlock("operator").await;
    draining(&node).await;
    let holders = site.read().await.holders;
    let entry = holders[0].entry.as_ref().unwrap();
    assert_eq!(entry.reason.as_deref(), Some("urgent: a hole"));
    drained(&node);
    node.logind().rebooted().await;
    let history = run(&["history", "--json"]).await.must(0);
    let history: serde_json::Value = serde_json::from_str(&history).unwrap();
    let found: Vec<_> = history
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["reason"] == "urgent: a hole")
        .filter_map(|event| event["event"].as_str())
        .collect();
    // The second request is a new one.
    let expected = ["requested", "requested", "draining", "rebooting"];
    assert_eq!(found, expected, "{history:#}");
}

#[tokio::test]
async fn reboot_that_is_not_urgent_any_more_steps_back_outside_the_windows() {
    let site = Site::new("not-urgent");
    let node = site.node("node-1", &[]).await;
    set_window(&site, &node, "2030-01-01 02:00").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("outside the reboot window"))
        .await;
    slow_drain(&node);
    let urgent = ["reboot", "--urgent", "--reason", "a hole"];
    site.command(&node, &urgent).await.must(0);
    draining(&node).await;
    // The update is wanted all the same, but not outside the windows of the policy.
    site.command(&node, &["cancel"]).await.must(0);
    drained(&node);
    node.wait_status(|status| {
        status.starts_with("waiting: ") && status.contains("outside the reboot window")
    })
    .await;
    site.free().await;
    assert_eq!(undrained(&node), ["stepping-back"]);
    assert!(node.logind().asked().is_empty());
}
