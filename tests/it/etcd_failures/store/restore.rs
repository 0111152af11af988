//! What nodes do when the store was restored from a snapshot, or emptied.

use pointsman_testbed::{
    etcd::{Version, unique_prefix},
    fakes::Status,
    node::Death,
};
use semaphore::records::Phase;

use super::{
    super::acquire, Bed, Change, lock, lock_again, nobody_went, on_both, one, says_stopped,
};
use crate::{
    agents::{drained, draining, entry, hook, machine, slow_drain, undrained},
    support::{self, claim, eventually, on},
};

on_both!(
    waiting_node_does_not_reboot_beside_a_holder_lost_in_the_restore,
    idle_and_stopped_nodes_do_not_reboot_beside_a_holder_lost_in_the_restore,
    draining_node_undoes_its_drain_after_a_restore,
    proven_node_keeps_the_lock_until_the_store_is_accepted,
    pause_and_max_zero_lost_in_a_restore_still_block,
    release_built_before_the_restore_removes_no_current_holder,
    holder_restored_by_a_snapshot_is_marked_and_kept,
);

async fn waiting_node_does_not_reboot_beside_a_holder_lost_in_the_restore(version: Version) {
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
        waits
            .wait_status(|status| status.contains("taken by"))
            .await;

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

async fn idle_and_stopped_nodes_do_not_reboot_beside_a_holder_lost_in_the_restore(
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
        idle.wait_status(|status| status.contains("taken by out"))
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
            node.wait_status(|status| status.contains("taken by out") || status.contains("behind"))
                .await;
        }
        bed.until("all three wait", |group| group.queue.len() == 3)
            .await;
    }
}

async fn draining_node_undoes_its_drain_after_a_restore(version: Version) {
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
            async || undrained(&node),
            |phases| *phases == ["stepping-back"],
        )
        .await;
        bed.accept().await;
        drained(&node);
        node.logind().rebooted().await;
    }
}

async fn proven_node_keeps_the_lock_until_the_store_is_accepted(version: Version) {
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
                .publish(&support::node(&i.to_string()))
                .await
                .unwrap();
        }
        hook(&node, "health.d/10-wait", &check);
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

async fn pause_and_max_zero_lost_in_a_restore_still_block(version: Version) {
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

async fn release_built_before_the_restore_removes_no_current_holder(version: Version) {
    let cluster = one(version).await;
    let prefix = unique_prefix("living");
    let ours = on(&cluster, &prefix);
    ours.set_max(2, false).await.unwrap();
    let own = claim("ours");
    let nonce = &own.holder.nonce;
    acquire(&ours, &own).await;
    ours.proving("ours", nonce, 1800, None).await.unwrap();
    let snapshot = cluster.dir().join("before");
    cluster.snapshot(&snapshot).await;
    acquire(&on(&cluster, &prefix), &claim("forgotten")).await;
    // What the release will find is read.
    ours.proving("ours", nonce, 1800, None).await.unwrap();
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
    acquire(&theirs, &claim("living")).await;
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

async fn holder_restored_by_a_snapshot_is_marked_and_kept(version: Version) {
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
        shown.stdout.contains(
            "older than `store accept`. If this node is in service: pointsman unlock before"
        ),
        "{shown:?}"
    );
    node.wait_status(|status| status.contains("taken by before"))
        .await;
    bed.semaphore().unlock("before", false).await.unwrap();
    node.logind().rebooted().await;
}
