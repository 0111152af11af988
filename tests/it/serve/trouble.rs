//! Replicas, killed servers, an etcd that is away.

use pointsman_testbed::{
    etcd::Cluster,
    process::Signal,
    proxy::{Aim, Mode, Proxy},
};

use super::*;

on_both_stores!(
    replicas_never_give_one_place_twice,
    a_server_that_was_killed_left_nothing_to_find_again,
);

/// Two replicas, a hundred clients, three places.
async fn replicas_never_give_one_place_twice(store: Store) {
    let place = Place::within(store, "serve-replicas", 3).await;
    let other = place.replica().await;
    let clients: Vec<_> = (0..100)
        .map(|n| {
            let address = if n % 2 == 0 {
                place.server.address
            } else {
                other.address
            };
            tokio::spawn(async move {
                let body = params(&format!("client-{n}"), "default");
                let request = request("POST", "/v1/pre-reboot", TRUE, &body);
                send(address, request.as_bytes()).await
            })
        })
        .collect();
    let mut taken = 0;
    for client in clients {
        let reply = client.await.unwrap();
        match reply.status {
            200 => taken += 1,
            _ => assert_eq!(reply.kind(), (423, "semaphore_full".into())),
        }
    }
    assert_eq!((taken, place.holders().await.len()), (3, 3));
    if store == Store::Etcd {
        let most = crate::support::most_holders(shared_cluster(), &place.semaphore).await;
        assert_eq!(most, 3);
    }
    // What one gave, the other takes back.
    for id in place.holders().await {
        other.takes(&id).await;
        other.releases(&id).await;
    }
    assert_eq!(place.holders().await, Vec::<String>::new());
}

async fn a_server_that_was_killed_left_nothing_to_find_again(store: Store) {
    let place = Place::within(store, "serve-killed", 1).await;
    place.server.takes("a").await;
    place.server.child.signal(Signal::SIGKILL);
    place.server.child.wait().await;
    let again = place.replica().await;
    again.takes("a").await;
    again.refused("b", "semaphore_full").await;
    again.releases("a").await;
    again.takes("b").await;
    // It ends at once when it is told to, and what is taken stays.
    again.child.signal(Signal::SIGTERM);
    let ended = again.child.wait_timeout(PATIENCE).await.unwrap();
    assert!(ended.success(), "{ended}");
    assert_eq!(place.holders().await, ["b"]);
}

/// The reply to the take is lost: the client is told so or not, and has one place.
#[tokio::test]
async fn a_lost_reply_of_etcd_makes_no_second_holder() {
    let prefix = unique_prefix("serve-lost-reply");
    let semaphore = on(shared_cluster(), &prefix);
    found(&semaphore).await;
    let proxy = Proxy::start(shared_cluster().address(0)).await;
    let server = Server::at(&[proxy.url()], &prefix, &["--timeout", "1s"]).await;
    for (lost, call, left) in [(1, "pre-reboot", 1), (2, "steady-state", 0)] {
        proxy.lose_reply_to(Aim::Commit);
        let first = server.call(call, "a", "default").await;
        proxy.wait_lost(lost).await;
        assert!([200, 503].contains(&first.status), "{first:?}");
        assert_eq!(server.call(call, "a", "default").await.status, 200);
        let group = semaphore.read().await.unwrap();
        assert_eq!(group.holders.len(), left);
    }
}

#[tokio::test]
async fn an_etcd_that_is_away_is_503_and_comes_back() {
    let cluster = Cluster::start(1).await;
    let semaphore = on(&cluster, "p");
    found(&semaphore).await;
    let proxy = Proxy::start(cluster.address(0)).await;
    let server = Server::at(&[proxy.url()], "p", &["--timeout", "500ms"]).await;
    server.takes("a").await;
    for mode in [Mode::Refuse, Mode::BlackHole] {
        proxy.set(mode).await;
        proxy.cut();
        for call in ["pre-reboot", "steady-state"] {
            let (status, kind, value) = server.call(call, "a", "default").await.refusal();
            assert_eq!(
                (status, kind.as_str()),
                (503, "storage_unavailable"),
                "{value}"
            );
            assert!(value.contains(&proxy.url()), "{value}");
        }
        let reply = server.request("GET", "/healthz", "", "").await;
        assert_eq!(reply.status, 200);
        proxy.set(Mode::Pass).await;
        server.takes("a").await;
    }
    server.releases("a").await;
    assert!(semaphore.read().await.unwrap().holders.is_empty());
}

