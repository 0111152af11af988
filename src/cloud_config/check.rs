//! Walks a document by the tables: what fits becomes an [`Item`], what does not a finding.

use std::{borrow::Cow, collections::HashMap, fmt};

use super::{
    finding::{Level, nearest},
    report::Report,
    schema::{Form, Key, Kind, Section, boolean, canonical},
    substitute,
};
use crate::yaml::{Entry, Node, Scalar, Span, Style, Value, quoted};

/// A part of a document that fits its key.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) span: Span,
    pub(super) content: Content,
}

/// What it holds.
#[derive(Debug)]
pub(super) enum Content {
    Text {
        text: String,
        style: Style,
        /// It is base64, by its tag.
        binary: bool,
    },
    Flag(bool),
    /// A number as a variable holds it.
    Number(String),
    List(Vec<Item>),
    Map(Vec<Field>),
    /// Something else than the key takes; there is a finding that says so.
    Wrong,
}

/// A key and what it holds.
#[derive(Debug)]
pub(super) struct Field {
    /// As the tables spell it.
    pub(super) name: Cow<'static, str>,
    pub(super) item: Item,
}

/// Where in the document something stands, built on the way down.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    Root,
    Key(&'a Self, &'a str),
    Index(&'a Self, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => write!(f, "{}", key.escape_debug()),
            Self::Key(parent, key) => write!(f, "{parent}.{}", key.escape_debug()),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Reads a node as what its key takes. Nothing is nothing: as if the key were not there.
pub(super) fn read(node: Node, kind: Kind, path: Path<'_>, report: &mut Report) -> Option<Item> {
    let Node { span, value, tag } = node;
    let binary = tag.as_deref() == Some("binary");
    if let Some(tag) = tag.as_deref()
        && !(binary && matches!(kind, Kind::Text(Form::Any)))
    {
        let message = format!("the tag {} means nothing here", quoted(tag));
        report.add(Level::Warning, span, path, message);
    }
    let content = match (kind, value) {
        (_, Value::Null) => return None,
        (Kind::Section(section), Value::Map(entries)) => {
            Content::Map(fields(entries, section, span, path, report))
        }
        (Kind::List(kind), Value::List(items)) => {
            let mut list = Vec::with_capacity(items.len());
            for (index, item) in items.into_iter().enumerate() {
                let path = Path::Index(&path, index);
                if item.value == Value::Null {
                    let message = format!("found nothing, expected {}", expected(*kind));
                    report.add(Level::Error, item.span, path, message);
                }
                list.extend(read(item, *kind, path, report));
            }
            Content::List(list)
        }
        (Kind::Text(form), Value::Scalar(scalar)) => text(scalar, form, binary, span, path, report),
        (Kind::Bool, Value::Scalar(Scalar { text, .. })) if boolean(&text).is_some() => {
            Content::Flag(boolean(&text) == Some(true))
        }
        (Kind::Integer, Value::Scalar(Scalar { text, .. })) if integer(&text).is_some() => {
            Content::Number(integer(&text).unwrap_or_default().to_string())
        }
        (Kind::Float, Value::Scalar(Scalar { text, .. })) if float(&text).is_some() => {
            Content::Number(float(&text).unwrap_or_default().to_string())
        }
        (_, found) => {
            let message = format!(
                "found {}, expected {}{}",
                found.describe(),
                expected(kind),
                advice(kind, &found)
            );
            report.add(Level::Error, span, path, message);
            Content::Wrong
        }
    };
    Some(Item { span, content })
}

/// What a key takes, in words.
fn expected(kind: Kind) -> String {
    match kind {
        Kind::Text(form) => form.expected(),
        Kind::Bool => "true or false".into(),
        Kind::Integer => "a whole number".into(),
        Kind::Float => "a number".into(),
        Kind::List(_) => "a list".into(),
        Kind::Section(section) => {
            let names: Vec<_> = section.keys.iter().map(|key| key.name).take(8).collect();
            let more = if section.keys.len() > names.len() {
                ", …"
            } else {
                ""
            };
            format!("a mapping with the keys {}{more}", names.join(", "))
        }
    }
}

/// How a common slip is mended.
fn advice(kind: Kind, found: &Value) -> &'static str {
    match (kind, found) {
        (Kind::List(_), Value::Scalar(_)) => "; write it on a line of its own after a hyphen",
        (Kind::List(_), Value::Map(_)) => "; put a hyphen before the first key of each item",
        (Kind::Text(Form::Any), Value::Map(_) | Value::List(_)) => {
            "; text of several lines follows a | on the line of its key"
        }
        (Kind::Text(_), Value::List(_)) => "; several go into one text, with commas",
        (Kind::Text(_), Value::Map(_)) => "; a text with a colon or braces needs quotes",
        _ => "",
    }
}

