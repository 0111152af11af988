//! A reboot from the poll to the release.

use pointsman_testbed::{disk::Slot, fakes::Systemd, node::AutoReboot, web::Web};
use serde_json::json;

use super::*;
use crate::{
    agents::{drained, draining, hook, slow_drain, undrained},
    trials::{judge, runs_from},
};

/// Makes the checks of this node's boots last until [`pass`].
pub(super) fn slow_check(node: &Node) {
    let go = node.path("checked");
    let script = format!(
        "touch {}; while [ ! -e {} ]; do sleep 0.02; done",
        node.path("checking").display(),
        go.display()
    );
    hook(node, "health.d/10-wait", &script);
}

pub(super) async fn checking(node: &Node) {
    let begun = node.path("checking");
    eventually("the check", async || begun.exists(), |begun| *begun).await;
}

#[tokio::test]
async fn a_node_polls_locks_drains_reboots_proves_and_releases() {
    let server = Airlock::start(1).await;
    server.take("another");
    let etcd = Web::with_text("").await;
    let node = machine("fleet-life").await;
    let disk = node.add_disk("1");
    let systemd = Systemd::start(node.bus()).await;
    slow_drain(&node);
    slow_check(&node);
    node.auto_reboot(AutoReboot::default());
    start(&node, server.url(), &[("POINTSMAN_ENDPOINT", etcd.url())]).await;
    node.wait_status(|status| status == "idle").await;
    // It tells the server that it holds nothing, and asks for nothing.
    assert_eq!(calls(&server), ["steady-state"]);

    node.stage("2").await;
    server.wait_calls("pre-reboot", 3).await;
    node.wait_status(|status| {
        status.contains("waiting: the FleetLock server ")
            && status.contains("answered 500 failed_lock: all 1 semaphore slots currently locked; it is tried again at ")
    })
    .await;
    // Nobody has cleared the new image: what runs boots next.
    assert_eq!(disk.bits(Slot::A).priority, 2);
    server.release("another");
    draining(&node).await;
    held_by(&server, &[&id(&node)]).await;
    assert_eq!(node.reboots(), 0);
    drained(&node);
    runs_from(&node, Slot::B, 1).await;
    checking(&node).await;
    // It has its place until it is proven.
    assert_eq!(server.holders(), [id(&node)]);
    assert_eq!(server.count("steady-state"), 1);
    node.write("checked", "");
    held_by(&server, &[]).await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!(server.count("steady-state"), 2);
    assert!(disk.bits(Slot::B).successful);
    assert_eq!(undrained(&node), ["proving"]);
    let started = ("StartUnit".to_owned(), "update-engine.service".to_owned());
    eventually(
        "update_engine is let in",
        async || systemd.asked(),
        |asked| asked.contains(&started),
    )
    .await;
    assert_eq!(etcd.seen(), [], "no etcd is asked");
    for request in server.requests() {
        assert_eq!(request.method, "POST");
        assert_eq!(request.headers["fleet-lock-protocol"], "true");
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let expected = json!({"client_params": {"id": id(&node), "group": "default"}});
        assert_eq!(body, expected);
    }
}

/// A node that has rebooted into the image 2, which the checks of this kind reject, and back.
async fn rolled_back(server: &Airlock, name: &str, checks: &str) -> Node {
    let node = machine(name).await;
    node.add_disk("1");
    judge(&node, checks, &["2"]);
    node.auto_reboot(AutoReboot::default());
    start(&node, server.url(), &[("POINTSMAN_PROVING", "600ms")]).await;
    node.wait_status(|status| status == "idle").await;
    node.stage("2").await;
    runs_from(&node, Slot::A, 2).await;
    held_by(server, &[]).await;
    node
}

#[tokio::test]
async fn an_image_that_fails_is_rolled_back_and_the_place_is_released() {
    let server = Airlock::start(1).await;
    let node = rolled_back(&server, "fleet-rollback", "health.d").await;
    node.wait_status(|status| status == "idle").await;
    // Held over both boots: one lock, one release besides the one at the first start.
    let expected = ["steady-state", "pre-reboot", "steady-state"];
    assert_eq!(calls(&server), expected);
    // Staged once more, it is not asked for.
    node.stage("2").await;
    node.wait_status(|status| status.contains("is quarantined"))
        .await;
    assert_eq!(calls(&server), expected);
    assert_eq!(node.reboots(), 2);
}

