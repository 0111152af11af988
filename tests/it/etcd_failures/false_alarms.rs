//! Changes within one etcd cluster: none of them is taken for another store.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use pointsman_testbed::{
    etcd::{Cluster, Version, unique_prefix},
    proxy::{Mode, Proxy},
};
use semaphore::etcd::{Agent, Memory, Options, Semaphore};

use super::{local, on_both, three};
use crate::{
    agents::{agent, draining, machine, slow_drain, undrained},
    support::{claim, eventually, found, node, on, options, with},
};

on_both!(
    leader_changes_raise_no_alarm,
    a_member_that_lags_and_catches_up_by_a_snapshot_raises_no_alarm,
    a_member_that_is_replaced_raises_no_alarm,
    defragmentation_compaction_and_load_raise_no_alarm,
    answers_out_of_order_raise_no_alarm,
    an_endpoint_that_is_down_and_a_restart_of_all_raise_no_alarm,
    unlock_of_a_draining_holder_raises_no_alarm_and_ends_its_drain,
);

/// A node's agent, as far as etcd is concerned: what it does is judged by one memory.
struct Watcher {
    semaphore: Semaphore,
    memory: Arc<Memory>,
    id: String,
}

impl Watcher {
    async fn new(cluster: &Cluster, prefix: &str, id: &str, endpoints: Vec<String>) -> Self {
        found(&on(cluster, prefix)).await;
        let memory = Arc::new(Memory::default());
        memory.serve(Agent {
            keys: on(cluster, prefix).keys().clone(),
            node: node(id),
            keep: Box::new(|| Box::pin(async { Ok(()) })),
            accepted: Box::new(|| panic!("nobody has accepted anything")),
        });
        let options = Options {
            timeout: Duration::from_secs(10),
            ..options(endpoints)
        };
        Self {
            semaphore: with(options, prefix).with_memory(memory.clone()),
            memory,
            id: id.to_owned(),
        }
    }

    /// One round through the semaphore: looks before its ticket, takes, commits, releases. Every other round over a new
    /// connection, to the next endpoint in the list where that is the one in use that fails.
    async fn round(&self) {
        let mut claim = claim(&self.id);
        claim.holder.deadline = None;
        let holder = &claim.holder;
        let taken = tokio::time::timeout(super::PATIENCE, self.semaphore.acquire(&claim, |_| {}));
        taken.await.expect("it takes");
        while self
            .semaphore
            .commit(&claim)
            .await
            .is_err_and(|e| e.is_unreachable())
        {}
        while let Err(error) = self
            .semaphore
            .release(&holder.id, &holder.nonce, None, None)
            .await
        {
            assert!(error.is_unreachable(), "{error}");
        }
        self.semaphore.connection().close();
        self.quiet();
    }

    /// Publishes a node's record, however often a connection ends meanwhile.
    async fn publish(&self, id: &str) {
        while let Err(error) = self.semaphore.publish(&node(id)).await {
            assert!(error.is_unreachable(), "{error}");
        }
    }

    fn quiet(&self) {
        assert_eq!(self.memory.sign(), None);
    }
}

/// One watcher for each member, which it asks first.
async fn watchers(cluster: &Cluster, prefix: &str) -> Vec<Watcher> {
    let mut all = Vec::new();
    for i in 0..cluster.len() {
        let mut endpoints = cluster.endpoints();
        endpoints.rotate_left(i);
        let watcher = Watcher::new(cluster, prefix, &format!("w{i}"), endpoints).await;
        // All remember the same store in one mark: what one member says is compared with what another one does.
        all.push(watcher);
    }
    all
}

/// The same memory, whichever member is asked.
async fn share(watchers: &[Watcher]) {
    for watcher in watchers {
        watcher.round().await;
    }
    let most = watchers.iter().map(|w| w.memory.remembered());
    let most = most
        .max_by_key(|r| r.marks.map_or(0, |m| m.revision))
        .unwrap();
    let smallest = watchers
        .iter()
        .filter_map(|w| w.memory.remembered().marks?.difference)
        .min();
    for watcher in watchers {
        let mut remembered = most.clone();
        if let Some(marks) = &mut remembered.marks {
            marks.difference = smallest;
        }
        watcher.memory.recall(remembered);
    }
}

async fn paused(cluster: &Cluster, prefix: &str) -> bool {
    on(cluster, prefix)
        .read()
        .await
        .unwrap()
        .pause_all
        .is_some()
}

async fn leader_changes_raise_no_alarm(version: Version) {
    let cluster = three(version).await;
    let prefix = unique_prefix("leaders");
    let watchers = watchers(&cluster, &prefix).await;
    for _ in 0..3 {
        share(&watchers).await;
        let leader = cluster.leader().await;
        cluster.kill_member(leader).await;
        share(&watchers).await;
        cluster.restart_member(leader).await;
        share(&watchers).await;
    }
    assert!(!paused(&cluster, &prefix).await);
}

