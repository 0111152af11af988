//! What commands print: to standard output what was asked for, to standard error what is said beside it.

use std::{
    fmt::Display,
    io::{self, Write as _},
};

use host::text;

use super::{Exit, Failure};

pub use host::text::shell_word as word;

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
pub fn print(lines: &str) -> Result<(), Failure> {
    print_to_a_reader(lines).map(drop)
}

/// The same; whether anybody still reads.
///
/// # Errors
/// As [`say`].
pub fn print_to_a_reader(lines: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out
        .write_all(text::visible(lines).as_bytes())
        .and_then(|()| out.flush())
    {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(
            Exit::Failed,
            format!("standard output cannot be written: {error}"),
        )),
    }
}

/// Prints a value as JSON, as [`to_json`] makes it.
///
/// # Errors
/// As [`say`].
pub fn json(value: &impl serde::Serialize) -> Result<(), Failure> {
    say(to_json(value))
}

/// A value as JSON, its characters that act on a terminal escaped as JSON does.
#[must_use]
pub fn to_json(value: &impl serde::Serialize) -> String {
    let json = serde_json::to_string_pretty(value).expect("strings and numbers always serialize");
    without_controls(&json)
}

/// Prints a value as JSON on one line; whether anybody still reads.
///
/// # Errors
/// As [`say`].
pub fn json_line(value: &impl serde::Serialize) -> Result<bool, Failure> {
    let json = serde_json::to_string(value).expect("strings and numbers always serialize");
    print_to_a_reader(&format!("{}\n", without_controls(&json)))
}

fn without_controls(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        // Between the strings there are only ends of lines, which do not act.
        if c != '\n' && text::acts(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out += &format!("\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Prints a line to standard error, if that can be written at all.
pub fn note(line: impl Display) {
    note_text(&format!("{line}\n"));
}

/// Prints a text of whole lines to standard error, if that can be written at all.
pub fn note_text(lines: &str) {
    let _ = io::stderr()
        .lock()
        .write_all(text::visible(lines).as_bytes());
}

/// A text that stays on its line.
#[must_use]
pub fn in_line(foreign: &str) -> String {
    text::one_line(foreign).into_owned()
}
