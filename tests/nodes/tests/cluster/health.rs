//! What counts against a new image, on real systemd: units that had failed before, and systemd's own gate.

use pointsman_nodes::{bed::skipped, cluster::Cluster};
use pointsman_testbed::disk::Slot;

/// A unit that fails at every boot, and one that `boot-complete.target` requires and that fails on version 2.
const UNITS: &str = r#"
cat >/etc/systemd/system/old.service <<END
[Service]
Type=oneshot
ExecStart=/bin/false
[Install]
WantedBy=multi-user.target
END
cat >/etc/systemd/system/check.service <<END
[Unit]
Before=boot-complete.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c '! grep -qx VERSION_ID=2 /usr/lib/os-release'
[Install]
RequiredBy=boot-complete.target
END
systemctl daemon-reload
systemctl enable --quiet old.service check.service
systemctl start old.service || true
"#;

#[tokio::test(flavor = "multi_thread")]
async fn boot_complete_and_what_had_failed_before_decide_on_real_systemd() {
    if skipped("a node's health") {
        return;
    }
    let cluster = Cluster::idle_alone().await;
    let node = &cluster.nodes[0];
    node.sh(UNITS).await;

    // By hand, before any reboot of the agent's: nobody looked.
    let by_hand = node.exec(&["pointsman", "health"]).await;
    assert_eq!(by_hand.code, Some(4), "{by_hand:?}");
    assert!(
        by_hand.stdout.contains("old.service has failed"),
        "{by_hand:?}"
    );

    // The check that systemd's target requires fails on 2: the node rolls back.
    node.stage("2").await;
    node.booted(3).await;
    assert_eq!(node.slot(), Slot::A);
    node.up().await;
    node.agent_is("idle").await;
    let list = node.sh("pointsman quarantine").await;
    assert!(list.contains("check.service has failed"), "{list}");

    // 3 passes it. The unit that fails on every image is named, and holds nothing up.
    node.stage("3").await;
    node.booted(4).await;
    assert_eq!(node.slot(), Slot::B);
    node.up().await;
    node.agent_is("idle").await;
    assert!(node.disk().bits(Slot::B).successful);
    node.sh("systemctl is-active boot-complete.target check.service")
        .await;
    let status = node.sh("pointsman status").await;
    assert!(
        status.contains("failed before: old.service has failed"),
        "{status}"
    );
    let by_hand = node.exec(&["pointsman", "health"]).await;
    assert_eq!(by_hand.code, Some(0), "{by_hand:?}");
    // Without greenboot there is nothing to ask of it.
    let log = node.sh("journalctl --no-pager -u pointsman").await;
    assert!(!log.contains("greenboot"), "{log}");
}
