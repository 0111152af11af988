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

    // The journal has what happened, over all boots, under fixed ids that the catalog explains.
    let of = async |id: &str| {
        let json = node
            .sh(&format!("journalctl -o json MESSAGE_ID={id}"))
            .await;
        json.lines().count()
    };
    let (proven, staged) = (
        "92f6911ef32f547e80832466f3dca634",
        "b5d355fe81d759538baf5d2a0eafc22e",
    );
    // Both reboots were proven.
    assert_eq!((of(proven).await, of(staged).await), (2, 1));
    let fields = node
        .sh(&format!("journalctl -o json MESSAGE_ID={proven} -n 1"))
        .await;
    for field in [
        r#""POINTSMAN_EVENT":"proven""#,
        r#""POINTSMAN_TO":"2""#,
        r#""_SYSTEMD_UNIT":"pointsman.service""#,
    ] {
        assert!(fields.contains(field), "{field} in {fields}");
    }
    let explained = node
        .sh(&format!("journalctl -x --no-pager MESSAGE_ID={proven}"))
        .await;
    assert!(
        explained.contains("The node runs 2, and all checks of the boot have passed."),
        "{explained}"
    );
    node.sh("pointsman history | grep -q ' proven '").await;
}
