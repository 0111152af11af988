//! What servers, proxies and networks answer: only a status of success is one, and nothing of it is lost on the way.

use pointsman_testbed::{
    airlock::Fault,
    node::AutoReboot,
    web::{Reply, Web},
};

use super::*;

fn json(status: u16, kind: &str, value: &str) -> Reply {
    let body = serde_json::json!({"kind": kind, "value": value}).to_string();
    Reply::Body(status, body.into_bytes())
}

/// How often the log has this.
fn logged(node: &Node, text: &str) -> usize {
    node.log().matches(text).count()
}

#[tokio::test]
async fn no_other_answer_than_success_lets_a_node_reboot() {
    let server = Airlock::start(1).await;
    let elsewhere = Web::with_text("").await;
    let node = node(
        &server,
        "fleet-answers",
        &[("POINTSMAN_FLEET_LOCK_TIMEOUT", "300ms")],
    )
    .await;
    let there = format!("{}/v1/pre-reboot", elsewhere.url());
    let moved = |status| {
        let says = format!(
            "redirects to {there} ({status}), which is not followed; if that is the server: fleet-lock.url {}/",
            elsewhere.url()
        );
        (Reply::Moved(status, there.clone()), says)
    };
    let here = format!("{}/v1/pre-reboot", server.url());
    let cases = [
        (
            json(423, "lock_held", "host b"),
            "answered 423 lock_held: host b".to_owned(),
        ),
        (
            json(500, "failed_lock", "full"),
            "answered 500 failed_lock: full".to_owned(),
        ),
        (
            json(400, "bad", "a\u{1b}[2Jb"),
            r"answered 400 bad: a\u{1b}[2Jb".to_owned(),
        ),
        (
            Reply::Body(404, b"404 page not found".to_vec()),
            format!("answered 404: nothing is at {here}; fleet-lock.url is what stands before v1/"),
        ),
        (
            Reply::Body(405, Vec::new()),
            "answered 405 without a reason".to_owned(),
        ),
        (
            Reply::Body(500, b"{\"kind\":".to_vec()),
            "answered 500 without a reason".to_owned(),
        ),
        (
            Reply::Body(502, vec![b'x'; 1 << 20]),
            "answered 502 without a reason".to_owned(),
        ),
        (
            Reply::Body(304, Vec::new()),
            "redirects to a place that it does not name (304), which is not followed".to_owned(),
        ),
        moved(301),
        moved(302),
        moved(303),
        moved(307),
        moved(308),
        (Reply::Close, "does not answer: ".to_owned()),
        (
            Reply::Stall,
            "does not answer: error sending request: operation timed out".to_owned(),
        ),
    ];
    server.always("pre-reboot", Some(Fault::Instead(Reply::Close)));
    node.update_engine().ready("2").await;
    for (reply, says) in cases {
        server.always("pre-reboot", Some(Fault::Instead(reply)));
        let says = format!("the FleetLock server {}/ {says}", server.url());
        node.wait_status(|status| status.starts_with("waiting: ") && status.contains(&says))
            .await;
        assert_eq!(node.logind().reboots().len(), 0);
    }
    assert_eq!(elsewhere.seen(), [], "no redirect is followed");
    assert_eq!(server.holders(), [""; 0]);
    server.always("pre-reboot", None);
    node.logind().rebooted().await;
    assert_eq!(server.holders(), [id(&node)]);
}

/// The same refusal is said once, however often it comes.
#[tokio::test]
async fn a_refusal_is_logged_once() {
    let server = Airlock::start(1).await;
    server.says_full(423, "lock_held");
    server.take("another");
    let node = machine("fleet-once").await;
    node.add_disk("1");
    start(&node, server.url(), &[]).await;
    node.wait_status(|status| status == "idle").await;
    node.stage("2").await;
    server.wait_calls("pre-reboot", 6).await;
    let said = "answered 423 lock_held: all 1 semaphore slots currently locked";
    assert_eq!(logged(&node, said), 1, "{}", node.log());
    let history = node.run(bin(), &["history", "--json"]).await.must(0);
    let events: Vec<serde_json::Value> = serde_json::from_str(&history).unwrap();
    let kinds: Vec<&str> = events
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    assert_eq!(kinds, ["staged"]);
    server.release("another");
    node.logind().rebooted().await;
}

