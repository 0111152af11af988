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
            line: span.place.line,
            column: span.place.column,
            path: path.to_string(),
            message: message.into(),
            length: 1,
        };
        self.notes.push((span, finding));
    }

    /// All of them in the order of the document, placed in the text as it was written.
    pub(super) fn finish(self, text: &Substituted<'_>) -> Vec<Finding> {
        let mut notes = self.notes;
        notes.sort_by_key(|(span, _)| span.place);
        let place = |(span, finding): (Span, Finding)| {
            let (column, length) = text.original(span);
            Finding {
                column,
                length,
                ..finding
            }
        };
        let mut findings: Vec<Finding> = notes.into_iter().map(place).collect();
        // What an alias repeats is said once.
        findings.dedup();
        findings
    }
}
