//! What a person can do about an error.

use std::{borrow::Cow, fmt};

/// What a person can do about an error: a purpose, and the command that serves it. An error has it as a field of its own, so
/// that each place that shows the error decides where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remedy {
    /// What the command is for, as it follows the word "to": `repair it`.
    pub purpose: Cow<'static, str>,
    /// The whole command, as a shell reads it.
    pub command: String,
}

impl Remedy {
    /// The command that serves this purpose.
    #[must_use]
    pub fn new(purpose: impl Into<Cow<'static, str>>, command: impl Into<String>) -> Self {
        Self {
            purpose: purpose.into(),
            command: command.into(),
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "to {}: {}", self.purpose, self.command)
    }
}
