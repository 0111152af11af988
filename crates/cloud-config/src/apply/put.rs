//! The wanted state of a path, compared with its present state. Pure.

use std::borrow::Cow;

use super::entry::{FileEntry, TreeEntry, TreePath};
use crate::problem::Problem;

/// Why a path changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The document says so.
    Document,
    /// An earlier document wrote it and this one does not: what was there before is restored.
    Gone,
}

/// The wanted state of a path.
#[derive(Debug)]
pub(super) struct Put<'a> {
    pub(super) place: TreePath,
    pub(super) why: Why,
    pub(super) before: TreeEntry,
    pub(super) after: TreeEntry,
    /// The content of the file.
    pub(super) bytes: Cow<'a, [u8]>,
    /// Part of the content belongs to others: the document appends to it.
    pub(super) added: bool,
    /// Owner, group and mode, if it is a folder.
    pub(super) folder: (u32, u32, u32),
    /// Where the state before the first apply is kept, if it is restored.
    pub(super) kept: Option<(u64, u64)>,
    /// The user or group that will own it and does not exist yet.
    pub(super) owner: Option<String>,
}

impl<'a> Put<'a> {
    /// Creates the change that the document asks for.
    pub(super) fn new(place: TreePath, before: TreeEntry, after: TreeEntry) -> Self {
        Self {
            place,
            why: Why::Document,
            before,
            after,
            bytes: Cow::Borrowed(&[]),
            added: false,
            folder: (0, 0, 0o755),
            kept: None,
            owner: None,
        }
    }

    /// Adds the bytes of its file.
    pub(super) fn with(mut self, bytes: Cow<'a, [u8]>) -> Self {
        self.bytes = bytes;
        self
    }

    /// Tells whether anything has to be done.
    pub(super) fn is_due(&self) -> bool {
        self.before != self.after || self.owner.is_some()
    }

    /// Tells whether the content may be shown. Content that only some users can read is not.
    pub(super) fn is_open(&self) -> bool {
        [&self.before, &self.after]
            .into_iter()
            .all(|entry| !matches!(entry, TreeEntry::File(file) if file.mode & 0o004 == 0))
    }

    /// Finds why this cannot be done.
    pub(super) fn refusal(&self) -> Option<Problem> {
        let found = match self.before {
            TreeEntry::Folder if self.after != TreeEntry::Absent => "a folder",
            TreeEntry::Special => "a device, a socket or a pipe",
            _ => return None,
        };
        let wanted = match self.after {
            TreeEntry::File(_) => "a file",
            TreeEntry::Link(_) => "a link",
            _ => return None,
        };
        let problem = Problem::found(found)
            .of(&self.place.path)
            .expected(format!("{wanted} or nothing"));
        Some(problem.remedy("move it away"))
    }

    /// Describes what changes, in words: `mode 0644, was 0600`.
    pub(super) fn details(&self) -> Vec<String> {
        let mut details = Vec::new();
        match (&self.before, &self.after) {
            (TreeEntry::File(before), TreeEntry::File(after)) => {
                if before.mode != after.mode {
                    details.push(format!("mode {:04o}, was {:04o}", after.mode, before.mode));
                }
                if let Some(owner) = &self.owner {
                    details.push(format!("owner {owner}, who is created first"));
                } else if owner(before) != owner(after) {
                    details.push(format!("owner {}, was {}", owner(after), owner(before)));
                }
                if before.sha256 != after.sha256 {
                    details.push("content".into());
                }
            }
            (before, TreeEntry::File(after)) => {
                let mode = format!("mode {:04o}", after.mode);
                details.push(mode);
                if let Some(owner) = &self.owner {
                    details.push(format!("owner {owner}, who is created first"));
                } else if owner(after) != "0:0" {
                    details.push(format!("owner {}", owner(after)));
                }
                if let TreeEntry::Link(target) = before {
                    details.push(format!("in place of a link to {target}"));
                }
            }
            (before, TreeEntry::Link(target)) => {
                details.push(format!("link to {target}"));
                match before {
                    TreeEntry::File(_) => details.push("in place of a file".into()),
                    TreeEntry::Link(was) if was != target => details.push(format!("was to {was}")),
                    _ => {}
                }
            }
            _ => {}
        }
        details
    }
}

fn owner(file: &FileEntry) -> String {
    format!("{}:{}", file.uid, file.gid)
}

/// Appends to the content of a file, unless it ends with that already.
pub(super) fn appended(mut before: Vec<u8>, more: &[u8]) -> Vec<u8> {
    if !before.ends_with(more) {
        before.extend_from_slice(more);
    }
    before
}
