//! SIGHUP: the configuration is read again, and only a good one comes into force.

use pointsman_testbed::{
    etcd::shared_cluster,
    node::Node,
    process::Signal,
    proxy::{Mode, Proxy},
};
use semaphore::records::Phase;

use crate::{
    agents::{Site, bin, coordinator, drained, draining, machine, slow_drain},
    support::eventually,
};

const FILE: &str = "etc/pointsman/config.yaml";

/// A property of the agent: with a fault in the configuration not every command goes on.
async fn property(node: &Node, name: &str) -> String {
    let bus = node.bus().connection().await;
    let agent = "org.pointsman.Agent1";
    let path = "/org/pointsman/Agent1";
    host::bus::call::<_, zbus::OwnedVariant>(
        &bus,
        agent,
        path,
        "org.freedesktop.DBus.Properties",
        "Get",
        &(agent, name),
    )
    .await
    .unwrap()
    .try_into()
    .unwrap()
}

#[tokio::test]
async fn valid_reload_is_applied_and_a_faulty_one_is_reported() {
    let site = Site::new("reload");
    let node = site.node("node-1", &[]).await;
    let of = async |name: &str| property(&node, name).await;
    node.write(FILE, "strategy: off\n");
    node.child().signal(Signal::SIGHUP);
    eventually("off", async || of("Strategy").await, |s| s == "off").await;
    coordinator(&node, "disabled").await;
    let asked = site.command(&node, &["reboot"]).await;
    assert_eq!(asked.code, Some(3), "{asked:?}");
    // What is wrong is named, and changes nothing.
    node.write(FILE, "strategy: of\n");
    node.child().signal(Signal::SIGHUP);
    let error = eventually(
        "the error",
        async || of("ConfigError").await,
        |error| !error.is_empty(),
    )
    .await;
    assert!(
        error.contains("config.yaml:1:11: strategy: found \"of\""),
        "{error}"
    );
    assert_eq!(of("Strategy").await, "off");
    assert!(node.log().contains("the old configuration is kept"));
    // Nor does a certificate that is not there.
    node.write(FILE, "strategy: off\netcd: {cafile: /none.pem}\n");
    node.child().signal(Signal::SIGHUP);
    let error = async || of("ConfigError").await;
    eventually("the file", error, |e| e.contains("none.pem")).await;
    // Repaired, it comes into force, without a start.
    let pid = node.child().pid();
    node.write(FILE, "strategy: etcd-lock\n");
    node.child().signal(Signal::SIGHUP);
    eventually(
        "etcd-lock",
        async || of("Strategy").await,
        |s| s == "etcd-lock",
    )
    .await;
    assert_eq!(of("ConfigError").await, "");
    assert_eq!(node.child().pid(), pid);
    node.update_engine().ready("2").await;
    node.logind().rebooted().await;
    site.phase(&node, Phase::Rebooting).await;
}

#[tokio::test]
async fn reload_keeps_the_ticket_unless_the_queue_changes() {
    let site = Site::new("reload-queue");
    let node = site.node("node-1", &[]).await;
    site.lock().await;
    node.update_engine().ready("2").await;
    let ticket = async || {
        let key = site.semaphore.keys().ticket(node.machine_id());
        let mut client = pointsman_testbed::etcd::shared_cluster().client().await;
        let found = client.get(key, None).await.unwrap();
        found
            .kvs()
            .first()
            .map(etcd_client::KeyValue::create_revision)
    };
    let place = eventually("a ticket", ticket, Option::is_some).await;
    node.write(FILE, "timings: {login-grace: 1s}\n");
    node.child().signal(Signal::SIGHUP);
    let said = async || node.log();
    eventually("read", said, |log| {
        log.contains("the configuration has changed")
    })
    .await;
    node.wait_status(|status| status.starts_with("queued: first in the queue"))
        .await;
    assert_eq!(ticket().await, place);
    node.write(FILE, "strategy: off\n");
    node.child().signal(Signal::SIGHUP);
    eventually("no ticket", ticket, Option::is_none).await;
    node.wait_status(|status| status.contains("off")).await;
    assert!(node.logind().asked().is_empty());
}

#[tokio::test]
async fn reload_to_strategy_reboot_leaves_the_queue_and_reboots() {
    let site = Site::new("reload-alone");
    let node = site.node("node-1", &[]).await;
    site.lock().await;
    node.update_engine().ready("2").await;
    site.until("its ticket", |group| group.queue.len() == 1)
        .await;
    node.write(FILE, "strategy: reboot\n");
    node.child().signal(Signal::SIGHUP);
    node.logind().rebooted().await;
    site.until("no ticket", |group| group.queue.is_empty())
        .await;
}

#[tokio::test]
async fn reload_waits_for_the_running_reboot() {
    let site = Site::new("reload-drain");
    let node = site.node("node-1", &[]).await;
    slow_drain(&node);
    node.update_engine().ready("2").await;
    draining(&node).await;
    node.write(FILE, "strategy: off\n");
    node.child().signal(Signal::SIGHUP);
    let said = async || node.log();
    eventually("read", said, |log| {
        log.contains("the configuration has changed")
    })
    .await;
    // It still holds, by the rules it began with.
    site.phase(&node, Phase::Draining).await;
    assert_eq!(property(&node, "Strategy").await, "etcd-lock");
    site.unlock(node.machine_id()).await;
    drained(&node);
    node.wait_status(|status| status.contains("off")).await;
    assert!(node.logind().asked().is_empty());
}

#[tokio::test]
async fn release_goes_to_the_endpoints_of_the_new_configuration() {
    let site = Site::new("reload-moved");
    let node = machine("node-1").await;
    let cluster = shared_cluster();
    let proxy = Proxy::start(cluster.address(0)).await;
    let etcd_at = |endpoints: &[String]| {
        let line = format!("etcd: {{endpoints: [{}]}}\n", endpoints.join(", "));
        node.write(FILE, &format!("key-prefix: {}\n{line}", site.prefix));
    };
    etcd_at(&[proxy.url()]);
    slow_drain(&node);
    let quick = [
        ("POINTSMAN_RETRY_MIN", "20ms"),
        ("POINTSMAN_RETRY_MAX", "300ms"),
        ("POINTSMAN_TIMEOUT", "1s"),
    ];
    node.start(bin(), &[""; 0], &quick).await;
    node.wait_ready().await;
    node.update_engine().ready("2").await;
    draining(&node).await;
    site.phase(&node, Phase::Draining).await;
    // The one endpoint it knows is gone while it holds, and what it holds for is taken back.
    proxy.set(Mode::Refuse).await;
    node.update_engine()
        .set(pointsman_testbed::fakes::Status::idle())
        .await;
    drained(&node);
    node.wait_status(|status| status.starts_with("releasing") && status.contains("etcd"))
        .await;
    // A file that names another group as well: the claim is released in its own.
    etcd_at(&cluster.endpoints());
    let moved = std::fs::read_to_string(node.path(FILE)).unwrap();
    node.write(FILE, &format!("group: other\n{moved}"));
    node.child().signal(Signal::SIGHUP);
    site.free().await;
    eventually(
        "the rest of the change",
        async || property(&node, "Group").await,
        |group| group == "other",
    )
    .await;
    assert!(node.logind().asked().is_empty());
}
