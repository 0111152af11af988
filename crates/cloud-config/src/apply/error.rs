//! Why a document was not applied, or an apply not undone.

use std::io;

use jiff::Timestamp;
use nix::errno::Errno;

use super::format::FOLDER;
use crate::problem::Problem;

/// What is wrong with a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordDamage {
    /// It is larger than any record.
    #[error("found more than {most} bytes, or {line} in a line, expected at most that")]
    TooLarge {
        /// The most bytes.
        most: u64,
        /// The most bytes in a line.
        line: u64,
    },
    /// A line is not what this program writes.
    #[error("{0}")]
    Line(#[from] serde_json::Error),
    /// Its format is newer than this program.
    #[error("found format {found}, expected at most {newest}: a newer program wrote it")]
    Newer {
        /// Its format.
        found: u32,
        /// The newest format that is read.
        newest: u32,
    },
    /// Its lines are in an impossible order.
    #[error("found its lines out of order")]
    Order,
}

/// Why a document was not applied, or an apply not undone.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The root does not exist.
    #[error("the root {root}: {error}")]
    Root {
        /// The folder.
        root: String,
        /// The system's reason.
        error: io::Error,
    },
    /// The record cannot be written or read.
    #[error(
        "the record in {FOLDER}: {error}{}; nothing is done without it",
        hint(error)
    )]
    Record {
        /// The system's reason.
        error: io::Error,
    },
    /// A record is not what this program writes.
    #[error(
        "the record {FOLDER}/{number:06}/journal cannot be used: {damage}; to do without it, move its folder away"
    )]
    Damaged {
        /// Which.
        number: u64,
        /// What is wrong.
        damage: RecordDamage,
    },
    /// Another process applies or reverts.
    #[error("another apply or revert is running; try again when it has ended")]
    Busy,
    /// The plan cannot be carried out here.
    #[error("{}", lines(.0))]
    Refused(Vec<Problem>),
    /// The process was terminated while it fetched files.
    #[error("terminated before all files of the document were fetched; nothing is done")]
    Terminated,
    /// A step failed.
    #[error("{what}: {error}{}", hint(error))]
    Step {
        /// The path, or what should have been done.
        what: String,
        /// The system's reason.
        error: io::Error,
    },
    /// A command to a unit failed.
    #[error("{command} of {unit}: {result}{}", said(log))]
    Unit {
        /// The unit.
        unit: String,
        /// The command.
        command: String,
        /// The result.
        result: String,
        /// The last lines of its log.
        log: String,
    },
    /// The bus, or systemd on it, does not answer.
    #[error("{}", host::remedy::in_line(.0, &.0.remedy()))]
    Bus(#[from] host::bus::BusError),
    /// A step failed, and what was done before it was undone, as far as possible.
    #[error("{}; {}", failure.to_string().trim_end(), undone(left))]
    Undone {
        /// What failed.
        failure: Box<ApplyError>,
        /// What could not be undone; empty where all was.
        left: Vec<String>,
    },
    /// There is nothing to revert.
    #[error("there is no apply to revert")]
    Nothing,
    /// What was there before is not on record.
    #[error(
        "the apply of {at} is the oldest on record: what was there before it is not known, so it cannot be reverted"
    )]
    Oldest {
        /// When it began.
        at: Timestamp,
    },
    /// Somebody has changed what would be reverted.
    #[error("{}; `--force` reverts nevertheless", .0.join("\n"))]
    Changed(Vec<String>),
}

impl ApplyError {
    /// Tells whether systemd refused a request before it tried the unit.
    pub(super) fn is_refusal(&self) -> bool {
        !matches!(self, Self::Unit { .. })
    }

    pub(super) fn record(error: io::Error) -> Self {
        Self::Record { error }
    }

    pub(super) fn step(what: impl Into<String>, error: io::Error) -> Self {
        Self::Step {
            what: what.into(),
            error,
        }
    }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

fn undone(left: &[String]) -> String {
    if left.is_empty() {
        "what was done before it is undone".into()
    } else {
        format!(
            "what was done before it is undone, except:\n{}",
            left.join("\n")
        )
    }
}

/// The last lines of a log, if there are any.
fn said(log: &str) -> String {
    if log.is_empty() {
        String::new()
    } else {
        format!("; the last lines of its log:\n{log}\n")
    }
}

/// Says what a person can do about an error of the system.
fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC | Errno::EDQUOT) => "; make room and apply again",
        Some(Errno::EROFS) => "; it is on a file system that is mounted read-only",
        Some(Errno::EACCES | Errno::EPERM) => "; run as root",
        Some(Errno::EBUSY) => "; something is mounted there",
        _ => "",
    }
}
