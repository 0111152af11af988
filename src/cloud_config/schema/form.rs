//! What the text of a key must look like.

use crate::{
    cloud_config::finding::Level,
    window::{Window, WindowError},
    yaml::quoted,
};

/// A form of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Any text.
    Any,
    /// One line, without control characters: what a variable or a line of a file can hold.
    Line,
    /// One of these words.
    OneOf(&'static [&'static str]),
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
    /// `user` or `user:group`, names or numbers.
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

fn error(message: impl Into<String>) -> Option<Fault> {
    Some(Fault {
        level: Level::Error,
        message: message.into(),
    })
}

fn warning(message: impl Into<String>) -> Option<Fault> {
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
            Self::OneOf(words) => return words.join(", "),
            Self::Hostname => "a host name: letters, digits and hyphens",
            Self::SshKey => "a public key such as ssh-ed25519 AAAA… comment",
            Self::Account => {
                "a name of at most 32 letters, digits, _ . and -, beginning with a letter or _"
            }
            Self::PasswordHash => "a hash as openssl passwd -6 prints it, or * for no password",
            Self::Gecos => "text of one line without a colon",
            Self::Path => "an absolute path",
            Self::File => "an absolute path of a file, without ..",
            Self::Owner => "user or user:group",
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
            Self::OneOf(words) => plainly(words.contains(&text)),
            Self::Hostname => hostname(text),
            Self::SshKey => ssh_key(text),
            Self::Account => plainly(account(text)),
            Self::PasswordHash => password(text),
            Self::Gecos => plainly(!text.contains(|c: char| c == ':' || c.is_control())),
            Self::Path => plainly(text.starts_with('/') && !text.contains(char::is_control)),
            Self::File => file(text),
            Self::Owner => {
                let part = |part: &str| account(part) || number(part);
                let (user, group) = text
                    .split_once(':')
                    .map_or((text, None), |(u, g)| (u, Some(g)));
                plainly(part(user) && group.is_none_or(part))
            }
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
            Self::DropIn => {
                let simple = !text.contains(['/', '\0']) && !text.starts_with('.');
                plainly(simple && text.ends_with(".conf") && text.len() <= 255)
            }
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

    /// The word that a boolean stands for: YAML 1.1 reads `off` as false, and people write either.
    pub(crate) fn word(self, text: &str) -> Option<&'static str> {
        let Self::OneOf(words) = self else {
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
            | Self::SshKey
            | Self::PasswordHash
            | Self::Owner
            | Self::Discovery => {
                return None;
            }
        })
    }
}

/// The mode that a text of octal digits means: `0?[0-7]{3,4}`.
pub(crate) fn mode(text: &str) -> Option<u32> {
    let digits = match text.len() {
        5 => text.strip_prefix('0')?,
        3 | 4 => text,
        _ => return None,
    };
    let octal = digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten()
}

/// The boolean that a word of YAML 1.1 means.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    const TRUE: [&str; 4] = ["y", "yes", "true", "on"];
    const FALSE: [&str; 4] = ["n", "no", "false", "off"];
    // "yes", "Yes" and "YES", not "yEs".
    let lower = text.to_ascii_lowercase();
    let rest = text.get(1..)?;
    let one_case = rest == &lower[1..] || text == text.to_ascii_uppercase();
    match lower.as_str() {
        word if one_case && TRUE.contains(&word) => Some(true),
        word if one_case && FALSE.contains(&word) => Some(false),
        _ => None,
    }
}

fn account(text: &str) -> bool {
    let body = text.strip_suffix('$').unwrap_or(text);
    let first = body.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let rest = body
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    first && rest && text.len() <= 32
}

fn number(text: &str) -> bool {
    // The last number means "unchanged" to chown(2).
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u32>().is_ok_and(|n| n != u32::MAX)
}

fn url(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| lower.strip_prefix(scheme));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    host.is_some_and(|host| !host.is_empty() && !host.starts_with(':'))
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn hostname(text: &str) -> Option<Fault> {
    let name = text.split('.').next().unwrap_or_default();
    let good = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if name.is_empty() || !good || name.starts_with('-') || name.ends_with('-') {
        return error(format!(
            "found {}, expected {}",
            quoted(text),
            Form::Hostname.expected()
        ));
    }
    if name.len() > 63 {
        return warning(format!(
            "a host name has at most 63 bytes: {} are kept",
            &name[..63]
        ));
    }
    (name != text).then(|| Fault {
        level: Level::Info,
        message: format!("a host name ends at the first dot: {name:?} is kept"),
    })
}

