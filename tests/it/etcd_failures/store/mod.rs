//! When etcd was restored or exchanged: restored from a snapshot, emptied, exchanged, two clusters in one list. `max` holds
//! until a person has accepted the store.

mod accept;
mod restore;
mod serve;
mod signs;

use std::path::{Path, PathBuf};

use pointsman_testbed::{
    etcd::{Cluster, Version, unique_prefix},
    node::Node,
    process::Output,
};
use semaphore::{
    etcd::{Group, Semaphore},
    records::{NodeRecord, Pause, Phase},
};

use super::{on_both, one, pointsman, three};
use crate::{
    agents::{agent, machine},
    support::{eventually, found, holder, on},
};

const STOPPED: &str = "etcd was restored or exchanged";

/// How a cluster is made another one, or taken back.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    /// Restored as most manuals have it: the id stays, and the revision goes back.
    Restored,
    /// Restored, and written to until its revision is beyond the one before.
    Overtaken,
    /// Restored under another token: another id.
    Renamed,
    /// Its data folders deleted.
    Emptied,
}

/// A cluster of its own, and the nodes of a group on it.
struct Bed {
    cluster: Cluster,
    prefix: String,
}

impl Bed {
    async fn new(name: &str, version: Version) -> Self {
        let cluster = three(version).await;
        let prefix = unique_prefix(name);
        let bed = Self { cluster, prefix };
        found(&bed.semaphore()).await;
        // A store has a history: by that much its raft log differs from that of one restored from a snapshot of it.
        bed.cluster.write_beyond(100).await;
        bed
    }

    /// One that has seen nothing yet, as a person's command has.
    fn semaphore(&self) -> Semaphore {
        on(&self.cluster, &self.prefix)
    }

    async fn snapshot(&self, name: &str) -> PathBuf {
        let path = self.cluster.dir().join(name);
        self.cluster.snapshot(&path).await;
        path
    }

    async fn change(&self, change: Change, snapshot: &Path) {
        let revision = self.cluster.revision().await;
        match change {
            Change::Restored => self.cluster.restore_same(snapshot).await,
            Change::Overtaken => {
                self.cluster.restore_same(snapshot).await;
                self.cluster.write_beyond(revision + 10).await;
            }
            Change::Renamed => self.cluster.restore(snapshot).await,
            Change::Emptied => self.cluster.empty().await,
        }
    }

    async fn node(&self, name: &str) -> Node {
        let node = machine(name).await;
        self.start(&node).await;
        node
    }

    async fn start(&self, node: &Node) {
        agent(node, &self.cluster.endpoints(), &self.prefix, &[]).await;
        node.wait_ready().await;
        node.wait_status(|status| status == "idle").await;
    }

    async fn read(&self) -> Group {
        self.semaphore().read().await.unwrap()
    }

    async fn until(&self, what: &str, is: impl Fn(&Group) -> bool) -> Group {
        eventually(what, async || self.read().await, is).await
    }

    /// Waits until an agent has stopped the cluster; the pause.
    async fn stopped(&self) -> Pause {
        let stopped = |group: &Group| group.pause_all.as_ref().is_some_and(|p| p.store.is_some());
        let group = self.until("the cluster is stopped", stopped).await;
        group.pause_all.unwrap()
    }

    /// Waits until etcd has the node's record: its agent has seen the store.
    async fn told(&self, node: &Node) {
        let id = node.machine_id();
        let told = |group: &Group| group.nodes.iter().any(|record| record.id == id);
        self.until("its record", told).await;
    }

    async fn command(&self, args: &[&str]) -> Output {
        pointsman(&self.cluster.endpoints(), &self.prefix, args).await
    }

    /// A person looks, and accepts.
    async fn accept(&self) -> Output {
        let id = self.stopped().await.store.unwrap().id;
        let done = self.command(&["store", "accept", &id, "--yes"]).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        done
    }

    /// What this node knew, as it told.
    async fn knew(&self, node: &Node) -> NodeRecord {
        let of = |group: &Group| {
            let mut nodes = group.nodes.iter();
            nodes.find(|record| record.id == node.machine_id()).cloned()
        };
        let group = self
            .until("what it knew", |group| {
                of(group).is_some_and(|record| record.knew.is_some())
            })
            .await;
        of(&group).unwrap()
    }
}

async fn says_stopped(node: &Node) {
    node.wait_status(|status| status.contains(STOPPED)).await;
}

async fn lock(bed: &Bed, id: &str) {
    bed.semaphore()
        .lock(&holder(id, Phase::Manual))
        .await
        .unwrap();
}

async fn nobody_went(bed: &Bed, nodes: &[&Node]) {
    let group = bed.read().await;
    assert!(group.holders.is_empty(), "{:?}", group.holders);
    for node in nodes {
        assert!(node.logind().asked().is_empty(), "{} went", node.name());
    }
}

/// A person sees to it, before the accept, that who is out is a holder.
async fn lock_again(bed: &Bed) {
    bed.stopped().await;
    let locked = bed.command(&["lock", "--as", "out", "--reason", "it is out"]);
    let locked = locked.await;
    assert_eq!(locked.code, Some(0), "{locked:?}");
}
