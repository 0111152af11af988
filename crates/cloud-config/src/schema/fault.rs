//! Why a text is not of its form.

use std::{borrow::Cow, fmt};

use windows::WindowError;

use crate::diagnostic::Level;

/// Why a text is not of its form, and how bad that is.
#[derive(Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) level: Level,
    pub(crate) reason: Reason,
}

/// What is wrong with a text.
#[derive(Debug, PartialEq)]
pub(crate) enum Reason {
    /// Something else than its form allows.
    Unexpected {
        found: Cow<'static, str>,
        /// What is allowed; none until [`Fault::expecting`] fills in what the form allows.
        expected: Option<Cow<'static, str>>,
        /// What is made of the text, or what to write instead.
        note: Option<Cow<'static, str>>,
    },
    /// Part of a host name is not used.
    HostnameCut { rule: &'static str, kept: String },
    /// A half of a reboot window.
    Window(WindowError),
}

impl Fault {
    pub(super) fn error(found: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Level::Error, found.into())
    }

    pub(super) fn warning(found: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Level::Warning, found.into())
    }

    fn new(level: Level, found: Cow<'static, str>) -> Self {
        Self {
            level,
            reason: Reason::Unexpected {
                found,
                expected: None,
                note: None,
            },
        }
    }

    /// Says what is allowed, unless that has been said.
    pub(super) fn expecting(mut self, allowed: impl Into<Cow<'static, str>>) -> Self {
        if let Reason::Unexpected { expected, .. } = &mut self.reason {
            expected.get_or_insert(allowed.into());
        }
        self
    }

    /// Says what is made of the text, or what to write instead.
    pub(super) fn noting(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        if let Reason::Unexpected { note, .. } = &mut self.reason {
            *note = Some(text.into());
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Unexpected {
                found,
                expected,
                note,
            } => {
                write!(f, "found {found}")?;
                if let Some(expected) = expected {
                    write!(f, ", expected {expected}")?;
                }
                note.iter().try_for_each(|note| write!(f, "; {note}"))
            }
            Reason::HostnameCut { rule, kept } => {
                write!(f, "a host name {rule}; {kept:?} is used")
            }
            Reason::Window(error) => error.fmt(f),
        }
    }
}
