//! `acts`: what people did.

use super::*;

async fn acts(op: &Operator, args: &[&str]) -> Vec<Value> {
    let output = op.says(&[&["acts", "--json"], args].concat(), 0, "").await;
    serde_json::from_str(&output.stdout).unwrap()
}

fn commands(acts: &[Value]) -> Vec<&str> {
    acts.iter()
        .map(|act| act["act"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn acts_of_people_are_shown_with_the_latest_last() {
    let op = Operator::new("acts");
    op.says(&["acts"], 0, "Nothing is recorded.\n").await;
    assert_eq!(acts(&op, &[]).await, Vec::<Value>::new());
    op.says(&["set-max", "2"], 0, "").await;
    op.says(&["lock", "--as", "a", "--reason", "disk"], 0, "")
        .await;
    op.says(&["unlock", "--force", "a"], 0, "").await;
    op.says(&["set-max", "4", "--group", "web", "--new"], 0, "")
        .await;
    op.says(&["policy", "set", "--max", "20%", "--group", "web"], 0, "")
        .await;
    op.says(&["pause", "--all", "--reason", "holi\u{1b}days"], 0, "")
        .await;
    // What changes nothing is no act.
    op.says(&["unlock", "b"], 6, "").await;
    op.says(&["policy", "set", "--max", "30%", "--dry-run"], 0, "")
        .await;
    op.says(&["status"], 0, "").await;

    let all = acts(&op, &[]).await;
    let expected = [
        "set-max",
        "lock",
        "unlock --force",
        "set-max",
        "policy set",
        "pause --all",
    ];
    assert_eq!(commands(&all), expected);
    let user = all[0]["by"].as_str().unwrap();
    let of = |number: usize| {
        let act = &all[number];
        (
            act["group"].as_str(),
            act["target"].as_str().unwrap(),
            act["reason"].as_str().unwrap(),
        )
    };
    assert_eq!(of(0), (Some(""), "2", ""));
    assert_eq!(of(1), (Some(""), "a", "disk"));
    assert_eq!(of(4), (Some("web"), "max 20%", ""));
    assert_eq!(of(5), (None, "", "holi\u{1b}days"));
    assert!(
        all.iter()
            .all(|act| act["by"] == user && act["host"] == "desk"),
        "{all:?}"
    );
    all[0]["since"]
        .as_str()
        .unwrap()
        .parse::<jiff::Timestamp>()
        .unwrap();

    let shown = op.says(&["acts"], 0, "").await.stdout;
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 7, "{shown}");
    let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
    assert_eq!(words(0), ["WHEN", "BY", "ACT", "GROUP", "TARGET", "REASON"]);
    let by = format!("{user}@desk");
    let last = ["lock", "(default)", "a", "disk"];
    assert_eq!(words(2)[words(2).len() - 4..], last, "{shown}");
    assert!(
        lines[2].contains(&by) && lines[2].contains(" UTC"),
        "{shown}"
    );
    assert!(
        lines[6].contains("pause --all") && lines[6].contains("(all)"),
        "{shown}"
    );
    assert!(!shown.contains('\u{1b}'), "{shown:?}");

    // Of a group, also what was done to all of them.
    let web = acts(&op, &["--group", "web"]).await;
    assert_eq!(commands(&web), ["set-max", "policy set", "pause --all"]);
    assert_eq!(
        commands(&acts(&op, &["--limit", "2"]).await),
        ["policy set", "pause --all"]
    );
    assert_eq!(
        commands(&acts(&op, &["--group", "web", "--limit", "2"]).await),
        ["policy set", "pause --all"]
    );
    op.says(&["acts", "--limit", "0"], 2, "--limit").await;
    op.says(&["acts", "--limit", "501"], 2, "--limit").await;
    let nobody = ["acts", "--endpoint", "http://127.0.0.1:1"];
    let output = run(bin(), nobody, &[], PATIENCE).await;
    assert_eq!(output.code, Some(4), "{output:?}");
}

#[tokio::test]
async fn reason_is_recorded_with_what_it_is_for() {
    let op = Operator::new("acts-reason");
    op.says(&["set-max", "2"], 0, "").await;
    op.says(&["lock", "--as", "a"], 0, "").await;
    let because = ["--reason", "the rack is gone"];
    let commands: [&[&str]; 7] = [
        &["unlock", "--force", "a"],
        &["set-max", "4"],
        &["policy", "set", "--max", "20%"],
        &["policy", "unset", "max"],
        &["resume"],
        &["quarantine", "clear", "2"],
        &["forget", "gone"],
    ];
    op.says(&["pause", "--reason", "holidays"], 0, "").await;
    op.says(&["quarantine", "add", "2", "--reason", "bad"], 0, "")
        .await;
    let mut client = shared_cluster().client().await;
    let key = format!("{}/nodes/gone", op.prefix);
    let record = r#"{"id":"gone","hostname":"gone"}"#;
    client.put(key, record, None).await.unwrap();
    let before = acts(&op, &[]).await.len();
    for command in commands {
        op.says(&[command, &because].concat(), 0, "").await;
    }
    let recorded = acts(&op, &[]).await;
    let reasons: Vec<&str> = recorded[before..]
        .iter()
        .map(|act| act["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["the rack is gone"; 7], "{recorded:?}");
    op.says(
        &["unlock", "a", "--reason", " "],
        2,
        "expected a reason, in words",
    )
    .await;
}

#[tokio::test]
async fn acts_by_locksmithctl_are_recorded_and_what_nobody_can_read_hides_no_other() {
    let op = Operator::new("acts-locksmith");
    let old = scratch::dir("locksmithctl");
    let program = old.path().join("locksmithctl");
    std::os::unix::fs::symlink(bin(), &program).unwrap();
    let root = op.root.path().display().to_string();
    let endpoint = shared_cluster().endpoint(0);
    let env = [
        ("POINTSMAN_ROOT", root.as_str()),
        ("POINTSMAN_KEY_PREFIX", &op.prefix),
    ];
    for words in [
        &["set-max", "2"][..],
        &["lock", "x"],
        &["unlock", "x"],
        &["status"],
    ] {
        let args = [&["-endpoint", &endpoint], words].concat();
        let done = run(&program, args, &env, PATIENCE).await;
        assert_eq!(done.code, Some(0), "{words:?}: {done:?}");
    }
    let mut client = shared_cluster().client().await;
    let key = format!("{}/acts/2026-11-30T00:00:00.000Z-0", op.prefix);
    client.put(key, "oops", None).await.unwrap();
    let all = acts(&op, &[]).await;
    assert_eq!(commands(&all), ["set-max", "lock", "unlock --force"]);
    assert_eq!(
        (&all[0]["target"], &all[2]["target"]),
        (&"2".into(), &"x".into())
    );
}
