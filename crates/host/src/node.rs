//! The node itself: where its files lie, and by what names it goes.

mod files;
pub mod root;

use std::{io, path::PathBuf, time::Duration};

use jiff::tz::TimeZone;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

pub use files::{ReadError, SMALL};
pub use root::{Root, RootPath};

use crate::remedy::Remedy;

/// Why the machine's own names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// The machine id is none.
    #[error(
        "{} holds {found:?}, expected 32 lower-case hex digits (machine-id(5))",
        path.display()
    )]
    MachineId {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
    /// An id given by hand is none.
    #[error("the node id {0:?} {1}, expected 1 to 255 letters, digits or any of `._:@-`")]
    Id(String, &'static str),
    /// A group given by hand is none.
    #[error("the group {0:?} {1}")]
    Group(String, &'static str),
}

impl NodeError {
    /// What a person can do about it, where that is known.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        matches!(self, Self::MachineId { .. })
            .then(|| Remedy::new("create one", "systemd-machine-id-setup"))
    }
}

fn read(path: &RootPath) -> Result<String, NodeError> {
    path.read_text()
        .map(|text| text.trim().to_owned())
        .map_err(|error| NodeError::Read {
            path: path.shown(),
            error,
        })
}

/// The machine's id: 32 lower-case hex digits of `etc/machine-id` (machine-id(5)).
///
/// # Errors
/// When the file is missing or holds anything else, such as `uninitialized` before the first boot is done.
pub fn machine_id(root: &Root) -> Result<String, NodeError> {
    let path = root.path("etc/machine-id");
    let found = read(&path)?;
    if is_machine_id(&found) {
        Ok(found)
    } else {
        Err(NodeError::MachineId {
            path: path.shown(),
            found,
        })
    }
}

/// Whether a text is a machine id: 32 lower-case hex digits, not all of them 0 (machine-id(5)).
#[must_use]
pub fn is_machine_id(text: &str) -> bool {
    let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    text.len() == 32 && text.bytes().all(hex) && text.bytes().any(|b| b != b'0')
}

/// The boot's id, another one after every boot: the root's where it has one; else what systemd says in `POINTSMAN_BOOT_ID`
/// (the unit's `%b`), else the kernel's. In a container the agent's sandbox shows the id of the machine below, which
/// stays the same over reboots of the container.
///
/// # Errors
/// When none can be read.
pub fn boot_id(root: &Root) -> Result<String, NodeError> {
    const PATH: &str = "proc/sys/kernel/random/boot_id";
    let own = root.path(PATH);
    if !root.is_host() && own.exists() {
        return read(&own);
    }
    match std::env::var("POINTSMAN_BOOT_ID").map(|told| as_uuid(&told)) {
        Ok(Some(told)) => Ok(told),
        _ => read(&Root::default().path(PATH)),
    }
}

/// How long ago the machine was booted, also while it slept (clock_gettime(2), `CLOCK_BOOTTIME`).
#[must_use]
pub fn since_boot() -> Duration {
    let clock = nix::time::ClockId::CLOCK_BOOTTIME;
    clock.now().map_or(Duration::ZERO, Duration::from)
}

/// 32 hex digits, as systemd writes an id, the way the kernel writes it; none where it is something else.
fn as_uuid(id: &str) -> Option<String> {
    if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let (a, b, c, d, e) = (&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]);
    Some(format!("{a}-{b}-{c}-{d}-{e}"))
}

/// The release of the kernel that runs: the root's, where it has a `proc`, else this machine's.
#[must_use]
pub fn kernel(root: &Root) -> Option<String> {
    const PATH: &str = "proc/sys/kernel/osrelease";
    let own = read(&root.path(PATH));
    own.or_else(|_| read(&Root::default().path(PATH)))
        .ok()
        .filter(|release| !release.is_empty())
}

/// The host name: the kernel's, or the root's `etc/hostname` where the root is not this machine. For people;
/// `localhost` where there is none.
#[must_use]
pub fn hostname(root: &Root) -> String {
    let kernel = || nix::unistd::gethostname().ok()?.into_string().ok();
    // hostname(5): the first line that is no comment.
    let own = || {
        let text = read(&root.path("etc/hostname")).ok()?;
        let mut lines = text.lines().map(str::trim);
        lines
            .find(|l| !l.is_empty() && !l.starts_with('#'))
            .map(str::to_owned)
    };
    let name = if root.is_host() {
        kernel()
    } else {
        own().or_else(kernel)
    };
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".into())
}

/// The time zone: the system's, or the one of the root's `etc/localtime` where the root is not this machine; UTC
/// where there is none (localtime(5)).
#[must_use]
pub fn time_zone(root: &Root) -> TimeZone {
    if root.is_host() {
        return TimeZone::system();
    }
    root.path("etc/localtime")
        .read_bounded(SMALL)
        .ok()
        .and_then(|data| TimeZone::tzif("local", &data).ok())
        .unwrap_or(TimeZone::UTC)
}

