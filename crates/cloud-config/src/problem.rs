//! What cannot be used or done, and why, before it is made a sentence.

use std::{borrow::Cow, fmt};

use host::remedy::Remedy;

/// What cannot be used or done, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, URL, key or user; none where that is said elsewhere.
    pub what: Option<String>,
    /// What is wrong with it.
    pub fault: Fault,
    /// What a person can do about it.
    pub remedy: Option<Box<Remedy>>,
}

/// What is wrong with a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// What the system, a library or another program says.
    Said(String),
    /// This does not exist.
    Missing(String),
    /// This exists already.
    Exists(String),
    /// It is something else than it should be.
    Unexpected {
        /// Its content.
        found: String,
        /// What it should be, where that is not plain.
        expected: Option<String>,
    },
}

impl Problem {
    /// What the system, a library or another program says of a thing.
    pub fn said(what: impl Into<String>, words: impl ToString) -> Self {
        Self {
            what: Some(what.into()),
            ..Self::from(Fault::Said(words.to_string()))
        }
    }

    /// Something that was found, which is of no use.
    pub(crate) fn found(found: impl Into<String>) -> Self {
        Self::from(Fault::Unexpected {
            found: found.into(),
            expected: None,
        })
    }

    /// The same, of this file, URL, key or user.
    pub(crate) fn of(self, what: impl Into<String>) -> Self {
        Self {
            what: Some(what.into()),
            ..self
        }
    }

    /// The same, where this was expected.
    pub(crate) fn expected(mut self, text: impl Into<String>) -> Self {
        if let Fault::Unexpected { expected, .. } = &mut self.fault {
            *expected = Some(text.into());
        }
        self
    }

    /// The same, with what a person can do about it.
    pub(crate) fn remedy(self, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            remedy: Some(Box::new(Remedy::Advice(text.into()))),
            ..self
        }
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self {
            what: None,
            fault,
            remedy: None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(what) = &self.what {
            write!(f, "{what}: ")?;
        }
        match &self.fault {
            Fault::Said(words) => f.write_str(words)?,
            Fault::Missing(name) => write!(f, "{name} does not exist")?,
            Fault::Exists(name) => write!(f, "{name} exists already")?,
            Fault::Unexpected { found, expected } => {
                write!(f, "found {found}")?;
                if let Some(expected) = expected {
                    write!(f, ", expected {expected}")?;
                }
            }
        }
        self.remedy
            .iter()
            .try_for_each(|remedy| write!(f, "; {remedy}"))
    }
}
