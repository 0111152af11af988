//! What a record tells: the things that are about to be done, and what all applies so far amount to.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::entry::{TreeEntry, TreePath};

/// Something that is about to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Intent {
    /// What is at a place changes.
    Put {
        /// Numbers what was kept, and the name under which the new thing is made.
        n: u64,
        place: TreePath,
        before: TreeEntry,
        after: TreeEntry,
        /// Owner, group and mode of a folder that goes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        folder: Option<(u32, u32, u32)>,
    },
    /// The running kernel is told its name.
    Hostname { before: String, after: String },
    /// A user is made.
    User {
        name: String,
        /// Whether there was a home for them already.
        home: bool,
    },
    /// A user gets a password of another hash; `before` is none of one who was just made.
    Password {
        user: String,
        before: Option<String>,
    },
    /// A user's keys change, by the system's own tool.
    Keys {
        user: String,
        before: Option<String>,
    },
    /// A script runs.
    Script { sha256: String },
    /// systemd is told something about a unit, which ran or not.
    Command {
        unit: String,
        command: String,
        active: bool,
    },
}

impl Intent {
    /// The place that changes, if it is one.
    pub(super) fn place(&self) -> Option<&TreePath> {
        match self {
            Self::Put { place, .. } => Some(place),
            _ => None,
        }
    }
}

/// What an earlier apply put somewhere, and what was there before the first one did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owned {
    pub(super) place: TreePath,
    /// What it put there.
    pub(super) put: TreeEntry,
    /// What was there.
    pub(super) original: TreeEntry,
    /// Where that is kept: the record and the number in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kept: Option<(u64, u64)>,
}

/// What all applies so far amount to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// By path.
    #[serde(default)]
    pub(super) owned: BTreeMap<String, Owned>,
    /// The keys of each user that a document let in.
    #[serde(default)]
    pub(super) keys: BTreeMap<String, Vec<String>>,
    /// The users that a document made.
    #[serde(default)]
    pub(super) users: BTreeSet<String>,
    /// What systemd was told.
    #[serde(default)]
    pub(super) commands: Commands,
    /// What was told that ended a boot, for each document: not to be told again, boot after boot.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) ended: BTreeSet<String>,
}

/// What systemd was told in one boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Commands {
    /// The boot's id.
    pub(super) boot: String,
    /// Unit and command.
    pub(super) done: Vec<(String, String)>,
}

impl State {
    /// What is remembered of a command that ends the boot.
    pub(super) fn end_of_boot(document: &str, unit: &str, command: &str) -> String {
        format!("{document} {command} {unit}")
    }
}
