//! By which names nodes and holders go, and that what is suggested goes to the same place.

use super::*;
use pointsman::semaphore::records::NodeRecord;

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
async fn whatever_holds_can_be_unlocked() {
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
        op.says(&["unlock", id], 0, "does not hold the semaphore any more")
            .await;
    }
    let left = semaphore.read().await.unwrap();
    assert!(left.holders.is_empty(), "{left:?}");
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
        .says(&["lock", "n2"], 0, &format!("n2 is the host name of {n2}."))
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
        &format!("{n2} does not hold the semaphore any more"),
    )
    .await;
    // A name that no node has takes a place of its own, as an id is what it says before it is a host name.
    op.says(&["lock", "spare"], 0, "spare holds the semaphore")
        .await;
    record(&op, &n3, "spare").await;
    op.says(
        &["unlock", "spare"],
        0,
        "spare does not hold the semaphore any more",
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
async fn what_is_suggested_has_the_flags_that_were_given() {
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
    says(&["lock", "a"], 0, "unlock a").await;
    says(&["lock", "b"], 3, "status").await;
    says(&["pause", "--reason", "fair"], 0, "resume").await;
    says(&["pause", "--all", "--reason", "fair"], 0, "resume --all").await;
    says(&["resume"], 0, "resume --all").await;
    op.says(&["resume", "--all"], 0, "").await;
    // The group of a document that is broken is the one to be mended, whichever was asked for.
    let red = pointsman::semaphore::keys::Keys::new(
        &op.prefix,
        pointsman::node::Group::new("red team").unwrap(),
    );
    let mut client = shared_cluster().client().await;
    client.put(red.semaphore(), "{", None).await.unwrap();
    let mends = format!(
        "pointsman set-max N --rebuild --group 'red team' {}",
        again.replace("--group 'red team' ", "")
    );
    for args in [
        &["status", "--all-groups"][..],
        &["lock", "b", "--group", "red team"],
    ] {
        op.says(args, 1, &mends).await;
    }
}
