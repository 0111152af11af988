//! YAML as a tree. Each node has its line and column, and scalars keep the text as written.
//!
//! The text is kept because the meaning of a scalar depends on its key: `0644` is the number 644 in YAML 1.2, a
//! file mode to a person, and a group may be called `on`.

mod build;
mod error;
mod explain;
mod merge;

pub use build::{Limits, parse, parse_first};
pub use error::{SyntaxError, SyntaxFault};

/// A position in a text, counted from 1, columns in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1 on.
    pub line: u64,
    /// In characters, from 1 on.
    pub column: u64,
}

/// A range of the source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub place: Position,
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

/// A node of the tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// For an alias, where it is used; for a block scalar, its first line.
    pub span: Span,
    /// What it holds.
    pub value: Value,
    /// An explicit tag other than those of plain YAML: `binary` for `!!binary`, `!name` for a private one.
    pub tag: Option<Box<str>>,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing: an empty value, `~`, `null`.
    Null,
    /// Text, without quotes; of a number or boolean the text as written.
    Scalar(Scalar),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the source.
    Map(Vec<MapEntry>),
}

/// A text and how it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar {
    /// As written, without quotes and escapes.
    pub text: String,
    /// How it was written.
    pub style: Style,
}

impl Node {
    /// Tells whether both have the same value, wherever and however they are written.
    #[must_use]
    pub fn same_value_as(&self, other: &Self) -> bool {
        let same = match (&self.value, &other.value) {
            (Value::Null, Value::Null) => true,
            (Value::Scalar(one), Value::Scalar(two)) => one.text == two.text,
            (Value::List(one), Value::List(two)) => {
                one.len() == two.len() && one.iter().zip(two).all(|(a, b)| a.same_value_as(b))
            }
            (Value::Map(one), Value::Map(two)) => {
                let same = |(a, b): (&MapEntry, &MapEntry)| {
                    a.key == b.key && a.value.same_value_as(&b.value)
                };
                one.len() == two.len() && one.iter().zip(two).all(same)
            }
            _ => false,
        };
        same && self.tag == other.tag
    }
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// In single or double quotes.
    Quoted,
    /// A block that keeps its lines (`|`): line n of the text is line n of the block in the source.
    Literal,
    /// A block whose lines are joined (`>`).
    Folded,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct MapEntry {
    /// The key's text.
    pub key: String,
    /// The position of the key.
    pub at: Span,
    /// Its value.
    pub value: Node,
    /// It comes from a merge key (`<<`): a key of the mapping itself overrides it.
    pub merged: bool,
}

impl Value {
    /// Describes it for error texts.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".into(),
            Self::Scalar(scalar) => quoted(&scalar.text),
            Self::List(_) => "a list".into(),
            Self::Map(_) => "a mapping".into(),
        }
    }
}

/// Quotes a text, cut to fit a line of a log.
#[must_use]
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests;
