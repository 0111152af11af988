//! What a person can do about an error.

use std::{borrow::Cow, fmt};

/// What a person can do about an error. An error has it as a field or by a method of its own, so that each place that shows the
/// error decides where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// A command that serves a purpose.
    Command {
        /// What the command is for, as it follows the word "to": `repair it`.
        purpose: Cow<'static, str>,
        /// The whole command, as a shell reads it.
        command: String,
    },
    /// Something else than a command: `run the command as root`.
    Advice(Cow<'static, str>),
}

impl Remedy {
    /// The command that serves this purpose.
    #[must_use]
    pub fn new(purpose: impl Into<Cow<'static, str>>, command: impl Into<String>) -> Self {
        Self::Command {
            purpose: purpose.into(),
            command: command.into(),
        }
    }

    /// The command, where it is one.
    #[must_use]
    pub fn command(&self) -> Option<&str> {
        match self {
            Self::Command { command, .. } => Some(command),
            Self::Advice(_) => None,
        }
    }

    /// The same command with these flags behind it, each after a blank.
    #[must_use]
    pub fn with_flags(mut self, flags: &str) -> Self {
        if let Self::Command { command, .. } = &mut self {
            *command += flags;
        }
        self
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { purpose, command } => write!(f, "to {purpose}: {command}"),
            Self::Advice(advice) => f.write_str(advice),
        }
    }
}

/// An error and what can be done about it, on one line.
#[must_use]
pub fn in_line<'a>(
    error: impl fmt::Display,
    remedies: impl IntoIterator<Item = &'a Remedy>,
) -> String {
    remedies
        .into_iter()
        .fold(error.to_string(), |line, remedy| {
            format!("{line}; {remedy}")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_has_the_error_and_each_remedy() {
        let command = Remedy::new("see which one", "fuser -v /dev/sda").with_flags(" -m");
        let advice = Remedy::Advice("run the command as root".into());
        assert_eq!(command.command(), Some("fuser -v /dev/sda -m"));
        assert_eq!(advice.command(), None);
        assert_eq!(in_line("it is locked", []), "it is locked");
        assert_eq!(
            in_line("it is locked", [&command, &advice]),
            "it is locked; to see which one: fuser -v /dev/sda -m; run the command as root"
        );
    }
}
