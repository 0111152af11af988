//! What changes while a node waits in the queue or drains: the update, the group, an operator's mind.

use pointsman_testbed::{
    etcd::shared_cluster,
    fakes::{Status, forge, forge_to},
    node::Node,
};
use semaphore::{etcd::Unlocked, records::Phase};

use crate::{
    agents::{Site, bin, drained, draining, entry, hook, machine, slow_drain, undrained},
    support::eventually,
};

/// What changes. Each takes the reason for the reboot away, or forbids it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Pause,
    PauseAll,
    MaxZero,
    Deleted,
    Unlocked,
    Reset,
    ResetSilently,
    EngineStops,
}

impl Change {
    async fn make(self, site: &Site, node: &Node) {
        let engine = node.update_engine();
        match self {
            Self::Pause | Self::PauseAll => {
                let pause = serde_json::from_str(r#"{"by":"op","reason":"wait"}"#).unwrap();
                let all = self == Self::PauseAll;
                site.semaphore.pause(all, &pause, None, true).await.unwrap();
            }
            Self::MaxZero => drop(site.semaphore.set_max(0, false).await.unwrap()),
            Self::Deleted => {
                let mut client = shared_cluster().client().await;
                let key = site.semaphore.keys().semaphore();
                assert_eq!(client.delete(key, None).await.unwrap().deleted(), 1);
            }
            Self::Unlocked => {
                let unlocked = site.semaphore.unlock(node.machine_id(), false).await;
                assert!(matches!(unlocked, Ok(Unlocked::Unlocked(Some(_)))));
            }
            Self::Reset => engine.set(Status::idle()).await,
            Self::ResetSilently => engine.set_silently(Status::idle()),
            Self::EngineStops => engine.stop().await,
        }
    }

    async fn take_back(self, site: &Site, node: &Node) {
        match self {
            Self::Pause => drop(site.semaphore.resume(false).await.unwrap()),
            Self::PauseAll => drop(site.semaphore.resume(true).await.unwrap()),
            Self::MaxZero | Self::Deleted => drop(site.semaphore.set_max(1, true).await.unwrap()),
            Self::Unlocked => {}
            Self::Reset | Self::ResetSilently => node.update_engine().ready("2").await,
            Self::EngineStops => node.update_engine().restart().await,
        }
    }
}

/// The change comes while the node drains.
async fn while_draining(change: Change) {
    let site = Site::new("draining");
    // So long that nothing is tried again within the test by itself.
    let node = site.node("node-1", &[("POINTSMAN_RETRY_MAX", "1h")]).await;
    slow_drain(&node);
    node.update_engine().ready("2").await;
    draining(&node).await;
    site.phase(&node, Phase::Draining).await;

    change.make(&site, &node).await;
    drained(&node);
    node.wait_status(|status| status.starts_with("waiting") || status == "idle")
        .await;
    let group = site.read().await;
    assert!(entry(&group, &node).is_none(), "{change:?}: {group:?}");
    assert!(
        group.holders.is_empty() && group.queue.is_empty(),
        "{change:?}"
    );
    assert_eq!(undrained(&node), ["stepping-back"], "{change:?}");
    assert!(node.logind().asked().is_empty(), "{change:?}");

    // Nothing but the change was in the way.
    change.take_back(&site, &node).await;
    let asked = site.command(&node, &["reboot", "--reason", "again"]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    node.logind().rebooted().await;
}

/// The change comes while the node waits in the queue; then it would be the node's turn.
async fn while_queued(change: Change) {
    let site = Site::new("queued");
    site.lock().await;
    let node = site.node("node-1", &[]).await;
    node.update_engine().ready("2").await;
    site.until("it waits in the queue", |group| group.queue.len() == 1)
        .await;
    change.make(&site, &node).await;
    if change == Change::Deleted {
        // Who is out is known from the entries only: nobody is let in until a person has looked.
        node.wait_status(|status| status.contains("set-max")).await;
        change.take_back(&site, &node).await;
        node.wait_status(|status| !status.contains("set-max")).await;
        assert!(node.logind().asked().is_empty());
        site.unlock("operator").await;
        node.logind().rebooted().await;
        return;
    }
    site.unlock("operator").await;
    // What is said of an operator's stop sign is said when it would be the node's turn.
    let stop_sign = match change {
        Change::Pause | Change::PauseAll => Some("paused by op"),
        Change::MaxZero => Some("max is 0"),
        _ => None,
    };
    if let Some(sign) = stop_sign {
        node.wait_status(|status| status.starts_with("queued") && status.contains(sign))
            .await;
        let group = site.read().await;
        assert!(
            group.holders.is_empty() && group.queue.len() == 1,
            "{group:?}"
        );
    } else {
        node.wait_status(|status| status == "idle").await;
        site.free().await;
    }
    assert!(
        undrained(&node).is_empty(),
        "{change:?}: no drain had begun"
    );
    assert!(node.logind().asked().is_empty(), "{change:?}");
    change.take_back(&site, &node).await;
    node.logind().rebooted().await;
}

macro_rules! changes {
    ($run:ident: $($test:ident $change:ident;)*) => {$(
        #[tokio::test]
        async fn $test() {
            $run(Change::$change).await;
        }
    )*};
}

changes! { while_draining:
    a_pause_during_the_drain_undoes_it Pause;
    a_pause_of_the_cluster_during_the_drain_undoes_it PauseAll;
    max_zero_during_the_drain_undoes_it MaxZero;
    a_document_deleted_during_the_drain_undoes_it Deleted;
    unlock_during_the_drain_undoes_it_and_the_node_does_not_take_again Unlocked;
    an_update_reset_during_the_drain_undoes_it Reset;
    silent_update_reset_during_the_drain_undoes_it ResetSilently;
    end_of_update_engine_during_the_drain_undoes_it EngineStops;
}

changes! { while_queued:
    pause_keeps_the_ticket Pause;
    pause_of_the_cluster_keeps_the_ticket PauseAll;
    max_zero_keeps_the_ticket MaxZero;
    deleted_document_blocks_every_take Deleted;
    update_reset_while_queued_deletes_the_ticket Reset;
    silent_update_reset_while_queued_releases_the_lock ResetSilently;
    end_of_update_engine_while_queued_deletes_the_ticket EngineStops;
}

#[tokio::test]
async fn cancelled_reboot_undoes_the_drain() {
    let site = Site::new("cancelled");
    let node = site.node("node-1", &[]).await;
    slow_drain(&node);
    let asked = site
        .command(&node, &["reboot", "--reason", "a new disk"])
        .await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    draining(&node).await;
    let holder = site.phase(&node, Phase::Draining).await;
    assert_eq!(holder.reason.as_deref(), Some("a new disk"));
    assert_eq!(holder.to, holder.from, "it stays in its image");
    let cancelled = site.command(&node, &["cancel"]).await;
    assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
    node.wait_status(|status| status == "idle").await;
    site.free().await;
    assert_eq!(undrained(&node), ["stepping-back"]);
    // The drain has nobody to go on for.
    drained(&node);
    node.stop().await;
    assert!(node.logind().asked().is_empty());
}

/// Such as "…; it is tried again at 2026-11-30 02:36:10 UTC", in the next seconds.
fn says_when_it_tries_again(said: &str) {
    let (_, at) = said.split_once("; it is tried again at ").expect(said);
    let at: jiff::civil::DateTime = at.strip_suffix(" UTC").expect(said).parse().unwrap();
    let at = at.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
    let now = jiff::Timestamp::now();
    let left = at.duration_since(now).as_secs_f64();
    assert!((-10.0..10.0).contains(&left), "{said} at {now}");
}

#[tokio::test]
async fn a_drain_that_fails_is_undone_and_tried_again_later() {
    let site = Site::new("drain-fails");
    let node = site.node("node-1", &[("POINTSMAN_RETRY_MAX", "2s")]).await;
    hook(&node, "pre-reboot.d/10-drain", "echo no room; exit 1");
    node.update_engine().ready("2").await;
    let said = node
        .wait_status(|status| status.starts_with("waiting") && status.contains("no room"))
        .await;
    says_when_it_tries_again(&said);
    assert!(site.read().await.holders.is_empty());
    assert_eq!(undrained(&node), ["stepping-back"]);
    assert!(node.logind().asked().is_empty());
    hook(&node, "pre-reboot.d/10-drain", "exit 0");
    node.logind().rebooted().await;
}

#[tokio::test]
async fn restart_of_update_engine_while_queued_keeps_the_update() {
    let site = Site::new("engine");
    site.lock().await;
    let node = site.node("node-1", &[]).await;
    node.update_engine().ready("2").await;
    site.until("it waits in the queue", |group| group.queue.len() == 1)
        .await;
    node.update_engine().restart().await;
    // It does not say the version any more.
    site.until("the ticket is for what is known now", |group| {
        group.queue.first().is_some_and(|t| t.to.version.is_none())
    })
    .await;
    site.unlock("operator").await;
    node.logind().rebooted().await;
}

#[tokio::test]
async fn forged_signals_are_ignored_and_logged() {
    let site = Site::new("forged");
    let node = site.node("node-1", &[]).await;
    let reads = node.update_engine().calls("GetStatus");
    let lie = Status::ready("6.6.6");
    let liars = [
        forge(node.bus(), &lie).await,
        forge_to(node.bus(), "org.pointsman.Agent1", &lie).await,
    ];
    for liar in liars {
        let warns = |line: &str| {
            line.contains(&format!("{liar} "))
                && line.contains("sent a signal StatusUpdate that only com.coreos.update1")
        };
        let log = async || node.log();
        eventually(&liar, log, |log| log.lines().any(warns)).await;
    }
    // What comes after is heard, so what came before has been.
    node.logind().inhibit("backup", "copies", "block").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("backup blocks"))
        .await;
    assert_eq!(node.update_engine().calls("GetStatus"), reads + 1);
    let group = site.read().await;
    assert!(group.queue.is_empty() && group.holders.is_empty());
    assert!(!node.log().contains("6.6.6"), "{}", node.log());
    assert!(node.logind().asked().is_empty());
}

#[tokio::test]
async fn may_reboot_hook_can_refuse_for_now() {
    let site = Site::new("may-reboot");
    let node = machine("node-1").await;
    let busy = node.path("busy");
    hook(
        &node,
        "may-reboot.d/10-backup",
        &format!(
            "[ ! -e {} ] || {{ echo \"backup to $POINTSMAN_TO\"; exit 75; }}",
            busy.display()
        ),
    );
    node.write("busy", "");
    site.start(&node, &[("POINTSMAN_RETRY_MAX", "50ms")]).await;
    node.wait_status(|status| status == "idle").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| {
        status.starts_with("waiting: ") && status.contains("its last output: backup to 2")
    })
    .await;
    assert!(
        site.read().await.queue.is_empty(),
        "no place in the queue is taken"
    );
    assert!(!node.log().contains("ERROR"), "75 is no fault");
    std::fs::remove_file(&busy).unwrap();
    node.logind().rebooted().await;
}

