//! When etcd is not the one it was: restored from a snapshot, emptied, exchanged, two clusters in one list. `max` holds
//! until a person has accepted the store.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use etcd_client::Permission;
use pointsman::semaphore::{
    etcd::{Group, Semaphore},
    records::{NodeRecord, Pause, Phase},
};
use pointsman_testbed::{
    etcd::{Cluster, Version, unique_prefix},
    fakes::Status,
    node::{Death, Node},
    process::Output,
};

use super::{on_both, one, pointsman, three};
use crate::{
    agents::{agent, drained, draining, entry, machine, slow_drain},
    support::{eventually, found, holder, on},
};

on_both!(
    a_node_that_waits_does_not_go_beside_one_that_the_snapshot_forgot,
    an_idle_node_and_one_that_was_stopped_do_not_go_beside_one_that_the_snapshot_forgot,
    a_node_that_drains_steps_back_and_does_not_reboot,
    a_node_that_is_proven_keeps_what_it_holds_until_the_store_is_accepted,
    a_pause_and_a_stopped_group_that_the_snapshot_forgot_hold,
    a_second_restore_is_not_answered_by_the_first_accept,
    an_accept_that_came_with_the_snapshot_answers_nobody,
    a_release_from_before_the_restore_takes_no_living_holder,
    two_clusters_in_one_list_stop_both,
    the_procedure_of_the_manual_brings_a_restored_cluster_back,
    a_move_to_another_cluster_stops_nobody_who_was_told,
    a_persons_pause_stays_in_the_stop_and_after_it,
    a_document_is_created_only_after_a_ticket_has_stood_and_never_again,
    an_agent_that_may_not_pause_stops_alone,
    a_holder_that_came_back_with_the_snapshot_is_marked_and_stays_one,
);

const STOPPED: &str = "etcd is not the one it was";

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

