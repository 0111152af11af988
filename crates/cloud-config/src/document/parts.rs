//! The parts of a document from what fitted the tables.

use super::{DropIn, File, Text, Unit, User};
use crate::{
    check::{Content, Field, Item},
    schema,
};

pub(super) fn user(item: Item) -> User {
    let (span, index) = (item.span, item.index);
    let mut take = Take(fields(item));
    User {
        index,
        span,
        name: take.text("name"),
        passwd: take.text("passwd"),
        keys: take
            .item("ssh_authorized_keys")
            .map_or_else(Vec::new, public_keys),
        gecos: take.text("gecos"),
        homedir: take.text("homedir"),
        no_create_home: take.flag("no_create_home"),
        primary_group: take.text("primary_group"),
        groups: take.texts("groups"),
        no_user_group: take.flag("no_user_group"),
        system: take.flag("system"),
        no_log_init: take.flag("no_log_init"),
        shell: take.text("shell"),
    }
}

pub(super) fn file(item: Item) -> File {
    let (span, index) = (item.span, item.index);
    let given = fields(item);
    let bare = !given
        .iter()
        .any(|field| matches!(field.name.as_ref(), "content" | "source"));
    let mut take = Take(given);
    let content = take.item("content");
    let binary = matches!(
        &content,
        Some(Item {
            content: Content::Text { binary: true, .. },
            ..
        })
    );
    File {
        index,
        span,
        bare,
        path: take.text("path"),
        content: content.and_then(text),
        binary,
        owner: take.text("owner"),
        permissions: take.text("permissions"),
        encoding: take.text("encoding"),
        append: take.flag("append"),
        source: take.text("source"),
        sha256: take.text("sha256"),
    }
}

pub(super) fn unit(item: Item) -> Unit {
    let (span, index) = (item.span, item.index);
    let mut take = Take(fields(item));
    let path = take.text("name");
    let path = path.as_ref().map(|path| (path, path.text.as_str()));
    if let Some((name, (unit, file))) =
        path.and_then(|(name, path)| Some((name, schema::drop_in_path(path)?)))
    {
        let text = |text: &str| Text {
            text: text.to_owned(),
            ..name.clone()
        };
        return Unit {
            index,
            name: Some(text(unit)),
            is_drop_in: true,
            mask: take.flag("mask"),
            enable: take.flag("enable"),
            runtime: take.flag("runtime"),
            command: take.text("command"),
            drop_ins: vec![DropIn {
                index: 0,
                span,
                name: Some(text(file)),
                content: take.text("content"),
            }],
            content: None,
        };
    }
    let name = path.map(|(name, _)| name.clone());
    Unit {
        index,
        name,
        is_drop_in: false,
        mask: take.flag("mask"),
        enable: take.flag("enable"),
        runtime: take.flag("runtime"),
        content: take.text("content"),
        command: take.text("command"),
        drop_ins: take
            .item("drop_ins")
            .map_or_else(Vec::new, |list| items(list).map(drop_in).collect()),
    }
}

fn drop_in(item: Item) -> DropIn {
    let (span, index) = (item.span, item.index);
    let mut take = Take(fields(item));
    DropIn {
        index,
        span,
        name: take.text("name"),
        content: take.text("content"),
    }
}

/// The fields of a mapping, taken one by one.
pub(super) struct Take(pub(super) Vec<Field>);

impl Take {
    pub(super) fn item(&mut self, name: &str) -> Option<Item> {
        let at = self.0.iter().position(|field| field.name == name)?;
        Some(self.0.swap_remove(at).item)
    }

    pub(super) fn text(&mut self, name: &str) -> Option<Text> {
        self.item(name).and_then(text)
    }

    pub(super) fn texts(&mut self, name: &str) -> Vec<Text> {
        self.item(name).map_or_else(Vec::new, texts)
    }

    pub(super) fn flag(&mut self, name: &str) -> bool {
        matches!(
            self.item(name),
            Some(Item {
                content: Content::Flag(true),
                ..
            })
        )
    }
}

pub(super) fn fields(item: Item) -> Vec<Field> {
    match item.content {
        Content::Map(fields) => fields,
        _ => Vec::new(),
    }
}

pub(super) fn items(item: Item) -> impl Iterator<Item = Item> {
    let items = match item.content {
        Content::List(items) => items,
        _ => Vec::new(),
    };
    items.into_iter()
}

pub(super) fn texts(item: Item) -> Vec<Text> {
    items(item).filter_map(text).collect()
}

/// Public keys, one a text: an item of several lines holds several.
pub(super) fn public_keys(item: Item) -> Vec<Text> {
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

/// The text of an item.
pub(super) fn text(item: Item) -> Option<Text> {
    match item.content {
        Content::Text { text, style, .. } => Some(Text {
            text,
            span: item.span,
            style,
        }),
        _ => None,
    }
}
