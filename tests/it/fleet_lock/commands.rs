//! What people see and do on a node with the strategy `fleet-lock`.

use pointsman_testbed::{
    airlock::Fault,
    disk::Slot,
    node::AutoReboot,
    web::{Reply, Web},
};
use serde_json::Value;

use super::*;
use crate::{
    agents::{draining, slow_drain},
    trials::runs_from,
};

/// A node that is configured by its file, as commands need it, and whose default etcd is nowhere.
async fn configured(server: &Airlock, name: &str, more: &str) -> Node {
    let node = machine(name).await;
    let text = format!(
        "strategy: fleet-lock\nfleet-lock: {{url: {}, poll-interval: 30ms, timeout: 300ms}}\n\
         timings: {{retry-min: 20ms, retry-max: 100ms}}\n{more}",
        server.url()
    );
    node.write("etc/pointsman/config.yaml", &text);
    node
}

async fn started(node: &Node) {
    let args: [&str; 0] = [];
    node.start(bin(), &args, &[]).await;
    node.wait_ready().await;
    node.wait_status(|status| status == "idle").await;
}

async fn run(node: &Node, words: &[&str], code: i32) -> String {
    node.run(bin(), words).await.must(code)
}

/// A refusal of a command: its text.
async fn refused(node: &Node, words: &[&str], code: i32) -> String {
    let output = node.run(bin(), words).await;
    assert_eq!(output.code, Some(code), "{output:?}");
    output.stderr
}

async fn status(node: &Node) -> Value {
    serde_json::from_str(&run(node, &["status", "--json"], 0).await).unwrap()
}

