//! The agent dies, is stopped, or is given another configuration, at every step.

use pointsman_testbed::{
    airlock::Fault,
    etcd::{Certificates, shared_cluster},
    fakes::{OnReboot, Status},
    node::{AutoReboot, Death},
    process::Signal,
    web::{Reply, Web},
};

use super::*;
use crate::{
    agents::{Site, drained, draining, slow_drain, undrained},
    fleet_lock::life::{checking, slow_check},
    serve::{Server, tls::Secured},
};

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

/// Its journal may have been lost, or the machine was installed again.
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
        node.update_engine().set_silently(Status::idle());
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
    // The first at its start; the others are refused.
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

/// Killed when the reboot was called, and while the new boot is checked.
#[tokio::test]
async fn an_agent_killed_after_the_commit_or_in_the_proof_releases_once_that_is_known() {
    let server = Airlock::start(1).await;
    let node = node(&server, "fleet-kill-commit", &[]).await;
    node.logind().on_reboot(OnReboot::Nothing);
    node.update_engine().ready("2").await;
    node.logind().wait_asked(1).await;
    node.kill().await;
    assert_eq!(stage(&node).as_deref(), Some("committing"));
    assert_eq!(server.holders(), [id(&node)]);
    // It stays up, and nothing is wanted any more.
    node.update_engine().set_silently(Status::idle());
    node.start_again();
    held_by(&server, &[]).await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!(undrained(&node), ["stepping-back"]);
    // This time it goes down, and dies in the proof.
    slow_check(&node);
    node.logind().on_reboot(OnReboot::Succeed);
    node.auto_reboot(AutoReboot {
        death: Death::Kill,
        ..AutoReboot::default()
    });
    node.update_engine().ready("2").await;
    checking(&node).await;
    node.kill().await;
    assert_eq!(server.holders(), [id(&node)]);
    node.start_again();
    node.write("checked", "");
    held_by(&server, &[]).await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!((node.version().as_str(), node.reboots()), ("2", 1));
}

/// While the node holds one lock, the configuration names the other: each is released where it was taken.
#[tokio::test]
async fn a_strategy_that_changes_while_either_lock_is_held_releases_that_one() {
    let site = Site::new("fleet-switch");
    let server = Airlock::start(1).await;
    let node = machine("fleet-switch").await;
    let endpoints = shared_cluster().endpoints().join(",");
    let switch = |strategy: &str| {
        let text = format!(
            "strategy: {strategy}\nkey-prefix: {}\netcd: {{endpoints: '{endpoints}'}}\n\
             fleet-lock: {{url: {}, poll-interval: 30ms}}\ntimings: {{retry-min: 20ms, retry-max: 100ms}}\n",
            site.prefix,
            server.url()
        );
        node.write(FILE, &text);
    };
    slow_drain(&node);
    node.auto_reboot(AutoReboot::default());
    switch("etcd-lock");
    let args: [&str; 0] = [];
    node.start(bin(), &args, &[]).await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!(calls(&server), [""; 0], "no server is asked");
    node.update_engine().ready("2").await;
    draining(&node).await;
    switch("fleet-lock");
    node.child().signal(Signal::SIGHUP);
    drained(&node);
    node.logind().wait_reboots(1).await;
    site.free().await;
    node.wait_status(|status| status == "idle").await;
    // Only the next start tells the server that it is up.
    assert_eq!(
        (server.count("pre-reboot"), server.holders()),
        (0, Vec::new())
    );
    let members = site.read().await.members;
    assert_eq!(members, 0, "it is no member of the group in etcd any more");

    for file in ["drained", "draining"] {
        std::fs::remove_file(node.path(file)).unwrap();
    }
    node.update_engine().ready("3").await;
    draining(&node).await;
    held_by(&server, &[&id(&node)]).await;
    assert!(site.read().await.holders.is_empty());
    switch("etcd-lock");
    node.child().signal(Signal::SIGHUP);
    drained(&node);
    node.logind().wait_reboots(2).await;
    held_by(&server, &[]).await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!(server.count("pre-reboot"), 1);
    site.free().await;
    assert_eq!(node.version(), "3");
}

