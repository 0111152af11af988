//! A group's policy and its members, on a real three-member etcd and by real agents.

mod clocks;
mod costs;
mod lost;
mod members;
mod rollout;
mod soak;
mod soak_cut;
mod waves;
mod windows;

use std::{cell::RefCell, rc::Rc};

use pointsman_testbed::{
    etcd::{Cluster, shared_cluster, unique_prefix},
    node::{AutoReboot, Node},
    proxy::{Aim, Mode, Proxy},
};
use semaphore::{
    document::Document,
    etcd::{Committed, Locked, Released, Semaphore},
    keys::Keys,
    policy::{Field, PolicyChange},
    records::{Member, NodeRecord, Phase},
};
use tokio::task::LocalSet;

use crate::{
    agents::{Site, drained, draining, machine, slow_drain},
    support::{claim, eventually, holder, on, semaphore},
};

fn percent(percent: u32) -> PolicyChange {
    PolicyChange {
        max_percent: Some(percent),
        ..PolicyChange::default()
    }
}

async fn put(cluster: &Cluster, key: &str, value: &str) {
    cluster.client().await.put(key, value, None).await.unwrap();
}

async fn get(cluster: &Cluster, key: &str) -> Option<String> {
    let found = cluster.client().await.get(key, None).await.unwrap();
    let first = found.kvs().first();
    first.map(|kv| kv.value_str().unwrap().to_owned())
}

/// Makes so many nodes members of the group, named `m<number>`.
async fn members(cluster: &Cluster, keys: &Keys, numbers: std::ops::Range<u32>) {
    for number in numbers {
        put(cluster, &keys.member(&format!("m{number}")), "").await;
    }
}

/// Waits in the queue; what it waits for, and whether it holds.
fn waiter(semaphore: Semaphore, id: &str) -> (Rc<RefCell<String>>, tokio::task::JoinHandle<()>) {
    let said = Rc::new(RefCell::new(String::new()));
    let (claim, says) = (claim(id), said.clone());
    let task = tokio::task::spawn_local(async move {
        let note = |wait: semaphore::etcd::Wait| *says.borrow_mut() = wait.waits_for;
        semaphore.acquire(&claim, note).await;
    });
    (said, task)
}

async fn says(said: &Rc<RefCell<String>>, text: &str) {
    eventually(
        text,
        async || said.borrow().clone(),
        |said| said.contains(text),
    )
    .await;
}

async fn document(semaphore: &Semaphore) -> Document {
    semaphore.read().await.unwrap().document.unwrap().unwrap()
}

#[tokio::test]
async fn percentage_follows_the_members_and_wakes_the_first_in_the_queue() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let prefix = unique_prefix("percent");
            let looker = on(cluster, &prefix);
            members(cluster, looker.keys(), 0..9).await;
            let set = looker
                .set_policy(&percent(20), "ann@desk", false)
                .await
                .unwrap();
            assert_eq!(set.document.unwrap().max, 1, "20% of 9");
            let a = claim("a");
            on(cluster, &prefix).acquire(&a, |_| {}).await;
            let (said, b) = waiter(on(cluster, &prefix), "b");
            says(&said, "the only place is taken by a").await;
            // A tenth one: nobody writes the document, and b goes.
            members(cluster, looker.keys(), 9..10).await;
            b.await.unwrap();
            let found = document(&looker).await;
            assert_eq!((found.max, found.percent_max), (2, Some(2)));
            // Half of them are gone: who is out stays out, and the next one waits.
            let (said, c) = waiter(on(cluster, &prefix), "c");
            says(&said, "all 2 places are taken by a, b").await;
            for id in ["m0", "m1", "m2", "m3", "m4"] {
                looker.forget(id, false, false).await.unwrap();
            }
            assert_eq!(document(&looker).await.max, 1, "forget writes it");
            says(&said, "the only place is taken by a, b").await;
            let released = looker.release("a", &a.holder.nonce, None, None).await;
            assert_eq!(released.unwrap(), Released::Released);
            says(&said, "the only place is taken by b").await;
            looker.unlock("b", true).await.unwrap();
            c.await.unwrap();
        })
        .await;
}

