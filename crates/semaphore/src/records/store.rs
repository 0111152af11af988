//! What agents and people say of a store that is not the one it was.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Pause;

/// What an agent found that stopped the cluster: etcd is not the one it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherStore {
    /// Names it: who accepts the store says this.
    pub id: String,
    /// The node whose agent found it first.
    #[serde(default)]
    pub node: String,
    /// That node's host name.
    #[serde(default)]
    pub hostname: String,
    /// What it found, a sentence.
    #[serde(default)]
    pub reason: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// A store that a person accepted: `P/store`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Random: an agent that has not seen it yet goes on with this store.
    #[serde(default)]
    pub token: String,
    /// The id of the pause it answers; empty where there was none.
    #[serde(default)]
    pub id: String,
    /// Who accepted it, as `user@host`.
    #[serde(default)]
    pub by: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The marks of the store when it was accepted: an accept that came back with a snapshot is of another store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<crate::marks::Marks>,
    /// Fields of newer programs.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// What an agent had read before it found that etcd is not the one it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Whether this node itself held the semaphore.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holding: bool,
    /// How many of its group might be out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Who of its group was out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<String>,
    /// The whole cluster's pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_all: Option<Pause>,
    /// Its group's pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// What was quarantined, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantines: Vec<String>,
}

impl Known {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
