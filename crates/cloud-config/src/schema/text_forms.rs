//! The forms of text, one function each.

use windows::{Window, WindowError};
use yaml::quoted;

use super::{Fault, fault::Reason};
use crate::diagnostic::{Level, nearest};

/// Suffixes of units, systemd's and networkd's (systemd.unit(5), systemd.network(5), .netdev(5), .link(5)).
const UNIT_SUFFIXES: [&str; 14] = [
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

/// Reads a mode of octal digits: `0?[0-7]{3,4}`.
pub(crate) fn mode(text: &str) -> Option<u32> {
    let digits = match text.len() {
        5 => text.strip_prefix('0')?,
        3 | 4 => text,
        _ => return None,
    };
    let octal = digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten()
}

/// Reads a boolean of YAML 1.1.
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

/// Tells whether a text is the file name of a drop-in.
pub(super) fn drop_in(text: &str) -> bool {
    let simple = !text.contains(['/', '\0']) && !text.starts_with('.');
    simple && text.ends_with(".conf") && text.len() <= 255
}

/// Tells whether coreos-cloudinit's `-validate` accepts a text as the start of a window: `[Day ]HH:MM`.
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

/// Tells whether coreos-cloudinit's `-validate` accepts a text as the length of a window: `[-+]?([0-9]*(\.[0-9]*)?[a-z]+)+`.
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

/// Checks a host name. What follows the first dot, and what is longer than 63 bytes, is cut.
pub(super) fn hostname(text: &str) -> Option<Fault> {
    let name = text.split('.').next().unwrap_or_default();
    let good = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if name.is_empty() || !good || name.starts_with('-') || name.ends_with('-') {
        return Some(Fault::error(quoted(text)));
    }
    let cut = |level, rule, kept: &str| {
        let kept = kept.to_owned();
        let reason = Reason::HostnameCut { rule, kept };
        Some(Fault { level, reason })
    };
    match name {
        _ if name.len() > 63 => cut(Level::Warning, "has at most 63 bytes", &name[..63]),
        _ if name != text => cut(Level::Info, "ends at the first dot", name),
        _ => None,
    }
}

/// Checks a public key as sshd reads it.
pub(super) fn ssh_key(text: &str) -> Option<Fault> {
    if text.contains("PRIVATE KEY") {
        let expected = "the public key (the file ending in .pub)";
        return Some(Fault::error("a private key").expecting(expected));
    }
    let one = "one public key per item";
    if text.contains('\0') {
        return Some(Fault::error("a NUL character").expecting(one));
    }
    if text.trim_end().contains(['\n', '\r']) {
        let fault = Fault::warning("more than one line").expecting(one);
        return Some(fault.noting("each line is read as a key"));
    }
    // Options may come first and hold anything in quotes; the blob follows the type.
    let words: Vec<&str> = text.split_whitespace().collect();
    let typed = words.windows(2).any(|pair| {
        let [kind, blob] = pair else { return false };
        let known =
            kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-");
        known && blob.starts_with("AAAA")
    });
    (!typed).then(|| Fault::warning(quoted(text)))
}

/// Checks the hash of a password as crypt(5) has them.
pub(super) fn password(text: &str) -> Option<Fault> {
    if text.contains(|c: char| c == ':' || c.is_control()) {
        return Some(Fault::error("a colon or line break"));
    }
    let locked = text.starts_with(['!', '*']);
    let modular = text.starts_with('$') && text.matches('$').count() >= 3;
    let des = text.len() == 13
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'/');
    (!locked && !modular && !des).then(|| Fault::warning("text that is no hash of a password"))
}