#[tokio::test]
async fn a_number_that_somebody_wrote_stands_until_the_percentage_is_set_again() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let prefix = unique_prefix("percent-stop");
            let looker = on(cluster, &prefix);
            members(cluster, looker.keys(), 0..10).await;
            looker
                .set_policy(&percent(20), "ann@desk", false)
                .await
                .unwrap();
            let a = claim("a");
            let holds = on(cluster, &prefix);
            holds.acquire(&a, |_| {}).await;
            // An emergency, by a client that knows nothing of percentages and keeps what it does not know.
            let key = looker.keys().semaphore();
            let stored = get(cluster, &key).await.unwrap();
            assert!(stored.contains(r#""percent_max":2"#), "{stored}");
            put(cluster, &key, &stored.replace(r#""max":2"#, r#""max":0"#)).await;
            let (said, b) = waiter(on(cluster, &prefix), "b");
            says(&said, "the group is stopped (max is 0)").await;
            let committed = holds.commit(&a).await.unwrap();
            assert!(
                matches!(&committed, Committed::No(why) if why.to_string().contains("max is 0")),
                "{committed:?}"
            );
            // Neither a member that joins nor another field of the policy raises it.
            members(cluster, looker.keys(), 10..20).await;
            let change = PolicyChange::default();
            looker.set_policy(&change, "ann@desk", false).await.unwrap();
            assert_eq!(document(&looker).await.max, 0);
            looker
                .set_policy(&percent(20), "ann@desk", false)
                .await
                .unwrap();
            b.await.unwrap();
            let found = document(&looker).await;
            assert_eq!((found.max, found.holders.join(",")), (4, "a,b".into()));
            // Without the percentage the number stays what it is.
            let unset = PolicyChange {
                unset: vec![Field::MaxPercent],
                ..PolicyChange::default()
            };
            let set = looker.set_policy(&unset, "ann@desk", false).await.unwrap();
            assert!(set.policy.is_none());
            assert_eq!(get(cluster, &looker.keys().policy()).await, None);
            let found = document(&looker).await;
            assert_eq!((found.max, found.percent_max), (4, None));
        })
        .await;
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_stops_the_group_and_says_so() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let prefix = unique_prefix("policy-damaged");
            let looker = on(cluster, &prefix);
            looker.set_max(2, false).await.unwrap();
            let a = claim("a");
            let holds = on(cluster, &prefix);
            holds.acquire(&a, |_| {}).await;
            // Of a newer program.
            put(
                cluster,
                &looker.keys().policy(),
                r#"{"max_percent":20,"moon":"full"}"#,
            )
            .await;
            let text = "the group's policy cannot be used: unknown field `moon`";
            let (said, b) = waiter(on(cluster, &prefix), "b");
            says(&said, text).await;
            let committed = holds.commit(&a).await.unwrap();
            assert!(
                matches!(&committed, Committed::No(why) if why.to_string().contains(text)),
                "{committed:?}"
            );
            // A person's lock takes no node anywhere.
            let locked = looker.lock(&holder("c", Phase::Manual)).await.unwrap();
            assert_eq!(locked, Locked::Taken);
            looker.unlock("c", false).await.unwrap();
            let refused = looker.set_policy(&percent(100), "ann@desk", false).await;
            assert!(
                refused.unwrap_err().to_string().contains("`moon`"),
                "it would be lost"
            );
            let replace = PolicyChange {
                replace: true,
                ..percent(100)
            };
            looker
                .set_policy(&replace, "ann@desk", false)
                .await
                .unwrap();
            looker.set_max(2, false).await.unwrap();
            b.await.unwrap();
        })
        .await;
}

