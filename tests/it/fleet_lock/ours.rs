//! Against `pointsman serve`: its places are those of agents with etcd-lock, of clients such as Zincati, and of people.

use std::time::Duration;

use pointsman_testbed::{
    etcd::shared_cluster,
    node::{AutoReboot, Death, History},
};
use semaphore::records::Phase;

use super::*;
use crate::{
    agents::{Site, drained, draining, slow_drain},
    serve::{Place, Server, Store, tls::Secured},
    support::{holder, most_holders},
};

fn url(server: &Server) -> String {
    format!("http://{}", server.address)
}

/// The whole life, over each store.
async fn life(store: Store, name: &str) {
    let place = Place::within(store, name, 1).await;
    let node = machine(name).await;
    slow_drain(&node);
    node.auto_reboot(AutoReboot::default());
    start(&node, &url(&place.server), &[]).await;
    node.wait_status(|status| status == "idle").await;
    place.server.takes("zincati").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| {
        status.contains("answered 423 semaphore_full: the only place is taken by zincati, rebooting by fleet-lock since 20")
    })
    .await;
    place.server.releases("zincati").await;
    draining(&node).await;
    assert_eq!(place.holders().await, [id(&node)]);
    assert_eq!(
        place.server.pre_reboot("zincati").await.kind(),
        (423, "semaphore_full".into())
    );
    drained(&node);
    node.logind().wait_reboots(1).await;
    eventually(
        "released",
        async || place.holders().await,
        |held| held.is_empty(),
    )
    .await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!(node.version(), "2");
    place.server.takes("zincati").await;
}

#[tokio::test]
async fn a_node_takes_its_turn_at_a_server_on_etcd() {
    life(Store::Etcd, "fleet-etcd").await;
}

#[tokio::test]
async fn a_node_takes_its_turn_at_a_server_on_a_file() {
    life(Store::File, "fleet-file").await;
}

/// One place, a client that polls, agents with etcd-lock, and agents that ask the server: at no revision two hold it.
#[tokio::test]
async fn agents_of_both_strategies_and_a_client_take_turns() {
    let site = Site::new("fleet-turns");
    let server = Server::at(&shared_cluster().endpoints(), &site.prefix, &[]).await;
    let history = History::new();
    let auto = || AutoReboot {
        history: history.clone(),
        ..AutoReboot::default()
    };
    server.takes("zincati").await;
    let mut nodes = Vec::new();
    for n in 0..2 {
        let node = site.node(&format!("etcd-{n}"), &[]).await;
        nodes.push(node);
        let node = machine(&format!("fleet-{n}")).await;
        start(&node, &url(&server), &[]).await;
        node.wait_status(|status| status == "idle").await;
        nodes.push(node);
    }
    for node in &nodes {
        node.auto_reboot(auto());
        node.update_engine().ready("2").await;
    }
    site.until("the agents wait", |group| group.queue.len() == 2)
        .await;
    server.releases("zincati").await;
    history.wait_reboots(4, Duration::from_secs(60)).await;
    for node in &nodes {
        node.wait_status(|status| status == "idle").await;
        assert_eq!((node.version().as_str(), node.reboots()), ("2", 1));
    }
    site.free().await;
    assert_eq!(most_holders(shared_cluster(), &site.semaphore).await, 1);
}

/// Operations history 16, from the other side: the agent's own id in etcd is another one than its id at the server.
#[tokio::test]
async fn a_lock_by_hand_and_a_pause_hold_for_it() {
    let site = Site::new("fleet-people");
    let server = Server::at(&shared_cluster().endpoints(), &site.prefix, &[]).await;
    let by_hand = holder("operator", Phase::Manual);
    site.semaphore.lock(&by_hand).await.unwrap();
    let node = machine("fleet-people").await;
    start(&node, &url(&server), &[]).await;
    node.wait_status(|status| status == "idle").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| {
        status.contains("answered 423 semaphore_full: ") && status.contains("operator")
    })
    .await;
    let pause = serde_json::from_str(r#"{"by":"ann@desk","reason":"maintenance"}"#).unwrap();
    site.semaphore
        .pause(false, &pause, None, true)
        .await
        .unwrap();
    node.wait_status(|status| {
        status.contains("answered 423 paused: the group is paused by ann@desk: maintenance")
    })
    .await;
    site.unlock("operator").await;
    site.semaphore.resume(false).await.unwrap();
    node.logind().rebooted().await;
    // Released by its own id, by a person: the server lets another one go.
    site.unlock(&id(&node)).await;
    server.takes("zincati").await;
    node.reboot(Death::Term).await;
    node.wait_status(|status| status == "idle").await;
    let group = site.read().await;
    let held: Vec<&str> = group.holders.iter().map(|held| held.id.as_str()).collect();
    assert_eq!(held, ["zincati"], "its release is for its own id only");
}

