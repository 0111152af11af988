//! The list of receivers in the configuration file: who is told what happens on a node.

use std::path::PathBuf;

use yaml::{Node, Position, Value, quoted};

use crate::error::{ConfigError, Origin};

const SETTING: &str = "notify";
const KEYS: &str = "events, command, webhook, format";

/// What a receiver may be told: the events of a node's history, and what its agent finds of its surroundings.
pub const NOTIFY_EVENTS: [&str; 20] = [
    "staged",
    "requested",
    "draining",
    "stepped-back",
    "rebooting",
    "proven",
    "unproven",
    "rolling-back",
    "fell-back",
    "quarantined",
    "soaking",
    "soak-failed",
    "soak-ended",
    "etcd-unreachable",
    "etcd-reachable",
    "fleet-lock-unreachable",
    "fleet-lock-reachable",
    "configuration-fault",
    "same-machine-id",
    "lock-unknown",
];

/// Who is told what happens on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// The events that it is told, of [`NOTIFY_EVENTS`]; empty: all.
    pub events: Vec<String>,
    /// How.
    pub to: ReceiverKind,
}

/// How a receiver is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiverKind {
    /// A program, which gets the event in JSON on its standard input.
    Command(PathBuf),
    /// A URL, to which it is posted.
    Webhook {
        /// The URL. It may be as good as a password.
        url: String,
        /// The form of the body.
        format: BodyFormat,
    },
}

/// The form of what is posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFormat {
    /// The event with all its fields.
    Json,
    /// One sentence as `text`, as Slack, Mattermost and others take it.
    Slack,
}

impl Receiver {
    /// Whether it is told this event.
    #[must_use]
    pub fn wants(&self, event: &str) -> bool {
        self.events.is_empty() || self.events.iter().any(|wanted| wanted == event)
    }

    /// It, as people may see it: of a URL the scheme and the host only.
    #[must_use]
    pub fn shown(&self) -> String {
        match &self.to {
            ReceiverKind::Command(path) => format!("command {}", path.display()),
            ReceiverKind::Webhook { url, .. } => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
                let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
                let host = host.rsplit('@').next().unwrap_or_default();
                format!("webhook {scheme}://{host}/***")
            }
        }
    }

    /// All that is set of it, as people may see it.
    #[must_use]
    pub fn described(&self) -> String {
        let format = match &self.to {
            ReceiverKind::Webhook {
                format: BodyFormat::Slack,
                ..
            } => ", format slack",
            _ => "",
        };
        let events = match self.events.as_slice() {
            [] => String::new(),
            events => format!(", events {}", events.join(" ")),
        };
        format!("{}{format}{events}", self.shown())
    }
}

/// Reads the list; every error has the place of the value that is wrong.
///
/// # Errors
/// Where it is another thing than a list of receivers, or one of them is not valid.
pub(crate) fn read(
    node: Node,
    at: &dyn Fn(Position) -> Origin,
) -> Result<Vec<Receiver>, ConfigError> {
    let Value::List(items) = node.value else {
        return Err(shape(
            at(node.span.place),
            format!("{} for {SETTING}", node.value.describe()),
            "a list of receivers such as {webhook: \"https://…\", events: [quarantined]}",
        ));
    };
    items.into_iter().map(|item| receiver(item, at)).collect()
}

fn shape(origin: Origin, found: String, expected: &str) -> ConfigError {
    ConfigError::Shape {
        origin,
        found,
        expected: expected.to_owned(),
    }
}

fn receiver(node: Node, at: &dyn Fn(Position) -> Origin) -> Result<Receiver, ConfigError> {
    let place = at(node.span.place);
    let Value::Map(entries) = node.value else {
        let found = format!("{} in {SETTING}", node.value.describe());
        let expected = format!("a receiver with the keys {KEYS}");
        return Err(shape(place, found, &expected));
    };
    let (mut events, mut command, mut webhook, mut format) = (Vec::new(), None, None, None);
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
        match entry.key.as_str() {
            "events" => {
                let names = match value {
                    Value::List(names) => names
                        .into_iter()
                        .map(|name| one(name.value, "events"))
                        .collect::<Result<Vec<String>, _>>()?,
                    value => vec![one(value, "events")?],
                };
                if names.is_empty() {
                    let found = format!("an empty list for {SETTING}.events");
                    return Err(shape(
                        origin,
                        found,
                        "one event or more; without `events`, all",
                    ));
                }
                let unknown = |name: &&String| !NOTIFY_EVENTS.contains(&name.as_str());
                if let Some(name) = names.iter().find(unknown) {
                    let found = format!("{} in {SETTING}.events", quoted(name));
                    let expected = format!("events of {}", NOTIFY_EVENTS.join(", "));
                    return Err(shape(origin, found, &expected));
                }
                events = names;
            }
            "command" => {
                let path = one(value, "command")?;
                if !path.starts_with('/') {
                    let found = format!("{} for {SETTING}.command", quoted(&path));
                    return Err(shape(origin, found, "the path of a program, from /"));
                }
                command = Some(PathBuf::from(path));
            }
            "webhook" => {
                let url = one(value, "webhook")?;
                let host = ["http://", "https://"]
                    .iter()
                    .find_map(|scheme| url.strip_prefix(scheme));
                if host.is_none_or(|host| host.is_empty() || host.starts_with('/')) {
                    // What was meant as a URL is not repeated: it may have a password in it.
                    let found = format!("something else for {SETTING}.webhook");
                    return Err(shape(
                        origin,
                        found,
                        "a URL that begins with https:// or http://",
                    ));
                }
                webhook = Some(url);
            }
            "format" => {
                format = Some(match one(value, "format")?.as_str() {
                    "json" => BodyFormat::Json,
                    "slack" => BodyFormat::Slack,
                    other => {
                        let found = format!("{} for {SETTING}.format", quoted(other));
                        return Err(shape(origin, found, "json or slack"));
                    }
                });
            }
            other => {
                return Err(ConfigError::Unknown {
                    origin: at(entry.at.place),
                    key: format!("{SETTING}.{other}"),
                    expected: KEYS.into(),
                });
            }
        }
    }
    let to = match (command, webhook, format) {
        (Some(path), None, None) => ReceiverKind::Command(path),
        (None, Some(url), format) => ReceiverKind::Webhook {
            url,
            format: format.unwrap_or(BodyFormat::Json),
        },
        (Some(_), None, Some(_)) => {
            let found = "a receiver with `command` and `format`".into();
            return Err(shape(place, found, "`format` beside `webhook` only"));
        }
        (Some(_), Some(_), _) => {
            let found = "a receiver with `command` and `webhook`".into();
            return Err(shape(place, found, "one of them"));
        }
        (None, None, _) => {
            let found = "a receiver without `command` and `webhook`".into();
            return Err(shape(place, found, "one of them"));
        }
    };
    Ok(Receiver { events, to })
}
