//! The package comes and goes: no lock stays behind, no update is lost, nothing reboots.

use pointsman_nodes::{bed::skipped, cluster::Cluster};
use pointsman_testbed::disk::Slot;

#[tokio::test(flavor = "multi_thread")]
async fn removed_in_the_line_and_in_a_trial_installed_and_purged() {
    if skipped("the package's removal") {
        return;
    }
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    node.hook(
        "health.d/20-wait",
        "[ -e /var/healthy ] || { echo not yet; exit 1; }",
    );
    node.write("var/healthy", "");
    cluster.up().await;

    // What the package brings.
    node.sh("for name in locksmithctl locksmithd coreos-cloudinit; do
                 [ \"$(readlink -f /usr/bin/$name)\" = /usr/bin/pointsman ]
             done
             locksmithctl status | grep -q '^Available: 1'
             systemctl is-enabled pointsman locksmithd
             test -s /usr/share/bash-completion/completions/pointsman
             test -x /usr/lib/pointsman/hooks/available/haproxy
             test ! -e /etc/pointsman/hooks/pre-reboot.d/50-haproxy")
        .await;

    // In the line, with the points held: the update that waits becomes what boots next, as without the agent.
    cluster.command(&["lock", "operator"]).await;
    node.stage("2").await;
    node.agent_is("queued").await;
    node.until("test -e /var/lib/pointsman/points-held").await;
    node.sh("pointsman slots next | grep -qx USR-A").await;
    node.sh("pointsman slots next >/root/before; dpkg -r pointsman")
        .await;
    let (a, b) = (node.disk().bits(Slot::A), node.disk().bits(Slot::B));
    assert!(b.priority > a.priority, "{a:?} {b:?}");
    let group = cluster.group().await;
    assert_eq!(group["queue"], serde_json::json!([]));
    node.sh("test ! -e /usr/bin/locksmithctl && systemctl is-active update-engine")
        .await;

    // Back, and through: while it proves it holds, and is taken away then. The node goes on, nobody waits for it.
    node.sh("dpkg -i /root/pointsman.deb").await;
    node.agent_is("queued").await;
    node.sh("rm /var/healthy").await;
    cluster.command(&["unlock", "operator"]).await;
    node.booted(2).await;
    node.agent_is("proving").await;
    node.sh("test \"$(systemctl is-active update-engine)\" = inactive")
        .await;
    node.sh("dpkg -r pointsman").await;
    cluster.free().await;
    // Nobody else would let it in now.
    node.until("systemctl is-active --quiet update-engine")
        .await;
    node.sh("test -e /var/lib/pointsman/journal.json && dpkg --purge pointsman")
        .await;
    node.sh("test ! -e /var/lib/pointsman && test -e /etc/pointsman/config.yaml")
        .await;
    assert_eq!(node.boots(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn update_engine_marks_boots_good_as_always_where_the_agent_is_masked() {
    if skipped("a masked agent") {
        return;
    }
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    let quick = "[Service]\nEnvironment=MARK_GOOD_AFTER=1\n";
    node.write(
        "etc/systemd/system/update-engine.service.d/20-quick.conf",
        quick,
    );
    cluster.up().await;
    node.sh("systemctl disable --now pointsman && systemctl mask pointsman")
        .await;
    node.stage("2").await;
    node.sh("systemd-run -q --no-block systemctl reboot").await;
    node.booted(2).await;
    assert_eq!(node.slot(), Slot::B);
    node.until("systemctl is-active --quiet update-engine")
        .await;
    cluster
        .until("it is marked good", |_| {
            node.disk().bits(Slot::B).successful
        })
        .await;
}
