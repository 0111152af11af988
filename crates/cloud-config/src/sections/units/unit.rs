//! A unit of a document: its keys and values.

use yaml::Span;

use crate::{
    check::Item,
    schema::{self, Form, Key, Kind, Mapping},
    values::{Fields, Text, items},
};

/// A unit and what is to be done with it.
#[derive(Debug)]
pub(crate) struct Unit {
    /// Its index in the list, skipped items counted.
    pub(crate) index: usize,
    pub(crate) name: Option<Text>,
    /// Its name is the path of a drop-in, so it is only that drop-in.
    pub(crate) is_drop_in: bool,
    pub(crate) mask: bool,
    pub(crate) enable: bool,
    pub(crate) runtime: bool,
    pub(crate) content: Option<Text>,
    pub(crate) command: Option<Text>,
    pub(crate) drop_ins: Vec<DropIn>,
}

/// A drop-in of a unit.
#[derive(Debug)]
pub(crate) struct DropIn {
    /// Its index in the list, skipped items counted.
    pub(crate) index: usize,
    pub(crate) span: Span,
    pub(crate) name: Option<Text>,
    pub(crate) content: Option<Text>,
}

pub(super) const UNIT: Mapping = Mapping::of(&[
    Key::text(
        "name",
        Form::Unit,
        "The unit's name with its suffix, such as docker.service.",
    )
    .required(),
    Key::bool("mask", "Link the unit to /dev/null: nothing can start it."),
    Key::bool("enable", "Enable the unit as its [Install] section says."),
    Key::bool("runtime", "Only until the next boot: under /run."),
    Key::text("content", Form::Content, "The whole text of the unit."),
    Key::text(
        "command",
        Form::OneOf(&COMMANDS),
        "Command for systemd when everything is written.",
    ),
    Key::new(
        "drop_ins",
        Kind::List(&Kind::Mapping(&DROP_IN)),
        "Drop-ins: texts that extend or change the unit.",
    ),
]);

const COMMANDS: [&str; 7] = [
    "start",
    "stop",
    "restart",
    "reload",
    "try-restart",
    "reload-or-restart",
    "reload-or-try-restart",
];

const DROP_IN: Mapping = Mapping::of(&[
    Key::text("name", Form::DropIn, "The file's name, ending in .conf.").required(),
    Key::text("content", Form::Content, "Its text."),
]);

impl Unit {
    pub(super) fn read(item: Item) -> Self {
        let (span, index) = (item.span, item.index);
        let mut fields = Fields::of(item);
        let name = fields.text("name");
        let mask = fields.flag("mask");
        let enable = fields.flag("enable");
        let runtime = fields.flag("runtime");
        let content = fields.text("content");
        let command = fields.text("command");
        let path = name
            .as_ref()
            .and_then(|name| schema::drop_in_path(&name.text));
        let (name, content, drop_ins) = match path {
            Some((unit, file)) => {
                let part = |part: &str| {
                    let text = part.to_owned();
                    name.clone().map(|name| Text { text, ..name })
                };
                let drop_in = DropIn {
                    index: 0,
                    span,
                    name: part(file),
                    content,
                };
                (part(unit), None, vec![drop_in])
            }
            None => {
                let drop_ins = fields.item("drop_ins").into_iter().flat_map(items);
                let drop_ins = drop_ins.map(DropIn::read).collect();
                (name.clone(), content, drop_ins)
            }
        };
        Self {
            index,
            is_drop_in: path.is_some(),
            name,
            mask,
            enable,
            runtime,
            content,
            command,
            drop_ins,
        }
    }

    /// Tells by its suffix whether it is a file of networkd.
    pub(super) fn is_network(&self) -> bool {
        let name = self.name.as_ref();
        let suffix = name.and_then(|name| name.text.rsplit('.').next());
        matches!(suffix, Some("network" | "netdev" | "link"))
    }
}

impl DropIn {
    fn read(item: Item) -> Self {
        let (span, index) = (item.span, item.index);
        let mut fields = Fields::of(item);
        Self {
            index,
            span,
            name: fields.text("name"),
            content: fields.text("content"),
        }
    }
}