#[tokio::test]
async fn status_shows_server_place_last_call_and_when_it_asks_again() {
    let server = Airlock::start(1).await;
    let node = configured(&server, "fleet-status", "").await;
    slow_drain(&node);
    started(&node).await;
    let base = format!("{}/", server.url());
    let shown = run(&node, &["status"], 0).await;
    assert!(
        shown.starts_with("This node: fleet-status (") && shown.contains(") is idle since "),
        "{shown}"
    );
    let own = id(&node);
    let rest = format!(
        "  strategy: fleet-lock\n  FleetLock server: {base}\n  known there as: {own} in group default\n  last call: steady-state at 20"
    );
    assert!(shown.contains(&rest), "{shown}");
    assert!(
        shown.contains(": the node has no place any more\n  reboot lock: not held\n"),
        "{shown}"
    );
    assert!(!shown.contains("etcd"), "{shown}");
    run(&node, &["status", "--check"], 0).await;

    server.says_full(423, "lock_held");
    server.take("another");
    node.update_engine().ready("2").await;
    server.wait_calls("pre-reboot", 2).await;
    let waits = eventually(
        "what it waits for",
        async || status(&node).await,
        |status| {
            status["node"]["reason"]
                .as_str()
                .is_some_and(|reason| reason.contains("lock_held"))
        },
    )
    .await;
    let said = "answered 423 lock_held: all 1 semaphore slots currently locked";
    let reason = waits["node"]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with(&format!(
            "the FleetLock server {base} {said}; it is tried again at 20"
        )),
        "{reason}"
    );
    let of = &waits["node"]["fleet_lock"];
    assert_eq!(
        (of["url"].as_str(), of["error"].as_str()),
        (Some(base.as_str()), Some(""))
    );
    let last = of["last_call"].as_str().unwrap();
    assert!(
        last.starts_with("pre-reboot at 20") && last.ends_with(said),
        "{last}"
    );
    assert_eq!(
        (of["id"].as_str(), of["group"].as_str()),
        (Some(own.as_str()), Some("default"))
    );
    let shown = run(&node, &["status"], 0).await;
    assert_eq!(shown.matches("lock_held").count(), 1, "{shown}");
    let windows = run(&node, &["windows"], 0).await;
    assert!(!windows.contains("policy"), "{windows}");
    assert_eq!(waits["node"]["strategy"], "fleet-lock");
    assert_eq!(waits["node"]["state"], "waiting");
    assert_eq!(waits["node"]["holding"], false);
    assert!(waits.get("etcd_error").is_none(), "{waits}");
    // That others are out is no trouble.
    run(&node, &["status", "--check"], 0).await;

    server.release("another");
    draining(&node).await;
    let shown = run(&node, &["status"], 0).await;
    assert!(
        shown.contains("is draining since") && shown.contains("  reboot lock: held\n"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_server_that_is_none_is_a_finding_a_notification_and_a_metric() {
    let server = Airlock::start(1).await;
    let hook = Web::with_text("").await;
    let more = format!(
        "notify: [{{webhook: '{}/told'}}]\nmetrics: {{textfile: /pointsman.prom}}\n",
        hook.url()
    );
    let node = configured(&server, "fleet-trouble", &more).await;
    started(&node).await;
    let metric = |up: u8| format!("\npointsman_fleet_lock_up {up}\n");
    let figures = async || std::fs::read_to_string(node.path("pointsman.prom")).unwrap_or_default();
    eventually("up", figures, |text| text.contains(&metric(1))).await;
    let gone = Reply::Body(404, b"404 page not found".to_vec());
    server.always("pre-reboot", Some(Fault::Instead(gone)));
    node.update_engine().ready("2").await;
    eventually("down", figures, |text| text.contains(&metric(0))).await;
    let told = async || {
        let seen = hook.seen();
        let told = seen
            .iter()
            .map(|request| serde_json::from_slice::<Value>(&request.body).unwrap());
        told.collect::<Vec<Value>>()
    };
    let events = |told: &Vec<Value>| -> Vec<String> {
        let events = told.iter().filter_map(|told| told["event"].as_str());
        events
            .filter(|event| event.starts_with("fleet-lock"))
            .map(str::to_owned)
            .collect()
    };
    let heard = eventually("told", told, |told| {
        events(told) == ["fleet-lock-unreachable"]
    })
    .await;
    let text = heard.last().unwrap()["text"].as_str().unwrap();
    assert!(
        text.contains(
            "the FleetLock server cannot be used, and this node does not reboot by itself"
        ) && text.contains("answered 404: nothing is at "),
        "{text}"
    );
    let check = node.run(bin(), &["status", "--check"]).await;
    assert_eq!(check.code, Some(2), "{check:?}");
    let says = format!(
        "CRITICAL - the FleetLock server {}/ answered 404: nothing is at ",
        server.url()
    );
    assert!(check.stdout.contains(&says), "{check:?}");
    server.always("pre-reboot", None);
    node.logind().rebooted().await;
    eventually("told", told, |told| {
        events(told) == ["fleet-lock-unreachable", "fleet-lock-reachable"]
    })
    .await;
}

/// The command says what it lacks, and what to do.
#[tokio::test]
async fn commands_that_need_etcd_say_that_there_is_none() {
    let server = Airlock::start(1).await;
    let node = configured(&server, "fleet-no-etcd", "").await;
    started(&node).await;
    let says = format!(
        "this node asks the FleetLock server {}/ (strategy fleet-lock), and etcd.endpoints is not set: there is no etcd that this \
         command could use. To use one all the same: --endpoint URL\n",
        server.url()
    );
    for words in [
        &["lock"][..],
        &["unlock"],
        &["set-max", "2"],
        &["pause", "--reason", "x"],
        &["resume"],
        &["policy"],
        &["waves"],
        &["store"],
        &["acts"],
        &["history", "--cluster"],
        &["status", "--nodes"],
        &["status", "--all-groups"],
        &["forget", "x"],
    ] {
        let error = refused(&node, words, 2).await;
        assert!(error.contains(&says), "{words:?}: {error}");
    }
    // A quarantine is this node's own, as with every strategy that does not use etcd.
    run(&node, &["quarantine", "add", "2", "--reason", "bad"], 0).await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("is quarantined: bad"))
        .await;
    assert_eq!(server.count("pre-reboot"), 0);
    run(&node, &["quarantine", "clear", "2"], 0).await;
    node.logind().rebooted().await;
}

#[tokio::test]
async fn history_and_config_tell_of_it() {
    let server = Airlock::start(1).await;
    let node = configured(&server, "fleet-history", "").await;
    node.add_disk("1");
    node.auto_reboot(AutoReboot::default());
    started(&node).await;
    node.stage("2").await;
    runs_from(&node, Slot::B, 1).await;
    held_by(&server, &[]).await;
    node.wait_status(|status| status == "idle").await;
    let history = run(&node, &["history", "--json"], 0).await;
    let events: Vec<Value> = serde_json::from_str(&history).unwrap();
    let kinds: Vec<&str> = events
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    assert_eq!(
        kinds,
        ["staged", "draining", "rebooting", "proven"],
        "{history}"
    );
    let config = run(&node, &["config"], 0).await;
    for (key, value) in [
        ("fleet-lock.url", server.url()),
        ("fleet-lock.poll-interval", "30ms"),
        ("fleet-lock.timeout", "300ms"),
        ("fleet-lock.cafile", "-"),
    ] {
        let shown = config.lines().any(|line| {
            let mut cells = line.split_whitespace();
            (cells.next(), cells.next()) == (Some(key), Some(value))
        });
        assert!(shown, "{config}\n{key} {value}");
    }
    // Back to the image before is a reboot like any other, with a place.
    run(&node, &["rollback", "--reboot"], 0).await;
    runs_from(&node, Slot::A, 2).await;
    held_by(&server, &[]).await;
    assert_eq!(server.count("pre-reboot"), 2);
}

/// The agent is gone for good, and the package is removed.
#[tokio::test]
async fn what_the_journal_of_a_dead_agent_holds_is_released_by_the_package() {
    let server = Airlock::start(1).await;
    let node = configured(&server, "fleet-package", "").await;
    slow_drain(&node);
    started(&node).await;
    node.update_engine().ready("2").await;
    draining(&node).await;
    node.kill().await;
    assert_eq!(server.holders(), [id(&node)]);
    // Nothing was looked at: that is no good news.
    let check = node.run(bin(), &["status", "--check"]).await;
    assert_eq!(check.code, Some(2), "{check:?}");
    assert!(
        check
            .stdout
            .starts_with("CRITICAL - no agent runs on this node"),
        "{check:?}"
    );
    server.script(
        "steady-state",
        [Fault::Instead(Reply::Body(503, Vec::new()))],
    );
    let error = refused(&node, &["unlock", "--journalled"], 4).await;
    let says = format!(
        "the FleetLock server {}/ answered 503 without a reason. Perhaps this node still has a place there, in group default as {}",
        server.url(),
        id(&node)
    );
    assert!(error.contains(&says), "{error}");
    let said = run(&node, &["unlock", "--journalled"], 0).await;
    assert_eq!(
        said,
        format!(
            "Nothing is held at the FleetLock server {}/ any more.\n",
            server.url()
        )
    );
    assert_eq!(server.holders(), [""; 0]);
}

/// Without a server, with a bad one, or with one that anybody on the network can answer for.
#[tokio::test]
async fn a_configuration_that_cannot_work_is_named_at_the_start() {
    let node = machine("fleet-config").await;
    let agent = async |text: &str| {
        node.write("etc/pointsman/config.yaml", text);
        let output = node.run(bin(), &["agent"]).await;
        (output.code, output.stderr)
    };
    for (text, says) in [
        (
            "strategy: fleet-lock\n",
            ":1:11: strategy: found fleet-lock without fleet-lock.url, expected fleet-lock.url beside it",
        ),
        (
            "strategy: fleet-lock\nfleet-lock: {url: 'https://u:s3cret@h/'}\n",
            ":2:19: fleet-lock.url: found \"https://…@h/\" with a user name, expected ",
        ),
        (
            "strategy: fleet-lock\nfleet-lock: {url: 'https://h/', cafile: /none.pem}\n",
            "/none.pem: No such file or directory",
        ),
    ] {
        let (code, error) = agent(text).await;
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains(says) && !error.contains("s3cret"), "{error}");
    }
    let unused = "strategy: reboot\nfleet-lock: {url: 'https://192.0.2.1/'}\n";
    node.write("etc/pointsman/config.yaml", unused);
    let output = node.run(bin(), &["config"]).await;
    let says = "https://192.0.2.1/ is not asked, because the strategy is reboot";
    assert!(
        output.code == Some(0) && output.stderr.contains(says),
        "{output:?}"
    );
    let plain = "strategy: fleet-lock\nfleet-lock: {url: 'http://192.0.2.1/'}\n";
    node.write("etc/pointsman/config.yaml", plain);
    let output = node.run(bin(), &["config"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output
            .stderr
            .contains("fleet-lock.url: http://192.0.2.1/ is on another machine and without TLS: "),
        "{output:?}"
    );
}
