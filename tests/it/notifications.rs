//! Programs and webhooks that are told what happens on a node.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use pointsman_testbed::{
    disk::Slot,
    etcd::shared_cluster,
    node::{AutoReboot, Node},
    process::Signal,
    proxy::{Mode, Proxy},
    web::{Reply, Request, Web},
};
use serde_json::Value;

use crate::{
    agents::{Site, bin, hook, machine},
    support::eventually,
    trials::{QUICK, judge, runs_from},
};

const FILE: &str = "etc/pointsman/config.yaml";

/// A node that runs version 1 from a disk, with these receivers.
async fn node(site: &Site, receivers: &str, bad: &[&str]) -> Node {
    let node = machine("node-1").await;
    node.add_disk("1");
    judge(&node, "health.d", bad);
    node.auto_reboot(AutoReboot::default());
    node.write(FILE, &format!("notify:\n{receivers}"));
    site.start(&node, &QUICK).await;
    node.wait_status(|status| status == "idle").await;
    node
}

/// A program that writes down what it is told, a line each.
fn writes_down(node: &Node) -> String {
    let told = node.path("told");
    let name = "notify";
    hook(
        node,
        name,
        &format!("cat >>{0}; echo >>{0}", told.display()),
    );
    let program = node.path(&format!("etc/pointsman/hooks/{name}"));
    program.display().to_string()
}

