//! What `doctor` says of one thing.

use serde::Serialize;

use crate::cli::{Failure, output};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Somebody should look at it.
    Warning,
    /// It does not work.
    Error,
}

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at, in a word or two.
    pub(super) about: &'static str,
    /// How bad it is.
    pub(super) level: Level,
    /// What was found, in a sentence.
    pub(super) found: String,
    /// More of it, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) details: Vec<String>,
    /// What to do about it, a line each.
    pub(super) to_do: Vec<String>,
}

/// Why something could not be looked at, or does not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The error.
    pub(super) message: String,
    /// What to do about it, a line each.
    pub(super) to_do: Vec<String>,
}

impl<F: Into<Failure>> From<F> for Trouble {
    fn from(failure: F) -> Self {
        let failure = failure.into();
        Self {
            to_do: failure.all_remedies().map(ToString::to_string).collect(),
            message: failure.message,
        }
    }
}

/// The findings about one thing after the other.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    /// Adds one.
    pub(super) fn add(
        &mut self,
        about: &'static str,
        level: Level,
        found: impl Into<String>,
        to_do: &[&str],
    ) {
        self.0.push(Finding {
            about,
            level,
            found: found.into(),
            details: Vec::new(),
            to_do: to_do.iter().map(|&line| line.to_owned()).collect(),
        });
    }

    /// Adds that a thing is as it should be.
    pub(super) fn ok(&mut self, about: &'static str, found: impl Into<String>) {
        self.add(about, Level::Ok, found, &[]);
    }

    /// Adds that a thing does not work.
    pub(super) fn error(&mut self, about: &'static str, trouble: &Trouble) {
        let to_do: Vec<&str> = trouble.to_do.iter().map(String::as_str).collect();
        self.add(about, Level::Error, &trouble.message, &to_do);
    }

    /// Gives the finding that was added last these lines.
    pub(super) fn details(&mut self, lines: impl IntoIterator<Item = String>) {
        if let Some(last) = self.0.last_mut() {
            last.details.extend(lines);
        }
    }
}

/// The worst of these.
pub(super) fn worst(findings: &[Finding]) -> Level {
    let levels = findings.iter().map(|finding| finding.level);
    levels.max().unwrap_or(Level::Ok)
}

/// The findings as people read them.
pub(super) fn render(findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
        };
        let found = output::in_line(&finding.found);
        out += &format!("{level:<8} {}: {found}\n", finding.about);
        for line in finding.details.iter().chain(&finding.to_do) {
            out += &format!("         {}\n", output::in_line(line));
        }
    }
    out
}