/// Checks an id given by hand: 1 to 255 letters, digits or any of `._:@-`, so that it can be part of a key.
///
/// # Errors
/// When it is anything else.
pub fn check_id(id: &str) -> Result<(), NodeError> {
    let bad = |why| Err(NodeError::Id(id.to_owned(), why));
    match id {
        "" => bad("is empty"),
        _ if id.len() > 255 => bad("is too long"),
        _ if id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._:@-".contains(&b)) =>
        {
            Ok(())
        }
        _ => bad("has a character that cannot be in an id"),
    }
}

/// A group of nodes that share one semaphore. The default group is the empty string.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Group(String);

/// What Go's `url.QueryEscape`, which names locksmith's groups, leaves as it is.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

impl Group {
    /// A group of this name.
    ///
    /// # Errors
    /// When the name is longer than 255 bytes or has control characters.
    pub fn new(name: &str) -> Result<Self, NodeError> {
        let bad = |why| Err(NodeError::Group(name.to_owned(), why));
        if name.len() > 255 {
            bad("is too long, expected at most 255 bytes")
        } else if name.chars().any(char::is_control) {
            bad("has control characters, expected none")
        } else {
            Ok(Self(name.to_owned()))
        }
    }

    /// The group whose name is escaped in a key.
    ///
    /// # Errors
    /// When no group is escaped so.
    pub fn from_escaped(escaped: &str) -> Result<Self, NodeError> {
        let name = percent_decode_str(&escaped.replace('+', " "))
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| NodeError::Group(escaped.to_owned(), "is not UTF-8 when unescaped"))?;
        let group = Self::new(&name)?;
        if group.escaped() == escaped {
            Ok(group)
        } else {
            // Another spelling would be another key of the same group.
            Err(NodeError::Group(
                escaped.to_owned(),
                "is not escaped as Go's url.QueryEscape does",
            ))
        }
    }

    /// The name as it stands in a key: as Go's `url.QueryEscape` has it.
    #[must_use]
    pub fn escaped(&self) -> String {
        utf8_percent_encode(&self.0, QUERY)
            .to_string()
            .replace("%20", "+")
    }

    /// Whether it is the default group.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.0.is_empty()
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A group as a sentence names it: `the default group`, `the group "web"`.
#[must_use]
pub fn named_group(name: &str) -> String {
    match name {
        "" => "the default group".to_owned(),
        name => format!("the group {name:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_machine_id_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let error = machine_id(&root).unwrap_err().to_string();
        assert!(
            error.contains("etc/machine-id") && error.contains("No such file"),
            "{error}"
        );
        fs::create_dir(dir.path().join("etc")).unwrap();
        for (text, ok) in [
            ("0123456789abcdef0123456789abcdef\n", true),
            ("0123456789ABCDEF0123456789ABCDEF", false),
            ("uninitialized", false),
            ("00000000000000000000000000000000", false),
            ("", false),
            ("0123456789abcdef", false),
        ] {
            fs::write(dir.path().join("etc/machine-id"), text).unwrap();
            let found = machine_id(&root);
            assert_eq!(found.is_ok(), ok, "{text:?}: {found:?}");
        }
    }

    #[test]
    fn a_roots_own_names_come_before_the_hosts() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let kernels = boot_id(&root).unwrap();
        assert_eq!(kernels, boot_id(&Root::default()).unwrap());
        fs::create_dir_all(dir.path().join("proc/sys/kernel/random")).unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("proc/sys/kernel/random/boot_id"), "other\n").unwrap();
        fs::write(dir.path().join("etc/hostname"), "# ours\nn1\nn2\n").unwrap();
        assert_eq!(
            (boot_id(&root).unwrap().as_str(), hostname(&root).as_str()),
            ("other", "n1")
        );
    }

    #[test]
    fn systemds_boot_id_is_written_as_the_kernels() {
        let same = "0e70bcc2-7968-47ee-91f4-19576987f8fd";
        assert_eq!(as_uuid(&same.replace('-', "")).unwrap(), same);
        for none in ["", same, "0e70bcc2796847ee91f419576987f8fg"] {
            assert_eq!(as_uuid(none), None, "{none}");
        }
    }

    #[test]
    fn ids_fit_into_keys() {
        for id in [
            "a",
            "0123456789abcdef0123456789abcdef",
            "host.example:1@x_-",
        ] {
            check_id(id).unwrap();
        }
        for (id, why) in [
            ("", "empty"),
            ("a/b", "character"),
            ("a b", "character"),
            ("ü", "character"),
        ] {
            let error = check_id(id).unwrap_err().to_string();
            assert!(
                error.contains(why) && error.contains(&format!("{id:?}")),
                "{error}"
            );
        }
        assert!(check_id(&"x".repeat(256)).is_err());
    }

    #[test]
    fn groups_are_escaped_as_go_does() {
        for (name, escaped) in [
            ("", ""),
            ("prod/database", "prod%2Fdatabase"),
            ("a b+c~d_e-f.g", "a+b%2Bc~d_e-f.g"),
            ("ü&%", "%C3%BC%26%25"),
        ] {
            let group = Group::new(name).unwrap();
            assert_eq!(group.escaped(), escaped);
            assert_eq!(Group::from_escaped(escaped).unwrap(), group);
        }
        assert!(Group::new("a\nb").is_err() && Group::from_escaped("%ff").is_err());
        assert!(Group::from_escaped("%61").is_err());
    }
}
