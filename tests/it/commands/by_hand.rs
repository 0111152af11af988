//! The semaphore by hand.

use super::*;

#[tokio::test]
async fn lock_and_unlock_report_their_result_and_exit_code() {
    let op = Operator::new("lock");
    op.says(&["status"], 0, "Not used yet").await;
    op.says(&["unlock", "a"], 6, "a did not hold the reboot lock")
        .await;
    op.says(
        &["lock", "--as", "a", "--reason", "new disk"],
        0,
        "a holds the reboot lock. To release it: pointsman unlock a",
    )
    .await;
    op.says(
        &["lock", "--as", "a"],
        0,
        "a is already locked by hand since",
    )
    .await;
    op.says(&["lock", "--as", "b"], 3, "the only place is taken by a")
        .await;
    // Without an id it is this machine.
    op.says(
        &["lock"],
        3,
        "desk (0123456789abcdef0123456789abcdef) is not locked: the only place is taken by a",
    )
    .await;
    op.says(&["status"], 0, "new disk").await;
    op.says(
        &["unlock", "a"],
        0,
        "a does not hold the reboot lock any more",
    )
    .await;
    op.says(&["pause", "--reason", "launch day"], 0, "paused until")
        .await;
    op.says(&["lock", "--as", "a"], 3, "launch day").await;
    op.says(&["status"], 0, "PAUSED by root@desk").await;
    op.says(&["resume", "--all"], 0, "was not paused").await;
    op.says(&["resume"], 0, "not paused any more (it was: launch day)")
        .await;
    op.says(
        &["pause", "--all", "--for", "2h", "--reason", "x"],
        0,
        "The whole cluster is paused for 2h",
    )
    .await;
    op.says(&["status"], 0, "THE WHOLE CLUSTER IS PAUSED").await;
    op.says(&["resume", "--all"], 0, "any more").await;
    // A node that is away is not unlocked by accident.
    let c = claim("away");
    let semaphore = on(shared_cluster(), &op.prefix);
    semaphore.acquire(&c, |_| {}).await;
    semaphore.commit(&c).await.unwrap();
    op.says(&["unlock", "away"], 3, "pointsman unlock --force away")
        .await;
    op.says(&["unlock", "--force", "away"], 0, "any more").await;
}

#[tokio::test]
async fn max_is_set_and_shown() {
    let op = Operator::new("max");
    op.says(&["set-max", "4"], 0, "Max: 4").await;
    op.says(&["lock", "--as", "a"], 0, "").await;
    op.says(
        &["set-max", "0"],
        0,
        "Old-Max: 4\nMax: 0\nThe group is stopped",
    )
    .await;
    op.says(&["status"], 0, "Available: -1\nMax: 0").await;
    op.says(&["lock", "--as", "b"], 3, "the group is stopped")
        .await;
    op.says(&["set-max", "4294967295"], 0, "Max: 4294967295")
        .await;
}

#[tokio::test]
async fn invalid_command_lines_are_refused_by_name() {
    let op = Operator::new("usage");
    for (args, says) in [
        (&["set-max", "abc"][..], "expected a whole number from 0"),
        (&["set-max", "-1"], "-1"),
        (&["set-max", "4294967296"], "4294967296"),
        (&["set-max"], "<N>"),
        (&["lock", ""], "the node id \"\" is empty"),
        (&["lock", "a/b"], "a/b"),
        (&["unlock", "a b"], "a b"),
        (&["status", "--group", "a\nb"], "control characters"),
        (&["pause"], "--reason"),
        (&["pause", "--reason", "x", "--for", "soon"], "soon"),
        (
            &["pause", "--reason", "x", "--for", "10ms"],
            "--for: found 10ms, expected from 1s",
        ),
        (&["lock", "--as", "a", "--wait", "-5s"], "-5"),
        (&["status", "--timeout", "never"], "never"),
        (&["explode"], "explode"),
        (&["status", "--endpoint", "ftp://h"], "ftp://h"),
        (&["status", "--config", "/none.yaml"], "/none.yaml"),
        (&[], "Usage"),
    ] {
        op.says(args, 2, says).await;
    }
    let none = Operator::new("no-id");
    std::fs::remove_file(none.root.path().join("etc/machine-id")).unwrap();
    none.says(
        &["lock"],
        2,
        &none
            .root
            .path()
            .join("etc/machine-id")
            .display()
            .to_string(),
    )
    .await;
}

