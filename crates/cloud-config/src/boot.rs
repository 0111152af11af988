//! What a boot keeps for the next one, and for people: the last document that worked, and the result of the last apply.

use std::io;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use host::{
    node::{self, Root},
    time,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::sources::{Fetched, Metadata};

/// Where documents that worked are kept, beside the records of all applies. They may hold secrets.
const FOLDER: &str = "var/lib/pointsman/cloud-config";

/// The result of the last apply at boot, which is gone after the boot.
const OUTCOME: &str = "run/pointsman/cloud-config.json";

/// Exists if a document was found in this boot, good or bad: the units check it.
const FOUND: &str = "run/pointsman/cloud-config.found";

/// The message at login if there was a problem (pam_motd(8)).
const MESSAGE: &str = "run/motd.d/50-pointsman-cloud-config";

/// The id of the first boot without the source, since it was last available.
const MISSED: &str = "missed";

/// The largest of these files, in bytes: the largest document as base64, and metadata.
const MOST: u64 = 2 * super::LARGEST;

/// The format of the document that is kept.
const VERSION: u32 = 1;

/// The last user data that was applied.
#[derive(Debug, Serialize, Deserialize)]
struct KeptDocument {
    version: u32,
    at: Timestamp,
    origin: String,
    /// Base64.
    user_data: String,
    metadata: Metadata,
}

/// Which last document that worked is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose<'a> {
    /// That of the machine, which has one at a time.
    Machine,
    /// That of this source: in compatibility mode each source has its own.
    Source(&'a str),
}

impl Whose<'_> {
    fn path(self) -> String {
        let name = match self {
            Self::Machine => "last-good.json".to_owned(),
            Self::Source(source) => {
                let hash = Sha256::digest(source.as_bytes());
                let short: String = hash.iter().take(8).map(|b| format!("{b:02x}")).collect();
                format!("last-good-{short}.json")
            }
        };
        format!("{FOLDER}/{name}")
    }
}

/// The last user data that was applied, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGood {
    /// The user data.
    pub fetched: Fetched,
    /// When it was fetched.
    pub at: Timestamp,
}

/// A document that was kept and cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("/{path}: {fault}")]
pub struct UnusableDocument {
    /// The file.
    path: String,
    /// What is wrong with it.
    fault: DocumentFault,
}

/// What is wrong with a document that was kept.
#[derive(Debug, thiserror::Error)]
enum DocumentFault {
    #[error("{0}")]
    Read(#[from] io::Error),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("found format {0}, expected {VERSION}")]
    Version(u32),
    #[error("{0}")]
    Base64(#[from] base64::DecodeError),
}

/// Records that the source is not available in this boot. Returns whether it was available in the boot before: one
/// boot without the source is only a warning.
///
/// # Errors
/// When that cannot be written.
pub fn miss(root: &Root) -> io::Result<bool> {
    let path = format!("{FOLDER}/{MISSED}");
    let boot = node::boot_id(root).unwrap_or_default();
    match read(root, &path) {
        Ok(first) => Ok(first.trim_ascii() == boot.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write(root, &path, boot.as_bytes(), 0o600)?;
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// Records that the source is available.
///
/// # Errors
/// When that cannot be written.
pub fn found(root: &Root) -> io::Result<()> {
    remove(root, &format!("{FOLDER}/{MISSED}"))
}

/// The result of an apply at boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// When.
    pub at: Timestamp,
    /// Which document it was.
    pub origin: String,
    /// What happened to it.
    pub result: Ending,
    /// Why it is not the document that should have been applied; empty if it is.
    pub reason: String,
}

/// What happened to a document at boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It was applied, and changed something.
    Applied,
    /// It was applied, and changed nothing.
    Unchanged,
    /// Another document could not be applied: the node keeps the last one that worked.
    Kept,
    /// None was applied.
    Failed,
}

impl LastGood {
    /// Reads it; none if there is none, or it cannot be used.
    #[must_use]
    pub fn load(root: &Root, whose: Whose<'_>) -> Option<Self> {
        let usable = Self::read(root, whose)
            .inspect_err(|spoilt| tracing::warn!("{spoilt}; it is not used"));
        usable.ok().flatten()
    }

    /// Reads it; none if there is none.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn read(root: &Root, whose: Whose<'_>) -> Result<Option<Self>, UnusableDocument> {
        let path = whose.path();
        let bytes = match read(root, &path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let fault = error.into();
                return Err(UnusableDocument { path, fault });
            }
        };
        let parse = || {
            let kept: KeptDocument = serde_json::from_slice(&bytes)?;
            if kept.version != VERSION {
                return Err(DocumentFault::Version(kept.version));
            }
            let user_data = STANDARD.decode(&kept.user_data)?;
            Ok(Self {
                at: kept.at,
                fetched: Fetched {
                    user_data,
                    metadata: kept.metadata,
                    origin: kept.origin,
                    passed: Vec::new(),
                },
            })
        };
        parse()
            .map(Some)
            .map_err(|fault| UnusableDocument { path, fault })
    }

    /// Forgets it, because it was reverted.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget(root: &Root, whose: Whose<'_>) -> io::Result<()> {
        remove(root, &whose.path())
    }

