//! `status --check`: what a monitoring system is told.

use std::time::Duration;

use pointsman_testbed::etcd::expiring_client;
use semaphore::records::Quarantine;

use super::*;
use crate::support::version;

impl Operator {
    /// Checks with these flags: the exit code, and what is said.
    async fn checks(&self, args: &[&str], code: i32, first: &str) -> String {
        let said = self.run(&[&["status", "--check"], args].concat()).await;
        assert_eq!(said.code, Some(code), "{said:?}");
        let line = said.stdout.lines().next().unwrap_or_default().to_owned();
        assert!(line.contains(first), "{first:?} in {said:?}");
        said.stdout
    }

    async fn put(&self, key: impl Fn(&semaphore::keys::Keys) -> String, value: &str) {
        let semaphore = on(shared_cluster(), &self.prefix);
        let mut client = shared_cluster().client().await;
        client
            .put(key(semaphore.keys()), value, None)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_cluster_without_faults_is_ok() {
    let op = Operator::new("check-ok");
    // Perhaps a typing error, which would be well for ever.
    op.checks(&[], 1, "WARNING - the default group is not used")
        .await;
    op.says(&["set-max", "1"], 0, "").await;
    op.checks(&[], 0, "OK - nodes: 0, out of service: 0, in the queue: 0")
        .await;
    // What is under way, waits for its turn or was stopped by a person is no fault.
    let semaphore = on(shared_cluster(), &op.prefix);
    semaphore.acquire(&claim("a"), |_| {}).await;
    op.put(
        |keys| keys.ticket("b"),
        r#"{"id":"b","since":"2020-01-01T00:00:00Z"}"#,
    )
    .await;
    op.checks(&[], 0, "OK - nodes: 1, out of service: 1, in the queue: 1")
        .await;
    let pause: Pause = serde_json::from_str(r#"{"by":"ann","reason":"tea"}"#).unwrap();
    semaphore.pause(false, &pause, None, true).await.unwrap();
    let said = op.checks(&[], 0, "in the queue: 1, paused").await;
    assert_eq!(said.lines().count(), 1);
    let none = op.checks(&["--json"], 0, "").await;
    assert_eq!(none, "[]\n");
}

#[tokio::test]
async fn each_fault_that_needs_a_person_is_critical() {
    let op = Operator::new("check-critical");
    let semaphore = on(shared_cluster(), &op.prefix);
    let mut late = claim("late");
    late.holder.deadline = Some(1);
    semaphore.acquire(&late, |_| {}).await;
    let run = async || op.run(&["status", "--check"]).await.code;
    eventually("overdue", run, |code| *code == Some(2)).await;
    op.checks(
        &[],
        2,
        "CRITICAL - the default group: host-late (late) is overdue: draining since",
    )
    .await;

    let op = Operator::new("check-quarantined");
    let bad = Quarantine {
        what: version("2"),
        node: "a".into(),
        hostname: "one".into(),
        reason: "it panics".into(),
        since: None,
    };
    op.put(
        |keys| keys.quarantine_version("2"),
        &serde_json::to_string(&bad).unwrap(),
    )
    .await;
    op.checks(&[], 2, "CRITICAL - 2 is quarantined by one: it panics")
        .await;
    op.put(|keys| keys.lost_node("b"), r#"{"hostname":"two"}"#)
        .await;
    op.put(|keys| keys.semaphore(), "{").await;
    op.put(|keys| keys.policy(), r#"{"moon":"full"}"#).await;
    op.put(
        |keys| keys.node("c"),
        r#"{"id":"c","hostname":"three","group":"","state":"unproven","reason":"the check web fails"}"#,
    )
    .await;
    let said = op
        .checks(
            &[],
            2,
            "CRITICAL - the default group: the semaphore document cannot be used",
        )
        .await;
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].ends_with("(and 4 more)"), "{said}");
    for (line, says) in lines[1..].iter().zip([
        "CRITICAL - the default group: the policy cannot be used",
        "CRITICAL - the default group: two (b) did not come back and was passed over",
        "CRITICAL - 2 is quarantined",
        "WARNING - the default group: the boot of three (c) is not proven: the check web fails",
    ]) {
        assert!(line.starts_with(says), "{says} in {said}");
    }
    let json = op.checks(&["--json"], 2, "").await;
    let json: Value = serde_json::from_str(&json).unwrap();
    let kinds: Vec<&str> = json
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "configuration",
            "configuration",
            "overdue",
            "quarantined",
            "unproven"
        ]
    );
    assert_eq!(
        (&json[0]["level"], &json[4]["level"]),
        (&"critical".into(), &"warning".into())
    );

    let op = Operator::new("check-fault");
    let folder = op.root.path().join("etc/pointsman");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.yaml"), "timings: {proving: soon}\n").unwrap();
    op.checks(&[], 2, "timings.proving: found \"soon\"").await;
}

#[tokio::test]
async fn node_that_failed_its_soak_needs_a_person_also_when_the_image_is_cleared() {
    let op = Operator::new("check-soak");
    let says = r#"{"id":"a","hostname":"one","group":"","state":"soak-failed","reason":"2 failed its soak: no service"}"#;
    op.put(|keys| keys.node("a"), says).await;
    op.checks(
        &[],
        2,
        "CRITICAL - the default group: one (a) keeps the reboot lock until a person decides: 2 failed its soak: no service",
    )
    .await;
}

#[tokio::test]
async fn queue_of_a_cluster_that_a_person_paused_is_no_fault() {
    let op = Operator::new("check-paused");
    let semaphore = on(shared_cluster(), &op.prefix);
    semaphore.set_max(1, false).await.unwrap();
    let old = r#"{"id":"b","hostname":"two","since":"2020-01-01T00:00:00Z"}"#;
    op.put(|keys| keys.ticket("b"), old).await;
    op.checks(
        &[],
        1,
        "WARNING - the default group: the queue does not move",
    )
    .await;
    let pause: Pause = serde_json::from_str(r#"{"by":"ann","reason":"tea"}"#).unwrap();
    semaphore.pause(true, &pause, None, true).await.unwrap();
    op.checks(&[], 0, "in the queue: 1, paused").await;
}

#[tokio::test]
async fn etcd_out_of_reach_is_critical() {
    let op = Operator::new("check-away");
    let away = op.run_without_etcd(&["status", "--check"]).await;
    assert_eq!(away.code, Some(2), "{away:?}");
    assert!(away.stdout.starts_with("CRITICAL - "), "{away:?}");
    assert!(away.stdout.contains("127.0.0.1:1"), "{away:?}");
}

#[tokio::test]
async fn a_boot_that_is_not_proven_is_a_warning() {
    let op = Operator::new("check-unproven");
    op.put(
        |keys| keys.node("c"),
        r#"{"id":"c","hostname":"three","group":"","state":"unproven","reason":"the check web fails"}"#,
    )
    .await;
    op.checks(
        &[],
        1,
        "WARNING - the default group: the boot of three (c) is not proven",
    )
    .await;
}

#[tokio::test]
async fn a_queue_that_could_move_and_does_not_is_a_warning() {
    let op = Operator::new("check-queue");
    op.says(&["set-max", "1"], 0, "").await;
    op.put(
        |keys| keys.ticket("b"),
        r#"{"id":"b","hostname":"two","since":"2020-01-01T00:00:00Z"}"#,
    )
    .await;
    let free = "WARNING - the default group: the queue does not move: two (b) is the first since 2020-01-01";
    let said = op.checks(&[], 1, free).await;
    assert!(
        said.contains("for more than 1h, although a place is free"),
        "{said}"
    );
    // Outside the group's windows it need not move: this one is open on no day of a hundred years.
    op.says(
        &[
            "policy",
            "set",
            "--new",
            "--window",
            "2099-01-01 02:00",
            "--for",
            "1h",
        ],
        0,
        "",
    )
    .await;
    op.checks(&[], 0, "OK").await;
    op.says(&["policy", "unset", "window"], 0, "").await;
    // Nobody releases what a person locked.
    op.says(&["lock", "--as", "ann"], 0, "").await;
    let said = op
        .checks(&["--queue-age", "2h"], 1, "two (b) is the first")
        .await;
    assert!(
        said.contains("for more than 2h, and nobody releases the lock but a person"),
        "{said}"
    );
    op.says(&["set-max", "0"], 0, "").await;
    op.checks(&[], 0, "OK").await;
    op.says(&["status", "--queue-age", "1h"], 2, "--check")
        .await;
}

#[tokio::test]
async fn a_certificate_that_expires_within_fourteen_days_is_a_warning() {
    let op = Operator::new("check-certificate");
    op.says(&["set-max", "1"], 0, "").await;
    let day = Duration::from_secs(24 * 3600);
    for (left, code, says) in [
        (13 * day, 1, "WARNING - --etcd-certfile: the certificate"),
        (15 * day, 0, "OK"),
    ] {
        let (certificate, key) = expiring_client(op.root.path(), left);
        let below = |path: &std::path::Path| format!("/{}", path.file_name().unwrap().display());
        let (certificate, key) = (below(&certificate), below(&key));
        op.checks(
            &["--etcd-certfile", &certificate, "--etcd-keyfile", &key],
            code,
            says,
        )
        .await;
    }
}
