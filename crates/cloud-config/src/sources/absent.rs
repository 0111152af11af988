//! Why a source gave nothing, and whether it is worth asking again.

use std::{io, path::Path};

use host::http::{Answer, Cause, Distrust, HttpError};

use super::{Source, source::meant};

/// Whether a source that gave nothing may give something when asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hope {
    /// Asking again does not help.
    Never,
    /// It may appear, for those who wait for it: a drive that is not attached yet, a network that is not up.
    Later,
    /// The trouble of a moment.
    Soon,
}

/// Why a source gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Absent {
    /// What was found and what was expected.
    pub reason: String,
    /// Whether to ask again.
    pub hope: Hope,
    /// Where the trouble is.
    pub place: Place,
    /// Nothing is wrong: this machine has no such thing, as most machines do.
    pub none_here: bool,
}

/// Where a source's trouble is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On this machine: a file, or what one holds.
    Here,
    /// Elsewhere.
    Away,
    /// In etcd.
    Etcd,
}

impl Absent {
    /// For a reason that asking again does not mend.
    pub(super) fn never(reason: impl Into<String>) -> Self {
        Self::new(Hope::Never, reason)
    }

    /// For a reason that time may mend.
    pub(super) fn later(reason: impl Into<String>) -> Self {
        Self::new(Hope::Later, reason)
    }

    pub(super) fn new(hope: Hope, reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            hope,
            place: Place::Away,
            none_here: false,
        }
    }

    /// For a machine that has no such thing, and may get it.
    pub(super) fn none_here(hope: Hope, reason: impl Into<String>) -> Self {
        Self {
            none_here: true,
            ..Self::new(hope, reason).here()
        }
    }

    /// A file that could not be read.
    pub(super) fn file(name: &str, error: &io::Error) -> Self {
        let reason = format!("{name}: {error}");
        match error.kind() {
            io::ErrorKind::NotFound => Self::none_here(Hope::Later, reason),
            _ => Self::never(reason).here(),
        }
    }

    /// A file that is not there though somebody named it, or meant something else.
    pub(super) fn meant(mut self, path: &Path) -> Self {
        if self.none_here
            && let Some(word) = meant(path)
        {
            self.reason += &format!("; did you mean {word}?");
        }
        Self {
            none_here: false,
            ..self
        }
    }

    /// A document of so many bytes, and nothing in it.
    pub(super) fn empty(source: &Source, bytes: usize) -> Self {
        let hope = match source {
            Source::Stdin => Hope::Never,
            _ => Hope::Later,
        };
        let found = match bytes {
            0 => "nothing".to_owned(),
            _ => format!("{bytes} bytes of white space"),
        };
        let reason =
            format!("found {found}, expected a document; one that says nothing is `#cloud-config`");
        let absent = Self::new(hope, reason);
        match source {
            Source::Url(_) | Source::Cmdline => absent,
            Source::Etcd(_) => Self {
                place: Place::Etcd,
                ..absent
            },
            _ => absent.here(),
        }
    }

    pub(super) fn here(self) -> Self {
        Self {
            place: Place::Here,
            ..self
        }
    }

    /// An answer that is no document.
    pub(crate) fn answer(url: &str, answer: &Answer) -> Self {
        let status = answer.status;
        let hope = match status {
            404 | 410 => Hope::Later,
            408 | 425 | 429 | 500.. => Hope::Soon,
            _ => Hope::Never,
        };
        let cure = match (status, &answer.location) {
            (300..=399, Some(place)) => {
                format!("; the server names another place, {place}, which is not followed")
            }
            (300..=399, None) => "; the server names no other place (Location)".into(),
            (401 | 403, _) => "; the server does not let this node read it".into(),
            (404 | 410, _) => "; the server has nothing there".into(),
            _ => String::new(),
        };
        Self::new(
            hope,
            format!("{url}: found status {status}, expected 200{cure}"),
        )
    }
}

impl From<HttpError> for Absent {
    fn from(error: HttpError) -> Self {
        let (hope, cure) = match &error {
            HttpError::Tls(_) | HttpError::Large { .. } => (Hope::Never, ""),
            HttpError::NoAnswer { cause, .. } => match cause {
                Cause::Connect => (Hope::Later, ""),
                Cause::Broken => (Hope::Soon, ""),
                Cause::Certificate(distrust) => {
                    let hope = match distrust {
                        // A machine without a battery starts in 1970 and learns the time from the network.
                        Distrust::Clock => Hope::Later,
                        _ => Hope::Never,
                    };
                    (hope, cure(*distrust))
                }
                Cause::Redirects | Cause::Request => (Hope::Never, ""),
            },
        };
        Self::new(hope, format!("{error}{cure}"))
    }
}

/// What mends a certificate that is not trusted, on this machine or on the server.
fn cure(distrust: Distrust) -> &'static str {
    match distrust {
        Distrust::Issuer => "; put the authority that signed its certificate among the system's",
        Distrust::Key => {
            "; if it is the right server, put the authority that did sign it among the system's, in place of the one of \
             the same name"
        }
        Distrust::Authority => {
            "; give the server one with basicConstraints CA:FALSE and its names as subjectAltName: an authority's own is \
             no server's, trusted or not"
        }
        Distrust::Name => {
            "; ask it by a name that its certificate is for, or give it one that is for this name too"
        }
        Distrust::Other => "; give the server another one",
        Distrust::Clock => "; is this machine's clock right? `timedatectl` shows it",
    }
}