/// It starts without etcd, and finds the group that it must not serve once etcd answers.
#[tokio::test]
async fn a_server_that_starts_before_etcd_serves_when_etcd_is_there() {
    let place = Place::new("serve-early", 1).await;
    let proxy = Proxy::start(shared_cluster().address(0)).await;
    proxy.set(Mode::Refuse).await;
    let server = Server::at(&[proxy.url()], &place.prefix, &["--timeout", "500ms"]).await;
    assert_eq!(
        server.pre_reboot("a").await.kind(),
        (503, "storage_unavailable".into())
    );
    proxy.set(Mode::Pass).await;
    server.takes("a").await;
}

/// While the transaction that takes is on its way, something comes in between: the client is refused for that, or has its place after
/// it.
#[tokio::test]
async fn what_comes_between_the_decision_and_the_take_is_seen() {
    let ticket = r#"{"id":"0123456789abcdef0123456789abcdef","hostname":"waiter"}"#;
    for (key, value, kind) in [
        (
            "queue/0123456789abcdef0123456789abcdef",
            ticket,
            "queue_ahead",
        ),
        ("pause", r#"{"by":"ann@desk","reason":"stop"}"#, "paused"),
        (
            "pause-all",
            r#"{"by":"ann@desk","reason":"stop"}"#,
            "paused",
        ),
        ("policy", r#"{"after":["canary"]}"#, "needs_agent"),
        (
            "policy",
            r#"{"windows":[{"at":"2020-01-01 02:00","for":"2h"}]}"#,
            "window_closed",
        ),
        (
            "semaphore",
            r#"{"semaphore":0,"max":0,"holders":[]}"#,
            "semaphore_full",
        ),
        (
            "semaphore",
            r#"{"semaphore":0,"max":1,"holders":["b"]}"#,
            "semaphore_full",
        ),
        (
            "holders/a",
            r#"{"id":"a","hostname":"desk","phase":"manual"}"#,
            "id_in_use",
        ),
    ] {
        let prefix = unique_prefix("serve-between");
        let semaphore = on(shared_cluster(), &prefix);
        found(&semaphore).await;
        let proxy = Proxy::start(shared_cluster().address(0)).await;
        let server = Server::at(&[proxy.url()], &prefix, &[]).await;
        // Its own connection is open from now on.
        server.releases("a").await;
        proxy.hold(Aim::Commit);
        let (reply, ()) = tokio::join!(server.pre_reboot("a"), async {
            proxy.wait_held().await;
            let mut client = shared_cluster().client().await;
            client
                .put(format!("{prefix}/{key}"), value, None)
                .await
                .unwrap();
            proxy.go_on().await;
        });
        assert_eq!(reply.kind(), (423, kind.into()), "{key} {value}: {reply:?}");
        let group = semaphore.read().await.unwrap();
        let taken = group.holders.iter().any(|held| {
            let entry = held.entry.as_ref();
            entry.is_some_and(semaphore::records::Holder::is_pollers)
        });
        assert!(!taken, "{key} {value}: {:?}", group.holders);
    }
}

/// While the release is on its way, a person takes the place over: it is left alone.
#[tokio::test]
async fn a_release_ends_only_the_hold_that_it_saw() {
    let prefix = unique_prefix("serve-release");
    let semaphore = on(shared_cluster(), &prefix);
    found(&semaphore).await;
    let proxy = Proxy::start(shared_cluster().address(0)).await;
    let server = Server::at(&[proxy.url()], &prefix, &[]).await;
    server.takes("a").await;
    proxy.hold(Aim::Commit);
    let by_hand = r#"{"id":"a","hostname":"desk","phase":"manual"}"#;
    let ((), ()) = tokio::join!(server.releases("a"), async {
        proxy.wait_held().await;
        let mut client = shared_cluster().client().await;
        let key = semaphore.keys().holder("a");
        client.put(key, by_hand, None).await.unwrap();
        proxy.go_on().await;
    });
    let group = semaphore.read().await.unwrap();
    assert_eq!(group.holders.len(), 1);
    let entry = group.holders[0].entry.as_ref().unwrap();
    assert_eq!(entry.hostname, "desk");
    assert!(group.holders[0].listed);
}
