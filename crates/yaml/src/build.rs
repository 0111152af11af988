//! Building the tree from the parser's events, without recursion and within limits.

use std::collections::HashMap;

use serde_yaml::{Event, Marker, Parser, ScalarStyle, ScanError};

use super::{
    MapEntry, Node, Position, Scalar, Span, Style, Value,
    error::{SyntaxError, SyntaxFault},
    explain,
    merge::{merge, unique},
};

/// Limits of a document.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most nested lists and mappings, aliases followed.
    pub depth: usize,
    /// The most nodes, as written.
    pub nodes: usize,
    /// The most nodes and bytes of text that anchors and aliases may add.
    pub copies: usize,
    /// Allow duplicate keys in a mapping: then both are in the tree.
    pub duplicates: bool,
}

/// Parses one document.
///
/// # Errors
/// With the position of the first syntax error.
pub fn parse(source: &str, limits: Limits) -> Result<Node, SyntaxError> {
    match parse_first(source, limits)? {
        (node, None) => Ok(node),
        (_, Some(next)) => Err(SyntaxFault::SecondDocument.at(next)),
    }
}

/// Parses the first document, and returns where a second one begins, which is not read.
///
/// # Errors
/// As [`parse`].
pub fn parse_first(source: &str, limits: Limits) -> Result<(Node, Option<Span>), SyntaxError> {
    let options = serde_yaml::options! {
        flow_nesting_limit: limits.depth,
        block_nesting_limit: limits.depth,
    };
    let mut builder = Builder {
        limits,
        nodes: 0,
        copies: 0,
        open: Vec::new(),
        anchors: HashMap::new(),
        document: None,
    };
    let mut next = None;
    // Where the first document ends.
    let mut whole = None;
    for event in Parser::new_from_str_with_options(source, options) {
        let (event, span) = match event {
            Ok(event) => event,
            // What follows the first document is not read.
            Err(error) => {
                let Some(end) = whole else {
                    return Err(refused(&error, source));
                };
                next = Some(explicit(source, end, error_span(&error))?);
                break;
            }
        };
        let at = Span {
            place: place(span.start),
            start: span.start.byte_offset().unwrap_or_default(),
            end: span.end.byte_offset().unwrap_or_default(),
        };
        if let Some(end) = whole
            && matches!(event, Event::DocumentStart(..))
        {
            next = Some(explicit(source, end, at)?);
            break;
        }
        if matches!(event, Event::DocumentEnd) {
            whole = Some(at.start);
        }
        builder.event(event, at, source)?;
    }
    // An empty stream has no document.
    let document = builder.document.unwrap_or(Node {
        span: Span {
            place: Position { line: 1, column: 1 },
            ..Span::default()
        },
        value: Value::Null,
        tag: None,
    });
    Ok((document, next))
}

/// Checks that a second document begins after a line of three hyphens or dots.
fn explicit(source: &str, end: usize, next: Span) -> Result<Span, SyntaxError> {
    let before = source.get(..end).unwrap_or(source);
    let from = before.rfind('\n').map_or(0, |at| at + 1);
    let rest = source.get(next.start..).unwrap_or_default();
    let to = rest.find('\n').map_or(source.len(), |at| next.start + at);
    let mark = |line: &str| line.starts_with("---") || line.starts_with("...");
    if source.get(from..to).unwrap_or_default().lines().any(mark) {
        return Ok(next);
    }
    Err(match explain::hint(source, next.start) {
        Some((hint, at)) => SyntaxFault::Unattached { hint: Some(hint) }.at(slip(source, at)),
        None => SyntaxFault::Unattached { hint: None }.at(next),
    })
}

fn place(marker: Marker) -> Position {
    Position {
        line: marker.line() as u64,
        column: marker.col() as u64 + 1,
    }
}

fn error_span(error: &ScanError) -> Span {
    let start = error.marker().byte_offset().unwrap_or_default();
    Span {
        place: place(*error.marker()),
        start,
        end: start,
    }
}

fn refused(error: &ScanError, source: &str) -> SyntaxError {
    let span = error_span(error);
    let said = visible(&error.info());
    match explain::hint(source, span.start) {
        // Line and column are those of the byte.
        Some((hint, at)) => {
            let hint = Some(hint);
            SyntaxFault::Parser { hint, said }.at(slip(source, at))
        }
        None => SyntaxFault::Parser { hint: None, said }.at(span),
    }
}

fn slip(source: &str, at: usize) -> Span {
    let before = source.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    Span {
        place: Position {
            line: before.matches('\n').count() as u64 + 1,
            column: line.chars().count() as u64 + 1,
        },
        start: at,
        end: at,
    }
}

/// Escapes invisible characters in the parser's message, but not quotes.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\'' | '"' | '\\' => out.push(c),
            c => out.extend(c.escape_debug()),
        }
    }
    out
}

/// A list or mapping that has not ended.
struct Open {
    node: Node,
    anchor: usize,
    /// The key whose value comes next.
    key: Option<(String, Span)>,
}

/// A finished node that aliases may repeat.
struct Anchored {
    node: Node,
    weight: usize,
    depth: usize,
}

