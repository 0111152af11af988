use std::{borrow::Cow, fmt};

use host::{bus::BusError, coordinator::CoordinatorError, node::NodeError, remedy::Remedy};
use semaphore::etcd;
use settings::ConfigError;
use tokio::signal::unix::SignalKind;

use crate::agent::{AgentError, bus::ClientError};

/// The exit codes, as documented in `--help` and docs/commands.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// It failed.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Refused for now: the reboot lock has no free place, the group is paused, and the like.
    Refused = 3,
    /// etcd or the system bus cannot be reached.
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
    /// The error of the reboot lock behind it, whose remedy is a command with the flags of this command line.
    pub semaphore: Option<Box<etcd::Error>>,
}

impl fmt::Display for Failure {
    /// What is wrong, then each remedy on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for remedy in &self.remedies {
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
            semaphore: None,
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
        if let Some(error) = self.semaphore.take() {
            self.message = error.with_flags(flags);
        }
        self
    }
}

impl From<etcd::Error> for Failure {
    fn from(error: etcd::Error) -> Self {
        let exit = if error.is_unreachable() {
            Exit::Unreachable
        } else {
            Exit::Failed
        };
        let message = error.to_string();
        Self {
            semaphore: error.remedy().is_some().then(|| Box::new(error)),
            ..Self::new(exit, message)
        }
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        Self::new(Exit::Failed, error.to_string())
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
        Self::new(exit, error.to_string())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::NotRunning | ClientError::Bus(_) => Exit::Unreachable,
            ClientError::Refused(_) => Exit::Refused,
            ClientError::AccessDenied(_) => Exit::Failed,
        };
        Self::new(exit, error.to_string())
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
        let remedy = match &error {
            AgentError::Coordinator(error) => error.remedy(),
            _ => None,
        };
        Self {
            remedies: remedy.into_iter().collect(),
            ..Self::new(exit, error.to_string())
        }
    }
}

impl From<CoordinatorError> for Failure {
    fn from(error: CoordinatorError) -> Self {
        Self {
            remedies: error.remedy().into_iter().collect(),
            ..Self::new(Exit::Failed, error.to_string())
        }
    }
}
