//! Nodes that do not come back, and the group's policy that lets others pass over them.

mod agents;
mod back;
mod failures;
mod kept;
mod races;

use std::time::Duration;

use semaphore::{
    etcd::Claim,
    records::{Holder, ImageId, LostNode, Quarantine},
};

use super::*;

/// A policy that passes over so many nodes, a second after their deadline.
fn lost(budget: u32) -> PolicyChange {
    PolicyChange {
        lost_grace: Some(Duration::from_secs(1)),
        lost_budget: Some(budget),
        ..PolicyChange::default()
    }
}

fn image(digest: &str) -> ImageId {
    ImageId {
        digest: Some(digest.into()),
        version: None,
    }
}

/// A claim for the image `sha256:2` whose deadline ends within a second.
fn short(id: &str) -> Claim {
    let claim = claim(id);
    Claim {
        holder: Holder {
            deadline: Some(1),
            from: image("sha256:1"),
            to: image("sha256:2"),
            ..claim.holder
        },
        ticket_lease: 2,
        ..claim
    }
}

/// A node's claim that goes to another image, one that is never quarantined here.
fn patient(id: &str) -> Claim {
    let claim = claim(id);
    Claim {
        holder: Holder {
            to: image("sha256:9"),
            ..claim.holder
        },
        ticket_lease: 2,
        ..claim
    }
}

/// Waits in the queue as this claim's node; what it waits for, and whether it holds.
fn waiting(
    semaphore: Semaphore,
    claim: Claim,
) -> (Rc<RefCell<String>>, tokio::task::JoinHandle<()>) {
    let said = Rc::new(RefCell::new(String::new()));
    let says = said.clone();
    let task = tokio::task::spawn_local(async move {
        let note = |wait: semaphore::etcd::Wait| *says.borrow_mut() = wait.waits_for;
        semaphore.acquire(&claim, note).await;
    });
    (said, task)
}

/// Waits until the node that waits in the queue holds.
async fn gets_it(waiter: tokio::task::JoinHandle<()>) {
    let limit = Duration::from_secs(30);
    let held = tokio::time::timeout(limit, waiter).await;
    held.expect("it holds in time").unwrap();
}

async fn lost_nodes(semaphore: &Semaphore) -> Vec<(String, LostNode)> {
    let group = semaphore.read().await.unwrap();
    group.lost.into_iter().collect()
}

async fn holders(semaphore: &Semaphore) -> Vec<String> {
    document(semaphore).await.holders
}

async fn quarantined(semaphore: &Semaphore) -> Vec<Quarantine> {
    semaphore.read().await.unwrap().quarantine
}

/// A group with this policy, and `max` 1.
async fn group(name: &str, policy: &PolicyChange) -> (String, Semaphore) {
    let prefix = unique_prefix(name);
    let looker = on(shared_cluster(), &prefix);
    looker.set_max(1, false).await.unwrap();
    looker.set_policy(policy, "ann@desk", false).await.unwrap();
    (prefix, looker)
}

/// Waits until the grace of this holder has passed.
async fn expired(semaphore: &Semaphore, id: &str) {
    let key = semaphore.keys().expiry(id);
    let gone = async || get(shared_cluster(), &key).await;
    eventually("its grace has passed", gone, Option::is_none).await;
}

#[tokio::test]
async fn lost_node_is_passed_over_and_its_image_is_quarantined() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let (prefix, looker) = group("lost", &lost(1)).await;
            let a = short("a");
            let holds = on(cluster, &prefix);
            holds.acquire(&a, |_| {}).await;
            assert_eq!(holds.commit(&a).await.unwrap(), Committed::Yes);
            let (said, b) = waiting(on(cluster, &prefix), patient("b"));
            says(&said, "the only place is taken by a").await;
            gets_it(b).await;
            assert_eq!(holders(&looker).await, ["b"]);
            let lost = lost_nodes(&looker).await;
            let [(id, record)] = lost.as_slice() else {
                panic!("{lost:?}")
            };
            assert_eq!(
                (id.as_str(), record.hostname.as_str(), record.quarantined),
                ("a", "host-a", true)
            );
            assert_eq!(record.to, a.holder.to);
            let bad = quarantined(&looker).await;
            let [bad] = bad.as_slice() else {
                panic!("{bad:?}")
            };
            assert_eq!(
                (&bad.what, bad.node.as_str(), bad.hostname.as_str()),
                (&a.holder.to, "a", "host-a")
            );
            let text = "the node rebooted into it and did not come back within its deadline and a grace of 1s; host-b passed \
                        over it by the group's policy, and no member of any group has proven the image";
            assert_eq!(bad.reason, text);
            // Whoever goes there is kept now.
            let (said, _c) = waiting(on(cluster, &prefix), short("c"));
            says(&said, "is quarantined: the node rebooted into it").await;
        })
        .await;
}

