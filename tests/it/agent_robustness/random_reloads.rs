//! Agents that are terminated or reloaded at random moments, while operators pause, lock and cancel.

use std::time::Duration;

use host::node::Group;
use pointsman::agent::bus::AgentClient;
use pointsman_testbed::{
    etcd::shared_cluster,
    fakes::PATIENCE,
    node::{AutoReboot, History},
    process::Signal,
};
use semaphore::{etcd::Semaphore, keys::Keys};

use crate::{
    agents::{Site, hook, machine},
    support::{BACK_OFF, Random, eventually, most_holders, options},
};

#[tokio::test]
async fn random_terminations_and_operators_never_exceed_max_or_lose_the_lock() {
    let site = Site::new("robust-random");
    let history = History::new();
    let mut nodes = Vec::new();
    for name in ["node-1", "node-2", "node-3", "node-4"] {
        let node = site.node(name, &[("POINTSMAN_TICKET_LEASE", "2s")]).await;
        hook(&node, "pre-reboot.d/10-takes-time", "sleep 0.03");
        node.auto_reboot(AutoReboot {
            delay: Duration::from_millis(30),
            history: history.clone(),
            ..AutoReboot::default()
        });
        nodes.push(node);
    }
    site.semaphore.set_max(2, false).await.unwrap();
    let mut random = Random::new("a group under fire");
    for round in 0..60 {
        let node = &nodes[random.below(4) as usize];
        node.update_engine().ready(&format!("{}", 2 + round)).await;
        match random.below(6) {
            0 => {
                site.command(node, &["pause", "--reason", "tea"]).await;
                site.command(node, &["resume"]).await;
            }
            1 => drop(site.command(node, &["unlock"]).await),
            2 => {
                // Not by the command: it would reboot a machine that is down already.
                let client = AgentClient::new(node.bus().connection().await);
                let _ = client.request_reboot("why not").await;
            }
            3 => drop(site.command(node, &["cancel"]).await),
            4 => node.logind().restart().await,
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(random.below(120))).await;
        let asked = node.logind().asked().len();
        if asked > node.reboots() {
            eventually("it is up", async || node.reboots(), |n| *n == asked).await;
            continue;
        }
        node.child().signal(Signal::SIGTERM);
        node.child().wait().await;
        if node.logind().asked().len() == asked {
            node.start_again();
        }
    }
    let want = history.reboots();
    for node in &nodes {
        let running = async || node.child().is_running();
        eventually("its agent", running, |runs| *runs).await;
        node.update_engine().ready("1000").await;
    }
    history.wait_reboots(want + 4, PATIENCE).await;
    site.free().await;
    assert!(history.max_out_at_once() <= 2);
    assert!(most_holders(shared_cluster(), &site.semaphore).await <= 2);
}

#[tokio::test]
async fn random_group_changes_leave_nothing_behind() {
    let site = Site::new("robust-groups");
    let node = machine("node-1").await;
    node.write("etc/pointsman/config.yaml", "group: a\n");
    node.auto_reboot(AutoReboot::default());
    site.start(&node, &[("POINTSMAN_TICKET_LEASE", "2s")]).await;
    node.wait_status(|status| status == "idle").await;
    let mut random = Random::new("a node that changes groups");
    for round in 0..60 {
        let group = ["a", "b"][random.below(2) as usize];
        node.write("etc/pointsman/config.yaml", &format!("group: {group}\n"));
        node.update_engine().ready(&format!("{}", 2 + round)).await;
        tokio::time::sleep(Duration::from_millis(random.below(60))).await;
        // Before it is ready the signal would end it.
        node.wait_ready().await;
        node.child().signal(Signal::SIGHUP);
        tokio::time::sleep(Duration::from_millis(random.below(60))).await;
    }
    let reboots = async || {
        (
            node.reboots(),
            node.logind().asked().len(),
            node.update_engine().status().needs_reboot(),
        )
    };
    eventually("it rests", reboots, |(up, asked, staged)| {
        up == asked && !staged
    })
    .await;
    node.wait_status(|status| status == "idle").await;
    // How many of the sixty came through is a matter of speed; the last one does.
    assert!(node.reboots() >= 1);
    for group in ["a", "b"] {
        let keys = Keys::new(&site.prefix, Group::new(group).unwrap());
        let semaphore = Semaphore::new(options(shared_cluster().endpoints()), keys, BACK_OFF);
        let read = async || semaphore.read().await.unwrap();
        eventually(group, read, |g| g.holders.is_empty() && g.queue.is_empty()).await;
    }
}
