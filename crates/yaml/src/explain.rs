//! What was probably meant in invalid YAML: the parser names the place where it could not continue, which is often
//! lines after the mistake.

/// What was meant, and the byte of the mistake.
pub(super) type Hint = (String, usize);

/// A line of structure: not a comment, and not part of a text of several lines.
struct Line<'a> {
    number: usize,
    /// Its first byte in the source.
    start: usize,
    indent: usize,
    /// Without its indentation.
    text: &'a str,
}

/// Finds the mistake, given the byte where the parser stopped.
pub(super) fn hint(source: &str, stopped: usize) -> Option<Hint> {
    let lines = structure(source);
    let upto = lines.partition_point(|line| line.start <= stopped);
    let lines = &lines[..upto];
    tab(source, stopped)
        .or_else(|| open_quote(source, lines))
        .or_else(|| indentation(lines))
        .or_else(|| indicator(source, stopped))
}

/// Finds the lines of structure.
fn structure(source: &str) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut start = 0;
    // Lines that are indented more than this belong to a text.
    let mut block: Option<usize> = None;
    for (number, whole) in source.split_inclusive('\n').enumerate() {
        let line = whole.trim_end();
        let text = line.trim_start_matches(' ');
        let indent = line.len() - text.len();
        let at = start;
        start += whole.len();
        if text.is_empty() || block.is_some_and(|block| indent > block) {
            continue;
        }
        block = None;
        if text.starts_with(['#', '%']) || line == "---" || line == "..." {
            continue;
        }
        let header = |word: &str| {
            let rest = word.strip_prefix(['|', '>']);
            rest.is_some_and(|rest| rest.bytes().all(|b| b"+-123456789".contains(&b)))
        };
        let bare = text.split(" #").next().unwrap_or_default();
        if bare.split_whitespace().next_back().is_some_and(header) {
            // A text in a list item may be indented as deep as the item's key.
            block = Some(indent + entry(text).0);
        }
        lines.push(Line {
            number: number + 1,
            start: at,
            indent,
            text,
        });
    }
    lines
}

/// Splits off the hyphens that begin a line.
fn entry(text: &str) -> (usize, &str) {
    let mut rest = text;
    while let Some(after) = rest.strip_prefix("- ") {
        rest = after.trim_start_matches(' ');
    }
    (text.len() - rest.len(), rest)
}

/// Finds the value on a line, and where it begins.
fn value(text: &str) -> (usize, &str) {
    let (from, rest) = entry(text);
    let value = match rest.split_once(": ") {
        Some((key, value)) if !key.starts_with(['"', '\'', '[', '{']) => value.trim_start(),
        _ => rest,
    };
    (from + rest.len() - value.len(), value)
}

/// Finds a tab where spaces are needed, at the place itself or in the first line of the text there.
fn tab(source: &str, stopped: usize) -> Option<Hint> {
    let before = source.get(..stopped)?;
    let from = before.rfind('\n').map_or(0, |end| end + 1);
    let mut start = from;
    let lines = source[from..].split_inclusive('\n');
    let next = lines.filter(|line| !line.trim().is_empty()).take(2);
    for line in next {
        let white = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(at) = line[..white].find('\t') {
            let number = source[..start].matches('\n').count() + 1;
            let text = format!(
                "line {number} is indented by a tab; YAML does not allow tabs here; use spaces"
            );
            return Some((text, start + at));
        }
        start += line.len();
    }
    None
}

/// Finds a quote that opens a value and is closed only by the next quote in the text.
fn open_quote(source: &str, lines: &[Line<'_>]) -> Option<Hint> {
    let mut closed = 0;
    for line in lines.iter() {
        let (at, text) = value(line.text);
        let at = line.start + line.indent + at;
        let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            continue;
        };
        if at < closed {
            continue;
        }
        let inside = source.get(at + 1..)?;
        let end = end_of(inside, quote);
        let first_line = inside.find('\n').unwrap_or(inside.len());
        if let Some(end) = end {
            closed = at + 1 + end;
            let after = inside[end + 1..].lines().next().unwrap_or_default();
            let after = after.trim_start();
            let is_over = after.is_empty() || after.starts_with(['#', ',', ']', '}', ':']);
            if end < first_line || is_over {
                continue;
            }
        }
        let text = format!(
            "the quote {quote} opened on line {} has no end",
            line.number
        );
        return Some((text, at));
    }
    None
}

/// Finds the end of a quoted text.
fn end_of(inside: &str, quote: char) -> Option<usize> {
    let mut chars = inside.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quote == '"' => {
                chars.next();
            }
            c if c == quote => {
                // A doubled quote is a quote in the text.
                if quote == '\'' && chars.next_if(|(_, next)| *next == quote).is_some() {
                    continue;
                }
                return Some(at);
            }
            _ => {}
        }
    }
    None
}

