//! The agent dies, is stopped, or is given another configuration, at every step.

use pointsman_testbed::{
    airlock::Fault,
    node::{AutoReboot, Death},
    process::Signal,
    web::Reply,
};

use super::*;
use crate::agents::{drained, draining, slow_drain, undrained};

/// What the journal says the agent is doing.
fn stage(node: &Node) -> Option<String> {
    let text = std::fs::read(node.path("var/lib/pointsman/journal.json")).ok()?;
    let journal: serde_json::Value = serde_json::from_slice(&text).ok()?;
    Some(journal["entry"]["stage"].as_str()?.to_owned())
}

/// The node, left in peace with its update, still gets its reboot, one, and releases its place.
async fn finishes(server: &Airlock, node: &Node) {
    let before = node.logind().reboots().len();
    node.auto_reboot(AutoReboot::default());
    node.update_engine().ready("2").await;
    node.logind().wait_reboots(before + 1).await;
    node.wait_status(|status| status == "idle").await;
    held_by(server, &[]).await;
    assert_eq!(node.logind().reboots().len(), before + 1);
    assert_eq!(stage(node), None);
}

/// Its journal may have been lost, or the machine was installed anew.
#[tokio::test]
async fn a_place_of_which_the_journal_knows_nothing_is_released_at_the_start() {
    let server = Airlock::start(1).await;
    let node = machine("fleet-unknown").await;
    server.take(&id(&node));
    // Not at once: it is tried again, also over restarts of the agent.
    server.always("steady-state", Some(Fault::Instead(Reply::Close)));
    start(&node, server.url(), &[]).await;
    node.wait_status(|status| status.starts_with("leaving: the FleetLock server "))
        .await;
    node.kill().await;
    node.start_again();
    node.wait_status(|status| status.starts_with("leaving: the FleetLock server "))
        .await;
    // Nobody's reboot is planned meanwhile, and none begins.
    node.update_engine().ready("2").await;
    let before = server.count("steady-state");
    server.wait_calls("steady-state", before + 2).await;
    assert_eq!(server.count("pre-reboot"), 0);
    assert_eq!(server.holders(), [id(&node)]);
    server.always("steady-state", None);
    node.logind().rebooted().await;
}

#[tokio::test]
async fn an_agent_killed_while_it_polls_goes_on_after_it() {
    for power_cut in [false, true] {
        let server = Airlock::start(1).await;
        server.take("another");
        let node = node(&server, "fleet-kill-poll", &[]).await;
        node.update_engine().ready("2").await;
        server.wait_calls("pre-reboot", 2).await;
        node.kill().await;
        assert_eq!(stage(&node).as_deref(), Some("queued"));
        // The answer that gave it a place was lost with it.
        server.release("another");
        server.take(&id(&node));
        match power_cut {
            true => node.reboot(Death::Kill).await,
            false => node.start_again(),
        }
        if power_cut {
            // What it may have is released: nothing is wanted any more.
            held_by(&server, &[]).await;
            node.wait_status(|status| status == "idle").await;
            finishes(&server, &node).await;
        } else {
            node.logind().rebooted().await;
            assert_eq!(server.holders(), [id(&node)]);
        }
    }
}

#[tokio::test]
async fn an_agent_killed_between_lock_and_reboot_releases_at_its_next_start() {
    for power_cut in [false, true] {
        let server = Airlock::start(1).await;
        let node = node(&server, "fleet-kill-drain", &[]).await;
        slow_drain(&node);
        node.update_engine().ready("2").await;
        draining(&node).await;
        node.kill().await;
        assert_eq!(stage(&node).as_deref(), Some("draining"));
        assert_eq!(server.holders(), [id(&node)]);
        drained(&node);
        // What it went for is gone: no reboot takes the place over.
        node.update_engine()
            .set_silently(pointsman_testbed::fakes::Status::idle());
        match power_cut {
            true => node.reboot(Death::Kill).await,
            false => node.start_again(),
        }
        held_by(&server, &[]).await;
        node.wait_status(|status| status == "idle").await;
        let phase = if power_cut {
            "proving"
        } else {
            "stepping-back"
        };
        assert_eq!(undrained(&node), [phase]);
        finishes(&server, &node).await;
    }
}

#[tokio::test]
async fn an_agent_that_is_stopped_releases_what_it_has() {
    let server = Airlock::start(1).await;
    let node = node(&server, "fleet-stop", &[]).await;
    slow_drain(&node);
    node.update_engine().ready("2").await;
    draining(&node).await;
    assert!(node.stop().await.success());
    assert_eq!(server.holders(), [""; 0]);
    assert_eq!(undrained(&node), ["stepping-back"]);
    // And while it waits.
    server.take("another");
    node.start_again();
    let before = server.count("pre-reboot");
    server.wait_calls("pre-reboot", before + 2).await;
    assert!(node.stop().await.success());
    assert_eq!(calls(&server).last().unwrap(), "steady-state");
    assert_eq!(stage(&node), None);
}

