//! What is at a path.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum TreeEntry {
    /// Nothing.
    Absent,
    /// A file.
    File(FileEntry),
    /// A symbolic link to this.
    Link(String),
    /// A folder.
    Folder,
    /// A device, a socket or a pipe.
    Special,
}

/// A file; its content is known by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileEntry {
    /// Permissions, setuid, setgid and sticky bit included.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The content's SHA-256 in hexadecimal.
    pub sha256: String,
}

/// The SHA-256 of bytes, in hexadecimal.
#[must_use]
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A path below the root. Below a user's home no link is followed, because the user can change links there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct TreePath {
    /// The absolute path.
    pub path: String,
    /// The home that it is in, if its owner is not root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
}

impl From<&str> for TreePath {
    fn from(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            home: None,
        }
    }
}

impl TreePath {
    /// Splits it into its folder and its name.
    pub(super) fn split(&self) -> (Self, &str) {
        let (folder, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let folder = Self {
            path: if folder.is_empty() { "/" } else { folder }.to_owned(),
            home: self.home.clone(),
        };
        (folder, name)
    }
}
