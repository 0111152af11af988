//! What an agent costs that has nothing to do, as counts.

use pointsman_testbed::{etcd::Cluster, fakes::Status, process::Signal};

use crate::agents::{agent, machine};

#[tokio::test]
async fn an_idle_agent_asks_nothing_of_etcd() {
    // A cluster of its own: every request counts.
    let cluster = Cluster::start(1).await;
    let node = machine("node-1").await;
    agent(
        &node,
        &cluster.endpoints(),
        "idle",
        &[("WATCHDOG_USEC", "200000")],
    )
    .await;
    node.wait_status(|status| status == "idle").await;
    // It says once that it is there.
    let mut client = cluster.client().await;
    let record = format!("idle/nodes/{}", node.machine_id());
    let written = crate::support::eventually(
        "its record",
        async || {
            client
                .get(record.clone(), None)
                .await
                .unwrap()
                .kvs()
                .first()
                .map(|kv| kv.version())
        },
        Option::is_some,
    )
    .await;
    assert_eq!(written, Some(1));
    let before = cluster.requests().await;
    // Its loop turns: the watchdog is fed, and update_engine's news is read, and changes nothing.
    let fed = node.notified().watchdog;
    for round in 0..5 {
        let calls = node.update_engine().calls("GetStatus");
        node.update_engine()
            .set(Status::new("UPDATE_STATUS_CHECKING_FOR_UPDATE", "0.0.0"))
            .await;
        node.update_engine()
            .wait_for_calls("GetStatus", calls + 1)
            .await;
        node.wait_notified("the watchdog is fed", |n| {
            n.watchdog >= fed + 2 * (round + 1)
        })
        .await;
    }
    let spent = cluster.requests().await.since(&before);
    assert_eq!(spent.total(), 0, "{spent:?}");
    // A reload asks once more whether etcd is there, and that is all.
    node.child().signal(Signal::SIGHUP);
    let version = async || {
        let found = client.get(record.clone(), None).await.unwrap();
        found.kvs().first().map(|kv| kv.version())
    };
    crate::support::eventually("asked once more", version, |version| *version == Some(2)).await;
    node.wait_notified("the watchdog is fed", |n| n.watchdog >= fed + 14)
        .await;
    let found = client.get(record, None).await.unwrap();
    assert_eq!(found.kvs()[0].version(), 2);
}
