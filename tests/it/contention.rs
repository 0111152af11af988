//! Many at once.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use host::node::Group;
use pointsman_testbed::etcd::{Cluster, shared_cluster, unique_prefix};
use semaphore::{
    etcd::{BackOff, Claim, Options, Released, Semaphore},
    keys::Keys,
};
use tokio::{task::LocalSet, time::timeout};

use crate::support::{BACK_OFF, Random, claim, eventually, found, most_holders, on, options};

/// Asks for the semaphore, now and then dying on the way and starting again with what its journal would have:
/// the same nonce.
async fn contend(semaphore: Semaphore, claim: Claim, mut random: Random) {
    for _ in 0..random.below(3) {
        let life = Duration::from_millis(random.below(400));
        let died = timeout(life, semaphore.acquire(&claim, |_| {}))
            .await
            .is_err();
        if !died {
            return;
        }
    }
    semaphore.acquire(&claim, |_| {}).await;
}

#[tokio::test]
async fn two_hundred_nodes_with_random_failures_never_exceed_max_and_keep_the_ticket_order() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let prefix = unique_prefix("crowd");
            let looker = Rc::new(on(cluster, &prefix));
            looker.set_max(3, false).await.unwrap();
            // All are in the queue before the first may go, so that there is an order to keep.
            looker
                .pause(false, &serde_json::from_str("{}").unwrap(), None, true)
                .await
                .unwrap();
            let finished = Rc::new(Cell::new(0));
            let taken = Rc::new(RefCell::new(Vec::new()));
            let mut random = Random::new("two hundred that die at random");
            for i in 0..200u64 {
                let own = Random::from_seed(random.seed());
                let semaphore = on(cluster, &prefix);
                let (finished, taken) = (finished.clone(), taken.clone());
                tokio::task::spawn_local(async move {
                    let claim = claim(&format!("n{i:03}"));
                    let nonce = claim.holder.nonce.clone();
                    let id = claim.holder.id.clone();
                    contend(on_same(&semaphore), claim.clone(), own).await;
                    taken.borrow_mut().push(id.clone());
                    // Half of them commit and go down before they release the lock.
                    if i % 2 == 0 {
                        semaphore.commit(&claim).await.unwrap();
                    }
                    semaphore.release(&id, &nonce, None, None).await.unwrap();
                    finished.set(finished.get() + 1);
                });
            }
            let line = eventually(
                "all in the queue",
                async || looker.read().await.unwrap().queue,
                |q| q.len() == 200,
            )
            .await;
            looker.resume(false).await.unwrap();
            eventually("all done", async || finished.get(), |n| *n == 200).await;
            assert_eq!(most_holders(cluster, &looker).await, 3);
            // The order in the document's history, not in which the tasks woke.
            let order = order_of_takes(cluster, &looker).await;
            let line: Vec<String> = line.into_iter().map(|t| t.id).collect();
            assert_eq!(order, line);
            assert!(looker.read().await.unwrap().holders.is_empty());
        })
        .await;
}

fn on_same(semaphore: &Semaphore) -> Semaphore {
    on(shared_cluster(), semaphore.keys().prefix())
}

async fn order_of_takes(cluster: &Cluster, semaphore: &Semaphore) -> Vec<String> {
    let mut client = cluster.client().await;
    let prefix = semaphore.keys().holders();
    let end = client
        .get(semaphore.keys().semaphore(), None)
        .await
        .unwrap()
        .header()
        .unwrap()
        .revision();
    let options = etcd_client::WatchOptions::new()
        .with_prefix()
        .with_start_revision(1)
        .with_progress_notify();
    let mut watch = client.watch(prefix.clone(), Some(options)).await.unwrap();
    let mut order = Vec::new();
    // The last event of all is the deletion of the last holder.
    let mut gone = 0;
    while gone < 200 {
        let message = watch.message().await.unwrap().expect("the watch goes on");
        for event in message.events() {
            let kv = event.kv().unwrap();
            let id = kv.key_str().unwrap().trim_start_matches(&prefix).to_owned();
            match event.event_type() {
                etcd_client::EventType::Put if kv.version() == 1 => order.push(id),
                etcd_client::EventType::Put => {}
                etcd_client::EventType::Delete => gone += 1,
            }
            assert!(kv.mod_revision() <= end);
        }
    }
    order
}