async fn a_member_that_lags_and_catches_up_by_a_snapshot_raises_no_alarm(version: Version) {
    let cluster = Cluster::builder(3)
        .version(version)
        .fast_elections()
        .snapshot_count(10)
        .start()
        .await;
    let prefix = unique_prefix("lags");
    let watchers = watchers(&cluster, &prefix).await;
    let behind = (cluster.leader().await + 1) % 3;
    for hangs in [false, true] {
        share(&watchers).await;
        if hangs {
            cluster.stop_member(behind);
        } else {
            cluster.kill_member(behind).await;
        }
        let writer = (behind + 1) % 3;
        let mut client = cluster.client_of(writer).await;
        // The log that it lacks is gone from the others by then (etcd keeps 5000 entries beyond a snapshot).
        let value = vec![0_u8; 16];
        for i in 0..5200 {
            client
                .put(format!("ballast/{}", i % 10), value.clone(), None)
                .await
                .unwrap();
        }
        share(&watchers).await;
        if hangs {
            cluster.cont_member(behind);
        } else {
            cluster.restart_member(behind).await;
        }
        for _ in 0..3 {
            share(&watchers).await;
        }
    }
    assert!(!paused(&cluster, &prefix).await);
}

async fn a_member_that_is_replaced_raises_no_alarm(version: Version) {
    let cluster = three(version).await;
    let prefix = unique_prefix("replaced");
    let watchers = watchers(&cluster, &prefix).await;
    share(&watchers).await;
    for i in 0..3 {
        cluster.replace_member(i).await;
        share(&watchers).await;
    }
    assert!(!paused(&cluster, &prefix).await);
}

async fn defragmentation_compaction_and_load_raise_no_alarm(version: Version) {
    local!({
        let cluster = Rc::new(three(version).await);
        let prefix = unique_prefix("load");
        let watchers = watchers(&cluster, &prefix).await;
        share(&watchers).await;
        let writers: Vec<_> = (0..8)
            .map(|i| {
                let cluster = cluster.clone();
                tokio::task::spawn_local(async move {
                    let mut client = cluster.client_of(i % 3).await;
                    loop {
                        client.put(format!("load/{i}"), "", None).await.unwrap();
                        // Entries that do not raise the revision.
                        let lease = client.lease_grant(60, None).await.unwrap().id();
                        client.lease_revoke(lease).await.unwrap();
                    }
                })
            })
            .collect();
        for round in 0..12 {
            share(&watchers).await;
            match round % 3 {
                0 => drop(cluster.compact().await),
                1 => drop(
                    cluster
                        .client_of(round % 2)
                        .await
                        .defragment()
                        .await
                        .unwrap(),
                ),
                _ => {}
            }
        }
        for writer in writers {
            writer.abort();
        }
        assert!(!paused(&cluster, &prefix).await);
    });
}

async fn answers_out_of_order_raise_no_alarm(version: Version) {
    local!({
        let cluster = three(version).await;
        let prefix = unique_prefix("order");
        let proxy = Proxy::start(cluster.address(0)).await;
        let slow = Watcher::new(&cluster, &prefix, "slow", vec![proxy.url()]).await;
        let fast = Watcher::new(&cluster, &prefix, "fast", cluster.endpoints()).await;
        let (one, mut two) = (slow, fast);
        // Two connections, and what is remembered of one store.
        let memory = one.memory.clone();
        two.semaphore = on(&cluster, &prefix).with_memory(memory.clone());
        two.memory = memory;
        one.round().await;
        for _ in 0..10 {
            proxy.set(Mode::Delay(Duration::from_millis(150))).await;
            let done = Cell::new(false);
            let late = async {
                for _ in 0..3 {
                    one.publish("one").await;
                }
                done.set(true);
            };
            // Their answers come while those are under way. None is cancelled: etcd 3.5.1 panics where a client cancels a
            // transaction that only reads (measured; "unexpected error during txn", context canceled).
            let soon = async {
                while !done.get() {
                    two.publish("two").await;
                }
            };
            tokio::join!(late, soon);
            one.quiet();
        }
        one.quiet();
        assert!(!paused(&cluster, &prefix).await);
    });
}

async fn an_endpoint_that_is_down_and_a_restart_of_all_raise_no_alarm(version: Version) {
    let cluster = three(version).await;
    let prefix = unique_prefix("down");
    let watchers = watchers(&cluster, &prefix).await;
    share(&watchers).await;
    cluster.kill_member(0).await;
    share(&watchers).await;
    cluster.restart_member(0).await;
    share(&watchers).await;
    for i in 0..3 {
        cluster.kill_member(i).await;
    }
    for i in 0..3 {
        cluster.spawn_member(i);
    }
    for i in 0..3 {
        cluster.wait_member(i).await;
    }
    share(&watchers).await;
    assert!(!paused(&cluster, &prefix).await);
}

async fn unlock_of_a_draining_holder_raises_no_alarm_and_ends_its_drain(version: Version) {
    let cluster = three(version).await;
    let prefix = unique_prefix("unlocked");
    let by_hand = on(&cluster, &prefix);
    found(&by_hand).await;
    let one = machine("node-1").await;
    slow_drain(&one);
    let later = [("POINTSMAN_RETRY_MAX", "10m")];
    agent(&one, &cluster.endpoints(), &prefix, &later).await;
    one.wait_status(|status| status == "idle").await;
    one.update_engine().ready("2").await;
    draining(&one).await;
    by_hand.unlock(one.machine_id(), false).await.unwrap();
    // Its drain would last for ever.
    one.wait_status(|status| status.contains("the reboot lock was taken from this node"))
        .await;
    eventually(
        "the undrain",
        async || undrained(&one),
        |phases| *phases == ["stepping-back"],
    )
    .await;
    let group = by_hand.read().await.unwrap();
    assert!(
        group.pause_all.is_none() && group.holders.is_empty(),
        "{group:?}"
    );
    assert!(one.logind().asked().is_empty());
}
