//! What commands print: to standard output what was asked for, to standard error what is said beside it.

use std::{
    borrow::Cow,
    fmt::Display,
    io::{self, Write as _},
};

use super::{Exit, Failure};

/// Prints a line to standard output.
///
/// # Errors
/// When it cannot be written; a reader that has left (`| head`) has seen all it wanted, and is no error.
pub fn say(line: impl Display) -> Result<(), Failure> {
    print(&format!("{line}\n"))
}

/// Prints a text of whole lines to standard output.
///
/// # Errors
/// As [`say`].
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out
        .write_all(plain(text).as_bytes())
        .and_then(|()| out.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Failed,
            format!("standard output cannot be written: {error}"),
        )),
        _ => Ok(()),
    }
}

/// Prints a value as JSON, its characters that act on a terminal escaped as JSON does.
///
/// # Errors
/// As [`say`].
pub fn json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).expect("strings and numbers always serialize");
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Between the strings there are only ends of lines, which do not act.
        if acts(c) {
            out += &format!("\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    say(out)
}

/// Prints a line to standard error, if that can be written at all.
pub fn note(line: impl Display) {
    note_text(&format!("{line}\n"));
}

/// Prints a text of whole lines to standard error, if that can be written at all.
pub fn note_text(text: &str) {
    let _ = io::stderr().lock().write_all(plain(text).as_bytes());
}

/// The text with its control characters made visible, but for the ends of lines: what others wrote into etcd
/// must not act on the terminal of who reads it.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// A text that stays on its line.
#[must_use]
pub fn in_line(text: &str) -> String {
    plain(text).replace('\n', "\\n")
}

/// The text as one word of a shell's line.
#[must_use]
pub fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/:@,=+%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Whether it is more than text: control characters, and Unicode's explicit directional formatting, by which a
/// text shows other words than it has.
fn acts(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c != '\n' && (c.is_control() || turns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_shown_instead() {
        assert_eq!(plain("ä\nb"), "ä\nb");
        assert_eq!(
            plain("\u{1b}[2Jx\r\t\u{202e}"),
            "\\u{1b}[2Jx\\r\\t\\u{202e}"
        );
        assert_eq!(in_line("a\nb\u{7f}"), "a\\nb\\u{7f}");
    }
}
