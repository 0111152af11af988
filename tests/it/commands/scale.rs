//! What a command reads and shows where a group has very many nodes.

use etcd_client::{Txn, TxnOp};
use host::node::Group;

use super::*;

const NODES: usize = 2000;

/// An operator of a cluster whose group has very many nodes, `tickets` of which wait.
async fn crowd(tickets: usize) -> (Cluster, Operator) {
    let cluster = Cluster::start(1).await;
    let operator = Operator::of(&cluster, "crowd");
    let semaphore = on(&cluster, &operator.prefix);
    semaphore.set_max(1, false).await.unwrap();
    let keys = semaphore.keys();
    let mut ops: Vec<TxnOp> = (0..NODES)
        .map(|i| {
            let record = serde_json::json!({
                "id": id(i), "hostname": format!("node-{i}"), "state": "idle", "since": "2026-11-30T04:00:00Z",
                "image": format!("sha256:{i:064}"), "version": "4152.2.3",
            });
            TxnOp::put(keys.node(&id(i)), record.to_string(), None)
        })
        .collect();
    let ticket = |i| {
        let ticket = serde_json::json!({
            "version": 1, "id": id(i), "hostname": format!("node-{i}"), "nonce": i.to_string(),
            "to": {"image": "sha256:2", "version": "4230.2.0"},
        });
        TxnOp::put(keys.ticket(&id(i)), ticket.to_string(), None)
    };
    ops.extend((0..tickets).map(ticket));
    let mut client = cluster.client().await;
    for ops in ops.chunks(100) {
        client.txn(Txn::new().and_then(ops)).await.unwrap();
    }
    (cluster, operator)
}

fn id(i: usize) -> String {
    format!("{i:032x}")
}

/// Runs a command, which must succeed; what it printed, and how many bytes etcd sent for it.
async fn cost(cluster: &Cluster, operator: &Operator, args: &[&str]) -> (String, u64) {
    let sent = async || {
        let metrics = cluster.metrics(0).await;
        metrics["etcd_network_client_grpc_sent_bytes_total"]
    };
    let before = sent().await;
    let output = operator.says(args, 0, "").await;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count"
    )]
    let bytes = (sent().await - before) as u64;
    (output.stdout, bytes)
}

#[tokio::test]
async fn acts_on_one_node_do_not_read_the_records_of_all() {
    let (cluster, operator) = crowd(200).await;
    let (_, whole) = cost(&cluster, &operator, &["status", "--nodes"]).await;
    assert!(whole > 200_000, "{whole} bytes: the records are not there");
    let node = id(1007);
    for args in [
        &["lock", &node][..],
        &["unlock", &node],
        &["lock"],
        &["unlock"],
        &["lock", "--as", "maintenance"],
        &["unlock", "maintenance", "--force"],
        &["quarantine", "add", "4230.2.0", "--reason", "bad"],
        &["quarantine", "list"],
        &["quarantine", "clear", "4230.2.0"],
        &["pause", "--reason", "launch"],
        &["resume"],
        &["unlock", &id(8), "--ticket"],
        &["forget", &id(1008)],
    ] {
        let (_, bytes) = cost(&cluster, &operator, args).await;
        assert!(bytes < 10_000, "{args:?}: {bytes} bytes of {whole}");
    }
}

