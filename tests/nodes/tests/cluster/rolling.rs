//! Roll-outs: a good image, a bad one, a node that stays away, a site without power.

use pointsman_nodes::{
    bed::skipped,
    cluster::{Cluster, holders},
    container::Container,
};
use pointsman_testbed::disk::Slot;

use crate::turns;

/// Three nodes, up and idle on version 1.
async fn three() -> Cluster {
    let cluster = Cluster::new(3).await;
    turns::note(&cluster);
    cluster.up().await;
    cluster
}

/// Waits until all run this slot, proven, and nobody holds.
async fn all_on(cluster: &Cluster, slot: Slot) {
    for node in &cluster.nodes {
        cluster
            .until(&format!("{} is on {slot:?}", node.name()), |_| {
                node.slot() == slot && node.disk().bits(slot).successful
            })
            .await;
    }
    cluster.free().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_rolls_through_all_nodes_one_at_a_time() {
    if skipped("a roll-out") {
        return;
    }
    let cluster = three().await;
    for node in &cluster.nodes {
        node.stage("2").await;
    }
    all_on(&cluster, Slot::B).await;
    turns::one_at_a_time(&cluster);
    for node in &cluster.nodes {
        assert_eq!(node.state().boots, [Slot::A, Slot::B], "{}", node.name());
        assert_eq!(turns::of(node).len(), 1);
        // Let in by the agent, once, after its proof; and before that in the first boot.
        node.until("systemctl is-active --quiet update-engine")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_image_is_rolled_back_and_no_other_node_boots_it() {
    if skipped("a bad image") {
        return;
    }
    let cluster = three().await;
    for node in &cluster.nodes {
        node.stage("2-bad").await;
    }
    let gone_back = |_: &_| {
        let mut nodes = cluster.nodes.iter();
        nodes.any(|node| node.state().boots == [Slot::A, Slot::B, Slot::A])
    };
    cluster.until("one has rolled back", gone_back).await;
    cluster.free().await;
    let listed = cluster.command(&["quarantine", "list"]).await;
    assert!(listed.stdout.contains("2-bad"), "{listed:?}");
    let boots: usize = cluster.nodes.iter().map(Container::boots).sum();
    // The bus is there until the agent has stopped.
    for node in &cluster.nodes {
        let said = node.journal("pointsman").await;
        assert!(!said.contains("bus"), "{said}");
    }
    for node in &cluster.nodes {
        if node.boots() == 1 {
            node.says("quarantine").await;
        }
    }
    // update_engine on each node finds a better one.
    for node in &cluster.nodes {
        node.stage("3").await;
    }
    all_on(&cluster, Slot::B).await;
    turns::one_at_a_time(&cluster);
    assert_eq!(boots, 5);
    let after: usize = cluster.nodes.iter().map(Container::boots).sum();
    assert_eq!(after, boots + 3, "each went once more, and none twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_node_stops_the_rollout_until_it_is_unlocked() {
    if skipped("a node that never comes back") {
        return;
    }
    let cluster = Cluster::new(5).await;
    let deadline = "timings: {reboot-deadline: 4s}\n";
    for node in &cluster.nodes {
        node.write("etc/pointsman/config.d/20-deadline.yaml", deadline);
    }
    cluster.up().await;
    // The one that is lost has no member of etcd.
    let [third, _, _, lost, second] = &cluster.nodes[..] else {
        unreachable!("five nodes")
    };
    lost.stays_away();
    lost.stage("2").await;
    lost.off().await;
    for node in [second, third] {
        node.stage("2").await;
    }
    let group = cluster
        .until("it is overdue, and the others wait", |group| {
            holders(group).any(|holder| holder["overdue"] == true)
                && group["queue"].as_array().is_some_and(|q| q.len() == 2)
        })
        .await;
    let holder = holders(&group).next().expect("one holds");
    assert_eq!(
        (&holder["id"], &holder["phase"]),
        (&lost.id().into(), &"rebooting".into())
    );
    assert!(holder["since"].is_string(), "{holder}");
    let table = cluster.command(&["status"]).await;
    assert!(table.stdout.contains("rebooting OVERDUE"), "{table:?}");
    assert_eq!((second.boots(), third.boots()), (1, 1));

    let refused = cluster.command(&["unlock", lost.id()]).await;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    let forced = cluster.command(&["unlock", "--force", lost.id()]).await;
    assert_eq!(forced.code, Some(0), "{forced:?}");
    for node in [second, third] {
        cluster
            .until("it is on B", |_| node.disk().bits(Slot::B).successful)
            .await;
    }
    cluster.free().await;
    // Back at last: it is proven, and holds nothing.
    lost.start();
    cluster
        .until("it is on B", |_| lost.disk().bits(Slot::B).successful)
        .await;
    lost.agent_is("idle").await;
    cluster.free().await;
    assert_eq!((second.boots(), third.boots()), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn rollout_continues_after_a_site_wide_power_failure() {
    if skipped("a power cut") {
        return;
    }
    let cluster = three().await;
    // The proof lasts until the power is cut, and is forgiven for that.
    for node in &cluster.nodes {
        let wait = ". /usr/lib/os-release; [ $VERSION_ID = 1 ] || [ -e /var/go ] || exec sleep 60";
        node.hook("health.d/20-wait", wait);
    }
    for node in &cluster.nodes {
        node.stage("2").await;
    }
    cluster
        .until("one is on its new image", |_| {
            cluster.nodes.iter().any(|node| node.boots() == 2)
        })
        .await;
    let mut nodes = cluster.nodes.iter();
    let out = nodes.find(|node| node.boots() == 2).expect("there is one");
    out.agent_is("proving").await;
    for node in &cluster.nodes {
        node.cut_power().await;
    }
    // Nobody is moved to the new image by that: who had not been cleared still boots the old one.
    let waited: Vec<_> = cluster.nodes.iter().filter(|n| n.boots() == 1).collect();
    assert!(!waited.is_empty());
    for node in &cluster.nodes {
        node.write("var/go", "");
        node.start();
    }
    for node in waited {
        node.booted(2).await;
        assert_eq!(node.slot(), Slot::A, "{}", node.name());
    }
    // What was staged on them went with the power.
    for node in &cluster.nodes {
        node.up().await;
        if node.slot() == Slot::A {
            node.stage("2").await;
        }
    }
    all_on(&cluster, Slot::B).await;
}
