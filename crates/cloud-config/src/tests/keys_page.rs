//! docs/cloud-config-keys.md tabulates the keys that the schema has.

use std::collections::BTreeMap;

use crate::schema::{Form, Kind, ROOT, Section};

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
            Kind::Section(_) => "list of sections".into(),
            _ => "list of texts".into(),
        },
        Kind::Section(_) => "section".into(),
    }
}

fn rows(section: &Section, at: &str, found: &mut BTreeMap<String, Row>) {
    for key in section.keys {
        let path = format!("{at}{}", key.name);
        let row = Row {
            takes: takes(key.kind),
            variable: section.variable(key.name),
            deprecated: key.deprecated.unwrap_or_default().into(),
        };
        assert!(found.insert(path.clone(), row).is_none(), "{path} twice");
        match key.kind {
            Kind::Section(inner) => rows(inner, &format!("{path}."), found),
            Kind::List(Kind::Section(inner)) => rows(inner, &format!("{path}[]."), found),
            _ => {}
        }
    }
}

#[test]
fn the_page_has_every_key_and_no_other() {
    let mut schema = BTreeMap::new();
    rows(&ROOT, "", &mut schema);
    let page = include_str!("../../../../docs/cloud-config-keys.md");
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
            variable: lands
                .split('`')
                .find(|word| {
                    word.contains('_')
                        && !word.contains(|c: char| c.is_lowercase() || "/=".contains(c))
                })
                .map(str::to_owned),
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
