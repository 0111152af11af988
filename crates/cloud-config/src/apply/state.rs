//! What a record holds: the changes about to be made, and the state after all applies so far.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::entry::{TreeEntry, TreePath};

/// A change that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Intent {
    /// A path changes.
    Put {
        /// The number of what was kept, and of the temporary name of the new file.
        n: u64,
        place: TreePath,
        before: TreeEntry,
        after: TreeEntry,
        /// Owner, group and mode of a folder that is removed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        folder: Option<(u32, u32, u32)>,
    },
    /// The running kernel is told its name.
    Hostname { before: String, after: String },
    /// A user is created.
    User {
        name: String,
        /// The home existed already.
        home: bool,
    },
    /// A user gets another password hash. `before` is none for a user that was just created.
    Password {
        user: String,
        before: Option<String>,
    },
    /// The system's tool changes a user's keys.
    Keys {
        user: String,
        before: Option<String>,
    },
    /// A script runs.
    Script { sha256: String },
    /// systemd runs a command for a unit, which was active or not.
    Command {
        unit: String,
        command: String,
        active: bool,
    },
}

impl Intent {
    /// Returns the path that changes, if it is such a change.
    pub(super) fn place(&self) -> Option<&TreePath> {
        match self {
            Self::Put { place, .. } => Some(place),
            _ => None,
        }
    }
}

/// What an earlier apply wrote to a path, and what was there before the first apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owned {
    pub(super) place: TreePath,
    /// What the apply wrote.
    pub(super) put: TreeEntry,
    /// What was there before.
    pub(super) original: TreeEntry,
    /// Where that is kept: the record, and the number in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kept: Option<(u64, u64)>,
}

/// The state after all applies so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// By path.
    #[serde(default)]
    pub(super) owned: BTreeMap<String, Owned>,
    /// The keys that a document gave each user.
    #[serde(default)]
    pub(super) keys: BTreeMap<String, Vec<String>>,
    /// The users that a document created.
    #[serde(default)]
    pub(super) users: BTreeSet<String>,
    /// The commands that systemd was given.
    #[serde(default)]
    pub(super) commands: Commands,
    /// The commands that ended a boot, for each document, so that they are not run again in each boot.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) ended: BTreeSet<String>,
}

/// The commands that systemd was given in one boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Commands {
    /// The boot's id.
    pub(super) boot: String,
    /// Unit and command.
    pub(super) done: Vec<(String, String)>,
}

impl State {
    /// Names a command that ends the boot, for [`Self::ended`].
    pub(super) fn end_of_boot(document: &str, unit: &str, command: &str) -> String {
        format!("{document} {command} {unit}")
    }
}
