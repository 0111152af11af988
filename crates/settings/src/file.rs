//! The configuration file: read within limits, walked key by key.

use std::{io, path::Path, sync::Arc};

use host::node::{ReadError, RootPath};
use yaml::{self, Limits, Node, Position, Value};

use super::{
    aliases,
    error::{ConfigError, Faults, Origin, or_fault},
    notify_list::{self, Receiver},
    settings::{Given, Partial, SETTINGS, allowed},
    window_list,
};

/// The most a configuration may hold: far more than all settings with a page of comment each.
const LARGEST: u64 = 1 << 20;

/// Limits that no honest configuration meets.
pub(super) const LIMITS: Limits = Limits {
    depth: 16,
    nodes: 20_000,
    copies: 20_000,
    duplicates: false,
};

/// The layer of a file, without what is wrong in it; none where there is no such file.
pub(super) fn read(path: &RootPath, faults: &mut Faults) -> Option<Partial> {
    let bytes = match content_if_any(path) {
        Ok(bytes) => bytes?,
        Err(fault) => {
            faults.push(fault);
            return Some(Partial::default());
        }
    };
    let parsed = parse(&path.shown(), bytes, faults);
    Some(or_fault(parsed, faults))
}

/// What a file holds; none where there is no such file.
pub(super) fn content_if_any(path: &RootPath) -> Result<Option<Vec<u8>>, ConfigError> {
    match content(path, LARGEST) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ConfigError::Read { error, .. })
            // A link to nothing is a mistake, not an absence.
            if error.kind() == io::ErrorKind::NotFound && !path.is_there() =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What a file holds, `largest` bytes at most.
pub(super) fn content(path: &RootPath, largest: u64) -> Result<Vec<u8>, ConfigError> {
    path.read_bounded(largest).map_err(|error| match error {
        ReadError::System(error) => ConfigError::Read {
            path: path.shown(),
            error,
        },
        ReadError::Kind(found) => ConfigError::File {
            path: path.shown(),
            found: found.into(),
            expected: "a file".into(),
            remedy: None,
        },
        ReadError::Larger(most) => ConfigError::File {
            path: path.shown(),
            found: format!("more than {most} bytes"),
            expected: "at most that".into(),
            remedy: None,
        },
    })
}

fn parse(path: &Path, bytes: Vec<u8>, faults: &mut Faults) -> Result<Partial, ConfigError> {
    let file: Arc<Path> = path.into();
    let at = |place: Position| Origin::File {
        path: file.clone(),
        line: place.line,
        column: place.column,
    };
    let source = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.split(|b| *b == b'\n').count() as u64;
        let last = good.rsplit(|b| *b == b'\n').next().unwrap_or_default();
        let column = String::from_utf8_lossy(last).chars().count() as u64 + 1;
        ConfigError::Shape {
            origin: at(Position { line, column }),
            found: "bytes that are not UTF-8".into(),
            expected: "text in UTF-8".into(),
        }
    })?;
    let tree = yaml::parse(&source, LIMITS).map_err(|error| ConfigError::Syntax {
        origin: at(error.at.place),
        message: format!("not valid YAML: {error}"),
    })?;
    let mut layer = Partial::default();
    section(&mut layer, "", tree, &at, faults);
    Ok(layer)
}

fn section(
    layer: &mut Partial,
    name: &str,
    node: Node,
    at: &dyn Fn(Position) -> Origin,
    faults: &mut Faults,
) {
    let entries = match node.value {
        Value::Map(entries) => entries,
        Value::Null => return,
        other => {
            let under = if name.is_empty() {
                String::new()
            } else {
                format!(" under {name}")
            };
            faults.push(ConfigError::Shape {
                origin: at(node.span.place),
                found: other.describe(),
                expected: format!("the keys {}{under}", allowed(name)),
            });
            return;
        }
    };
    let in_full = |key: &str| match name {
        "" => key.to_owned(),
        _ => format!("{name}.{key}"),
    };
    let given: Vec<String> = entries.iter().map(|entry| in_full(&entry.key)).collect();
    for yaml::MapEntry {
        key,
        at: key_at,
        value,
        ..
    } in entries
    {
        let mut full = in_full(&key);
        if let Some(new) = aliases::renamed(&full) {
            if given.iter().any(|key| key == new) {
                faults.push(ConfigError::Shape {
                    origin: at(key_at.place),
                    found: format!("{full}, which is the old name of {new}, together with {new}"),
                    expected: format!("{new} only"),
                });
                continue;
            }
            tracing::warn!(
                "{}: {full} was renamed; use {new} instead",
                at(key_at.place)
            );
            new.clone_into(&mut full);
        }
        // A dot in a key is part of its name, no way into a section.
        let known = |full: &str| !key.contains('.') && SETTINGS.iter().any(|s| s.key == full);
        if known(&full) {
            or_fault(set(layer, &full, value, at), faults);
        } else if name.is_empty() && SETTINGS.iter().any(|s| section_of(s.key) == Some(&key)) {
            section(layer, &key, value, at, faults);
        } else {
            faults.push(ConfigError::Unknown {
                origin: at(key_at.place),
                key: full,
                expected: allowed(name),
            });
        }
    }
}

fn section_of(key: &str) -> Option<&str> {
    key.split_once('.').map(|(section, _)| section)
}

fn set(
    layer: &mut Partial,
    key: &str,
    node: Node,
    at: &dyn Fn(Position) -> Origin,
) -> Result<(), ConfigError> {
    let origin = at(node.span.place);
    // As one text it is in JSON, as in the environment.
    if key == "windows" && !matches!(node.value, Value::Scalar(_)) {
        let list = window_list::read(node, at)?;
        let text = serde_json::to_string(&list).expect("texts always serialize");
        return layer.set(key, &text, origin);
    }
    if key == "notify" && !matches!(node.value, Value::Scalar(_)) {
        let value = notify_list::read(node, at)?;
        let shown: Vec<String> = value.iter().map(Receiver::described).collect();
        let text = shown.join("; ");
        layer.notify = Some(Given {
            value,
            text,
            origin,
        });
        return Ok(());
    }
    let items_are = match key {
        "etcd.endpoints" => Some("an endpoint"),
        "sentinel" => Some("a path"),
        key if key.starts_with("checks.") => Some("the name of a unit"),
        _ => None,
    };
    let wrong = |found: String| ConfigError::Shape {
        origin: origin.clone(),
        found: format!("{found} for {key}"),
        expected: match items_are {
            Some(_) => "a list, or values with commas between them",
            None => "one value",
        }
        .into(),
    };
    match node.value {
        Value::Scalar(scalar) => layer.set(key, &scalar.text, origin),
        Value::List(items) if items_are.is_some() => {
            let texts = items.into_iter().map(|item| match item.value {
                Value::Scalar(scalar) => Ok(scalar.text),
                other => Err(ConfigError::Shape {
                    origin: at(item.span.place),
                    found: format!("{} in {key}", other.describe()),
                    expected: items_are.unwrap_or_default().into(),
                }),
            });
            let texts: Vec<String> = texts.collect::<Result<_, _>>()?;
            if texts.is_empty() && key == "etcd.endpoints" {
                return Err(ConfigError::Shape {
                    origin,
                    found: format!("an empty list for {key}"),
                    expected: "at least one endpoint".into(),
                });
            }
            layer.set(key, &texts.join(","), origin)
        }
        other => Err(wrong(other.describe())),
    }
}
