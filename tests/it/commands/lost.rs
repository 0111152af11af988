//! What `policy`, `status` and `forget` show of nodes that do not come back.

use super::*;

async fn put(op: &Operator, key: &str, value: &str) {
    let key = format!("{}/{key}", op.prefix);
    let mut client = shared_cluster().client().await;
    client.put(key, value, None).await.unwrap();
}

#[tokio::test]
async fn grace_and_budget_are_set_shown_and_unset() {
    let op = Operator::new("lost-policy");
    let policy = async || {
        let output = op.says(&["policy", "show", "--json"], 0, "").await;
        let shown: Value = serde_json::from_str(&output.stdout).unwrap();
        shown["policy"].clone()
    };
    op.says(
        &["policy", "set", "--lost-grace", "120m"],
        0,
        "Lost nodes: passed over 2h after their deadline, at most 1 at a time",
    )
    .await;
    assert_eq!(
        policy().await["lost"],
        serde_json::json!({"grace": "2h", "budget": 1})
    );
    // Beside another field, which stays, and the other way round.
    op.says(&["policy", "set", "--max", "20%"], 0, "").await;
    op.says(
        &["policy", "set", "--lost-budget", "3"],
        0,
        "at most 3 at a time",
    )
    .await;
    assert_eq!(
        (&policy().await["max_percent"], &policy().await["lost"]),
        (&20.into(), &serde_json::json!({"grace": "2h", "budget": 3}))
    );
    op.says(
        &["status"],
        0,
        "Lost nodes: passed over 2h after their deadline, at most 3 at a time; lost now: 0\n",
    )
    .await;
    op.says(
        &["policy", "unset", "lost-budget"],
        0,
        "at most 1 at a time",
    )
    .await;
    let unset = op.says(&["policy", "unset", "lost-grace"], 0, "").await;
    assert!(!unset.stdout.contains("Lost nodes"), "{unset:?}");
    assert_eq!(policy().await["lost"], Value::Null);
    let status = op.says(&["status"], 0, "").await;
    assert!(!status.stdout.contains("Lost nodes"), "{status:?}");
}

#[tokio::test]
async fn grace_and_budget_that_make_no_sense_are_refused() {
    let op = Operator::new("lost-refused");
    for (set, code, says) in [
        (
            &["--lost-budget", "2"][..],
            1,
            "lost.budget is set, and lost.grace is not: expected both, for example with --lost-grace 2h",
        ),
        (
            &["--lost-grace", "0s"],
            1,
            "lost.grace is 0s, expected whole seconds, from 1s to 8760h",
        ),
        (
            &["--lost-grace", "2h", "--lost-budget", "0"],
            1,
            "lost.budget is 0, expected at least 1; to wait for lost nodes for ever, unset lost-grace",
        ),
        (
            &["--lost-grace", "7200"],
            2,
            "expected a unit after the number: 7200s",
        ),
        (&[], 2, "--max"),
    ] {
        op.says(&[&["policy", "set"], set].concat(), code, says)
            .await;
    }
    op.says(&["policy"], 0, "No policy.").await;
    let typo = ["policy", "set", "--lost-grace", "2h", "--group", "wbe"];
    let refused = op.says(&typo, 2, "no node is in the group \"wbe\"").await;
    assert!(
        refused.stderr.contains("policy set --lost-grace 2h --new"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn status_says_when_an_overdue_holder_is_passed_over_or_why_not() {
    let op = Operator::new("lost-status");
    let semaphore = on(shared_cluster(), &op.prefix);
    op.says(&["set-max", "4"], 0, "").await;
    let mut late = claim("before");
    late.holder.deadline = Some(1);
    semaphore.acquire(&late, |_| {}).await;
    op.says(&["policy", "set", "--lost-grace", "2h"], 0, "")
        .await;
    let mut late = claim("late");
    late.holder.deadline = Some(1);
    semaphore.acquire(&late, |_| {}).await;
    semaphore.acquire(&claim("in-time"), |_| {}).await;
    let overdue = async || {
        let json = op.json(&[]).await;
        let holders = json["groups"][0]["holders"].as_array().unwrap().clone();
        holders.into_iter().filter(|h| h["overdue"] == true).count()
    };
    eventually("both are overdue", overdue, |n| *n == 2).await;
    let json = op.json(&[]).await;
    let holders = &json["groups"][0]["holders"];
    assert_eq!(
        holders[0]["passed_over"]["never"],
        "it took the lock before the policy said so, or with an older agent"
    );
    assert_eq!(holders[1]["id"], "in-time");
    assert_eq!(holders[1]["passed_over"], Value::Null);
    let left = holders[2]["passed_over"]["in_seconds"].as_u64().unwrap();
    assert!((7000..=7200).contains(&left), "{left}");
    let status = op
        .says(
            &["status"],
            0,
            "never passed over by the policy: it took the lock before the policy said so, or with an older agent",
        )
        .await;
    assert!(
        status
            .stdout
            .contains("passed over by the policy in about 1h59m, if a node waits for its place"),
        "{status:?}"
    );
    // Its grace has passed, and nobody waits.
    let mut client = shared_cluster().client().await;
    client
        .delete(semaphore.keys().expiry("late"), None)
        .await
        .unwrap();
    op.says(
        &["status"],
        0,
        "passed over by the policy as soon as a node waits for its place",
    )
    .await;
    // As many are lost as may be.
    let lost = r#"{"hostname":"n9","since":"2026-11-30T02:00:00Z","to":{"version":"2"},"quarantined":true}"#;
    put(&op, "lost/9a", lost).await;
    let status = op
        .says(
            &["status"],
            0,
            "not passed over: 1 node is lost, and the policy allows 1",
        )
        .await;
    for says in [
        "at most 1 at a time; lost now: 1\n",
        "n9    2026-11-30 02:00:00",
        "2 (quarantined for it)",
        "If it is gone for good: pointsman forget 9a\n",
    ] {
        assert!(status.stdout.contains(says), "{says}: {}", status.stdout);
    }
    let json = op.json(&[]).await;
    let group = &json["groups"][0];
    assert_eq!(
        group["lost"],
        serde_json::json!([{
            "id": "9a", "hostname": "n9", "since": "2026-11-30T02:00:00Z", "to": {"version": "2"}, "quarantined": true
        }])
    );
    let documented = documents::documented_status();
    let undocumented: Vec<String> = documents::paths(&json)
        .difference(&documented)
        .cloned()
        .collect();
    assert!(undocumented.is_empty(), "{undocumented:?}");
    op.says(
        &["unlock", "n9"],
        0,
        "It counts as lost; if it is gone for good: pointsman forget 9a",
    )
    .await;
    // By its host name, which nothing else says any more.
    let forgotten = op.says(&["forget", "n9"], 0, "is forgotten").await;
    assert!(
        forgotten
            .stdout
            .contains("It was thought lost, and is counted as such, since 2026-11-30 02:00:00"),
        "{forgotten:?}"
    );
    assert_eq!(op.json(&[]).await["groups"][0]["lost"], Value::Null);
}