/// Between the proof and the release, over a restart of the agent, the place is not forgotten.
#[tokio::test]
async fn a_release_goes_on_after_a_restart_of_the_agent() {
    let server = Airlock::start(1).await;
    let node = node(&server, "fleet-kill-release", &[]).await;
    node.auto_reboot(AutoReboot::default());
    let no = Fault::Instead(Reply::Body(503, Vec::new()));
    server.always("steady-state", Some(no));
    node.update_engine().ready("2").await;
    node.logind().wait_reboots(1).await;
    node.wait_status(|status| {
        status.starts_with("releasing: the FleetLock server ")
            && status.contains("answered 503 without a reason; it is tried again at ")
    })
    .await;
    assert_eq!(stage(&node).as_deref(), Some("releasing"));
    node.kill().await;
    node.start_again();
    let before = server.count("steady-state");
    server.wait_calls("steady-state", before + 2).await;
    assert_eq!(server.holders(), [id(&node)]);
    server.always("steady-state", None);
    held_by(&server, &[]).await;
    node.wait_status(|status| status == "idle").await;
    // It was not drained and proven once more.
    assert_eq!(undrained(&node), ["proving"]);
}

const FILE: &str = "etc/pointsman/config.yaml";

fn configure(node: &Node, strategy: &str, url: &str) {
    let text = format!(
        "strategy: {strategy}\nfleet-lock: {{url: {url}, poll-interval: 30ms}}\ntimings: {{retry-min: 20ms, retry-max: 100ms}}\n"
    );
    node.write(FILE, &text);
}

async fn start_by_file(node: &Node, strategy: &str, url: &str) {
    configure(node, strategy, url);
    let args: [&str; 0] = [];
    node.start(bin(), &args, &[]).await;
    node.wait_ready().await;
}

#[tokio::test]
async fn a_wrong_url_is_replaced_by_a_reload() {
    let server = Airlock::start(1).await;
    let node = machine("fleet-reload").await;
    start_by_file(&node, "fleet-lock", &format!("{}/wrong", server.url())).await;
    node.wait_status(|status| {
        status.starts_with("leaving: the FleetLock server ")
            && status.contains("/wrong/ answered 404")
    })
    .await;
    configure(&node, "fleet-lock", server.url());
    node.child().signal(Signal::SIGHUP);
    node.wait_status(|status| status == "idle").await;
    assert_eq!(calls(&server), ["steady-state"]);
    // While it waits at the wrong server as well: it gives up there, and says so.
    let wrong = Airlock::start(0).await;
    configure(&node, "fleet-lock", wrong.url());
    node.child().signal(Signal::SIGHUP);
    wrong.wait_calls("steady-state", 1).await;
    node.update_engine().ready("2").await;
    wrong.wait_calls("pre-reboot", 2).await;
    let gone = Fault::Instead(Reply::Body(404, Vec::new()));
    wrong.always("steady-state", Some(gone));
    configure(&node, "fleet-lock", server.url());
    node.child().signal(Signal::SIGHUP);
    node.logind().rebooted().await;
    assert_eq!(server.holders(), [id(&node)]);
    // The first at its start, the others in vain.
    assert_eq!(wrong.count("steady-state"), 6);
    let said = format!(
        "this node may have a place at {}/, which is not the configured FleetLock server any more, in group default as {}: release it there",
        wrong.url(),
        id(&node)
    );
    assert!(node.log().contains(&said), "{}", node.log());
}

#[tokio::test]
async fn another_strategy_or_server_releases_where_the_place_was_taken() {
    let old = Airlock::start(1).await;
    let new = Airlock::start(1).await;
    let node = machine("fleet-change").await;
    start_by_file(&node, "fleet-lock", old.url()).await;
    node.wait_status(|status| status == "idle").await;
    slow_drain(&node);
    node.update_engine().ready("2").await;
    draining(&node).await;
    // Held at the old server: what is under way goes on, and the next boot releases there.
    configure(&node, "fleet-lock", new.url());
    node.child().signal(Signal::SIGHUP);
    node.auto_reboot(AutoReboot::default());
    drained(&node);
    node.logind().wait_reboots(1).await;
    held_by(&old, &[]).await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!((new.count("pre-reboot"), new.holders()), (0, Vec::new()));
    // While it waits: it leaves there.
    new.take("another");
    node.update_engine().ready("3").await;
    new.wait_calls("pre-reboot", 2).await;
    let before = new.count("steady-state");
    configure(&node, "off", new.url());
    node.child().signal(Signal::SIGHUP);
    new.wait_calls("steady-state", before + 1).await;
    node.wait_status(|status| status.contains("the strategy is `off`"))
        .await;
    assert_eq!(calls(&new).last().unwrap(), "steady-state");
    assert_eq!(node.logind().reboots().len(), 1);
}
