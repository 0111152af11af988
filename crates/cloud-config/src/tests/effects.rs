//! Every key of the tables has an effect: a key or a section that is declared and not planned fails here, by its name.

use super::{super::Document, *};
use crate::{
    document::ROOT,
    plan::{Machine, Planned, plan},
    schema::{Form, Key, Kind, Mapping},
};

/// A value that a key takes, as flow YAML.
fn sample(kind: Kind) -> String {
    match kind {
        Kind::Text(form) => format!("'{}'", text(form)),
        Kind::Bool => "true".into(),
        Kind::Integer => "17".into(),
        Kind::Float => "2.5".into(),
        Kind::List(item) => format!("[{}]", sample(*item)),
        Kind::Mapping(mapping) => required(mapping),
    }
}

fn text(form: Form) -> String {
    match form {
        Form::Any | Form::Line | Form::Gecos => "x",
        Form::Content => "eA==",
        Form::OneOf(words) | Form::Setting(words) => words[0],
        Form::Hostname => "h1",
        Form::SshKey => "ssh-ed25519 AAAAx",
        Form::Account => "u1",
        Form::PasswordHash => "$6$s$h",
        Form::Path => "/p",
        Form::File => "/f",
        Form::Owner => "core:core",
        Form::Permissions => "0600",
        Form::Url | Form::Discovery => "https://h/x",
        Form::Sha256 => return "0".repeat(64),
        Form::Unit => "a.service",
        Form::DropIn => "1.conf",
        Form::WindowStart => "04:00",
        Form::WindowLength => "1h",
    }
    .into()
}

/// A mapping with its required keys, and no others.
fn required(mapping: &Mapping) -> String {
    body(mapping, &[])
}

/// A mapping with its required keys and these.
fn body(mapping: &Mapping, more: &[&Key]) -> String {
    let given = |key: &&Key| key.required || more.iter().any(|other| other.name == key.name);
    let keys = mapping.keys.iter().filter(given);
    let keys = keys.map(|key| format!("{}: {}", key.name, sample(key.kind)));
    format!("{{{}}}", keys.collect::<Vec<_>>().join(", "))
}

fn steps(source: &str) -> String {
    let document: Document = read(source).document;
    let machine = Machine {
        addresses: &Addresses::default(),
        hostname: "was",
        text: &|_| None,
    };
    let planned = plan(vec![Planned::Document(Box::new(document))], &machine);
    format!("{planned:?}")
}

/// Whether a key changes the steps: alone, beside one of the others, or beside all of them. Around it stands the rest of
/// the document.
fn has_effect(mapping: &Mapping, key: &Key, around: &dyn Fn(String) -> String) -> bool {
    let others: Vec<&Key> = mapping.keys.iter().filter(|k| k.name != key.name).collect();
    let singles = others.iter().map(|other| vec![*other]);
    let beside = [Vec::new(), others.clone()].into_iter().chain(singles);
    let changes = |beside: Vec<&Key>| {
        let with: Vec<&Key> = beside.iter().copied().chain([key]).collect();
        steps(&around(body(mapping, &beside))) != steps(&around(body(mapping, &with)))
    };
    beside.into_iter().any(changes)
}

fn without_effect(
    mapping: &'static Mapping,
    path: &str,
    around: &dyn Fn(String) -> String,
    found: &mut Vec<String>,
) {
    for key in mapping.keys {
        let here = format!("{path}{}", key.name);
        let inner = |value: String| around(format!("{{{}: {value}}}", key.name));
        match key.kind {
            Kind::Mapping(keys) => without_effect(keys, &format!("{here}."), &inner, found),
            Kind::List(Kind::Mapping(keys)) => {
                let required: Vec<_> = mapping
                    .keys
                    .iter()
                    .filter(|key| key.required)
                    .map(|key| format!("{}: {}, ", key.name, sample(key.kind)))
                    .collect();
                let item = |value: String| {
                    around(format!("{{{}{}: [{value}]}}", required.concat(), key.name))
                };
                let all: Vec<&Key> = keys.keys.iter().collect();
                if steps(&item(body(keys, &all))) == steps(&around(body(mapping, &[]))) {
                    found.push(here.clone());
                }
                without_effect(keys, &format!("{here}[]."), &item, found);
            }
            _ if key.required || has_effect(mapping, key, around) => {}
            _ => found.push(here),
        }
    }
}

#[test]
fn every_key_changes_the_plan() {
    let mut found = Vec::new();
    without_effect(&ROOT, "", &|document| document, &mut found);
    assert_eq!(
        found,
        [
            "users[].coreos_ssh_import_github",
            "users[].coreos_ssh_import_github_users",
            "users[].coreos_ssh_import_url",
        ]
    );
}

#[test]
fn every_module_of_a_section_is_declared() {
    let declared = include_str!("../sections/mod.rs");
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sections");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        assert!(
            module == "mod" || declared.contains(&format!("mod {module};")),
            "sections/mod.rs does not declare {module}"
        );
    }
}
