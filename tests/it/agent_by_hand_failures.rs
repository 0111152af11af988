//! Failures during a reboot under a lock by hand: the person has the lock again afterwards.

use nix::sys::signal::Signal;
use pointsman_testbed::{
    disk::Slot,
    etcd::shared_cluster,
    fakes::PATIENCE,
    node::{Death, Node},
    proxy::{Aim, Mode, Proxy},
};
use semaphore::{
    etcd::Locked,
    records::{Holder, Phase},
};

use crate::{
    agents::{Site, agent, bin, drained, draining, machine, slow_drain, undrained},
    support::holder,
    trials,
};

async fn lock(site: &Site, node: &Node) -> Holder {
    let by_hand = Holder {
        hostname: node.name().to_owned(),
        ..holder(node.machine_id(), Phase::Manual)
    };
    let locked = site.semaphore.lock(&by_hand).await.unwrap();
    assert_eq!(locked, Locked::Taken);
    by_hand
}

async fn ask(node: &Node) {
    let done = node.run(bin(), &["reboot", "--reason", "firmware"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
}

async fn ends_locked(site: &Site, node: &Node, locked: &Holder) {
    node.wait_status(|status| status == "idle").await;
    let group = site
        .until("no ticket", |group| group.queue.is_empty())
        .await;
    assert_eq!(group.holders.len(), 1);
    assert_eq!(&site.phase(node, Phase::Manual).await, locked);
    assert!(group.member_out.is_none());
}

#[tokio::test]
async fn a_bad_image_is_rolled_back_and_quarantined_under_the_lock() {
    let site = Site::new("by-hand-bad");
    let (node, _disk) = trials::node(&site, "node-1", &["2"]).await;
    let locked = lock(&site, &node).await;
    node.stage("2").await;
    node.wait_status(|status| status.contains("locked by hand"))
        .await;
    ask(&node).await;
    trials::runs_from(&node, Slot::A, 2).await;
    ends_locked(&site, &node, &locked).await;
    assert_eq!(site.read().await.quarantine.len(), 1);
}

#[tokio::test]
async fn a_take_or_commit_whose_reply_is_lost_ends_with_the_lock() {
    for aim in [Aim::Take, Aim::Commit] {
        for cut in [false, true] {
            let site = Site::new("by-hand-lost");
            let proxy = Proxy::start(shared_cluster().address(0)).await;
            let node = machine("node-1").await;
            slow_drain(&node);
            agent(&node, &[proxy.url()], &site.prefix, &[]).await;
            node.wait_status(|status| status == "idle").await;
            let locked = lock(&site, &node).await;
            if aim == Aim::Take {
                proxy.lose_reply_to(aim);
                ask(&node).await;
            } else {
                ask(&node).await;
                draining(&node).await;
                proxy.lose_reply_to(aim);
                drained(&node);
            }
            proxy.wait_lost(1).await;
            proxy.set(Mode::BlackHole).await;
            node.kill().await;
            let phase = if aim == Aim::Take {
                Phase::Draining
            } else {
                Phase::Rebooting
            };
            site.phase(&node, phase).await;
            assert!(node.logind().asked().is_empty());
            if cut {
                node.reboot(Death::Kill).await;
                proxy.set(Mode::Pass).await;
            } else {
                node.start_again();
                proxy.set(Mode::Pass).await;
                drained(&node);
                // What was asked for stands.
                node.logind().rebooted().await;
                node.reboot(Death::Kill).await;
            }
            ends_locked(&site, &node, &locked).await;
        }
    }
}

#[tokio::test]
async fn a_release_whose_reply_is_lost_leaves_the_lock() {
    for kill in [false, true] {
        let site = Site::new("by-hand-release");
        let proxy = Proxy::start(shared_cluster().address(0)).await;
        let node = machine("node-1").await;
        agent(&node, &[proxy.url()], &site.prefix, &[]).await;
        node.wait_status(|status| status == "idle").await;
        let locked = lock(&site, &node).await;
        ask(&node).await;
        node.logind().rebooted().await;
        site.phase(&node, Phase::Rebooting).await;
        slow_undrain(&node);
        node.reboot(Death::Kill).await;
        site.phase(&node, Phase::Proving).await;
        proxy.lose_reply_to(Aim::ToIdle);
        node.write("undrain", "");
        proxy.wait_lost(1).await;
        if kill {
            node.kill().await;
            node.start_again();
        }
        ends_locked(&site, &node, &locked).await;
        // Who was killed in between cannot know.
        let warned = node.log().contains("another node may have been out");
        assert!(kill || !warned, "{}", node.log());
        // And the next one goes as well.
        ask(&node).await;
        node.logind().wait_asked(1).await;
    }
}

fn slow_undrain(node: &Node) {
    let go = node.path("undrain");
    let script = format!("while [ ! -e {} ]; do sleep 0.02; done", go.display());
    crate::agents::hook(node, "post-boot.d/00-wait", &script);
}

#[tokio::test]
async fn lock_by_hand_survives_a_rebuild_and_another_max() {
    let site = Site::new("by-hand-rebuilt");
    let node = machine("node-1").await;
    slow_drain(&node);
    site.start(&node, &[]).await;
    let locked = lock(&site, &node).await;
    ask(&node).await;
    draining(&node).await;
    for words in [&["set-max", "3"][..], &["set-max", "1", "--rebuild"]] {
        let done = site.command(&node, words).await;
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    let refused = site.command(&node, &["lock"]).await;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    drained(&node);
    node.logind().rebooted().await;
    node.reboot(Death::Kill).await;
    ends_locked(&site, &node, &locked).await;
}

#[tokio::test]
async fn foreground_reboot_under_a_lock_by_hand_restores_it_on_a_signal() {
    let site = Site::new("by-hand-foreground");
    let node = machine("node-1").await;
    slow_drain(&node);
    let locked = lock(&site, &node).await;
    let once = || {
        let words = ["reboot", "--without-agent"];
        site.foreground(&node, &words).spawn()
    };
    let process = once();
    draining(&node).await;
    process.signal(Signal::SIGINT);
    let ended = process.wait_timeout(PATIENCE).await.unwrap();
    assert_eq!(ended.code(), Some(130), "{}", process.log());
    assert_eq!(site.phase(&node, Phase::Manual).await, locked);
    assert_eq!(undrained(&node), ["stepping-back"]);
    drained(&node);
    let process = once();
    node.logind().rebooted().await;
    site.phase(&node, Phase::Rebooting).await;
    process.signal(Signal::SIGTERM);
    process.wait_timeout(PATIENCE).await.unwrap();
    node.come_up().await;
    site.start(&node, &[]).await;
    ends_locked(&site, &node, &locked).await;
}

#[tokio::test]
async fn stopped_agent_restores_the_lock_by_hand() {
    let site = Site::new("by-hand-stopped");
    let node = machine("node-1").await;
    slow_drain(&node);
    site.start(&node, &[]).await;
    let locked = lock(&site, &node).await;
    ask(&node).await;
    draining(&node).await;
    node.stop().await;
    assert_eq!(site.phase(&node, Phase::Manual).await, locked);
    assert_eq!(undrained(&node), ["stepping-back"]);
}

#[tokio::test]
async fn locksmiths_own_lock_of_this_node_is_one_by_hand() {
    let site = Site::new("by-hand-locksmith");
    let node = site.node("node-1", &[]).await;
    let endpoints = shared_cluster().endpoints().join(",");
    let link = node.path("locksmithctl");
    std::os::unix::fs::symlink(bin(), &link).unwrap();
    let id = node.machine_id();
    let done = node
        .run_plain(
            &link,
            &["--endpoint", &endpoints, "lock", id],
            &[("POINTSMAN_KEY_PREFIX", site.prefix.as_str())],
        )
        .await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let locked = site.phase(&node, Phase::Manual).await;
    ask(&node).await;
    node.logind().rebooted().await;
    node.reboot(Death::Kill).await;
    ends_locked(&site, &node, &locked).await;
}

/// What the package does before it is removed.
async fn removed(site: &Site, node: &Node) {
    let done = site.command(node, &["unlock", "--journalled"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
}

#[tokio::test]
async fn a_removed_package_releases_what_its_agent_held_and_no_persons_lock() {
    let site = Site::new("by-hand-removed");
    let node = machine("node-1").await;
    slow_drain(&node);
    site.start(&node, &[]).await;
    let locked = lock(&site, &node).await;
    // Killed where it waits for the person.
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("locked by hand"))
        .await;
    node.kill().await;
    removed(&site, &node).await;
    assert_eq!(site.phase(&node, Phase::Manual).await, locked);
    // And where it reboots under the person's lock.
    node.start_again();
    node.wait_status(|status| status.contains("locked by hand"))
        .await;
    ask(&node).await;
    draining(&node).await;
    node.kill().await;
    site.phase(&node, Phase::Draining).await;
    removed(&site, &node).await;
    assert_eq!(site.phase(&node, Phase::Manual).await, locked);
    // Of its own it leaves nothing.
    site.unlock(node.machine_id()).await;
    drained(&node);
    node.start_again();
    node.logind().rebooted().await;
    node.kill().await;
    site.phase(&node, Phase::Rebooting).await;
    removed(&site, &node).await;
    site.free().await;
}
