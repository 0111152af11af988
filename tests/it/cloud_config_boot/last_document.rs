//! The last document that worked: when it is kept, and when it changes.

use super::*;

#[tokio::test]
async fn node_keeps_the_last_document_that_worked_and_reports_it() {
    let machine = Machine::new().await;
    machine.serve(Reply::ok(document("one")));
    let booted = machine.boot(&["cmdline"]).await;
    assert_eq!((booted.code, booted.stderr.as_str()), (Some(0), ""));
    assert_eq!(machine.written(), of("one"));
    assert_eq!(machine.outcome().await.0, "applied");
    let history = machine.call(&["cloud-config", "history"]).await.stdout;

    // Once more in the same boot: nothing changes.
    let again = machine
        .call(&["cloud-config", "apply", "--at-boot", "cmdline"])
        .await;
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), ""));
    assert_eq!(machine.outcome().await.0, "unchanged");
    assert_eq!(
        machine.call(&["cloud-config", "history"]).await.stdout,
        history
    );

    // A second boot: what was under /run is made again.
    assert_eq!(machine.boot(&["cmdline"]).await.code, Some(0));
    assert_eq!(machine.written(), of("one"));
    assert!(
        machine
            .path(MESSAGE)
            .parent()
            .is_none_or(|folder| !folder.exists())
    );

    machine.serve(Reply::ok(document("two")));
    assert_eq!(machine.boot(&["cmdline"]).await.code, Some(0));
    assert_eq!(machine.written(), of("two"));

    // A document that became invalid, one that is none, none at all for one boot and for another, a server that refuses.
    for (reply, words, code) in [
        (
            Reply::ok(
                "#cloud-config\nhostname: [x]\nwrite_files: [{path: /etc/site, content: three}]\n",
            ),
            "1 error; nothing is done",
            1,
        ),
        (Reply::ok("<html>"), "found user data of unknown kind", 1),
        (Reply::missing(), "found status 404", 0),
        (Reply::missing(), "found status 404", 1),
        (Reply::Body(403, Vec::new()), "found status 403", 1),
    ] {
        machine.serve(reply);
        let booted = machine.boot(&["cmdline"]).await;
        assert_eq!(booted.code, Some(code), "{booted:?}");
        assert!(
            booted.stderr.contains(words)
                && booted
                    .stderr
                    .contains("the last document that worked is kept: cmdline of "),
            "{}",
            booted.stderr
        );
        assert_eq!(machine.written(), of("two"), "{words}");
        let (result, reason) = machine.outcome().await;
        assert_eq!(result, "kept");
        assert!(reason.contains(words), "{reason}");
        let told = machine.text(MESSAGE).unwrap();
        assert!(
            told.contains("NOT up to date")
                && told.contains("the node keeps the last document that worked, cmdline"),
            "{told}"
        );
        let shown = machine.call(&["status"]).await.stdout;
        assert!(shown.contains(told.trim()), "{shown}");
    }

    // For one boot again, once it was there.
    machine.serve(Reply::ok(document("three")));
    assert_eq!(machine.boot(&["cmdline"]).await.code, Some(0));
    machine.serve(Reply::missing());
    assert_eq!(machine.boot(&["cmdline"]).await.code, Some(0));
    assert_eq!(machine.outcome().await.0, "kept");

    // All is well again, and said to be.
    machine.serve(Reply::ok(document("four")));
    let applied = machine.call(&["cloud-config", "apply", "cmdline"]).await;
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert_eq!(machine.written(), of("four"));
    assert_eq!(machine.outcome().await.0, "applied");
    assert_eq!(machine.text(MESSAGE), None);
}

#[tokio::test]
async fn first_document_that_fails_leaves_nothing() {
    let machine = Machine::new().await;
    let booted = machine.boot(&["cmdline"]).await;
    assert_eq!(booted.code, Some(1));
    assert!(
        booted.stderr.contains("found status 404"),
        "{}",
        booted.stderr
    );
    assert_eq!(machine.outcome().await.0, "failed");
    assert!(
        machine.text(MESSAGE).unwrap().contains("NOT applied"),
        "{booted:?}"
    );
    assert_eq!(machine.written(), (None, None));
}

#[tokio::test]
async fn terminated_wait_keeps_the_last_document() {
    let machine = Machine::new().await;
    machine.serve(Reply::ok(document("one")));
    assert_eq!(machine.boot(&["cmdline"]).await.code, Some(0));
    machine.serve(Reply::missing());
    let asked = machine.web.seen().len();
    fs::remove_dir_all(machine.path("run")).unwrap();
    let process = Spec::new(bin(), machine.path("log"))
        .args([
            "cloud-config",
            "apply",
            "--at-boot",
            "--wait",
            "1h",
            "cmdline",
        ])
        .arg("--root")
        .arg(machine.root.path())
        .spawn();
    eventually(
        "it asks once more",
        async || machine.web.seen().len(),
        |seen| *seen > asked,
    )
    .await;
    process.signal(Signal::SIGTERM);
    let ended = process.wait_timeout(PATIENCE).await.unwrap();
    assert_eq!(ended.code(), Some(143), "{}", process.log());
    assert!(
        process.log().contains("terminated before"),
        "{}",
        process.log()
    );
    assert_eq!(machine.written(), of("one"));
    assert_eq!(machine.outcome().await.0, "kept");
}

#[tokio::test]
async fn manual_apply_and_revert_change_the_last_document() {
    let machine = Machine::new().await;
    let file = machine.path("node.yaml");
    let path = file.display().to_string();
    fs::write(&file, document("one")).unwrap();
    assert_eq!(machine.boot(&[&path]).await.code, Some(0));
    fs::write(&file, document("two")).unwrap();
    assert_eq!(
        machine.call(&["cloud-config", "apply", &path]).await.code,
        Some(0)
    );
    // Another one, for a try.
    let other = machine.path("other.yaml");
    fs::write(&other, document("three")).unwrap();
    let other = other.display().to_string();
    assert_eq!(
        machine.call(&["cloud-config", "apply", &other]).await.code,
        Some(0)
    );
    assert_eq!(
        machine.call(&["cloud-config", "revert"]).await.code,
        Some(0)
    );
    fs::remove_file(&file).unwrap();
    let booted = machine.boot(&[&path]).await;
    assert!(
        booted.code == Some(0) && booted.stderr.contains("warning"),
        "{booted:?}"
    );
    assert_eq!(machine.written(), of("two"));
}
