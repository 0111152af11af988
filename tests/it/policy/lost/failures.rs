//! What fails while a group waits for a lost node.

use std::{collections::BTreeSet, time::Instant};

use super::*;

#[tokio::test]
async fn next_one_passes_over_when_the_first_in_the_queue_dies() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let (prefix, looker) = group("lost-first-dies", &lost(1)).await;
            on(cluster, &prefix).acquire(&short("a"), |_| {}).await;
            let (said, b) = waiting(on(cluster, &prefix), patient("b"));
            says(&said, "the only place is taken by a").await;
            let (said, c) = waiting(on(cluster, &prefix), patient("c"));
            says(&said, "in the queue behind host-b").await;
            // Without a word: its ticket ends with its lease, which outlives the grace of a.
            b.abort();
            expired(&looker, "a").await;
            gets_it(c).await;
            assert_eq!(holders(&looker).await, ["c"]);
            assert_eq!(lost_nodes(&looker).await.len(), 1);
        })
        .await;
}

#[tokio::test]
async fn only_the_first_in_the_queue_passes_over() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let (prefix, looker) = group("lost-not-first", &lost(1)).await;
            // A ticket of an older agent, which passes over nobody, stands first.
            put(
                cluster,
                &looker.keys().ticket("old"),
                r#"{"id":"old","hostname":"old"}"#,
            )
            .await;
            let a = short("a");
            let key = looker.keys().holder("a");
            let entry = serde_json::to_string(&Holder {
                grace: Some(1),
                ..a.holder
            });
            put(cluster, &key, &entry.unwrap()).await;
            let named = r#"{"semaphore":0,"max":1,"holders":["a"]}"#;
            put(cluster, &looker.keys().semaphore(), named).await;
            let (said, b) = waiting(on(cluster, &prefix), patient("b"));
            says(&said, "in the queue behind old").await;
            assert!(document_is(&looker, &["a"], Duration::from_secs(1)).await);
            let mut client = cluster.client().await;
            client
                .delete(looker.keys().ticket("old"), None)
                .await
                .unwrap();
            gets_it(b).await;
        })
        .await;
}

#[tokio::test]
async fn lost_reply_to_passing_over_passes_over_nobody_else() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let proxy = Proxy::start(cluster.address(0)).await;
            let (prefix, looker) = group("lost-reply", &lost(5)).await;
            looker.set_max(2, false).await.unwrap();
            for id in ["a", "b"] {
                on(cluster, &prefix).acquire(&short(id), |_| {}).await;
            }
            let (said, c) = waiting(semaphore(vec![proxy.url()], &prefix), patient("c"));
            says(&said, "all 2 places are taken by a, b").await;
            proxy.lose_reply_to(Aim::Write);
            gets_it(c).await;
            assert_eq!(proxy.lost(), 1);
            let lost: Vec<String> = lost_nodes(&looker)
                .await
                .into_iter()
                .map(|(id, _)| id)
                .collect();
            assert_eq!(lost, ["a"]);
            assert_eq!(holders(&looker).await, ["b", "c"]);
        })
        .await;
}

/// A grace ends by etcd alone: never early where there is no leader to end it.
#[tokio::test]
async fn grace_does_not_end_while_etcd_has_no_leader_and_ends_after_it_is_back() {
    LocalSet::new()
        .run_until(async {
            for all in [false, true] {
                let cluster = Cluster::builder(3).fast_elections().start().await;
                let prefix = unique_prefix("lost-no-leader");
                let looker = on(&cluster, &prefix);
                looker.set_max(1, false).await.unwrap();
                looker
                    .set_policy(&lost(1), "ann@desk", false)
                    .await
                    .unwrap();
                let a = Claim {
                    holder: Holder {
                        deadline: Some(3),
                        ..short("a").holder
                    },
                    ..short("a")
                };
                let whole = Duration::from_secs(3 + 1);
                let holds = on(&cluster, &prefix);
                holds.acquire(&a, |_| {}).await;
                let (said, b) = waiting(on(&cluster, &prefix), patient("b"));
                says(&said, "the only place is taken by a").await;
                let passed_over = tokio::task::spawn_local(async move {
                    gets_it(b).await;
                    Instant::now()
                });
                let down = if all { 0..3 } else { 0..2 };
                for i in down.clone() {
                    cluster.kill_member(i).await;
                }
                tokio::time::sleep(whole + Duration::from_secs(1)).await;
                assert!(!passed_over.is_finished());
                // Before there can be a leader again, which lets each lease begin again: the node has its whole time.
                let back = Instant::now();
                for i in down.clone() {
                    cluster.spawn_member(i);
                }
                for i in down {
                    cluster.wait_member(i).await;
                }
                let later = passed_over.await.unwrap().duration_since(back);
                assert!(
                    later >= whole,
                    "passed over {later:?} after etcd was started"
                );
                assert_eq!(lost_nodes(&looker).await.len(), 1);
                let released = holds.release("a", &a.holder.nonce, None, None).await;
                assert!(matches!(released, Ok(Released::ThoughtLost(_))));
            }
        })
        .await;
}

/// Nothing is decided by a clock: not by the one of a node that is a year off, in either direction.
#[tokio::test]
async fn clock_that_is_a_year_off_neither_hastens_nor_delays() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            for year in ["2020", "2040"] {
                let (prefix, looker) = group("lost-clock", &lost(1)).await;
                on(cluster, &prefix).acquire(&short("a"), |_| {}).await;
                let key = looker.keys().holder("a");
                let entry = get(cluster, &key).await.unwrap();
                let mut entry: Holder = serde_json::from_str(&entry).unwrap();
                entry.since = Some(format!("{year}-01-01T00:00:00Z").parse().unwrap());
                put(cluster, &key, &serde_json::to_string(&entry).unwrap()).await;
                let begun = tokio::time::Instant::now();
                let (said, b) = waiting(on(cluster, &prefix), patient("b"));
                says(&said, "the only place is taken by a").await;
                gets_it(b).await;
                let took = begun.elapsed();
                assert!(took > Duration::from_secs(1), "{year}: {took:?}");
                assert_eq!(lost_nodes(&looker).await.len(), 1);
            }
        })
        .await;
}