async fn a_node_that_waits_does_not_go_beside_one_that_the_snapshot_forgot(version: Version) {
    for change in [
        Change::Restored,
        Change::Overtaken,
        Change::Renamed,
        Change::Emptied,
    ] {
        let bed = Bed::new("beside", version).await;
        let snapshot = bed.snapshot("before").await;
        let out = bed.node("out").await;
        out.update_engine().ready("2").await;
        out.logind().rebooted().await;
        let waits = bed.node("waits").await;
        waits.update_engine().ready("2").await;
        waits.wait_status(|status| status.contains("held by")).await;

        bed.change(change, &snapshot).await;
        says_stopped(&waits).await;
        let found = bed.stopped().await.store.unwrap();
        assert_eq!(found.hostname, "waits");
        let knew = bed.knew(&waits).await.knew.unwrap();
        assert_eq!(knew.holders, [out.machine_id()], "{change:?}");
        // The one that was out comes back, and does not release by what it knew.
        out.reboot(Death::Kill).await;
        says_stopped(&out).await;
        assert_eq!(bed.stopped().await.store.unwrap().id, found.id);
        assert!(bed.knew(&out).await.knew.unwrap().holding);
        let done = bed.command(&["resume", "--all"]).await;
        assert_eq!(done.code, Some(3), "{done:?}");
        assert!(
            done.stderr.contains(&format!("store accept {}", found.id)),
            "{done:?}"
        );
        let group = bed.read().await;
        assert!(group.holders.is_empty(), "{change:?}: {:?}", group.holders);
        assert!(waits.logind().asked().is_empty());

        let done = bed.accept().await;
        assert!(done.stdout.contains("waits knew"), "{done:?}");
        if change == Change::Emptied {
            // Where a document stood before, only a person creates it.
            waits
                .wait_status(|status| status.contains("pointsman set-max N"))
                .await;
            assert_eq!(bed.command(&["set-max", "1"]).await.code, Some(0));
        }
        out.wait_status(|status| status == "idle").await;
        assert!(out.log().contains("holds nothing now"), "{}", out.log());
        waits.logind().rebooted().await;
    }
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

async fn an_idle_node_and_one_that_was_stopped_do_not_go_beside_one_that_the_snapshot_forgot(
    version: Version,
) {
    for change in [Change::Restored, Change::Overtaken, Change::Emptied] {
        let bed = Bed::new("idle", version).await;
        let snapshot = bed.snapshot("before").await;
        lock(&bed, "out").await;
        let (idle, off) = (bed.node("idle").await, bed.node("off").await);
        // What it published is in its journal, and it has never taken a ticket.
        bed.told(&off).await;
        off.stop().await;
        idle.update_engine().ready("2").await;
        idle.wait_status(|status| status.contains("held by out"))
            .await;
        idle.update_engine().set(Status::idle()).await;
        idle.wait_status(|status| status == "idle").await;
        bed.change(change, &snapshot).await;
        off.update_engine().ready("2").await;
        off.start_again();
        says_stopped(&off).await;
        assert_eq!(bed.stopped().await.store.unwrap().hostname, "off");
        idle.update_engine().ready("2").await;
        says_stopped(&idle).await;
        nobody_went(&bed, &[&idle, &off]).await;
        assert!(bed.read().await.queue.is_empty());
        // One that has seen nothing is stopped by the pause.
        let fresh = bed.node("fresh").await;
        fresh.update_engine().ready("2").await;
        fresh
            .wait_status(|status| status.contains("the whole cluster is paused"))
            .await;
        lock_again(&bed).await;
        bed.accept().await;
        for node in [&idle, &off, &fresh] {
            node.wait_status(|status| status.contains("held by out") || status.contains("behind"))
                .await;
        }
        bed.until("all three wait", |group| group.queue.len() == 3)
            .await;
    }
}

/// A person sees to it, before the accept, that who is out is a holder.
async fn lock_again(bed: &Bed) {
    // Nothing is taken under the pause: the document is written as it was.
    let document = r#"{"semaphore":0,"max":1,"holders":["out"]}"#;
    let key = bed.semaphore().keys().semaphore();
    bed.cluster
        .client()
        .await
        .put(key, document, None)
        .await
        .unwrap();
}

async fn a_node_that_drains_steps_back_and_does_not_reboot(version: Version) {
    for change in [Change::Restored, Change::Overtaken] {
        let bed = Bed::new("drains", version).await;
        let snapshot = bed.snapshot("before").await;
        let node = machine("node-1").await;
        slow_drain(&node);
        bed.start(&node).await;
        node.update_engine().ready("2").await;
        draining(&node).await;
        bed.change(change, &snapshot).await;
        // While its drain goes on: it does not wait for the commit to be told.
        says_stopped(&node).await;
        bed.stopped().await;
        nobody_went(&bed, &[&node]).await;
        assert!(bed.knew(&node).await.knew.unwrap().holding);
        eventually(
            "the undrain",
            async || crate::agents::undrained(&node),
            |phases| *phases == ["stepping-back"],
        )
        .await;
        bed.accept().await;
        drained(&node);
        node.logind().rebooted().await;
    }
}

async fn a_node_that_is_proven_keeps_what_it_holds_until_the_store_is_accepted(version: Version) {
    for change in [Change::Restored, Change::Overtaken] {
        let bed = Bed::new("proving", version).await;
        let node = bed.node("node-1").await;
        let go = node.path("healthy");
        let check = format!("while [ ! -e {} ]; do sleep 0.02; done", go.display());
        node.update_engine().ready("2").await;
        node.logind().rebooted().await;
        // It is in the snapshot, as a holder of before.
        let snapshot = bed.snapshot("held").await;
        for i in 0..5 {
            bed.semaphore()
                .publish(&crate::support::node(&i.to_string()))
                .await
                .unwrap();
        }
        crate::agents::hook(&node, "health.d/10-wait", &check);
        node.reboot(Death::Kill).await;
        node.wait_status(|status| status.starts_with("proving"))
            .await;
        bed.until("it is proving", |group| {
            entry(group, &node).is_some_and(|entry| entry.phase == Phase::Proving)
        })
        .await;
        bed.change(change, &snapshot).await;
        node.write("healthy", "");
        says_stopped(&node).await;
        bed.stopped().await;
        assert!(
            entry(&bed.read().await, &node).is_some(),
            "dropped: {change:?}"
        );
        bed.accept().await;
        node.wait_status(|status| status == "idle").await;
        bed.until("it has released", |group| group.holders.is_empty())
            .await;
    }
}

async fn a_pause_and_a_stopped_group_that_the_snapshot_forgot_hold(version: Version) {
    for paused in [true, false] {
        let bed = Bed::new("forgotten", version).await;
        let snapshot = bed.snapshot("before").await;
        if paused {
            let done = bed.command(&["pause", "--reason", "disk change"]).await;
            assert_eq!(done.code, Some(0), "{done:?}");
        } else {
            bed.semaphore().set_max(0, false).await.unwrap();
        }
        let node = bed.node("node-1").await;
        node.update_engine().ready("2").await;
        let waits = if paused { "disk change" } else { "max is 0" };
        node.wait_status(|status| status.contains(waits)).await;
        bed.change(Change::Restored, &snapshot).await;
        says_stopped(&node).await;
        let knew = bed.knew(&node).await.knew.unwrap();
        assert_eq!(knew.max, Some(u32::from(paused)));
        assert_eq!(
            knew.pause.map(|pause| pause.reason),
            paused.then(|| "disk change".into())
        );
        let shown = bed.command(&["store"]).await;
        assert!(!paused || shown.stdout.contains("disk change"), "{shown:?}");
        nobody_went(&bed, &[&node]).await;
    }
}

async fn a_second_restore_is_not_answered_by_the_first_accept(version: Version) {
    let bed = Bed::new("second", version).await;
    let snapshot = bed.snapshot("before").await;
    lock(&bed, "out").await;
    let node = bed.node("node-1").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("held by out"))
        .await;
    let mut ids = BTreeSet::new();
    for round in 0..3 {
        bed.change(
            if round == 1 {
                Change::Overtaken
            } else {
                Change::Restored
            },
            &snapshot,
        )
        .await;
        says_stopped(&node).await;
        ids.insert(bed.stopped().await.store.unwrap().id);
        nobody_went(&bed, &[&node]).await;
        lock_again(&bed).await;
        bed.accept().await;
        node.wait_status(|status| status.contains("held by out"))
            .await;
        assert_eq!(ids.len(), round + 1);
    }
}

