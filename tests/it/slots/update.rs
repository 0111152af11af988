//! `pointsman update`.

use std::fs;

use pointsman_testbed::{
    fakes::{Check, Status, Systemd},
    node::Node,
};

use super::*;
use crate::{agents::machine, terminal::Terminal};

#[tokio::test]
async fn update_status_check_and_reset_reach_update_engine() {
    let node = machine("node-1").await;
    let run = async |args: &[&str], code| {
        let done = node.run(bin(), args).await;
        assert_eq!(done.code, Some(code), "{args:?}: {done:?}");
        format!("{}{}", done.stdout, done.stderr)
    };
    // The command comes before the flag that names the machine.
    let status = async || {
        let root = node.root().display().to_string();
        node.run_plain(bin(), &["update", "status", "--root", &root], &[])
            .await
    };
    let shown = status().await.stdout;
    let lines = "LAST_CHECKED_TIME=1700000000\nPROGRESS=0.000000\nCURRENT_OP=UPDATE_STATUS_IDLE\nNEW_VERSION=0.0.0\nNEW_SIZE=0\n";
    assert_eq!(shown, lines);
    let root = node.root().display().to_string();
    let check = async || {
        node.run_plain(bin(), &["update", "check", "--root", &root], &[])
            .await
    };
    let (done, ()) = tokio::join!(check(), async {
        node.update_engine()
            .wait_for_calls("AttemptUpdate", 1)
            .await;
        let engine = node.update_engine();
        engine
            .set(Status::new("UPDATE_STATUS_CHECKING_FOR_UPDATE", "0.0.0"))
            .await;
        engine.wait_for_call("GetStatus").await;
        engine
            .set(Status {
                progress: 0.5,
                size: 200_000_000,
                ..Status::new("UPDATE_STATUS_DOWNLOADING", "2")
            })
            .await;
        engine.wait_for_call("GetStatus").await;
        engine.ready("2").await;
    });
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.stdout
            .ends_with("2 is staged and waits for a reboot.\n"),
        "{done:?}"
    );
    let done = check().await;
    assert!(done.stdout.contains("2 is already staged"), "{done:?}");
    node.run_plain(bin(), &["update", "reset", "--root", &root], &[])
        .await;
    assert_eq!(node.update_engine().calls("ResetStatus"), 1);
    let (done, ()) = tokio::join!(check(), async {
        node.update_engine()
            .wait_for_calls("AttemptUpdate", 2)
            .await;
        let mut idle = Status::idle();
        idle.last_checked_time += 1;
        node.update_engine().set(idle).await;
    });
    assert_eq!(done.stdout, "There is no update.\n", "{done:?}");
    node.update_engine().stop().await;
    assert_eq!(status().await.code, Some(4));
    let _ = run;
}

#[tokio::test]
async fn the_channel_is_shown_and_changed_with_the_rest_kept() {
    let node = machine("node-1").await;
    let systemd = Systemd::start(node.bus()).await;
    let root = node.root().display().to_string();
    let channel = async |name: &[&str]| {
        let args = [&["update", "channel", "--root", &root], name].concat();
        node.run_plain(bin(), &args, &[]).await
    };
    let none = channel(&[]).await;
    assert_eq!(none.code, Some(1), "{none:?}");
    node.write("usr/share/flatcar/update.conf", "SERVER=x\nGROUP=stable\n");
    assert_eq!(channel(&[]).await.stdout, "stable\n");
    let conf = "etc/flatcar/update.conf";
    node.write(conf, "# ours\nREBOOT_STRATEGY=off\n");
    let done = channel(&["lts-2024"]).await;
    assert!(done.stdout.contains("GROUP=stable → lts-2024"), "{done:?}");
    let text = fs::read_to_string(node.path(conf)).unwrap();
    assert_eq!(text, "# ours\nREBOOT_STRATEGY=off\nGROUP=lts-2024\n");
    assert_eq!(
        systemd.asked(),
        [("RestartUnit".to_owned(), "update-engine.service".to_owned())]
    );
    assert_eq!(channel(&[]).await.stdout, "lts-2024\n");
    for bad in ["", "a b", "a\nSERVER=evil", "../x"] {
        assert_eq!(channel(&[bad]).await.code, Some(2), "{bad:?}");
    }
    assert_eq!(fs::read_to_string(node.path(conf)).unwrap(), text);
}