#[tokio::test]
async fn waiting_lock_takes_its_turn_or_leaves_the_queue() {
    let op = Operator::new("wait");
    let semaphore = on(shared_cluster(), &op.prefix);
    let queue = async || semaphore.read().await.unwrap().queue.len();
    op.says(&["lock", "--as", "a"], 0, "").await;
    op.says(
        &["lock", "--as", "b", "--wait", "300ms"],
        3,
        "it did not get a place within 300ms",
    )
    .await;
    assert_eq!(queue().await, 0, "no ticket is left");
    let dir = scratch::dir("wait");
    for (signal, code) in [
        (Some(Signal::SIGINT), 130),
        (Some(Signal::SIGTERM), 143),
        (None, 0),
    ] {
        let waiting = Spec::new(bin(), dir.path().join("log"))
            .args(op.args(&["lock", "--as", "b", "--wait", "1m"]))
            .spawn();
        eventually("its ticket", queue, |n| *n == 1).await;
        op.says(
            &["lock", "--as", "b", "--wait", "1s"],
            3,
            "b is already in the queue",
        )
        .await;
        match signal {
            Some(signal) => waiting.signal(signal),
            None => drop(op.says(&["unlock", "a"], 0, "").await),
        }
        assert_eq!(
            waiting.wait_timeout(PATIENCE).await.unwrap().code(),
            Some(code),
            "{}",
            waiting.log()
        );
        eventually("the queue is empty", queue, |n| *n == 0).await;
    }
    op.says(&["lock", "--as", "b"], 0, "b is already locked by hand")
        .await;
}

#[tokio::test]
async fn eight_at_once_with_eight_free_all_succeed() {
    let op = Operator::new("eight");
    op.says(&["set-max", "8"], 0, "").await;
    let ids: Vec<String> = (0..8).map(|i| format!("n{i}")).collect();
    let locks = ids.iter().map(|id| {
        let op = &op;
        async move {
            op.says(&["lock", "--as", id], 0, "holds the reboot lock")
                .await
        }
    });
    futures_util::future::join_all(locks).await;
    op.says(&["status"], 0, "Available: 0\nMax: 8").await;
}

#[tokio::test]
async fn rebooting_node_is_unlocked_only_by_force() {
    let op = Operator::new("force");
    let semaphore = on(shared_cluster(), &op.prefix);
    for phase in [Phase::Rebooting, Phase::Proving] {
        let on_its_way = claim("node");
        semaphore.acquire(&on_its_way, |_| {}).await;
        let entry = holder("node", phase.clone());
        let key = semaphore.keys().holder("node");
        let text = serde_json::to_string(&entry).unwrap();
        let mut client = shared_cluster().client().await;
        client.put(key, text, None).await.unwrap();
        op.says(&["unlock", "node"], 3, "pointsman unlock --force node")
            .await;
        op.says(&["status"], 0, "Available: 0").await;
        op.says(&["unlock", "node", "--force"], 0, "does not hold")
            .await;
    }
}

#[tokio::test]
async fn a_lock_that_waits_waits_for_a_pause_to_end() {
    let op = Operator::new("paused-lock");
    let semaphore = on(shared_cluster(), &op.prefix);
    op.says(&["set-max", "1"], 0, "").await;
    op.says(&["pause", "--reason", "fair"], 0, "").await;
    op.says(&["lock", "--as", "a"], 3, "the group is paused by")
        .await;
    let dir = scratch::dir("paused-lock");
    let waiting = Spec::new(bin(), dir.path().join("log"))
        .args(op.args(&["lock", "--as", "a", "--wait", "1m"]))
        .spawn();
    let says = async || waiting.log();
    eventually("why it waits", says, |log| log.contains("paused by")).await;
    assert!(semaphore.read().await.unwrap().holders.is_empty());
    op.says(&["resume"], 0, "not paused any more (it was: fair)")
        .await;
    let ended = waiting.wait_timeout(PATIENCE).await.unwrap();
    assert_eq!(ended.code(), Some(0), "{}", waiting.log());
    op.says(&["status"], 0, "Available: 0").await;
}

