//! The system's tools for users and their keys.

use std::{
    io::{self, Write as _},
    process::{Command, Stdio},
};

use host::node::Root;

use crate::plan::NewUser;

/// The tool of Container Linux for keys.
pub(super) const TOOL: &str = "/usr/bin/update-ssh-keys";

/// The name under which that tool stores our keys: the same as coreos-cloudinit's.
pub(super) const KEYS: &str = "coreos-cloudinit";

/// The tools, for the machine under a root.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tools<'a>(pub(super) &'a Root);

impl Tools<'_> {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        if !self.0.is_host() {
            command.arg("--root").arg(self.0.folder());
        }
        command
    }

    /// Creates a user without a password.
    ///
    /// # Errors
    /// With the error of the tool.
    pub(super) fn make(&self, user: &NewUser) -> io::Result<()> {
        let mut command = self.command("useradd");
        command.args(&user.arguments).args(["--password", "*"]);
        run(command.arg("--").arg(&user.name), b"")
    }

    /// Removes a user, but not the user's files.
    ///
    /// # Errors
    /// With the error of the tool.
    pub(super) fn remove(&self, user: &str) -> io::Result<()> {
        run(self.command("userdel").arg("--").arg(user), b"")
    }

    /// Sets a user's password by its hash, which does not appear in the list of processes.
    ///
    /// # Errors
    /// With the error of the tool.
    pub(super) fn password(&self, user: &str, hash: &str) -> io::Result<()> {
        let line = format!("{user}:{hash}\n");
        run(self.command("chpasswd").arg("--encrypted"), line.as_bytes())
    }

    /// Replaces the keys that an earlier apply gave a user.
    ///
    /// # Errors
    /// With the error of the tool.
    pub(super) fn add_keys(&self, user: &str, keys: &str) -> io::Result<()> {
        let mut command = Command::new(TOOL);
        run(command.args(["-u", user, "-a", KEYS]), keys.as_bytes())
    }

    /// Removes the keys that an earlier apply gave a user.
    ///
    /// # Errors
    /// With the error of the tool.
    pub(super) fn remove_keys(&self, user: &str) -> io::Result<()> {
        let mut command = Command::new(TOOL);
        run(command.args(["-u", user, "-d", KEYS]), b"")
    }
}

fn run(command: &mut Command, input: &[u8]) -> io::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |text: String| io::Error::other(format!("{name} {text}"));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("cannot be run: {error}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A tool that does not read its input reports its own error.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!(
        "failed: {}",
        said.trim().replace('\n', "; ")
    )))
}
