//! What the text of a key must look like.

use settings::window::Window;
use yaml::quoted;

use super::texts::{
    account, boolean, drop_in, file, hostname, mode, original_length, original_start, owner,
    password, ssh_key, unit, url, window,
};
use crate::finding::Level;

/// A form of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Any text.
    Any,
    /// One line, without control characters: what a variable or a line of a file can hold.
    Line,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words, which a service reads: any other is that service's to refuse.
    Setting(&'static [&'static str]),
    /// A host's name.
    Hostname,
    /// A public key as sshd reads it.
    SshKey,
    /// The name of a user or group.
    Account,
    /// A password's hash as in /etc/shadow.
    PasswordHash,
    /// A field of /etc/passwd.
    Gecos,
    /// An absolute path.
    Path,
    /// An absolute path at which a file can be written.
    File,
    /// `user`, `user:group`, `user:` or `:group` as chown(1) reads them, names or numbers.
    Owner,
    /// An octal mode.
    Permissions,
    /// A URL to fetch.
    Url,
    /// A SHA-256 in hexadecimal.
    Sha256,
    /// A unit's name.
    Unit,
    /// A drop-in's file name.
    DropIn,
    /// When a reboot window starts.
    WindowStart,
    /// How long it lasts.
    WindowLength,
    /// URL of etcd's discovery service.
    Discovery,
}

/// Suffixes of units, systemd's and networkd's (systemd.unit(5), systemd.network(5), .netdev(5), .link(5)).
pub(crate) const UNIT_SUFFIXES: [&str; 14] = [
    "service",
    "socket",
    "timer",
    "mount",
    "automount",
    "path",
    "target",
    "slice",
    "swap",
    "scope",
    "device",
    "network",
    "netdev",
    "link",
];

/// Why a text is not of its form.
#[derive(Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) level: Level,
    pub(crate) message: String,
}

pub(super) fn error(message: impl Into<String>) -> Option<Fault> {
    Some(Fault {
        level: Level::Error,
        message: message.into(),
    })
}

pub(super) fn warning(message: impl Into<String>) -> Option<Fault> {
    Some(Fault {
        level: Level::Warning,
        message: message.into(),
    })
}

impl Form {
    /// What is allowed, for "expected …".
    pub(crate) fn expected(self) -> String {
        match self {
            Self::Any => "text",
            Self::Line => "text of one line, without control characters",
            Self::OneOf(words) | Self::Setting(words) => return words.join(", "),
            Self::Hostname => "a host name: letters, digits and hyphens",
            Self::SshKey => "a public key such as ssh-ed25519 AAAA… comment",
            Self::Account => {
                "a name of at most 32 letters, digits, _ . and -, beginning with a letter or _"
            }
            Self::PasswordHash => "a hash as openssl passwd -6 prints it, or * for no password",
            Self::Gecos => "text of one line without a colon",
            Self::Path => "an absolute path",
            Self::File => "an absolute path of a file, without ..",
            Self::Owner => "user, user:group, user: or :group",
            Self::Permissions => "an octal mode such as 0644",
            Self::Url => "a URL: http:// or https:// and a host",
            Self::Sha256 => "64 hexadecimal digits",
            Self::Unit => "a unit's name such as docker.service",
            Self::DropIn => "a file name ending in .conf",
            Self::WindowStart => "a time such as 04:00, with or without a day: Thu 04:00",
            Self::WindowLength => "a duration such as 1h30m, of a week at most",
            Self::Discovery => "the URL of a discovery service",
        }
        .to_owned()
    }

