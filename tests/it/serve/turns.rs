//! Clients that poll, agents and people take turns.

use pointsman_testbed::{
    node::{AutoReboot, History},
    process::run,
};
use semaphore::{
    etcd::Locked,
    policy::PolicyChange,
    records::{Phase, Ticket},
};

use super::*;
use crate::{
    agents::Site,
    support::{claim, holder},
};

/// A site of agents, with a server for clients.
async fn with_server(name: &str) -> (Site, Server) {
    let site = Site::new(name);
    let server = Server::at(&shared_cluster().endpoints(), &site.prefix, &[]).await;
    (site, server)
}

/// Operations history 16.
#[tokio::test]
async fn what_an_agent_or_a_person_holds_is_left_alone() {
    let place = Place::new("serve-foreign", 5).await;
    let agents = "0123456789abcdef0123456789abcdef";
    tokio::task::LocalSet::new()
        .run_until(async {
            place.semaphore.acquire(&claim(agents), |_| {}).await;
        })
        .await;
    let by_hand = holder("disk-change", Phase::Manual);
    assert_eq!(place.semaphore.lock(&by_hand).await.unwrap(), Locked::Taken);
    let before = place.semaphore.read().await.unwrap();
    for id in [agents, "disk-change"] {
        let value = place.server.refused(id, "id_in_use").await;
        assert!(value.contains(&format!("host-{id} ({id})")), "{value}");
        place.server.releases(id).await;
    }
    let after = place.semaphore.read().await.unwrap();
    let entries = |group: &semaphore::etcd::Group| {
        let entries = group.holders.iter().map(|held| held.entry.clone());
        entries.collect::<Vec<_>>()
    };
    assert_eq!(entries(&before), entries(&after));
    assert_eq!(after.holders.len(), 2);
}

