//! What people did to a group or the cluster, as it is written down. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How many acts are kept.
pub const KEPT: usize = 500;

/// Who acts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Person {
    /// Their name as a user.
    pub name: String,
    /// The host name of the machine on which they act.
    pub host: String,
    /// Why they do what they do; empty where they do not say.
    pub reason: String,
}

/// What a person did: `P/acts/<time>-<random>`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// The command, as `unlock --force`.
    #[serde(default)]
    pub act: String,
    /// The group; none where it is about the whole cluster.
    #[serde(default)]
    pub group: Option<String>,
    /// The node, image, number or the like; may be empty.
    #[serde(default)]
    pub target: String,
    /// The user.
    #[serde(default)]
    pub by: String,
    /// The host name of the machine on which they were.
    #[serde(default)]
    pub host: String,
    /// Their reason; empty where they gave none.
    #[serde(default)]
    pub reason: String,
    /// When, by that machine's clock.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// Fields that a newer program wrote.
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

/// The last part of an act's key: texts sort as their times do, and `random` tells acts of one instant apart.
#[must_use]
pub fn key(since: Timestamp, random: &str) -> String {
    format!("{since:.3}-{random}")
}

/// A node in an act, as people know it.
#[must_use]
pub fn node(hostname: &str, id: &str) -> String {
    if hostname.is_empty() || hostname == id {
        id.to_owned()
    } else {
        format!("{hostname} ({id})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_times() {
        let times = [
            (0, 0),
            (1, 999_000_000),
            (2, 0),
            (2, 5_999_999),
            (2, 10_000_000),
            (86_400 * 366, 0),
        ];
        let keys = times
            .map(|(second, nanosecond)| key(Timestamp::new(second, nanosecond).unwrap(), "ff"));
        assert_eq!(keys[3], "1970-01-01T00:00:02.005Z-ff");
        assert!(keys.is_sorted(), "{keys:?}");
        assert!(
            keys.iter().all(|key| key.len() == keys[0].len()),
            "{keys:?}"
        );
    }

    #[test]
    fn fields_of_newer_programs_survive() {
        let text = r#"{"act":"dance","group":null,"target":"","by":"ann","host":"desk","reason":"","since":"2026-11-30T02:35:00Z","steps":3}"#;
        let act: Act = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&act).unwrap(), text);
        serde_json::from_str::<Act>("{}").unwrap();
    }
}