/// Finds a line that is indented neither like its siblings nor deeper.
fn indentation(lines: &[Line<'_>]) -> Option<Hint> {
    // The columns at which lists and mappings are open, outermost first, and whether each is a list.
    let mut open: Vec<(usize, bool)> = Vec::new();
    let (last, before) = lines.split_last()?;
    let mut takes_more = true;
    for line in before {
        takes_more = enter(&mut open, line);
    }
    let is_list = last.text.starts_with("- ") || last.text == "-";
    let is_key = !is_list && (last.text.contains(": ") || last.text.ends_with(':'));
    if !is_list && !is_key {
        return None;
    }
    let deepest = open.last().map_or(0, |(column, _)| *column);
    if open.contains(&(last.indent, is_list)) || (takes_more && last.indent > deepest) {
        return None;
    }
    let near = |(column, _): &&(usize, bool)| column.abs_diff(last.indent);
    let (column, _) = open
        .iter()
        .filter(|(_, list)| *list == is_list)
        .min_by_key(near)?;
    let what = if is_list {
        "list's entries"
    } else {
        "mapping's keys"
    };
    let text = format!(
        "this {what} begin in column {}, and line {} in column {}",
        column + 1,
        last.number,
        last.indent + 1
    );
    Some((text, last.start + last.indent))
}

/// Adds a line. Returns whether the next one may be deeper.
fn enter(open: &mut Vec<(usize, bool)>, line: &Line<'_>) -> bool {
    let (mut column, mut text) = (line.indent, line.text);
    open.retain(|(known, _)| *known <= column);
    while text == "-" || text.starts_with("- ") {
        open.retain(|(known, list)| *known < column || (*known == column && *list));
        if !open.contains(&(column, true)) {
            open.push((column, true));
        }
        let rest = text[1..].trim_start_matches(' ');
        column += text.len() - rest.len();
        text = rest;
    }
    let is_key = text.contains(": ") || text.ends_with(':');
    if is_key && !open.contains(&(column, false)) {
        // A list may be indented like its key.
        open.retain(|(known, _)| *known < column);
        open.push((column, false));
    }
    text.is_empty() || text.ends_with(':')
}

/// Finds a plain text that begins with a character that has another meaning there.
fn indicator(source: &str, stopped: usize) -> Option<Hint> {
    let c = source.get(stopped..)?.chars().next()?;
    let text = format!("a text that begins with {c} needs quotes");
    "%@`*&!".contains(c).then_some((text, stopped))
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, parse};

    fn fault(source: &str) -> (u64, String) {
        let limits = Limits {
            depth: 24,
            nodes: 1000,
            copies: 1000,
            duplicates: true,
        };
        let error = parse(source, limits).unwrap_err();
        let (span, text) = (error.at, error.to_string());
        let line = source[..span.start].matches('\n').count() as u64 + 1;
        (line, text)
    }

    #[test]
    fn syntax_error_names_the_position_of_the_mistake() {
        for (source, line, words) in [
            (
                "a:\n  - b: c\n   - d: e\n",
                3,
                "this list's entries begin in column 3, and line 3 in column 4",
            ),
            (
                "a:\n    - b: c\n      d: e\n  - f: g\n",
                4,
                "this list's entries begin in column 5",
            ),
            (
                "a:\n  - b: c\n     d: e\n",
                3,
                "this mapping's keys begin in column 5, and line 3 in column 6",
            ),
            (
                "a:\n  b: c\n   d: e\n",
                3,
                "this mapping's keys begin in column 3",
            ),
            (
                "a: \"b\nc:\n  - d: \"e\"\n",
                1,
                "the quote \" opened on line 1 has no end",
            ),
            (
                "a: 'b\nc: it\n",
                1,
                "the quote ' opened on line 1 has no end",
            ),
            (
                "x: \"one\n  two\"\na: 'b\nc: 'd'\n",
                3,
                "the quote ' opened on line 3 has no end",
            ),
            (
                "- \"b\n- \"c\"\n",
                1,
                "the quote \" opened on line 1 has no end",
            ),
            ("a: %b%\n", 1, "a text that begins with % needs quotes"),
            ("a: @b\n", 1, "a text that begins with @ needs quotes"),
            ("a: `b`\n", 1, "a text that begins with ` needs quotes"),
            ("a: *b*\n", 1, "a text that begins with * needs quotes"),
            (
                "a: |\n\tx\n",
                2,
                "line 2 is indented by a tab; YAML does not allow tabs here; use spaces",
            ),
            (
                "a:\n  b: |\n    x\n\ty: 1\n",
                4,
                "line 4 is indented by a tab",
            ),
            ("a:\n\tb: 1\n", 2, "use spaces"),
        ] {
            let (found, text) = fault(source);
            assert!(text.contains(words), "{source}\n{text}");
            assert_eq!(found, line, "{source}\n{text}");
        }
    }

    #[test]
    fn valid_units_are_not_reported() {
        for source in [
            "a: [1\n",
            "x: \"one\n  two\"\ny: \"a\"\na: [1\n",
            "x: |\n  it's \"open\n   deeper: x\n  - y\na: [1\n",
            "a:\n- b: c\n  d:\n    e: f\n- [\n",
            "x: \"one\" # \"two\ny: 'it''s'\na: [1\n",
        ] {
            let (_, text) = fault(source);
            assert!(
                !text.contains("begin in column") && !text.contains("has no end"),
                "{source}\n{text}"
            );
        }
    }
}