async fn an_accept_that_came_with_the_snapshot_answers_nobody(version: Version) {
    for change in [Change::Restored, Change::Overtaken] {
        let bed = Bed::new("answered", version).await;
        let first = bed.snapshot("first").await;
        lock(&bed, "out").await;
        let (seen, unseen) = (bed.node("seen").await, bed.node("unseen").await);
        bed.told(&unseen).await;
        unseen.stop().await;
        seen.update_engine().ready("2").await;
        seen.wait_status(|status| status.contains("held by out"))
            .await;
        bed.change(Change::Restored, &first).await;
        says_stopped(&seen).await;
        lock_again(&bed).await;
        bed.accept().await;
        seen.wait_status(|status| status.contains("held by out"))
            .await;
        let second = bed.snapshot("second").await;
        let accepted = bed.command(&["store", "show", "--json"]).await.stdout;
        assert!(accepted.contains("\"token\""), "{accepted}");
        for i in 0..20 {
            bed.semaphore()
                .publish(&crate::support::node(&i.to_string()))
                .await
                .unwrap();
        }
        bed.change(change, &second).await;
        says_stopped(&seen).await;
        seen.stop().await;
        // It knows the store from before the accept, and nothing of the accept.
        unseen.update_engine().ready("2").await;
        unseen.start_again();
        says_stopped(&unseen).await;
        assert!(unseen.logind().asked().is_empty() && seen.logind().asked().is_empty());
        bed.accept().await;
        // The ticket of the other came back with the snapshot, on its lease.
        unseen
            .wait_status(|status| status.contains("held by out") || status.contains("behind seen"))
            .await;
    }
}

async fn a_release_from_before_the_restore_takes_no_living_holder(version: Version) {
    let cluster = one(version).await;
    let prefix = unique_prefix("living");
    let ours = on(&cluster, &prefix);
    ours.set_max(2, false).await.unwrap();
    let claim = crate::support::claim("ours");
    let nonce = &claim.holder.nonce;
    super::acquire(&ours, &claim).await;
    ours.proving("ours", nonce, None).await.unwrap();
    let snapshot = cluster.dir().join("before");
    cluster.snapshot(&snapshot).await;
    super::acquire(&on(&cluster, &prefix), &crate::support::claim("forgotten")).await;
    // What the release will find is read.
    ours.proving("ours", nonce, None).await.unwrap();
    let modified = async || {
        let mut client = cluster.client().await;
        let found = client
            .get(format!("{prefix}/semaphore"), None)
            .await
            .unwrap();
        found.kvs()[0].mod_revision()
    };
    let before = modified().await;
    cluster.restore_same(&snapshot).await;
    let theirs = on(&cluster, &prefix);
    super::acquire(&theirs, &crate::support::claim("living")).await;
    // The revision that the release compares is that of another document.
    assert_eq!(modified().await, before);
    let _ = ours.release("ours", nonce, None, None).await;
    let group = theirs.read().await.unwrap();
    let living = group.holders.iter().find(|held| held.id == "living");
    assert!(
        living.is_some_and(|held| held.listed),
        "{:?}",
        group.holders
    );
}

