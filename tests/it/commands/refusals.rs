//! Commands that are refused: what they say, and what to do about it.

use host::node::Group;
use pointsman_testbed::fakes::Systemd;
use semaphore::{etcd::Semaphore, keys::Keys};

use super::*;
use crate::{
    agents::{drained, draining, slow_drain},
    support::with,
};

#[tokio::test]
async fn a_hold_of_the_nodes_own_agent_is_not_locked_by_hand() {
    let site = Site::new("lock-own");
    let node = machine("node-1").await;
    slow_drain(&node);
    site.start(&node, &[]).await;
    node.update_engine().ready("2").await;
    draining(&node).await;
    let refused = site.command(&node, &["lock", "--reason", "mine"]).await;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    for part in ["its own agent", "draining", "update to 2"] {
        assert!(refused.stderr.contains(part), "{refused:?}");
    }
    let unlocked = site.command(&node, &["unlock"]).await;
    assert!(
        unlocked.stdout.contains("now undoes the drain"),
        "{unlocked:?}"
    );
    drained(&node);
    node.wait_status(|status| status.starts_with("waiting"))
        .await;
    assert!(node.logind().asked().is_empty());
}

#[tokio::test]
async fn unused_reason_is_reported() {
    let op = Operator::new("lock-twice");
    op.says(&["lock", "--as", "a", "--reason", "one"], 0, "")
        .await;
    op.says(&["lock", "--as", "a"], 0, "(one).\n").await;
    op.says(
        &["lock", "--as", "a", "--reason", "two"],
        0,
        "The new reason is not kept",
    )
    .await;
    op.says(
        &["unlock", "b"],
        6,
        "b did not hold the reboot lock. It is held by a.",
    )
    .await;
}

