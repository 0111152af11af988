//! Walks a document by the tables: what fits becomes an [`Item`], what does not a diagnostic.

mod scalar;

use std::{borrow::Cow, collections::HashMap, fmt};

use yaml::{MapEntry, Node, Scalar, Span, Style, Value, quoted};

use self::scalar::{float, integer, text};
use super::{
    Mode,
    diagnostic::{Level, nearest},
    report::Report,
    schema::{Form, Key, Kind, Mapping, boolean, canonical},
};

/// A value that fits its key.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) span: Span,
    /// Its index in its list, skipped items counted.
    pub(super) index: usize,
    pub(super) content: Content,
}

/// The content of a value.
#[derive(Debug)]
pub(super) enum Content {
    Text {
        text: String,
        style: Style,
        /// The tag says that it is base64.
        binary: bool,
    },
    Flag(bool),
    /// A number, written as for a variable.
    Number(String),
    List(Vec<Item>),
    Map(Vec<Field>),
    /// Something else than the key takes, which a diagnostic reports.
    Wrong,
}

/// A key and its value.
#[derive(Debug)]
pub(super) struct Field {
    /// The key, as the tables spell it.
    pub(super) name: Cow<'static, str>,
    pub(super) item: Item,
}

/// The path of a value in the document, built on the way down.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    /// The document, and the keys it may have.
    Root(&'static Mapping),
    Key(&'a Self, &'a str),
    Index(&'a Self, usize),
}

impl Path<'_> {
    /// The keys of the whole document.
    fn root(self) -> &'static Mapping {
        match self {
            Self::Root(root) => root,
            Self::Key(parent, _) | Self::Index(parent, _) => parent.root(),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(_) => Ok(()),
            Self::Key(Self::Root(_), key) => write!(f, "{}", key.escape_debug()),
            Self::Key(parent, key) => write!(f, "{parent}.{}", key.escape_debug()),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Reads a node as what its key takes. Null and the empty text count as no value.
pub(super) fn read(node: Node, kind: Kind, path: Path<'_>, report: &mut Report) -> Option<Item> {
    let Node { span, value, tag } = node;
    let binary = tag.as_deref() == Some("binary");
    if let Some(tag) = tag.as_deref()
        && !(binary && matches!(kind, Kind::Text(Form::Any | Form::Content)))
    {
        let message = format!("the tag {} has no meaning here", quoted(tag));
        report.add(Level::Warning, span, path, message);
    }
    let content = match (kind, value) {
        (_, Value::Null) => return None,
        (_, Value::Scalar(Scalar { text, .. })) if text.is_empty() => {
            let message = "found an empty text, which counts as no value";
            report.add(Level::Info, span, path, message);
            return None;
        }
        (Kind::Mapping(mapping), Value::Map(entries)) => {
            Content::Map(fields(entries, mapping, span, path, report)?)
        }
        (Kind::List(kind), Value::List(items)) => Content::List(list(items, *kind, path, report)),
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
            report.original_as((report.refused(), Level::Warning), span, path, message);
            report.left_out = true;
            Content::Wrong
        }
    };
    Some(Item {
        span,
        index: 0,
        content,
    })
}

/// Reads the items of a list. Items that are empty or of another type are skipped.
fn list(items: Vec<Node>, kind: Kind, path: Path<'_>, report: &mut Report) -> Vec<Item> {
    let mut list = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let path = Path::Index(&path, index);
        let (is_empty, fits) = match (&item.value, kind) {
            (Value::Null, _) => (true, false),
            (Value::Scalar(scalar), _) if scalar.text.is_empty() => (true, false),
            (Value::Map(_), Kind::Mapping(_)) | (Value::List(_), Kind::List(_)) => (false, true),
            (Value::Scalar(_), Kind::Mapping(_) | Kind::List(_)) => (false, false),
            (Value::Scalar(_), _) => (false, true),
            _ => (false, false),
        };
        if fits {
            let item = read(item, kind, path, report);
            list.extend(item.map(|item| Item { index, ..item }));
            continue;
        }
        let message = format!(
            "found {}, expected {}{}; the entry is skipped",
            item.value.describe(),
            expected(kind),
            advice(kind, &item.value)
        );
        report.left_out = true;
        // An empty item has no type.
        match is_empty {
            true => report.add(Level::Warning, item.span, path, message),
            false => report.original(Level::Warning, item.span, path, message),
        }
    }
    list
}

