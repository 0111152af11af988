//! `status --watch`, in a real terminal and in a pipe.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::*;
use crate::terminal::Terminal;

impl Operator {
    /// The command line, for a shell.
    fn line(&self, args: &[&str]) -> String {
        let mut words = vec![bin().display().to_string()];
        words.extend(self.args(args));
        words.join(" ")
    }
}

#[tokio::test]
async fn the_screen_follows_the_cluster_and_the_terminal_and_leaves_it_clean() {
    let op = Operator::new("watch");
    let semaphore = on(shared_cluster(), &op.prefix);
    op.says(&["set-max", "1"], 0, "").await;
    let terminal = Terminal::new(80, 24).await;
    terminal.types("echo before-the-watch").await;
    terminal.types(&op.line(&["status", "--watch"])).await;
    let screen = terminal
        .shows("the status", |screen| screen.contains("Max: 1"))
        .await;
    let lines: Vec<&str> = screen.lines().collect();
    assert!(
        lines[0].starts_with(" pointsman  ") && lines[0].ends_with("live"),
        "{screen}"
    );
    assert!(lines[23].starts_with(" q quit  n nodes"), "{screen}");
    assert!(
        !screen.contains("before-the-watch"),
        "it has the screen alone: {screen}"
    );

    // A change in etcd is seen by itself, also a name that would act on the terminal, as text.
    let mut taken = claim("a");
    taken.holder.hostname = "web\u{1b}[2J".into();
    semaphore.acquire(&taken, |_| {}).await;
    let screen = terminal
        .shows("the holder", |screen| screen.contains("draining"))
        .await;
    assert!(screen.contains("web\\u{1b}[2J"), "{screen}");
    assert!(screen.contains("Max: 1"), "{screen}");

    // What is too wide is said, and can be seen.
    assert!(screen.contains("(more at the right)"), "{screen}");
    let first = screen.lines().nth(1).unwrap().to_owned();
    for _ in 0..20 {
        terminal.presses("Right").await;
    }
    let end = |screen: &String| !screen.contains("(more at the right)") && !screen.contains(&first);
    terminal.shows("the right end", end).await;
    for _ in 0..20 {
        terminal.presses("Left").await;
    }
    terminal
        .shows("the left end", |screen| screen.contains("Max: 1"))
        .await;

    // More than fits, then less, then another size.
    let mut client = shared_cluster().client().await;
    for n in 0..40 {
        let ticket = format!(r#"{{"id":"node-{n:02}","hostname":"web-{n:02}"}}"#);
        client
            .put(
                semaphore.keys().ticket(&format!("node-{n:02}")),
                ticket,
                None,
            )
            .await
            .unwrap();
    }
    terminal
        .shows("that there is more", |screen| {
            screen.contains("(more below)")
        })
        .await;
    terminal.presses("End").await;
    terminal
        .shows("the last one", |screen| screen.contains("web-39"))
        .await;
    // All are there by now.
    terminal.presses("End").await;
    let ended = |screen: &String| !screen.contains("Max: 1") && !screen.contains("(more below)");
    terminal.shows("the end", ended).await;
    terminal.presses("Home").await;
    terminal
        .shows("the beginning", |screen| screen.contains("Max: 1"))
        .await;
    terminal.resize(200, 60).await;
    // Captured as it is drawn, a screen may have a part of the one before.
    let all = |screen: &String| {
        let footers = screen.lines().filter(|line| line.starts_with(" q quit"));
        screen.contains("Max: 1")
            && screen.contains("web-39")
            && screen.contains("This node")
            && footers.count() == 1
    };
    terminal
        .shows("all of it, with one line of keys", all)
        .await;
    terminal.resize(40, 5).await;
    terminal
        .shows("a small screen", |screen| {
            screen.lines().count() <= 5 && screen.contains(" q quit")
        })
        .await;
    terminal.resize(80, 24).await;

    // The nodes, and back.
    terminal.presses("n").await;
    terminal
        .shows("the nodes", |screen| {
            screen.contains("host-a") || screen.contains("No node is shown")
        })
        .await;
    terminal.presses("Tab").await;
    terminal
        .shows("the status again", |screen| screen.contains("Max: 1"))
        .await;

    terminal.presses("q").await;
    let screen = terminal.is_the_shell_again().await;
    assert!(!screen.contains("q quit"), "{screen}");
    // What is typed is shown again, and a line ends where it should.
    terminal
        .types("stty -a | grep -o ' echo ' | wc -c; echo $((6*7))")
        .await;
    terminal
        .shows("a terminal as before", |screen| {
            screen.contains("\n7\n") || screen.contains("\n6\n")
        })
        .await;
    terminal
        .shows("its answer", |screen| screen.contains("\n42\n"))
        .await;
}

#[tokio::test]
async fn the_terminal_is_left_clean_by_a_signal_too() {
    let op = Operator::new("watch-signal");
    op.says(&["set-max", "1"], 0, "").await;
    let terminal = Terminal::new(80, 24).await;
    terminal.types("echo before-the-watch").await;
    terminal.types(&op.line(&["status", "--watch"])).await;
    terminal
        .shows("the status", |screen| screen.contains("Max: 1"))
        .await;
    let shell = terminal
        .tmux(&["display-message", "-p", "#{pane_pid}"])
        .await;
    let shell = shell.trim();
    let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
    let child: i32 = children.trim().parse().unwrap();
    let child = nix::unistd::Pid::from_raw(child);
    nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGTERM).unwrap();
    terminal.is_the_shell_again().await;
    terminal.types("echo $((6*7))").await;
    terminal
        .shows("what is typed", |screen| {
            screen.contains("echo $((6*7))") && screen.contains("\n42\n")
        })
        .await;
}

