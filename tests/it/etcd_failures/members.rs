//! Members away, hung, or without a leader.

use std::time::Instant;

use etcd_client::{Txn, TxnOp};
use pointsman_testbed::{
    etcd::{Version, unique_prefix},
    random::Random,
};
use semaphore::etcd::{Committed, Owner};
use tokio::time::timeout;

use super::{Waiter, acquire, holders, local, on_both, one, pointsman, release, three};
use crate::support::{claim, node, on, options, semaphore, with};

on_both!(
    waiting_and_holding_nodes_stay_so_while_etcd_is_down,
    hung_member_delays_no_node,
    loss_of_the_leader_loses_no_turn,
    without_a_quorum_nobody_takes_and_afterwards_exactly_one_does,
);

/// Whoever is stopped in the middle of a look at the group leaves etcd as it was: 3.5.1 would end with a panic ("unexpected error
/// during txn", etcd #14110).
#[tokio::test]
async fn member_of_an_old_etcd_survives_looks_that_are_dropped() {
    let cluster = one(Version::V35).await;
    let prefix = unique_prefix("dropped");
    let group = on(&cluster, &prefix);
    let mut client = cluster.client().await;
    for chunk in (0..5000).collect::<Vec<_>>().chunks(100) {
        let put = |n: &u32| {
            let id = format!("n{n}");
            let record = serde_json::to_vec(&node(&id)).unwrap();
            TxnOp::put(group.keys().node(&id), record, None)
        };
        let puts: Vec<_> = chunk.iter().map(put).collect();
        client.txn(Txn::new().and_then(puts)).await.unwrap();
    }
    group.read().await.unwrap();
    let mut random = Random::new("looks that are dropped");
    let whole = Instant::now();
    group.read().await.unwrap();
    let whole = whole.elapsed();
    for _ in 0..80 {
        let part = whole * (random.below(100) as u32) / 100;
        let _ = timeout(part, group.read()).await;
    }
    group.read().await.unwrap();
}

/// Every command that asks etcd.
const COMMANDS: [&[&str]; 6] = [
    &["status"],
    &["lock", "--as", "x"],
    &["unlock", "x"],
    &["set-max", "2"],
    &["pause", "--reason", "tea"],
    &["resume"],
];

async fn waiting_and_holding_nodes_stay_so_while_etcd_is_down(version: Version) {
    local!({
        let cluster = one(version).await;
        let prefix = unique_prefix("down");
        let s = on(&cluster, &prefix);
        let out = claim("out");
        acquire(&s, &out).await;
        let mut waiter = Waiter::start(cluster.endpoints(), &prefix, "n");
        waiter.says(0, "taken by out").await;
        let before = waiter.said();
        cluster.kill_member(0).await;
        waiter.says(before, &cluster.endpoint(0)).await;
        let endpoints = [cluster.endpoint(0), "http://127.0.0.1:1".to_owned()];
        for args in COMMANDS {
            let done = pointsman(&endpoints, &prefix, args).await;
            assert_eq!(done.code, Some(4), "{args:?}: {done:?}");
            for endpoint in &endpoints {
                let reason = done.stderr.lines().find(|line| line.contains(endpoint));
                assert!(
                    reason.is_some_and(|line| line.contains("Connection refused")),
                    "{args:?}: {done:?}"
                );
            }
        }
        let error = s.owner("out", &out.holder.nonce).await.unwrap_err();
        assert!(error.is_unreachable());
        let text = error.to_string();
        assert_eq!(text.matches(&endpoints[0]).count(), 1, "{text}");
        let before = waiter.said();
        cluster.restart_member(0).await;
        waiter.says(before, "taken by out").await;
        assert_eq!(
            s.owner("out", &out.holder.nonce).await.unwrap(),
            Owner::Claim
        );
        assert!(waiter.waits());
        release(&s, &out).await;
        waiter.takes().await;
        assert_eq!(holders(&s).await, ["n"]);
    });
}

