//! docs/reference/cloud-config-keys.md tabulates the keys that the schema has.

use std::collections::BTreeMap;

use crate::{
    document::ROOT,
    schema::{Form, Kind, Mapping},
};

/// What a page must say of a key.
#[derive(Debug, PartialEq)]
struct Row {
    takes: String,
    variable: Option<String>,
    deprecated: String,
}

fn takes(kind: Kind) -> String {
    match kind {
        Kind::Text(Form::OneOf(words) | Form::Setting(words)) => words.join(", "),
        Kind::Text(_) => "text".into(),
        Kind::Bool => "yes or no".into(),
        Kind::Integer => "whole number".into(),
        Kind::Float => "number".into(),
        Kind::List(item) => match item {
            Kind::Mapping(_) => "list of mappings".into(),
            _ => "list of texts".into(),
        },
        Kind::Mapping(_) => "mapping".into(),
    }
}

fn rows(mapping: &Mapping, at: &str, found: &mut BTreeMap<String, Row>) {
    for key in mapping.keys {
        let path = format!("{at}{}", key.name);
        let row = Row {
            takes: takes(key.kind),
            // The lines of /etc/oem-release are no variables, and are named like ones.
            variable: match at {
                "coreos.oem." => Some(key.name.to_ascii_uppercase()),
                _ => mapping.variable(key.name),
            },
            deprecated: key.deprecated.unwrap_or_default().into(),
        };
        assert!(found.insert(path.clone(), row).is_none(), "{path} twice");
        match key.kind {
            Kind::Mapping(inner) => rows(inner, &format!("{path}."), found),
            Kind::List(Kind::Mapping(inner)) => rows(inner, &format!("{path}[]."), found),
            _ => {}
        }
    }
}

/// The variable that a cell names: `LOCKSMITHD_GROUP`, or `GROUP=` in update.conf.
fn variable(cell: &str) -> Option<String> {
    let is_upper = |c: char| c.is_uppercase() || c.is_ascii_digit() || c == '_';
    let mut words = cell.split('`').skip(1).step_by(2);
    let word = words.find(|word| word.trim_end_matches('=').chars().all(is_upper))?;
    Some(word.trim_end_matches('=').to_owned())
}

#[test]
fn keys_page_has_every_key_and_no_other() {
    let mut schema = BTreeMap::new();
    rows(&ROOT, "", &mut schema);
    let page = include_str!("../../../../docs/reference/cloud-config-keys.md");
    let mut seen = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", key, takes, does, lands, deprecated, ""] = cells.as_slice() else {
            panic!("not five cells: {line}");
        };
        assert!(!does.is_empty(), "{line}");
        let key = key.trim_matches('`');
        let row = Row {
            takes: takes.replace('`', ""),
            variable: variable(lands),
            deprecated: (*deprecated).to_owned(),
        };
        assert!(seen.insert(key.to_owned(), row).is_none(), "{key} twice");
    }
    for (key, row) in &schema {
        assert_eq!(seen.get(key), Some(row), "{key}");
    }
    for key in seen.keys() {
        assert!(schema.contains_key(key), "{key} is none");
    }
}
