//! What a command reads and shows where a group has very many nodes.

use etcd_client::{Txn, TxnOp};

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
        let ticket = serde_json::json!({"version": 1, "id": id(i), "hostname": format!("node-{i}"), "nonce": i.to_string()});
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
    let (cluster, operator) = crowd(0).await;
    let (_, whole) = cost(&cluster, &operator, &["status", "--nodes"]).await;
    assert!(whole > 200_000, "{whole} bytes: the records are not there");
    let node = id(7);
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
        &["forget", &id(8)],
    ] {
        let (_, bytes) = cost(&cluster, &operator, args).await;
        assert!(bytes < 20_000, "{args:?}: {bytes} bytes of {whole}");
    }
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