#[tokio::test]
async fn every_refusal_says_who_is_in_the_way_and_since_when() {
    let place = Place::new("serve-refusals", 1).await;
    let keys = place.semaphore.keys().clone();
    let mut client = shared_cluster().client().await;
    place.server.takes("first").await;
    let full = place.server.refused("a", "semaphore_full").await;
    assert!(
        full.starts_with("the only place is taken by first, rebooting by fleet-lock since 20")
            && full.ends_with(" UTC"),
        "{full}"
    );
    let stop = pause();
    place
        .semaphore
        .pause(false, &stop, None, true)
        .await
        .unwrap();
    let paused = place.server.refused("a", "paused").await;
    assert!(
        paused.starts_with("the group is paused by ann@desk: maintenance"),
        "{paused}"
    );
    // It has its place all the same, and releases it.
    place.server.takes("first").await;
    place.server.releases("first").await;
    place.server.refused("first", "paused").await;
    place.semaphore.resume(false).await.unwrap();
    place.semaphore.set_max(0, false).await.unwrap();
    assert_eq!(
        place.server.refused("a", "semaphore_full").await,
        "the group is stopped (max is 0)"
    );
    place.semaphore.set_max(1, false).await.unwrap();

    let policy = |text: &str| (keys.policy(), text.to_owned());
    for (text, kind, says) in [
        (
            r#"{"windows":[{"at":"2020-01-01 02:00","for":"2h"}]}"#,
            "window_closed",
            "none is to come",
        ),
        (r#"{"after":["canary"]}"#, "needs_agent", "(canary)"),
        (
            r#"{"levitate":1}"#,
            "policy_unusable",
            "unknown field `levitate`",
        ),
    ] {
        let (key, value) = policy(text);
        client.put(key, value, None).await.unwrap();
        let value = place.server.refused("a", kind).await;
        assert!(value.contains(says), "{value}");
    }
    client.delete(keys.policy(), None).await.unwrap();

    let ticket = Ticket {
        id: "0123456789abcdef0123456789abcdef".into(),
        hostname: "waiter".into(),
        since: Some("2026-11-30T02:34:33Z".parse().unwrap()),
        to: Default::default(),
        unknown: serde_json::Map::new(),
    };
    let value = serde_json::to_string(&ticket).unwrap();
    client
        .put(keys.ticket(&ticket.id), value, None)
        .await
        .unwrap();
    assert_eq!(
        place.server.refused("a", "queue_ahead").await,
        "an agent waits for the reboot lock: waiter (0123456789abcdef0123456789abcdef) since 2026-11-30 02:34:33 UTC"
    );
    client.delete(keys.ticket(&ticket.id), None).await.unwrap();
    place.server.takes("a").await;
}

fn pause() -> semaphore::records::Pause {
    serde_json::from_str(r#"{"by":"ann@desk","reason":"maintenance"}"#).unwrap()
}

#[tokio::test]
async fn a_percentage_counts_for_clients_too() {
    let place = Place::new("serve-percent", 1).await;
    let change = PolicyChange {
        max_percent: Some(50),
        ..PolicyChange::default()
    };
    place
        .semaphore
        .set_policy(&change, "ann@desk", false)
        .await
        .unwrap();
    let mut client = shared_cluster().client().await;
    for n in 0..4 {
        let key = place.semaphore.keys().member(&format!("m{n}"));
        client.put(key, "", None).await.unwrap();
    }
    place.server.takes("a").await;
    place.server.takes("b").await;
    place.server.refused("c", "semaphore_full").await;
}

/// A node whose agent runs now and that Zincati coordinated before is known by its host name.
#[tokio::test]
async fn a_client_is_named_by_its_host_and_an_operator_unlocks_it_by_that_name() {
    let (site, server) = with_server("serve-host").await;
    let mut client = shared_cluster().client().await;
    let machine = "1c09ca98649c4c7abc779cd04c96812e";
    let record = json!({"id": machine, "hostname": "coreos-7", "group": ""});
    client
        .put(
            site.semaphore.keys().node(machine),
            record.to_string(),
            None,
        )
        .await
        .unwrap();
    let id = "978a225b3d7b40e9acd7ce9b62f68444";
    server.takes(id).await;
    let value = server.refused("another", "semaphore_full").await;
    assert!(
        value.starts_with("the only place is taken by coreos-7 (978a225b3d7b40e9acd7ce9b62f68444), rebooting by fleet-lock since 20"),
        "{value}"
    );
    let endpoints = shared_cluster().endpoints().join(",");
    let command = async |words: &[&str]| {
        let root = scratch::dir("operator");
        let root = root.path().display().to_string();
        let common = [
            "--root",
            &root,
            "--endpoint",
            &endpoints,
            "--key-prefix",
            &site.prefix,
        ];
        run(bin(), [words, &common].concat(), &[], PATIENCE).await
    };
    let status: Value =
        serde_json::from_str(&command(&["status", "--json"]).await.must(0)).unwrap();
    let held = &status["groups"][0]["holders"][0];
    assert_eq!(
        (
            held["hostname"].as_str(),
            held["via"].as_str(),
            held["phase"].as_str()
        ),
        (Some("coreos-7"), Some("fleet-lock"), Some("rebooting")),
        "{held}"
    );
    let shown = command(&["status"]).await.must(0);
    assert!(
        shown.contains("coreos-7") && shown.contains("FleetLock client at 127.0.0.1"),
        "{shown}"
    );
    // It may come back at any moment.
    let refused = command(&["unlock", "coreos-7"]).await;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    command(&["unlock", "coreos-7", "--force"]).await.must(0);
    server.takes("another").await;
}

/// A client's hold passes its deadline, and a policy lets others pass over lost nodes: it stands.
#[tokio::test]
async fn the_hold_of_a_client_is_never_passed_over() {
    let prefix = unique_prefix("serve-lost");
    let semaphore = on(shared_cluster(), &prefix);
    found(&semaphore).await;
    let mut client = shared_cluster().client().await;
    let policy = r#"{"lost":{"grace":"1s","budget":1}}"#;
    client
        .put(semaphore.keys().policy(), policy, None)
        .await
        .unwrap();
    let deadline = scratch::dir("config");
    let config = deadline.path().join("config.yaml");
    std::fs::write(&config, "timings:\n  reboot-deadline: 2s\n").unwrap();
    let config = config.display().to_string();
    let server = Server::at(
        &shared_cluster().endpoints(),
        &prefix,
        &["--config", &config],
    )
    .await;
    server.takes("poller").await;
    let group = eventually(
        "overdue",
        async || semaphore.read().await.unwrap(),
        |group| group.holders[0].overdue,
    )
    .await;
    let kept = group.holders[0].grace.clone().unwrap_err();
    assert_eq!(kept.to_string(), "it took the lock by fleet-lock");
    assert!(group.holders[0].grace_lease.is_none());
    assert_eq!(group.holders[0].entry.as_ref().unwrap().deadline, Some(2));
}

/// Four clients and three agents, with one place: at no revision of the store do two hold it.
#[tokio::test]
async fn agents_and_clients_take_turns() {
    let (site, server) = with_server("serve-turns").await;
    server.takes("before").await;
    let history = History::new();
    let mut nodes = Vec::new();
    for n in 0..3 {
        let node = site.node(&format!("turns-{n}"), &[]).await;
        node.auto_reboot(AutoReboot {
            history: history.clone(),
            ..AutoReboot::default()
        });
        node.update_engine().ready("2").await;
        nodes.push(node);
    }
    site.until("the agents wait", |group| group.queue.len() == 3)
        .await;
    server.refused("client-0", "semaphore_full").await;
    let address = server.address;
    let clients: Vec<_> = (0..4)
        .map(|n| {
            tokio::spawn(async move {
                let body = params(&format!("client-{n}"), "default");
                let call = async |call: &str| {
                    let request = request("POST", &format!("/v1/{call}"), TRUE, &body);
                    send(address, request.as_bytes()).await
                };
                let taken = async {
                    // As a client does, only more often.
                    while call("pre-reboot").await.status != 200 {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                };
                timeout(Duration::from_secs(90), taken)
                    .await
                    .expect("its turn comes");
                assert_eq!(call("steady-state").await.status, 200);
            })
        })
        .collect();
    server.releases("before").await;
    history.wait_reboots(3, Duration::from_secs(60)).await;
    for client in clients {
        client.await.unwrap();
    }
    site.free().await;
    let most = crate::support::most_holders(shared_cluster(), &site.semaphore).await;
    assert_eq!(most, 1);
}
