//! What the journal of an apply holds, line by line.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::{Intent, State};

/// Where the records of a machine are, under its root.
pub const FOLDER: &str = "/var/lib/pointsman/cloud-config";

/// A line of a journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Line {
    Begin(Begin),
    Will(Intent),
    End {
        how: End,
        at: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<State>,
        /// What was not undone.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left: Vec<String>,
    },
}

/// How an apply began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begin {
    /// The format of the record.
    pub(super) version: u32,
    /// When.
    pub at: Timestamp,
    /// Which document it was.
    pub source: String,
    /// The boot that it was in.
    #[serde(default)]
    pub boot: String,
    /// The apply that was in force when this one began. Reverting this one leads back to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// How an apply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// All was done.
    Applied,
    /// A step failed, and what was done was undone.
    Undone,
    /// It was reverted later.
    Reverted,
}