/// Checks the path of a file that is to be written.
pub(super) fn file(text: &str) -> Option<Fault> {
    let found = quoted(text);
    if text.contains(char::is_control) {
        return Some(Fault::error(found).expecting("a path without control characters"));
    }
    let clean = normal(text);
    let parts: Vec<&str> = clean.split('/').skip(1).collect();
    if clean.is_empty() {
        let found = format!("{found}, the path of a directory");
        return Some(Fault::error(found).expecting("the path of a file"));
    }
    if parts.iter().any(|part| part.len() > 255) || text.len() > 4095 {
        let fault = Fault::error("a path that is too long");
        return Some(fault.expecting("at most 255 bytes in each name and 4095 in all"));
    }
    let elsewhere = |expected: &'static str, why: String| {
        Some(Fault::error(found.clone()).expecting(expected).noting(why))
    };
    if parts[0] == "usr" {
        let expected = "a path elsewhere, such as /opt or /etc";
        return elsewhere(expected, "/usr is read-only".into());
    }
    if matches!(parts[0], "proc" | "sys") {
        let why = format!("/{} belongs to the kernel", parts[0]);
        return elsewhere(
            "a file under /etc/sysctl.d or /etc/tmpfiles.d that sets the value",
            why,
        );
    }
    if parts.starts_with(&["var", "lib", "pointsman"]) {
        let why = "/var/lib/pointsman holds what is needed to revert";
        return elsewhere("a path elsewhere", why.into());
    }
    let expected = match text {
        _ if !text.starts_with('/') => "an absolute path",
        _ if text.split('/').any(|part| part == "..") => "a path without ..",
        _ if text.ends_with('/') => "the path of a file, without a slash at its end",
        _ => return None,
    };
    let fault = Fault::warning(found).expecting(expected);
    Some(fault.noting(format!("{clean} is written")))
}

/// Normalizes a path: absolute, without doubled slashes, `.` and `..`. Links are not followed. The root is the empty text.
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

/// Splits the path of a drop-in below the folder of units into unit and file name. Documents wrote drop-ins so before the
/// key `drop-ins` existed.
pub(crate) fn drop_in_path(name: &str) -> Option<(&str, &str)> {
    let (folder, file) = name.split_once('/')?;
    let unit = folder.strip_suffix(".d")?;
    let good = !name.contains("..") && plain_unit(unit).is_none() && drop_in(file);
    good.then_some((unit, file))
}

/// Checks the name of a unit, or the path of a drop-in that stands in its place.
pub(super) fn unit(text: &str) -> Option<Fault> {
    match drop_in_path(text) {
        Some((unit, file)) => {
            let found = format!("{}, the path of a drop-in", quoted(text));
            let expected =
                format!("`name: {unit}` with `drop-ins: [{{name: {file}, content: …}}]`");
            let fault = Fault::warning(found).expecting(expected);
            Some(fault.noting("it is read as that drop-in"))
        }
        None => plain_unit(text),
    }
}

fn plain_unit(text: &str) -> Option<Fault> {
    let found = quoted(text);
    if text.contains('/') || text.contains("..") {
        return Some(Fault::error(found).expecting("a unit's name without / and .."));
    }
    let good = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    if text.is_empty() || text.len() > 255 || !text.bytes().all(good) {
        let expected =
            "at most 255 letters, digits and : - _ . \\ @, ending in a suffix such as .service";
        return Some(Fault::error(found).expecting(expected));
    }
    let Some((stem, suffix)) = text.rsplit_once('.') else {
        let found = format!("{found}, a name without a suffix");
        return Some(Fault::error(found).noting(format!("did you mean {text}.service?")));
    };
    if stem.is_empty() || stem.starts_with('@') {
        return Some(Fault::error(found).expecting("a name before the suffix"));
    }
    if !UNIT_SUFFIXES.contains(&suffix) {
        let fault = Fault::error(format!("the unknown suffix {suffix:?} in {found}"));
        let fault = fault.expecting(format!("one of {}", UNIT_SUFFIXES.join(", ")));
        let near = nearest(suffix, UNIT_SUFFIXES.iter().copied());
        return Some(match near {
            Some(near) => fault.noting(format!("did you mean {stem}.{near}?")),
            None => fault,
        });
    }
    None
}

/// Checks a half of a reboot window, which was parsed with another half that is good.
pub(super) fn window(parsed: Result<Window, WindowError>) -> Option<Fault> {
    let level = Level::Error;
    let reason = Reason::Window(parsed.err()?);
    Some(Fault { level, reason })
}
