//! The image for systemd-sysext: all that the package brings, on a system whose /usr is not changed.

use pointsman_nodes::{
    bed::{sh, skipped},
    cluster::Cluster,
};

#[tokio::test(flavor = "multi_thread")]
async fn merged_image_runs_the_agent_and_goes_without_a_trace() {
    if skipped("the image for systemd-sysext") {
        return;
    }
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    cluster.up().await;
    // A system without the package, but with a configuration.
    node.sh("dpkg -r pointsman; test ! -e /usr/bin/pointsman")
        .await;
    let image = cluster.bed.sysext().await;
    // What is in the image, as a folder: a container has no loop devices to mount the image itself.
    let merged = node.path("var/lib/extensions/pointsman");
    sh(&format!(
        "mkdir -p {parent}; unsquashfs -quiet -no-progress -dest {merged} {image} >/dev/null",
        parent = merged.parent().expect("it has one").display(),
        merged = merged.display(),
        image = image.display(),
    ))
    .await;
    let began = node
        .sh("systemctl show -P UserspaceTimestampMonotonic")
        .await;
    node.sh("systemd-sysext merge && systemctl daemon-reload && systemctl reload dbus && systemd-tmpfiles --create pointsman.conf")
        .await;

    // The target upholds it: nobody has enabled it.
    node.agent_is("idle").await;
    node.sh(
        "test \"$(systemctl is-enabled pointsman || true)\" = disabled
             ! touch /usr/x 2>/dev/null
             locksmithctl status | grep -q '^Available: 1'
             coreos-cloudinit -version | grep -q .
             busctl status org.pointsman.Agent1 >/dev/null
             pointsman hooks list | grep -q '^haproxy '
             systemctl cat update-engine | grep -q 10-pointsman.conf
             test -d /run/update-engine
             systemd-analyze verify pointsman.service pointsman-serve.service",
    )
    .await;

    // Queued, and gone: no ticket is left, and nothing of the program.
    cluster.command(&["lock", "--as", "operator"]).await;
    node.stage("2").await;
    node.agent_is("queued").await;
    node.sh("systemd-sysext unmerge && systemctl daemon-reload && systemctl stop pointsman")
        .await;
    let group = cluster.group().await;
    assert_eq!(group["queue"], serde_json::json!([]));
    node.sh("test ! -e /usr/bin/pointsman && test ! -e /usr/bin/locksmithctl && systemctl is-active update-engine")
        .await;
    let now = node
        .sh("systemctl show -P UserspaceTimestampMonotonic")
        .await;
    assert_eq!(now, began, "nothing has rebooted");
}
