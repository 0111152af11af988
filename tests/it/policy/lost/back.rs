//! A node thought lost that comes back, before, while and after others pass over it.

use super::*;

/// Waits until the deadline of this holder has passed.
async fn overdue(semaphore: &Semaphore, id: &str) {
    let key = semaphore.keys().deadline(id);
    let gone = async || get(shared_cluster(), &key).await;
    eventually("its deadline has passed", gone, Option::is_none).await;
}

#[tokio::test]
async fn overdue_node_that_says_that_it_is_there_has_its_whole_time_again() {
    let cluster = shared_cluster();
    for phase in [Phase::Rebooting, Phase::Proving] {
        let (prefix, looker) = group("lost-again", &lost(1)).await;
        let a = short("a");
        let nonce = &a.holder.nonce;
        let holds = on(cluster, &prefix);
        holds.acquire(&a, |_| {}).await;
        if phase == Phase::Proving {
            assert_eq!(holds.commit(&a).await.unwrap(), Committed::Yes);
        }
        let keys = looker.keys();
        let lease = async |key: String| {
            let found = cluster.client().await.get(key, None).await.unwrap();
            found.kvs().first().map(|kv| kv.lease())
        };
        expired(&looker, "a").await;
        // Nobody waits. It goes on, to its reboot or to its proof.
        match phase {
            Phase::Rebooting => assert_eq!(holds.commit(&a).await.unwrap(), Committed::Yes),
            _ => holds.proving("a", nonce, 1, None).await.unwrap(),
        }
        assert!(
            lease(keys.deadline("a"))
                .await
                .is_some_and(|lease| lease != 0)
        );
        assert!(
            lease(keys.expiry("a"))
                .await
                .is_some_and(|lease| lease != 0)
        );
        let held = &looker.read().await.unwrap().holders[0];
        assert_eq!(
            (held.overdue, held.entry.as_ref().unwrap().phase == phase),
            (false, true)
        );
        // Said again, it is no news: a node that only starts again and again is lost all the same.
        expired(&looker, "a").await;
        match phase {
            Phase::Rebooting => assert_eq!(holds.commit(&a).await.unwrap(), Committed::Yes),
            _ => holds.proving("a", nonce, 1, None).await.unwrap(),
        }
        assert_eq!(lease(keys.expiry("a")).await, None);
        on(cluster, &prefix).acquire(&patient("b"), |_| {}).await;
        assert_eq!(lost_nodes(&looker).await.len(), 1, "{phase}");
    }
}

#[tokio::test]
async fn node_that_soaked_and_proves_again_has_its_whole_grace() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let (prefix, looker) = group("lost-soaked", &lost(1)).await;
            let a = short("a");
            let holds = on(cluster, &prefix);
            holds.acquire(&a, |_| {}).await;
            // A soak of a newer agent.
            let key = looker.keys().holder("a");
            let entry = get(cluster, &key).await.unwrap();
            put(cluster, &key, &entry.replace("draining", "soaking")).await;
            expired(&looker, "a").await;
            let (said, b) = waiting(on(cluster, &prefix), patient("b"));
            says(&said, "the only place is taken by a").await;
            assert!(document_is(&looker, &["a"], Duration::from_millis(500)).await);
            let before = tokio::time::Instant::now();
            holds.proving("a", &a.holder.nonce, 1, None).await.unwrap();
            gets_it(b).await;
            let took = before.elapsed();
            assert!(
                took >= Duration::from_secs(2),
                "its deadline and its grace: {took:?}"
            );
            assert_eq!(lost_nodes(&looker).await.len(), 1);
        })
        .await;
}

#[tokio::test]
async fn overdue_node_without_a_grace_costs_and_changes_nothing_more() {
    let cluster = shared_cluster();
    let (prefix, looker) = group("lost-without", &PolicyChange::default()).await;
    let a = short("a");
    let holds = on(cluster, &prefix);
    holds.acquire(&a, |_| {}).await;
    overdue(&looker, "a").await;
    assert_eq!(holds.commit(&a).await.unwrap(), Committed::Yes);
    holds.proving("a", &a.holder.nonce, 1, None).await.unwrap();
    assert!(looker.read().await.unwrap().holders[0].overdue);
}

