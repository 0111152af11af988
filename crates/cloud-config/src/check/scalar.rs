//! Scalars as their keys take them: texts of a form, and numbers in YAML 1.1's spellings.

use yaml::{Scalar, Span, Style};

use super::{Content, Path};
use crate::{
    diagnostic::{Level, nearest},
    report::Report,
    schema::Form,
    substitute,
};

/// Checks a text against its form, and reports mistakes by the rules of the mode.
pub(super) fn text(
    Scalar { text, style }: Scalar,
    form: Form,
    binary: bool,
    span: Span,
    path: Path<'_>,
    report: &mut Report,
) -> Content {
    if style == Style::Plain
        && let Some(word) = form.word(&text)
    {
        return Content::Text {
            text: word.into(),
            style,
            binary,
        };
    }
    // A variable that is not replaced yet may become anything.
    let fault = if substitute::mentions(&text) {
        None
    } else {
        form.fault(&text)
    };
    if let Some(fault) = fault {
        let near = match form {
            Form::OneOf(words) | Form::Setting(words) => nearest(&text, words.iter().copied()),
            _ => None,
        };
        let hint = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
        let message = format!("{fault}{hint}");
        let applied = fault.level == Level::Error && form.is_applied(&text);
        let level = match applied {
            true => report.refused(),
            false => fault.level,
        };
        match form.is_original(&text) {
            true => report.original_as((level, fault.level), span, path, message),
            false => report.add(level, span, path, message),
        }
        // An invalid file name is ignored, as systemd would ignore the file.
        if applied && form.is_name() && level == Level::Warning {
            report.left_out = true;
            return Content::Wrong;
        }
    }
    Content::Text {
        text,
        style,
        binary,
    }
}

/// Reads a whole number in the spellings of YAML 1.1.
pub(super) fn integer(text: &str) -> Option<i64> {
    let text = text.replace('_', "");
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(&text)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x', ..] => (16, &digits[2..]),
        [b'0', b'o', ..] => (8, &digits[2..]),
        [b'0', b'b', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    let plain = digits.starts_with(|c: char| c.is_ascii_hexdigit());
    plain
        .then(|| i64::from_str_radix(&format!("{sign}{digits}"), radix).ok())
        .flatten()
}

pub(super) fn float(text: &str) -> Option<f64> {
    let number = text.replace('_', "");
    let digits = number.contains(|c: char| c.is_ascii_digit());
    let plain = number
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    number
        .parse()
        .ok()
        .filter(|n: &f64| digits && plain && n.is_finite())
}
