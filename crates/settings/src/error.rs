//! What can be wrong with a configuration. No text holds a secret.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use host::remedy::Remedy;

use windows::{WindowError, WindowSpecError};

pub(super) use yaml::quoted;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This flag.
    Flag(&'static str),
    /// This variable of the environment.
    Environment(String),
    /// A place in a file.
    File {
        /// The file.
        path: Arc<Path>,
        /// The line, counted from 1.
        line: u64,
        /// The column in characters, counted from 1.
        column: u64,
    },
    /// Nowhere: the program's own default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => f.write_str(name),
            Self::Environment(name) => f.write_str(name),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A setting and where it was given. A flag or variable names its setting itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// Where.
    pub origin: Origin,
    /// The setting: its key in the file.
    pub key: &'static str,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Flag(_) | Origin::Environment(_) => self.origin.fmt(f),
            Origin::File { .. } | Origin::Default => write!(f, "{}: {}", self.origin, self.key),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value is not what its setting takes.
    #[error("{at}: found {found}, expected {expected}")]
    Value {
        /// Where.
        at: At,
        /// What is there.
        found: String,
        /// What may be there.
        expected: String,
    },
    /// An unknown key.
    #[error("{origin}: unknown key {key:?}, expected one of {expected}")]
    Unknown {
        /// Where.
        origin: Origin,
        /// The key, with its section.
        key: String,
        /// The keys there are.
        expected: String,
    },
    /// An unknown variable of the environment.
    #[error("{origin}: unknown variable, expected one of {expected}")]
    UnknownVariable {
        /// The variable.
        origin: Origin,
        /// The variables there are.
        expected: String,
    },
    /// A section or the whole file has the wrong shape.
    #[error("{origin}: found {found}, expected {expected}")]
    Shape {
        /// Where.
        origin: Origin,
        /// What is there.
        found: String,
        /// What may be there.
        expected: String,
    },
    /// The file is not YAML.
    #[error("{origin}: {message}")]
    Syntax {
        /// Where.
        origin: Origin,
        /// The parser's word for it.
        message: String,
    },
    /// One of two settings that go together is missing.
    #[error("{at}: given without {missing}, expected both or neither")]
    Half {
        /// The one that is given.
        at: At,
        /// The key of the other one.
        missing: &'static str,
    },
    /// The window is not valid.
    #[error("{at}: {error}")]
    Window {
        /// Where it starts.
        at: At,
        /// Why.
        error: WindowError,
    },
    /// A calendar window is not valid.
    #[error("{at}: {error}")]
    Windows {
        /// Where the wrong value is.
        at: At,
        /// Why.
        error: WindowSpecError,
    },
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// A file that a setting names cannot be used.
    #[error("{at}: {error}")]
    Named {
        /// The setting.
        at: At,
        /// What is wrong with the file.
        error: Box<ConfigError>,
    },
    /// A file is not what is expected of it.
    #[error(
        "{}: found {found}, expected {expected}{}",
        path.display(),
        remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default()
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
        /// What repairs it, where that is a command.
        remedy: Option<Remedy>,
    },
    /// A file that somebody meant as configuration has a name that is not read.
    #[error("{} is not read; rename it to {rename_to}", path.display())]
    NotRead {
        /// The file.
        path: PathBuf,
        /// The name under which it would be read.
        rename_to: String,
    },
}

/// What is wrong with a configuration, in the order in which it was read.
pub type Faults = Vec<ConfigError>;

/// A value, or its default and a fault more.
pub(super) fn or_fault<T: Default>(read: Result<T, ConfigError>, faults: &mut Faults) -> T {
    read.unwrap_or_else(|error| {
        faults.push(error);
        T::default()
    })
}

impl ConfigError {
    /// Whether it is only that this user may not read a file.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Read { error, .. } => error.kind() == io::ErrorKind::PermissionDenied,
            Self::Named { error, .. } => error.is_denied(),
            _ => false,
        }
    }

    /// Whether this setting may have another value than the one that was read; none where that cannot be told, as it
    /// may be any setting that is missing.
    #[must_use]
    pub fn concerns(&self, key: &str) -> Option<bool> {
        match self {
            Self::Value { at, .. } | Self::Named { at, .. } => Some(at.key == key),
            Self::Half { at, missing } => Some(at.key == key || *missing == key),
            Self::Window { .. } => Some(key.starts_with("window.")),
            Self::Windows { .. } => Some(key == "windows"),
            // Which key of its section was meant is not known.
            Self::Unknown { key: found, .. } => {
                let (section, _) = found.split_once('.')?;
                Some(key.split_once('.').is_some_and(|(own, _)| own == section))
            }
            Self::UnknownVariable { .. }
            | Self::Shape { .. }
            | Self::Syntax { .. }
            | Self::Read { .. }
            | Self::File { .. }
            | Self::NotRead { .. } => None,
        }
    }
}

/// Why a text is no value of its setting.
#[derive(Debug)]
pub(super) struct Bad {
    /// What was found, where the text itself does not say it.
    pub(super) found: Option<String>,
    /// What may be there.
    pub(super) expected: String,
}

impl Bad {
    pub(super) fn at(self, at: At, text: &str) -> ConfigError {
        ConfigError::Value {
            at,
            found: self.found.unwrap_or_else(|| quoted(text)),
            expected: self.expected,
        }
    }
}

impl<T: Into<String>> From<T> for Bad {
    fn from(expected: T) -> Self {
        Self {
            found: None,
            expected: expected.into(),
        }
    }
}