/// Names what a key takes.
fn expected(kind: Kind) -> String {
    match kind {
        Kind::Text(form) => form.expected().into_owned(),
        Kind::Bool => "true or false".into(),
        Kind::Integer => "a whole number".into(),
        Kind::Float => "a number".into(),
        Kind::List(_) => "a list".into(),
        Kind::Mapping(mapping) => {
            let names: Vec<_> = mapping.keys.iter().map(|key| key.name).take(8).collect();
            let more = if mapping.keys.len() > names.len() {
                ", …"
            } else {
                ""
            };
            format!("a mapping with the keys {}{more}", names.join(", "))
        }
    }
}

/// Says how to correct a common mistake.
fn advice(kind: Kind, found: &Value) -> &'static str {
    match (kind, found) {
        (Kind::List(_), Value::Scalar(_)) => "; write it on its own line after a hyphen",
        (Kind::List(_), Value::Map(_)) => "; put a hyphen before the first key of each item",
        (Kind::Text(Form::Any | Form::Content), Value::Map(_) | Value::List(_)) => {
            "; text of several lines follows a | on the line of its key"
        }
        (Kind::Text(_), Value::List(_)) => "; write several values as one text, with commas",
        (Kind::Text(_), Value::Map(_)) => "; a text with a colon or braces needs quotes",
        _ => "",
    }
}

/// Selects one entry for each key that is given more than once: a key of the mapping itself goes before one from
/// a merge; of two equal ones, the first. Of two that differ, coreos-cloudinit used the last.
fn single(entries: Vec<MapEntry>, path: Path<'_>, report: &mut Report) -> Vec<MapEntry> {
    let mut at: HashMap<String, usize> = HashMap::new();
    let mut single: Vec<MapEntry> = Vec::with_capacity(entries.len());
    for entry in entries {
        let name = canonical(&entry.key);
        let Some(earlier) = at.get(&name).map(|at| &mut single[*at]) else {
            at.insert(name, single.len());
            single.push(entry);
            continue;
        };
        if entry.merged {
            continue;
        }
        let line = earlier.at.place.line;
        let here = Path::Key(&path, &name);
        if earlier.value.same_value_as(&entry.value) {
            let message = format!("duplicate key, it is also on line {line}, with the same value");
            report.add(Level::Warning, entry.at, here, message);
            continue;
        }
        let last = match report.mode {
            Mode::Own => "",
            Mode::Compatible => "; the last one counts",
        };
        let message = format!("duplicate key, it is also on line {line}, with another value{last}");
        report.refuse(entry.at, here, message);
        if report.mode == Mode::Compatible {
            *earlier = entry;
        }
    }
    single
}

/// Reads the keys of a mapping; none if a required key is missing: the mapping is then skipped.
fn fields(
    entries: Vec<MapEntry>,
    mapping: &'static Mapping,
    span: Span,
    path: Path<'_>,
    report: &mut Report,
) -> Option<Vec<Field>> {
    let mut fields = Vec::with_capacity(entries.len());
    for MapEntry { key, at, value, .. } in single(entries, path, report) {
        let name = canonical(&key);
        let Some(known) = mapping.key(&name) else {
            if mapping.open {
                fields.extend(variable(name, at, value, path, report));
            } else {
                unknown(&key, &name, mapping, at, path, report);
            }
            continue;
        };
        let here = Path::Key(&path, known.name);
        if let Some(why) = known.deprecated {
            report.original(Level::Warning, at, here, format!("deprecated: {why}"));
        }
        if value.value == Value::Null && !known.required {
            no_value(known.kind, at, here, report);
        }
        if known.empty
            && let Value::Scalar(Scalar { text, style }) = &value.value
            && text.is_empty()
        {
            let content = Content::Text {
                text: String::new(),
                style: *style,
                binary: false,
            };
            let item = Item {
                index: 0,
                span: value.span,
                content,
            };
            fields.push(Field {
                name: known.name.into(),
                item,
            });
            continue;
        }
        // In an open mapping any scalar is text, and a list is text with commas.
        let value = if mapping.open { joined(value) } else { value };
        if let Some(item) = read(value, known.kind, here, report) {
            fields.push(Field {
                name: known.name.into(),
                item,
            });
        }
    }
    let required = || mapping.keys.iter().filter(|key| key.required);
    let find = |key: &Key| fields.iter().find(|field| field.name == key.name);
    // Its mistake has been reported.
    let is_wrong = |field: &Field| matches!(field.item.content, Content::Wrong);
    if required().any(|key| find(key).is_some_and(is_wrong)) {
        return None;
    }
    if let Some(key) = required().find(|key| find(key).is_none()) {
        let message = format!(
            "{} is missing, expected {}; the entry is skipped",
            key.name,
            expected(key.kind)
        );
        report.add(Level::Warning, span, path, message);
        report.left_out = true;
        return None;
    }
    Some(fields)
}

