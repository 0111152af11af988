use std::os::unix::process::ExitStatusExt;

use super::*;

#[tokio::test]
async fn a_command_gives_its_code_and_both_outputs_and_no_foreign_environment() {
    let out = run(
        "sh",
        ["-c", "echo out $ETCD_NAME $MINE; echo err >&2; exit 3"],
        &[("MINE", "mine")],
        Duration::from_secs(10),
    )
    .await;
    assert_eq!(
        out,
        Output {
            code: Some(3),
            stdout: "out mine\n".into(),
            stderr: "err\n".into()
        }
    );
}

#[tokio::test]
async fn a_child_is_signalled_logged_and_reaped() {
    let dir = crate::scratch::dir("child");
    let child = Spec::new("sh", dir.path().join("log"))
        .args(["-c", "echo hello; exec sleep 1000"])
        .spawn();
    let limit = Duration::from_millis(1);
    assert!(
        child
            .wait_timeout(limit)
            .await
            .unwrap_err()
            .contains("sh (")
    );
    child.signal(Signal::SIGTERM);
    // Ended by the signal, whether sh, setpriv or sleep had it.
    assert_eq!(child.wait().await.signal(), Some(15));
    assert!(!child.is_running());
    assert!(
        !Path::new(&format!("/proc/{}", child.pid())).exists(),
        "not reaped"
    );
    child.signal(Signal::SIGKILL);
}

#[tokio::test]
async fn dropping_kills_and_reaps() {
    let dir = crate::scratch::dir("child");
    let child = Spec::new("sleep", dir.path().join("log"))
        .arg("1000")
        .spawn();
    let mut ended = child.ended.clone();
    let pid = child.pid();
    drop(child);
    ended.wait_for(Option::is_some).await.unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

/// The test binary runs itself as a process that is killed, and looks whether its child died too.
#[tokio::test]
async fn children_die_with_the_process_but_not_with_the_thread() {
    if let Some(pidfile) = std::env::var_os("TESTBED_PARENT") {
        let log = Path::new(&pidfile).with_extension("log");
        let child = std::thread::spawn(move || Spec::new("sleep", log).arg("1000").spawn())
            .join()
            .unwrap();
        let pid = child.pid();
        // The spawning request came from a thread that is gone; the child lives.
        assert!(child.wait_timeout(Duration::from_millis(50)).await.is_err());
        std::fs::write(Path::new(&pidfile).with_extension("new"), pid.to_string()).unwrap();
        std::fs::rename(Path::new(&pidfile).with_extension("new"), &pidfile).unwrap();
        std::future::pending::<()>().await;
    }
    let dir = crate::scratch::dir("parent");
    let pidfile = dir.path().join("pid");
    let parent = Spec::new(std::env::current_exe().unwrap(), dir.path().join("log"))
        .args([
            "--exact",
            "process::tests::children_die_with_the_process_but_not_with_the_thread",
        ])
        .env("TESTBED_PARENT", &pidfile)
        .spawn();
    let until = |what: &'static str, parent: &Child| {
        let log = parent.log();
        move || panic!("{what}; the parent's log: {log}")
    };
    for round in 0.. {
        if pidfile.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(parent.is_running(), "the parent ended: {}", parent.log());
        if round > 2000 {
            until("no child after 20 s", &parent)();
        }
    }
    let pid = std::fs::read_to_string(&pidfile).unwrap();
    let proc = PathBuf::from(format!("/proc/{pid}"));
    assert!(proc.exists());
    parent.kill().await;
    for round in 0.. {
        // A zombie counts as dead: whoever inherits it may be slow to reap it.
        let stat = std::fs::read_to_string(proc.join("stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") {
            break;
        }
        assert!(round < 2000, "the child outlives its parent: {stat}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
