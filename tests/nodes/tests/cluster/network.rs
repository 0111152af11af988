//! The network goes away: of a node before and while it holds, and of etcd's leader.

use pointsman_nodes::{
    bed::skipped,
    cluster::{Cluster, holders},
    container::{Container, PATIENCE},
};
use pointsman_testbed::{
    disk::Slot,
    process::{Output, run},
};
use tokio::time::Instant;

use crate::turns;

/// What etcdctl says, asked of this node's member.
async fn etcdctl(cluster: &Cluster, node: &Container, args: &[&str]) -> Output {
    let hub = cluster.network.hub();
    let endpoint = format!("http://{}:2379", node.port().address);
    let call = ["netns", "exec", &hub, "env", "ETCDCTL_API=3", "etcdctl"];
    let with = ["--endpoints", &endpoint];
    run("ip", [&call[..], &with, args].concat(), &[], PATIENCE).await
}

/// The status of this node's member, by columns: endpoint, id, version, size, whether it leads; none where it does not
/// answer.
async fn status(cluster: &Cluster, node: &Container) -> Vec<String> {
    let said = etcdctl(cluster, node, &["endpoint", "status"]).await;
    said.stdout.split(", ").map(str::to_owned).collect()
}

/// The node on which etcd's leader is.
async fn leader(cluster: &Cluster) -> &Container {
    for node in &cluster.nodes[..3] {
        let status = status(cluster, node).await;
        if status.get(4).is_some_and(|leads| leads == "true") {
            return node;
        }
    }
    panic!("etcd has no leader")
}