fn told(node: &Node) -> Vec<Value> {
    let text = std::fs::read_to_string(node.path("told")).unwrap_or_default();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn events(told: &[Value]) -> Vec<String> {
    let event = |one: &Value| one["event"].as_str().unwrap().to_owned();
    told.iter().map(event).collect()
}

const UPDATE: [&str; 4] = ["staged", "draining", "rebooting", "proven"];

#[tokio::test]
async fn program_is_told_each_step_of_an_update() {
    let site = Site::new("notify-program");
    let machine_with_program = machine("node-1").await;
    let node = &machine_with_program;
    node.add_disk("1");
    node.auto_reboot(AutoReboot::default());
    let program = writes_down(node);
    let list =
        format!("notify:\n- command: {program}\n- {{command: /bin/false, events: [soaking]}}\n");
    node.write(FILE, &list);
    site.start(node, &QUICK).await;
    node.wait_status(|status| status == "idle").await;
    node.stage("2").await;
    runs_from(node, Slot::B, 1).await;
    let all = eventually("all is told", async || told(node), |told| told.len() >= 4).await;
    assert_eq!(events(&all), UPDATE);
    let last = &all[3];
    assert_eq!(
        (
            &last["version"],
            last["hostname"].as_str(),
            last["node"].as_str()
        ),
        (&1.into(), Some("node-1"), Some(node.machine_id()))
    );
    assert_eq!(last["to"]["version"], "2");
    assert_eq!(last["from"]["version"], "1");
    assert!(last["seconds"].is_u64(), "{last}");
    let text = last["text"].as_str().unwrap();
    assert!(text.starts_with("node-1: 2 is proven after "), "{text}");
    // Nothing waits any more.
    let folder = node.path("var/lib/pointsman/notify");
    let waiting = async || std::fs::read_dir(&folder).map_or(0, Iterator::count);
    eventually("nothing waits", waiting, |waiting| *waiting == 0).await;
}

#[tokio::test]
async fn receiver_is_told_also_where_nothing_can_be_kept_for_it() {
    let site = Site::new("notify-unwritable");
    let node = machine("node-1").await;
    node.add_disk("1");
    node.auto_reboot(AutoReboot::default());
    let program = writes_down(&node);
    node.write(FILE, &format!("notify:\n- command: {program}\n"));
    // A file where the folder is to be.
    node.write("var/lib/pointsman/notify", "");
    site.start(&node, &QUICK).await;
    node.wait_status(|status| status == "idle").await;
    node.stage("2").await;
    runs_from(&node, Slot::B, 1).await;
    site.free().await;
    let last = async || events(&told(&node)).pop();
    eventually("it is told", last, |last| last.as_deref() == Some("proven")).await;
    let log = node.log();
    assert!(log.contains("what waits for command"), "{log}");
}

#[tokio::test]
async fn what_waits_for_a_receiver_goes_with_it_when_the_configuration_is_read_again() {
    let site = Site::new("notify-reload");
    let node = node(&site, "- command: /bin/false\n- command: /bin/cat\n", &[]).await;
    node.stage("2").await;
    runs_from(&node, Slot::B, 1).await;
    site.free().await;
    let folder = node.path("var/lib/pointsman/notify");
    let waiting = async || std::fs::read_dir(&folder).map_or(0, Iterator::count);
    eventually("one of them fails", waiting, |waiting| *waiting == 1).await;
    node.write(FILE, "notify:\n- command: /bin/cat\n");
    node.child().signal(Signal::SIGHUP);
    eventually("nothing waits", waiting, |waiting| *waiting == 0).await;
    let log = node.log();
    assert!(log.contains(
        "command /bin/false: a notification is tried again: it ended with exit status: 1"
    ));
}

#[tokio::test]
async fn etcd_is_said_to_answer_again_only_when_it_does() {
    let site = Site::new("notify-etcd");
    let proxy = Proxy::start(shared_cluster().address(0)).await;
    proxy.set(Mode::Refuse).await;
    let node = machine("node-1").await;
    let program = writes_down(&node);
    let list = format!("notify:\n- command: {program}\n");
    node.write(FILE, &list);
    let env = [("POINTSMAN_TIMEOUT", "300ms")];
    crate::agents::agent(&node, &[proxy.url()], &site.prefix, &env).await;
    let seen = async || events(&told(&node));
    let unreachable = ["etcd-unreachable"];
    eventually("it is told", seen, |seen| *seen == unreachable).await;
    // Another configuration says nothing of etcd.
    node.write(FILE, &format!("{list}timings: {{proving: 1m}}\n"));
    node.child().signal(Signal::SIGHUP);
    let log = async || node.log();
    let changed = "the configuration has changed";
    eventually(changed, log, |log| log.contains(changed)).await;
    node.wait_status(|status| status.contains("etcd: saying this node's state"))
        .await;
    assert_eq!(seen().await, unreachable);
    proxy.set(Mode::Pass).await;
    let both = ["etcd-unreachable", "etcd-reachable"];
    eventually("both are told", seen, |seen| seen.len() == 2).await;
    assert_eq!(seen().await, both);
}

/// A server that does not answer the first request, and refuses the others until it is well.
async fn server(well: Arc<AtomicBool>) -> Web {
    Web::serve(move |_: &Request, before| match before {
        0 => Reply::Stall,
        // The connection ends before the answer.
        1 => Reply::Claim(100, Vec::new()),
        _ if well.load(Ordering::SeqCst) => Reply::ok("thanks"),
        _ => Reply::Body(503, Vec::new()),
    })
    .await
}

#[tokio::test]
async fn receiver_that_does_not_answer_delays_no_reboot_and_is_told_all_of_it_later() {
    let site = Site::new("notify-dead");
    let well = Arc::new(AtomicBool::new(false));
    let web = server(well.clone()).await;
    let list = format!("- webhook: {}/secret-token\n", web.url());
    let node = node(&site, &list, &[]).await;
    node.stage("2").await;
    runs_from(&node, Slot::B, 1).await;
    site.free().await;
    node.wait_status(|status| status == "idle").await;
    let asked = async || web.seen().len();
    eventually("it is tried again", asked, |asked| *asked > 2).await;
    // Nor does it matter that its agent is killed.
    node.kill().await;
    node.start_again();
    node.wait_status(|status| status == "idle").await;
    let before = web.seen().len();
    well.store(true, Ordering::SeqCst);
    let taken = || {
        let seen = web.seen().into_iter().skip(before);
        let bodies = seen.map(|request| {
            assert_eq!(
                (request.method.as_str(), request.path.as_str()),
                ("POST", "/secret-token")
            );
            assert_eq!(request.headers["content-type"], "application/json");
            serde_json::from_slice::<Value>(&request.body).unwrap()
        });
        let mut bodies: Vec<Value> = bodies.collect();
        // The first may have been refused once more.
        bodies.dedup();
        bodies
    };
    let all = eventually("all is told", async || taken(), |taken| taken.len() >= 4).await;
    assert_eq!(events(&all), UPDATE);
    // The URL may be as good as a password.
    let shown = node.run(bin(), &["config"]).await.stdout;
    assert!(
        shown.contains(&format!("webhook {}/***", web.url())),
        "{shown}"
    );
    assert!(!shown.contains("secret") && !node.log().contains("secret"));
}

#[tokio::test]
async fn chat_is_told_a_sentence_of_the_events_that_it_wants() {
    let site = Site::new("notify-chat");
    // The first one is refused for good.
    let web = Web::serve(|_, before| match before {
        0 => Reply::Body(400, Vec::new()),
        _ => Reply::ok("ok"),
    })
    .await;
    let list = format!(
        "- {{webhook: \"{}/\", format: slack, events: [rebooting, quarantined]}}\n",
        web.url()
    );
    let node = node(&site, &list, &["2"]).await;
    node.stage("2").await;
    runs_from(&node, Slot::A, 2).await;
    let seen = async || web.seen();
    let seen = eventually("both are told", seen, |seen| seen.len() >= 2).await;
    let bodies: Vec<Value> = seen
        .iter()
        .map(|request| serde_json::from_slice(&request.body).unwrap())
        .collect();
    let first = serde_json::json!({"text": "node-1: it reboots from 1 into 2: update to 2"});
    assert_eq!(bodies[0], first);
    let text = bodies[1]["text"].as_str().unwrap();
    assert!(text.starts_with("node-1: 2 is quarantined: "), "{text}");
    let shown = node.run(bin(), &["config"]).await.stdout;
    let all = format!(
        "webhook {}/***, format slack, events rebooting quarantined",
        web.url()
    );
    assert!(shown.contains(&all), "{shown}");
    assert_eq!(bodies[1].as_object().unwrap().len(), 1);
}

#[test]
fn page_names_each_event_and_each_field() {
    let page = include_str!("../../docs/reference/notifications.md");
    for event in settings::NOTIFY_EVENTS {
        let row = |line: &str| line.starts_with("| `") && line.contains(&format!("`{event}`"));
        assert!(page.lines().any(row), "{event}");
    }
    let image = serde_json::json!({"image": "sha256:1", "version": "1"});
    let mut fields = crate::commands::documented(page);
    fields.retain(|field| !field.contains('.'));
    let example: Value = serde_json::json!({
        "version": 1, "event": "proven", "text": "", "time": "2026-12-01T14:22:11Z", "node": "0a", "hostname": "web-1",
        "group": "prod", "from": image, "to": image, "reason": "so", "seconds": 1,
    });
    let told: pointsman::notify::Notification = serde_json::from_value(example).unwrap();
    let told = serde_json::to_value(told).unwrap();
    let told: std::collections::BTreeSet<String> =
        told.as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields, told);
}
