//! By which names nodes and holders go, and that what is suggested goes to the same place.

use semaphore::records::NodeRecord;

use super::*;

/// A node of the group as its agent says.
async fn record(op: &Operator, id: &str, hostname: &str) {
    let text = format!(r#"{{"id":"{id}","hostname":"{hostname}","state":"idle"}}"#);
    let record: NodeRecord = serde_json::from_str(&text).unwrap();
    on(shared_cluster(), &op.prefix)
        .publish(&record)
        .await
        .unwrap();
}

#[tokio::test]
async fn every_holder_can_be_unlocked() {
    let op = Operator::new("foreign-names");
    let semaphore = on(shared_cluster(), &op.prefix);
    let keys = semaphore.keys();
    let mut client = shared_cluster().client().await;
    let document = r#"{"semaphore":0,"max":4,"holders":["a b","c/d","e","ü"]}"#;
    client.put(keys.semaphore(), document, None).await.unwrap();
    for id in ["f/g h", "e"] {
        let entry = format!(r#"{{"id":"{id}","phase":"manual"}}"#);
        client.put(keys.holder(id), entry, None).await.unwrap();
    }
    for id in ["a b", "c/d", "e", "ü", "f/g h"] {
        op.says(&["lock", id], if id == "e" { 0 } else { 2 }, id)
            .await;
        op.says(&["unlock", id], 0, "does not hold the reboot lock any more")
            .await;
    }
    let left = semaphore.read().await.unwrap();
    assert!(left.holders.is_empty(), "{left:?}");
    // What nobody holds and no node is called: a typing error, of which scripts can tell.
    op.says(
        &["unlock", "nosuch"],
        6,
        "nosuch did not hold the reboot lock. Nobody holds it. Nothing in the default group has this name.",
    )
    .await;
    op.says(
        &["unlock", "--ticket", "nosuch"],
        6,
        "Nothing in the default group has this name.",
    )
    .await;
    op.says(&["unlock"], 0, "did not hold the reboot lock")
        .await;
    // What nobody holds is a name that is none.
    op.says(&["unlock", "a b"], 2, "the node id \"a b\"").await;
}

#[tokio::test]
async fn a_host_name_means_its_node() {
    let op = Operator::new("host-names");
    let semaphore = on(shared_cluster(), &op.prefix);
    let (n2, n3, n4) = ("2".repeat(32), "3".repeat(32), "4".repeat(32));
    record(&op, &n2, "n2").await;
    let locked = op
        .says(
            &["lock", "n2"],
            0,
            &format!("n2 ({n2}) holds the reboot lock"),
        )
        .await;
    assert!(
        locked.stdout.contains(&format!("unlock {n2}")),
        "{locked:?}"
    );
    let held = semaphore.read().await.unwrap().holders;
    assert_eq!((held.len(), held[0].id.as_str()), (1, n2.as_str()));
    assert_eq!(held[0].entry.as_ref().unwrap().hostname, "n2");
    op.says(
        &["unlock", "n2"],
        0,
        &format!("n2 ({n2}) does not hold the reboot lock any more"),
    )
    .await;
    // A name that no node has takes a place of its own, as an id is what it says before it is a host name.
    op.says(&["lock", "--as", "spare"], 0, "spare holds the reboot lock")
        .await;
    record(&op, &n3, "spare").await;
    op.says(
        &["unlock", "spare"],
        0,
        "spare does not hold the reboot lock any more",
    )
    .await;
    // Of two nobody knows which is meant.
    record(&op, &n4, "n2").await;
    for command in ["lock", "unlock"] {
        let refused = op
            .says(&[command, "n2"], 2, "n2 is the host name of 2 nodes")
            .await;
        for part in [&n2, &n4, &format!("pointsman {command} ID --endpoint ")] {
            assert!(refused.stderr.contains(part.as_str()), "{refused:?}");
        }
    }
    assert!(semaphore.read().await.unwrap().holders.is_empty());
}

#[tokio::test]
async fn suggested_commands_have_the_given_flags() {
    let op = Operator::new("flags-again");
    let flags = op.args(&["--group", "red team"]);
    let again = format!(
        "--endpoint {} --group 'red team' --key-prefix {} --root {}",
        shared_cluster().endpoints().join(","),
        op.prefix,
        op.root.path().display()
    );
    let says = async |args: &[&str], code: i32, command: &str| {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let output = run(bin(), [args, flags.clone()].concat(), &[], PATIENCE).await;
        assert_eq!(output.code, Some(code), "{output:?}");
        let suggested = format!("pointsman {command} {again}");
        assert!(
            format!("{}{}", output.stdout, output.stderr).contains(&suggested),
            "{output:?}\n{suggested}"
        );
    };
    says(&["lock", "--as", "a"], 0, "unlock a").await;
    says(&["lock", "--as", "b"], 3, "status").await;
    says(&["pause", "--reason", "fair"], 0, "resume").await;
    // Of what is about all groups, none is named.
    let of_all = format!(
        "pointsman resume --all {}",
        again.replace("--group 'red team' ", "")
    );
    op.says(&["pause", "--all", "--reason", "fair"], 0, &of_all)
        .await;
    op.says(&["resume", "--group", "red team"], 0, &of_all)
        .await;
    op.says(&["resume", "--all"], 0, "").await;
    for args in [
        &["pause", "--all", "--reason", "fair"][..],
        &["resume", "--all"],
        &["waves"],
        &["quarantine"],
        &["store"],
    ] {
        let args = [args, &["--group", "red team"]].concat();
        op.says(&args, 2, "cannot be used with").await;
    }
    // The group of a document that is broken is the one to be repaired, whichever was asked for.
    let red = semaphore::keys::Keys::new(&op.prefix, host::node::Group::new("red team").unwrap());
    let mut client = shared_cluster().client().await;
    client.put(red.semaphore(), "{", None).await.unwrap();
    let mends = format!(
        "pointsman set-max N --rebuild --group 'red team' {}",
        again.replace("--group 'red team' ", "")
    );
    for args in [
        &["status", "--all-groups"][..],
        &["lock", "--as", "b", "--group", "red team"],
    ] {
        op.says(args, 1, &mends).await;
    }
}

#[tokio::test]
async fn a_lock_of_a_name_that_no_node_has_is_refused_with_the_nearest_names() {
    let op = Operator::new("no-such-node");
    let semaphore = on(shared_cluster(), &op.prefix);
    for (id, host) in [("3", "op3"), ("4", "op4"), ("5", "db1")] {
        record(&op, &id.repeat(32), host).await;
    }
    let refused = op
        .says(
            &["lock", "op33"],
            2,
            "no node of the group is called op33; similar names are op3, op4",
        )
        .await;
    assert!(
        refused
            .stderr
            .contains("pointsman lock --as op33 --endpoint"),
        "{refused:?}"
    );
    let refused = op
        .says(&["lock", "web-proxy"], 2, "is called web-proxy\nto take")
        .await;
    assert!(!refused.stderr.contains("similar"), "{refused:?}");
    assert!(semaphore.read().await.unwrap().holders.is_empty());
    // Said to be meant, it is taken; so is a machine id, with a note.
    op.says(&["set-max", "3"], 0, "").await;
    op.says(&["lock", "--as", "web-proxy"], 0, "web-proxy holds")
        .await;
    let id = "7".repeat(32);
    let taken = op.says(&["lock", &id], 0, "holds the reboot lock").await;
    assert!(
        taken.stderr.contains("no node of the group has the id"),
        "{taken:?}"
    );
    let taken = op.says(&["lock", "op3"], 0, "holds the reboot lock").await;
    assert_eq!(taken.stderr, "");
    op.says(&["lock", "--as", "x", "op3"], 2, "cannot be used with")
        .await;
    // What it said is a command that works.
    op.says(&["unlock", "web-proxy"], 0, "any more").await;
}

#[tokio::test]
async fn host_name_of_two_records_means_this_machine_or_the_holder() {
    let op = Operator::new("reinstalled");
    // The operator's machine is called desk.
    let (own, old) = ("0123456789abcdef0123456789abcdef", "9".repeat(32));
    for id in [own, &old] {
        let since = if id == own {
            "2026-11-01T00:00:00Z"
        } else {
            "2026-01-01T00:00:00Z"
        };
        let text = format!(r#"{{"id":"{id}","hostname":"desk","state":"idle","since":"{since}"}}"#);
        let record: NodeRecord = serde_json::from_str(&text).unwrap();
        on(shared_cluster(), &op.prefix)
            .publish(&record)
            .await
            .unwrap();
    }
    op.says(
        &["lock", "desk"],
        0,
        &format!("desk ({own}) holds the reboot lock"),
    )
    .await;
    op.says(
        &["unlock", "desk"],
        0,
        &format!("desk ({own}) does not hold"),
    )
    .await;
    op.says(&["lock", &old], 0, "").await;
    op.says(
        &["unlock", "desk"],
        0,
        &format!("desk ({old}) does not hold"),
    )
    .await;
    // Seen from elsewhere nobody can tell, but the times help.
    std::fs::write(op.root.path().join("etc/hostname"), "other\n").unwrap();
    let refused = op
        .says(&["lock", "desk"], 2, "desk is the host name of 2 nodes")
        .await;
    for part in [
        format!("{own} (last seen 2026-11-01"),
        format!("{old} (last seen 2026-01-01"),
    ] {
        assert!(refused.stderr.contains(&part), "{refused:?}");
    }
}

#[tokio::test]
async fn a_suggested_unlock_is_one_word_of_a_shell() {
    let site = Site::new("shell-word");
    let node = site.node("node-1", &[]).await;
    let mut client = shared_cluster().client().await;
    let id = node.machine_id();
    // The document and the key name this node; the entry's own id is somebody's joke.
    let document = format!(r#"{{"semaphore":0,"max":1,"holders":["{id}"]}}"#);
    client
        .put(site.semaphore.keys().semaphore(), document, None)
        .await
        .unwrap();
    let entry = r#"{"id":"x; touch pwned #","hostname":"evil","phase":"manual"}"#;
    client
        .put(site.semaphore.keys().holder(id), entry, None)
        .await
        .unwrap();
    node.update_engine().ready("2").await;
    let said = node
        .wait_status(|status| status.contains("locked by hand"))
        .await;
    assert!(said.contains(&format!("pointsman unlock {id}")), "{said}");
    assert!(!said.contains("touch"), "{said}");
}
