//! Other signs: two clusters in one list, a document that is gone, a pause that may not be written.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use pointsman_testbed::{
    etcd::{Cluster, Version, unique_prefix},
    node::Death,
};
use semaphore::{
    etcd::{Group, Options},
    records::Phase,
};

use super::{super::may_not_pause, Bed, STOPPED, nobody_went, on_both, one, pointsman};
use crate::{
    agents::{agent, drained, draining, machine, slow_drain},
    support::{eventually, found, holder, on, options, with},
};

on_both!(
    two_clusters_in_one_endpoint_list_stop_all_nodes,
    document_is_created_once_and_only_after_a_ticket_lease,
    agent_without_pause_permission_stops_alone,
);

async fn two_clusters_in_one_endpoint_list_stop_all_nodes(version: Version) {
    let bed = Bed::new("two", version).await;
    let other = one(version).await;
    let theirs = on(&other, &bed.prefix);
    found(&theirs).await;
    let mut endpoints = bed.cluster.endpoints();
    endpoints.push(other.endpoint(0));
    let node = machine("node-1").await;
    agent(&node, &endpoints, &bed.prefix, &[]).await;
    node.wait_status(|status| status == "idle").await;
    node.update_engine().ready("2").await;
    let said = node
        .wait_status(|status| status.contains("different clusters"))
        .await;
    assert!(said.contains(&other.endpoint(0)), "{said}");
    let stopped = |group: &Group| group.pause_all.as_ref().is_some_and(|p| p.store.is_some());
    bed.stopped().await;
    eventually(
        "the other one is stopped",
        async || theirs.read().await.unwrap(),
        stopped,
    )
    .await;
    nobody_went(&bed, &[&node]).await;
    let id = bed.stopped().await.store.unwrap().id;
    let accept = pointsman(&endpoints, &bed.prefix, &["store", "accept", &id, "--yes"]).await;
    assert_eq!(accept.code, Some(1), "{accept:?}");
    assert!(accept.stderr.contains("different clusters"), "{accept:?}");
    // The list is put right; a person accepts.
    node.stop().await;
    bed.accept().await;
    agent(&node, &bed.cluster.endpoints(), &bed.prefix, &[]).await;
    node.logind().rebooted().await;
    assert!(theirs.read().await.unwrap().holders.is_empty());
}

async fn document_is_created_once_and_only_after_a_ticket_lease(version: Version) {
    let cluster = one(version).await;
    let prefix = unique_prefix("created");
    let semaphore = on(&cluster, &prefix);
    let node = machine("node-1").await;
    let lease = [("POINTSMAN_TICKET_LEASE", "2s")];
    slow_drain(&node);
    agent(&node, &cluster.endpoints(), &prefix, &lease).await;
    node.wait_status(|status| status == "idle").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("no semaphore document yet"))
        .await;
    let begun = Instant::now();
    // Who knows better pauses in that time: nothing is created under a pause.
    let pause = serde_json::from_str(r#"{"by":"ann","reason":"wait"}"#).unwrap();
    semaphore.pause(false, &pause, None, true).await.unwrap();
    node.wait_status(|status| status.contains("first in the queue; the group is paused"))
        .await;
    assert!(semaphore.read().await.unwrap().document.is_none());
    semaphore.resume(false).await.unwrap();
    draining(&node).await;
    assert!(
        begun.elapsed() >= Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
    drained(&node);
    node.logind().rebooted().await;
    node.reboot(Death::Term).await;
    node.wait_status(|status| status == "idle").await;
    let mut client = cluster.client().await;
    client
        .delete(semaphore.keys().semaphore(), None)
        .await
        .unwrap();
    node.update_engine().ready("3").await;
    node.wait_status(|status| status.contains("only a person creates it again"))
        .await;
    // Longer than its lease: that time passes is the very thing tested here.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(semaphore.read().await.unwrap().document.is_none());
    semaphore.set_max(1, false).await.unwrap();
    node.logind().wait_asked(2).await;
}

async fn agent_without_pause_permission_stops_alone(version: Version) {
    let cluster = Cluster::builder(1)
        .version(version)
        .password("s3cret")
        .start()
        .await;
    let prefix = unique_prefix("denied");
    let options = Options {
        user: Some(("root".into(), "s3cret".into())),
        ..options(cluster.endpoints())
    };
    let root = with(options.clone(), &prefix);
    found(&root).await;
    may_not_pause(&cluster, &prefix).await;
    let snapshot = cluster.dir().join("before");
    cluster.snapshot(&snapshot).await;
    root.lock(&holder("out", Phase::Manual)).await.unwrap();
    let node = machine("node-1").await;
    node.write("password", "s3cret");
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(node.path("password"), mode).unwrap();
    let env = [
        ("POINTSMAN_ETCD_USERNAME", "agent"),
        ("POINTSMAN_ETCD_PASSWORD_FILE", "/password"),
        ("POINTSMAN_ETCD_MEMBER", "none"),
    ];
    agent(&node, &cluster.endpoints(), &prefix, &env).await;
    node.wait_status(|status| status == "idle").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("taken by out"))
        .await;
    cluster.restore_same(&snapshot).await;
    let log = async || node.log();
    eventually("why", log, |log| {
        log.contains("only this node is stopped yet")
    })
    .await;
    assert!(node.log().contains(STOPPED), "{}", node.log());
    let fresh = with(options, &prefix);
    let group = fresh.read().await.unwrap();
    assert!(
        group.pause_all.is_none() && group.holders.is_empty(),
        "{group:?}"
    );
    assert!(node.logind().asked().is_empty());
}
