//! What changes between the end of the drain and the reboot.

use pointsman_testbed::etcd::shared_cluster;

use crate::{
    agents::{Site, bin, drained, draining, hook, slow_drain, undrained},
    support::eventually,
};

/// A drain whose very last act is this command of an operator.
async fn drain_ends_with(command: &str) -> (Site, pointsman_testbed::node::Node) {
    let site = Site::new("last-moment");
    let node = site.node("node-1", &[]).await;
    let endpoints = shared_cluster().endpoints().join(",");
    let command = format!(
        "exec {} {command} --root {} --endpoint {endpoints} --key-prefix {}",
        bin().display(),
        node.root().display(),
        site.prefix
    );
    hook(&node, "pre-reboot.d/99-operator", &command);
    node.update_engine().ready("2").await;
    (site, node)
}

#[tokio::test]
async fn operator_commands_at_the_end_of_the_drain_count() {
    for (command, says) in [
        ("unlock", "taken from this node"),
        ("pause --reason tea", "paused by"),
        ("set-max 0", "max is 0"),
    ] {
        let (site, node) = drain_ends_with(command).await;
        node.wait_status(|status| status.contains(says)).await;
        site.until("nobody holds", |group| group.holders.is_empty())
            .await;
        eventually(
            "the undrain",
            async || undrained(&node),
            |phases| phases == &["stepping-back"],
        )
        .await;
        assert!(node.logind().asked().is_empty(), "{command}");
    }
}

#[tokio::test]
async fn restart_of_logind_during_the_drain_does_not_block_the_reboot() {
    let site = Site::new("logind-drain");
    let node = site
        .node("node-1", &[("POINTSMAN_RETRY_MAX", "100ms")])
        .await;
    slow_drain(&node);
    node.update_engine().ready("2").await;
    draining(&node).await;
    node.logind().restart().await;
    drained(&node);
    node.logind().rebooted().await;
    assert_eq!(site.read().await.holders.len(), 1);
}