/// As Zincati has it: the status counts.
#[tokio::test]
async fn any_status_of_success_is_one_whatever_the_body() {
    for reply in [
        Reply::Body(204, Vec::new()),
        Reply::Body(200, b"<html>".to_vec()),
        json(299, "failed_lock", "no"),
        Reply::Endless,
        Reply::Claim(1000, b"x".to_vec()),
    ] {
        let server = Airlock::start(1).await;
        let node = node(&server, "fleet-success", &[]).await;
        server.script("pre-reboot", [Fault::After(reply)]);
        node.update_engine().ready("2").await;
        node.logind().rebooted().await;
        assert_eq!(server.count("pre-reboot"), 1);
        assert_eq!(server.holders(), [id(&node)]);
    }
}

/// The server gave the place, and the node does not know.
#[tokio::test]
async fn a_lost_answer_to_a_lock_is_asked_for_again() {
    for reply in [Reply::Close, Reply::Stall, Reply::Body(502, Vec::new())] {
        let server = Airlock::start(1).await;
        let quick = [("POINTSMAN_FLEET_LOCK_TIMEOUT", "300ms")];
        let node = node(&server, "fleet-lost", &quick).await;
        server.script("pre-reboot", [Fault::After(reply)]);
        node.auto_reboot(AutoReboot::default());
        node.update_engine().ready("2").await;
        node.logind().wait_reboots(1).await;
        assert_eq!(server.count("pre-reboot"), 2);
        held_by(&server, &[]).await;
        node.wait_status(|status| status == "idle").await;
        assert_eq!(node.version(), "2");
    }
}

/// The update is gone before the answer is there: the release waits for the end of that call, and does not overtake it.
#[tokio::test]
async fn a_release_does_not_overtake_a_lock_under_way() {
    let server = Airlock::start(1).await;
    // Long enough for the command between.
    let quick = [("POINTSMAN_FLEET_LOCK_TIMEOUT", "8s")];
    let node = node(&server, "fleet-overtake", &quick).await;
    server.script("pre-reboot", [Fault::Instead(Reply::Stall)]);
    node.update_engine().ready("2").await;
    server.wait_calls("pre-reboot", 1).await;
    node.update_engine()
        .set(pointsman_testbed::fakes::Status::idle())
        .await;
    node.wait_status(|status| status.starts_with("leaving"))
        .await;
    let shown = node.run(bin(), &["status", "--json"]).await.must(0);
    assert!(shown.contains("\"leaving\""), "{shown}");
    assert_eq!(calls(&server), ["steady-state", "pre-reboot"]);
    // Only now it has the place.
    server.take(&id(&node));
    held_by(&server, &[]).await;
    assert_eq!(
        calls(&server),
        ["steady-state", "pre-reboot", "steady-state"]
    );
    node.wait_status(|status| status == "idle").await;
}

/// A server in the field answers 423 to a release; networks lose the answer.
#[tokio::test]
async fn a_release_is_repeated_until_the_server_says_that_it_is_done() {
    let server = Airlock::start(1).await;
    let quick = [("POINTSMAN_FLEET_LOCK_TIMEOUT", "300ms")];
    let node = node(&server, "fleet-release", &quick).await;
    node.auto_reboot(AutoReboot::default());
    server.script(
        "steady-state",
        [
            Fault::Instead(json(423, "lock_held", "not now")),
            Fault::Instead(json(423, "lock_held", "not now")),
            Fault::Instead(Reply::Moved(
                301,
                "http://127.0.0.1:1/v1/steady-state".into(),
            )),
            Fault::Instead(Reply::Stall),
            Fault::Instead(Reply::Close),
            Fault::After(Reply::Close),
        ],
    );
    node.update_engine().ready("2").await;
    server.wait_calls("steady-state", 8).await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!(server.holders(), [""; 0]);
    assert_eq!(server.count("pre-reboot"), 1);
    assert_eq!(server.count("steady-state"), 8);
    let said = "answered 423 lock_held: not now: perhaps this node still has a place there";
    assert_eq!(logged(&node, said), 1, "{}", node.log());
}

/// A base without a slash at its end keeps its last part, and a wrong one is named.
#[tokio::test]
async fn a_base_url_with_a_path_is_used_as_it_is() {
    let server = Web::serve(
        |request, _| match request.path.starts_with("/fleet/lock/v1/") {
            true => Reply::ok(""),
            false => Reply::missing(),
        },
    )
    .await;
    let node = machine("fleet-base").await;
    let base = format!("{}/fleet/lock", server.url());
    start(&node, &base, &[]).await;
    node.wait_status(|status| status == "idle").await;
    node.update_engine().ready("2").await;
    node.logind().rebooted().await;
    let paths: Vec<String> = server
        .seen()
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert_eq!(
        paths,
        ["/fleet/lock/v1/steady-state", "/fleet/lock/v1/pre-reboot"]
    );
}
