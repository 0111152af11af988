//! The image for systemd-sysext: all that the package brings, on a system whose /usr is not changed. systemd-sysext itself mounts the
//! image by a loop device; the commands are those of the page about installation.

use std::fs;

use pointsman_nodes::{
    bed::{repository, skipped},
    cluster::{Cluster, holders},
    container::Container,
};
use pointsman_testbed::{disk::Slot, pages};
use serde_json::json;

/// A container has no loop devices, and a new /dev at each boot.
const LOOP_DEVICES: &str = "[Unit]
DefaultDependencies=no
Before=systemd-sysext.service
[Service]
Type=oneshot
ExecStart=/bin/sh -ec 'mknod -m 600 /dev/loop-control c 10 237; for n in $$(seq 0 63); do mknod -m 600 /dev/loop$$n b 7 $$n; done'
[Install]
WantedBy=sysinit.target
";
/// The images that loop devices are made of on this node.
const MOUNTED: &str = "losetup --list --noheadings --output BACK-FILE | grep -c /etc/extensions/pointsman.raw || true";

#[tokio::test(flavor = "multi_thread")]
async fn merged_image_runs_the_agent_is_upgraded_and_goes_without_a_trace() {
    if skipped("the image for systemd-sysext") {
        return;
    }
    let page = include_str!("../../../../docs/how-to/install.md");
    let test = "merged_image_runs_the_agent_is_upgraded_and_goes_without_a_trace";
    let commands: Vec<String> = pages::commands(page, test)
        .into_iter()
        .map(|(_, text)| format!("cd /root\n{text}"))
        .collect();
    let [install, reload, upgrade, remove] = &commands[..] else {
        panic!("{commands:#?}");
    };
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    let wait = "[ -e /var/healthy ] || { echo not yet; exit 1; }";
    node.hook("health.d/20-wait", wait);
    node.write("var/healthy", "");
    cluster.up().await;
    // A system without the package, but with a configuration and locksmith.
    node.sh("dpkg -r pointsman; test ! -e /usr/bin/pointsman")
        .await;
    for version in ["0.2.0", "0.3.0"] {
        let image = cluster.bed.sysext(version).await;
        let name = format!("root/pointsman-{version}-x86-64.raw");
        fs::copy(&image, node.path(&name)).expect("room for an image");
    }
    fs::copy(
        repository().join("packaging/sysext/pointsman-reload.service"),
        node.path("root/pointsman-reload.service"),
    )
    .expect("room for a unit");
    node.write("etc/systemd/system/loop-devices.service", LOOP_DEVICES);
    node.write(
        "usr/lib/systemd/system/locksmithd.service",
        "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
    );
    node.sh("systemctl daemon-reload; systemctl enable --now loop-devices locksmithd")
        .await;
    node.sh(reload).await;

    node.sh(install).await;
    runs_the_agent(node).await;
    // The files stand in the image, which the kernel reads through the loop device.
    assert_eq!(node.sh(MOUNTED).await, "1\n");
    version_is(node, "0.2.0").await;

    // An upgrade while it is queued: the agent that stops leaves the queue, and the new one joins it.
    cluster.command(&["lock", "--as", "operator"]).await;
    node.stage("2").await;
    node.agent_is("queued").await;
    node.sh(upgrade).await;
    version_is(node, "0.3.0").await;
    node.agent_is("queued").await;
    let queue = cluster.group().await["queue"].clone();
    assert_eq!(
        (queue.as_array().map(Vec::len), &queue[0]["id"]),
        (Some(1), &json!(node.id()))
    );
    // Nothing keeps the old image.
    node.until(&format!("[ \"$({MOUNTED})\" = 1 ]")).await;

    // Removed while it is queued: it leaves the queue, and the update that is staged boots next, as without the agent.
    node.until("test -e /var/lib/pointsman/points-held").await;
    node.sh(remove).await;
    assert_eq!(cluster.group().await["queue"], json!([]));
    is_gone(node).await;
    node.until(&format!("[ \"$({MOUNTED})\" = 0 ]")).await;
    let (a, b) = (node.disk().bits(Slot::A), node.disk().bits(Slot::B));
    assert!(b.priority > a.priority, "{a:?} {b:?}");

    // Back, and through: while it proves it holds, and is removed then.
    node.sh(install).await;
    node.agent_is("queued").await;
    node.sh("rm /var/healthy").await;
    cluster.command(&["unlock", "operator"]).await;
    node.booted(2).await;
    node.agent_is("proving").await;
    assert_eq!(node.slot(), Slot::B);
    // update_engine is held back on a trial, also where nobody has enabled the agent.
    node.sh("test \"$(systemctl is-active update-engine)\" = inactive")
        .await;
    assert_eq!(holders(&cluster.group().await).count(), 1);
    node.sh(remove).await;
    cluster.free().await;
    is_gone(node).await;
    node.until("systemctl is-active --quiet update-engine")
        .await;
    assert_eq!(node.boots(), 2);
}

/// All of the program is there, and systemd has started the agent, which nobody has enabled.
async fn runs_the_agent(node: &Container) {
    node.agent_is("idle").await;
    node.sh("test \"$(systemctl is-enabled pointsman)\" = static
             ! touch /usr/x 2>/dev/null
             locksmithctl status | grep -q '^Available: 1'
             coreos-cloudinit -version | grep -q .
             busctl status org.pointsman.Agent1 >/dev/null
             pointsman hooks list | grep -q '^haproxy '
             systemctl cat update-engine | grep -q 10-pointsman.conf
             test -d /run/update-engine
             test \"$(systemctl is-active locksmithd || true)\" = inactive
             systemd-analyze verify --man=no pointsman.service pointsman-serve.service")
        .await;
}

/// This version of the image is merged.
async fn version_is(node: &Container, version: &str) {
    let release = "/usr/lib/extension-release.d/extension-release.pointsman";
    node.sh(&format!("grep -qx IMAGE_VERSION={version} {release}"))
        .await;
}

/// Nothing of the program is left, and the agent does not run. What has been started since the boot from a merged /usr may keep the loop
/// device until the next one.
async fn is_gone(node: &Container) {
    node.sh("test ! -e /usr/bin/pointsman -a ! -e /usr/bin/locksmithctl -a ! -e /run/systemd/system/pointsman.service
             for there in 'systemctl cat pointsman' 'busctl status org.pointsman.Agent1' 'pidof pointsman'; do
                 if $there; then exit 1; fi
             done
             systemctl is-enabled locksmithd")
        .await;
}
