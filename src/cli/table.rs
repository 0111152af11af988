//! Plain tables for people.

use comfy_table::{Table, presets};

use super::output;

/// Cells of one line each.
pub(super) fn cells(texts: Vec<String>) -> Vec<String> {
    texts.iter().map(|text| output::in_line(text)).collect()
}

/// A table with this header and no lines.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// Its text, without blanks at the ends of lines.
pub(super) fn trimmed(table: &Table) -> String {
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}
