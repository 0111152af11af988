//! kill -9 of the agent at every step of its journal, and then both continuations: the agent is started again on the same
//! boot, or the machine has lost power. Never more than max out, never a semaphore lost, never a reboot without one.

use std::time::Duration;

use pointsman_testbed::{
    etcd::shared_cluster,
    fakes::{OnReboot, PATIENCE},
    node::{AutoReboot, Death, History, Node},
    proxy::{Aim, Mode, Proxy},
};
use semaphore::records::Phase;

use crate::{
    agents::{Site, agent, drained, draining, machine, slow_drain, undrained},
    support::{Random, eventually, most_holders},
};

/// How it goes on after the kill.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    /// systemd starts the agent again.
    SameBoot,
    /// The machine lost power, and comes up again.
    PowerCut,
}

const BOTH: [Then; 2] = [Then::SameBoot, Then::PowerCut];

async fn go_on(node: &Node, then: Then) {
    match then {
        Then::SameBoot => node.start_again(),
        Then::PowerCut => node.reboot(Death::Kill).await,
    }
}

/// What the journal says the agent is doing.
fn stage(node: &Node) -> Option<String> {
    let text = std::fs::read(node.path("var/lib/pointsman/journal.json")).ok()?;
    let journal: serde_json::Value = serde_json::from_slice(&text).ok()?;
    Some(journal["entry"]["stage"].as_str()?.to_owned())
}

async fn journalled(node: &Node, wanted: &str) {
    eventually(
        wanted,
        async || stage(node),
        |stage| stage.as_deref() == Some(wanted),
    )
    .await;
}

/// The node, left in peace with its update, still gets its reboot, one, and releases the lock.
async fn finishes(site: &Site, node: &Node) {
    let before = node.logind().reboots().len();
    node.auto_reboot(AutoReboot::default());
    node.update_engine().ready("2").await;
    node.logind().wait_reboots(before + 1).await;
    node.wait_status(|status| status == "idle").await;
    site.free().await;
    assert_eq!(node.logind().reboots().len(), before + 1);
    assert_eq!(stage(node), None);
}

#[tokio::test]
async fn agent_killed_while_queued_finishes_its_reboot() {
    for then in BOTH {
        let site = Site::new("kill-queued");
        site.lock().await;
        let node = site.node("node-1", &[]).await;
        node.update_engine().ready("2").await;
        site.until("its ticket", |group| group.queue.len() == 1)
            .await;
        node.kill().await;
        assert_eq!(stage(&node).as_deref(), Some("queued"));
        // Its turn comes while it is dead: nobody takes for it.
        site.unlock("operator").await;
        go_on(&node, then).await;
        if then == Then::PowerCut {
            node.wait_status(|status| status == "idle").await;
            site.free().await;
        }
        finishes(&site, &node).await;
    }
}

#[tokio::test]
async fn agent_killed_before_the_reply_to_its_take_finishes_its_reboot() {
    for then in BOTH {
        let site = Site::new("kill-take");
        let proxy = Proxy::start(shared_cluster().address(0)).await;
        let node = machine("node-1").await;
        slow_drain(&node);
        agent(&node, &[proxy.url()], &site.prefix, &[]).await;
        node.wait_status(|status| status == "idle").await;
        proxy.lose_reply_to(Aim::Take);
        node.update_engine().ready("2").await;
        proxy.wait_lost(1).await;
        proxy.set(Mode::BlackHole).await;
        node.kill().await;
        // Killed before it could read what happened, it holds and does not know.
        let holder = site.phase(&node, Phase::Draining).await;
        assert_eq!(holder.id, node.machine_id());
        assert_eq!(stage(&node).as_deref(), Some("queued"));
        go_on(&node, then).await;
        proxy.set(Mode::Pass).await;
        if then == Then::PowerCut {
            node.wait_status(|status| status == "idle").await;
            site.free().await;
        }
        drained(&node);
        finishes(&site, &node).await;
    }
}

#[tokio::test]
async fn agent_killed_while_draining_undoes_the_drain_and_releases() {
    for then in BOTH {
        let site = Site::new("kill-drain");
        let node = machine("node-1").await;
        slow_drain(&node);
        site.start(&node, &[("POINTSMAN_RETRY_MAX", "1s")]).await;
        node.update_engine().ready("2").await;
        draining(&node).await;
        node.kill().await;
        assert_eq!(stage(&node).as_deref(), Some("draining"));
        node.update_engine()
            .set_silently(pointsman_testbed::fakes::Status::idle());
        go_on(&node, then).await;
        site.free().await;
        node.wait_status(|status| status == "idle").await;
        let phase = if then == Then::SameBoot {
            "stepping-back"
        } else {
            "proving"
        };
        assert_eq!(undrained(&node), [phase]);
        assert!(node.logind().asked().is_empty());
        drained(&node);
        finishes(&site, &node).await;
    }
}

