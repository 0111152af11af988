//! The forms of text, one function each.

use settings::window::{Window, WindowError};
use yaml::quoted;

use super::form::{Fault, Form, UNIT_SUFFIXES, error, warning};
use crate::finding::{Level, nearest};

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

/// `user`, `user:group`, `user:` and `:group`, as chown(1) reads them.
pub(super) fn owner(text: &str) -> bool {
    let part = |part: &str| account(part) || number(part);
    let empty = |text: &str| text.is_empty();
    match text.split_once(':') {
        None => part(text),
        Some((user, group)) => (empty(user) || part(user)) && (empty(group) || part(group)),
    }
}

/// A drop-in's file name.
pub(super) fn drop_in(text: &str) -> bool {
    let simple = !text.contains(['/', '\0']) && !text.starts_with('.');
    simple && text.ends_with(".conf") && text.len() <= 255
}

/// What coreos-cloudinit's `-validate` lets pass as the start of a window: `[Day ]HH:MM`.
pub(super) fn original_start(text: &str) -> bool {
    const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    let (day, time) = match text.split_once(' ') {
        Some((day, time)) => (Some(day), time),
        None => (None, text),
    };
    let below = |digits: &str, most: u32| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        plain && digits.parse::<u32>().is_ok_and(|n| n < most)
    };
    let time = time.split_once(':');
    day.is_none_or(|day| DAYS.contains(&day.to_ascii_lowercase().as_str()))
        && time.is_some_and(|(hour, minute)| below(hour, 24) && below(minute, 60))
}

/// What it lets pass as the length of one: `[-+]?([0-9]*(\.[0-9]*)?[a-z]+)+`.
pub(super) fn original_length(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let known = |b: u8| b.is_ascii_digit() || b == b'.' || b.is_ascii_lowercase();
    let parts = text.split(|c: char| c.is_ascii_lowercase());
    text.bytes().all(known)
        && text.ends_with(|c: char| c.is_ascii_lowercase())
        && parts
            .into_iter()
            .all(|number| number.matches('.').count() < 2)
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
    if text.contains('\0') {
        return error("found a NUL character, expected one public key an item");
    }
    if text.trim_end().contains(['\n', '\r']) {
        return warning(
            "found more than one line, expected one public key an item: each line is taken as one",
        );
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
    if text.contains(char::is_control) {
        return error(format!(
            "found {found}, expected a path without control characters"
        ));
    }
    let clean = normal(text);
    let parts: Vec<&str> = clean.split('/').skip(1).collect();
    if clean.is_empty() {
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
    let expected = match text {
        _ if !text.starts_with('/') => "an absolute path",
        _ if text.split('/').any(|part| part == "..") => "a path without ..",
        _ if text.ends_with('/') => "the path of a file, without a slash at its end",
        _ => return None,
    };
    warning(format!(
        "found {found}, expected {expected}: {clean:?} is written"
    ))
}

/// A path from the root, without doubled slashes, single and double dots: what it means where no link is on the way.
/// Empty for the root itself.
pub(crate) fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts
        .iter()
        .fold(String::new(), |whole, part| whole + "/" + part)
}

/// A drop-in by its path below the folder of units, as documents wrote it before `drop-ins` was there: the unit and the
/// file's name.
pub(crate) fn drop_in_path(name: &str) -> Option<(&str, &str)> {
    let (folder, file) = name.split_once('/')?;
    let unit = folder.strip_suffix(".d")?;
    let good = !name.contains("..") && plain_unit(unit).is_none() && drop_in(file);
    good.then_some((unit, file))
}

pub(super) fn unit(text: &str) -> Option<Fault> {
    match drop_in_path(text) {
        Some((unit, file)) => warning(format!(
            "found {}, the path of a drop-in, and takes it as one; expected `name: {unit}` with `drop-ins: [{{name: {file}, content: …}}]`",
            quoted(text)
        )),
        None => plain_unit(text),
    }
}

fn plain_unit(text: &str) -> Option<Fault> {
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
