//! A real terminal, by tmux.

use std::path::PathBuf;

use pointsman_testbed::{fakes::PATIENCE, process::run, scratch};

use crate::support::eventually;

/// A terminal of its own, by tmux, in which a shell runs.
pub(crate) struct Terminal {
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Terminal {
    pub(crate) async fn new(width: u16, height: u16) -> Self {
        let folder = scratch::dir("tmux");
        let terminal = Self {
            socket: folder.path().join("socket"),
            _folder: folder,
        };
        let size = (width.to_string(), height.to_string());
        let shell = [
            "new-session",
            "-d",
            "-x",
            &size.0,
            "-y",
            &size.1,
            "env",
            "PS1=ready> ",
            "sh",
        ];
        terminal.tmux(&shell).await;
        terminal
            .shows("the shell", |screen| screen.contains("ready>"))
            .await;
        terminal
    }

    pub(crate) async fn tmux(&self, args: &[&str]) -> String {
        let socket = self.socket.display().to_string();
        let args: Vec<String> = ["-S", &socket, "-f", "/dev/null"]
            .iter()
            .chain(args)
            .map(|&arg| arg.to_owned())
            .collect();
        let said = run(
            std::path::Path::new("tmux"),
            args,
            &[("TERM", "xterm-256color"), ("LANG", "C.UTF-8")],
            PATIENCE,
        )
        .await;
        assert_eq!(said.code, Some(0), "{said:?}");
        said.stdout
    }

    pub(crate) async fn types(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]).await;
        self.tmux(&["send-keys", "Enter"]).await;
    }

    pub(crate) async fn presses(&self, key: &str) {
        self.tmux(&["send-keys", key]).await;
    }

    pub(crate) async fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"]).await
    }

    pub(crate) async fn shows(&self, what: &str, is: impl Fn(&String) -> bool) -> String {
        eventually(what, async || self.screen().await, is).await
    }

    /// Waits until the shell asks for a line, with what was there before.
    pub(crate) async fn is_the_shell_again(&self) -> String {
        let again = |screen: &String| {
            screen.contains("before-the-watch") && screen.trim_end().ends_with("\nready>")
        };
        self.shows("the shell again", again).await
    }

    pub(crate) async fn resize(&self, width: u16, height: u16) {
        let size = (width.to_string(), height.to_string());
        self.tmux(&["resize-window", "-x", &size.0, "-y", &size.1])
            .await;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let kill = std::process::Command::new("tmux")
            .arg("-S")
            .arg(&self.socket)
            .arg("kill-server")
            .status();
        assert!(
            kill.is_ok_and(|status| status.success()),
            "the terminal ends"
        );
    }
}
