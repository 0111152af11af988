//! Commands where the configuration has faults, or is in a place where it is not read.

use super::*;

impl Operator {
    pub(super) fn config(&self, text: &str) {
        let folder = self.root.path().join("etc/pointsman");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.yaml"), text).unwrap();
    }
}

#[tokio::test]
async fn unrelated_configuration_fault_does_not_block_lock_commands() {
    let op = Operator::new("fault-elsewhere");
    op.config("group: blue\ntimings: {proving: soon}\nwindow: {start: noon, length: 1h}\n");
    for (args, says) in [
        (&["lock", "--as", "a"][..], "a holds the reboot lock"),
        (&["status"], "Group: blue"),
        (&["unlock", "a"], "does not hold"),
        (&["pause", "--reason", "repair"], "The group blue is paused"),
        (&["resume"], "not paused any more"),
        (&["set-max", "2"], "Max: 2"),
        (&["quarantine"], "Nothing is quarantined."),
    ] {
        let output = op.says(args, 0, says).await;
        for fault in ["timings.proving: found \"soon\"", "window.start: "] {
            assert!(output.stderr.contains(fault), "{output:?}");
        }
    }
    // What reboots nodes, and what is asked what is wrong, go by all of it or not at all.
    for strict in [&["reboot"][..], &["agent"], &["config"]] {
        op.says(strict, 2, "timings.proving: found \"soon\"").await;
    }
    // So does who names a file.
    let file = op.root.path().join("etc/pointsman/config.yaml");
    let file = file.display().to_string();
    op.says(&["status", "--config", &file], 2, "timings.proving")
        .await;
}

#[tokio::test]
async fn commands_refuse_when_the_configured_group_or_etcd_is_unknown() {
    let op = Operator::new("fault-group");
    op.config("group: blue\netdc: {timeout: 1s}\n");
    // Known without the configuration, but for the group.
    for args in [
        &["lock", "--as", "a"][..],
        &["unlock", "a"],
        &["set-max", "7"],
        &["pause", "--reason", "repair"],
        &["resume"],
    ] {
        let refused = op.says(args, 2, "unknown key \"etdc\"").await;
        let suggested = format!("--group blue --key-prefix {}", op.prefix);
        for part in ["is not certain", &suggested] {
            assert!(refused.stderr.contains(part), "{refused:?}");
        }
        assert_eq!(refused.stdout, "", "{refused:?}");
    }
    // What is about all groups needs none.
    for (args, says) in [
        (&["quarantine"][..], "Nothing is quarantined."),
        (&["waves"], "No group comes after another one"),
        (&["pause", "--all", "--reason", "repair"], "is paused"),
        (&["resume", "--all"], "is not paused any more"),
    ] {
        op.says(args, 0, says).await;
    }
    // This node is shown all the same.
    let shown = op.says(&["status"], 2, "This node: ").await;
    assert!(shown.stderr.contains("is not certain"), "{shown:?}");
    // The flags say all of it.
    op.says(
        &["lock", "--as", "a", "--group", "red"],
        0,
        "a holds the reboot lock",
    )
    .await;
    op.config("");
    op.says(&["status", "--group", "red"], 0, "locked by").await;
    op.says(&["status", "--group", "blue"], 0, "Not used yet")
        .await;
    // In etcd, or on this node alone?
    op.config("strategy: rebot\n");
    op.says(&["quarantine"], 2, "strategy: fix the error above first")
        .await;
    op.says(&["status", "--group", "red"], 0, "locked by").await;
    // By flags alone: what else was read of a file with faults does not count.
    op.config("etcd: {usrname: u, cafile: /none.pem}\n");
    op.says(&["status"], 2, "unknown key \"etcd.usrname\"")
        .await;
    op.says(&["unlock", "a", "--group", "red"], 0, "does not hold")
        .await;
}

#[tokio::test]
async fn slots_proven_ignores_configuration_faults() {
    let op = Operator::new("fault-proven");
    for config in ["stategy: reboot\n", "slots: {disk: sda}\n"] {
        op.config(config);
        let said = op.says(&["slots", "proven"], 0, "").await;
        assert!(said.stderr.contains("config.yaml:1:"), "{said:?}");
    }
}

#[tokio::test]
async fn files_named_by_settings_are_checked() {
    let op = Operator::new("named-files");
    let files = pointsman_testbed::etcd::Certificates::write(op.root.path());
    let below = |path: &std::path::Path| {
        let path = path.strip_prefix(op.root.path()).unwrap();
        format!("/{}", path.display())
    };
    let [ca, cert, key, other] = [
        &files.ca,
        &files.client_cert,
        &files.client_key,
        &files.server_key,
    ]
    .map(|path| below(path));
    std::fs::write(op.root.path().join("password"), "s3cret").unwrap();
    for (etcd, says) in [
        ("cafile: /none.pem".to_owned(), "/none.pem: No such file"),
        (
            format!("certfile: {cert}, keyfile: {other}"),
            "a key that is not the certificate's",
        ),
        (
            "username: u, password-file: /password".to_owned(),
            "with which other users can read the password",
        ),
    ] {
        op.config(&format!("etcd: {{{etcd}}}\n"));
        for args in [&["config"][..], &["config", "--json"]] {
            let shown = op.says(args, 2, says).await;
            // What is in force is shown first.
            assert!(shown.stdout.contains("etcd.cafile"), "{shown:?}");
            assert!(!format!("{shown:?}").contains("s3cret"), "{shown:?}");
        }
    }
    op.config(&format!(
        "etcd: {{cafile: {ca}, certfile: {cert}, keyfile: {key}}}\n"
    ));
    let shown = op.says(&["config"], 0, "etcd.cafile").await;
    assert_eq!(shown.stderr, "");
}

#[tokio::test]
async fn a_root_that_is_not_there_is_an_error_and_not_a_machine_without_a_configuration() {
    let folder = scratch::dir("no-root");
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let missing = folder.path().join("typo");
    for (root, found) in [(&missing, "No such file"), (&file, "found a file")] {
        let root = root.display().to_string();
        for (args, env) in [
            (&["config", "--root", &root][..], &[][..]),
            (&["config"], &[("POINTSMAN_ROOT", root.as_str())]),
            (&["cloud-config", "history", "--root", &root], &[]),
        ] {
            let said = run(bin(), args.iter().copied(), env, PATIENCE).await;
            assert_eq!(said.code, Some(2), "{said:?}");
            for words in [&root, "--root", "expected a folder", found] {
                assert!(said.stderr.contains(words), "{words}: {said:?}");
            }
        }
    }
}
