//! The forms of text, one function each.

use super::form::{Fault, Form, UNIT_SUFFIXES, error, warning};
use crate::{
    cloud_config::finding::{Level, nearest},
    window::{Window, WindowError},
    yaml::quoted,
};

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

pub(super) fn account(text: &str) -> bool {
    let body = text.strip_suffix('$').unwrap_or(text);
    let first = body.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let rest = body
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    first && rest && text.len() <= 32
}

pub(super) fn number(text: &str) -> bool {
    // The last number means "unchanged" to chown(2).
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u32>().is_ok_and(|n| n != u32::MAX)
}

pub(super) fn url(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| lower.strip_prefix(scheme));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    host.is_some_and(|host| !host.is_empty() && !host.starts_with(':'))
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

pub(super) fn hostname(text: &str) -> Option<Fault> {
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

pub(super) fn ssh_key(text: &str) -> Option<Fault> {
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

pub(super) fn password(text: &str) -> Option<Fault> {
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

pub(super) fn file(text: &str) -> Option<Fault> {
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
    if matches!(parts[0], "proc" | "sys") {
        return error(format!(
            "found {found}: /{} is the kernel's, no file can be made there; expected one under /etc/sysctl.d or /etc/tmpfiles.d that sets it",
            parts[0]
        ));
    }
    if parts.starts_with(&["var", "lib", "pointsman"]) {
        return error(format!(
            "found {found}: what is there tells how to go back, expected a path elsewhere"
        ));
    }
    None
}

pub(super) fn unit(text: &str) -> Option<Fault> {
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
        let near = nearest(suffix, UNIT_SUFFIXES.iter().copied());
        let hint = near.map_or_else(
            || format!(", expected one of {}", UNIT_SUFFIXES.join(", ")),
            |near| format!("; did you mean {:?}?", format!("{stem}.{near}")),
        );
        return error(format!("unknown suffix {suffix:?} in {found}{hint}"));
    }
    None
}

pub(super) fn window(parsed: Result<Window, WindowError>) -> Option<Fault> {
    parsed.err().and_then(|why| error(why.to_string()))
}