#[tokio::test]
async fn refusal_by_a_hook_before_the_drain_undoes_nothing() {
    let site = Site::new("may-reboot-late");
    let node = machine("node-1").await;
    let busy = node.path("busy");
    let script = format!("[ ! -e {} ] || exit 75", busy.display());
    hook(&node, "may-reboot.d/10-backup", &script);
    site.lock().await;
    site.start(&node, &[("POINTSMAN_RETRY_MAX", "50ms")]).await;
    node.wait_status(|status| status == "idle").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("taken by operator"))
        .await;
    node.write("busy", "");
    site.unlock("operator").await;
    node.wait_status(|status| status.starts_with("waiting: ") && status.contains("10-backup"))
        .await;
    site.free().await;
    assert!(undrained(&node).is_empty(), "{:?}", undrained(&node));
    std::fs::remove_file(&busy).unwrap();
    node.logind().rebooted().await;
}

#[tokio::test]
async fn unusable_drain_hook_is_reported_before_the_queue() {
    let site = Site::new("drain-unusable");
    let node = site.node("node-1", &[]).await;
    let name = "etc/pointsman/hooks/pre-reboot.d/10-drain";
    node.write(name, "#!/bin/sh\n");
    node.update_engine().ready("2").await;
    node.wait_status(|status| {
        status.starts_with("waiting: ")
            && status.contains("pre-reboot.d/10-drain is not executable")
    })
    .await;
    let group = site.read().await;
    assert!(group.queue.is_empty() && group.holders.is_empty());
    assert!(undrained(&node).is_empty());
    std::fs::remove_file(node.path(name)).unwrap();
    node.logind().rebooted().await;
}

#[tokio::test]
async fn unsignalled_reset_is_noticed_at_the_next_status_read() {
    let site = Site::new("silent-reset");
    site.lock().await;
    let node = site.node("node-1", &[]).await;
    node.update_engine().ready("2").await;
    site.until("its ticket", |group| group.queue.len() == 1)
        .await;
    let done = node
        .run_plain(
            bin(),
            &[
                "update",
                "reset",
                "--root",
                &node.root().display().to_string(),
            ],
            &[],
        )
        .await;
    assert_eq!(done.code, Some(0), "{done:?}");
    node.wait_status(|status| status == "idle").await;
    site.until("no ticket", |group| group.queue.is_empty())
        .await;
}