/// `pointsman update …` on this machine.
async fn update(node: &Node, args: &[&str]) -> Output {
    let root = node.root().display().to_string();
    let args = [&["update"], args, &["--root", &root]].concat();
    node.run_plain(bin(), &args, &[]).await
}

#[tokio::test]
async fn a_check_that_failed_is_not_no_update() {
    let node = machine("node-1").await;
    node.update_engine().checks(Check::NoUpdate);
    let done = update(&node, &["check"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.ends_with("There is no update.\n"), "{done:?}");
    // It answered just now; a check that is older does not count.
    let mut old = node.update_engine().status();
    old.last_checked_time -= 3600;
    node.update_engine().set_silently(old);
    node.update_engine().checks(Check::Fails);
    let done = update(&node, &["check"]).await;
    assert_eq!(done.code, Some(5), "{done:?}");
    assert!(
        done.stderr
            .contains("the update server has not answered (the server answered last at "),
        "{done:?}"
    );
    // Nor one that a clock which was set back since has not come to yet.
    let mut later = node.update_engine().status();
    later.last_checked_time += 2 * 3600;
    node.update_engine().set_silently(later);
    node.update_engine().checks(Check::Fails);
    let done = update(&node, &["check"]).await;
    assert_eq!(done.code, Some(5), "{done:?}");
    node.write("etc/flatcar/update.conf", "SERVER=disabled\n");
    node.update_engine().checks(Check::Fails);
    let done = update(&node, &["check"]).await;
    assert_eq!(done.code, Some(5), "{done:?}");
    assert!(done.stderr.contains("SERVER=disabled in "), "{done:?}");
}

#[tokio::test]
async fn concurrent_update_checks_both_end() {
    let node = machine("node-1").await;
    for (check, code) in [(Check::NoUpdate, 0), (Check::Fails, 5)] {
        let mut old = node.update_engine().status();
        old.last_checked_time = 1_700_000_000;
        node.update_engine().set_silently(old);
        node.update_engine().checks(check);
        let (a, b) = tokio::join!(update(&node, &["check"]), update(&node, &["check"]));
        assert_eq!((a.code, b.code), (Some(code), Some(code)), "{a:?} {b:?}");
    }
}

#[tokio::test]
async fn a_check_ends_in_time_whatever_update_engine_does() {
    let node = machine("node-1").await;
    node.update_engine().checks(Check::Hangs);
    let done = update(&node, &["check", "--timeout", "300ms"]).await;
    assert_eq!(done.code, Some(5), "{done:?}");
    assert!(
        done.stderr
            .contains("the check did not end within 300ms, and update_engine continues (UPDATE_STATUS_CHECKING"),
        "{done:?}"
    );
    let done = update(&node, &["check", "--timeout", "soon"]).await;
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(
        done.stderr.contains("--timeout: found \"soon\""),
        "{done:?}"
    );
}

#[tokio::test]
async fn a_check_ends_where_no_signal_comes_and_where_nothing_begins() {
    let (silent, idle) = (machine("node-1").await, machine("node-2").await);
    // Somebody else's check is under way: what becomes of it is signalled to nobody again.
    let checking = Status::new("UPDATE_STATUS_CHECKING_FOR_UPDATE", "0.0.0");
    silent.update_engine().set_silently(checking);
    // Another client's check has just ended: this one is not begun, and has its answer.
    let just = machine("node-3").await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    just.update_engine().set_silently(Status {
        last_checked_time: now.unwrap().as_secs() as i64,
        ..Status::idle()
    });
    let done = update(&just, &["check", "--timeout", "5s"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.ends_with("There is no update.\n"), "{done:?}");
    let args = &["check", "--timeout", "20s"];
    let (ended, (), unbegun) = tokio::join!(
        update(&silent, args),
        async {
            let engine = silent.update_engine();
            engine.wait_for_calls("AttemptUpdate", 1).await;
            let mut idle = Status::idle();
            idle.last_checked_time += 1;
            engine.set_silently(idle);
        },
        update(&idle, args)
    );
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.ends_with("There is no update.\n"), "{ended:?}");
    assert_eq!(unbegun.code, Some(5), "{unbegun:?}");
    assert!(
        unbegun
            .stderr
            .contains("update_engine has not started the check within 10s"),
        "{unbegun:?}"
    );
}

#[tokio::test]
async fn reset_during_a_download_is_refused_with_the_reason() {
    let node = machine("node-1").await;
    let downloading = Status {
        progress: 0.25,
        ..Status::new("UPDATE_STATUS_DOWNLOADING", "2")
    };
    node.update_engine().set(downloading).await;
    let done = update(&node, &["reset"]).await;
    assert_eq!(done.code, Some(3), "{done:?}");
    assert!(
        done.stderr
            .contains("not reset: update_engine is downloading 2 (25 %)"),
        "{done:?}"
    );
    assert!(!done.stderr.contains("FALSE"), "{done:?}");
}

#[tokio::test]
async fn version_with_a_line_break_forges_no_line() {
    let node = machine("node-1").await;
    let forged = Status::new(
        "UPDATE_STATUS_DOWNLOADING",
        "9.9\nCURRENT_OP=UPDATE_STATUS_IDLE\u{202e}",
    );
    node.update_engine().set(forged).await;
    let done = update(&node, &["status"]).await;
    let ops = done
        .stdout
        .lines()
        .filter(|line| line.starts_with("CURRENT_OP="));
    assert_eq!(
        ops.collect::<Vec<_>>(),
        ["CURRENT_OP=UPDATE_STATUS_DOWNLOADING"]
    );
    assert!(
        done.stdout
            .contains("NEW_VERSION=9.9\\nCURRENT_OP=UPDATE_STATUS_IDLE\\u{202e}\n"),
        "{done:?}"
    );
}

#[tokio::test]
async fn a_download_is_a_bar_on_a_terminal_and_lines_in_a_pipe() {
    let node = machine("node-1").await;
    let engine = node.update_engine();
    engine.set_silently(Status::idle());
    let downloading = |progress| Status {
        progress,
        size: 400_000_000,
        ..Status::new("UPDATE_STATUS_DOWNLOADING", "2")
    };
    let terminal = Terminal::new(100, 24).await;
    terminal.types("echo before-the-watch").await;
    let address = node.bus().address();
    let (program, root) = (bin().display(), node.root().display().to_string());
    terminal
        .types(&format!(
            "DBUS_SYSTEM_BUS_ADDRESS={address} {program} update check --root {root}"
        ))
        .await;
    engine.wait_for_calls("AttemptUpdate", 1).await;
    engine.set(downloading(0.25)).await;
    let bar = |percent: &'static str| {
        move |screen: &String| screen.contains("downloading 2") && screen.contains(percent)
    };
    terminal.shows("a quarter", bar(" 25 % of 381")).await;
    engine.set(downloading(0.5)).await;
    let screen = terminal.shows("a half", bar(" 50 % of 381")).await;
    assert_eq!(
        screen.matches("downloading 2").count(),
        1,
        "one line: {screen}"
    );
    assert!(screen.contains(" left"), "{screen}");
    engine.ready("2").await;
    let screen = terminal.is_the_shell_again().await;
    assert!(
        screen.contains("2 is staged and waits for a reboot."),
        "{screen}"
    );
    assert!(!screen.contains("downloading"), "the bar is gone: {screen}");
}