async fn two_clusters_in_one_list_stop_both(version: Version) {
    let bed = Bed::new("two", version).await;
    let other = one(version).await;
    let theirs = on(&other, &bed.prefix);
    found(&theirs).await;
    let mut endpoints = bed.cluster.endpoints();
    endpoints.push(other.endpoint(0));
    let node = machine("node-1").await;
    agent(&node, &endpoints, &bed.prefix, &[]).await;
    node.wait_status(|status| status == "idle").await;
    node.update_engine().ready("2").await;
    let said = node
        .wait_status(|status| status.contains("different clusters"))
        .await;
    assert!(said.contains(&other.endpoint(0)), "{said}");
    let stopped = |group: &Group| group.pause_all.as_ref().is_some_and(|p| p.store.is_some());
    bed.stopped().await;
    eventually(
        "the other one is stopped",
        async || theirs.read().await.unwrap(),
        stopped,
    )
    .await;
    nobody_went(&bed, &[&node]).await;
    let id = bed.stopped().await.store.unwrap().id;
    let accept = pointsman(&endpoints, &bed.prefix, &["store", "accept", &id, "--yes"]).await;
    assert_eq!(accept.code, Some(1), "{accept:?}");
    assert!(accept.stderr.contains("different clusters"), "{accept:?}");
    // The list is put right; a person accepts.
    node.stop().await;
    bed.accept().await;
    agent(&node, &bed.cluster.endpoints(), &bed.prefix, &[]).await;
    node.logind().rebooted().await;
    assert!(theirs.read().await.unwrap().holders.is_empty());
}

/// What docs/etcd.md tells an operator to do after a restore.
async fn the_procedure_of_the_manual_brings_a_restored_cluster_back(version: Version) {
    let bed = Bed::new("manual", version).await;
    let snapshot = bed.snapshot("before").await;
    let say = async |args: &[&str]| {
        let done = bed.command(args).await;
        assert_eq!(done.code, Some(0), "{args:?}: {done:?}");
        done.stdout
    };
    say(&["set-max", "2"]).await;
    say(&["quarantine", "add", "9", "--reason", "no network"]).await;
    let (out, waits) = (bed.node("out").await, bed.node("waits").await);
    out.update_engine().ready("2").await;
    out.logind().rebooted().await;
    say(&["lock", "--as", "third"]).await;
    waits.update_engine().ready("2").await;
    waits.wait_status(|status| status.contains("held by")).await;
    bed.change(Change::Restored, &snapshot).await;
    says_stopped(&waits).await;
    let pause = bed.stopped().await;
    let id = pause.store.unwrap().id;

    let status = say(&["status"]).await;
    assert!(
        status.contains(&format!("pointsman store accept {id}")),
        "{status}"
    );
    let store = say(&["store"]).await;
    for words in [
        id.as_str(),
        "waits knew",
        "etcd says",
        out.machine_id(),
        "third",
    ] {
        assert!(store.contains(words), "{words}: {store}");
    }
    // Who was out comes back, and needs no semaphore for that.
    out.reboot(Death::Kill).await;
    says_stopped(&out).await;
    say(&["set-max", "2"]).await;
    say(&["quarantine", "add", "9", "--reason", "no network"]).await;
    let asked = bed.command(&["store", "accept", &id]).await;
    assert_eq!(asked.code, Some(3), "nobody says yes: {asked:?}");
    let wrong = bed.command(&["store", "accept", "0", "--yes"]).await;
    assert!(
        wrong.code == Some(3) && wrong.stderr.contains(&id),
        "{wrong:?}"
    );
    let none = bed.command(&["store", "accept", "--yes"]).await;
    assert!(
        none.code == Some(2) && none.stderr.contains(&id),
        "{none:?}"
    );
    bed.stopped().await;
    say(&["store", "accept", &id, "--yes", "--reason", "restored"]).await;
    out.wait_status(|status| status == "idle").await;
    waits.logind().rebooted().await;
    let shown = say(&["store"]).await;
    assert!(
        shown.contains("restored") && !shown.contains("STOPPED"),
        "{shown}"
    );
    assert!(
        bed.read()
            .await
            .nodes
            .iter()
            .all(|node| node.knew.is_none())
    );
}

