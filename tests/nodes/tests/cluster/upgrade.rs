//! The package is upgraded from the release before, and removed, in each phase of a reboot: no lock stays behind, none is lost.

use std::fs;

use pointsman_nodes::{
    bed::{built, skipped},
    cluster::{Cluster, holders},
    container::Container,
};
use pointsman_testbed::{disk::Slot, release_before};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn package_is_upgraded_and_removed_in_each_phase_without_losing_or_leaving_a_lock() {
    if skipped("upgrades from the release before") {
        return;
    }
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    // A source without its history has no release before; then the same program is upgraded.
    let program = release_before::program().map_or_else(|| built().join("pointsman"), Into::into);
    let older = cluster.bed.package_of(&program, "0.1.0").await;
    let newer = cluster.bed.package("0.2.0").await;
    for (package, name) in [(older, "older"), (newer, "newer")] {
        fs::copy(&package, node.path(&format!("root/{name}.deb"))).expect("room for a package");
    }
    node.hook(
        "pre-reboot.d/20-wait",
        "until [ -e /var/drained ]; do sleep 0.1; done",
    );
    node.hook(
        "health.d/20-wait",
        "[ -e /var/healthy ] || { echo not yet; exit 1; }",
    );
    node.write("var/healthy", "");
    let patient = "timings: {proving: 10min}\n";
    node.write("etc/pointsman/config.d/06-patient.yaml", patient);
    cluster.up().await;

    // Queued: it leaves the queue, and joins it again.
    install(node, "older").await;
    node.agent_is("idle").await;
    if release_before::program().is_some() {
        node.sh("pointsman --version | grep -q ' 0\\.1\\.'").await;
    }
    cluster.command(&["lock", "--as", "operator"]).await;
    node.stage("2").await;
    node.agent_is("queued").await;
    install(node, "newer").await;
    node.agent_is("queued").await;
    let group = cluster.group().await;
    assert_eq!(
        group["queue"].as_array().map(Vec::len),
        Some(1),
        "{group:#}"
    );

    // Draining: the drain is undone and the lock released; then the new agent takes it and drains.
    install(node, "older").await;
    node.agent_is("queued").await;
    cluster.command(&["unlock", "operator"]).await;
    let before = cluster.phase(node, "draining").await;
    install(node, "newer").await;
    let after = cluster.phase(node, "draining").await;
    let nonce = |group: &Value| holder(group, node)["since"].clone();
    assert_ne!(nonce(&before), nonce(&after));

    // Proving: it holds, and the new agent goes on.
    node.sh("rm /var/healthy; touch /var/drained").await;
    node.booted(2).await;
    let before = cluster.phase(node, "proving").await;
    install(node, "older").await;
    node.agent_is("proving").await;
    install(node, "newer").await;
    node.agent_is("proving").await;
    let after = cluster.phase(node, "proving").await;
    assert_eq!(nonce(&before), nonce(&after));
    node.sh("touch /var/healthy; rm /var/drained").await;
    cluster.free().await;
    assert_eq!(node.slot(), Slot::B);

    // Removed, then purged, while it drains: nothing is left in etcd, and the update boots next.
    for goes in ["--remove", "--purge"] {
        node.until("systemctl is-active --quiet update-engine")
            .await;
        if goes == "--remove" {
            node.stage("3").await;
        }
        cluster.phase(node, "draining").await;
        node.sh(&format!("dpkg {goes} pointsman")).await;
        let group = cluster.group().await;
        assert_eq!(
            (&group["holders"], &group["queue"]),
            (&json!([]), &json!([])),
            "{goes}"
        );
        let (a, b) = (node.disk().bits(Slot::A), node.disk().bits(Slot::B));
        assert!(a.priority > b.priority, "{goes}: {a:?} {b:?}");
        if goes == "--remove" {
            node.sh("dpkg -i /root/newer.deb").await;
        }
    }
    node.sh("test ! -e /var/lib/pointsman").await;
    assert_eq!(node.boots(), 2);
}

/// Installs one of the two packages over the other, and sees that its program runs.
async fn install(node: &Container, package: &str) {
    node.sh(&format!(
        "dpkg -i /root/{package}.deb
         cmp /usr/bin/pointsman \"/proc/$(systemctl show -P MainPID pointsman)/exe\""
    ))
    .await;
}

/// The node among the holders.
fn holder<'a>(group: &'a Value, node: &Container) -> &'a Value {
    holders(group)
        .find(|holder| holder["id"] == node.id())
        .expect("it holds")
}
