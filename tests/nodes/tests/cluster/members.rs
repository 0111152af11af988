//! The nodes that etcd itself is on leave one at a time, and none while another member is down.

use pointsman_nodes::{bed::skipped, cluster::Cluster};
use pointsman_testbed::disk::Slot;

use crate::turns;

#[tokio::test(flavor = "multi_thread")]
async fn a_members_node_stays_while_another_member_is_down_and_groups_do_not_matter() {
    if skipped("the guard of etcd's members") {
        return;
    }
    let cluster = Cluster::new(4).await;
    turns::note(&cluster);
    let [n1, n2, n3, n4] = &cluster.nodes[..] else {
        unreachable!("four nodes")
    };
    // By its own semaphore it could be out whenever it likes.
    n3.write("etc/pointsman/config.d/20-group.yaml", "group: db\n");
    cluster.up().await;

    // A machine without power: its member is down. Who has one stays, out of the queue; who has none goes.
    n2.cut_power().await;
    n1.stage("2").await;
    n1.says("another one (n2) is not healthy").await;
    n1.agent_is("waiting").await;
    n4.stage("2").await;
    n4.booted(2).await;
    cluster
        .until("n4 is on B", |_| n4.disk().bits(Slot::B).successful)
        .await;
    n1.says("another one (n2) is not healthy").await;
    assert_eq!(n1.boots(), 1);
    n2.start();
    n1.booted(2).await;
    cluster
        .until("n1 is on B", |_| n1.disk().bits(Slot::B).successful)
        .await;
    cluster.free().await;

    // Of two groups, both wanted at once: still one after the other.
    n2.agent_is("idle").await;
    n2.stage("2").await;
    n3.stage("2").await;
    for node in [n2, n3] {
        cluster
            .until(&format!("{} is on B", node.name()), |_| {
                node.slot() == Slot::B && node.disk().bits(Slot::B).successful
            })
            .await;
        node.agent_is("idle").await;
    }
    turns::one_at_a_time(&cluster);
    for node in [n1, n3, n4] {
        assert_eq!(node.state().boots, [Slot::A, Slot::B], "{}", node.name());
    }
    assert_eq!(n2.state().boots, [Slot::A, Slot::A, Slot::B]);
}
