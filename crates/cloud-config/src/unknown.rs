//! Addresses that are not known: where they are used, and where only comments name them.

use std::collections::HashSet;

use yaml::{Node, Span, Style, Value};

use super::{
    Unknown,
    diagnostic::Level,
    report::Report,
    schema::{Form, Kind, Mapping, canonical},
    substitute::{Open, Substituted},
};

/// Where an unknown address is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Use {
    /// In a comment of the document, where it has no effect.
    Comment,
    /// In a commented line of a file or a unit, which is written, but has no effect.
    CommentedLine,
    /// In a value.
    Value,
}

/// A scalar of the document, and its position.
struct Written {
    span: Span,
    style: Style,
    /// It is the content of a file or a unit.
    is_content: bool,
}

/// Reports each unknown address at its first use. Returns the offsets of those in commented lines of contents, in the
/// text as written: they become the empty text.
pub(super) fn report(
    text: &Substituted<'_>,
    root: Option<&Node>,
    keys: &'static Mapping,
    unknown: Unknown,
    report: &mut Report,
) -> HashSet<usize> {
    let mut scalars = Vec::new();
    if let Some(root) = root {
        collect(root, Some(Kind::Mapping(keys)), &mut scalars);
        scalars.sort_by_key(|scalar| scalar.span.start);
    }
    let mut blank = HashSet::new();
    let mut said: HashSet<(&str, Use)> = HashSet::new();
    for Open { name, at, span } in &text.unknown {
        let used = match root {
            Some(_) => used(&text.text, &scalars, *span),
            // Invalid YAML has no scalars: a line that begins like a comment counts as one.
            None if starts_as_comment(line_before(&text.text, span.start), &['#']) => Use::Comment,
            None => Use::Value,
        };
        if used == Use::CommentedLine {
            blank.insert(*at);
        }
        if used == Use::Comment || !said.insert((name, used)) {
            continue;
        }
        let (flag, variable) = (name.replace('_', "-"), name.to_ascii_uppercase());
        let give = format!("with --{flag} or in COREOS_{variable}");
        let (level, message) = match (used, unknown) {
            (Use::Value, Unknown::Error) => (
                Level::Error,
                format!("the address ${name} is not known; give it {give}"),
            ),
            (Use::Value, Unknown::Info) => (
                Level::Info,
                format!(
                    "the address ${name} is not known; where the document is applied, give it {give}"
                ),
            ),
            (_, Unknown::Error) => (
                Level::Warning,
                format!(
                    "the address ${name} is not known; this commented line gets the empty text"
                ),
            ),
            (_, Unknown::Info) => (
                Level::Info,
                format!("the address ${name} is not known; only a commented line names it"),
            ),
        };
        report.written(level, *at..*at + 1 + name.len(), message);
    }
    blank
}

/// Collects the scalars of a node that should be of a kind, if one is known.
fn collect(node: &Node, kind: Option<Kind>, scalars: &mut Vec<Written>) {
    match &node.value {
        Value::Null => {}
        Value::Scalar(scalar) => scalars.push(Written {
            span: node.span,
            style: scalar.style,
            is_content: matches!(kind, Some(Kind::Text(Form::Content))),
        }),
        Value::List(items) => {
            let kind = match kind {
                Some(Kind::List(item)) => Some(*item),
                _ => None,
            };
            items.iter().for_each(|item| collect(item, kind, scalars));
        }
        Value::Map(entries) => {
            for entry in entries {
                scalars.push(Written {
                    span: entry.at,
                    style: Style::Plain,
                    is_content: false,
                });
                let key = match kind {
                    Some(Kind::Mapping(mapping)) => mapping.key(&canonical(&entry.key)),
                    _ => None,
                };
                collect(&entry.value, key.map(|key| key.kind), scalars);
            }
        }
    }
}

fn used(text: &str, scalars: &[Written], span: Span) -> Use {
    let next = scalars.partition_point(|scalar| scalar.span.start <= span.start);
    let Some(scalar) = next
        .checked_sub(1)
        .and_then(|at| scalars.get(at))
        .filter(|scalar| span.start < scalar.span.end)
    else {
        return Use::Comment;
    };
    let is_block = matches!(scalar.style, Style::Literal | Style::Folded);
    let line = line_before(text, span.start);
    let inside = match is_block {
        true => {
            // For the parser, a block includes comments after it that are indented less.
            let block = line_before(text, scalar.span.start);
            if starts_as_comment(line, &['#']) && indent(line) < block.len() {
                return Use::Comment;
            }
            line
        }
        // In quotes `\n` ends a line, too.
        false => {
            let inside = text.get(scalar.span.start..span.start).unwrap_or_default();
            let inside = inside.trim_start_matches(['"', '\'']);
            let inside = inside.rsplit("\\n").next().unwrap_or_default();
            inside.rsplit('\n').next().unwrap_or_default()
        }
    };
    match scalar.is_content && starts_as_comment(inside, &['#', ';']) {
        true => Use::CommentedLine,
        false => Use::Value,
    }
}

/// Returns the part of a line before an offset.
fn line_before(text: &str, offset: usize) -> &str {
    let before = text.get(..offset).unwrap_or(text);
    before.rsplit('\n').next().unwrap_or_default()
}

fn starts_as_comment(line: &str, marks: &[char]) -> bool {
    line.trim_start().starts_with(marks)
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}
