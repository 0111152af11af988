//! The hooks `prometheus-alerts` and `alertmanager-silence`, with the real Prometheus, Alertmanager and amtool.

use std::net::TcpListener;

use pointsman_testbed::web::{Reply, Web};
use serde_json::{Value, json};

use super::*;
use crate::support::eventually;

/// An address that nobody listens at.
fn address() -> String {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().to_string()
}

/// Runs curl, and reads the JSON that is answered.
async fn get(url: &str) -> Value {
    let output = run("curl", ["-sS", "-m", "5", "-g", url], &[], PATIENCE).await;
    serde_json::from_str(&output.stdout).unwrap_or_default()
}

const RULES: &str = r#"
groups:
- name: test
  interval: 100ms
  rules:
  - {alert: DiskFull, expr: vector(1), labels: {severity: critical, instance: "n1:9100"}}
  - {alert: Watchdog, expr: vector(1)}
  - {alert: Pending, expr: vector(1), for: 1h}
"#;

#[tokio::test]
async fn a_node_stays_while_an_alert_that_counts_fires() {
    let dir = scratch::dir("prometheus");
    let config = dir.path().join("prometheus.yaml");
    let listen = address();
    fs::write(dir.path().join("rules.yaml"), RULES).unwrap();
    fs::write(&config, "rule_files: [rules.yaml]\n").unwrap();
    let data = dir.path().join("data");
    let prometheus = Spec::new("prometheus", dir.path().join("log"))
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", data.display()))
        .arg(format!("--web.listen-address={listen}"))
        .spawn();
    let firing = format!("http://{listen}/api/v1/query?query=ALERTS{{alertstate=\"firing\"}}");
    let both = async || {
        get(&firing).await["data"]["result"]
            .as_array()
            .map(Vec::len)
    };
    eventually("both alerts fire", both, |count| *count == Some(2)).await;

    let hook = Hook::new("prometheus-alerts", "");
    let with =
        |settings: &str| hook.configure(&format!("PROMETHEUS=http://{listen}/\n{settings}\n"));
    let all = "firing: DiskFull on n1:9100, Watchdog";
    let disk = "firing: DiskFull on n1:9100\n";
    for (settings, code, says) in [
        // A watchdog is no reason to stay.
        ("", 75, disk),
        ("IGNORE=", 75, all),
        ("ALERTS='Disk.*'", 75, disk),
        ("ALERTS='Other.*'", 0, ""),
        // The whole name.
        ("IGNORE='Disk'", 75, all),
        ("IGNORE='Disk.*|Watchdog'", 0, ""),
        (r#"MATCHERS='severity=~"crit.+"'"#, 75, disk),
        (r#"MATCHERS='severity="warning"'"#, 0, ""),
        ("IGNORE='Disk.*' ALWAYS_FIRING=Watchdog", 0, ""),
        ("ALWAYS_FIRING=Watchdog", 75, disk),
        (
            "IGNORE='.*' ALWAYS_FIRING=Pending",
            1,
            "the alert Pending does not fire",
        ),
        ("ALERTS='('", 1, "parse error"),
        ("ALERTS='a`b'", 1, "found a backquote in \"a`b\""),
    ] {
        with(settings);
        let said = hook.says("may-reboot", code, says).await;
        assert!(code != 0 || said.is_empty(), "{settings}: {said}");
    }
    prometheus.kill().await;
    with("IGNORE='.*'");
    hook.says("may-reboot", 1, "does not answer").await;
}

#[tokio::test]
async fn what_is_no_whole_answer_of_prometheus_lets_no_node_go() {
    let hook = Hook::new("prometheus-alerts", "");
    let empty = json!({"resultType": "vector", "result": []});
    for (reply, says) in [
        (Reply::ok("<html>Log in</html>"), "<html>Log in</html>"),
        (
            Reply::ok(json!({"status": "success", "data": {}}).to_string()),
            "answers: {",
        ),
        (
            Reply::ok(
                json!({"status": "success", "data": empty, "warnings": ["a store is away"]})
                    .to_string(),
            ),
            "a store is away",
        ),
        (
            Reply::Body(
                503,
                json!({"status": "error", "error": "starting"})
                    .to_string()
                    .into(),
            ),
            "starting",
        ),
        (Reply::Stall, "does not answer"),
        (
            Reply::Claim(1000, b"{\"status\":\"success\"".to_vec()),
            "does not answer",
        ),
    ] {
        let web = Web::serve(move |_, _| reply.clone()).await;
        hook.configure(&format!("PROMETHEUS={}\nREQUEST_TIMEOUT=1\n", web.url()));
        hook.says("may-reboot", 1, says).await;
    }
    // The least that is one.
    let whole = json!({"status": "success", "data": empty}).to_string();
    let web = Web::with_text(&whole).await;
    hook.configure(&format!("PROMETHEUS={}\n", web.url()));
    hook.says("may-reboot", 0, "").await;
}

#[tokio::test]
async fn a_silence_lasts_until_the_proof_and_at_most_until_the_deadline() {
    let dir = scratch::dir("alertmanager");
    let config = dir.path().join("alertmanager.yaml");
    fs::write(
        &config,
        "route: {receiver: none}\nreceivers: [{name: none}]\n",
    )
    .unwrap();
    let (listen, away) = (address(), address());
    let url = format!("http://{listen}");
    let alertmanager = Spec::new("prometheus-alertmanager", dir.path().join("log"))
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.path={}",
            dir.path().join("data").display()
        ))
        .arg(format!("--web.listen-address={listen}"))
        .arg("--cluster.listen-address=")
        .spawn();
    let amtool = async |args: &[&str]| {
        let at = format!("--alertmanager.url={url}");
        run("amtool", [&[at.as_str()], args].concat(), &[], PATIENCE).await
    };
    for name in ["node-1:9100", "node-1", "node-10:9100"] {
        let instance = format!("instance={name}");
        let add = async || amtool(&["alert", "add", "Down", &instance]).await.code;
        eventually("it takes an alert", add, |code| *code == Some(0)).await;
    }
    let theirs = [
        "silence",
        "add",
        "--author=op",
        "--comment=theirs",
        "instance=other",
    ];
    amtool(&theirs).await.must(0);

    let alertmanagers = format!("ALERTMANAGER='http://{away} {url}'\n");
    let hook = Hook::new("alertmanager-silence", &alertmanagers);
    hook.says("pre-reboot", 0, ", 1800 s at most").await;
    let list = amtool(&["silence", "query", "-o", "json"]).await.must(0);
    let list: Value = serde_json::from_str(&list).unwrap();
    let list = list.as_array().unwrap();
    let ours = list.iter().find(|silence| silence["createdBy"] != "op");
    let ours = ours.unwrap();
    assert_eq!(list.len(), 2, "{list:?}");
    assert_eq!(ours["createdBy"], format!("pointsman on {ID}"));
    assert_eq!(ours["comment"], "node-1 reboots: it's \"2\"");
    let at = |field: &str| -> jiff::Timestamp { ours[field].as_str().unwrap().parse().unwrap() };
    let lasts = at("endsAt").duration_since(at("startsAt")).as_secs();
    assert!((1797..=1800).contains(&lasts), "{ours}");
    // Which alerts it holds for.
    let silenced = async || {
        let alerts = get(&format!("{url}/api/v2/alerts?active=false&silenced=true")).await;
        let alerts = alerts.as_array().cloned().unwrap_or_default();
        let mut names: Vec<_> = alerts
            .iter()
            .map(|alert| alert["labels"]["instance"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    let both = ["node-1", "node-1:9100"];
    eventually("they are silenced", silenced, |names| *names == both).await;

    hook.says("post-boot", 0, "ended").await;
    let left = amtool(&["silence", "query", "-q"]).await.must(0);
    assert_eq!(left.lines().count(), 1, "{left}");
    let said = hook.says("post-boot", 0, "").await;
    assert!(!said.contains("ended"), "{said}");

    // Another label, a value without expressions.
    hook.configure(&format!(
        "{alertmanagers}MATCHER='node={{hostname}}.example.com'\n"
    ));
    hook.says("pre-reboot", 0, "at most").await;
    let found = amtool(&["silence", "query", "-q", "node=node-1.example.com"]).await;
    assert_eq!(found.must(0).lines().count(), 1);
    hook.configure(&format!("{alertmanagers}MATCHER=node\n"));
    hook.says("pre-reboot", 1, "MATCHER is \"node\", expected LABEL=VALUE")
        .await;

    alertmanager.kill().await;
    hook.configure(&alertmanagers);
    hook.says("pre-reboot", 0, "it reboots all the same").await;
    hook.says("post-boot", 1, "goes on until its end").await;
    hook.configure(&format!("{alertmanagers}ON_FAILURE=abort\n"));
    hook.says("pre-reboot", 1, "are not silenced").await;
}