/// Many nodes, some of which do not come back, while others wait and a person changes the policy.
#[tokio::test]
async fn no_more_than_max_and_budget_are_out_whoever_is_lost() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let (prefix, looker) = group("lost-many", &lost(2)).await;
            looker.set_max(2, false).await.unwrap();
            let mut nodes = Vec::new();
            for number in 0..8 {
                let semaphore = on(cluster, &prefix);
                nodes.push(tokio::task::spawn_local(async move {
                    let claim = short(&format!("n{number}"));
                    let (id, nonce) = (claim.holder.id.clone(), claim.holder.nonce.clone());
                    let claim = Claim {
                        holder: Holder {
                            to: image(&format!("sha256:{number}0")),
                            ..claim.holder
                        },
                        ..claim
                    };
                    semaphore.acquire(&claim, |_| {}).await;
                    // Every second one comes back too late.
                    if number % 2 == 0 {
                        let _ = semaphore.commit(&claim).await.unwrap();
                        let record = semaphore.keys().lost_node(&id);
                        let lost = async || get(shared_cluster(), &record).await;
                        eventually("it is lost", lost, Option::is_some).await;
                    }
                    semaphore.release(&id, &nonce, None, None).await.unwrap()
                }));
            }
            // Somebody always waits for a place.
            let waiters = [0, 1, 2].map(|number| {
                let waits = on(cluster, &prefix);
                tokio::task::spawn_local(async move {
                    let claim = patient(&format!("w{number}"));
                    let (id, nonce) = (&claim.holder.id, &claim.holder.nonce);
                    loop {
                        waits.acquire(&claim, |_| {}).await;
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        waits.release(id, nonce, None, None).await.unwrap();
                    }
                })
            });
            let mut lost = 0;
            for node in nodes {
                lost += u32::from(matches!(node.await.unwrap(), Released::ThoughtLost(_)));
            }
            waiters.iter().for_each(tokio::task::JoinHandle::abort);
            let most = most_out(cluster, &looker).await;
            assert!(most <= 2 + 2, "{most} were out, of max and budget");
            assert_eq!(lost, 4);
            assert!(lost_nodes(&looker).await.is_empty());
        })
        .await;
}

/// The most nodes that were out at a time, holding or lost, by etcd's own history: a node that is passed over goes from the one
/// to the other in one revision.
async fn most_out(cluster: &Cluster, semaphore: &Semaphore) -> usize {
    let keys = semaphore.keys();
    let mut client = cluster.client().await;
    let last = client.get(keys.semaphore(), None).await.unwrap();
    let (last, first) = (
        last.header().unwrap().revision(),
        last.kvs()[0].create_revision(),
    );
    let options = etcd_client::WatchOptions::new()
        .with_prefix()
        .with_start_revision(first);
    let mut watch = client
        .watch(format!("{}/", keys.prefix()), Some(options))
        .await
        .unwrap();
    // So that there is an event after all others.
    put(cluster, &format!("{}/end", keys.prefix()), "").await;
    let (mut holders, mut lost, mut at, mut most) = (0, BTreeSet::new(), 0, 0usize);
    loop {
        let message = watch.message().await.unwrap().expect("the watch goes on");
        for event in message.events() {
            let kv = event.kv().unwrap();
            if kv.mod_revision() != at {
                most = most.max(holders + lost.len());
                at = kv.mod_revision();
            }
            if at > last {
                return most;
            }
            let key = kv.key_str().unwrap().to_owned();
            if key == keys.semaphore() {
                holders = Document::parse(kv.value()).unwrap().holders.len();
            } else if key.starts_with(&keys.lost_nodes()) {
                match event.event_type() {
                    etcd_client::EventType::Put => lost.insert(key),
                    etcd_client::EventType::Delete => lost.remove(&key),
                };
            }
        }
    }
}

/// Who has proven an image is asked by comparing ranges of keys, within a comparison: the other version of etcd does it alike.
#[tokio::test]
async fn etcd_3_5_tells_who_has_proven_an_image_as_well() {
    LocalSet::new()
        .run_until(async {
            let version = pointsman_testbed::etcd::Version::V35;
            let cluster = Cluster::builder(1).version(version).start().await;
            for (keys, bad) in [
                (&[][..], 1),
                (&[("members/m", "sha256:22")], 1),
                (&[("groups/x/members/m", "sha256:22")], 1),
                (&[("members/m", "sha256:2")], 0),
                (&[("groups/x/members/m", "sha256:2"), ("members/m", "")], 0),
            ] {
                let prefix = unique_prefix("lost-v35");
                let looker = on(&cluster, &prefix);
                looker.set_max(1, false).await.unwrap();
                looker
                    .set_policy(&lost(1), "ann@desk", false)
                    .await
                    .unwrap();
                for (key, value) in keys {
                    put(&cluster, &format!("{prefix}/{key}"), value).await;
                }
                let a = short("a");
                let holds = on(&cluster, &prefix);
                holds.acquire(&a, |_| {}).await;
                assert_eq!(holds.commit(&a).await.unwrap(), Committed::Yes);
                let (_, b) = waiting(on(&cluster, &prefix), patient("b"));
                gets_it(b).await;
                assert_eq!(quarantined(&looker).await.len(), bad, "{keys:?}");
            }
        })
        .await;
}