#[tokio::test]
async fn node_lost_while_it_drains_says_nothing_of_an_image_and_steps_back() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let (prefix, looker) = group("lost-draining", &lost(1)).await;
            let a = short("a");
            let nonce = &a.holder.nonce;
            let holds = on(cluster, &prefix);
            holds.acquire(&a, |_| {}).await;
            let watches = on(cluster, &prefix);
            let ends = tokio::task::spawn_local({
                let nonce = nonce.clone();
                async move { watches.hold_ends("a", &nonce).await }
            });
            let (_, b) = waiting(on(cluster, &prefix), short("b"));
            gets_it(b).await;
            assert!(quarantined(&looker).await.is_empty(), "it never booted it");
            let why = ends.await.unwrap().to_string();
            assert!(
                why.starts_with("this node was thought lost at 20")
                    && why.ends_with(" and passed over by the group's policy"),
                "{why}"
            );
            let committed = holds.commit(&a).await.unwrap();
            assert!(
                matches!(&committed, Committed::No(refusal) if refusal.to_string() == why),
                "{committed:?}"
            );
            // It steps back: the budget is free again.
            assert_eq!(lost_nodes(&looker).await.len(), 1);
            let released = holds.release("a", nonce, None, a.node.as_ref()).await;
            assert!(
                matches!(&released, Ok(Released::ThoughtLost(lost)) if !lost.quarantined),
                "{released:?}"
            );
            assert!(lost_nodes(&looker).await.is_empty());
            assert_eq!(holders(&looker).await, ["b"], "it releases nothing");
            // Once more, and there is nothing to say.
            let again = holds.release("a", nonce, None, a.node.as_ref()).await;
            assert_eq!(again.unwrap(), Released::NotHeld);
            // The next one that does not come back is passed over as well.
            let (_, c) = waiting(on(cluster, &prefix), short("c"));
            gets_it(c).await;
            assert_eq!(holders(&looker).await, ["c"]);
        })
        .await;
}

#[tokio::test]
async fn over_budget_nobody_is_passed_over_until_a_lost_node_is_back() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let (prefix, looker) = group("lost-budget", &lost(2)).await;
            let claims = ["a", "b", "c"].map(short);
            for claim in &claims {
                on(cluster, &prefix).acquire(claim, |_| {}).await;
            }
            assert_eq!(lost_nodes(&looker).await.len(), 2);
            let (said, d) = waiting(on(cluster, &prefix), short("d"));
            says(&said, "the only place is taken by c").await;
            expired(&looker, "c").await;
            let nobody = document_is(&looker, &["c"], Duration::from_secs(1)).await;
            assert!(nobody, "2 are lost already");
            // One of them is back: that alone wakes who waits.
            let back = on(cluster, &prefix);
            let released = back.release("a", &claims[0].holder.nonce, None, None).await;
            assert!(matches!(released, Ok(Released::ThoughtLost(_))));
            gets_it(d).await;
            let ids: Vec<String> = lost_nodes(&looker)
                .await
                .into_iter()
                .map(|(id, _)| id)
                .collect();
            assert_eq!(ids, ["b", "c"]);
        })
        .await;
}

/// Whether the document names these for so long.
async fn document_is(semaphore: &Semaphore, ids: &[&str], long: Duration) -> bool {
    let until = tokio::time::Instant::now() + long;
    while tokio::time::Instant::now() < until {
        if holders(semaphore).await != ids {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    true
}

#[tokio::test]
async fn budget_that_is_raised_and_a_node_that_is_forgotten_wake_who_waits() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let (prefix, looker) = group("lost-raised", &lost(1)).await;
            for id in ["a", "b"] {
                on(cluster, &prefix).acquire(&short(id), |_| {}).await;
            }
            let (said, c) = waiting(on(cluster, &prefix), short("c"));
            says(&said, "the only place is taken by b").await;
            expired(&looker, "b").await;
            let change = PolicyChange {
                lost_budget: Some(2),
                ..PolicyChange::default()
            };
            looker.set_policy(&change, "ann@desk", false).await.unwrap();
            gets_it(c).await;
            let (said, d) = waiting(on(cluster, &prefix), short("d"));
            says(&said, "the only place is taken by c").await;
            expired(&looker, "c").await;
            assert!(document_is(&looker, &["c"], Duration::from_millis(500)).await);
            looker.forget("a", false, false).await.unwrap();
            gets_it(d).await;
            assert_eq!(lost_nodes(&looker).await.len(), 2);
        })
        .await;
}