fn fields(
    entries: Vec<Entry>,
    section: &'static Section,
    span: Span,
    path: Path<'_>,
    report: &mut Report,
) -> Vec<Field> {
    let mut fields = Vec::with_capacity(entries.len());
    let mut seen: HashMap<String, u64> = HashMap::new();
    for Entry {
        key,
        at,
        value,
        merged,
    } in entries
    {
        let name = canonical(&key);
        if let Some(line) = seen.get(&name) {
            if !merged {
                let message = format!("duplicate key, it is on line {line} already");
                report.add(Level::Error, at, Path::Key(&path, &name), message);
            }
            continue;
        }
        seen.insert(name.clone(), at.place.line);
        let Some(known) = section.key(&name) else {
            if section.open {
                fields.extend(variable(name, at, value, path, report));
            } else {
                unknown(&key, &name, section, at, path, report);
            }
            continue;
        };
        let here = Path::Key(&path, known.name);
        if let Some(why) = known.deprecated {
            report.add(Level::Warning, at, here, format!("deprecated: {why}"));
        }
        if known.required && value.value == Value::Null {
            let message = format!("found nothing, expected {}", expected(known.kind));
            report.add(Level::Error, at, here, message);
        }
        // Any scalar of an open section is text, and a list is one with commas.
        let value = if section.open { joined(value) } else { value };
        if let Some(item) = read(value, known.kind, here, report) {
            fields.push(Field {
                name: known.name.into(),
                item,
            });
        }
    }
    let missing = |key: &&Key| key.required && !seen.contains_key(key.name);
    for key in section.keys.iter().filter(missing) {
        let message = format!("{} is missing, expected {}", key.name, expected(key.kind));
        report.add(Level::Error, span, path, message);
    }
    fields
}

/// A key of a section that takes any.
fn variable(
    name: String,
    at: Span,
    value: Node,
    path: Path<'_>,
    report: &mut Report,
) -> Option<Field> {
    let here = Path::Key(&path, &name);
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || !name.bytes().all(good) {
        let message = format!(
            "{} is no name of a flag, expected letters, digits and underscores",
            quoted(&name)
        );
        report.add(Level::Error, at, here, message);
        return None;
    }
    let item = read(joined(value), Kind::Text(Form::Line), here, report)?;
    Some(Field {
        name: name.into(),
        item,
    })
}

/// A list of scalars as one scalar with commas.
fn joined(node: Node) -> Node {
    let texts = |items: &[Node]| -> Option<Vec<String>> {
        let text = |item: &Node| match &item.value {
            Value::Scalar(scalar) => Some(scalar.text.clone()),
            _ => None,
        };
        items.iter().map(text).collect()
    };
    match &node.value {
        Value::List(items) => match texts(items) {
            Some(texts) => Node {
                value: Value::Scalar(Scalar {
                    text: texts.join(","),
                    style: Style::Quoted,
                }),
                ..node
            },
            None => node,
        },
        _ => node,
    }
}

fn unknown(
    key: &str,
    name: &str,
    section: &Section,
    at: Span,
    path: Path<'_>,
    report: &mut Report,
) {
    let elsewhere = section.elsewhere.iter().find(|(known, _)| *known == name);
    let message = match elsewhere {
        Some((_, hint)) => format!("{key} is not read here: {hint}"),
        None => {
            let hint = match nearest(name, section.keys.iter().map(|key| key.name)) {
                Some(near) => format!("did you mean {near}?"),
                None => {
                    let names: Vec<_> = section.keys.iter().map(|key| key.name).take(16).collect();
                    let more = if section.keys.len() > names.len() {
                        ", …"
                    } else {
                        ""
                    };
                    format!("expected one of {}{more}", names.join(", "))
                }
            };
            format!("unknown key {}, it is not read; {hint}", quoted(key))
        }
    };
    // The one that the peers' validator calls an info.
    let info = name == "write_files" && elsewhere.is_some();
    let level = if info { Level::Info } else { Level::Warning };
    report.add(level, at, Path::Key(&path, name), message);
}

fn text(
    Scalar { text, style }: Scalar,
    form: Form,
    binary: bool,
    span: Span,
    path: Path<'_>,
    report: &mut Report,
) -> Content {
    if style == Style::Plain
        && let Some(word) = form.word(&text)
    {
        return Content::Text {
            text: word.into(),
            style,
            binary,
        };
    }
    // An address that is not known yet may be anything.
    let fault = if substitute::mentions(&text) {
        None
    } else {
        form.fault(&text)
    };
    if let Some(fault) = fault {
        let near = match form {
            Form::OneOf(words) => nearest(&text, words.iter().copied()),
            _ => None,
        };
        let hint = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
        report.add(fault.level, span, path, format!("{}{hint}", fault.message));
    }
    Content::Text {
        text,
        style,
        binary,
    }
}

/// A whole number in YAML 1.1's spellings.
fn integer(text: &str) -> Option<i64> {
    let text = text.replace('_', "");
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(&text)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x', ..] => (16, &digits[2..]),
        [b'0', b'o', ..] => (8, &digits[2..]),
        [b'0', b'b', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    let plain = digits.starts_with(|c: char| c.is_ascii_hexdigit());
    plain
        .then(|| i64::from_str_radix(&format!("{sign}{digits}"), radix).ok())
        .flatten()
}

fn float(text: &str) -> Option<f64> {
    let number = text.replace('_', "");
    let digits = number.contains(|c: char| c.is_ascii_digit());
    let plain = number
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    number
        .parse()
        .ok()
        .filter(|n: &f64| digits && plain && n.is_finite())
}
