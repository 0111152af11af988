//! A store whose history is gone or went back.

use pointsman::semaphore::{
    etcd::{Committed, Locked, Owner, Unlocked},
    records::Phase,
};
use pointsman_testbed::etcd::{Version, unique_prefix};

use super::{Waiter, acquire, give_back, holders, local, on_both, one, pointsman};
use crate::support::{claim, holder, on};

on_both!(
    compaction_takes_nobodys_turn,
    a_restored_backup_takes_nobodys_turn,
    a_take_that_the_backup_forgot_is_not_committed,
    a_holder_that_the_backup_brought_back_blocks_until_it_is_unlocked,
);

async fn compaction_takes_nobodys_turn(version: Version) {
    local!({
        let cluster = one(version).await;
        let prefix = unique_prefix("compact");
        let s = on(&cluster, &prefix);
        let out = claim("out");
        acquire(&s, &out).await;
        let mut first = Waiter::start(cluster.endpoints(), &prefix, "a");
        first.says(0, "held by out").await;
        let mut second = Waiter::start(cluster.endpoints(), &prefix, "b");
        second.says(0, "behind host-a").await;
        for i in 0..5 {
            s.publish(&crate::support::node(&format!("other-{i}")))
                .await
                .unwrap();
            cluster.compact().await;
        }
        // The watches begin at revisions that are compacted now.
        let before = (first.said(), second.said());
        cluster.restart_member(0).await;
        first.says(before.0, "held by out").await;
        second.says(before.1, "behind host-a").await;
        cluster.compact().await;
        give_back(&s, &out).await;
        first.takes().await;
        cluster.compact().await;
        give_back(&s, &first.claim).await;
        second.takes().await;
    });
}

async fn a_restored_backup_takes_nobodys_turn(version: Version) {
    local!({
        let cluster = one(version).await;
        let prefix = unique_prefix("restored");
        let s = on(&cluster, &prefix);
        s.set_max(1, false).await.unwrap();
        let backup = cluster.dir().join("backup");
        cluster.snapshot(&backup).await;
        let out = claim("out");
        acquire(&s, &out).await;
        let mut waiter = Waiter::start(cluster.endpoints(), &prefix, "n");
        waiter.says(0, "held by out").await;
        for _ in 0..10 {
            s.publish(&crate::support::node("other")).await.unwrap();
        }
        // Neither holder nor ticket is in it.
        cluster.restore(&backup).await;
        waiter.takes().await;
        assert_eq!(holders(&s).await, ["n"]);
        assert_eq!(s.commit(&waiter.claim).await.unwrap(), Committed::Yes);
    });
}

async fn a_take_that_the_backup_forgot_is_not_committed(version: Version) {
    local!({
        let cluster = one(version).await;
        let prefix = unique_prefix("forgotten");
        let s = on(&cluster, &prefix);
        s.set_max(1, false).await.unwrap();
        let backup = cluster.dir().join("backup");
        cluster.snapshot(&backup).await;
        let out = claim("out");
        acquire(&s, &out).await;
        cluster.restore(&backup).await;
        assert!(matches!(s.commit(&out).await.unwrap(), Committed::No(_)));
        assert_eq!(
            s.owner("out", &out.holder.nonce).await.unwrap(),
            Owner::Nobody
        );
        // Somebody else may have it now, and keeps it.
        let other = claim("other");
        acquire(&s, &other).await;
        assert!(matches!(s.commit(&out).await.unwrap(), Committed::No(_)));
        give_back(&s, &out).await;
        assert_eq!(holders(&s).await, ["other"]);
        assert_eq!(s.commit(&other).await.unwrap(), Committed::Yes);
    });
}

async fn a_holder_that_the_backup_brought_back_blocks_until_it_is_unlocked(version: Version) {
    local!({
        let cluster = one(version).await;
        let prefix = unique_prefix("resurrected");
        let s = on(&cluster, &prefix);
        s.set_max(1, false).await.unwrap();
        let before = claim("n");
        acquire(&s, &before).await;
        let backup = cluster.dir().join("backup");
        cluster.snapshot(&backup).await;
        give_back(&s, &before).await;
        cluster.restore(&backup).await;
        // The node's next claim has another nonce.
        let mut own = Waiter::start(cluster.endpoints(), &prefix, "n");
        own.says(0, "held under this node's id, but not by this node")
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