/// Its server is gone for good, with the node's place, and somebody names another one.
#[tokio::test]
async fn a_place_at_a_server_that_is_gone_is_given_up_once_another_is_configured() {
    let gone = Airlock::start(1).await;
    let new = Airlock::start(1).await;
    let node = machine("fleet-gone").await;
    start_by_file(&node, "fleet-lock", gone.url()).await;
    node.wait_status(|status| status == "idle").await;
    node.auto_reboot(AutoReboot::default());
    let no = Fault::Instead(Reply::Close);
    gone.always("steady-state", Some(no));
    node.update_engine().ready("2").await;
    node.logind().wait_reboots(1).await;
    node.wait_status(|status| status.starts_with("releasing: the FleetLock server "))
        .await;
    // As long as it is the configured one, there is no end to it.
    gone.wait_calls("steady-state", 30).await;
    configure(&node, "fleet-lock", new.url());
    node.child().signal(Signal::SIGHUP);
    new.wait_calls("steady-state", 1).await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!(calls(&new), ["steady-state"]);
    assert!(
        node.log().contains(
            "which is not the configured FleetLock server any more, in group default as "
        ),
        "{}",
        node.log()
    );
}

/// Its section is gone from the configuration while the node drains: the certificates in force are used.
#[tokio::test]
async fn a_server_that_is_not_configured_any_more_is_reached_as_before() {
    let secured = Secured::new("fleet-section", true).await;
    let node = machine("fleet-section").await;
    for (from, to) in [
        (&secured.certificates.ca, "ca.pem"),
        (&secured.certificates.client_cert, "cert.pem"),
        (&secured.certificates.client_key, "key.pem"),
    ] {
        node.write(to, &std::fs::read_to_string(from).unwrap());
    }
    let text = format!(
        "strategy: fleet-lock\nfleet-lock: {{url: 'https://{}', cafile: /ca.pem, certfile: /cert.pem, keyfile: /key.pem}}\n",
        secured.server.address
    );
    node.write(FILE, &text);
    let args: [&str; 0] = [];
    node.start(bin(), &args, &[]).await;
    node.wait_status(|status| status == "idle").await;
    slow_drain(&node);
    node.update_engine().ready("2").await;
    draining(&node).await;
    node.write(FILE, "strategy: off\n");
    node.child().signal(Signal::SIGHUP);
    node.update_engine().set(Status::idle()).await;
    node.wait_status(|status| status == "idle").await;
    assert!(
        node.log()
            .contains("the reboot lock is released at the FleetLock server "),
        "{}",
        node.log()
    );
    assert!(
        !node
            .log()
            .contains("perhaps this node still has a place there"),
        "{}",
        node.log()
    );
}

/// Proxies of the environment are for what is outside; IPv6 addresses are written in brackets; a certificate may have expired.
#[tokio::test]
async fn ways_to_a_server() {
    let proxy = Web::with_text("").await;
    let server = Airlock::start(1).await;
    let node = machine("fleet-proxy").await;
    let proxies = [
        ("http_proxy", proxy.url()),
        ("HTTP_PROXY", proxy.url()),
        ("all_proxy", proxy.url()),
    ];
    start(&node, server.url(), &proxies).await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!(proxy.seen(), []);
    node.stop().await;

    let six = Server::at(
        &shared_cluster().endpoints(),
        "fleet-six",
        &["--listen", "[::1]:0"],
    )
    .await;
    start(&node, &format!("http://{}", six.address), &[]).await;
    node.wait_status(|status| status == "idle").await;
    node.stop().await;

    // A group that the server does not have.
    start(&node, server.url(), &[("POINTSMAN_GROUP", "web")]).await;
    node.wait_status(|status| status.contains("answered 400 bad_parameters: no such group"))
        .await;
    node.stop().await;

    let dir = pointsman_testbed::scratch::dir("tls");
    let certificates = Certificates::write(dir.path());
    let (cert, key) = (&certificates.expired_cert, &certificates.server_key);
    let expired = Web::with_tls(cert, key, |_, _| Reply::ok("")).await;
    let ca = std::fs::read_to_string(&certificates.ca).unwrap();
    node.write("ca.pem", &ca);
    let trusts = [("POINTSMAN_FLEET_LOCK_CAFILE", "/ca.pem")];
    start(&node, expired.url(), &trusts).await;
    let says = "does not answer: the server's certificate was valid until 2020-01-01 00:00:00 UTC";
    node.wait_status(|status| status.contains(says)).await;
    // It is said once, although each time the clock shows another time.
    let second = node.status();
    node.wait_status(|status| status != second).await;
    assert_eq!(node.log().matches(says).count(), 2, "{}", node.log());
    assert_eq!(expired.seen(), []);
}
