//! Collects diagnostics while a document is read.

use std::{fmt::Display, ops::Range};

use yaml::Span;

use super::{
    Mode,
    diagnostic::{Diagnostic, Level},
    substitute::Substituted,
};

/// The position of a diagnostic.
#[derive(Debug)]
enum At {
    /// In the text after substitution.
    Text(Span),
    /// In the text as it was written, in bytes.
    Written(Range<usize>),
}

/// The diagnostics so far.
#[derive(Debug)]
pub(super) struct Report {
    /// Lines and columns are computed at the end.
    notes: Vec<(At, Diagnostic)>,
    pub(super) mode: Mode,
    /// A part of the document is skipped or not read, which a diagnostic reports.
    pub(super) left_out: bool,
}

impl Report {
    pub(super) fn new(mode: Mode) -> Self {
        Self {
            notes: Vec::new(),
            mode,
            left_out: false,
        }
    }

    /// Adds what coreos-cloudinit's `-validate` does not report.
    pub(super) fn add(
        &mut self,
        level: Level,
        span: Span,
        path: impl Display,
        message: impl Into<String>,
    ) {
        self.note(level, At::Text(span), path, message.into(), None);
    }

    /// Adds what coreos-cloudinit's `-validate` reports as well, at the same level.
    pub(super) fn original(
        &mut self,
        level: Level,
        span: Span,
        path: impl Display,
        message: impl Into<String>,
    ) {
        self.note(level, At::Text(span), path, message.into(), Some(level));
    }

    /// Adds what coreos-cloudinit's `-validate` reports as well, at another level.
    pub(super) fn original_as(
        &mut self,
        (level, original): (Level, Level),
        span: Span,
        path: impl Display,
        message: String,
    ) {
        self.note(level, At::Text(span), path, message, Some(original));
    }

    /// Adds a diagnostic about a piece of the text as it was written.
    pub(super) fn written(&mut self, level: Level, at: Range<usize>, message: String) {
        self.note(level, At::Written(at), "", message, None);
    }

    pub(super) fn has_errors(&self) -> bool {
        let mut all = self.notes.iter();
        all.any(|(_, diagnostic)| diagnostic.level == Level::Error)
    }

    /// Returns the level of what this program refuses, and coreos-cloudinit applied.
    pub(super) fn refused(&self) -> Level {
        match self.mode {
            Mode::Own => Level::Error,
            Mode::Compatible => Level::Warning,
        }
    }

    /// Adds what this program refuses, and coreos-cloudinit applied.
    pub(super) fn refuse(&mut self, span: Span, path: impl Display, message: impl Into<String>) {
        self.add(self.refused(), span, path, message);
    }

    fn note(
        &mut self,
        level: Level,
        at: At,
        path: impl Display,
        message: String,
        original: Option<Level>,
    ) {
        let diagnostic = Diagnostic {
            level,
            line: 0,
            column: 0,
            path: path.to_string(),
            message,
            length: 0,
            original,
        };
        self.notes.push((at, diagnostic));
    }

    /// Returns all diagnostics in the order of the document, with their positions in the text as it was written.
    pub(super) fn finish(self, text: &Substituted<'_>) -> Vec<Diagnostic> {
        if self.notes.is_empty() {
            return Vec::new();
        }
        let written = |(at, diagnostic)| match at {
            At::Text(span) => (text.written_at(span), diagnostic),
            At::Written(range) => (range, diagnostic),
        };
        let mut notes: Vec<(Range<usize>, Diagnostic)> =
            self.notes.into_iter().map(written).collect();
        notes.sort_by_key(|(at, _)| at.start);
        let lines = Lines::new(text.written);
        let place = |(written, diagnostic): (Range<usize>, Diagnostic)| {
            let (line, column) = lines.place(written.start);
            let covered = text.written.get(written).unwrap_or_default();
            let first = covered.lines().next().unwrap_or_default();
            Diagnostic {
                line,
                column,
                length: (first.trim_end().chars().count() as u64).max(1),
                ..diagnostic
            }
        };
        let mut diagnostics: Vec<Diagnostic> = notes.into_iter().map(place).collect();
        // What an alias repeats is reported once.
        diagnostics.dedup();
        diagnostics
    }
}

/// Where the lines of a text begin.
struct Lines<'a> {
    text: &'a str,
    /// The first byte of each line, and whether it is ASCII: then characters need not be counted.
    starts: Vec<(usize, bool)>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let mut at = 0;
        let line = |line: &str| {
            at += line.len();
            (at - line.len(), line.is_ascii())
        };
        let mut starts: Vec<_> = text.split_inclusive('\n').map(line).collect();
        // After the last line break a new line begins.
        if text.is_empty() || text.ends_with('\n') {
            starts.push((text.len(), true));
        }
        Self { text, starts }
    }

    /// Computes the line and column of a byte.
    fn place(&self, offset: usize) -> (u64, u64) {
        let line = self.starts.partition_point(|(start, _)| *start <= offset);
        let (start, ascii) = self.starts[line.saturating_sub(1)];
        let column = if ascii {
            offset - start
        } else {
            let before = self.text.get(start..offset).unwrap_or_default();
            before.chars().count()
        };
        (line as u64, column as u64 + 1)
    }
}
