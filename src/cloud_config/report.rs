//! Collects findings while a document is read.

use std::fmt::Display;

use super::{
    finding::{Finding, Level},
    substitute::Substituted,
};
use crate::yaml::Span;

/// The findings so far, where they stand in the text after substitution.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Their places are looked up at the end.
    notes: Vec<(Span, Finding)>,
}

impl Report {
    /// Notes one.
    pub(super) fn add(
        &mut self,
        level: Level,
        span: Span,
        path: impl Display,
        message: impl Into<String>,
    ) {
        let finding = Finding {
            level,
            line: 0,
            column: 0,
            path: path.to_string(),
            message: message.into(),
            length: 0,
        };
        self.notes.push((span, finding));
    }

    /// All of them in the order of the document, placed in the text as it was written.
    pub(super) fn finish(self, text: &Substituted<'_>) -> Vec<Finding> {
        let mut notes = self.notes;
        if notes.is_empty() {
            return Vec::new();
        }
        notes.sort_by_key(|(span, _)| span.start);
        let lines = Lines::new(text.written);
        let place = |(span, finding): (Span, Finding)| {
            let written = text.written_at(span);
            let (line, column) = lines.place(written.start);
            let covered = text.written.get(written).unwrap_or_default();
            let first = covered.lines().next().unwrap_or_default();
            Finding {
                line,
                column,
                length: (first.trim_end().chars().count() as u64).max(1),
                ..finding
            }
        };
        let mut findings: Vec<Finding> = notes.into_iter().map(place).collect();
        // What an alias repeats is said once.
        findings.dedup();
        findings
    }
}

/// Where the lines of a text begin.
struct Lines<'a> {
    text: &'a str,
    /// The first byte of each line, and whether its characters are its bytes: then none need counting.
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
        // After the last line's end a new one begins.
        if text.is_empty() || text.ends_with('\n') {
            starts.push((text.len(), true));
        }
        Self { text, starts }
    }

    /// The line and column of a byte.
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
