//! A document in etcd.

use std::{fs, time::Instant};

use pointsman_testbed::{
    etcd::{Cluster, shared_cluster, unique_prefix},
    scratch,
};

use super::{GOOD, validate};

#[tokio::test]
async fn document_is_read_from_an_etcd_key() {
    let cluster = shared_cluster();
    let key = format!("{}/node", unique_prefix("document"));
    let source = format!("etcd:{key}");
    let endpoints = cluster.endpoints().join(",");
    let args = [source.as_str(), "--endpoint", &endpoints];
    let called = validate(&args).await;
    assert_eq!(called.code, Some(1));
    assert!(
        called.stderr.contains(&format!(
            "found no such key, expected a document; write one with `etcdctl put {key}"
        )),
        "{}",
        called.stderr
    );
    let mut client = cluster.client().await;
    client
        .put(key.as_str(), format!("{GOOD}hostnam: x\n"), None)
        .await
        .unwrap();
    let called = validate(&args).await;
    assert_eq!((called.code, called.stderr.as_str()), (Some(0), ""));
    assert!(
        called
            .stdout
            .starts_with(&format!("{source}:3:1: warning: hostnam: ")),
        "{}",
        called.stdout
    );
}

#[tokio::test]
async fn unreachable_etcd_is_reported_and_another_source_used() {
    let cluster = Cluster::start(1).await;
    let endpoint = cluster.endpoint(0);
    cluster.stop_member(0);
    let dir = scratch::dir("etcd-away");
    let file = dir.path().join("node.yaml");
    fs::write(&file, GOOD).unwrap();
    let file = file.display().to_string();
    let etcd = ["--endpoint", &endpoint, "--timeout", "500ms"];
    let before = Instant::now();
    let called = validate(&[&["etcd:/node"], &etcd[..]].concat()).await;
    assert_eq!(called.code, Some(4), "{}", called.stderr);
    assert!(called.stderr.contains(&endpoint), "{}", called.stderr);
    assert!(before.elapsed().as_secs() < 10, "{:?}", before.elapsed());
    let called = validate(&[&["etcd:/node", &file], &etcd[..]].concat()).await;
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    assert!(
        called
            .stderr
            .starts_with("pointsman: etcd:/node is not used: "),
        "{}",
        called.stderr
    );
}
