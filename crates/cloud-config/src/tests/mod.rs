mod bad;
mod diagnostics;
mod effects;
mod examples;
mod keys;
mod keys_page;
mod relations;
mod user_data;

use super::{Addresses, Diagnostic, Level, Mode, Reading, Unknown};

fn read(source: &str) -> Reading {
    super::read(source, &Addresses::default(), Unknown::Info, Mode::Own)
}

/// Diagnostics as `level line:column path: message`.
fn shown(diagnostics: &[Diagnostic]) -> Vec<String> {
    let line = |f: &Diagnostic| {
        format!(
            "{} {}:{} {}: {}",
            f.level.name(),
            f.line,
            f.column,
            f.path,
            f.message
        )
    };
    diagnostics.iter().map(line).collect()
}

/// Every diagnostic stands somewhere in the document.
fn placed(source: &str, diagnostics: &[Diagnostic]) {
    let lines: Vec<&str> = source.split('\n').collect();
    for diagnostic in diagnostics {
        let line = lines
            .get(usize::try_from(diagnostic.line).unwrap() - 1)
            .unwrap_or_else(|| panic!("no such line: {diagnostic:?}\n{source}"));
        let width = line.chars().count() as u64;
        assert!(
            diagnostic.column >= 1 && diagnostic.column <= width + 1 && diagnostic.length >= 1,
            "no such column: {diagnostic:?}\n{source}"
        );
    }
    assert!(
        diagnostics.is_sorted_by_key(|f| f.line),
        "out of order:\n{source}"
    );
}
