//! What is known when it is decided whether a node reboots: its rules, its surroundings, what is asked of it. Pure.

use std::{path::PathBuf, time::Duration};

use host::{bus::BusError, kept::Kept, text};
use jiff::Zoned;
use semaphore::records::ImageId;
use settings::Strategy;
use windows::Windows;

use super::next_slot::SlotFault;

/// A point in time: on the wall clock, for the window, and on the monotonic one, for waiting.
#[derive(Debug, Clone)]
pub struct Now {
    /// Local time.
    pub wall: Zoned,
    /// Time since some fixed point of this run; never jumps.
    pub monotonic: Duration,
    /// Time since the boot, also while the machine slept: for what outlives this run.
    pub since_boot: Duration,
    /// Random, to name a claim that begins now.
    pub random: u128,
}

impl Now {
    /// The name of a claim that begins now.
    #[must_use]
    pub fn nonce(&self) -> String {
        format!("{:032x}", self.random)
    }
}

/// What the node's operator set.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What is asked before a reboot.
    pub strategy: Strategy,
    /// When reboots may start.
    pub windows: Windows,
    /// How long people logged in are given.
    pub login_grace: Duration,
    /// How long after the reboot call the node may take to go down before it is looked at again.
    pub shutdown_timeout: Duration,
    /// How long a quarantined update stays staged before update_engine is made to look for a better one.
    pub quarantine_reset: Duration,
    /// How old a staged update may grow before update_engine is made to look for a newer one; none: as old as it gets.
    pub restage_after: Option<Duration>,
    /// How long to wait after a failed try (reboot call, drain, journal) before the next.
    pub retry: Duration,
}

/// Whether an update waits for a reboot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// Not known: why.
    Unknown(NoStatus),
    /// None; the word for what update_engine does instead.
    None(String),
    /// One is staged: this.
    Staged(ImageId),
    /// One is staged, and which cannot be told, or it could not boot: why.
    Unusable(SlotFault),
}

/// Why it is not known what update_engine does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoStatus {
    /// It does not run.
    #[error("update_engine is not running")]
    Gone,
    /// It does not answer.
    #[error(transparent)]
    Bus(Kept<BusError>),
}

/// What logind says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logins {
    /// Who is logged in at a terminal: name and terminal.
    pub people: Vec<(String, String)>,
    /// Who blocks shutdowns: who and why.
    pub inhibitors: Vec<(String, String)>,
    /// Whether the system is going down: logind prepares for it, or systemd has the job.
    pub going_down: bool,
}

/// All that is known of the node from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The update, if any.
    pub update: Update,
    /// What the boot loader would take now, an update's staging aside; none on a node without slots, and a reason
    /// where it cannot be told.
    pub next: Result<Option<ImageId>, SlotFault>,
    /// What logind says; the reason where it says nothing.
    pub logind: Result<Logins, Kept<BusError>>,
    /// Who asks for the reboot, where files do.
    pub asked: Asked,
}

/// Who asks for a reboot, where files do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// The files.
    pub files: Vec<PathBuf>,
    /// The packages that are named beside them.
    pub packages: Vec<String>,
}

impl Asked {
    /// The reason for people; none where no file asks.
    fn reason(&self) -> Option<String> {
        if !self.packages.is_empty() {
            return Some(format!("update of {}", text::few(&self.packages)));
        }
        let files: Vec<_> = self
            .files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        let exist = if files.len() == 1 { "exists" } else { "exist" };
        (!files.is_empty()).then(|| format!("{} {exist}", files.join(" and ")))
    }
}

/// Why a reboot is wanted, and into what.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Intent {
    /// The reason, for people.
    pub reason: String,
    /// What boots next: the staged update, or what the boot loader takes.
    pub to: ImageId,
    /// Whether a person asked for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_person: bool,
    /// Whether it is a staged image that was never proven on this node: other groups may have to prove it first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub new_image: bool,
    /// Whether a person wants it now, outside the reboot windows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub urgent: bool,
}

/// What a person asked for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Request {
    /// Their reason.
    pub reason: String,
    /// Whether it does not wait for the reboot windows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub urgent: bool,
}

impl Request {
    /// An ordinary request, for this reason.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            urgent: false,
        }
    }

    /// The reason as it is shown wherever the reboot is: that it is urgent as well.
    #[must_use]
    pub fn shown(&self) -> String {
        match self.urgent {
            true => format!("urgent: {}", self.reason),
            false => self.reason.clone(),
        }
    }
}

/// The intent these facts and this request amount to.
#[must_use]
pub fn intent(facts: &Facts, request: Option<&Request>, runs: &ImageId) -> Option<Intent> {
    let staged = match &facts.update {
        Update::Staged(image) => Some(image.clone()),
        _ => None,
    };
    let reason = match (request, &staged) {
        (Some(request), _) => request.shown(),
        (None, Some(image)) => {
            let asked = facts.asked.reason();
            asked.unwrap_or_else(|| format!("update to {image}"))
        }
        (None, None) => return None,
    };
    Some(Intent {
        reason,
        by_person: request.is_some(),
        urgent: request.is_some_and(|request| request.urgent),
        new_image: staged.is_some(),
        // Somebody may have put the other slot first: that is what a reboot boots then.
        to: staged
            .or_else(|| facts.next.clone().ok().flatten())
            .unwrap_or_else(|| runs.clone()),
    })
}
