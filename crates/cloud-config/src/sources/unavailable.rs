//! Why a source is not available, and whether to ask it again.

use std::{io, path::Path};

use host::http::{Answer, Cause, Distrust, HttpError};

use super::{Source, source::meant};
use crate::problem::{Fault, Problem};

/// Whether to ask a source again that gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Retry {
    /// No: it would give the same answer.
    Never,
    /// For as long as the caller waits for it: a drive that is not attached yet, a network that is not up.
    Later,
    /// Yes: the problem is likely to pass soon.
    Soon,
}

/// Why a source is not available.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct Unavailable {
    /// What was found, what was expected, and what to do.
    pub problem: Problem,
    /// Whether to ask again.
    pub retry: Retry,
    /// Where the problem is.
    pub location: SourceLocation,
    /// Nothing is wrong: this machine does not have the source, as most machines do not.
    pub none_here: bool,
}

/// Where the problem of a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceLocation {
    /// On this machine: a file, or its content.
    Here,
    /// On the network.
    Away,
    /// In etcd.
    Etcd,
}

impl Unavailable {
    /// A problem that asking again does not solve.
    pub(super) fn never(problem: impl Into<Problem>) -> Self {
        Self::new(Retry::Never, problem)
    }

    /// A problem that time may solve.
    pub(super) fn later(problem: impl Into<Problem>) -> Self {
        Self::new(Retry::Later, problem)
    }

    pub(super) fn new(retry: Retry, problem: impl Into<Problem>) -> Self {
        Self {
            problem: problem.into(),
            retry,
            location: SourceLocation::Away,
            none_here: false,
        }
    }

    /// The machine does not have the source, and may get it.
    pub(super) fn none_here(retry: Retry, problem: impl Into<Problem>) -> Self {
        Self {
            none_here: true,
            ..Self::new(retry, problem).here()
        }
    }

    /// A file that could not be read.
    pub(super) fn file(name: &str, error: &io::Error) -> Self {
        let problem = Problem::said(name, error);
        match error.kind() {
            io::ErrorKind::NotFound => Self::none_here(Retry::Later, problem),
            _ => Self::never(problem).here(),
        }
    }

    /// A missing file that a person named, who may have meant a word for a source.
    pub(super) fn named(mut self, path: &Path) -> Self {
        if self.none_here
            && let Some(word) = meant(path)
        {
            self.problem = self.problem.remedy(format!("did you mean {word}?"));
        }
        Self {
            none_here: false,
            ..self
        }
    }

    /// A document of so many bytes that says nothing.
    pub(super) fn empty(source: &Source, bytes: usize) -> Self {
        let retry = match source {
            Source::Stdin => Retry::Never,
            _ => Retry::Later,
        };
        let found = match bytes {
            0 => "nothing".to_owned(),
            _ => format!("{bytes} bytes of white space"),
        };
        let problem = Problem::found(found)
            .expected("a document")
            .remedy("an empty document is `#cloud-config`");
        let unavailable = Self::new(retry, problem);
        match source {
            Source::Url(_) | Source::Cmdline => unavailable,
            Source::Etcd(_) => Self {
                location: SourceLocation::Etcd,
                ..unavailable
            },
            _ => unavailable.here(),
        }
    }

    pub(super) fn here(self) -> Self {
        Self {
            location: SourceLocation::Here,
            ..self
        }
    }

    /// An answer that is no document.
    pub(crate) fn answer(url: &str, answer: &Answer) -> Self {
        let status = answer.status;
        let retry = match status {
            404 | 410 => Retry::Later,
            408 | 425 | 429 | 500.. => Retry::Soon,
            _ => Retry::Never,
        };
        let problem = Problem::found(format!("status {status}"))
            .of(url)
            .expected("200");
        let note = match (status, &answer.location) {
            (300..=399, Some(other)) => {
                format!("the server redirects to {other}, which is not followed")
            }
            (300..=399, None) => "the server redirects without a target (Location)".into(),
            (401 | 403, _) => "the server does not let this node read it".into(),
            (404 | 410, _) => "the server has nothing there".into(),
            _ => return Self::new(retry, problem),
        };
        Self::new(retry, problem.remedy(note))
    }
}

impl From<HttpError> for Unavailable {
    fn from(error: HttpError) -> Self {
        let (retry, remedy) = match &error {
            HttpError::Tls(_) | HttpError::Large { .. } => (Retry::Never, None),
            HttpError::NoAnswer { cause, .. } => match cause {
                Cause::Connect => (Retry::Later, None),
                Cause::Broken => (Retry::Soon, None),
                Cause::Certificate(distrust) => {
                    let retry = match distrust {
                        // A machine without a battery starts in 1970 and learns the time from the network.
                        Distrust::Clock => Retry::Later,
                        _ => Retry::Never,
                    };
                    (retry, Some(remedy(*distrust)))
                }
                Cause::Redirects | Cause::Request => (Retry::Never, None),
            },
        };
        let problem = match error {
            HttpError::Tls(_) => Problem::from(Fault::Said(error.to_string())),
            HttpError::NoAnswer { url, reason, .. } => Problem::said(url, reason),
            HttpError::Large { url, most } => Problem::found(format!("more than {most} bytes"))
                .of(url)
                .expected("at most that"),
        };
        Self::new(
            retry,
            match remedy {
                Some(remedy) => problem.remedy(remedy),
                None => problem,
            },
        )
    }
}

/// What to do about a certificate that is not trusted, on this machine or on the server.
fn remedy(distrust: Distrust) -> &'static str {
    match distrust {
        Distrust::Issuer => {
            "add the authority that signed its certificate to the system's trusted authorities"
        }
        Distrust::Key => {
            "if it is the right server, replace the trusted authority of this name by the one that signed its certificate"
        }
        Distrust::Authority => {
            "give the server a certificate with basicConstraints CA:FALSE and its names as subjectAltName: the \
             certificate of an authority cannot be a server's, trusted or not"
        }
        Distrust::Name => {
            "use a name that the server's certificate is for, or give it a certificate for this name too"
        }
        Distrust::Other => "give the server another certificate",
        Distrust::Clock => "check this machine's clock with `timedatectl`",
    }
}