#[tokio::test]
async fn release_unlock_and_forget_leave_no_grace_and_no_lost_node() {
    let cluster = shared_cluster();
    let (prefix, looker) = group("lost-ends", &lost(1)).await;
    let keys = looker.keys();
    let long = |id: &str| Claim {
        holder: Holder {
            deadline: Some(600),
            ..short(id).holder
        },
        ..short(id)
    };
    for end in ["release", "unlock", "forget"] {
        let a = long("a");
        let holds = on(cluster, &prefix);
        holds.acquire(&a, |_| {}).await;
        assert_eq!(get(cluster, &keys.expiry("a")).await.as_deref(), Some(""));
        match end {
            "release" => {
                let released = holds.release("a", &a.holder.nonce, None, None).await;
                assert_eq!(released.unwrap(), Released::Released);
            }
            "unlock" => drop(looker.unlock("a", true).await.unwrap()),
            _ => drop(looker.forget("a", true, false).await.unwrap()),
        }
        assert_eq!(get(cluster, &keys.expiry("a")).await, None, "{end}");
        assert_eq!(get(cluster, &keys.deadline("a")).await, None, "{end}");
    }
    // A lost node that takes again, without a word that it is back, is not lost.
    let lost_key = keys.lost_node("a");
    put(cluster, &lost_key, "{}").await;
    on(cluster, &prefix).acquire(&long("a"), |_| {}).await;
    assert_eq!(get(cluster, &lost_key).await, None);
    looker.unlock("a", true).await.unwrap();
    // Neither is one that is forgotten, whatever its record says.
    put(cluster, &lost_key, "no JSON").await;
    let dry = looker.forget("a", false, true).await.unwrap();
    assert!(matches!(dry, semaphore::etcd::Forgotten::Done(state) if state.lost.is_some()));
    assert!(get(cluster, &lost_key).await.is_some());
    looker.forget("a", false, false).await.unwrap();
    assert_eq!(get(cluster, &lost_key).await, None);
    // Nor is anything left of a group that is removed.
    put(cluster, &lost_key, "{}").await;
    put(cluster, &keys.expiry("a"), "").await;
    let unused = |_: &semaphore::etcd::Group| Ok::<_, semaphore::etcd::Error>(());
    assert!(looker.remove_group(unused).await.unwrap());
    assert_eq!(get(cluster, &lost_key).await, None);
    assert_eq!(get(cluster, &keys.expiry("a")).await, None);
}

/// The reply to its take was lost, and it was away until others passed over it: it knows of no hold, and joins the queue again. What is
/// lost now is the node that took after it.
#[tokio::test]
async fn lost_node_that_joins_the_queue_again_may_pass_over_the_next_one() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let (prefix, looker) = group("lost-queues-again", &lost(1)).await;
            on(cluster, &prefix).acquire(&short("a"), |_| {}).await;
            on(cluster, &prefix).acquire(&short("b"), |_| {}).await;
            let lost_ids = async || {
                let lost = lost_nodes(&looker).await.into_iter();
                lost.map(|(id, _)| id).collect::<Vec<_>>()
            };
            assert_eq!(lost_ids().await, ["a"]);
            let (_, a) = waiting(on(cluster, &prefix), patient("a"));
            gets_it(a).await;
            assert_eq!(holders(&looker).await, ["a"]);
            assert_eq!(lost_ids().await, ["b"]);
        })
        .await;
}

/// One that waits as the first while the budget is used up is told that a lost node is back, by the document.
#[tokio::test]
async fn lost_node_that_joins_the_queue_again_wakes_the_first() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let (prefix, looker) = group("lost-wakes", &lost(1)).await;
            on(cluster, &prefix).acquire(&short("a"), |_| {}).await;
            on(cluster, &prefix).acquire(&short("b"), |_| {}).await;
            let (said, c) = waiting(on(cluster, &prefix), patient("c"));
            says(&said, "the only place is taken by b").await;
            expired(&looker, "b").await;
            let (said, a) = waiting(on(cluster, &prefix), patient("a"));
            gets_it(c).await;
            assert_eq!(holders(&looker).await, ["c"]);
            says(&said, "the only place is taken by c").await;
            a.abort();
        })
        .await;
}

/// A lost node comes back at the very moment at which it is passed over: it either holds and releases, or was passed over and
/// finds that; and never are more out than may.
#[tokio::test]
async fn node_that_comes_back_while_it_is_passed_over_holds_or_is_lost() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let (mut held, mut lost_it) = (0, 0);
            for round in 0..40u64 {
                let (prefix, looker) = group("lost-race", &lost(1)).await;
                let a = short("a");
                let holds = on(cluster, &prefix);
                holds.acquire(&a, |_| {}).await;
                assert_eq!(holds.commit(&a).await.unwrap(), Committed::Yes);
                // Its grace is over now.
                let mut client = cluster.client().await;
                let (_, b) = waiting(on(cluster, &prefix), patient("b"));
                let queued = async || get(cluster, &looker.keys().ticket("b")).await;
                eventually("b waits", queued, Option::is_some).await;
                client
                    .delete(looker.keys().expiry("a"), None)
                    .await
                    .unwrap();
                // The first looks a moment later.
                tokio::time::sleep(Duration::from_millis(95 + round / 4)).await;
                let nonce = &a.holder.nonce;
                if round % 2 == 0 {
                    holds.proving("a", nonce, 1, None).await.unwrap();
                }
                let released = holds.release("a", nonce, None, None).await.unwrap();
                gets_it(b).await;
                let most = crate::support::most_holders(cluster, &looker).await;
                assert_eq!((most, holders(&looker).await), (1, vec!["b".to_owned()]));
                assert!(lost_nodes(&looker).await.is_empty());
                let bad = quarantined(&looker).await.len();
                match released {
                    Released::Released => {
                        assert_eq!(bad, 0);
                        held += 1;
                    }
                    Released::ThoughtLost(record) => {
                        assert_eq!((bad, record.quarantined), (1, true));
                        lost_it += 1;
                    }
                    other => panic!("it was passed over, and nothing says so: {other:?}"),
                }
            }
            println!("held {held} times, passed over {lost_it} times");
        })
        .await;
}
