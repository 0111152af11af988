//! `lock --drain` and its `unlock`: interrupted, failing, from elsewhere.

use std::time::Duration;

use pointsman_testbed::node::Node;

use super::*;
use crate::agents::prepare;

/// A node whose hooks of both kinds note that they ran.
async fn noting(site: &Site) -> (Node, std::path::PathBuf) {
    let node = site.node("node-1", &[]).await;
    let log = node.path("hooks-ran");
    for moment in ["pre-reboot.d", "post-boot.d"] {
        let script = format!("echo {moment} >>{}", log.display());
        hook(&node, &format!("{moment}/20-note"), &script);
    }
    (node, log)
}

#[tokio::test]
async fn a_node_locked_already_is_drained_by_lock_drain_and_a_failure_keeps_that_lock() {
    let site = Site::new("drain-later");
    let (node, log) = noting(&site).await;
    let ran = || std::fs::read_to_string(&log).unwrap_or_default();
    let run = async |words: &[&str]| site.command(&node, words).await;
    run(&["lock", "--reason", "disk"]).await;
    let locked = site.phase(&node, Phase::Manual).await;
    hook(&node, "pre-reboot.d/30-fails", "exit 1");
    let done = run(&["lock", "--drain"]).await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr.contains("is still locked, but not drained"),
        "{done:?}"
    );
    assert_eq!(site.phase(&node, Phase::Manual).await, locked);
    assert_eq!(ran(), "pre-reboot.d\npost-boot.d\n");
    std::fs::remove_file(node.path("etc/pointsman/hooks/pre-reboot.d/30-fails")).unwrap();
    let done = run(&["lock", "--drain"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let drained = site.phase(&node, Phase::Manual).await;
    assert!(
        drained.is_drained() && drained.nonce == locked.nonce,
        "{drained:?}"
    );
    assert_eq!(ran(), "pre-reboot.d\npost-boot.d\npre-reboot.d\n");

    // From elsewhere it is not unlocked: its hooks run only there.
    let other = site.node("node-2", &[]).await;
    let done = site.command(&other, &["unlock", "node-1"]).await;
    assert_eq!(done.code, Some(3), "{done:?}");
    assert!(done.stderr.contains("Unlock it on that node"), "{done:?}");
    // A hook that fails keeps the lock too, until it is told to go.
    hook(&node, "post-boot.d/30-fails", "exit 1");
    let done = run(&["unlock"]).await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("stays locked"), "{done:?}");
    assert_eq!(site.phase(&node, Phase::Manual).await, drained);
    let done = run(&["unlock", "--force"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    site.free().await;
}

#[tokio::test]
async fn a_drain_that_is_interrupted_is_undone_and_a_killed_one_can_be_begun_again() {
    let site = Site::new("drain-ends");
    let (node, log) = noting(&site).await;
    let ran = || std::fs::read_to_string(&log).unwrap_or_default();
    let begun = node.path("begun");
    hook(
        &node,
        "pre-reboot.d/30-slow",
        &format!("touch {}; sleep 60", begun.display()),
    );
    let lock = async |signal: Signal| {
        let child = site.foreground(&node, &["lock", "--drain"]).spawn();
        eventually("the drain", async || begun.exists(), |begun| *begun).await;
        child.signal(signal);
        let ended = child.wait_timeout(Duration::from_secs(20)).await.unwrap();
        std::fs::remove_file(&begun).unwrap();
        ended
    };
    for (signal, code) in [
        (Signal::SIGINT, 130),
        (Signal::SIGTERM, 143),
        (Signal::SIGHUP, 143),
    ] {
        assert_eq!(lock(signal).await.code(), Some(code), "{signal}");
        site.free().await;
        assert!(ran().ends_with("pre-reboot.d\npost-boot.d\n"), "{}", ran());
    }
    lock(Signal::SIGKILL).await;
    let done = site.command(&node, &["lock", "--drain"]).await;
    assert_eq!(done.code, Some(3), "{done:?}");
    assert!(
        done.stderr
            .contains("to start again, unlock the node first and then lock it: pointsman unlock"),
        "{done:?}"
    );
    let done = site.command(&node, &["unlock"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(ran().ends_with("post-boot.d\n"), "{}", ran());
    site.free().await;
}

#[tokio::test]
async fn machines_with_the_same_id_do_not_unlock_or_use_the_others_lock() {
    let site = Site::new("twins-lock");
    let node = site.node("node-1", &[]).await;
    let twin = Node::with_machine_id("twin", node.machine_id()).await;
    prepare(&twin);
    site.start(&twin, &[]).await;
    let done = site.command(&twin, &["lock"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let done = site.command(&node, &["unlock"]).await;
    assert_eq!(done.code, Some(3), "{done:?}");
    assert!(
        done.stderr.contains("twin (")
            && done.stderr.contains(
                ") holds the reboot lock, and this machine, node-1, has the same machine id"
            ),
        "{done:?}"
    );
    let done = node.run(bin(), &["reboot", "--reason", "x"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    node.wait_status(|status| {
        status.contains("locked by hand since") && status.contains("(on twin)")
    })
    .await;
    assert!(node.logind().asked().is_empty());
}
