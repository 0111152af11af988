//! `policy`, `set-max` with a percentage, and `forget`.

use super::*;

async fn put(op: &Operator, key: &str, value: &str) {
    let key = format!("{}/{key}", op.prefix);
    let mut client = shared_cluster().client().await;
    client.put(key, value, None).await.unwrap();
}

async fn members(op: &Operator, number: u32) {
    for number in 0..number {
        put(op, &format!("members/m{number}"), "").await;
    }
}

async fn shown(op: &Operator) -> Value {
    let output = op.says(&["policy", "show", "--json"], 0, "").await;
    serde_json::from_str(&output.stdout).unwrap()
}

/// The keys there are, besides the records of so many acts.
async fn left(op: &Operator, acts: usize) -> Vec<String> {
    let mut client = shared_cluster().client().await;
    let below = etcd_client::GetOptions::new()
        .with_prefix()
        .with_keys_only();
    let all = client.get(op.prefix.as_str(), Some(below)).await.unwrap();
    let all = all.kvs().iter().map(|kv| kv.key_str().unwrap().to_owned());
    let of_acts = format!("{}/acts/", op.prefix);
    let (recorded, left): (Vec<_>, Vec<_>) = all.partition(|key| key.starts_with(&of_acts));
    assert_eq!(recorded.len(), acts, "{recorded:?}");
    left
}

#[tokio::test]
async fn policy_is_shown_set_and_unset() {
    let op = Operator::new("policy");
    op.says(&["policy"], 0, "No policy.").await;
    members(&op, 10).await;
    let dry = ["policy", "set", "--max", "20%", "--dry-run"];
    op.says(&dry, 0, "Nothing is written (--dry-run)").await;
    op.says(&["policy"], 0, "No policy.").await;
    op.says(
        &["policy", "set", "--max", "20%"],
        0,
        "Max: 2 (20% of 10 members)",
    )
    .await;
    op.says(&["policy", "show"], 0, "Set by: ").await;
    let found = shown(&op).await;
    assert_eq!(found["policy"]["max_percent"], 20);
    assert_eq!(
        (
            &found["members"],
            &found["max"],
            &found["max_follows_policy"]
        ),
        (&10.into(), &2.into(), &true.into())
    );
    let status = op.says(&["status"], 0, "Max: 2 (20% of 10 members)").await;
    assert!(status.stdout.contains("Available: 2"), "{status:?}");
    assert_eq!(op.json(&[]).await["groups"][0]["policy"]["max_percent"], 20);
    // A number is what somebody wrote, and stands.
    op.says(&["set-max", "1"], 0, "Max: 1").await;
    let text = "Max: 1 (set by hand; 20% of 10 members counts again after `set-max 20%`)";
    op.says(&["status"], 0, text).await;
    op.says(&["policy"], 0, text).await;
    assert_eq!(shown(&op).await["max_follows_policy"], false);
    op.says(&["set-max", "30%"], 0, "Max: 3 (30% of 10 members)")
        .await;
    op.says(&["policy", "unset", "max"], 0, "No policy.").await;
    let status = op.says(&["status"], 0, "Max: 3\n").await;
    assert!(!status.stdout.contains('%'), "{status:?}");
    assert_eq!(shown(&op).await["policy"], Value::Null);
}

#[tokio::test]
async fn percentage_that_is_none_is_refused_with_what_is_expected() {
    let op = Operator::new("policy-refused");
    for (args, says) in [
        (&["policy", "set"][..], "--max"),
        (
            &["policy", "set", "--max", "20"],
            "expected a percentage from 1% to 100%",
        ),
        (
            &["policy", "set", "--max", "0%"],
            "expected a percentage from 1% to 100%",
        ),
        (&["policy", "set", "--max", "101%"], "found \"101%\""),
        (
            &["set-max", "5.5%"],
            "expected a percentage from 1% to 100%",
        ),
        (
            &["set-max", "many"],
            "expected a whole number from 0 to 4294967295, or a percentage",
        ),
        (&["policy", "unset", "min"], "expected one of max"),
    ] {
        op.says(args, 2, says).await;
    }
    op.says(&["policy"], 0, "No policy.").await;
}

