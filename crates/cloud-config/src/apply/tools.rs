//! The system's own tools for users and their keys.

use std::{
    io::{self, Write as _},
    process::{Command, Stdio},
};

use host::node::Root;

use crate::plan::NewUser;

/// The tool that Container Linux has for keys.
pub(super) const TOOL: &str = "/usr/bin/update-ssh-keys";

/// The name under which that tool knows our keys: the one that documents were always applied under.
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

    /// Makes a user who has no password.
    ///
    /// # Errors
    /// With what the tool says.
    pub(super) fn make(&self, user: &NewUser) -> io::Result<()> {
        let mut command = self.command("useradd");
        command.args(&user.arguments).args(["--password", "*"]);
        run(command.arg("--").arg(&user.name), b"")
    }

    /// Takes a user away, and nothing that is theirs.
    ///
    /// # Errors
    /// With what the tool says.
    pub(super) fn remove(&self, user: &str) -> io::Result<()> {
        run(self.command("userdel").arg("--").arg(user), b"")
    }

    /// Gives a user the password of this hash, which stands in no list of processes.
    ///
    /// # Errors
    /// With what the tool says.
    pub(super) fn password(&self, user: &str, hash: &str) -> io::Result<()> {
        let line = format!("{user}:{hash}\n");
        run(self.command("chpasswd").arg("--encrypted"), line.as_bytes())
    }

    /// Lets these keys log in as a user, in place of those of an earlier apply.
    ///
    /// # Errors
    /// With what the tool says.
    pub(super) fn add_keys(&self, user: &str, keys: &str) -> io::Result<()> {
        let mut command = Command::new(TOOL);
        run(command.args(["-u", user, "-a", KEYS]), keys.as_bytes())
    }

    /// Takes the keys of an earlier apply away.
    ///
    /// # Errors
    /// With what the tool says.
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
        // One that does not read says why itself.
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
