//! Foreign text as it may be shown: what others wrote into etcd, onto the bus, or said as a hook must not act on the
//! terminal of who reads it, nor pass for a line of this program's own. Pure.

use std::{borrow::Cow, error::Error, fmt::Write as _};

/// The text with the characters that act on a terminal escaped, ends of lines left as they are: for a text of several
/// lines that this program has composed.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && acts(c))
}

/// The text on one line: as [`visible`], ends of lines escaped as well. Every foreign text that becomes part of a line
/// goes through this.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, acts)
}

/// Whether a character is more than text: control characters, separators of lines and paragraphs, marks of direction
/// (by which a text shows other words than it has), and characters without a width (by which two texts look the same).
#[must_use]
pub fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Soft hyphen, Arabic letter mark, Mongolian vowel separator.
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            // Zero width space and joiners, marks of direction; separators, embeddings and overrides.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            // Word joiner, invisible operators, isolates, deprecated format characters.
            | '\u{2060}'..='\u{206f}'
            // Byte order mark, interlinear annotation, tags.
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn escaped(text: &str, bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&bad) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if bad(c) {
            // Writing to a string does not fail.
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// At most so many characters of a text, with a mark where some are missing.
#[must_use]
pub fn cut(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

/// How many names a sentence has at most: a group may have thousands of nodes.
const NAMED: usize = 5;

/// The first five of these names, and how many more there are.
#[must_use]
pub fn few(names: &[String]) -> String {
    let named = names.get(..NAMED).unwrap_or(names).join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// The text as one word of a shell's line.
#[must_use]
pub fn shell_word(given: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/:@,=+%".contains(c);
    if !given.is_empty() && !given.starts_with('-') && given.chars().all(plain) {
        given.to_owned()
    } else if given.contains(acts) {
        // As bash reads it: escaped for the screen it would be another word.
        let bytes = given.bytes().map(|b| match b {
            b'\'' | b'\\' => format!("\\{}", char::from(b)),
            b' '..=b'~' => char::from(b).to_string(),
            b => format!("\\x{b:02x}"),
        });
        format!("$'{}'", bytes.collect::<String>())
    } else {
        format!("'{}'", given.replace('\'', r"'\''"))
    }
}

/// An error with the causes behind it, each once: the outermost are often only "transport error" and the like.
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !texts.last().is_some_and(|last| last.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}

/// A text of several lines as a part of a sentence: a list below a line that ends with a colon, or what follows it.
#[must_use]
pub fn in_a_sentence(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if !out.is_empty() {
            out += if out.ends_with(':') { " " } else { "; " };
        }
        out += line;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_lines_become_one() {
        for (text, sentence) in [
            ("one", "one"),
            ("it failed:\n  a: x\n  b: y\n", "it failed: a: x; b: y"),
            ("it failed\n\n  a", "it failed; a"),
            ("", ""),
        ] {
            assert_eq!(in_a_sentence(text), sentence);
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(visible("ä\nb"), "ä\nb");
        assert_eq!(
            visible("\u{1b}[2Jx\r\t\u{202e}"),
            "\\u{1b}[2Jx\\r\\t\\u{202e}"
        );
        assert_eq!(one_line("a\nb\u{7f}"), "a\\nb\\u{7f}");
        for c in [
            '\u{61c}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{2060}',
            '\u{2066}',
            '\u{2069}',
            '\u{feff}',
            '\u{9b}',
            '\u{e0041}',
        ] {
            assert_eq!(one_line(&c.to_string()), c.escape_default().to_string());
        }
        assert_eq!(one_line("naïve Ω 漢字 → 🚂"), "naïve Ω 漢字 → 🚂");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöü", 2), "äö…");
    }

    #[test]
    fn quoted_word_is_one_word_of_a_shell() {
        for (given, expected) in [
            ("a-b.c/d:1", "a-b.c/d:1"),
            ("", "''"),
            ("-rf", "'-rf'"),
            ("x; touch pwned #", "'x; touch pwned #'"),
            ("it's", r"'it'\''s'"),
            ("a\nb\u{202e}'", r"$'a\x0ab\xe2\x80\xae\''"),
        ] {
            assert_eq!(shell_word(given), expected);
            let script = format!("printf %s _{}", shell_word(given));
            let echoed = std::process::Command::new("bash")
                .args(["-c", &script])
                .output()
                .expect("bash is there");
            assert_eq!(String::from_utf8_lossy(&echoed.stdout), format!("_{given}"));
        }
    }
}
