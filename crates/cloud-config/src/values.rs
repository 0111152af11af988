//! Typed values from what fitted the tables.

use yaml::{Span, Style};

use super::check::{Content, Field, Item};

/// A text and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) span: Span,
    pub(crate) style: Style,
}

/// The fields of a mapping, taken out one by one.
pub(crate) struct Fields(Vec<Field>);

impl Fields {
    /// Takes the fields of an item; none where it is no mapping.
    pub(crate) fn of(item: Item) -> Self {
        match item.content {
            Content::Map(fields) => Self(fields),
            _ => Self(Vec::new()),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|field| field.name == name)
    }

    pub(crate) fn item(&mut self, name: &str) -> Option<Item> {
        let at = self.0.iter().position(|field| field.name == name)?;
        Some(self.0.swap_remove(at).item)
    }

    pub(crate) fn text(&mut self, name: &str) -> Option<Text> {
        self.item(name).and_then(text)
    }

    pub(crate) fn texts(&mut self, name: &str) -> Vec<Text> {
        self.item(name).map_or_else(Vec::new, texts)
    }

    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let content = self.item(name).map(|item| item.content);
        matches!(content, Some(Content::Flag(true)))
    }
}

impl IntoIterator for Fields {
    type Item = Field;
    type IntoIter = std::vec::IntoIter<Field>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Takes the items of a list; none where it is no list.
pub(crate) fn items(item: Item) -> impl Iterator<Item = Item> {
    let items = match item.content {
        Content::List(items) => items,
        _ => Vec::new(),
    };
    items.into_iter()
}

/// Takes the texts of a list.
pub(crate) fn texts(item: Item) -> Vec<Text> {
    items(item).filter_map(text).collect()
}

/// Takes public keys, one a text: an item of several lines holds several.
pub(crate) fn public_keys(item: Item) -> Vec<Text> {
    let lines = |text: Text| {
        let lines = text.text.lines().map(str::trim);
        let key = |line: &str| Text {
            text: line.to_owned(),
            ..text.clone()
        };
        let keys = lines.filter(|line| !line.is_empty()).map(key);
        keys.collect::<Vec<_>>()
    };
    texts(item).into_iter().flat_map(lines).collect()
}

/// Takes the text of an item.
pub(crate) fn text(item: Item) -> Option<Text> {
    match item.content {
        Content::Text { text, style, .. } => Some(Text {
            text,
            span: item.span,
            style,
        }),
        _ => None,
    }
}
