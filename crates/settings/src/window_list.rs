//! The list of windows in the configuration file.

use yaml::{Node, Position, Value, quoted};

use crate::{
    error::{At, ConfigError, Origin},
    file::LIMITS,
};
use windows::{WindowSpec, WindowSpecError};

/// The keys of a window.
const KEYS: &str = "at, for, zone, except, random-delay";
const SETTING: &str = "windows";

/// Reads the list; every error has the place of the value that is wrong.
///
/// # Errors
/// Where it is another thing than a list of windows, or a window is not valid.
pub(crate) fn read(
    node: Node,
    at: &dyn Fn(Position) -> Origin,
) -> Result<Vec<WindowSpec>, ConfigError> {
    let Value::List(items) = node.value else {
        return Err(ConfigError::Shape {
            origin: at(node.span.place),
            found: format!("{} for {SETTING}", node.value.describe()),
            expected: "a list of windows such as {at: \"Sat 02:00\", for: 4h}".into(),
        });
    };
    items.into_iter().map(|item| window(item, at)).collect()
}

/// Reads one window, given to a flag as in the list: `{at: "Sat 02:00", for: 4h}`.
///
/// # Errors
/// Where it is another thing than a window, or is not valid.
pub fn window_of_flag(flag: &'static str, text: &str) -> Result<WindowSpec, ConfigError> {
    let at = |_: Position| Origin::Flag(flag);
    let tree = yaml::parse(text, LIMITS).map_err(|error| ConfigError::Syntax {
        origin: Origin::Flag(flag),
        message: format!("not valid YAML: {error}"),
    })?;
    window(tree, &at)
}

fn window(node: Node, at: &dyn Fn(Position) -> Origin) -> Result<WindowSpec, ConfigError> {
    let place = at(node.span.place);
    let shape = |origin: Origin, found: String, expected: &str| ConfigError::Shape {
        origin,
        found,
        expected: expected.to_owned(),
    };
    let Value::Map(entries) = node.value else {
        let found = format!("{} in {SETTING}", node.value.describe());
        return Err(shape(
            place,
            found,
            &format!("a window with the keys {KEYS}"),
        ));
    };
    let mut spec = WindowSpec::default();
    let mut places: Vec<(&'static str, Origin)> = Vec::new();
    for entry in entries {
        let origin = at(entry.value.span.place);
        let one = |value: Value, key: &str| match value {
            Value::Scalar(scalar) => Ok(scalar.text),
            other => Err(shape(
                origin.clone(),
                format!("{} for {SETTING}.{key}", other.describe()),
                "one value",
            )),
        };
        let value = entry.value.value;
        let key = match entry.key.as_str() {
            "at" => {
                spec.at = one(value, "at")?;
                "at"
            }
            "for" => {
                spec.length = one(value, "for")?;
                "for"
            }
            "zone" => {
                spec.zone = Some(one(value, "zone")?);
                "zone"
            }
            "random-delay" => {
                spec.random_delay = Some(one(value, "random-delay")?);
                "random-delay"
            }
            "except" => {
                spec.except = match value {
                    Value::List(days) => days
                        .into_iter()
                        .map(|day| one(day.value, "except"))
                        .collect::<Result<_, _>>()?,
                    value => vec![one(value, "except")?],
                };
                "except"
            }
            other => {
                return Err(ConfigError::Unknown {
                    origin: at(entry.at.place),
                    key: format!("{SETTING}.{other}"),
                    expected: KEYS.into(),
                });
            }
        };
        places.push((key, origin));
    }
    for needed in ["at", "for"] {
        if places.iter().all(|(key, _)| *key != needed) {
            let found = format!("a window without {}", quoted(needed));
            return Err(shape(place, found, "`at` and `for` in every window"));
        }
    }
    match spec.check() {
        Ok(()) => Ok(spec),
        Err(error) => Err(wrong(error, &places, place)),
    }
}

fn wrong(error: WindowSpecError, places: &[(&'static str, Origin)], window: Origin) -> ConfigError {
    let given = places.iter().find(|(key, _)| *key == error.key);
    ConfigError::Windows {
        at: At {
            origin: given.map_or(window, |(_, origin)| origin.clone()),
            key: SETTING,
        },
        error,
    }
}
