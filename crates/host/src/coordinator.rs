//! The file by which programs agree who coordinates this node's reboots: `run/update-engine/coordinator.conf`.
//!
//! Whoever coordinates holds an exclusive lock on it; what it says is for people and for update_engine's tools.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    path::PathBuf,
};

use nix::{
    fcntl::{Flock, FlockArg, OFlag},
    sys::stat::Mode,
};

use crate::node::{Root, SMALL};
use crate::remedy::Remedy;

/// What the coordinator is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It starts.
    Starting,
    /// It watches for updates.
    Running,
    /// It lets nobody reboot.
    Disabled,
    /// A reboot waits.
    RebootPlanned,
    /// The node goes down.
    Rebooting,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Disabled => "disabled",
            Self::RebootPlanned => "reboot-planned",
            Self::Rebooting => "rebooting",
        }
    }
}

/// Why this program cannot be the coordinator.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// Another one is.
    #[error(
        "{name}{} already coordinates this node's reboots, and only one program may do that",
        if strategy.is_empty() { String::new() } else { format!(" (strategy {strategy})") }
    )]
    Taken {
        /// Its name, as the file says.
        name: String,
        /// Its unit.
        unit: String,
        /// Its strategy, as the file says.
        strategy: String,
    },
    /// A reboot in the foreground is.
    #[error(
        "`pointsman reboot` in the foreground (process {0}) already coordinates this node's reboots, and only one program may \
         do that"
    )]
    Foreground(String),
    /// The file cannot be used.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
}

impl CoordinatorError {
    /// What a person can do about it, where that is a command.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Taken { unit, .. } => Some(Remedy::new(
                "stop it",
                format!("systemctl disable --now {unit}"),
            )),
            Self::Foreground(pid) => Some(Remedy::new(
                "cancel it (or press Ctrl-C there)",
                format!("kill {pid}"),
            )),
            Self::File { .. } => None,
        }
    }
}

/// Being the coordinator, until it is dropped.
#[derive(Debug)]
pub struct Coordinator {
    file: Flock<File>,
    path: PathBuf,
    strategy: String,
    state: Option<State>,
    /// In the foreground: of which no unit tells.
    pid: Option<u32>,
}

impl Coordinator {
    /// Becomes the coordinator.
    ///
    /// # Errors
    /// When another program is, or the file cannot be made.
    pub fn take(root: &Root, strategy: &str) -> Result<Self, CoordinatorError> {
        Self::take_as(root, strategy, None)
    }

    /// Becomes the coordinator for one reboot, as this process and no service.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn take_in_the_foreground(root: &Root, strategy: &str) -> Result<Self, CoordinatorError> {
        Self::take_as(root, strategy, Some(std::process::id()))
    }

    fn take_as(root: &Root, strategy: &str, pid: Option<u32>) -> Result<Self, CoordinatorError> {
        let path = root.path("run/update-engine/coordinator.conf");
        let failed = |error: io::Error| CoordinatorError::File {
            path: path.shown(),
            error,
        };
        path.parent().make_folder().map_err(failed)?;
        let file = path
            .open(
                OFlag::O_RDWR | OFlag::O_CREAT,
                Mode::from_bits_truncate(0o666),
            )
            .map_err(failed)?;
        let file = File::from(file);
        let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                // What it says is only for the message.
                return Err(taken(&text_of(&mut file).unwrap_or_default()));
            }
            Err((_, errno)) => return Err(failed(errno.into())),
        };
        let mut coordinator = Self {
            file,
            path: path.shown(),
            strategy: strategy.to_owned(),
            state: None,
            pid,
        };
        coordinator.set_state(State::Starting)?;
        Ok(coordinator)
    }

    /// Says that the coordinator goes by another strategy.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_strategy(&mut self, strategy: &str) -> Result<(), CoordinatorError> {
        if self.strategy == strategy {
            return Ok(());
        }
        strategy.clone_into(&mut self.strategy);
        let state = self.state.take().unwrap_or(State::Starting);
        self.set_state(state)
    }

    /// Says what the coordinator is doing.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_state(&mut self, state: State) -> Result<(), CoordinatorError> {
        if self.state.replace(state) == Some(state) {
            return Ok(());
        }
        let pid = self.pid.map_or(String::new(), |pid| format!("PID={pid}\n"));
        let text = format!(
            "NAME=pointsman\n{pid}STRATEGY={}\nSTATE={}\n",
            self.strategy,
            state.word()
        );
        self.rewrite(&text).map_err(|error| CoordinatorError::File {
            path: self.path.clone(),
            error,
        })
    }

    /// In place: the lock is on this file, not on its name.
    fn rewrite(&mut self, text: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())
    }
}

