//! A store whose history is gone or went back.

use std::{path::Path, time::Duration};

use pointsman_testbed::{
    etcd::{Cluster, Version, unique_prefix},
    process::{Signal, Spec, run},
    proxy::{Mode, Proxy},
};
use semaphore::{
    etcd::{Committed, Error, Locked, Unlocked},
    records::Phase,
};

use super::{Waiter, acquire, holders, local, on_both, one, pointsman, release};
use crate::{
    agents::bin,
    support::{claim, eventually, found, holder, node, on},
};

on_both!(
    compaction_loses_no_turn,
    take_lost_in_a_restore_is_neither_committed_nor_released,
    holder_restored_by_a_backup_blocks_until_it_is_unlocked,
    waiting_node_reports_another_or_restored_store,
    watch_of_another_cluster_is_not_trusted,
);

async fn compaction_loses_no_turn(version: Version) {
    local!({
        let cluster = one(version).await;
        let prefix = unique_prefix("compact");
        let s = on(&cluster, &prefix);
        let out = claim("out");
        acquire(&s, &out).await;
        let proxy = Proxy::start(cluster.address(0)).await;
        let mut first = Waiter::start(vec![proxy.url()], &prefix, "a");
        first.says(0, "taken by out").await;
        let mut second = Waiter::start(cluster.endpoints(), &prefix, "b");
        second.says(0, "behind host-a").await;
        // What the first one sees comes late: when it watches on from there, that is compacted already.
        for max in [0, 1] {
            proxy.set(Mode::Delay(Duration::from_millis(300))).await;
            s.set_max(max, false).await.unwrap();
            s.publish(&node("other")).await.unwrap();
            s.publish(&node("other")).await.unwrap();
            cluster.compact().await;
            let words = if max == 0 { "max is 0" } else { "taken by out" };
            first.says(first.said(), words).await;
            proxy.set(Mode::Pass).await;
        }
        s.publish(&node("other")).await.unwrap();
        cluster.compact().await;
        release(&s, &out).await;
        first.takes().await;
        cluster.compact().await;
        release(&s, &first.claim).await;
        second.takes().await;
    });
}

async fn take_lost_in_a_restore_is_neither_committed_nor_released(version: Version) {
    local!({
        let cluster = one(version).await;
        let prefix = unique_prefix("forgotten");
        let s = on(&cluster, &prefix);
        s.set_max(1, false).await.unwrap();
        let backup = cluster.dir().join("backup");
        cluster.snapshot(&backup).await;
        let out = claim("out");
        acquire(&s, &out).await;
        cluster.restore_same(&backup).await;
        let another = |error: Option<Error>| {
            assert!(matches!(error, Some(Error::OtherStore { .. })), "{error:?}");
        };
        another(s.commit(&out).await.err());
        // Somebody else may have it now, and keeps it.
        let (fresh, other) = (on(&cluster, &prefix), claim("other"));
        acquire(&fresh, &other).await;
        another(s.commit(&out).await.err());
        another(s.release("out", &out.holder.nonce, None, None).await.err());
        another(s.leave("out", &out.holder.nonce, None).await.err());
        assert_eq!(holders(&fresh).await, ["other"]);
        assert_eq!(fresh.commit(&other).await.unwrap(), Committed::Yes);
    });
}

async fn holder_restored_by_a_backup_blocks_until_it_is_unlocked(version: Version) {
    local!({
        let cluster = one(version).await;
        let prefix = unique_prefix("resurrected");
        let s = on(&cluster, &prefix);
        s.set_max(1, false).await.unwrap();
        let before = claim("n");
        acquire(&s, &before).await;
        let backup = cluster.dir().join("backup");
        cluster.snapshot(&backup).await;
        release(&s, &before).await;
        cluster.restore(&backup).await;
        let s = on(&cluster, &prefix);
        // The node's next claim has another nonce.
        let mut own = Waiter::start(cluster.endpoints(), &prefix, "n");
        own.says(0, "held with this node's id, but not by this node")
            .await;
        own.says(0, "pointsman unlock n").await;
        assert!(matches!(
            s.lock(&holder("x", Phase::Manual)).await.unwrap(),
            Locked::Full(_)
        ));
        let done = pointsman(&cluster.endpoints(), &prefix, &["status"]).await;
        assert!(done.stdout.contains("host-n"), "{done:?}");
        assert!(own.waits());
        let done = pointsman(&cluster.endpoints(), &prefix, &["unlock", "n"]).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        own.takes().await;
        assert!(matches!(
            s.unlock("n", false).await.unwrap(),
            Unlocked::Unlocked(Some(entry)) if entry.nonce == own.claim.holder.nonce
        ));
    });
}