/// Waits until this node's member serves what the whole quorum agrees to.
async fn until_asked(cluster: &Cluster, node: &Container) {
    let until = Instant::now() + PATIENCE;
    while etcdctl(cluster, node, &["get", "x"]).await.code != Some(0) {
        assert!(Instant::now() < until, "{} is not back", node.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn isolated_holder_stays_up_and_loss_of_the_leader_is_harmless() {
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
    first.port().plug_in().await;
    first.booted(2).await;
    cluster.free().await;
    assert_eq!(first.slot(), Slot::B);

    // The leader is cut off, itself in the queue: the others elect another, and go on without it.
    leader.write("var/drained", "");
    second.write("var/drained", "");
    let command = cluster.command(&["lock", "--as", "operator"]).await;
    assert_eq!(command.code, Some(0), "{command:?}");
    leader.stage("2").await;
    leader.agent_is("queued").await;
    leader.port().cut().await;
    second.stage("2").await;
    cluster
        .until("its place in the queue has ended", |group| {
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
    leader.port().plug_in().await;
    leader.booted(2).await;
    cluster.free().await;
    turns::one_at_a_time(&cluster);
    for node in [first, second, leader] {
        assert_eq!(node.state().boots, [Slot::A, Slot::B], "{}", node.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_isolated_while_proving_keeps_the_lock_until_etcd_answers() {
    if skipped("a network that is cut after the reboot") {
        return;
    }
    let cluster = Cluster::new(4).await;
    turns::note(&cluster);
    for node in &cluster.nodes {
        let wait = ". /usr/lib/os-release; [ $VERSION_ID = 1 ] && exit 0
                    touch /var/begun; until [ -e /var/healthy ]; do sleep 0.1; done";
        node.hook("health.d/20-wait", wait);
        // Longer than etcd is missed here: whose member does not come back rolls back.
        node.write(
            "etc/pointsman/config.d/20-proving.yaml",
            "timings: {proving: 60s}\n",
        );
    }
    cluster.up().await;
    let only = async |node: &Container| {
        let group = cluster.group().await;
        let ids: Vec<_> = holders(&group).map(|holder| holder["id"].clone()).collect();
        assert_eq!(ids, [node.id()], "{group:#}");
    };

    // Without a member of etcd: it proves the boot by itself, and keeps what it cannot release. Meanwhile etcd's leader
    // is cut off as well, and so the release goes to what is left.
    let outer = &cluster.nodes[3];
    outer.stage("2").await;
    outer.booted(2).await;
    outer.until("test -e /var/begun").await;
    outer.port().cut().await;
    let first = leader(&cluster).await;
    first.port().cut().await;
    outer.sh("touch /var/healthy").await;
    outer
        .until("journalctl -u pointsman | grep -q 'releasing the reboot lock: no etcd endpoint answered'")
        .await;
    assert!(outer.disk().bits(Slot::B).successful);
    outer.until("systemctl is-active -q update-engine").await;
    cluster
        .until("etcd has another leader", |group| group.is_object())
        .await;
    only(outer).await;
    outer.port().plug_in().await;
    cluster.free().await;
    outer.agent_is("idle").await;
    first.port().plug_in().await;

    // With a member, which leads by the time it is cut off: that it is back is a part of the proof.
    let member = cluster.nodes[..3]
        .iter()
        .find(|node| node.name() != first.name())
        .expect("there are three");
    member.stage("2").await;
    member.booted(2).await;
    member.until("test -e /var/begun").await;
    let id = status(&cluster, member).await[1].clone();
    let before = leader(&cluster).await;
    if before.name() != member.name() {
        let moved = etcdctl(&cluster, before, &["move-leader", &id]).await;
        assert_eq!(moved.code, Some(0), "{moved:?}");
    }
    assert_eq!(leader(&cluster).await.name(), member.name());
    member.port().cut().await;
    // Stages meanwhile, and may not go: etcd would be left with one.
    first.stage("2").await;
    member.sh("touch /var/healthy").await;
    member.says("member of etcd").await;
    cluster
        .until("etcd has another leader", |group| group.is_object())
        .await;
    only(member).await;
    assert!(!member.disk().bits(Slot::B).successful);
    member
        .sh("test \"$(systemctl is-active update-engine)\" = inactive")
        .await;
    assert_eq!(first.boots(), 1);
    first.write("var/healthy", "");
    member.port().plug_in().await;
    first.booted(2).await;
    assert!(member.disk().bits(Slot::B).successful);
    cluster.free().await;
    turns::one_at_a_time(&cluster);
    for node in [outer, member, first] {
        assert_eq!(node.state().boots, [Slot::A, Slot::B], "{}", node.name());
        assert_eq!(turns::of(node).len(), 1, "{}", node.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_isolated_while_draining_undoes_or_finishes_its_reboot() {
    if skipped("a leader that is cut off while its node drains") {
        return;
    }
    let cluster = Cluster::new(4).await;
    turns::note(&cluster);
    for node in &cluster.nodes {
        let wait = "touch /var/draining; until [ -e /var/drained ]; do sleep 0.1; done";
        node.hook("pre-reboot.d/20-wait", wait);
    }
    cluster.up().await;
    let outer = &cluster.nodes[3];
    outer.write("var/drained", "");
    let holds = async |node: &Container, phase: &str| {
        let group = cluster.group().await;
        let held: Vec<_> = holders(&group).map(|h| (&h["id"], &h["phase"])).collect();
        assert_eq!(held, [(&node.id().into(), &phase.into())], "{group:#}");
    };
    let goes_on_without = async |node: &Container| {
        cluster
            .until("etcd has another leader", |group| group.is_object())
            .await;
        assert_ne!(leader(&cluster).await.name(), node.name());
        holds(node, "draining").await;
    };

    // Drained while nobody can be asked: what was drained is let in again, what was taken is kept, and the line waits.
    let first = leader(&cluster).await;
    first.stage("2").await;
    first.until("test -e /var/draining").await;
    first.port().cut().await;
    goes_on_without(first).await;
    outer.stage("2").await;
    outer.says("is taken by").await;
    first.sh("touch /var/drained").await;
    first.agent_is("releasing").await;
    first
        .until("journalctl -u pointsman | grep -q 'releasing the reboot lock: no etcd endpoint answered'")
        .await;
    assert_eq!(turns::of(first).len(), 1, "its drain is undone");
    holds(first, "draining").await;
    assert_eq!((first.boots(), outer.boots()), (1, 1));
    first.port().plug_in().await;
    // The one who waited first; and then it tries again.
    for node in [outer, first] {
        node.booted(2).await;
        cluster
            .until("it is proven", |_| node.disk().bits(Slot::B).successful)
            .await;
    }
    cluster.free().await;

    // Back before its drain has ended: it goes on where it was, and who leads does not matter.
    let second = leader(&cluster).await;
    assert_ne!(second.name(), first.name(), "it has been started since");
    second.stage("2").await;
    second.until("test -e /var/draining").await;
    second.port().cut().await;
    goes_on_without(second).await;
    second.port().plug_in().await;
    until_asked(&cluster, second).await;
    second.sh("touch /var/drained").await;
    second.booted(2).await;
    cluster.free().await;

    let last = cluster.nodes[..3]
        .iter()
        .find(|node| node.boots() == 1)
        .expect("there are three");
    last.write("var/drained", "");
    last.stage("2").await;
    last.booted(2).await;
    cluster.free().await;
    turns::one_at_a_time(&cluster);
    for (node, turns) in [(outer, 1), (first, 2), (second, 1), (last, 1)] {
        assert_eq!(node.state().boots, [Slot::A, Slot::B], "{}", node.name());
        assert!(node.disk().bits(Slot::B).successful, "{}", node.name());
        assert_eq!(turns::of(node).len(), turns, "{}", node.name());
    }
}
