use std::{borrow::Cow, fmt};

use host::{
    bus::BusError,
    coordinator::CoordinatorError,
    node::NodeError,
    remedy::{self, Remedy},
};
use semaphore::etcd;
use settings::ConfigError;
use tokio::signal::unix::SignalKind;

use crate::agent::{AgentError, bus::ClientError, journal::JournalError};

/// The exit codes, as documented in `--help` and docs/reference/commands.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// It failed.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Refused for now: the reboot lock has no free place, the group is paused, and the like.
    Refused = 3,
    /// etcd or the system bus cannot be reached; `health`: it is not known how the boot would be judged.
    Unreachable = 4,
    /// update_engine looked for an update, and could not: whether there is one is not known.
    CheckFailed = 5,
    /// What was to be ended or cleared does not exist: nothing has this name.
    Nothing = 6,
    /// `cloud-config plan`: there is something to do.
    Changes = 10,
    /// Ended by Ctrl-C (SIGINT), as shells count it.
    Interrupted = 130,
    /// Ended by SIGTERM.
    Terminated = 143,
}

/// Why a command did not do what it was told.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What is wrong: the thing, what was found and what was expected.
    pub message: String,
    /// What a person can do about it.
    pub remedies: Vec<Remedy>,
    /// What repairs the reboot lock: a command that still gets the flags of this command line.
    pub repair: Option<Remedy>,
}

impl fmt::Display for Failure {
    /// What is wrong, then each remedy on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for remedy in self.all_remedies() {
            write!(f, "\n{remedy}")?;
        }
        Ok(())
    }
}

impl Failure {
    /// A failure with this code and message.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            remedies: Vec::new(),
            repair: None,
        }
    }

    /// A value on the command line that its flag or argument does not take.
    #[must_use]
    pub fn value(name: &str, found: impl fmt::Display, expected: impl fmt::Display) -> Self {
        Self::new(
            Exit::Usage,
            format!("{name}: found {found}, expected {expected}"),
        )
    }

    /// The same, with one more thing that a person can do: for this purpose, this command.
    #[must_use]
    pub fn remedy(
        mut self,
        purpose: impl Into<Cow<'static, str>>,
        command: impl Into<String>,
    ) -> Self {
        self.remedies.push(Remedy::new(purpose, command));
        self
    }

    /// The same, with these flags in the command that repairs the reboot lock.
    #[must_use]
    pub fn with_flags(mut self, flags: &str) -> Self {
        let repair = self.repair.take();
        let repair = repair.map(|remedy| remedy.with_flags(flags));
        self.remedies.extend(repair);
        self
    }

    /// What a person can do about it.
    pub(super) fn all_remedies(&self) -> impl Iterator<Item = &Remedy> {
        self.remedies.iter().chain(&self.repair)
    }

    /// What is wrong, and what can be done about it, on one line.
    #[must_use]
    pub fn in_line(&self) -> String {
        remedy::in_line(&self.message, self.all_remedies())
    }

    /// The failure of this code for an error, with what can be done about it.
    fn of(exit: Exit, error: impl fmt::Display, remedy: Option<Remedy>) -> Self {
        Self {
            remedies: remedy.into_iter().collect(),
            ..Self::new(exit, error.to_string())
        }
    }
}

impl From<etcd::Error> for Failure {
    fn from(error: etcd::Error) -> Self {
        let exit = if error.is_unreachable() {
            Exit::Unreachable
        } else {
            Exit::Failed
        };
        Self {
            repair: error.remedy(),
            ..Self::new(exit, error.what())
        }
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        Self::of(Exit::Failed, &error, error.remedy())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

impl From<BusError> for Failure {
    fn from(error: BusError) -> Self {
        let exit = match &error {
            BusError::Denied { .. } => Exit::Failed,
            _ => Exit::Unreachable,
        };
        Self::of(exit, &error, error.remedy())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::NotRunning | ClientError::Bus(_) => Exit::Unreachable,
            ClientError::Refused(_) => Exit::Refused,
            ClientError::AccessDenied(_) => Exit::Failed,
        };
        Self::of(exit, &error, error.remedy())
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        let exit = match &error {
            AgentError::Bus(_) | AgentError::BusLost => Exit::Unreachable,
            AgentError::Config(_) => Exit::Usage,
            AgentError::Refused(_) => Exit::Refused,
            AgentError::TakenBack(signal) if *signal == SignalKind::interrupt() => {
                Exit::Interrupted
            }
            AgentError::TakenBack(_) => Exit::Terminated,
            // A machine id may still be made, a file become readable: the unit is started again.
            AgentError::Node(_)
            | AgentError::Coordinator(_)
            | AgentError::AgentBus(_)
            | AgentError::System(_) => Exit::Failed,
        };
        Self::of(exit, &error, error.remedy())
    }
}

impl Failure {
    /// The failure of this code for a journal that cannot be used.
    #[must_use]
    pub fn of_journal(exit: Exit, error: &JournalError) -> Self {
        Self::of(exit, error.what(), Some(error.remedy.clone()))
    }
}

impl From<CoordinatorError> for Failure {
    fn from(error: CoordinatorError) -> Self {
        Self::of(Exit::Failed, &error, error.remedy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_stand_on_lines_of_their_own_or_behind_the_error() {
        let denied = || BusError::Denied {
            call: "Cancel of org.pointsman.Agent1".into(),
        };
        for failure in [
            Failure::from(denied()),
            ClientError::from(denied()).into(),
            AgentError::from(denied()).into(),
        ] {
            assert_eq!(
                failure.message,
                "Cancel of org.pointsman.Agent1: permission denied"
            );
            assert_eq!(
                failure.to_string(),
                "Cancel of org.pointsman.Agent1: permission denied\nrun the command as root"
            );
            assert_eq!(
                failure.in_line(),
                "Cancel of org.pointsman.Agent1: permission denied; run the command as root"
            );
        }
    }

    #[test]
    fn repair_of_the_reboot_lock_gets_the_flags_of_the_command_line() {
        let missing = || etcd::Error::Missing {
            key: "p/groups/db/semaphore".into(),
            holders: vec!["n1".into(), "n2".into()],
        };
        let what = "the semaphore document p/groups/db/semaphore is missing although n1, n2 are holders of it; \
                    no node takes the lock";
        let repair = "to rebuild it with these holders, where N nodes may be out of service at the same time: \
                      pointsman set-max N --rebuild --group 'db'";
        assert_eq!(missing().to_string(), format!("{what}\n{repair}"));
        let failure = Failure::from(missing());
        assert_eq!(failure.in_line(), format!("{what}; {repair}"));
        let failure = failure.with_flags(" --key-prefix p");
        assert_eq!(
            failure.to_string(),
            format!("{what}\n{repair} --key-prefix p")
        );
    }
}
