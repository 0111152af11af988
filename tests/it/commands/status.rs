//! What `status` shows.

use super::*;

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[tokio::test]
async fn the_json_has_the_shape_that_is_documented() {
    let op = Operator::new("json");
    let semaphore = on(shared_cluster(), &op.prefix);
    op.says(&["set-max", "2"], 0, "").await;
    let mut late = claim("late");
    late.holder.deadline = Some(1);
    semaphore.acquire(&late, |_| {}).await;
    // Taken by another tool: only the document knows.
    let mut client = shared_cluster().client().await;
    let text = r#"{"semaphore":0,"max":2,"holders":["foreign","late"]}"#;
    client
        .put(semaphore.keys().semaphore(), text, None)
        .await
        .unwrap();
    let left = serde_json::to_string(&holder("left", Phase::Draining)).unwrap();
    client
        .put(semaphore.keys().holder("left"), left, None)
        .await
        .unwrap();
    client
        .put(
            semaphore.keys().quarantine_version("2"),
            r#"{"version":"2","reason":"no"}"#,
            None,
        )
        .await
        .unwrap();
    let pause: Pause = serde_json::from_str(r#"{"by":"ann","reason":"tea"}"#).unwrap();
    semaphore.pause(false, &pause, None, true).await.unwrap();
    for id in ["first", "second"] {
        let ticket = format!(r#"{{"id":"{id}","hostname":"h"}}"#);
        client
            .put(semaphore.keys().ticket(id), ticket, None)
            .await
            .unwrap();
    }
    let overdue = async || op.json(&[]).await["groups"][0]["holders"][1]["overdue"].clone();
    eventually("overdue", overdue, |o| *o == Value::Bool(true)).await;

    let status = op.json(&[]).await;
    assert_eq!(
        keys(&status),
        [
            "groups",
            "member_before_accept",
            "member_out",
            "node",
            "node_error",
            "pause_all",
            "quarantine"
        ]
    );
    let documented = documents::documented_status();
    let undocumented: Vec<String> = documents::paths(&status)
        .difference(&documented)
        .cloned()
        .collect();
    assert!(undocumented.is_empty(), "{undocumented:?}");
    let group = &status["groups"][0];
    assert_eq!(
        keys(group),
        [
            "available",
            "group",
            "holders",
            "max",
            "nodes",
            "pause",
            "queue",
            "rollout"
        ]
    );
    assert_eq!(
        (group["max"].as_u64(), group["available"].as_i64()),
        (Some(2), Some(0))
    );
    let phases: Vec<_> = group["holders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|h| (h["id"].as_str().unwrap(), h["phase"].as_str().unwrap()))
        .collect();
    assert_eq!(
        phases,
        [
            ("foreign", "foreign"),
            ("late", "draining"),
            ("left", "leftover")
        ]
    );
    assert_eq!(
        keys(&group["holders"][1]),
        [
            "from", "hostname", "id", "overdue", "phase", "reason", "since", "to"
        ]
    );
    assert_eq!(group["queue"][0]["id"], "first");
    assert_eq!(group["queue"][1]["id"], "second");
    assert_eq!(group["pause"]["reason"], "tea");
    assert_eq!(group["nodes"][0]["state"], "draining");
    assert_eq!(status["quarantine"][0]["reason"], "no");
    assert_eq!(status["node"], Value::Null);
    let table = op.says(&["status"], 0, "draining OVERDUE").await.stdout;
    assert!(
        table.find("first") < table.find("second")
            && table.contains("leftover")
            && table.contains("QUARANTINED"),
        "{table}"
    );

    // Other groups are there when asked for.
    op.says(&["set-max", "1", "--new", "--group", "prod/db"], 0, "")
        .await;
    let all = op.json(&["--all-groups"]).await;
    let names: Vec<_> = all["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|g| g["group"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["", "prod/db"]);
}

#[tokio::test]
async fn status_shows_this_node_without_etcd() {
    let site = Site::new("status-agent");
    site.lock().await;
    let node = site.node("node-1", &[]).await;
    let idle = site.command(&node, &["status", "--json"]).await;
    let status: Value = serde_json::from_str(&idle.stdout).unwrap();
    assert_eq!(status["node"]["to"], Value::Null, "{idle:?}");
    node.update_engine().ready("2").await;
    site.until("its ticket", |group| group.queue.len() == 1)
        .await;
    node.wait_status(|status| status.contains("first in the queue"))
        .await;
    let output = site.command(&node, &["status"]).await;
    for says in [
        "is queued since",
        "waits for: first in the queue",
        "update: staged",
        "to: 2",
        node.machine_id(),
    ] {
        assert!(output.stdout.contains(says), "{says}: {}", output.stdout);
    }
    let args = ["status", "--json", "--endpoint", "http://127.0.0.1:1"];
    let output = node.run(bin(), &args).await;
    assert_eq!(output.code, Some(4), "{output:?}");
    let status: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(status["node"]["state"], "queued");
    assert_eq!(status["node"]["to"], "2");
    assert_eq!(
        keys(&status["node"]),
        [
            "config_error",
            "etcd_error",
            "failed_before",
            "group",
            "holding",
            "id",
            "member",
            "reason",
            "request",
            "since",
            "state",
            "strategy",
            "to",
            "update",
            "warnings"
        ]
    );
    assert!(
        status["etcd_error"]
            .as_str()
            .unwrap()
            .contains("127.0.0.1:1")
    );
}

#[tokio::test]
async fn holders_are_named_by_host_and_id_in_waits_for_as_well() {
    let site = Site::new("status-hosts");
    let (holds, waits) = (site.node("op1", &[]).await, site.node("op2", &[]).await);
    holds.update_engine().ready("2").await;
    holds.logind().rebooted().await;
    waits.update_engine().ready("2").await;
    waits
        .wait_status(|status| status.contains("taken by "))
        .await;
    let shown = site.command(&waits, &["status"]).await;
    let line = format!(
        "  waits for: first in the queue; the only place is taken by op1 ({})\n",
        holds.machine_id()
    );
    assert!(shown.stdout.contains(&line), "{line}: {shown:?}");
}

#[tokio::test]
async fn a_document_that_was_deleted_under_its_holders_is_no_unused_group() {
    let op = Operator::new("deleted");
    op.says(&["lock", "--as", "a"], 0, "").await;
    let key = on(shared_cluster(), &op.prefix).keys().semaphore();
    let mut client = shared_cluster().client().await;
    client.delete(key, None).await.unwrap();
    let shown = op.says(&["status"], 1, "it is missing, although it is held by a");
    let shown = shown.await;
    assert!(!shown.stdout.contains("Not used yet"), "{shown:?}");
    assert!(shown.stderr.contains("--rebuild"), "{shown:?}");
    op.says(&["set-max", "1", "--rebuild"], 0, "").await;
    op.says(&["status"], 0, "Available: 0\nMax: 1").await;
}

#[tokio::test]
async fn a_holders_own_state_and_reason_stand_below_its_row() {
    let op = Operator::new("own-word");
    let semaphore = on(shared_cluster(), &op.prefix);
    op.says(&["set-max", "2"], 0, "").await;
    let id = "1".repeat(32);
    for who in [id.as_str(), "other"] {
        let mut claim = claim(who);
        claim.holder.hostname = "op1".into();
        claim.node = None;
        semaphore.acquire(&claim, |_| {}).await;
    }
    let record = format!(
        r#"{{"id":"{id}","hostname":"op1","state":"unproven","reason":"disk\nfull","since":"2026-11-01T00:00:00Z"}}"#
    );
    semaphore
        .publish(&serde_json::from_str(&record).unwrap())
        .await
        .unwrap();
    let shown = op
        .says(
            &["status"],
            0,
            "op1 says: unproven: disk\\nfull, since 2026-11-01",
        )
        .await;
    let lines: Vec<&str> = shown.stdout.lines().collect();
    let row = lines.iter().position(|line| line.ends_with(&id)).unwrap();
    assert!(lines[row].starts_with("op1 "), "{lines:#?}");
    assert!(lines[row + 1].starts_with("  op1 says"), "{lines:#?}");
    assert!(lines[row + 2].ends_with(" other"), "{lines:#?}");
}

#[tokio::test]
async fn all_groups_are_those_with_a_document_or_a_node_and_this_nodes_own() {
    let op = Operator::new("all-groups");
    let semaphore = on(shared_cluster(), &op.prefix);
    let record = r#"{"id":"1","hostname":"n1","group":"web","state":"idle"}"#;
    semaphore
        .publish(&serde_json::from_str(record).unwrap())
        .await
        .unwrap();
    op.says(&["set-max", "1", "--new", "--group", "db"], 0, "")
        .await;
    let all = op.json(&["--all-groups", "--group", "own"]).await;
    let names = all["groups"].as_array().unwrap().iter();
    let names: Vec<_> = names
        .map(|group| group["group"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["db", "web", "own"]);
}

#[tokio::test]
async fn missing_configuration_is_reported_first() {
    let op = Operator::new("unconfigured");
    let root = op.root.path().display().to_string();
    let done = run(bin(), ["status", "--root", &root], &[], PATIENCE).await;
    let first = done.stderr.lines().next().unwrap_or_default();
    assert!(first.contains("no configuration found"), "{done:?}");
    assert!(first.contains("/etc/pointsman/config.yaml"), "{done:?}");
    let done = op.run(&["status"]).await;
    assert!(!done.stderr.contains("no configuration found"), "{done:?}");
}

#[tokio::test]
async fn status_reports_a_pending_reload_and_a_failed_unit() {
    let site = Site::new("status-config");
    let node = machine("node-1").await;
    node.write("etc/pointsman/config.yaml", "group: old\n");
    site.start(&node, &[]).await;
    node.wait_status(|status| status == "idle").await;
    node.write("etc/pointsman/config.yaml", "group: new\n");
    let shown = site.command(&node, &["status"]).await;
    let says = "group: the configuration says new, but the agent uses old. To use the new one: \
                systemctl reload pointsman";
    assert!(shown.stdout.contains(says), "{shown:?}");
    let shown = site.command(&node, &["status", "--group", "other"]).await;
    assert!(!shown.stdout.contains("systemctl reload"), "{shown:?}");

    node.stop().await;
    let systemd = pointsman_testbed::fakes::Systemd::start(node.bus()).await;
    let shown = site.command(&node, &["status"]).await;
    assert!(
        shown.stdout.contains("This node: no agent runs\n"),
        "{shown:?}"
    );
    systemd.set_failed(["pointsman.service"]);
    node.write(
        "etc/pointsman/config.yaml",
        "group: new\nwindow: {start: soon}\n",
    );
    let shown = site.command(&node, &["status"]).await;
    let says = "This node: no agent runs: pointsman.service has failed: ";
    assert!(shown.stdout.contains(says), "{shown:?}");
    assert!(shown.stdout.contains("config.yaml:2:"), "{shown:?}");
}
