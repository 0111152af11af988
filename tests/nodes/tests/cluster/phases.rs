//! The agent is stopped, killed and replaced by its package in each phase of a reboot: what it holds it goes on holding,
//! the node reboots once, and each trial is judged.

use std::fs;

use pointsman_nodes::{
    bed::skipped,
    cluster::{Cluster, holders},
    container::Container,
};
use pointsman_testbed::disk::Slot;
use serde_json::Value;

use crate::{
    shutdown::{self, GOING_DOWN, delays},
    turns,
};

/// What happens to an agent. After each of them another one runs.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// `systemctl stop`, and start.
    Stopped,
    /// SIGKILL; systemd starts the next one.
    Killed,
    /// The package of another version is installed over it.
    Upgraded,
}

const BLOWS: [Blow; 3] = [Blow::Stopped, Blow::Killed, Blow::Upgraded];

impl Blow {
    /// Deals it, and waits until another agent runs than before.
    async fn deal(self, node: &Container) {
        let before = node.sh("systemctl show -P MainPID pointsman").await;
        let before = before.trim();
        node.sh(match self {
            Self::Stopped => "systemctl stop pointsman; systemctl start pointsman",
            Self::Killed => "systemctl kill --signal=KILL --kill-whom=main pointsman",
            // Whichever is not there.
            Self::Upgraded => {
                "if [ \"$(dpkg-query -W -f '${Version}' pointsman)\" = 0.1.0 ]; then
                     dpkg -i /root/newer.deb
                 else
                     dpkg -i /root/pointsman.deb
                 fi"
            }
        })
        .await;
        node.until(&format!(
            "systemctl is-active -q pointsman; [ \"$(systemctl show -P MainPID pointsman)\" != {before} ]"
        ))
        .await;
    }
}

/// Puts the package of a newer version on each node, and lets no proof end while its agent is replaced.
async fn newer(cluster: &Cluster) {
    let newer = cluster.bed.package("0.2.0").await;
    for node in &cluster.nodes {
        node.write(
            "etc/pointsman/config.d/20-proving.yaml",
            "timings: {proving: 2m}\n",
        );
        fs::copy(&newer, node.path("root/newer.deb")).expect("room for a package");
    }
}

/// The host names in the queue, in order.
fn line(group: &Value) -> Vec<&str> {
    let queue = group["queue"].as_array().into_iter().flatten();
    queue
        .filter_map(|ticket| ticket["hostname"].as_str())
        .collect()
}