#[tokio::test]
async fn dry_run_of_a_policy_names_few_nodes_and_reads_few_records() {
    let (cluster, operator) = crowd(50).await;
    let canary = on(&cluster, &operator.prefix)
        .keys()
        .of_group(Group::new("canary").unwrap());
    let mut client = cluster.client().await;
    client
        .put(canary.member(&id(1)), "sha256:1", None)
        .await
        .unwrap();
    client
        .put(canary.policy(), r#"{"wave_soak":"1h"}"#, None)
        .await
        .unwrap();
    let dry = ["policy", "set", "--after", "canary", "--dry-run"];
    // Records without what they have proven are of older agents.
    let older = "run on 2000 nodes of these groups: node-0, node-1, node-2, node-3, node-4 and 1995 more. Waves";
    operator.says(&dry, 1, older).await;
    let (text, _) = cost(&cluster, &operator, &[&dry[..], &["--force"]].concat()).await;
    let leave = "would leave the queue until canary has proven";
    assert_eq!(text.matches(leave).count(), 50, "{text}");
    // An image that is open keeps nobody.
    client
        .put(canary.wave("sha256:2"), "{}", None)
        .await
        .unwrap();
    let (text, _) = cost(&cluster, &operator, &[&dry[..], &["--force"]].concat()).await;
    assert!(!text.contains(leave), "{text}");
    // What says nothing of waves needs no records.
    let soak = ["policy", "set", "--soak", "1h", "--dry-run"];
    let (_, bytes) = cost(&cluster, &operator, &soak).await;
    assert!(bytes < 30_000, "{bytes} bytes");
}

#[tokio::test]
async fn waves_name_twenty_nodes_those_that_may_be_gone_first() {
    let (cluster, operator) = crowd(0).await;
    let semaphore = on(&cluster, &operator.prefix);
    let keys = semaphore.keys();
    let mut puts = vec![TxnOp::put(keys.policy(), r#"{"wave_soak":"1h"}"#, None)];
    let members = (0..30).map(|i| (id(i), if i == 0 { "sha256:2" } else { "sha256:1" }));
    // No record tells of this one.
    let gone = "f".repeat(32);
    let members = members.chain([(gone.clone(), "")]);
    puts.extend(members.map(|(id, proven)| TxnOp::put(keys.member(&id), proven, None)));
    let mut client = cluster.client().await;
    client.txn(Txn::new().and_then(puts)).await.unwrap();
    let (text, _) = cost(&cluster, &operator, &["waves"]).await;
    let of_image = |text: &str| {
        let of = text.split("(sha256:2)").nth(1);
        let of = of.unwrap_or_else(|| panic!("{text}"));
        let lines = of.lines().skip(1).take_while(|line| line.starts_with("  "));
        let nodes = lines.filter(|line| !line.starts_with("    "));
        nodes.map(str::to_owned).collect::<Vec<_>>()
    };
    let named = of_image(&text);
    assert!(named[0].contains(&gone), "{text}");
    assert_eq!(named.len(), 21, "{text}");
    let more = NODES - 20;
    assert_eq!(
        named[20],
        format!("  {more} more. To see them: pointsman waves --all")
    );
    let (text, _) = cost(&cluster, &operator, &["waves", "--all"]).await;
    assert_eq!(of_image(&text).len(), NODES, "{text}");
}

#[tokio::test]
async fn long_queue_is_shown_as_far_as_its_turn_is_near() {
    let (cluster, operator) = crowd(50).await;
    let (text, _) = cost(&cluster, &operator, &["status"]).await;
    let line = |text: &str, i: usize| text.lines().any(|line| line.ends_with(&id(i)));
    assert!(line(&text, 19) && !line(&text, 20), "{text}");
    let more = "30 more in the queue. To see them: pointsman status --all\n";
    assert!(text.contains(more), "{text}");
    let (text, _) = cost(&cluster, &operator, &["status", "--all"]).await;
    assert!(line(&text, 19) && line(&text, 49), "{text}");
    assert!(!text.contains("more in the queue"), "{text}");
}

#[tokio::test]
async fn records_that_cannot_be_read_are_counted_and_three_are_named() {
    let (cluster, operator) = crowd(0).await;
    let semaphore = on(&cluster, &operator.prefix);
    let mut client = cluster.client().await;
    for i in 0..10 {
        let key = semaphore.keys().node(&id(i));
        client.put(key, "{", None).await.unwrap();
    }
    let output = operator.says(&["status"], 0, "").await;
    assert_eq!(
        output.stderr.matches("in etcd cannot be read: ").count(),
        3,
        "{output:?}"
    );
    assert!(
        output
            .stderr
            .contains("7 more records in etcd cannot be read"),
        "{output:?}"
    );
}
