//! The agent is stopped, killed and replaced by its package while the node holds or waits.

use pointsman_nodes::{
    bed::skipped,
    cluster::{Cluster, holders},
    container::Container,
};
use pointsman_testbed::disk::Slot;

use crate::turns;

/// A hook that waits for this file, and says with another that it has begun.
fn wait_for(node: &Container, hook: &str, file: &str) {
    let script = format!("touch /var/{file}-begun; until [ -e /var/{file} ]; do sleep 0.1; done");
    node.hook(hook, &script);
}

async fn holds(cluster: &Cluster, node: &Container) -> bool {
    holders(&cluster.group().await).any(|holder| holder["id"] == node.id())
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_killed_and_upgraded_while_it_holds_or_waits() {
    if skipped("an agent that is stopped, killed and upgraded") {
        return;
    }
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    turns::note(&cluster);
    wait_for(node, "pre-reboot.d/20-wait", "drained");
    wait_for(node, "health.d/20-wait", "healthy");
    node.write("var/healthy", "");
    cluster.up().await;
    let newer = cluster.bed.package("0.2.0").await;
    std::fs::copy(&newer, node.path("root/newer.deb")).expect("room for a package");

    // Stopped in the drain: undone, given back, and nothing is rebooted.
    node.stage("2").await;
    node.until("test -e /var/drained-begun").await;
    assert!(holds(&cluster, node).await);
    node.sh("systemctl stop pointsman").await;
    cluster.free().await;
    assert_eq!(turns::of(node).len(), 1, "drained and undrained");

    // Upgraded in the line: it takes its place again, and holds nothing.
    let command = cluster.command(&["lock", "operator"]).await;
    assert_eq!(command.code, Some(0), "{command:?}");
    node.sh("systemctl start pointsman").await;
    node.agent_is("queued").await;
    node.sh("dpkg -i /root/newer.deb").await;
    node.agent_is("queued").await;
    assert!(!holds(&cluster, node).await);

    // Killed in the drain: the next one takes up what is in the journal.
    node.sh("rm /var/drained-begun").await;
    cluster.command(&["unlock", "operator"]).await;
    node.until("test -e /var/drained-begun").await;
    node.sh("rm /var/drained-begun; systemctl kill --signal=KILL --kill-whom=main pointsman")
        .await;
    node.until("test -e /var/drained-begun").await;
    assert!(holds(&cluster, node).await);
    assert_eq!(node.boots(), 1);

    // Upgraded while it proves: it goes on holding until the new one has proven it.
    node.sh("rm /var/healthy; touch /var/drained").await;
    node.booted(2).await;
    node.until("test -e /var/healthy-begun && systemctl is-active -q pointsman")
        .await;
    node.agent_is("proving").await;
    node.sh("dpkg -i /root/pointsman.deb").await;
    node.agent_is("proving").await;
    assert!(holds(&cluster, node).await);
    assert!(!node.disk().bits(Slot::B).successful);
    node.sh("touch /var/healthy").await;
    cluster.free().await;
    assert!(node.disk().bits(Slot::B).successful);
    assert_eq!(node.state().boots, [Slot::A, Slot::B]);
}
