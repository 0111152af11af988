//! What a person does then: looks, accepts the store, moves to another one, pauses.

use std::collections::BTreeSet;

use pointsman_testbed::{etcd::Version, node::Death, process::Signal};

use super::{Bed, Change, lock, lock_again, nobody_went, on_both, one, pointsman, says_stopped};
use crate::{
    agents::{bin, machine},
    support::{self, eventually, on},
};

on_both!(
    second_restore_needs_an_accept_of_its_own,
    accept_from_the_snapshot_counts_for_no_agent,
    documented_procedure_recovers_a_restored_cluster,
    announced_move_to_another_cluster_stops_no_node,
    pause_by_a_person_survives_the_stop_and_the_accept,
);

async fn second_restore_needs_an_accept_of_its_own(version: Version) {
    let bed = Bed::new("second", version).await;
    let snapshot = bed.snapshot("before").await;
    lock(&bed, "out").await;
    let node = bed.node("node-1").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("taken by out"))
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
        node.wait_status(|status| status.contains("taken by out"))
            .await;
        assert_eq!(ids.len(), round + 1);
    }
}

async fn accept_from_the_snapshot_counts_for_no_agent(version: Version) {
    for change in [Change::Restored, Change::Overtaken] {
        let bed = Bed::new("answered", version).await;
        let first = bed.snapshot("first").await;
        lock(&bed, "out").await;
        let (seen, unseen) = (bed.node("seen").await, bed.node("unseen").await);
        bed.told(&unseen).await;
        unseen.stop().await;
        seen.update_engine().ready("2").await;
        seen.wait_status(|status| status.contains("taken by out"))
            .await;
        bed.change(Change::Restored, &first).await;
        says_stopped(&seen).await;
        lock_again(&bed).await;
        bed.accept().await;
        seen.wait_status(|status| status.contains("taken by out"))
            .await;
        let second = bed.snapshot("second").await;
        let accepted = bed.command(&["store", "show", "--json"]).await.stdout;
        assert!(accepted.contains("\"token\""), "{accepted}");
        for i in 0..20 {
            bed.semaphore()
                .publish(&support::node(&i.to_string()))
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
            .wait_status(|status| status.contains("taken by out") || status.contains("behind seen"))
            .await;
    }
}

/// What docs/reference/etcd.md tells an operator to do after a restore.
async fn documented_procedure_recovers_a_restored_cluster(version: Version) {
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
    waits
        .wait_status(|status| status.contains("taken by"))
        .await;
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

async fn announced_move_to_another_cluster_stops_no_node(version: Version) {
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
    node.start(bin(), &args, &env).await;
    node.wait_status(|status| status == "idle").await;
    lock(&bed, "operator").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("taken by operator"))
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
    node.child().signal(Signal::SIGHUP);
    let log = async || node.log();
    eventually("it goes on there", log, |log| {
        log.contains("a person has accepted this store")
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

async fn pause_by_a_person_survives_the_stop_and_the_accept(version: Version) {
    let bed = Bed::new("persons", version).await;
    bed.command(&["pause", "--all", "--reason", "disk change", "--for", "1h"])
        .await;
    let snapshot = bed.snapshot("before").await;
    bed.command(&["set-max", "2"]).await;
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