    /// Keeps what was applied, readable for root only.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(root: &Root, whose: Whose<'_>, fetched: &Fetched) -> io::Result<()> {
        if Self::load(root, whose).is_some_and(|last| {
            let last = &last.fetched;
            last.user_data == fetched.user_data
                && last.metadata == fetched.metadata
                && last.origin == fetched.origin
        }) {
            return Ok(());
        }
        let kept = KeptDocument {
            version: VERSION,
            at: Timestamp::now(),
            origin: fetched.origin.clone(),
            user_data: STANDARD.encode(&fetched.user_data),
            metadata: fetched.metadata.clone(),
        };
        write(root, &whose.path(), &json(&kept), 0o600)
    }
}

impl Outcome {
    /// Creates a result with the present time.
    #[must_use]
    pub fn now(origin: &str, result: Ending, reason: impl Into<String>) -> Self {
        Self {
            at: Timestamp::now(),
            origin: origin.to_owned(),
            result,
            reason: reason.into(),
        }
    }

    /// Reads the result; none if there was no apply in this boot.
    #[must_use]
    pub fn load(root: &Root) -> Option<Self> {
        serde_json::from_slice(&read(root, OUTCOME).ok()?).ok()
    }

    /// Writes it for `pointsman status` and, if it is not good, for the message at login. If no document was found, one may
    /// still be found, and is then applied.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, root: &Root, found: bool) -> io::Result<()> {
        write(root, OUTCOME, &json(self), 0o644)?;
        if found {
            write(root, FOUND, b"", 0o644)?;
        }
        if self.is_good() {
            return remove(root, MESSAGE);
        }
        write(root, MESSAGE, format!("{self}\n").as_bytes(), 0o644)
    }

    /// Tells whether the node has the document that it should have.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self.result, Ending::Applied | Ending::Unchanged)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            at, origin, reason, ..
        } = self;
        let at = time::shown_in_utc(*at);
        // A reason may be long: the journal has all of it.
        let reason = reason.lines().next().unwrap_or_default();
        let reason = reason.replace(char::is_control, " ");
        let more = "for details: journalctl -b -t pointsman";
        match self.result {
            Ending::Applied => write!(f, "cloud-config: {origin} applied {at}"),
            Ending::Unchanged => write!(f, "cloud-config: {origin} changed nothing, {at}"),
            Ending::Kept => write!(
                f,
                "cloud-config: NOT up to date: {reason}; the node keeps the last document that worked, {origin}; {more}"
            ),
            Ending::Failed => write!(f, "cloud-config: NOT applied: {reason}; {more}"),
        }
    }
}

/// Reads a file of the machine.
fn read(root: &Root, path: &str) -> io::Result<Vec<u8>> {
    Ok(root.path(path).read_bounded(MOST)?)
}

/// Writes a file of the machine, and creates its folders.
fn write(root: &Root, path: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let path = root.path(path);
    path.parent().make_folder()?;
    path.write_atomic(bytes, mode)
}

/// Removes a file of the machine. A missing file is no error.
fn remove(root: &Root, path: &str) -> io::Result<()> {
    match root.path(path).remove() {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings and numbers always serialize")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn fetched(text: &str) -> Fetched {
        let mut metadata = Metadata::default();
        metadata.addresses.private_ipv4 = Some("10.0.0.4".into());
        Fetched {
            user_data: text.into(),
            metadata,
            origin: "ec2:http://x/".into(),
            passed: Vec::new(),
        }
    }

    #[test]
    fn last_document_is_readable_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        assert_eq!(LastGood::load(&root, Whose::Machine), None);
        LastGood::save(&root, Whose::Machine, &fetched("one\u{0}")).unwrap();
        let first = LastGood::load(&root, Whose::Machine).unwrap();
        assert_eq!(first.fetched, fetched("one\u{0}"));
        let mode = fs::metadata(root.path(Whose::Machine.path()).shown())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        // The same one is not written again.
        LastGood::save(&root, Whose::Machine, &fetched("one\u{0}")).unwrap();
        assert_eq!(LastGood::load(&root, Whose::Machine).unwrap().at, first.at);
        LastGood::save(&root, Whose::Machine, &fetched("two")).unwrap();
        assert_eq!(
            LastGood::load(&root, Whose::Machine).unwrap().fetched,
            fetched("two")
        );
        // The same from elsewhere is: what is missed is the source.
        let elsewhere = Fetched {
            origin: "configdrive".into(),
            ..fetched("two")
        };
        LastGood::save(&root, Whose::Machine, &elsewhere).unwrap();
        let last = LastGood::load(&root, Whose::Machine).unwrap();
        assert_eq!(last.fetched.origin, "configdrive");
        for text in ["", "{}", "{\"version\":2}"] {
            fs::write(root.path(Whose::Machine.path()).shown(), text).unwrap();
            assert_eq!(LastGood::load(&root, Whose::Machine), None, "{text}");
            assert!(LastGood::read(&root, Whose::Machine).is_err(), "{text}");
        }
    }

    #[test]
    fn login_message_exists_only_after_a_problem() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let message = root.path(MESSAGE).shown();
        let good = Outcome::now("a", Ending::Applied, "");
        good.save(&root, true).unwrap();
        assert!(root.path(FOUND).shown().exists());
        assert_eq!(Outcome::load(&root), Some(good.clone()));
        assert!(!message.exists());
        let bad = Outcome::now("a", Ending::Kept, "b: 1 error\nat length\u{1b}");
        bad.save(&root, true).unwrap();
        let text = fs::read_to_string(&message).unwrap();
        assert!(
            text.contains(
                "NOT up to date: b: 1 error; the node keeps the last document that worked, a"
            ) && !text.contains("at length"),
            "{text}"
        );
        good.save(&root, true).unwrap();
        assert!(!message.exists());
    }
}
