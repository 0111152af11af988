//! `status --nodes`.

use super::*;

/// A node's record, as an agent writes it.
async fn says(op: &Operator, group: &str, record: Value) {
    let mut record = record;
    record["group"] = group.into();
    record["agent"] = "pointsman 0.1.0".into();
    let id = record["id"].as_str().unwrap().to_owned();
    let key = on(shared_cluster(), &op.prefix).keys().node(&id);
    let mut client = shared_cluster().client().await;
    client.put(key, record.to_string(), None).await.unwrap();
}

/// Three nodes of the default group and one of another one.
async fn four(name: &str) -> Operator {
    let op = Operator::new(name);
    for (group, record) in [
        (
            "",
            serde_json::json!({"id": "b", "hostname": "two", "version": "2", "image": "sha256:22", "kernel": "6.6.1",
                "state": "waiting", "reason": "somebody is logged in: ann", "since": "2026-11-30T01:00:00Z"}),
        ),
        (
            "",
            serde_json::json!({"id": "a", "hostname": "one", "version": "1", "state": "idle"}),
        ),
        (
            "",
            serde_json::json!({"id": "c", "hostname": "three\u{1b}[31m", "version": "2", "state": "idle"}),
        ),
        (
            "web",
            serde_json::json!({"id": "d", "hostname": "four", "version": "2", "state": "unproven"}),
        ),
    ] {
        says(&op, group, record).await;
    }
    op
}

#[tokio::test]
async fn nodes_are_listed_with_what_they_last_said() {
    let op = four("nodes").await;
    let shown = op.says(&["status", "--nodes"], 0, "").await.stdout;
    let lines: Vec<&str> = shown.lines().collect();
    let columns: Vec<&str> = lines[0]
        .split("  ")
        .filter(|it| !it.is_empty())
        .map(str::trim)
        .collect();
    assert_eq!(
        columns,
        [
            "HOST",
            "GROUP",
            "VERSION",
            "KERNEL",
            "STATE",
            "SINCE",
            "AGENT",
            "WAITS FOR",
            "ID"
        ]
    );
    assert!(
        lines[1].starts_with("one ") && lines[1].ends_with(" a"),
        "{shown}"
    );
    assert!(lines[2].starts_with("three\\u{1b}[31m "), "{shown}");
    for part in [
        "two ",
        " 2 ",
        " 6.6.1 ",
        " waiting ",
        " pointsman 0.1.0 ",
        " somebody is logged in: ann ",
    ] {
        assert!(lines[3].contains(part), "{part} in {shown}");
    }
    assert_eq!(
        lines[4..],
        ["", "3 of 3 nodes: 2 run 2, 1 run 1"],
        "{shown}"
    );
    op.says(
        &["status", "--nodes", "--all-groups"],
        0,
        "4 of 4 nodes: 3 run 2, 1 run 1",
    )
    .await;
}

#[tokio::test]
async fn nodes_are_selected_by_version_image_and_state() {
    let op = four("nodes-filter").await;
    for (filter, hosts) in [
        (&["--version", "2"][..], &["b", "c", "d"][..]),
        (&["--version", "sha256:22"], &["b"]),
        (&["--version", "1", "--version", "2"], &["a", "b", "c", "d"]),
        (&["--not-version", "2"], &["a"]),
        (&["--not-version", "2", "--not-version", "1"], &[]),
        (&["--state", "idle"], &["a", "c"]),
        (
            &["--state", "idle", "--state", "unproven", "--version", "2"],
            &["c", "d"],
        ),
    ] {
        let args = [&["status", "--nodes", "--json", "--all-groups"], filter].concat();
        let found = op.says(&args, 0, "").await;
        let found: Value = serde_json::from_str(&found.stdout).unwrap();
        let mut ids: Vec<&str> = found
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["id"].as_str().unwrap())
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, hosts, "{filter:?}");
    }
    let none = op
        .says(&["status", "--nodes", "--version", "3"], 0, "")
        .await;
    assert_eq!(none.stdout, "No node is shown, of 3 that are known.\n");
    op.says(&["status", "--version", "2"], 2, "--nodes").await;
}

#[tokio::test]
async fn nodes_cannot_be_listed_without_etcd() {
    let op = Operator::new("nodes-away");
    let away = op.run_without_etcd(&["status", "--nodes"]).await;
    assert_eq!((away.code, away.stdout.as_str()), (Some(4), ""), "{away:?}");
    assert!(away.stderr.contains("127.0.0.1:1"), "{away:?}");
}