#[tokio::test]
async fn damaged_policy_is_shown_and_replaced() {
    let op = Operator::new("policy-damaged");
    op.says(&["set-max", "2"], 0, "").await;
    put(&op, "policy", r#"{"max_percent":200}"#).await;
    let text = "max_percent is 200, expected a whole number from 1 to 100; it reads: {\"max_percent\":200}";
    let shown = op.says(&["policy"], 1, text).await;
    assert!(
        shown.stderr.contains("policy set --replace --max PERCENT"),
        "{shown:?}"
    );
    op.says(&["status"], 0, &format!("POLICY cannot be used: {text}"))
        .await;
    let json = op.json(&[]).await;
    assert!(
        json["groups"][0]["policy_error"]
            .as_str()
            .unwrap()
            .starts_with("max_percent")
    );
    op.says(&["policy", "set", "--max", "50%"], 1, "max_percent is 200")
        .await;
    op.says(
        &["policy", "set", "--replace", "--max", "50%"],
        0,
        "50% of 0 members",
    )
    .await;
    op.says(&["policy"], 0, "50% of 0 members").await;
}

#[tokio::test]
async fn windows_of_the_policy_are_set_shown_and_unset() {
    let op = Operator::new("policy-windows");
    op.says(&["set-max", "1"], 0, "").await;
    let args = [
        "policy",
        "set",
        "--window",
        "Sat,Sun 02:00",
        "--for",
        "4h",
        "--window",
        r#"{at: "*-*-01 22:00 Europe/Berlin", for: 90m, except: 2027-01-01, random-delay: 10m}"#,
        "--window",
        "2020-01-01 02:00",
        "--for",
        "1h 30m",
    ];
    let text = "Reboot windows: Sat,Sun 02:00 for 4h in UTC; or *-*-01 22:00 Europe/Berlin for 90m, except 2027-01-01, \
                random delay 10m; or 2020-01-01 02:00 for 1h30m in UTC (";
    op.says(&args, 0, text).await;
    op.says(&["policy"], 0, text).await;
    op.says(&["status"], 0, text).await;
    let stored = serde_json::json!([
        {"at": "Sat,Sun 02:00", "for": "4h", "zone": "UTC"},
        {"at": "*-*-01 22:00 Europe/Berlin", "for": "90m", "except": ["2027-01-01"], "random-delay": "10m"},
        {"at": "2020-01-01 02:00", "for": "1h30m", "zone": "UTC"},
    ]);
    assert_eq!(shown(&op).await["policy"]["windows"], stored);
    let status = op.json(&[]).await;
    assert_eq!(status["groups"][0]["policy"]["windows"], stored);
    // Another list replaces them, and another field leaves them. One zone is that of all.
    let mut one = vec![
        "policy",
        "set",
        "--window",
        "2020-01-01 02:00",
        "--for",
        "4h",
    ];
    one.extend(["--zone", "Europe/Berlin"]);
    let past =
        "Reboot windows: 2020-01-01 02:00 for 4h in Europe/Berlin (closed, and none is to come)";
    op.says(&one, 0, past).await;
    op.says(&["policy", "set", "--soak", "1h"], 0, past).await;
    let acts = op
        .says(
            &["acts"],
            0,
            "window 2020-01-01 02:00 for 4h in Europe/Berlin",
        )
        .await;
    assert!(
        acts.stdout.contains(
            "window Sat,Sun 02:00 for 4h in UTC, window *-*-01 22:00 Europe/Berlin for 90m"
        ),
        "{acts:?}"
    );
    let unset = op.says(&["policy", "unset", "window"], 0, "Soak: 1h").await;
    assert!(!unset.stdout.contains("Reboot windows"), "{unset:?}");
    let always = ["policy", "set", "--window", "*:*", "--for", "2m"];
    op.says(&always, 0, "Reboot windows: *:* for 2m in UTC (open")
        .await;
}

#[tokio::test]
async fn windows_that_are_none_are_refused_with_the_flag_that_is_wrong() {
    let op = Operator::new("policy-windows-refused");
    for (args, says) in [
        (
            &["--window", "Sat 25:00", "--for", "4h"][..],
            "--window: found 25 for the hour",
        ),
        (
            &["--window", "Fri..Mon 02:00", "--for", "4h"],
            "--window: found Fri..Mon, a range over the end of the week (weeks start on Monday); write Fri..Sun,Mon",
        ),
        (
            &["--window", "Sat 02:00", "--for", "32d"],
            "--for: found 768h, expected more than 0s and at most 31d",
        ),
        (
            &["--window", "Sat 02:00", "--for", "4"],
            "expected a unit after the number",
        ),
        (
            &["--window", "Sat 02:00", "--for", "4h", "--zone", "Berlin"],
            "--zone: found \"Berlin\", expected a time zone of this system such as Europe/Berlin or UTC",
        ),
        (
            &[
                "--window",
                "Sat 02:00",
                "--window",
                "Sun 02:00",
                "--for",
                "4h",
            ],
            "--for: found 1 for 2 of --window, expected one for each --window that is not in braces, in the same order",
        ),
        (
            &["--window", "Sat 02:00"],
            "--for: found 0 for 1 of --window",
        ),
        (
            &["--window", "{at: Sat 02:00, for: 4h}", "--for", "4h"],
            "--for: found 1 for 0 of --window",
        ),
        (&["--for", "4h"], "--window"),
        (&["--max", "20%", "--zone", "UTC"], "--window"),
        (
            &["--window", "{at: Sat 02:00}"],
            "--window: found a window without \"for\", expected `at` and `for` in every window",
        ),
        (
            &["--window", "{at: Sat 02:00, length: 4h}"],
            "--window: unknown key \"windows.length\", expected one of at, for, zone, except, random-delay",
        ),
        (
            &["--window", "{at: Sat 02:00, for: 4h, random-delay: 5h}"],
            "--window: random-delay: found 5h, expected less than the window's length of 4h",
        ),
        (&["--window", "{at: Sat 02:00"], "--window: not valid YAML"),
    ] {
        let mut all = vec!["policy", "set"];
        all.extend(args);
        op.says(&all, 2, says).await;
    }
    op.says(&["policy"], 0, "No policy.").await;
    // The way out repeats them.
    op.says(&["set-max", "1"], 0, "").await;
    let args = [
        "--group",
        "nobody",
        "policy",
        "set",
        "--window",
        "Sat 02:00",
        "--for",
        "4h",
    ];
    let refused = op
        .says(&args, 2, "policy set --window 'Sat 02:00' --for 4h --new")
        .await;
    assert!(refused.stdout.is_empty(), "{refused:?}");
    put(
        &op,
        "policy",
        r#"{"windows":[{"at":"Sat 25:00","for":"4h"}]}"#,
    )
    .await;
    let text = "windows: window 1: at: found 25 for the hour";
    op.says(&["policy"], 1, text).await;
    op.says(&["status"], 0, &format!("POLICY cannot be used: {text}"))
        .await;
    op.says(&["policy", "set", "--soak", "1h"], 1, text).await;
}

#[tokio::test]
async fn forget_shows_what_is_known_of_a_node_and_removes_it() {
    let op = Operator::new("forget");
    op.says(&["set-max", "2"], 0, "").await;
    op.says(&["forget", "gone"], 6, "").await;
    let record = r#"{"id":"0a","hostname":"gone","state":"idle","since":"2026-11-30T02:35:00Z"}"#;
    put(&op, "nodes/0a", record).await;
    put(&op, "members/0a", "sha256:aa").await;
    put(&op, "queue/0a", r#"{"id":"0a","hostname":"gone"}"#).await;
    let dry = op
        .says(
            &["forget", "gone", "--dry-run"],
            0,
            "gone (0a) would be forgotten",
        )
        .await;
    for line in [
        "It said last: idle, since 2026-11-30 02:35:00",
        "Member of the group; proven on it: sha256:aa",
        "It is in the queue",
    ] {
        assert!(dry.stdout.contains(line), "{line}: {dry:?}");
    }
    let done = op
        .says(&["forget", "gone"], 0, "gone (0a) is forgotten.")
        .await;
    assert!(done.stdout.contains("It said last: idle"), "{done:?}");
    assert_eq!(left(&op, 2).await, [format!("{}/semaphore", op.prefix)]);
    op.says(&["forget", "0a"], 6, "").await;
}

#[tokio::test]
async fn a_holder_is_forgotten_only_by_force() {
    let op = Operator::new("forget-holder");
    op.says(&["lock", "--as", "spare"], 0, "").await;
    let refused = op
        .says(
            &["forget", "spare"],
            3,
            "spare holds the reboot lock: it may come back",
        )
        .await;
    assert!(
        refused.stderr.contains("It holds the reboot lock: manual")
            && refused.stderr.contains("forget --force spare"),
        "{refused:?}"
    );
    assert_eq!(op.json(&[]).await["groups"][0]["holders"][0]["id"], "spare");
    op.says(&["forget", "--force", "spare"], 0, "spare is forgotten.")
        .await;
    let group = &op.json(&[]).await["groups"][0];
    assert_eq!(
        (&group["holders"], &group["available"]),
        (&Value::Array(vec![]), &1.into())
    );
}

#[tokio::test]
async fn a_number_set_by_hand_stands_also_where_the_percentage_comes_to_the_same() {
    let op = Operator::new("policy-same");
    members(&op, 10).await;
    op.says(&["policy", "set", "--max", "20%"], 0, "").await;
    op.says(&["set-max", "2"], 0, "Max: 2").await;
    members(&op, 20).await;
    op.says(&["lock", "--as", "a"], 0, "").await;
    let text = "Max: 2 (set by hand; 20% of 20 members counts again after `set-max 20%`)";
    op.says(&["status"], 0, text).await;
}

#[tokio::test]
async fn a_policy_of_a_group_that_nobody_is_in_is_written_only_on_purpose() {
    let op = Operator::new("policy-typo");
    let set = ["policy", "set", "--max", "20%", "--group", "wbe"];
    let refused = op.says(&set, 2, "no node is in the group \"wbe\"").await;
    assert!(
        refused.stderr.contains("policy set --max 20% --new"),
        "{refused:?}"
    );
    let new = ["policy", "set", "--max", "20%", "--group", "wbe", "--new"];
    op.says(&new, 0, "Max: 1 (20% of 0 members)").await;
    op.says(&set, 0, "Max: 1 (20% of 0 members)").await;
}

#[tokio::test]
async fn nothing_is_left_of_a_group_that_is_removed() {
    let op = Operator::new("policy-remove");
    op.says(&["policy", "set", "--max", "20%"], 0, "").await;
    // Of a node whose record is gone.
    put(&op, "members/0a", "").await;
    op.says(&["set-max", "--remove"], 0, "is removed").await;
    assert_eq!(left(&op, 2).await, Vec::<String>::new());
}

#[tokio::test]
async fn forget_chooses_none_of_several_nodes_with_one_host_name() {
    let op = Operator::new("forget-several");
    // This machine, and the one it was before it was reinstalled.
    for id in ["0123456789abcdef0123456789abcdef", "0a"] {
        let record = format!(r#"{{"id":"{id}","hostname":"desk","state":"idle"}}"#);
        put(&op, &format!("nodes/{id}"), &record).await;
    }
    op.says(&["forget", "desk"], 2, "desk is the host name of 2 nodes: ")
        .await;
    op.says(&["forget", "0a"], 0, "is forgotten").await;
    op.says(&["forget", "desk"], 0, "This is the node itself")
        .await;
}

#[tokio::test]
async fn dry_run_says_how_long_an_image_takes_and_what_nodes_would_do() {
    let op = Operator::new("policy-dry");
    members(&op, 12).await;
    put(&op, "semaphore", r#"{"max":1,"holders":["a"]}"#).await;
    let entry = r#"{"id":"a","hostname":"web-1","phase":"proving","nonce":"n","from":{"version":"1"},"to":{"version":"2"}}"#;
    put(&op, "holders/a", entry).await;
    let dry = ["policy", "set", "--max", "20%", "--soak", "1h", "--dry-run"];
    let says = "Soak: 1h (an image takes at least 6h to reach all 12 members)";
    let output = op.says(&dry, 0, says).await;
    let line = "web-1 (a) (proving) would soak for 1h before it releases the lock";
    assert!(output.stdout.contains(line), "{output:?}");
    op.says(&["policy"], 0, "No policy.").await;
    put(&op, "queue/b", r#"{"id":"b","hostname":"web-2"}"#).await;
    let past = ["--window", "2020-01-01 02:00", "--for", "4h", "--dry-run"];
    let past = [&["policy", "set"], &past[..]].concat();
    let says_of_windows = "No reboot might ever start: no window is to come.\nThe windows of each node's own configuration, which are \
                           not known here, hold beside them (on the node: pointsman windows).\nweb-2 (b) would leave the queue until a \
                           window opens\n";
    op.says(&past, 0, says_of_windows).await;
    let json = op.says(&[&past[..], &["--json"]].concat(), 0, "").await;
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    let last = json["effects"].as_array().unwrap().last().unwrap();
    assert_eq!(last, "web-2 (b) would leave the queue until a window opens");
    op.says(&["policy"], 0, "No policy.").await;
    op.says(&dry[..6], 0, says).await;
    let now = shown(&op).await;
    assert_eq!(now["rollout_at_least_seconds"], 21_600);
    assert!(now.get("effects").is_none(), "{now}");
    let kept = "Max stays 2, whatever the number of members.";
    op.says(&["policy", "unset", "max"], 0, kept).await;
}

#[tokio::test]
async fn unset_of_what_is_not_set_changes_nothing() {
    let op = Operator::new("policy-unset");
    op.says(&["policy", "set", "--soak", "1h"], 0, "").await;
    let before = shown(&op).await;
    op.says(&["policy", "unset", "wave-soak", "max"], 0, "Soak: 1h")
        .await;
    assert_eq!(shown(&op).await, before, "who set it, and when");
    let acts = op.says(&["acts"], 0, "policy set").await;
    assert!(!acts.stdout.contains("policy unset"), "{acts:?}");
    op.says(&["policy", "unset", "soak"], 0, "No policy.").await;
    op.says(&["acts"], 0, "policy unset").await;
}
