//! The container scenario of the quick suite: one booted system with the package as users have it.

use pointsman_nodes::{bed::skipped, cluster::Cluster};
use pointsman_testbed::disk::Slot;

#[tokio::test(flavor = "multi_thread")]
async fn a_booted_node_reboots_when_asked_and_into_an_update_it_then_proves() {
    if skipped("a booted node") {
        return;
    }
    let cluster = Cluster::idle_alone().await;
    let node = &cluster.nodes[0];
    node.sh("systemctl is-active etcd update-engine").await;

    // By a person, through the agent and logind.
    node.sh("pointsman reboot --reason 'new disk'").await;
    node.booted(2).await;
    node.up().await;
    node.agent_is("idle").await;
    assert_eq!(node.slot(), Slot::A);
    assert!(node.read("var/log/fake-update-engine").lines().count() == 2);

    // Into an update; the boot is a trial until the agent has proven it, and update_engine comes only then.
    node.stage("2").await;
    node.booted(3).await;
    assert_eq!(node.slot(), Slot::B);
    node.up().await;
    node.agent_is("idle").await;
    assert!(node.disk().bits(Slot::B).successful);
    node.until("systemctl is-active --quiet update-engine")
        .await;
}
