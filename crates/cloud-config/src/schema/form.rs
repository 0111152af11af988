//! What the text of a key must look like.

use std::borrow::Cow;

use windows::Window;
use yaml::quoted;

use super::{
    Fault,
    text_forms::{
        account, boolean, drop_in, file, hostname, mode, original_length, original_start, owner,
        password, ssh_key, unit, url, window,
    },
};

/// A form of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Any text.
    Any,
    /// Any text, which becomes the content of a file.
    Content,
    /// One line, without control characters: what a variable or a line of a file can hold.
    Line,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words, which a service reads. coreos-cloudinit passed any other on to it.
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

impl Form {
    /// Names what is allowed, for "expected …".
    pub(crate) fn expected(self) -> Cow<'static, str> {
        match self {
            Self::Any | Self::Content => "text",
            Self::Line => "text of one line, without control characters",
            Self::OneOf(words) | Self::Setting(words) => return words.join(", ").into(),
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
        .into()
    }

    /// Finds what is wrong with a text.
    pub(crate) fn fault(self, text: &str) -> Option<Fault> {
        let fault = |good: bool| (!good).then(|| Fault::error(quoted(text)));
        let found = match self {
            Self::Any | Self::Content => None,
            Self::Line => fault(!text.contains(char::is_control)),
            Self::OneOf(words) | Self::Setting(words) => fault(words.contains(&text)),
            Self::Hostname => hostname(text),
            Self::SshKey => ssh_key(text),
            Self::Account => fault(account(text)),
            Self::PasswordHash => password(text),
            Self::Gecos => fault(!text.contains(|c: char| c == ':' || c.is_control())),
            Self::Path => fault(text.starts_with('/') && !text.contains(char::is_control)),
            Self::File => file(text),
            Self::Owner => fault(owner(text)),
            Self::Permissions => fault(mode(text).is_some()).map(|fault| {
                // Other programs write octal numbers so.
                match text.strip_prefix("0o").filter(|rest| mode(rest).is_some()) {
                    Some(octal) => {
                        let octal = octal.trim_start_matches('0');
                        fault.noting(format!("did you mean 0{octal}?"))
                    }
                    None => fault,
                }
            }),
            Self::Url => fault(url(text)),
            Self::Sha256 => fault(text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())),
            Self::Unit => unit(text),
            Self::DropIn => fault(drop_in(text)),
            Self::WindowStart => window(Window::parse(text, "1h")),
            Self::WindowLength => window(Window::parse("Mon 00:00", text)),
            Self::Discovery => (!url(text)).then(|| Fault::warning(quoted(text))),
        };
        found.map(|fault| fault.expecting(self.expected()))
    }

    /// Tells whether coreos-cloudinit applied a document in spite of this text, which this program refuses.
    pub(crate) fn is_applied(self, text: &str) -> bool {
        let harmless = !text.contains(char::is_control);
        match self {
            Self::Hostname | Self::Setting(_) | Self::WindowStart | Self::WindowLength => harmless,
            // A path could lead anywhere.
            Self::Unit | Self::DropIn => harmless && !text.contains('/') && !text.contains(".."),
            _ => false,
        }
    }

    /// Tells whether coreos-cloudinit's `-validate` also reports this text, which this program refuses.
    pub(crate) fn is_original(self, text: &str) -> bool {
        match self {
            Self::OneOf(_) | Self::Setting(_) | Self::Permissions | Self::Discovery => true,
            Self::File => text.starts_with("/usr/"),
            Self::WindowStart => !original_start(text),
            Self::WindowLength => !original_length(text),
            _ => false,
        }
    }

    /// Tells whether the text names a file that no program reads when the name is invalid.
    pub(crate) fn is_name(self) -> bool {
        matches!(self, Self::Unit | Self::DropIn)
    }

    /// Returns the word that a boolean stands for: YAML 1.1 reads `off` as false, and people write either.
    pub(crate) fn word(self, text: &str) -> Option<&'static str> {
        let (Self::OneOf(words) | Self::Setting(words)) = self else {
            return None;
        };
        let meant = if boolean(text)? { "on" } else { "off" };
        words.iter().find(|word| **word == meant).copied()
    }

    /// Returns a regular expression for the JSON Schema. It accepts more than [`Form::fault`] where that is no regular
    /// expression.
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
            | Self::Content
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