#[tokio::test]
async fn agent_killed_before_the_reply_to_its_commit_steps_back() {
    for then in BOTH {
        let site = Site::new("kill-commit");
        let proxy = Proxy::start(shared_cluster().address(0)).await;
        let node = machine("node-1").await;
        slow_drain(&node);
        agent(&node, &[proxy.url()], &site.prefix, &[]).await;
        node.wait_status(|status| status == "idle").await;
        node.update_engine().ready("2").await;
        draining(&node).await;
        proxy.lose_reply_to(Aim::Commit);
        drained(&node);
        proxy.wait_lost(1).await;
        proxy.set(Mode::BlackHole).await;
        node.kill().await;
        site.phase(&node, Phase::Rebooting).await;
        assert_eq!(stage(&node).as_deref(), Some("committing"));
        assert!(node.logind().asked().is_empty());
        node.update_engine()
            .set_silently(pointsman_testbed::fakes::Status::idle());
        go_on(&node, then).await;
        proxy.set(Mode::Pass).await;
        // Started again on the boot that committed, it steps back; it never goes straight on.
        site.free().await;
        node.wait_status(|status| status == "idle").await;
        assert!(node.logind().asked().is_empty());
        finishes(&site, &node).await;
    }
}

#[tokio::test]
async fn agent_killed_while_the_shutdown_hangs_keeps_the_lock() {
    for then in BOTH {
        let site = Site::new("kill-shutdown");
        let node = site
            .node("node-1", &[("POINTSMAN_SHUTDOWN_TIMEOUT", "100ms")])
            .await;
        node.logind().on_reboot(OnReboot::Hang);
        node.update_engine().ready("2").await;
        node.logind().wait_asked(1).await;
        site.phase(&node, Phase::Rebooting).await;
        node.kill().await;
        if then == Then::SameBoot {
            node.start_again();
            node.wait_status(|status| status.starts_with("rebooting"))
                .await;
            // It looks again and again, and keeps it as long as the shutdown is under way.
            let looks = node.logind().calls("ListSessions");
            node.logind()
                .wait_for_calls("ListSessions", looks + 5)
                .await;
            site.phase(&node, Phase::Rebooting).await;
            node.update_engine()
                .set_silently(pointsman_testbed::fakes::Status::idle());
            node.logind().cancel_shutdown().await;
        } else {
            node.reboot(Death::Kill).await;
        }
        site.free().await;
        node.wait_status(|status| status == "idle").await;
        node.logind().on_reboot(OnReboot::Succeed);
        finishes(&site, &node).await;
    }
}

#[tokio::test]
async fn agent_killed_while_releasing_without_etcd_releases_later() {
    for then in BOTH {
        let site = Site::new("kill-release");
        let proxy = Proxy::start(shared_cluster().address(0)).await;
        let node = machine("node-1").await;
        agent(&node, &[proxy.url()], &site.prefix, &[]).await;
        node.wait_status(|status| status == "idle").await;
        node.update_engine().ready("2").await;
        node.logind().rebooted().await;
        site.phase(&node, Phase::Rebooting).await;
        proxy.set(Mode::Refuse).await;
        node.reboot(Death::Kill).await;
        journalled(&node, "soaking").await;
        node.kill().await;
        go_on(&node, then).await;
        node.wait_ready().await;
        site.phase(&node, Phase::Rebooting).await;
        proxy.set(Mode::Pass).await;
        site.free().await;
        node.wait_status(|status| status == "idle").await;
        finishes(&site, &node).await;
    }
}

#[tokio::test]
async fn random_kills_never_exceed_max_or_lose_the_lock() {
    let site = Site::new("kill-random");
    let history = History::new();
    let mut nodes = Vec::new();
    for name in ["node-1", "node-2", "node-3"] {
        let node = site.node(name, &[("POINTSMAN_TICKET_LEASE", "2s")]).await;
        node.auto_reboot(AutoReboot {
            delay: Duration::from_millis(30),
            history: history.clone(),
            ..AutoReboot::default()
        });
        nodes.push(node);
    }
    let mut random = Random::new("kills at random");
    for round in 0..40 {
        let node = &nodes[random.below(3) as usize];
        node.update_engine().ready(&format!("{}", 2 + round)).await;
        // Anywhere between the ticket and the next boot: the moment is the very thing that is varied.
        tokio::time::sleep(Duration::from_millis(random.below(90))).await;
        let asked = node.logind().asked().len();
        if asked > node.reboots() {
            // It is going down already, and will start its agent by itself.
            eventually("it is up", async || node.reboots(), |n| *n == asked).await;
            continue;
        }
        node.kill().await;
        // Whatever the dead agent has said on the bus comes before this question's answer.
        let bus = node.bus().connection().await;
        let name = Some("org.freedesktop.login1");
        let manager = Some("org.freedesktop.login1.Manager");
        let path = "/org/freedesktop/login1";
        let answer = bus
            .call_method(name, path, manager, "ListInhibitors", &())
            .await;
        answer.unwrap();
        if node.logind().asked().len() == asked {
            node.start_again();
        }
    }
    let want = history.reboots();
    for node in &nodes {
        // One more for each, undisturbed.
        let running = async || node.child().is_running();
        eventually("its agent", running, |runs| *runs).await;
        node.update_engine().ready("1000").await;
    }
    history.wait_reboots(want + 3, PATIENCE).await;
    site.free().await;
    assert_eq!(history.max_out_at_once(), 1);
    assert_eq!(most_holders(shared_cluster(), &site.semaphore).await, 1);
}