async fn watch_of_another_cluster_is_not_trusted(version: Version) {
    local!({
        let (before, after) = (one(version).await, one(version).await);
        let prefix = unique_prefix("two-clusters");
        // There nothing is quarantined, and the history is longer.
        let (here, there) = (on(&before, &prefix), on(&after, &prefix));
        found(&here).await;
        found(&there).await;
        let bad = serde_json::from_str(r#"{"version":"2","reason":"bad"}"#).unwrap();
        here.quarantine(&bad).await.unwrap();
        for (semaphore, times) in [(&here, 10), (&there, 30)] {
            for _ in 0..times {
                semaphore.publish(&node("other")).await.unwrap();
            }
        }
        let proxy = Proxy::start(before.address(0)).await;
        proxy.set(Mode::Delay(Duration::from_millis(100))).await;
        let endpoints = vec![proxy.url(), after.endpoint(0)];
        let waiter = Waiter::start(endpoints, &prefix, "n");
        // Without a place in the queue, and so without a lease that would end.
        waiter.says(0, "2 is quarantined: bad").await;
        // What it has read is from here; what it asks from now on is answered there.
        proxy.set(Mode::Refuse).await;
        waiter
            .says(0, "etcd was restored or exchanged: cluster")
            .await;
        assert!(waiter.waits());
        assert!(holders(&there).await.is_empty() && holders(&here).await.is_empty());
    });
}

async fn copy(from: &Path, to: &Path) {
    let args = [Path::new("-a"), from, to];
    let done = run("cp", args, &[], super::PATIENCE).await;
    assert_eq!(done.code, Some(0), "{done:?}");
}

/// Puts the only member's data back to what was copied: the same cluster, with an older revision.
async fn put_back(cluster: &Cluster, backup: &Path) {
    cluster.kill_member(0).await;
    let data = cluster.dir().join("m0");
    std::fs::remove_dir_all(&data).unwrap();
    copy(backup, &data).await;
    cluster.restart_member(0).await;
}

async fn waiting_node_reports_another_or_restored_store(version: Version) {
    for words in [
        "etcd was restored or exchanged: cluster",
        "etcd was restored or exchanged: its revision",
    ] {
        let cluster = one(version).await;
        let prefix = unique_prefix("told");
        let s = on(&cluster, &prefix);
        s.lock(&holder("out", Phase::Manual)).await.unwrap();
        let (snapshot, copied) = (cluster.dir().join("backup"), cluster.dir().join("copy"));
        cluster.snapshot(&snapshot).await;
        cluster.kill_member(0).await;
        copy(&cluster.dir().join("m0"), &copied).await;
        cluster.restart_member(0).await;

        let root = tempfile::tempdir().unwrap();
        let waiting = Spec::new(bin(), root.path().join("stdout"))
            .stderr(root.path().join("stderr"))
            .arg("--root")
            .arg(root.path())
            .args(["--endpoint", &cluster.endpoint(0), "--key-prefix", &prefix])
            .args(["lock", "--as", "n", "--wait", "1h"])
            .env("POINTSMAN_RETRY_MIN", "20ms")
            .env("POINTSMAN_RETRY_MAX", "300ms")
            .spawn();
        let in_line = async || s.read().await.is_ok_and(|group| group.queue.len() == 1);
        eventually("its ticket", in_line, |there| *there).await;
        for _ in 0..10 {
            s.publish(&node("other")).await.unwrap();
        }
        if words.contains("cluster") {
            cluster.restore(&snapshot).await;
        } else {
            put_back(&cluster, &copied).await;
        }
        let said = async || std::fs::read_to_string(root.path().join("stderr")).unwrap();
        eventually(words, said, |said| said.contains(words)).await;
        // Its turn in a store that it does not know; a person looks, and ends it.
        let s = on(&cluster, &prefix);
        s.unlock("out", false).await.unwrap();
        waiting.signal(Signal::SIGINT);
        let ended = waiting.wait_timeout(super::PATIENCE).await.unwrap();
        assert!(!ended.success());
        assert!(holders(&s).await.is_empty());
    }
}