#[tokio::test]
async fn anothers_pause_is_not_replaced_by_accident() {
    let op = Operator::new("pause-other");
    let ann: Pause = serde_json::from_str(r#"{"by":"ann@x","reason":"launch"}"#).unwrap();
    let semaphore = on(shared_cluster(), &op.prefix);
    semaphore.pause(false, &ann, None, false).await.unwrap();
    let refused = op
        .says(&["pause", "--reason", "mine"], 3, "by ann@x (launch)")
        .await;
    assert!(refused.stderr.contains("pause --replace"), "{refused:?}");
    op.says(&["status"], 0, "PAUSED by ann@x").await;
    op.says(
        &["pause", "--reason", "mine", "--replace"],
        0,
        "This replaces the pause by ann@x (launch)",
    )
    .await;
    // One's own may be made longer.
    op.says(&["pause", "--reason", "mine", "--for", "2h"], 0, "for 2h")
        .await;
    op.says(
        &["pause", "--all", "--reason", "all"],
        0,
        "`pointsman resume --all --endpoint ",
    )
    .await;
    op.says(
        &["resume"],
        0,
        "The whole cluster is still paused by root@desk",
    )
    .await;
    op.says(
        &["pause", "--reason", "x", "--for", "999999999999s"],
        2,
        "--for: found 277777777h46m39s, expected from 1s to 2500000h",
    )
    .await;
    let long = "x".repeat(1001);
    op.says(&["pause", "--reason", &long], 2, "found 1001 bytes")
        .await;
}

#[tokio::test]
async fn set_max_reports_a_new_group_and_a_rebuilt_document() {
    let op = Operator::new("max-new");
    op.says(
        &["set-max", "2", "--new", "--group", "web"],
        0,
        "The group \"web\" is new",
    )
    .await;
    op.says(&["lock", "--as", "a", "--group", "web"], 0, "")
        .await;
    let keys = Keys::new(&op.prefix, Group::new("web").unwrap());
    let mut client = shared_cluster().client().await;
    client.put(keys.semaphore(), "{", None).await.unwrap();
    let broken = op
        .says(
            &["lock", "--as", "b", "--group", "web"],
            1,
            "cannot be used",
        )
        .await;
    assert!(
        broken
            .stderr
            .contains("pointsman set-max N --rebuild --group 'web'"),
        "{broken:?}"
    );
    op.says(
        &["set-max", "2", "--rebuild", "--group", "web"],
        0,
        "Rebuilt. It is held by a. Holders without an entry of their own were dropped.",
    )
    .await;
}

#[tokio::test]
async fn abandoned_ticket_is_shown_and_can_be_deleted() {
    let op = Operator::new("junk-ticket");
    let semaphore: Semaphore = with(
        crate::support::options(shared_cluster().endpoints()),
        &op.prefix,
    );
    let mut client = shared_cluster().client().await;
    let key = semaphore.keys().ticket("junk");
    client.put(key, "no json", None).await.unwrap();
    op.says(&["status"], 0, "junk").await;
    op.says(&["lock", "--as", "a", "--wait", "300ms"], 0, "")
        .await;
    op.says(
        &["lock", "--as", "b", "--wait", "300ms"],
        3,
        "in the queue behind junk",
    )
    .await;
    op.says(
        &["unlock", "--ticket", "junk"],
        0,
        "junk is removed from the queue",
    )
    .await;
    op.says(
        &["unlock", "--ticket", "junk"],
        6,
        "junk was not in the queue",
    )
    .await;
    assert!(semaphore.read().await.unwrap().queue.is_empty());
}

#[tokio::test]
async fn status_reports_that_it_cannot_know_whether_an_agent_runs() {
    let op = Operator::new("no-bus");
    // No bus under this root.
    op.says(&["status"], 0, "it is not known whether an agent runs: ")
        .await;
    let status = op.json(&[]).await;
    assert!(status["node"].is_null());
    assert!(
        status["node_error"]
            .as_str()
            .is_some_and(|why| !why.is_empty())
    );
    let site = Site::new("no-agent");
    let node = machine("node-1").await;
    let said = site.command(&node, &["status"]).await;
    assert!(
        said.stdout.contains("This node: no agent runs\n"),
        "{said:?}"
    );
    let said = site.command(&node, &["status", "--json"]).await;
    assert!(!said.stdout.contains("node_error"), "{said:?}");
}

#[tokio::test]
async fn a_reboot_after_which_no_agent_releases_the_lock_needs_a_flag() {
    let site = Site::new("disabled");
    let node = machine("node-1").await;
    // Not known is not yes.
    let refused = site.command(&node, &["reboot"]).await;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("it is not known whether pointsman.service is enabled"),
        "{refused:?}"
    );
    let systemd = Systemd::start(node.bus()).await;
    systemd.set_enabled("pointsman.service", false);
    let refused = site.command(&node, &["reboot"]).await;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(
        refused.stderr.contains("pointsman.service is not enabled")
            && refused.stderr.contains("--without-agent"),
        "{refused:?}"
    );
    site.lock().await;
    let waiting = site
        .foreground(&node, &["reboot", "--without-agent"])
        .spawn();
    // It says what it waits for, and others see that it does.
    eventually(
        "what it waits for",
        async || waiting.log(),
        |log| log.contains("queued: first in the queue; the only place is taken by operator"),
    )
    .await;
    let said = site.command(&node, &["status"]).await;
    assert!(
        said.stdout
            .contains("no agent runs. Its reboots are coordinated by pointsman (reboot-planned)"),
        "{said:?}"
    );
    site.unlock("operator").await;
    node.logind().rebooted().await;
    waiting.kill().await;
    assert_eq!(site.read().await.holders.len(), 1);
}

#[tokio::test]
async fn a_group_that_nobody_is_in_is_not_paused_by_a_typing_error() {
    let op = Operator::new("pause-typo");
    op.says(&["set-max", "1", "--group", "prod", "--new"], 0, "")
        .await;
    let refused = op
        .says(
            &["pause", "--group", "prdo", "--reason", "stop"],
            2,
            "no node is in the group \"prdo\"",
        )
        .await;
    assert!(
        refused.stderr.contains("the groups are prod"),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("pause --new"), "{refused:?}");
    op.says(
        &["pause", "--group", "prod", "--reason", "stop"],
        0,
        "The group prod is paused",
    )
    .await;
    op.says(
        &["pause", "--group", "prdo", "--new", "--reason", "stop"],
        0,
        "The group prdo is paused",
    )
    .await;
}