/// How many requests one hand-over costs with this many waiting behind.
async fn hand_over(waiters: usize) -> u64 {
    // A cluster of its own: every request counts.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(1).await));
    let prefix = unique_prefix("hand-over");
    let looker = on(cluster, &prefix);
    let holder = claim("holder");
    found(&looker).await;
    looker.acquire(&holder, |_| {}).await;
    let settled = Rc::new(Cell::new(0));
    let next = Rc::new(RefCell::new(None));
    for i in 0..waiters {
        let mut claim = claim(&format!("n{i:03}"));
        // Renewals are no part of a hand-over.
        claim.ticket_lease = 6000;
        // On a busy machine a request may take long, and one made again would be counted twice.
        let patient = Options {
            timeout: Duration::from_secs(60),
            ..options(cluster.endpoints())
        };
        // Nor are looks whether the store is the one it was, which the first makes as often as it tries again.
        let seldom = BackOff {
            max: Duration::from_secs(600),
            ..BACK_OFF
        };
        let keys = Keys::new(&prefix, Group::default());
        let semaphore = Semaphore::new(patient, keys, seldom);
        let (settled, next) = (settled.clone(), next.clone());
        tokio::task::spawn_local(async move {
            semaphore
                .acquire(&claim, |_| settled.set(settled.get() + 1))
                .await;
            *next.borrow_mut() = Some(claim.holder.id.clone());
        });
    }
    eventually("all wait", async || settled.get(), |n| *n == waiters).await;
    // The watch itself is set up after the note.
    let watches = async || cluster.requests().await.watch;
    eventually("all watch", watches, |n| *n >= waiters as u64).await;
    let before = cluster.requests().await;
    looker
        .release("holder", &holder.holder.nonce, None, None)
        .await
        .unwrap();
    eventually(
        "the hand-over",
        async || next.borrow().clone(),
        Option::is_some,
    )
    .await;
    // The one behind has noticed that it is first now, and watches the document.
    eventually(
        "the next in line",
        async || settled.get(),
        |n| *n == waiters + 1,
    )
    .await;
    let after = eventually(
        "its watch",
        async || cluster.requests().await.since(&before),
        |r| r.watch == 1,
    )
    .await;
    after.total()
}

#[tokio::test]
async fn hand_over_cost_does_not_depend_on_the_queue_length() {
    LocalSet::new()
        .run_until(async {
            let (ten, many) = (hand_over(10).await, hand_over(500).await);
            assert_eq!(ten, many);
            assert!(ten <= 6, "{ten} requests");
        })
        .await;
}

/// How many requests a release costs, when what it will find was looked at before, and then perhaps changed.
async fn expected_release(cluster: &Cluster, changed: bool) -> u64 {
    let prefix = unique_prefix("expected");
    let (ours, other) = (claim("a"), claim("b"));
    let semaphore = on(cluster, &prefix);
    semaphore.set_max(2, false).await.unwrap();
    semaphore.acquire(&ours, |_| {}).await;
    semaphore
        .proving("a", &ours.holder.nonce, 1800, None)
        .await
        .unwrap();
    if changed {
        semaphore.acquire(&other, |_| {}).await;
    }
    let before = cluster.requests().await;
    let released = semaphore
        .release("a", &ours.holder.nonce, None, ours.node.as_ref())
        .await
        .unwrap();
    let spent = cluster.requests().await.since(&before).total();
    assert_eq!(released, Released::Released);
    let holders = semaphore.read().await.unwrap().holders;
    let left: Vec<&str> = holders.iter().map(|h| h.id.as_str()).collect();
    assert_eq!(left, if changed { vec!["b"] } else { vec![] });
    spent
}

#[tokio::test]
async fn release_takes_one_request_and_at_most_two() {
    let cluster = Cluster::start(1).await;
    assert_eq!(expected_release(&cluster, false).await, 1);
    assert_eq!(expected_release(&cluster, true).await, 2);
}
