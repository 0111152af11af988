//! How many requests to etcd soaks and waves cost: the numbers of docs/explanation/performance.md.

use std::time::Duration;

use host::node::Group;
use semaphore::{etcd::Claim, waves::Wave};

use super::*;

fn wave_soak(length: Duration) -> PolicyChange {
    PolicyChange {
        wave_soak: Some(length),
        ..PolicyChange::default()
    }
}

/// How many requests these steps cost.
async fn counted(cluster: &Cluster, steps: impl Future<Output = ()>) -> u64 {
    let before = cluster.requests().await;
    steps.await;
    cluster.requests().await.since(&before).total()
}

/// A node of a group with this policy that is being proven; its claim.
async fn proving(cluster: &Cluster, policy: &PolicyChange) -> (Semaphore, Claim) {
    let semaphore = on(cluster, &unique_prefix("costs"));
    semaphore.set_max(1, false).await.unwrap();
    semaphore
        .set_policy(policy, "ann@desk", false)
        .await
        .unwrap();
    let claim = claim("a");
    semaphore.acquire(&claim, |_| {}).await;
    assert_eq!(semaphore.commit(&claim).await.unwrap(), Committed::Yes);
    let nonce = &claim.holder.nonce;
    let said = semaphore
        .proving("a", nonce, 1800, claim.node.as_ref())
        .await;
    said.unwrap();
    (semaphore, claim)
}

/// What the node says of itself once it has proven the image `X`.
fn proven(claim: &Claim) -> NodeRecord {
    NodeRecord {
        member: Some(Member {
            proven: Some("X".into()),
        }),
        ..claim.node.clone().unwrap()
    }
}

/// How many requests the release costs, with the opening of a wave. `other` is what another member has proven.
async fn release(cluster: &Cluster, policy: &PolicyChange, other: &str) -> u64 {
    let (semaphore, claim) = proving(cluster, policy).await;
    put(cluster, &semaphore.keys().member("b"), other).await;
    let record = proven(&claim);
    let cost = counted(cluster, async {
        let released = semaphore
            .release("a", &claim.holder.nonce, None, Some(&record))
            .await;
        assert_eq!(released.unwrap(), Released::Released);
    })
    .await;
    let wave = get(cluster, &semaphore.keys().wave("X")).await;
    assert_eq!(wave.is_some(), policy.wave_soak.is_some() && other == "X");
    cost
}

#[tokio::test]
async fn release_where_waves_open_costs_a_compare_and_the_opening_a_write_and_a_lease() {
    let cluster = Cluster::start(1).await;
    let without = release(&cluster, &percent(100), "X").await;
    let now = wave_soak(Duration::ZERO);
    assert_eq!(release(&cluster, &now, "Y").await, without + 1, "not due");
    assert_eq!(release(&cluster, &now, "X").await, without + 2, "opened");
    let later = wave_soak(Duration::from_secs(7200));
    assert_eq!(
        release(&cluster, &later, "X").await,
        without + 3,
        "opened, with a soak"
    );
}

#[tokio::test]
async fn soak_costs_its_lease_its_beginning_and_a_read_at_its_end() {
    let cluster = Cluster::start(1).await;
    let ends = async |policy: &PolicyChange| {
        let (semaphore, claim) = proving(&cluster, policy).await;
        let record = proven(&claim);
        counted(&cluster, async {
            let nonce = &claim.holder.nonce;
            let slack = Duration::from_secs(1800);
            let may_soak = semaphore
                .release_or_soak("a", nonce, None, &record, slack)
                .await;
            if let Released::Soaks(_) = may_soak.unwrap() {
                let released = semaphore.release("a", nonce, None, Some(&record)).await;
                assert_eq!(released.unwrap(), Released::Released);
            }
        })
        .await
    };
    let without = ends(&percent(100)).await;
    let soak = PolicyChange {
        soak: Some(Duration::from_secs(3600)),
        ..PolicyChange::default()
    };
    assert_eq!(ends(&soak).await, without + 3);
}

#[tokio::test]
async fn take_after_another_group_costs_one_read_more() {
    let cluster = Cluster::start(1).await;
    let cost = async |before: bool, percent: Option<u32>| {
        let prefix = unique_prefix("costs-after");
        let semaphore = on(&cluster, &prefix);
        semaphore.set_max(1, false).await.unwrap();
        let canary = semaphore.keys().of_group(Group::new("canary").unwrap());
        put(&cluster, &canary.member("c"), "W").await;
        put(&cluster, &canary.wave("X"), "{}").await;
        let policy = PolicyChange {
            after: before.then(|| vec![canary.group().clone()]),
            max_percent: percent,
            ..PolicyChange::default()
        };
        semaphore
            .set_policy(&policy, "ann@desk", false)
            .await
            .unwrap();
        let mut claim = claim("a");
        claim.new_image = true;
        claim.holder.to.digest = Some("X".into());
        counted(&cluster, semaphore.acquire(&claim, |_| {})).await
    };
    let without = cost(false, None).await;
    assert_eq!(cost(true, None).await, without + 1);
    assert_eq!(cost(true, Some(100)).await, without + 1, "the same read");
}

#[tokio::test]
async fn looking_at_the_waves_costs_one_read_and_one_question_for_each_that_soaks() {
    let cluster = Cluster::start(1).await;
    let prefix = unique_prefix("costs-waves");
    let semaphore = on(&cluster, &prefix);
    put(&cluster, &semaphore.keys().member("c"), "X").await;
    let change = wave_soak(Duration::from_secs(7200));
    semaphore
        .set_policy(&change, "ann@desk", false)
        .await
        .unwrap();
    semaphore
        .open_wave_by_hand("Y", &Wave::default())
        .await
        .unwrap();
    let cost = counted(&cluster, async {
        let rollout = semaphore.rollout().await.unwrap();
        let view = &rollout.groups[&Group::default()];
        assert_eq!(view.waves.len(), 2);
        let left = semaphore.soak_left(view, "X").await.unwrap();
        assert!(
            left.is_some_and(|left| left > Duration::from_secs(7000)),
            "{left:?}"
        );
        assert_eq!(semaphore.soak_left(view, "Y").await.unwrap(), None);
    })
    .await;
    assert_eq!(cost, 2);
}
