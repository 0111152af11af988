//! How the last reboot of a node ended.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ImageId;

/// How a reboot ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The boot passed its checks.
    Proven,
    /// It was given up before the node went down.
    SteppedBack,
    /// The boot did not pass its checks, and the node went to the image before.
    RolledBack,
    /// The other image did not come up.
    FellBack,
    /// The boot passed its checks, and failed them in the soak.
    SoakFailed,
    /// A word of a newer program.
    #[serde(untagged)]
    Other(String),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Proven => "proven",
            Self::SteppedBack => "stepped back",
            Self::RolledBack => "rolled back",
            Self::FellBack => "fell back",
            Self::SoakFailed => "soak failed",
            Self::Other(word) => word,
        })
    }
}

/// The last reboot of a node that has ended, in its record: when the node was out of service, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReboot {
    /// What came of it.
    pub outcome: Outcome,
    /// The image that ran before.
    #[serde(default)]
    pub from: ImageId,
    /// The image that it went to, or was to.
    #[serde(default)]
    pub to: ImageId,
    /// When the drain began, by the clock of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    /// When it ended, by the clock of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Why it ended so; empty where it was proven.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}
