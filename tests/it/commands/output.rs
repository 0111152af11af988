//! What becomes of what a command prints, and of bad words on its line.

use super::*;

/// How `pointsman status` ends when a shell sends its output here.
async fn status_into(op: &Operator, redirection: &str) -> Output {
    let words: Vec<String> = op.args(&["status"]);
    let script = format!(
        "set -o pipefail; '{}' '{}' {redirection}",
        bin().display(),
        words.join("' '")
    );
    run("bash", ["-c", &script], &[], PATIENCE).await
}

#[tokio::test]
async fn closed_output_is_no_failure_but_a_full_disk_is() {
    let op = Operator::new("pipes");
    op.says(&["lock", "--as", "a"], 0, "").await;
    // `sleep` never reads: the pipe has no reader by the time `true` has ended.
    let left = status_into(&op, "> >(true)").await;
    assert_eq!((left.code, left.stderr.as_str()), (Some(0), ""));
    let full = status_into(&op, ">/dev/full").await;
    assert_eq!(full.code, Some(1), "{full:?}");
    assert!(
        full.stderr
            .contains("standard output cannot be written: No space left"),
        "{full:?}"
    );
    assert_eq!(status_into(&op, ">/dev/full 2>&1").await.code, Some(1));
    assert_eq!(status_into(&op, ">&- 2>&-").await.code, Some(0));
}

#[tokio::test]
async fn control_characters_from_etcd_do_not_reach_the_terminal() {
    let op = Operator::new("escape");
    let nasty = "\u{1b}]0;owned\u{7}\u{1b}[2J\r\u{202e}x\ny";
    op.says(&["lock", "--as", "a", "--reason", nasty], 0, "")
        .await;
    op.says(&["pause", "--reason", nasty], 0, "").await;
    let shown = [
        op.says(&["status"], 0, "\\u{1b}]0;owned").await,
        op.says(&["lock", "--as", "b"], 3, "\\u{1b}]0;owned").await,
        op.says(&["resume"], 0, "\\u{1b}]0;owned").await,
    ];
    for output in shown {
        let text = format!("{}{}", output.stdout, output.stderr);
        let acts = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!text.contains(acts), "{text:?}");
    }
    let status = op.json(&[]).await;
    assert_eq!(status["groups"][0]["holders"][0]["reason"], nasty);
}

#[tokio::test]
async fn empty_reason_is_refused() {
    let op = Operator::new("reasons");
    for words in [
        ["pause", "--reason", ""],
        ["pause", "--reason", " \t"],
        ["reboot", "--reason", ""],
    ] {
        op.says(&words, 2, "expected a reason, in words").await;
    }
    assert!(op.json(&[]).await["groups"][0]["pause"].is_null());
}

#[tokio::test]
async fn variables_set_the_same_as_flags() {
    let op = Operator::new("environment");
    let endpoints = shared_cluster().endpoints().join(",");
    let root = op.root.path().display().to_string();
    let env = [
        ("POINTSMAN_ENDPOINT", endpoints.as_str()),
        ("POINTSMAN_KEY_PREFIX", &op.prefix),
        ("POINTSMAN_ROOT", &root),
        ("POINTSMAN_GROUP", "blue"),
    ];
    let done = run(bin(), ["lock"], &env, PATIENCE).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    // This machine's own id, under the root, and the group's own lock.
    assert!(
        done.stdout
            .starts_with("desk (0123456789abcdef0123456789abcdef) holds the reboot lock"),
        "{done:?}"
    );
    let there = op.json(&["--group", "blue"]).await;
    assert_eq!(there["groups"][0]["available"], 0);
    assert!(op.json(&[]).await["groups"][0]["max"].is_null());
    // A flag is stronger; what is wrong is named by its variable.
    let done = run(bin(), ["unlock", "--group", "red"], &env, PATIENCE).await;
    assert!(done.stdout.contains("did not hold"), "{done:?}");
    let bad = [&env[..], &[("POINTSMAN_TIMEOUT", "soon")]].concat();
    let done = run(bin(), ["unlock"], &bad, PATIENCE).await;
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(
        done.stderr.contains("POINTSMAN_TIMEOUT: found \"soon\""),
        "{done:?}"
    );
}

#[tokio::test]
async fn foreign_text_forges_no_line() {
    let op = Operator::new("forged-lines");
    let semaphore = on(shared_cluster(), &op.prefix);
    let keys = semaphore.keys();
    let mut client = shared_cluster().client().await;
    let document = r#"{"semaphore":0,"max":1,"holders":["h\n  FORGED: line\u2028\u061c\u200b"]}"#;
    client.put(keys.semaphore(), document, None).await.unwrap();
    client
        .put(
            keys.quarantine_version("9"),
            r#"{"version":"9","reason":"a\nFORGED: b"}"#,
            None,
        )
        .await
        .unwrap();
    client
        .put(keys.pause_all(), "x\r\nFORGED: y", None)
        .await
        .unwrap();
    for (args, code) in [
        (&["status"][..], 0),
        (&["lock", "--as", "b"], 3),
        (&["unlock", "nosuch"], 6),
        (&["set-max", "1"], 0),
        (&["quarantine"], 0),
        (&["resume", "--all"], 0),
        (&["quarantine", "clear", "9"], 0),
        (&["lock", "--as", "b"], 3),
    ] {
        let done = op.says(args, code, "").await;
        let text = format!("{}{}", done.stdout, done.stderr);
        let forged = text
            .lines()
            .any(|line| line.trim_start().starts_with("FORGED"));
        assert!(!forged, "{args:?}: {text}");
        for c in ['\r', '\u{2028}', '\u{61c}', '\u{200b}'] {
            assert!(!text.contains(c), "{args:?}: {text:?}");
        }
    }
    // A pause of which nobody can tell who made it.
    client.put(keys.pause(), "boo", None).await.unwrap();
    op.says(&["status"], 0, "PAUSED by someone unknown since -: boo")
        .await;
    op.says(&["lock", "--as", "b"], 3, "paused by someone unknown: boo")
        .await;
}

#[tokio::test]
async fn a_quarantine_with_a_damaged_name_is_cleared_by_force() {
    let op = Operator::new("damaged-quarantine");
    let semaphore = on(shared_cluster(), &op.prefix);
    let mut client = shared_cluster().client().await;
    for name in ["sha256:xyz", "version:a b"] {
        let key = semaphore.keys().quarantines() + name;
        client.put(key, r#"{"reason":"#, None).await.unwrap();
    }
    op.says(&["quarantine"], 0, "sha256:xyz").await;
    let refused = op
        .says(
            &["quarantine", "clear", "sha256:xyz"],
            2,
            "expected sha256:",
        )
        .await;
    assert!(
        refused
            .stderr
            .contains("pointsman quarantine clear --force sha256:xyz"),
        "{refused:?}"
    );
    op.says(
        &["quarantine", "clear", "sha256:xyz", "--force"],
        0,
        "is not quarantined any more",
    )
    .await;
    op.says(
        &["quarantine", "clear", "a b", "--force"],
        0,
        "is not quarantined any more",
    )
    .await;
    op.says(&["quarantine"], 0, "Nothing is quarantined").await;
    op.says(&["quarantine", "clear", "9"], 6, "9 was not quarantined")
        .await;
}