/// Panics where the node does not hold, or not for this.
async fn holds(cluster: &Cluster, node: &Container, phase: &str) {
    let group = cluster.group().await;
    let mut holders = holders(&group).map(|holder| (&holder["id"], &holder["phase"]));
    assert_eq!(
        holders.next(),
        Some((&node.id().into(), &phase.into())),
        "{group:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_node_keeps_its_ticket_over_crash_and_upgrade_and_deletes_it_on_stop() {
    if skipped("agents that die in the queue") {
        return;
    }
    let cluster = Cluster::new(2).await;
    turns::note(&cluster);
    newer(&cluster).await;
    cluster.up().await;
    let (n1, n2) = (&cluster.nodes[0], &cluster.nodes[1]);
    let command = cluster.command(&["lock", "--as", "operator"]).await;
    assert_eq!(command.code, Some(0), "{command:?}");
    n1.stage("2").await;
    n1.agent_is("queued").await;
    n2.stage("2").await;
    n2.agent_is("queued").await;
    let queue_is = async |what: &str, names: &[&str]| {
        cluster.until(what, |group| line(group) == names).await;
    };
    queue_is("both wait", &["n1", "n2"]).await;

    Blow::Killed.deal(n1).await;
    n1.agent_is("queued").await;
    queue_is("a crash keeps the place", &["n1", "n2"]).await;

    n1.sh("systemctl stop pointsman").await;
    // At once, and not when its lease has ended.
    assert_eq!(line(&cluster.group().await), ["n2"]);
    n1.sh("systemctl start pointsman").await;
    queue_is("it is behind the other now", &["n2", "n1"]).await;

    // An agent that is replaced leaves the queue as one that is stopped.
    Blow::Upgraded.deal(n1).await;
    queue_is("it is in the queue", &["n2", "n1"]).await;
    for node in [n1, n2] {
        assert_eq!(node.boots(), 1);
    }
    cluster.command(&["unlock", "operator"]).await;
    for node in [n2, n1] {
        node.booted(2).await;
    }
    cluster.free().await;
    turns::one_at_a_time(&cluster);
    for node in [n1, n2] {
        assert_eq!(node.state().boots, [Slot::A, Slot::B], "{}", node.name());
        assert!(node.disk().bits(Slot::B).successful);
    }
    let out = |node| turns::of(node)[0].0;
    assert!(out(n2) < out(n1), "n2 was first in the queue");
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_is_undone_and_repeated_after_a_crash_upgrade_or_stop() {
    if skipped("agents that die in the drain") {
        return;
    }
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    turns::note(&cluster);
    newer(&cluster).await;
    node.hook(
        "pre-reboot.d/20-wait",
        "touch /var/begun; until [ -e /var/drained ]; do sleep 0.1; done",
    );
    // A drain that outlives its agent would have the last word.
    node.hook(
        "post-boot.d/05-alone",
        "systemctl --no-legend list-units 'pointsman-hook-20_wait-*' >>/var/log/beside",
    );
    cluster.up().await;
    node.stage("2").await;
    for blow in BLOWS {
        node.until("test -e /var/begun").await;
        holds(&cluster, node, "draining").await;
        node.sh("rm /var/begun").await;
        blow.deal(node).await;
    }
    // One that is stopped has released before it ends.
    node.until("test -e /var/begun").await;
    node.sh("rm /var/begun; systemctl stop pointsman").await;
    let group = cluster.group().await;
    assert_eq!(
        (&group["holders"], &group["queue"]),
        (&Value::Array(vec![]), &Value::Array(vec![]))
    );
    assert_eq!(turns::of(node).len(), BLOWS.len() + 1);
    node.sh("systemctl start pointsman").await;
    node.until("test -e /var/begun").await;
    assert_eq!(node.boots(), 1);
    node.sh("touch /var/drained").await;
    node.booted(2).await;
    cluster.free().await;
    assert_eq!(node.state().boots, [Slot::A, Slot::B]);
    assert!(node.disk().bits(Slot::B).successful);
    // Each drain was undone before the next one, and the last one after the boot.
    assert_eq!(turns::of(node).len(), BLOWS.len() + 2);
    assert_eq!(node.read("var/log/beside"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_goes_on_while_a_person_asks_for_the_health() {
    if skipped("a drain beside other hooks") {
        return;
    }
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    node.hook(
        "pre-reboot.d/20-wait",
        "echo begun >>/var/begun; until [ -e /var/drained ]; do sleep 0.1; done",
    );
    node.hook("health.d/10-well", "exit 0");
    cluster.up().await;
    node.stage("2").await;
    node.until("test -e /var/begun").await;
    node.sh("pointsman health").await;
    node.sh("systemctl is-active 'pointsman-hook-20_wait-*'")
        .await;
    // One that a person stops has drained nothing.
    node.sh("rm /var/begun; systemctl stop 'pointsman-hook-20_wait-*'")
        .await;
    node.until("journalctl -u pointsman | grep -q '20-wait failed with exit code 143'")
        .await;
    node.until("test -e /var/begun").await;
    assert_eq!(node.boots(), 1);
    node.sh("touch /var/drained").await;
    node.booted(2).await;
    cluster.free().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_is_kept_while_going_down_and_proving() {
    if skipped("agents that die in a reboot and after it") {
        return;
    }
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    turns::note(&cluster);
    newer(&cluster).await;
    shutdown::patient(node);
    // Before the image's own.
    node.hook(
        "health.d/05-wait",
        "touch /var/begun; until [ -e /var/healthy ]; do sleep 0.1; done",
    );
    node.write("var/healthy", "");
    cluster.up().await;
    node.sh("rm -f /var/begun /var/healthy").await;

    // logind was asked, and waits for somebody.
    delays(node).await;
    node.stage("2").await;
    node.until(GOING_DOWN).await;
    for blow in BLOWS {
        blow.deal(node).await;
        node.agent_is("rebooting").await;
        holds(&cluster, node, "rebooting").await;
        // The next to boot is what was cleared.
        node.sh("pointsman slots next | grep -qx USR-B").await;
    }
    // Nor does one hold less that is not there when the system goes.
    node.sh("systemctl stop pointsman").await;
    holds(&cluster, node, "rebooting").await;
    assert_eq!(node.boots(), 1);
    node.sh("touch /var/let-go").await;
    node.booted(2).await;

    for blow in BLOWS {
        node.until("test -e /var/begun && systemctl is-active -q pointsman")
            .await;
        node.agent_is("proving").await;
        node.sh("rm /var/begun").await;
        blow.deal(node).await;
        node.agent_is("proving").await;
        assert_eq!(holders(&cluster.group().await).count(), 1);
        assert!(!node.disk().bits(Slot::B).successful, "{blow:?}");
        let engine = "test \"$(systemctl is-active update-engine)\" = inactive";
        node.sh(engine).await;
    }
    // Nobody judges meanwhile, and nobody lets update_engine in.
    node.until("test -e /var/begun").await;
    node.sh("systemctl stop pointsman; touch /var/healthy; systemctl start update-engine")
        .await;
    node.sh("test \"$(systemctl is-active update-engine)\" = inactive")
        .await;
    assert_eq!(holders(&cluster.group().await).count(), 1);
    assert!(!node.disk().bits(Slot::B).successful);
    node.sh("systemctl start pointsman").await;
    cluster.free().await;
    assert_eq!(node.state().boots, [Slot::A, Slot::B]);
    assert!(node.disk().bits(Slot::B).successful);
    node.until("systemctl is-active -q update-engine").await;
    assert_eq!(turns::of(node).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_image_is_rolled_back_whatever_happens_to_the_agent() {
    if skipped("agents that die while an image fails") {
        return;
    }
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    turns::note(&cluster);
    newer(&cluster).await;
    // How long a bad image is given.
    node.write(
        "etc/pointsman/config.d/20-proving.yaml",
        "timings: {proving: 30s}\n",
    );
    shutdown::patient(node);
    node.hook(
        "health.d/05-wait",
        "touch /var/begun; until [ -e /var/judged ]; do sleep 0.1; done",
    );
    node.write("var/judged", "");
    cluster.up().await;
    node.sh("rm -f /var/begun /var/judged").await;
    node.stage("2-bad").await;
    node.booted(2).await;
    for blow in BLOWS {
        node.until("test -e /var/begun && systemctl is-active -q pointsman")
            .await;
        node.sh("rm /var/begun").await;
        blow.deal(node).await;
        node.agent_is("proving").await;
    }
    // Found bad, and on its way back: that stands, whatever the checks would say now.
    delays(node).await;
    node.sh("touch /var/judged").await;
    node.until(GOING_DOWN).await;
    node.sh("rm /etc/pointsman/hooks/health.d/10-image").await;
    for blow in BLOWS {
        blow.deal(node).await;
        node.agent_is("rolling-back").await;
        assert_eq!(holders(&cluster.group().await).count(), 1);
        assert!(!node.disk().bits(Slot::B).successful, "{blow:?}");
        node.sh("pointsman slots next | grep -qx USR-A").await;
    }
    assert_eq!(node.boots(), 2);
    node.sh("touch /var/let-go").await;
    node.booted(3).await;
    cluster.free().await;
    assert_eq!(node.state().boots, [Slot::A, Slot::B, Slot::A]);
    let listed = cluster.command(&["quarantine", "list"]).await;
    assert!(listed.stdout.contains("2-bad"), "{listed:?}");
    node.agent_is("idle").await;
    assert_eq!(turns::of(node).len(), 1);
}
