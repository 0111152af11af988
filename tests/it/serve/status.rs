//! The status in JSON, for programs and however many of them.

use pointsman_testbed::{
    etcd::Cluster,
    process::run,
    proxy::{Mode, Proxy},
};
use semaphore::records::Phase;

use super::*;
use crate::support::holder;

async fn status(server: &Server) -> (u16, Value) {
    let reply = server.request("GET", "/api/v1/status", "", "").await;
    assert!(
        reply.head.contains("content-type: application/json")
            && reply.head.contains("cache-control: no-store"),
        "{reply:?}"
    );
    (reply.status, serde_json::from_str(&reply.body).unwrap())
}

#[tokio::test]
async fn the_status_is_that_of_the_command_for_all_groups() {
    let place = Place::new("serve-status", 2).await;
    place.server.takes("a").await;
    let web = place
        .semaphore
        .of_group(host::node::Group::new("web").unwrap());
    web.set_max(3, false).await.unwrap();
    // A name that would act on a terminal.
    let by_hand = semaphore::records::Holder {
        reason: Some("\u{1b}[2J<script>".into()),
        ..holder("disk-change", Phase::Manual)
    };
    web.lock(&by_hand).await.unwrap();
    let (code, served) = status(&place.server).await;
    assert_eq!(code, 200);
    let root = scratch::dir("operator");
    let root = root.path().display().to_string();
    let endpoints = shared_cluster().endpoints().join(",");
    let args = ["status", "--json", "--all-groups", "--root", &root];
    let etcd = ["--endpoint", &endpoints, "--key-prefix", &place.prefix];
    let output = run(bin(), [&args[..], &etcd].concat(), &[], PATIENCE).await;
    let printed: Value = serde_json::from_str(&output.must(0)).unwrap();
    for part in ["groups", "pause_all", "quarantine", "member_out"] {
        assert_eq!(served[part], printed[part], "{part}");
    }
    assert_eq!(served["groups"].as_array().map(Vec::len), Some(2));
    assert_eq!(served["groups"][0]["holders"][0]["via"], "fleet-lock");
    // The machine that serves is not looked at.
    assert_eq!(served["node"], Value::Null);
    let text = place.server.request("GET", "/api/v1/status", "", "").await;
    assert!(text.body.contains("\\u001b[2J") && !text.body.contains('\u{1b}'));
}

/// A change is seen within a second, and two hundred programs that look cost no more than one.
#[tokio::test]
async fn etcd_is_asked_once_a_second_however_many_look() {
    let cluster = Cluster::start(1).await;
    let semaphore = on(&cluster, "p");
    found(&semaphore).await;
    let server = Server::at(&cluster.endpoints(), "p", &[]).await;
    let (_, first) = status(&server).await;
    assert_eq!(first["groups"][0]["holders"], json!([]));
    server.takes("a").await;
    eventually(
        "the change",
        async || status(&server).await.1["groups"][0]["holders"][0]["id"].clone(),
        |id| id == "a",
    )
    .await;
    let before = cluster.requests().await;
    let begun = std::time::Instant::now();
    let looks: Vec<_> = (0..200)
        .map(|_| {
            let address = server.address;
            tokio::spawn(async move {
                let request = request("GET", "/api/v1/status", "", "");
                send(address, request.as_bytes()).await.status
            })
        })
        .collect();
    for look in looks {
        assert_eq!(look.await.unwrap(), 200);
    }
    // One read of the groups, one of each group, one of what people did.
    let reads = 3 * (begun.elapsed().as_secs() + 1);
    let asked = cluster.requests().await.since(&before);
    assert!(asked.of("Txn") <= reads, "{asked:?} in {reads}");
    assert_eq!((asked.watch, asked.keep_alive), (0, 0));
}

#[tokio::test]
async fn where_etcd_is_away_the_status_says_so() {
    let place = Place::new("serve-status-away", 1).await;
    let proxy = Proxy::start(shared_cluster().address(0)).await;
    proxy.set(Mode::Refuse).await;
    let server = Server::at(&[proxy.url()], &place.prefix, &["--timeout", "500ms"]).await;
    let (code, json) = status(&server).await;
    let error = json["etcd_error"].as_str().unwrap_or_default();
    assert!(code == 503 && error.contains(&proxy.url()), "{code} {json}");
    proxy.set(Mode::Pass).await;
    eventually(
        "it is back",
        async || status(&server).await.0,
        |code| *code == 200,
    )
    .await;
}

/// Prometheus hears it, also that etcd is away.
#[tokio::test]
async fn the_metrics_are_those_of_the_cluster() {
    let place = Place::new("serve-metrics", 3).await;
    place.server.takes("a").await;
    let reply = place.server.request("GET", "/metrics", "", "").await;
    assert_eq!(reply.status, 200);
    assert!(
        reply
            .head
            .contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{reply:?}"
    );
    assert!(
        reply.body.contains("\npointsman_cluster_etcd_up 1\n"),
        "{}",
        reply.body
    );
    let proxy = Proxy::start(shared_cluster().address(0)).await;
    proxy.set(Mode::Refuse).await;
    let server = Server::at(&[proxy.url()], &place.prefix, &["--timeout", "500ms"]).await;
    let reply = server.request("GET", "/metrics", "", "").await;
    assert_eq!(reply.status, 200);
    assert!(
        reply.body.contains("\npointsman_cluster_etcd_up 0\n"),
        "{}",
        reply.body
    );
}
