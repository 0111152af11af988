//! How far an apply is, on a terminal.

use std::os::unix::fs::PermissionsExt as _;

use nix::{sys::stat::Mode, unistd::mkfifo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::{agents::bin, terminal::Terminal};

/// It waits twice: for a server, and for the tool that creates users.
#[tokio::test]
async fn an_apply_that_takes_long_says_on_a_terminal_how_far_it_is() {
    let (tree, server) = (Tree::new(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let tools = tempfile::tempdir().unwrap();
    let go = tools.path().join("go");
    mkfifo(&go, Mode::S_IRWXU).unwrap();
    let useradd = tools.path().join("useradd");
    let waits = format!(
        "#!/bin/sh\nread _ <{}\nexec /usr/sbin/useradd \"$@\"\n",
        go.display()
    );
    fs::write(&useradd, waits).unwrap();
    fs::set_permissions(&useradd, fs::Permissions::from_mode(0o755)).unwrap();
    let url = format!("http://{}/motd", server.local_addr().unwrap());
    tree.write(
        "document",
        &format!(
            "#cloud-config\nwrite_files:\n  - path: /etc/one\n    content: one\n  - path: /etc/motd\n    source: {url}\n\
             users:\n  - name: worker\n"
        ),
    );
    let terminal = Terminal::new(100, 24).await;
    terminal.types("echo before-the-watch").await;
    let (root, tools) = (tree.root().display(), tools.path().display());
    let program = bin().display();
    let line =
        format!("PATH={tools}:$PATH {program} cloud-config apply --root {root} {root}/document");
    terminal.types(&line).await;

    let (mut asked, _) = server.accept().await.unwrap();
    let fetching = |screen: &String| screen.contains("fetching files");
    terminal.shows("the fetching", fetching).await;
    let _ = asked.read(&mut [0; 4096]).await.unwrap();
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nhi\n";
    asked.write_all(answer).await.unwrap();

    let creating = |screen: &String| screen.contains("user worker") && screen.contains("left");
    let screen = terminal.shows("the user", creating).await;
    assert!(!screen.contains("fetching"), "one line: {screen}");
    assert!(screen.contains(" of 3, "), "{screen}");
    // Whoever reads the other end is waited for.
    tokio::task::spawn_blocking(move || fs::write(go, "\n").unwrap())
        .await
        .unwrap();
    let screen = terminal.is_the_shell_again().await;
    assert!(!screen.contains(" left"), "nothing is left of it: {screen}");
    assert!(screen.contains("+ user worker: new"), "{screen}");
}