fn ssh_key(text: &str) -> Option<Fault> {
    if text.contains("PRIVATE KEY") {
        return error("this is a private key, expected the public one (the file ending in .pub)");
    }
    if text.trim_end().contains(['\n', '\r', '\0']) {
        return error("found more than one line, expected one public key an item");
    }
    // Options may come first and hold anything in quotes; the blob follows the type.
    let words: Vec<&str> = text.split_whitespace().collect();
    let typed = words.windows(2).any(|pair| {
        let [kind, blob] = pair else { return false };
        let known =
            kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-");
        known && blob.starts_with("AAAA")
    });
    (!typed)
        .then(|| {
            warning(format!(
                "found {}, expected {}",
                quoted(text),
                Form::SshKey.expected()
            ))
        })
        .flatten()
}

fn password(text: &str) -> Option<Fault> {
    if text.contains(|c: char| c == ':' || c.is_control()) {
        return error(format!(
            "found a colon or line break, expected {}",
            Form::PasswordHash.expected()
        ));
    }
    let locked = text.starts_with(['!', '*']);
    let modular = text.starts_with('$') && text.matches('$').count() >= 3;
    let des = text.len() == 13
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'/');
    (!locked && !modular && !des)
        .then(|| {
            warning(format!(
                "found no hash of a password, expected {}",
                Form::PasswordHash.expected()
            ))
        })
        .flatten()
}

fn file(text: &str) -> Option<Fault> {
    let found = quoted(text);
    if !text.starts_with('/') {
        let hint = (!text.is_empty()).then(|| format!("; did you mean {:?}?", format!("/{text}")));
        return error(format!(
            "found {found}, expected an absolute path{}",
            hint.unwrap_or_default()
        ));
    }
    if text.contains(char::is_control) {
        return error(format!(
            "found {found}, expected a path without control characters"
        ));
    }
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    if parts.contains(&"..") {
        return error(format!("found {found}, expected a path without .."));
    }
    if parts.is_empty() || text.ends_with('/') {
        return error(format!(
            "found {found}, the path of a directory, expected that of a file"
        ));
    }
    if parts.iter().any(|part| part.len() > 255) || text.len() > 4095 {
        return error(
            "found a path that is too long, expected at most 255 bytes a name and 4095 in all",
        );
    }
    if parts[0] == "usr" {
        return error(format!(
            "found {found}: /usr is read-only, expected a path elsewhere, such as /opt or /etc"
        ));
    }
    None
}

fn unit(text: &str) -> Option<Fault> {
    let found = quoted(text);
    if text.contains('/') || text.contains("..") {
        return error(format!(
            "found {found}, expected a unit's name without / and .."
        ));
    }
    let good = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    if text.is_empty() || text.len() > 255 || !text.bytes().all(good) {
        return error(format!(
            "found {found}, expected at most 255 letters, digits and : - _ . \\ @, ending in a suffix such as .service"
        ));
    }
    let Some((stem, suffix)) = text.rsplit_once('.') else {
        return error(format!(
            "found {found}, a name without a suffix; did you mean {:?}?",
            format!("{text}.service")
        ));
    };
    if stem.is_empty() || stem.starts_with('@') {
        return error(format!("found {found}, expected a name before the suffix"));
    }
    if !UNIT_SUFFIXES.contains(&suffix) {
        let near = super::super::finding::nearest(suffix, UNIT_SUFFIXES.iter().copied());
        let hint = near.map_or_else(
            || format!(", expected one of {}", UNIT_SUFFIXES.join(", ")),
            |near| format!("; did you mean {:?}?", format!("{stem}.{near}")),
        );
        return error(format!("unknown suffix {suffix:?} in {found}{hint}"));
    }
    None
}

fn window(parsed: Result<Window, WindowError>) -> Option<Fault> {
    parsed.err().and_then(|why| error(why.to_string()))
}