/// Reports a key without a value. An empty list or mapping is not reported.
fn no_value(kind: Kind, at: Span, path: Path<'_>, report: &mut Report) {
    if !matches!(kind, Kind::List(_) | Kind::Mapping(_)) {
        let message = "found no value, so nothing is written for this key";
        report.add(Level::Warning, at, path, message);
    }
}

/// Reads a key of an open mapping.
fn variable(
    name: String,
    at: Span,
    value: Node,
    path: Path<'_>,
    report: &mut Report,
) -> Option<Field> {
    let here = Path::Key(&path, &name);
    if value.value == Value::Null {
        no_value(Kind::Text(Form::Line), at, here, report);
    }
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || !name.bytes().all(good) {
        let message = format!(
            "found {}, expected the name of a flag: letters, digits and underscores",
            quoted(&name)
        );
        report.left_out = true;
        report.add(Level::Error, at, here, message);
        return None;
    }
    let item = read(joined(value), Kind::Text(Form::Line), here, report)?;
    Some(Field {
        name: name.into(),
        item,
    })
}

/// Joins a list of scalars to one scalar with commas.
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

/// Reports a key that its mapping does not have.
fn unknown(
    key: &str,
    name: &str,
    mapping: &Mapping,
    at: Span,
    path: Path<'_>,
    report: &mut Report,
) {
    let meant = Meant::by(name, mapping, path);
    let is_top = matches!(path, Path::Root(_));
    // With this key nearly all of the document is not read, and its author expects that it is.
    let is_coreos = name == "flatcar" || matches!(meant, Meant::Near("coreos"));
    let level = match is_top && is_coreos {
        true => report.refused(),
        false => Level::Warning,
    };
    // If the right place is named, the author can move the key.
    report.left_out |= is_top || !matches!(meant, Meant::Elsewhere(_));
    let message = meant.say(key);
    report.original_as((level, Level::Warning), at, Path::Key(&path, name), message);
}

/// What the author of an unknown key may have meant.
enum Meant {
    /// Something else of the same name, or another program's key.
    Replaced(&'static str),
    /// A key of this mapping.
    Near(&'static str),
    /// The key of this name in another mapping.
    Elsewhere(String),
    /// Any of these, the first of all keys.
    OneOf(Vec<&'static str>, bool),
}

impl Meant {
    fn by(name: &str, mapping: &Mapping, path: Path<'_>) -> Self {
        let replaced = mapping.elsewhere.iter().find(|(known, _)| *known == name);
        if let Some((_, hint)) = replaced {
            return Self::Replaced(hint);
        }
        if let Some(near) = nearest(name, mapping.keys.iter().map(|key| key.name)) {
            return Self::Near(near);
        }
        if let Some(path) = path.root().only_path(name) {
            return Self::Elsewhere(path);
        }
        let names: Vec<_> = mapping.keys.iter().map(|key| key.name).take(16).collect();
        let is_all = names.len() == mapping.keys.len();
        Self::OneOf(names, is_all)
    }

    fn say(&self, key: &str) -> String {
        let unknown = || format!("unknown key {}, it is not read", quoted(key));
        match self {
            Self::Replaced(hint) => format!("{key} is not read here: {hint}"),
            Self::Elsewhere(path) if path.is_empty() => {
                format!("{key} is not read here: it belongs at the top level")
            }
            Self::Elsewhere(path) => format!("{key} is not read here: it belongs under {path}"),
            Self::Near(near) => format!("{}; did you mean {near}?", unknown()),
            Self::OneOf(names, is_all) => {
                let more = if *is_all { "" } else { ", …" };
                format!("{}; expected one of {}{more}", unknown(), names.join(", "))
            }
        }
    }
}
