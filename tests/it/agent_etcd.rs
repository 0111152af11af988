//! What an agent says of its etcd, and when it asks.

use std::{fs, os::unix::fs::PermissionsExt as _};

use pointsman_testbed::{
    etcd::{Cluster, shared_cluster},
    fakes::Status,
    process::Signal,
    proxy::{Mode, Proxy},
};
use semaphore::etcd::Options;
use serde_json::Value;

use crate::{
    agents::{Site, agent, bin, drained, draining, machine, slow_drain},
    support::{eventually, found, options, with},
};

#[tokio::test]
async fn unreachable_etcd_is_reported_at_start_and_after_a_reload() {
    let site = Site::new("probe");
    let node = machine("node-1").await;
    let proxy = Proxy::start(shared_cluster().address(0)).await;
    proxy.set(Mode::Refuse).await;
    agent(&node, &[proxy.url()], &site.prefix, &[]).await;
    // No update is in sight, and still it does not look well.
    let said = node
        .wait_status(|status| status.starts_with("idle; etcd: "))
        .await;
    assert!(
        said.contains("no etcd endpoint answered") && said.contains(&proxy.url()),
        "{said}"
    );
    let warned = |log: &str| {
        log.lines()
            .filter(|line| line.contains("WARN etcd cannot be used"))
            .count()
    };
    assert_eq!(warned(&node.log()), 1, "{}", node.log());
    let shown = node
        .run(bin(), &["status", "--endpoint", &proxy.url(), "--json"])
        .await;
    let status: Value = serde_json::from_str(&shown.stdout).unwrap();
    let error = status["node"]["etcd_error"].as_str().unwrap();
    assert!(error.contains("no etcd endpoint answered"), "{shown:?}");
    let shown = site.command(&node, &["status"]).await;
    assert!(shown.stdout.contains("  etcd: "), "{shown:?}");
    // It is over when it is over.
    proxy.set(Mode::Pass).await;
    node.wait_status(|status| status == "idle").await;
    assert!(node.log().contains("INFO etcd answers"), "{}", node.log());
    let shown = site.command(&node, &["status", "--json"]).await;
    let status: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(status["node"]["etcd_error"], "");
    // A reload asks again, though nothing in the files has changed.
    proxy.set(Mode::Refuse).await;
    node.child().signal(Signal::SIGHUP);
    node.wait_status(|status| status.starts_with("idle; etcd: "))
        .await;
    assert_eq!(warned(&node.log()), 2, "{}", node.log());
}

#[tokio::test]
async fn a_reload_with_a_fault_is_in_the_units_status() {
    let site = Site::new("reload-status");
    let node = site.node("node-1", &[]).await;
    node.write("etc/pointsman/config.yaml", "strategy: of\n");
    node.child().signal(Signal::SIGHUP);
    let said = node.wait_status(|status| status.contains("not used")).await;
    assert!(
        said.starts_with("idle; the configuration on disk is not used: "),
        "{said}"
    );
    assert!(said.contains("config.yaml:1:11: strategy"), "{said}");
    node.write("etc/pointsman/config.yaml", "");
    node.child().signal(Signal::SIGHUP);
    node.wait_status(|status| status == "idle").await;
}

#[tokio::test]
async fn a_password_that_is_renewed_while_the_node_holds_is_read_again() {
    let cluster = Cluster::builder(1).password("s3cret").start().await;
    let node = machine("node-1").await;
    let password = |text: &str| {
        node.write("password", text);
        fs::set_permissions(node.path("password"), fs::Permissions::from_mode(0o600)).unwrap();
    };
    password("s3cret");
    node.write(
        "etc/pointsman/config.yaml",
        "etcd: {username: root, password-file: /password}\n",
    );
    slow_drain(&node);
    let options = Options {
        user: Some(("root".into(), "s3cret".into())),
        ..options(cluster.endpoints())
    };
    found(&with(options, "renewed")).await;
    agent(&node, &cluster.endpoints(), "renewed", &[]).await;
    node.wait_status(|status| status == "idle").await;
    node.update_engine().ready("2").await;
    draining(&node).await;
    // Renewed in etcd first; the file follows later. Meanwhile nothing can be released.
    let mut root = cluster.client().await;
    root.user_change_password("root", "renewed").await.unwrap();
    node.update_engine().set(Status::idle()).await;
    drained(&node);
    let said = node
        .wait_status(|status| status.contains("authentication failed"))
        .await;
    assert!(
        said.starts_with("releasing: ") && said.contains("it is tried again at "),
        "{said}"
    );
    password("renewed");
    node.wait_status(|status| status == "idle").await;
    eventually(
        "it is used",
        async || node.log(),
        |log| log.contains("certificates or password of etcd have changed"),
    )
    .await;
}