async fn a_move_to_another_cluster_stops_nobody_who_was_told(version: Version) {
    let bed = Bed::new("move", version).await;
    let to = one(version).await;
    let there = [to.endpoint(0)];
    let node = machine("node-1").await;
    let file = "etc/pointsman/config.yaml";
    let endpoints = |all: &[String]| format!("etcd: {{endpoints: [\"{}\"]}}\n", all.join("\", \""));
    node.write(file, &endpoints(&bed.cluster.endpoints()));
    let args = ["--key-prefix", bed.prefix.as_str()];
    let env = [
        ("POINTSMAN_RETRY_MIN", "20ms"),
        ("POINTSMAN_RETRY_MAX", "300ms"),
    ];
    node.start(crate::agents::bin(), &args, &env).await;
    node.wait_status(|status| status == "idle").await;
    lock(&bed, "operator").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("held by operator"))
        .await;

    let done = bed.command(&["pause", "--all", "--reason", "move"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    bed.command(&["unlock", "operator"]).await;
    node.wait_status(|status| status.contains("move")).await;
    for args in [
        &["set-max", "1"][..],
        &["pause", "--all", "--reason", "move"],
        &["store", "accept", "--yes"],
    ] {
        let done = pointsman(&there, &bed.prefix, args).await;
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    node.write(file, &endpoints(&there));
    node.child()
        .signal(pointsman_testbed::process::Signal::SIGHUP);
    let log = async || node.log();
    eventually("it goes on there", log, |log| {
        log.contains("accepted by a person")
    })
    .await;
    let theirs = on(&to, &bed.prefix);
    let queued = async || theirs.read().await.unwrap();
    let group = eventually("its ticket there", queued, |group| group.queue.len() == 1).await;
    assert!(group.pause_all.is_some_and(|pause| pause.store.is_none()));
    assert!(node.logind().asked().is_empty());
    let done = pointsman(&there, &bed.prefix, &["resume", "--all"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    node.logind().rebooted().await;
    assert!(bed.read().await.holders.is_empty());
}

async fn a_persons_pause_stays_in_the_stop_and_after_it(version: Version) {
    let bed = Bed::new("persons", version).await;
    bed.command(&["pause", "--all", "--reason", "disk change", "--for", "1h"])
        .await;
    let snapshot = bed.snapshot("before").await;
    lock_again(&bed).await;
    let node = bed.node("node-1").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("disk change"))
        .await;
    bed.change(Change::Restored, &snapshot).await;
    says_stopped(&node).await;
    let pause = bed.stopped().await;
    assert_eq!(pause.reason, "disk change");
    let mine = bed
        .command(&["pause", "--all", "--reason", "mine", "--replace"])
        .await;
    assert_eq!(mine.code, Some(3), "{mine:?}");
    bed.accept().await;
    let pause = bed.read().await.pause_all.unwrap();
    assert!(
        pause.store.is_none() && pause.reason == "disk change",
        "{pause:?}"
    );
    let done = bed.command(&["resume", "--all"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    node.logind().rebooted().await;
}

async fn a_document_is_created_only_after_a_ticket_has_stood_and_never_again(version: Version) {
    let cluster = one(version).await;
    let prefix = unique_prefix("created");
    let semaphore = on(&cluster, &prefix);
    let node = machine("node-1").await;
    let lease = [("POINTSMAN_TICKET_LEASE", "2s")];
    slow_drain(&node);
    agent(&node, &cluster.endpoints(), &prefix, &lease).await;
    node.wait_status(|status| status == "idle").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("no document yet"))
        .await;
    let begun = std::time::Instant::now();
    // Who knows better pauses in that time: nothing is created under a pause.
    let pause = serde_json::from_str(r#"{"by":"ann","reason":"wait"}"#).unwrap();
    semaphore.pause(false, &pause, None, true).await.unwrap();
    node.wait_status(|status| status.contains("first in the queue; the group is paused"))
        .await;
    assert!(semaphore.read().await.unwrap().document.is_none());
    semaphore.resume(false).await.unwrap();
    draining(&node).await;
    assert!(
        begun.elapsed() >= std::time::Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
    drained(&node);
    node.logind().rebooted().await;
    node.reboot(Death::Term).await;
    node.wait_status(|status| status == "idle").await;
    let mut client = cluster.client().await;
    client
        .delete(semaphore.keys().semaphore(), None)
        .await
        .unwrap();
    node.update_engine().ready("3").await;
    node.wait_status(|status| status.contains("only a person creates it again"))
        .await;
    // Longer than its lease: that time passes is the very thing tested here.
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    assert!(semaphore.read().await.unwrap().document.is_none());
    semaphore.set_max(1, false).await.unwrap();
    node.logind().wait_asked(2).await;
}

async fn an_agent_that_may_not_pause_stops_alone(version: Version) {
    let cluster = Cluster::builder(1)
        .version(version)
        .password("s3cret")
        .start()
        .await;
    let prefix = unique_prefix("denied");
    let options = pointsman::semaphore::etcd::Options {
        user: Some(("root".into(), "s3cret".into())),
        ..crate::support::options(cluster.endpoints())
    };
    let root = crate::support::with(options.clone(), &prefix);
    found(&root).await;
    let mut client = cluster.client().await;
    client.role_add("agent").await.unwrap();
    // All that is under the prefix, but for writing what comes first and last around the pause.
    let read = Permission::read(prefix.as_str()).with_prefix();
    client.role_grant_permission("agent", read).await.unwrap();
    for key in ["semaphore", "holders/", "queue/", "deadlines/", "nodes/"] {
        let write = Permission::read_write(format!("{prefix}/{key}")).with_prefix();
        client.role_grant_permission("agent", write).await.unwrap();
    }
    client.user_add("agent", "s3cret", None).await.unwrap();
    client.user_grant_role("agent", "agent").await.unwrap();
    let snapshot = cluster.dir().join("before");
    cluster.snapshot(&snapshot).await;
    root.lock(&holder("out", Phase::Manual)).await.unwrap();
    let node = machine("node-1").await;
    node.write("password", "s3cret");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(node.path("password"), mode).unwrap();
    let env = [
        ("POINTSMAN_ETCD_USERNAME", "agent"),
        ("POINTSMAN_ETCD_PASSWORD_FILE", "/password"),
        ("POINTSMAN_ETCD_MEMBER", "none"),
    ];
    agent(&node, &cluster.endpoints(), &prefix, &env).await;
    node.wait_status(|status| status == "idle").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("held by out"))
        .await;
    cluster.restore_same(&snapshot).await;
    let log = async || node.log();
    eventually("why", log, |log| {
        log.contains("only this node is stopped yet")
    })
    .await;
    assert!(node.log().contains(STOPPED), "{}", node.log());
    let fresh = crate::support::with(options, &prefix);
    let group = fresh.read().await.unwrap();
    assert!(
        group.pause_all.is_none() && group.holders.is_empty(),
        "{group:?}"
    );
    assert!(node.logind().asked().is_empty());
}

async fn a_holder_that_came_back_with_the_snapshot_is_marked_and_stays_one(version: Version) {
    let bed = Bed::new("marked", version).await;
    lock(&bed, "before").await;
    let snapshot = bed.snapshot("held").await;
    bed.semaphore().unlock("before", false).await.unwrap();
    let node = bed.node("node-1").await;
    bed.told(&node).await;
    bed.change(Change::Restored, &snapshot).await;
    node.update_engine().ready("2").await;
    says_stopped(&node).await;
    assert!(!bed.read().await.holders[0].before_accept);
    bed.accept().await;
    assert!(bed.read().await.holders[0].before_accept);
    let shown = bed.command(&["status"]).await;
    assert!(
        shown.stdout.contains("from before this store was accepted"),
        "{shown:?}"
    );
    node.wait_status(|status| status.contains("held by before"))
        .await;
    bed.semaphore().unlock("before", false).await.unwrap();
    node.logind().rebooted().await;
}