/// Who coordinates this node's reboots now, and what it is doing, in words; none where nobody does, or none can be told.
#[must_use]
pub fn seen(root: &Root) -> Option<String> {
    let text = said(root)?;
    let name = field(&text, "NAME").unwrap_or_else(|| "another program".into());
    let state = field(&text, "STATE").map_or(String::new(), |state| format!(" ({state})"));
    let here = field(&text, "PID").map_or(String::new(), |pid| {
        format!(", in the foreground, process {pid}")
    });
    Some(format!("{name}{state}{here}"))
}

/// The process of a reboot in the foreground, where one coordinates this node's reboots.
#[must_use]
pub fn in_the_foreground(root: &Root) -> Option<String> {
    field(&said(root)?, "PID")
}

/// What the coordinator says; none where nobody is, or none can be told.
fn said(root: &Root) -> Option<String> {
    let mut file = root
        .path("run/update-engine/coordinator.conf")
        .open_to_read()
        .ok()?;
    let text = text_of(&mut file).ok()?;
    // Only who holds the lock counts: what another left behind says nothing.
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => {}
        _ => return None,
    }
    Some(text)
}

/// The few lines of the file, which any program may have written.
fn text_of(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.take(SMALL).read_to_string(&mut text)?;
    Ok(text)
}

/// What the file says under this name.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        // Who reads it next must not believe that somebody coordinates.
        let _ = self.rewrite("");
    }
}

fn taken(text: &str) -> CoordinatorError {
    if let Some(pid) = field(text, "PID") {
        return CoordinatorError::Foreground(pid);
    }
    let name = field(text, "NAME").unwrap_or_else(|| "another program".into());
    let unit = match name.as_str() {
        "locksmith" | "locksmithd" => "locksmithd.service".into(),
        "another program" => "UNIT (lsof shows which program has the file open)".into(),
        other => format!("{other}.service"),
    };
    CoordinatorError::Taken {
        name,
        unit,
        strategy: field(text, "STRATEGY").unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_one_coordinator_runs_and_its_file_says_its_state() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let text =
            || fs::read_to_string(dir.path().join("run/update-engine/coordinator.conf")).unwrap();
        let mut first = Coordinator::take(&root, "etcd-lock").unwrap();
        assert_eq!(
            text(),
            "NAME=pointsman\nSTRATEGY=etcd-lock\nSTATE=starting\n"
        );
        first.set_state(State::RebootPlanned).unwrap();
        assert_eq!(
            text(),
            "NAME=pointsman\nSTRATEGY=etcd-lock\nSTATE=reboot-planned\n"
        );
        first.set_state(State::Running).unwrap();
        let error = Coordinator::take(&root, "reboot").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("pointsman (strategy etcd-lock) already coordinates"),
            "{error}"
        );
        let remedy = error.remedy().unwrap().to_string();
        assert_eq!(
            remedy,
            "to stop it: systemctl disable --now pointsman.service"
        );
        assert_eq!(
            text(),
            "NAME=pointsman\nSTRATEGY=etcd-lock\nSTATE=running\n",
            "the loser changes nothing"
        );
        drop(first);
        assert_eq!(text(), "");
        Coordinator::take(&root, "reboot").unwrap();
    }

    #[test]
    fn a_reboot_in_the_foreground_is_named_by_its_process() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        assert_eq!(in_the_foreground(&root), None);
        let first = Coordinator::take_in_the_foreground(&root, "reboot").unwrap();
        let pid = std::process::id();
        let error = Coordinator::take(&root, "reboot").unwrap_err();
        assert!(
            error.to_string().contains(&format!("(process {pid})")),
            "{error}"
        );
        assert_eq!(
            error.remedy().unwrap().command(),
            Some(&*format!("kill {pid}"))
        );
        assert_eq!(in_the_foreground(&root), Some(pid.to_string()));
        assert_eq!(
            seen(&root).unwrap(),
            format!("pointsman (starting), in the foreground, process {pid}")
        );
        drop(first);
        assert_eq!(in_the_foreground(&root), None);
    }

    #[test]
    fn locksmith_is_named_with_its_unit() {
        let error = taken("NAME=locksmithd\nSTRATEGY=reboot\nSTATE=running\n");
        assert!(
            error
                .to_string()
                .contains("locksmithd (strategy reboot) already coordinates"),
            "{error}"
        );
        let remedy = error.remedy().unwrap();
        let command = remedy.command().unwrap();
        assert_eq!(command, "systemctl disable --now locksmithd.service");
        assert!(taken("").to_string().contains("another program"));
    }
}
