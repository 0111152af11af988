//! Diagnostics about a document, and how they are printed.

use std::fmt::Write as _;

use serde::Serialize;

/// The severity of a diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something worth knowing.
    Info,
    /// Something that works, though perhaps not as meant.
    Warning,
    /// Something because of which the document cannot be applied.
    Error,
}

impl Level {
    /// Returns its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A diagnostic about a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The severity.
    pub level: Level,
    /// The line, from 1.
    pub line: u64,
    /// The column in characters, from 1.
    pub column: u64,
    /// The key: `coreos.units[0].command`; empty for the whole document.
    pub path: String,
    /// What was found, what is expected, and often what was meant.
    pub message: String,
    /// How many characters of the line it covers, at least 1.
    #[serde(skip)]
    pub length: u64,
    /// The severity for coreos-cloudinit's `-validate`, if that reports it as well: its exit code counts no others.
    #[serde(skip)]
    pub original: Option<Level>,
}

impl Diagnostic {
    /// Formats it as one line, with the name of the document.
    #[must_use]
    pub fn line(&self, name: &str) -> String {
        let Self { line, column, .. } = self;
        let mut text = format!("{name}:{line}:{column}: {}: ", self.level.name());
        if !self.path.is_empty() {
            let _ = write!(text, "{}: ", self.path);
        }
        text + &self.message
    }

    fn print_line(&self, name: &str, line: Line<'_>) -> String {
        let mut text = self.line(name) + "\n";
        let (shown, before, length) = excerpt(line, self.column, self.length);
        if !shown.trim().is_empty() {
            let number = self.line.to_string();
            let gutter = number.len();
            let _ = writeln!(text, "{number} | {shown}");
            let _ = writeln!(
                text,
                "{:gutter$} | {:before$}{}",
                "",
                "",
                "^".repeat(length.max(1))
            );
        }
        text
    }
}

/// Prints diagnostics, each with its line of the source and the text underlined. The source may begin this many lines
/// after the line from which the diagnostics are counted.
#[must_use]
pub fn print(diagnostics: &[Diagnostic], name: &str, source: &str, lines_before: u64) -> String {
    if diagnostics.is_empty() {
        return String::new();
    }
    let lines = source.lines().map(|text| (text.is_ascii(), text));
    let lines: Vec<(bool, &str)> = lines.collect();
    diagnostics
        .iter()
        .map(|diagnostic| {
            let index = diagnostic.line.saturating_sub(lines_before + 1);
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            let (ascii, text) = lines.get(index).copied().unwrap_or_default();
            diagnostic.print_line(name, Line { text, ascii })
        })
        .collect()
}

/// A line of the source.
#[derive(Clone, Copy)]
struct Line<'a> {
    text: &'a str,
    /// It is ASCII, so characters need not be counted.
    ascii: bool,
}

impl Line<'_> {
    /// Returns this many characters from a column on, counted from 0.
    fn part(self, from: usize, width: usize) -> String {
        let shown = |c: char| if c.is_control() { ' ' } else { c };
        if self.ascii {
            let end = self.text.len().min(from + width);
            let part = self.text.get(from..end).unwrap_or_default();
            return part.chars().map(shown).collect();
        }
        self.text
            .chars()
            .skip(from)
            .take(width)
            .map(shown)
            .collect()
    }
}

/// Cuts a line around a column to the width of a terminal. Returns the text, the characters before the column, and the length.
fn excerpt(line: Line<'_>, column: u64, length: u64) -> (String, usize, usize) {
    const WIDEST: usize = 100;
    let column = usize::try_from(column).unwrap_or(1).saturating_sub(1);
    let from = if column > WIDEST / 2 {
        column - WIDEST / 4
    } else {
        0
    };
    let visible = line.part(from, WIDEST);
    let count = visible.chars().count();
    let before = (column - from).min(count);
    let length = usize::try_from(length).unwrap_or(1).min(count - before);
    (visible.trim_end().to_owned(), before, length)
}

/// Finds the most similar word, if one is similar enough to be meant.
pub(crate) fn nearest<'a>(word: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A long word is never similar, and takes long to compare.
    if word.len() > 64 {
        return None;
    }
    let most = word.chars().count().max(3) / 3;
    among
        .map(|other| (strsim::damerau_levenshtein(word, other), other))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}
