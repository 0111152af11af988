//! What `pointsman serve` answers when etcd was restored or exchanged.

use pointsman_testbed::etcd::Version;

use super::{Bed, Change, on_both};
use crate::serve::Server;

on_both!(
    no_place_is_given_in_a_restored_store_until_a_person_accepts_it,
    a_server_that_starts_afterwards_goes_by_the_pause_of_the_agents,
);

async fn no_place_is_given_in_a_restored_store_until_a_person_accepts_it(version: Version) {
    for change in [
        Change::Restored,
        Change::Overtaken,
        Change::Renamed,
        Change::Emptied,
    ] {
        let bed = Bed::new("serve", version).await;
        let server = Server::at(&bed.cluster.endpoints(), &bed.prefix, &["--timeout", "2s"]).await;
        let snapshot = bed.snapshot("before").await;
        server.takes("out").await;
        bed.change(change, &snapshot).await;
        let changed = (503, "storage_changed".to_owned());
        assert_eq!(
            server.pre_reboot("next").await.kind(),
            changed,
            "{change:?}"
        );
        // What this client holds here is not known.
        assert_eq!(
            server.steady_state("out").await.kind(),
            changed,
            "{change:?}"
        );
        let group = bed.read().await;
        assert!(group.holders.is_empty(), "{change:?}: {:?}", group.holders);

        let done = bed.command(&["store", "accept", "--yes"]).await;
        assert_eq!(done.code, Some(0), "{change:?}: {done:?}");
        server.releases("out").await;
        if change == Change::Emptied {
            assert_eq!(
                server.pre_reboot("next").await.kind(),
                (423, "semaphore_missing".into())
            );
            assert_eq!(bed.command(&["set-max", "1"]).await.code, Some(0));
        }
        server.takes("next").await;
    }
}

/// It has seen nothing that it could tell by; an agent that has stops the whole cluster.
async fn a_server_that_starts_afterwards_goes_by_the_pause_of_the_agents(version: Version) {
    let bed = Bed::new("serve-late", version).await;
    let snapshot = bed.snapshot("before").await;
    let node = bed.node("agent").await;
    bed.told(&node).await;
    bed.change(Change::Restored, &snapshot).await;
    node.update_engine().ready("2").await;
    bed.stopped().await;
    let server = Server::at(&bed.cluster.endpoints(), &bed.prefix, &[]).await;
    assert_eq!(
        server.pre_reboot("next").await.kind(),
        (423, "paused".into())
    );
    bed.accept().await;
    node.logind().rebooted().await;
}
