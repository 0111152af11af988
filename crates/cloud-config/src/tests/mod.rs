mod bad;
mod examples;
mod findings;
mod keys;
mod keys_page;
mod relations;
mod user_data;

use super::{Addresses, Finding, Level, Mode, Reading, Unknown};

fn read(source: &str) -> Reading {
    super::read(source, &Addresses::default(), Unknown::Info, Mode::Own)
}

/// Findings as `level line:column path: message`.
fn shown(findings: &[Finding]) -> Vec<String> {
    let line = |f: &Finding| {
        format!(
            "{} {}:{} {}: {}",
            f.level.name(),
            f.line,
            f.column,
            f.path,
            f.message
        )
    };
    findings.iter().map(line).collect()
}

/// Every finding stands somewhere in the document.
fn placed(source: &str, findings: &[Finding]) {
    let lines: Vec<&str> = source.split('\n').collect();
    for finding in findings {
        let line = lines
            .get(usize::try_from(finding.line).unwrap() - 1)
            .unwrap_or_else(|| panic!("no such line: {finding:?}\n{source}"));
        let width = line.chars().count() as u64;
        assert!(
            finding.column >= 1 && finding.column <= width + 1 && finding.length >= 1,
            "no such column: {finding:?}\n{source}"
        );
    }
    assert!(
        findings.is_sorted_by_key(|f| f.line),
        "out of order:\n{source}"
    );
}