/// Not by `policy set`, which writes the document as well.
#[tokio::test]
async fn a_policy_that_another_tool_writes_is_seen_by_the_first_in_the_queue() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            for before in ["", r#"{"soak":"1h"}"#] {
                let prefix = unique_prefix("policy-by-hand");
                let looker = on(cluster, &prefix);
                looker.set_max(1, false).await.unwrap();
                members(cluster, looker.keys(), 0..10).await;
                let policy = looker.keys().policy();
                if !before.is_empty() {
                    put(cluster, &policy, before).await;
                }
                on(cluster, &prefix).acquire(&claim("a"), |_| {}).await;
                let (said, b) = waiter(on(cluster, &prefix), "b");
                says(&said, "the only place is taken by a").await;
                // What stands between the two keys does not matter.
                put(cluster, &looker.keys().ticket("old"), "{}").await;
                put(cluster, &policy, r#"{"moon":"full"}"#).await;
                says(&said, "the group's policy cannot be used").await;
                put(cluster, &policy, r#"{"soak":"2h"}"#).await;
                says(&said, "the only place is taken by a").await;
                looker.unlock("a", true).await.unwrap();
                b.await.unwrap();
            }
        })
        .await;
}

#[tokio::test]
async fn no_more_than_the_largest_percentage_are_out_while_the_policy_changes() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let prefix = unique_prefix("policy-races");
            let looker = Rc::new(on(cluster, &prefix));
            members(cluster, looker.keys(), 0..30).await;
            looker
                .set_policy(&percent(10), "ann@desk", false)
                .await
                .unwrap();
            let changes = tokio::task::spawn_local({
                let looker = looker.clone();
                async move {
                    for round in 0..40 {
                        let percent = percent(10 + round % 2 * 10);
                        looker
                            .set_policy(&percent, "ann@desk", false)
                            .await
                            .unwrap();
                    }
                }
            });
            let mut takes = Vec::new();
            for number in 0..20 {
                let semaphore = on(cluster, &prefix);
                takes.push(tokio::task::spawn_local(async move {
                    let claim = claim(&format!("n{number}"));
                    let id = claim.holder.id.clone();
                    semaphore.acquire(&claim, |_| {}).await;
                    semaphore
                        .release(&id, &claim.holder.nonce, None, None)
                        .await
                        .unwrap();
                }));
            }
            for take in takes {
                take.await.unwrap();
            }
            changes.await.unwrap();
            let most = crate::support::most_holders(cluster, &looker).await;
            assert!(most <= 6, "{most} were out, of at most 20% of 30");
        })
        .await;
}

/// How many requests one node's way to the lock and back costs in a group with this policy.
async fn cost(cluster: &Cluster, policy: Option<PolicyChange>) -> u64 {
    let prefix = unique_prefix("policy-cost");
    let semaphore = on(cluster, &prefix);
    semaphore.set_max(1, false).await.unwrap();
    if let Some(policy) = policy {
        semaphore
            .set_policy(&policy, "ann@desk", false)
            .await
            .unwrap();
    }
    let before = cluster.requests().await;
    let claim = claim("a");
    semaphore.acquire(&claim, |_| {}).await;
    assert_eq!(semaphore.commit(&claim).await.unwrap(), Committed::Yes);
    let nonce = &claim.holder.nonce;
    semaphore
        .proving("a", nonce, 1800, claim.node.as_ref())
        .await
        .unwrap();
    semaphore
        .release("a", nonce, None, claim.node.as_ref())
        .await
        .unwrap();
    cluster.requests().await.since(&before).total()
}

#[tokio::test]
async fn a_group_without_a_policy_costs_no_request_and_one_with_a_percentage_one() {
    let cluster = Cluster::start(1).await;
    // As before there were policies: status twice and range of the store's marks, ticket's lease, ticket, view, deadline's
    // lease, take; look and commit; look and word of the proof; release.
    let without = cost(&cluster, None).await;
    assert_eq!(without, WITHOUT_A_POLICY);
    assert_eq!(cost(&cluster, Some(percent(20))).await, without + 1);
}

/// Measured on the release before.
const WITHOUT_A_POLICY: u64 = 13;
