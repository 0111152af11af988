//! What is to be said about a document, and how it is printed.

use std::fmt::Write as _;

use serde::Serialize;

/// How bad a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing.
    Info,
    /// It works, though perhaps not as meant.
    Warning,
    /// The document cannot be applied.
    Error,
}

impl Level {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing to say about a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub level: Level,
    /// The line, from 1.
    pub line: u64,
    /// The column in characters, from 1.
    pub column: u64,
    /// The key: `coreos.units[0].command`; empty for the whole document.
    pub path: String,
    /// What was found, what is expected, and often what was meant.
    pub message: String,
    /// How many characters of the line it is about, at least 1.
    #[serde(skip)]
    pub length: u64,
    /// How bad it is to coreos-cloudinit's own `-validate`, where that reports it as well: its exit code counts no others.
    #[serde(skip)]
    pub original: Option<Level>,
}

impl Diagnostic {
    /// It in one line, where a document of this name is known.
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

/// Prints diagnostics, each with its line of the source and the text underlined. The source may begin so many lines
/// further down than the place its diagnostics are counted from.
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
    /// Its characters are its bytes: no need to count them.
    ascii: bool,
}

impl Line<'_> {
    /// So many characters from a column on, counted from 0.
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

/// The part of a line around a column that fits a terminal: the text, the characters before, and their number.
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

/// The word most like this one, if any is near enough to have been meant.
pub(crate) fn nearest<'a>(word: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Far words are never near; comparing long ones would take long.
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