/// The server's clients prove who they are; the certificate may be renewed in its file meanwhile.
#[tokio::test]
async fn a_node_shows_its_certificate() {
    let secured = Secured::new("fleet-tls", true).await;
    let https = format!("https://{}", secured.server.address);
    let certificates = &secured.certificates;
    let node = machine("fleet-tls").await;
    for (from, to) in [
        (&certificates.ca, "ca.pem"),
        (&certificates.client_cert, "cert.pem"),
        (&certificates.client_key, "key.pem"),
    ] {
        let text = std::fs::read_to_string(from).unwrap();
        node.write(to, &text);
    }
    let ca = [("POINTSMAN_FLEET_LOCK_CAFILE", "/ca.pem")];
    let own = [
        ("POINTSMAN_FLEET_LOCK_CERTFILE", "/cert.pem"),
        ("POINTSMAN_FLEET_LOCK_KEYFILE", "/key.pem"),
    ];
    // Without the authority, the server is not trusted; without a certificate, the node is not.
    start(&node, &https, &[]).await;
    let without = async |says: &str| {
        node.wait_status(|status| status.starts_with("leaving: ") && status.contains(says))
            .await;
        node.stop().await;
    };
    without("(UnknownIssuer); fleet-lock.cafile names who is trusted").await;
    let http = https.replace("https:", "http:");
    start(&node, &http, &[]).await;
    without("; perhaps the server wants TLS: fleet-lock.url with https://").await;
    let plain = Airlock::start(1).await;
    let tls = plain.url().replace("http:", "https:");
    start(&node, &tls, &[]).await;
    without("; perhaps the server has no TLS: fleet-lock.url with http://").await;
    start(&node, &https, &ca).await;
    without("; the server wants a client certificate: fleet-lock.certfile and fleet-lock.keyfile")
        .await;
    start(&node, &https, &[&ca[..], &own].concat()).await;
    node.wait_status(|status| status == "idle").await;
    node.update_engine().ready("2").await;
    node.logind().rebooted().await;
}

/// The server may use the same etcd: a lock of the node's machine id there would keep nobody.
#[tokio::test]
async fn a_node_is_locked_by_hand_under_the_id_that_it_has_at_the_server() {
    let site = Site::new("fleet-lock-by-hand");
    let server = Server::at(&shared_cluster().endpoints(), &site.prefix, &[]).await;
    site.semaphore.set_max(2, false).await.unwrap();
    let node = machine("fleet-locked").await;
    let text = format!(
        "strategy: fleet-lock\nfleet-lock: {{url: '{}', poll-interval: 30ms}}\ntimings: {{retry-min: 20ms, retry-max: 100ms}}\n",
        url(&server)
    );
    node.write("etc/pointsman/config.yaml", &text);
    let args: [&str; 0] = [];
    node.start(bin(), &args, &[]).await;
    node.wait_status(|status| status == "idle").await;
    for words in [
        &["lock"][..],
        &["lock", "--drain"],
        &["lock", node.machine_id()],
    ] {
        let refused = site.command(&node, words).await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        let says = format!(
            "this node asks the FleetLock server {}/ (strategy fleet-lock), as {}: a lock under its machine id does not keep it from \
             rebooting",
            url(&server),
            id(&node)
        );
        assert!(refused.stderr.contains(&says), "{refused:?}");
        assert!(
            refused
                .stderr
                .contains(&format!("pointsman lock --as {} ", id(&node))),
            "{refused:?}"
        );
    }
    assert!(site.read().await.holders.is_empty());
    // Under that one the server refuses it, until it is unlocked.
    site.command(&node, &["lock", "--as", &id(&node)])
        .await
        .must(0);
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("answered 423 id_in_use: "))
        .await;
    let nothing = site.command(&node, &["unlock"]).await.must(0);
    assert!(
        nothing.contains(&format!("as {} (strategy fleet-lock).", id(&node))),
        "{nothing}"
    );
    site.command(&node, &["unlock", &id(&node)]).await.must(0);
    node.logind().rebooted().await;
    assert_eq!(site.read().await.holders.len(), 1);
    // A group of etcd that nobody uses is not this node's.
    let check = site.command(&node, &["status", "--check"]).await;
    assert!(!check.stdout.contains("is not used"), "{check:?}");
}