#[tokio::test]
async fn without_a_terminal_each_change_is_a_line() {
    let op = Operator::new("watch-lines");
    let semaphore = on(shared_cluster(), &op.prefix);
    op.says(&["set-max", "1"], 0, "").await;
    let mut child = tokio::process::Command::new(bin())
        .args(op.args(&["status", "--watch"]))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async |with: &str| loop {
        let line = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .expect("a line");
        let line = line.unwrap().expect("it goes on");
        if line.contains(with) {
            break line;
        }
    };
    next("Max: 1").await;
    next("This node").await;
    semaphore.acquire(&claim("a"), |_| {}).await;
    let line = next("is draining").await;
    assert!(
        line.ends_with("(default): host-a is draining (to 2)"),
        "{line}"
    );
    semaphore
        .pause(
            false,
            &serde_json::from_str::<Pause>(r#"{"by":"ann","reason":"tea\u001b[2J"}"#).unwrap(),
            None,
            true,
        )
        .await
        .unwrap();
    let line = next("paused").await;
    assert!(
        line.ends_with("(default): paused by ann: tea\\u{1b}[2J"),
        "{line}"
    );
    // It ends with its reader.
    drop(lines);
    semaphore.resume(false).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, child.wait())
        .await
        .expect("it ends");
    assert!(ended.unwrap().success());
}

#[tokio::test]
async fn it_says_from_the_start_that_etcd_is_away_and_goes_on() {
    let op = Operator::new("watch-away");
    let root = op.root.path().display().to_string();
    let args = [
        "status",
        "--watch",
        "--root",
        &root,
        "--endpoint",
        "127.0.0.1:1",
        "--timeout",
        "300ms",
    ];
    let mut child = tokio::process::Command::new(bin())
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = tokio::time::timeout(PATIENCE, lines.next_line())
        .await
        .expect("a line");
    let first = first.unwrap().unwrap();
    assert!(
        first.contains("127.0.0.1:1") && !first.contains("\\n"),
        "{first}"
    );
    assert!(child.try_wait().unwrap().is_none(), "it goes on");
}
