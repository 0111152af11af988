//! The network goes away: of a node before and while it holds, and of etcd's leader.

use pointsman_nodes::{
    bed::skipped,
    cluster::{Cluster, holders},
    container::{Container, PATIENCE},
};
use pointsman_testbed::{disk::Slot, process::run};

use crate::turns;

/// The node on which etcd's leader is.
async fn leader(cluster: &Cluster) -> &Container {
    let hub = cluster.network.hub();
    for node in &cluster.nodes[..3] {
        let endpoint = format!("http://{}:2379", node.port().address);
        let status = ["endpoint", "status", "--endpoints", &endpoint];
        let call = ["netns", "exec", &hub, "env", "ETCDCTL_API=3", "etcdctl"];
        let said = run("ip", [&call[..], &status].concat(), &[], PATIENCE).await;
        if said.stdout.split(", ").nth(4) == Some("true") {
            return node;
        }
    }
    panic!("etcd has no leader")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_while_it_holds_stays_up_and_a_leader_is_missed_by_nobody() {
    if skipped("a cut network") {
        return;
    }
    let cluster = Cluster::new(5).await;
    turns::note(&cluster);
    for node in &cluster.nodes {
        let wait = "touch /var/draining; until [ -e /var/drained ]; do sleep 0.1; done";
        node.hook("pre-reboot.d/20-wait", wait);
    }
    cluster.up().await;
    let leader = leader(&cluster).await;
    // Neither has a member of etcd: what its nodes may do while a member is away is another matter.
    let (first, second) = (&cluster.nodes[3], &cluster.nodes[4]);

    // Cut off while it drains: it does not know whether it may go, and does not.
    first.stage("2").await;
    first.until("test -e /var/draining").await;
    first.port().cut().await;
    first.sh("touch /var/drained").await;
    // Tries again and again, each time over all endpoints.
    let failed = "committing to the reboot: no etcd endpoint answered";
    first
        .until(&format!(
            "[ $(journalctl -u pointsman | grep -c '{failed}') -ge 2 ]"
        ))
        .await;
    assert_eq!(first.boots(), 1);
    let group = cluster.group().await;
    assert_eq!(
        holders(&group).next().map(|h| &h["id"]),
        Some(&first.id().into())
    );
    first.port().mend().await;
    first.booted(2).await;
    cluster.free().await;
    assert_eq!(first.slot(), Slot::B);

    // The leader is cut off, itself in the line: the others elect another, and go on without it.
    leader.write("var/drained", "");
    second.write("var/drained", "");
    let command = cluster.command(&["lock", "operator"]).await;
    assert_eq!(command.code, Some(0), "{command:?}");
    leader.stage("2").await;
    leader.agent_is("queued").await;
    leader.port().cut().await;
    second.stage("2").await;
    cluster
        .until("its place in the line has ended", |group| {
            group["queue"]
                .as_array()
                .is_some_and(|queue| queue.len() == 1 && queue[0]["id"] == second.id())
        })
        .await;
    cluster.command(&["unlock", "operator"]).await;
    second.booted(2).await;
    cluster
        .until("it is proven", |_| second.disk().bits(Slot::B).successful)
        .await;
    assert_eq!(leader.boots(), 1);
    leader.port().mend().await;
    leader.booted(2).await;
    cluster.free().await;
    turns::one_at_a_time(&cluster);
    for node in [first, second, leader] {
        assert_eq!(node.state().boots, [Slot::A, Slot::B], "{}", node.name());
    }
}
