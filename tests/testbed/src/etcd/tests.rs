use std::time::Duration;

use super::*;

async fn value(cluster: &Cluster, i: usize, key: &str) -> Option<String> {
    let reply = cluster.client_of(i).await.get(key, None).await.unwrap();
    reply
        .kvs()
        .first()
        .map(|kv| kv.value_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_put_on_one_member_is_read_on_another() {
    let cluster = shared_cluster();
    assert_eq!(cluster.endpoints().len(), 3);
    let key = unique_prefix("put");
    cluster
        .client_of(0)
        .await
        .put(key.as_str(), "1", None)
        .await
        .unwrap();
    assert_eq!(value(cluster, 2, &key).await.as_deref(), Some("1"));
}

#[test]
fn the_shared_cluster_serves_several_runtimes() {
    let threads: Vec<_> = (0..3)
        .map(|_| {
            std::thread::spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let key = unique_prefix("runtimes");
                    let mut client = shared_cluster().client().await;
                    client.put(key.as_str(), "1", None).await.unwrap();
                    assert_eq!(client.get(key.as_str(), None).await.unwrap().count(), 1);
                });
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[tokio::test]
async fn members_hang_die_and_come_back() {
    let cluster = Cluster::builder(3).fast_elections().start().await;
    cluster.client().await.put("k", "1", None).await.unwrap();
    let first = cluster.leader().await;
    cluster.stop_member(first);
    let second = cluster.leader().await;
    assert_ne!(first, second);
    cluster.cont_member(first);
    cluster.wait_member(first).await;

    cluster.kill_member(second).await;
    assert!(
        tokio::net::TcpStream::connect(cluster.address(second))
            .await
            .is_err()
    );
    assert_ne!(cluster.leader().await, second);
    cluster.restart_member(second).await;
    assert_eq!(value(&cluster, second, "k").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_restored_backup_is_another_cluster_with_an_older_history() {
    let cluster = Cluster::start(3).await;
    let mut client = cluster.client_of(0).await;
    client.put("k", "old", None).await.unwrap();
    let file = cluster.dir().join("backup");
    cluster.snapshot(&file).await;
    for _ in 0..10 {
        client.put("k", "new", None).await.unwrap();
    }
    let before = client.get("k", None).await.unwrap();
    let before = before.header().unwrap();
    cluster.restore(&file).await;
    let after = cluster.client_of(1).await.get("k", None).await.unwrap();
    assert_eq!(after.kvs()[0].value_str().unwrap(), "old");
    assert_ne!(after.header().unwrap().cluster_id(), before.cluster_id());
    assert!(after.header().unwrap().revision() < before.revision());
    // It survives a restart: the new token is kept.
    cluster.restart_member(2).await;
    assert_eq!(value(&cluster, 2, "k").await.as_deref(), Some("old"));
}

#[tokio::test]
async fn requests_are_counted_and_old_revisions_compacted() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    let before = cluster.requests().await;
    for _ in 0..3 {
        client.put("k", "v", None).await.unwrap();
    }
    client.get("k", None).await.unwrap();
    let watch = client.watch("k", None).await.unwrap();
    let lease = client.lease_grant(60, None).await.unwrap().id();
    let (mut keeper, mut alive) = client.lease_keep_alive(lease).await.unwrap();
    keeper.keep_alive().await.unwrap();
    alive.message().await.unwrap();
    let spent = cluster.requests().await.since(&before);
    assert_eq!(
        (spent.of("Put"), spent.of("Range"), spent.of("LeaseGrant")),
        (3, 1, 1)
    );
    assert_eq!(spent.watch, 1);
    // The client sends one itself when the stream opens.
    assert!((1..=2).contains(&spent.keep_alive), "{spent:?}");
    assert_eq!(spent.total(), 6 + spent.keep_alive);

    let revision = cluster.compact().await;
    let options = etcd_client::WatchOptions::new().with_start_revision(revision - 1);
    let mut old = client.watch("k", Some(options)).await.unwrap();
    let mut compacted = 0;
    while compacted == 0 {
        let next = tokio::time::timeout(Duration::from_secs(10), old.message())
            .await
            .unwrap();
        compacted = next.unwrap().unwrap().compact_revision();
    }
    assert_eq!(compacted, revision);
    drop(watch);
}

#[tokio::test]
async fn tls_lets_in_who_has_a_certificate_and_a_password() {
    let cluster = Cluster::builder(1)
        .tls(Tls::ClientCert)
        .password("secret")
        .start()
        .await;
    assert!(cluster.endpoint(0).starts_with("https://127.0.0.1:"));
    cluster.client().await.put("k", "1", None).await.unwrap();
    assert!(cluster.requests().await.of("Put") >= 1);
    let file = cluster.dir().join("backup");
    cluster.snapshot(&file).await;

    let files = cluster.certificates();
    let ca = etcd_client::Certificate::from_pem(std::fs::read(&files.ca).unwrap());
    let tls = etcd_client::TlsOptions::new().ca_certificate(ca);
    let options = etcd_client::ConnectOptions::new()
        .with_tls(tls)
        .with_user("root", "secret");
    let mut bare = match etcd_client::Client::connect(cluster.endpoints(), Some(options)).await {
        Ok(client) => client,
        Err(_) => return,
    };
    assert!(
        bare.get("k", None).await.is_err(),
        "let in without a certificate"
    );
}

#[tokio::test]
async fn server_only_tls_asks_for_no_certificate_but_for_the_password() {
    let cluster = Cluster::builder(1)
        .tls(Tls::ServerOnly)
        .password("secret")
        .start()
        .await;
    cluster.client().await.put("k", "1", None).await.unwrap();
    let ca = etcd_client::Certificate::from_pem(std::fs::read(&cluster.certificates().ca).unwrap());
    let options = etcd_client::ConnectOptions::new()
        .with_tls(etcd_client::TlsOptions::new().ca_certificate(ca));
    let mut nobody = etcd_client::Client::connect(cluster.endpoints(), Some(options))
        .await
        .unwrap();
    assert!(
        nobody.get("k", None).await.is_err(),
        "let in without a password"
    );
}

#[tokio::test]

async fn etcd_35_runs_and_is_restored() {
    let cluster = Cluster::builder(1).version(Version::V35).start().await;
    let status = cluster.client().await.status().await.unwrap();
    assert!(status.version().starts_with("3.5."), "{}", status.version());
    let file = cluster.dir().join("backup");
    cluster.snapshot(&file).await;
    cluster.restore(&file).await;
}
