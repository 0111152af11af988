//! Requests for a reboot by what updates the system, where there is no update_engine.

use std::{fs, os::unix::fs::PermissionsExt as _};

use pointsman_nodes::{bed::skipped, cluster::Cluster};
use pointsman_testbed::pages;

/// Stands for systemd-sysupdate, which Debian 12 does not have. `pending` exits 0 where a newer version is installed than the
/// one that runs, else 1 (systemd-sysupdate(8)); after a reboot that one runs.
const SYSUPDATE: &str = r#"#!/bin/sh
[ "$*" = pending ] || { echo "unexpected: $*" >&2; exit 64; }
[ -e /run/newer ] || { echo "No update pending." >&2; exit 1; }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn sysupdate_requests_a_reboot_by_the_timer_of_the_package() {
    if skipped("systemd-sysupdate") {
        return;
    }
    let page = include_str!("../../../../docs/how-to/updaters.md");
    let test = "sysupdate_requests_a_reboot_by_the_timer_of_the_package";
    let blocks = pages::commands(page, test);
    let [(_, commands)] = &blocks[..] else {
        panic!("{blocks:#?}");
    };
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    let engine = node.path("usr/lib/systemd/system/update-engine.service");
    fs::remove_file(engine).expect("the image has it");
    node.write("usr/lib/systemd/systemd-sysupdate", SYSUPDATE);
    let program = node.path("usr/lib/systemd/systemd-sysupdate");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("it is there");
    // As systemd has it: whoever enables it reboots without a lock.
    let reboots = "[Timer]\nOnCalendar=yearly\n[Install]\nWantedBy=timers.target\n";
    node.write(
        "usr/lib/systemd/system/systemd-sysupdate-reboot.timer",
        reboots,
    );
    node.write(
        "usr/lib/systemd/system/systemd-sysupdate-reboot.service",
        "[Service]\nExecStart=/bin/false\n",
    );
    cluster.up().await;
    node.sh("systemctl enable --now systemd-sysupdate-reboot.timer")
        .await;
    let advice = node.sh("pointsman doctor || true").await;
    assert!(advice.contains("pointsman-sysupdate.timer"), "{advice}");
    node.sh(commands).await;
    let advice = node.sh("pointsman doctor || true").await;
    assert!(!advice.contains("sysupdate"), "{advice}");

    // Nothing is pending: that is no failure, and no request.
    node.sh("systemctl start pointsman-sysupdate && ! systemctl is-failed pointsman-sysupdate && test ! -e /run/reboot-required")
        .await;
    let due = "systemctl show -P NextElapseUSecRealtime pointsman-sysupdate.timer";
    assert!(!node.sh(due).await.trim().is_empty());
    node.sh("touch /run/newer && systemctl start pointsman-sysupdate")
        .await;
    node.booted(2).await;
    node.agent_is("idle").await;
    let history = node.sh("pointsman history").await;
    assert!(
        history.contains("update of the system (systemd-sysupdate)"),
        "{history}"
    );
    node.sh("systemctl start pointsman-sysupdate && test ! -e /run/reboot-required")
        .await;
    cluster.free().await;
}