    /// What is wrong with a text.
    pub(crate) fn fault(self, text: &str) -> Option<Fault> {
        let plainly = |good: bool| {
            let found = quoted(text);
            (!good)
                .then(|| error(format!("found {found}, expected {}", self.expected())))
                .flatten()
        };
        match self {
            Self::Any => None,
            Self::Line => plainly(!text.contains(char::is_control)),
            Self::OneOf(words) | Self::Setting(words) => plainly(words.contains(&text)),
            Self::Hostname => hostname(text),
            Self::SshKey => ssh_key(text),
            Self::Account => plainly(account(text)),
            Self::PasswordHash => password(text),
            Self::Gecos => plainly(!text.contains(|c: char| c == ':' || c.is_control())),
            Self::Path => plainly(text.starts_with('/') && !text.contains(char::is_control)),
            Self::File => file(text),
            Self::Owner => plainly(owner(text)),
            Self::Permissions => match mode(text) {
                Some(_) => None,
                None => {
                    let octal = text.strip_prefix("0o").filter(|rest| mode(rest).is_some());
                    let hint = octal.map_or(String::new(), |rest| {
                        format!("; did you mean 0{}?", rest.trim_start_matches('0'))
                    });
                    error(format!(
                        "found {}, expected {}{hint}",
                        quoted(text),
                        self.expected()
                    ))
                }
            },
            Self::Url => plainly(url(text)),
            Self::Sha256 => {
                plainly(text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()))
            }
            Self::Unit => unit(text),
            Self::DropIn => plainly(drop_in(text)),
            Self::WindowStart => window(Window::parse(text, "1h")),
            Self::WindowLength => window(Window::parse("Mon 00:00", text)),
            Self::Discovery if url(text) => None,
            Self::Discovery => warning(format!(
                "found {}, expected {}",
                quoted(text),
                self.expected()
            )),
        }
    }

    /// Whether coreos-cloudinit applied a document all the same in which this text, a fault to this program, stands.
    pub(crate) fn is_applied(self, text: &str) -> bool {
        let harmless = !text.contains(char::is_control);
        match self {
            Self::Hostname | Self::Setting(_) | Self::WindowStart | Self::WindowLength => harmless,
            // A path could lead anywhere.
            Self::Unit | Self::DropIn => harmless && !text.contains('/') && !text.contains(".."),
            _ => false,
        }
    }

    /// Whether coreos-cloudinit's `-validate` has a word on this text as well, which is a fault to this program.
    pub(crate) fn is_original(self, text: &str) -> bool {
        match self {
            Self::OneOf(_) | Self::Setting(_) | Self::Permissions | Self::Discovery => true,
            Self::File => text.starts_with("/usr/"),
            Self::WindowStart => !original_start(text),
            Self::WindowLength => !original_length(text),
            _ => false,
        }
    }

    /// Whether it names a file, which nobody reads where the name is none.
    pub(crate) fn is_name(self) -> bool {
        matches!(self, Self::Unit | Self::DropIn)
    }

    /// The word that a boolean stands for: YAML 1.1 reads `off` as false, and people write either.
    pub(crate) fn word(self, text: &str) -> Option<&'static str> {
        let (Self::OneOf(words) | Self::Setting(words)) = self else {
            return None;
        };
        let meant = if boolean(text)? { "on" } else { "off" };
        words.iter().find(|word| **word == meant).copied()
    }

    /// A regular expression for the JSON Schema, looser than [`Form::fault`] where that is not one.
    pub(crate) fn pattern(self) -> Option<&'static str> {
        Some(match self {
            Self::Line => r"^[^\u0000-\u001f\u007f]*$",
            Self::Hostname => r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$",
            Self::Account => r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?$",
            Self::Gecos => r"^[^:\n]*$",
            Self::Path | Self::File => r"^/",
            Self::Permissions => r"^0?[0-7]{3,4}$",
            Self::Url => r"^https?://.",
            Self::Sha256 => r"^[0-9A-Fa-f]{64}$",
            Self::Unit => {
                r"^[A-Za-z0-9:_.\\@-]+\.(service|socket|timer|mount|automount|path|target|slice|swap|scope|device|network|netdev|link)$"
            }
            Self::DropIn => r"^[^/.][^/]*\.conf$",
            Self::WindowStart => r"^([A-Za-z]+ +)?[0-9]{1,2}:[0-9]{2}$",
            Self::WindowLength => r"^([0-9.]+(h|m|s|ms|us|µs|ns))+$",
            Self::Any
            | Self::OneOf(_)
            | Self::Setting(_)
            | Self::SshKey
            | Self::PasswordHash
            | Self::Owner
            | Self::Discovery => {
                return None;
            }
        })
    }
}
