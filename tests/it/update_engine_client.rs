//! The program by the name of update_engine's own client.

use std::path::PathBuf;

use pointsman_testbed::{
    fakes::{Check, Status},
    node::Node,
    process::Output,
};

use crate::agents::{bin, machine};

/// The program under its old name, on this node's bus.
async fn client(node: &Node, flags: &[&str]) -> Output {
    let program: PathBuf = node.path("update_engine_client");
    if !program.exists() {
        std::os::unix::fs::symlink(bin(), &program).unwrap();
    }
    node.run_plain(&program, flags, &[]).await
}

#[tokio::test]
async fn the_old_client_resets_shows_and_checks_with_its_exit_codes() {
    let node = machine("node-1").await;
    let engine = node.update_engine();
    let done = client(&node, &["-status"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.contains("CURRENT_OP=UPDATE_STATUS_IDLE\n"));

    engine.ready("2").await;
    let done = client(&node, &["--reset_status"]).await;
    assert_eq!((done.code, engine.calls("ResetStatus")), (Some(0), 1));
    assert!(!engine.status().needs_reboot());
    // While something is under way: in our words, with its exit code.
    engine
        .set(Status::new("UPDATE_STATUS_DOWNLOADING", "2"))
        .await;
    let done = client(&node, &["-reset_status"]).await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr
            .contains("not reset: update_engine is downloading 2"),
        "{done:?}"
    );

    engine.set(Status::idle()).await;
    engine.checks(Check::NoUpdate);
    let done = client(&node, &["-update"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.ends_with("There is no update.\n"), "{done:?}");
    engine.checks(Check::ByTheTest);
    let done = client(&node, &["-check_for_update=true"]).await;
    assert_eq!((done.code, engine.calls("AttemptUpdate")), (Some(0), 2));
    // Nothing is asked for, or something that it does not know; nobody answers.
    let done = client(&node, &[]).await;
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), ""));
    let done = client(&node, &["-channel"]).await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("-reset_status:"), "{done:?}");
    engine.stop().await;
    for flag in ["-status", "-reset_status", "-update", "-watch_for_updates"] {
        assert_eq!(client(&node, &[flag]).await.code, Some(1), "{flag}");
    }
}