#[tokio::test]
async fn images_and_versions_are_quarantined_and_cleared() {
    let op = Operator::new("quarantine");
    let semaphore = on(shared_cluster(), &op.prefix);
    op.says(&["quarantine"], 0, "Nothing is quarantined.").await;
    // What a node found, by content and version.
    let digest = format!("sha256:{}", "0a".repeat(32));
    let found =
        format!(r#"{{"image":"{digest}","version":"2","hostname":"n1","reason":"no network"}}"#);
    semaphore
        .quarantine(&serde_json::from_str(&found).unwrap())
        .await
        .unwrap();
    op.says(
        &["quarantine", "add", "3.1", "--reason", "not yet"],
        0,
        "3.1 is quarantined",
    )
    .await;
    // Who found it first is who is asked.
    op.says(
        &["quarantine", "add", "2", "--reason", "nor I"],
        0,
        "2 is already quarantined, with the reason given then",
    )
    .await;
    let listed = op
        .says(&["quarantine", "list"], 0, "no network")
        .await
        .stdout;
    assert_eq!(listed.lines().count(), 3, "one line for each: {listed}");
    let json = op
        .says(&["quarantine", "list", "--json"], 0, "")
        .await
        .stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(op.json(&[]).await["quarantine"], json);
    // By either name the whole of it is cleared.
    op.says(
        &["quarantine", "clear", &digest],
        0,
        "2 is not quarantined any more (it was: no network)",
    )
    .await;
    op.says(&["quarantine", "clear", "2"], 6, "2 was not quarantined")
        .await;
    op.says(
        &["quarantine", "clear", "3.1"],
        0,
        "3.1 is not quarantined any more",
    )
    .await;
    op.says(&["quarantine"], 0, "Nothing is quarantined.").await;
    for bad in ["", "sha256:12", "a/b", "a b"] {
        op.says(&["quarantine", "add", bad, "--reason", "x"], 2, "expected")
            .await;
    }
}

#[tokio::test]
async fn empty_group_is_created_only_on_purpose_and_can_be_removed() {
    let op = Operator::new("new-group");
    let web = ["--group", "prod/web"];
    let refused = op
        .says(
            &["set-max", "2", "--group", "prod/wbe"],
            2,
            "no node is in the group \"prod/wbe\"",
        )
        .await;
    assert!(
        refused.stderr.contains("the only group is the default one"),
        "{refused:?}"
    );
    assert!(
        refused
            .stderr
            .contains("pointsman set-max 2 --new --endpoint"),
        "{refused:?}"
    );
    op.says(
        &[&["set-max", "2", "--new"], &web[..]].concat(),
        0,
        "Max: 2",
    )
    .await;
    op.says(&[&["set-max", "1"], &web[..]].concat(), 0, "Old-Max: 2")
        .await;
    op.says(
        &["set-max", "2", "--group", "prod/wbe"],
        2,
        "the groups are prod/web",
    )
    .await;
    // In use in any way, it stays.
    op.says(&[&["lock", "--as", "a"], &web[..]].concat(), 0, "")
        .await;
    op.says(
        &[&["set-max", "--remove"], &web[..]].concat(),
        3,
        "is not removed: its reboot lock is held by a",
    )
    .await;
    op.says(&[&["unlock", "a"], &web[..]].concat(), 0, "").await;
    let semaphore = on(shared_cluster(), &op.prefix);
    let record = r#"{"id":"1","hostname":"n1","group":"prod/web","state":"idle"}"#;
    semaphore
        .publish(&serde_json::from_str(record).unwrap())
        .await
        .unwrap();
    op.says(
        &[&["set-max", "--remove"], &web[..]].concat(),
        3,
        "is not removed: its nodes are n1",
    )
    .await;
    let mut client = shared_cluster().client().await;
    client
        .delete(semaphore.keys().node("1"), None)
        .await
        .unwrap();
    op.says(
        &[&["set-max", "--remove"], &web[..]].concat(),
        0,
        "is removed",
    )
    .await;
    op.says(
        &[&["set-max", "--remove"], &web[..]].concat(),
        6,
        "does not exist: it has no semaphore document",
    )
    .await;
    let all = op.json(&["--all-groups"]).await;
    assert_eq!(all["groups"].as_array().unwrap().len(), 1, "{all}");
    op.says(&["set-max", "--remove", "3"], 2, "cannot be used with")
        .await;
    op.says(&["set-max"], 2, "<N>").await;
}

#[tokio::test]
async fn a_node_locked_with_drain_runs_its_hooks_and_unlock_undoes_them_while_it_still_holds() {
    let site = Site::new("lock-drain");
    let node = machine("node-1").await;
    let log = node.path("hooks-ran");
    for moment in ["pre-reboot.d", "post-boot.d"] {
        let script = format!(
            "echo {moment} $POINTSMAN_PHASE $POINTSMAN_REASON >>{}",
            log.display()
        );
        hook(&node, &format!("{moment}/20-note"), &script);
    }
    let ran = || std::fs::read_to_string(&log).unwrap_or_default();
    // Alone it takes the lock and drains nothing.
    let done = site.command(&node, &["lock"]).await;
    assert_eq!((done.code, ran().as_str()), (Some(0), ""), "{done:?}");
    let done = site.command(&node, &["unlock"]).await;
    assert_eq!((done.code, ran().as_str()), (Some(0), ""), "{done:?}");
    let done = site
        .command(&node, &["lock", "--drain", "--reason", "disk"])
        .await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(ran(), "pre-reboot.d draining disk\n");
    assert!(
        done.stderr
            .contains("the hook pre-reboot.d/20-note runs since "),
        "{done:?}"
    );
    let done = site.command(&node, &["unlock"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(
        ran(),
        "pre-reboot.d draining disk\npost-boot.d proving disk\n"
    );
    site.free().await;
    // A drain that fails leaves neither a lock nor half a drain.
    hook(&node, "pre-reboot.d/30-fails", "echo no room; exit 1");
    let done = site.command(&node, &["lock", "--drain"]).await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr
            .contains("its last output: no room; the drain was undone"),
        "{done:?}"
    );
    assert!(
        ran()
            .lines()
            .last()
            .unwrap()
            .starts_with("post-boot.d stepping-back"),
        "{}",
        ran()
    );
    site.free().await;
    let done = site
        .command(&node, &["lock", "--drain", &"7".repeat(32)])
        .await;
    assert_eq!(done.code, Some(2), "{done:?}");
}