struct Builder {
    limits: Limits,
    nodes: usize,
    copies: usize,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    document: Option<Node>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span, source: &str) -> Result<(), SyntaxError> {
        if event.is_node() {
            self.nodes += 1;
            if self.nodes > self.limits.nodes {
                return Err(SyntaxFault::TooMany(self.limits.nodes).at(span));
            }
        }
        let tag = event.tag().and_then(|tag| match tag.core_suffix() {
            Some(_) => None,
            None if tag.handle() == "tag:yaml.org,2002:" => Some(tag.suffix().into()),
            None => Some(tag.original().into()),
        });
        let collection = |value| Node {
            span,
            value,
            tag: tag.clone(),
        };
        match event {
            Event::Scalar(text, style, anchor, written) => {
                let node = scalar(text.into_owned(), style, written.is_some(), span, source);
                self.finish(Node { tag, ..node }, anchor)?;
            }
            Event::SequenceStart(_, anchor, _) => {
                self.start(collection(Value::List(Vec::new())), anchor)?;
            }
            Event::MappingStart(_, anchor, _) => {
                self.start(collection(Value::Map(Vec::new())), anchor)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open {
                    mut node, anchor, ..
                }) = self.open.pop()
                {
                    if let Value::Map(entries) = &mut node.value {
                        merge(entries);
                        if !self.limits.duplicates {
                            unique(entries)?;
                        }
                    }
                    self.finish(node, anchor)?;
                }
            }
            Event::Alias(id) => {
                let Some(anchored) = self.anchors.get(&id) else {
                    return Err(SyntaxFault::AliasInItself.at(span));
                };
                if self.open.len() + anchored.depth > self.limits.depth {
                    return Err(self.deep().at(span));
                }
                spend(&mut self.copies, &self.limits, anchored.weight, span)?;
                let node = Node {
                    span,
                    ..anchored.node.clone()
                };
                self.finish(node, 0)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn deep(&self) -> SyntaxFault {
        SyntaxFault::TooDeep(self.limits.depth)
    }

    fn start(&mut self, node: Node, anchor: usize) -> Result<(), SyntaxError> {
        if self.open.len() >= self.limits.depth {
            return Err(self.deep().at(node.span));
        }
        if matches!(self.open.last(), Some(open) if is_map(open) && open.key.is_none()) {
            return Err(key_expected(&node.value).at(node.span));
        }
        self.open.push(Open {
            node,
            anchor,
            key: None,
        });
        Ok(())
    }

    /// Adds a finished node to its parent.
    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), SyntaxError> {
        if anchor != 0 {
            let (weight, depth) = measure(&node);
            spend(&mut self.copies, &self.limits, weight, node.span)?;
            let node = node.clone();
            self.anchors.insert(
                anchor,
                Anchored {
                    node,
                    weight,
                    depth,
                },
            );
        }
        let Some(open) = self.open.last_mut() else {
            self.document = Some(node);
            return Ok(());
        };
        match &mut open.node.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => match open.key.take() {
                Some((key, at)) => entries.push(MapEntry {
                    key,
                    at,
                    value: node,
                    merged: false,
                }),
                None => {
                    let text = match node.value {
                        Value::Scalar(scalar) => scalar.text,
                        Value::Null => String::new(),
                        other => return Err(key_expected(&other).at(node.span)),
                    };
                    open.key = Some((text, node.span));
                }
            },
            Value::Null | Value::Scalar(_) => {}
        }
        Ok(())
    }
}

fn is_map(open: &Open) -> bool {
    matches!(open.node.value, Value::Map(_))
}

fn key_expected(found: &Value) -> SyntaxFault {
    SyntaxFault::NoKey {
        found: found.describe(),
    }
}

/// Counts what a copy adds.
fn spend(
    copies: &mut usize,
    limits: &Limits,
    weight: usize,
    span: Span,
) -> Result<(), SyntaxError> {
    *copies = copies.saturating_add(weight);
    if *copies > limits.copies {
        return Err(SyntaxFault::TooLarge.at(span));
    }
    Ok(())
}

fn scalar(
    mut text: String,
    style: ScalarStyle,
    tagged: bool,
    mut span: Span,
    source: &str,
) -> Node {
    let style = match style {
        ScalarStyle::Plain => Style::Plain,
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
        ScalarStyle::Literal => Style::Literal,
        ScalarStyle::Folded => Style::Folded,
    };
    // The parser reserves more memory, and documents may have many texts.
    text.shrink_to_fit();
    let null = matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
    let value = if style == Style::Plain && !tagged && null {
        Value::Null
    } else {
        Value::Scalar(Scalar { text, style })
    };
    // For the parser a block ends at the next token; the span ends with the content.
    let written = source.get(span.start..span.end).unwrap_or_default();
    span.end = span.start + written.trim_end().len();
    Node {
        span,
        value,
        tag: None,
    }
}

/// Counts nodes and bytes of text, and levels.
fn measure(node: &Node) -> (usize, usize) {
    match &node.value {
        Value::Null => (1, 0),
        Value::Scalar(scalar) => (1 + scalar.text.len(), 0),
        Value::List(items) => items.iter().map(measure).fold((1, 1), join),
        Value::Map(entries) => entries
            .iter()
            .map(|entry| {
                let (weight, depth) = measure(&entry.value);
                (weight + entry.key.len(), depth)
            })
            .fold((1, 1), join),
    }
}

fn join(whole: (usize, usize), part: (usize, usize)) -> (usize, usize) {
    (whole.0 + part.0, whole.1.max(part.1 + 1))
}