#[tokio::test]
async fn image_that_a_member_has_proven_is_not_quarantined() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            for at in ["members/m", "groups/other/members/m"] {
                let (prefix, looker) = group("lost-proven", &lost(1)).await;
                // Others in the way say nothing.
                put(cluster, &format!("{prefix}/members/n"), "sha256:1").await;
                put(cluster, &format!("{prefix}/groups/x/members/n"), "").await;
                put(cluster, &format!("{prefix}/{at}"), "sha256:2").await;
                let a = short("a");
                let holds = on(cluster, &prefix);
                holds.acquire(&a, |_| {}).await;
                assert_eq!(holds.commit(&a).await.unwrap(), Committed::Yes);
                let (_, b) = waiting(on(cluster, &prefix), patient("b"));
                gets_it(b).await;
                assert!(quarantined(&looker).await.is_empty(), "{at}");
                assert!(!lost_nodes(&looker).await[0].1.quarantined);
            }
        })
        .await;
}

#[tokio::test]
async fn image_is_quarantined_where_members_have_proven_others_only() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            // None at all, in the default group, in another one, in both; and a name that only begins like it.
            let groups = [
                &["groups/x/members/n"][..],
                &["members/n"],
                &["members/n", "groups/x/members/n", "groups/y/members/n"],
            ];
            for keys in groups {
                let (prefix, looker) = group("lost-unproven", &lost(1)).await;
                for key in keys {
                    put(cluster, &format!("{prefix}/{key}"), "sha256:22").await;
                }
                let a = short("a");
                let holds = on(cluster, &prefix);
                holds.acquire(&a, |_| {}).await;
                assert_eq!(holds.commit(&a).await.unwrap(), Committed::Yes);
                let nonce = &a.holder.nonce;
                holds.proving("a", nonce, 1, None).await.unwrap();
                let (_, b) = waiting(on(cluster, &prefix), patient("b"));
                gets_it(b).await;
                assert_eq!(quarantined(&looker).await.len(), 1, "{keys:?}");
            }
        })
        .await;
}

/// How many requests these steps cost.
async fn counted(cluster: &Cluster, steps: impl Future<Output = ()>) -> u64 {
    let before = cluster.requests().await;
    steps.await;
    cluster.requests().await.since(&before).total()
}

#[tokio::test]
async fn take_with_lost_nodes_costs_one_lease_more_and_nothing_else() {
    let cluster = Cluster::start(1).await;
    let grace = PolicyChange {
        lost_grace: Some(Duration::from_secs(3600)),
        ..PolicyChange::default()
    };
    let with = cost(&cluster, Some(grace)).await;
    assert_eq!(with, super::WITHOUT_A_POLICY + 1);
}

#[tokio::test]
async fn waiting_for_a_lost_node_costs_a_read_and_a_watch() {
    LocalSet::new()
        .run_until(async {
            let cluster = Cluster::start(1).await;
            let wait = async |policy: Option<PolicyChange>| {
                let prefix = unique_prefix("lost-cost");
                let looker = on(&cluster, &prefix);
                looker.set_max(1, false).await.unwrap();
                if let Some(policy) = policy {
                    looker.set_policy(&policy, "ann@desk", false).await.unwrap();
                }
                let a = claim("a");
                let holds = on(&cluster, &prefix);
                holds.acquire(&a, |_| {}).await;
                holds.proving("a", &a.holder.nonce, 1, None).await.unwrap();
                counted(&cluster, async {
                    let (said, b) = waiting(on(&cluster, &prefix), claim("b"));
                    says(&said, "the only place is taken by a").await;
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    let released = holds.release("a", &a.holder.nonce, None, None).await;
                    assert_eq!(released.unwrap(), Released::Released);
                    gets_it(b).await;
                })
                .await
            };
            let without = wait(None).await;
            let grace = PolicyChange {
                lost_grace: Some(Duration::from_secs(3600)),
                ..PolicyChange::default()
            };
            // The lease, the read of who holds, and the watch on their keys.
            assert_eq!(wait(Some(grace)).await, without + 3);
        })
        .await;
}
