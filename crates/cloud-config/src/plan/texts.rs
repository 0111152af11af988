//! Files of `KEY=value` lines that are merged into, not replaced.

use crate::document::{Text, Update};

/// The environment of everything that a person starts.
pub(super) const ENVIRONMENT: &str = "/etc/environment";

/// Where update.conf is looked for; the first is where it is written.
const UPDATE_CONF: [&str; 4] = [
    "/etc/coreos/update.conf",
    "/etc/flatcar/update.conf",
    "/usr/share/flatcar/update.conf",
    "/usr/share/coreos/update.conf",
];

/// Where update.conf is to be written and its text, if the document says anything about updates.
pub(super) fn update_conf(
    update: &Update,
    text: &dyn Fn(&str) -> Option<String>,
) -> Option<(&'static str, String)> {
    let given = |name: &str, value: &Option<Text>| {
        let value = value.as_ref().map(|text| text.text.clone());
        value
            .filter(|text| !text.is_empty())
            .map(|value| (name.to_owned(), value))
    };
    let pairs: Vec<_> = [
        given("GROUP", &update.group),
        given("REBOOT_STRATEGY", &update.reboot_strategy),
        given("SERVER", &update.server),
    ]
    .into_iter()
    .flatten()
    .collect();
    if pairs.is_empty() {
        return None;
    }
    let before = UPDATE_CONF
        .iter()
        .find_map(|path| text(path))
        .unwrap_or_default();
    Some((UPDATE_CONF[0], merge(&before, &pairs)))
}

/// Replaces the lines of these keys, and appends those that are missing in the order given.
pub(super) fn merge(before: &str, pairs: &[(String, String)]) -> String {
    let mut missing: Vec<&(String, String)> = pairs.iter().collect();
    let mut text = String::with_capacity(before.len());
    for line in before.lines() {
        let key = line.split_once('=').map_or("", |(key, _)| key.trim());
        match pairs.iter().find(|(name, _)| name == key) {
            None => {
                text.push_str(line);
                text.push('\n');
            }
            // A key that stands twice is written once.
            Some(pair) => {
                if let Some(at) = missing.iter().position(|one| *one == pair) {
                    missing.remove(at);
                    text.push_str(&format!("{}={}\n", pair.0, pair.1));
                }
            }
        }
    }
    for (name, value) in missing {
        text.push_str(&format!("{name}={value}\n"));
    }
    text
}