async fn hung_member_delays_no_node(version: Version) {
    local!({
        let cluster = three(version).await;
        let prefix = unique_prefix("hung");
        let leader = cluster.leader().await;
        let hung = (leader + 1) % 3;
        // The member that will hang is everybody's first choice, and the one in use.
        let mut endpoints = cluster.endpoints();
        endpoints.rotate_left(hung);
        let s = semaphore(endpoints.clone(), &prefix);
        let out = claim("out");
        acquire(&s, &out).await;
        let mut first = Waiter::start(endpoints.clone(), &prefix, "a");
        first.says(0, "taken by out").await;
        let mut second = Waiter::start(endpoints.clone(), &prefix, "b");
        second.says(0, "behind host-a").await;
        cluster.stop_member(hung);
        for args in [&["lock", "--as", "x"][..], &["set-max", "1"], &["status"]] {
            let done = pointsman(&endpoints, &prefix, args).await;
            assert!(matches!(done.code, Some(0 | 3)), "{args:?}: {done:?}");
        }
        release(&s, &out).await;
        first.takes().await;
        release(&s, &first.claim).await;
        second.takes().await;
        assert_eq!(holders(&s).await, ["b"]);
        cluster.cont_member(hung);
    });
}

async fn loss_of_the_leader_loses_no_turn(version: Version) {
    local!({
        let cluster = three(version).await;
        let prefix = unique_prefix("leader");
        let leader = cluster.leader().await;
        let mut endpoints = cluster.endpoints();
        endpoints.rotate_left(leader);
        let s = semaphore(endpoints.clone(), &prefix);
        let out = claim("out");
        acquire(&s, &out).await;
        let mut line = Vec::new();
        for id in ["a", "b", "c"] {
            let waiter = Waiter::start(endpoints.clone(), &prefix, id);
            let words = if id == "a" { "taken by out" } else { "behind" };
            waiter.says(0, words).await;
            line.push(waiter);
        }
        cluster.kill_member(leader).await;
        // While there is no leader, perhaps; then it is asked again, as the agent does.
        let mut holder = out;
        for mut waiter in line {
            while s
                .release(&holder.holder.id, &holder.holder.nonce, None, None)
                .await
                .is_err()
            {}
            waiter.takes().await;
            assert_eq!(holders(&s).await, [waiter.claim.holder.id.as_str()]);
            holder = waiter.claim.clone();
        }
        cluster.restart_member(leader).await;
    });
}

async fn without_a_quorum_nobody_takes_and_afterwards_exactly_one_does(version: Version) {
    local!({
        let cluster = three(version).await;
        let prefix = unique_prefix("quorum");
        let s = on(&cluster, &prefix);
        let out = claim("out");
        acquire(&s, &out).await;
        // The one that will be left alone, by itself: nothing but the lost leader can tell the waiter.
        let alone = cluster.leader().await;
        let others = [(alone + 1) % 3, (alone + 2) % 3];
        let minority = vec![cluster.endpoint(alone)];
        let mut first = Waiter::start(minority.clone(), &prefix, "a");
        first.says(0, "taken by out").await;
        let second = Waiter::start(cluster.endpoints(), &prefix, "b");
        second.says(0, "behind host-a").await;
        cluster.stop_member(others[0]);
        cluster.kill_member(others[1]).await;
        first.says(0, "no leader").await;
        for args in [&["lock", "--as", "x"][..], &["unlock", "out"]] {
            let done = pointsman(&minority, &prefix, args).await;
            assert_eq!(done.code, Some(4), "{args:?}: {done:?}");
            assert!(done.stderr.contains(&minority[0]), "{done:?}");
        }
        let cut_off = with(options(minority), &prefix);
        assert!(cut_off.commit(&out).await.unwrap_err().is_unreachable());
        assert!(first.waits() && second.waits());
        cluster.cont_member(others[0]);
        cluster.spawn_member(others[1]);
        for i in 0..3 {
            cluster.wait_member(i).await;
        }
        // No request made without a quorum came through late.
        assert_eq!(holders(&s).await, ["out"]);
        assert_eq!(s.commit(&out).await.unwrap(), Committed::Yes);
        release(&s, &out).await;
        first.takes().await;
        assert!(second.waits());
        assert_eq!(holders(&s).await, ["a"]);
    });
}