/// The node had a place, so the others were there: what a check of other nodes says counts against the image.
#[tokio::test]
async fn a_check_that_needs_other_nodes_counts_after_a_reboot_with_a_place() {
    let server = Airlock::start(1).await;
    rolled_back(&server, "fleet-cluster", "health-cluster.d").await;
}

#[tokio::test]
async fn what_is_not_wanted_any_more_is_released() {
    let server = Airlock::start(1).await;
    let node = node(&server, "fleet-unwanted", &[]).await;
    slow_drain(&node);
    node.update_engine().ready("2").await;
    draining(&node).await;
    held_by(&server, &[&id(&node)]).await;
    // The update is withdrawn while the node drains.
    node.update_engine()
        .set(pointsman_testbed::fakes::Status::idle())
        .await;
    held_by(&server, &[]).await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!(undrained(&node), ["stepping-back"]);
    // And while it waits for another.
    server.take("another");
    node.update_engine().ready("3").await;
    server.wait_calls("pre-reboot", 3).await;
    let before = server.count("steady-state");
    node.update_engine()
        .set(pointsman_testbed::fakes::Status::idle())
        .await;
    server.wait_calls("steady-state", before + 1).await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!(calls(&server).last().unwrap(), "steady-state");
    assert_eq!(node.logind().reboots().len(), 0);
}

#[tokio::test]
async fn a_drain_that_fails_releases_the_place_and_is_tried_again() {
    let server = Airlock::start(1).await;
    let node = node(&server, "fleet-drain", &[]).await;
    let broken = node.path("broken");
    node.write("broken", "");
    hook(
        &node,
        "pre-reboot.d/10-fail",
        &format!("[ ! -e {} ]", broken.display()),
    );
    node.update_engine().ready("2").await;
    // Held, released, and held again.
    server.wait_calls("pre-reboot", 2).await;
    assert_eq!(
        calls(&server)[..4],
        ["steady-state", "pre-reboot", "steady-state", "pre-reboot"]
    );
    std::fs::remove_file(&broken).unwrap();
    node.logind().rebooted().await;
    assert_eq!(server.holders(), [id(&node)]);
}

/// What keeps the node itself keeps it from asking.
#[tokio::test]
async fn a_node_asks_only_while_it_could_go() {
    let server = Airlock::start(1).await;
    let node = node(&server, "fleet-gates", &[]).await;
    let not_yet = node.path("not-yet");
    node.write("not-yet", "");
    hook(
        &node,
        "may-reboot.d/10-not-yet",
        &format!("[ -e {} ] && exit 75; exit 0", not_yet.display()),
    );
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("10-not-yet"))
        .await;
    assert_eq!(calls(&server), ["steady-state"]);
    std::fs::remove_file(&not_yet).unwrap();
    node.logind().rebooted().await;
    assert_eq!(calls(&server), ["steady-state", "pre-reboot"]);
}

/// A reboot by hand needs no place, and the node tells the server all the same that it is up.
#[tokio::test]
async fn a_reboot_without_a_place_is_followed_by_a_release() {
    let server = Airlock::start(1).await;
    server.take("another");
    let node = node(&server, "fleet-by-hand", &[]).await;
    node.reboot(pointsman_testbed::node::Death::Term).await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!(calls(&server), ["steady-state", "steady-state"]);
    assert_eq!(server.holders(), ["another"]);
}

/// A person's reboot waits for its place as well.
#[tokio::test]
async fn a_persons_reboot_asks_for_a_place() {
    let server = Airlock::start(1).await;
    server.take("another");
    let node = node(&server, "fleet-person", &[]).await;
    node.run(bin(), &["reboot", "--reason", "new cable"])
        .await
        .must(0);
    server.wait_calls("pre-reboot", 2).await;
    assert_eq!(node.logind().reboots().len(), 0);
    let before = server.count("steady-state");
    node.run(bin(), &["cancel"]).await.must(0);
    server.wait_calls("steady-state", before + 1).await;
    node.run(bin(), &["reboot", "--reason", "new cable"])
        .await
        .must(0);
    server.release("another");
    node.logind().rebooted().await;
    assert_eq!(server.holders(), [id(&node)]);
}
