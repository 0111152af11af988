//! What happened on this node: every update, reboot, proof and rollback, for people who ask later.
//!
//! It is derived from what the machine journals and says, decides nothing, and is never waited for.

pub mod file;
mod step;
#[cfg(test)]
mod tests;

use std::time::Duration;

use host::telemetry;
use jiff::Timestamp;
use semaphore::records::{ImageId, LastReboot, Outcome};
use serde::{Deserialize, Serialize};

use super::journal::Journal;
use step::{Of, Step};

/// The kind of an event, one word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// update_engine has staged an update.
    Staged,
    /// A person asked for a reboot.
    Requested,
    /// The node took the lock, where one is needed, and is being drained.
    Draining,
    /// A reboot was given up before the node went down.
    SteppedBack,
    /// The reboot is committed.
    Rebooting,
    /// The boot passed its checks.
    Proven,
    /// The boot did not pass its checks, and stays.
    Unproven,
    /// The node goes to the image before by itself.
    RollingBack,
    /// The node came up on the image before: the other one did not come up.
    FellBack,
    /// This node quarantined an image.
    Quarantined,
    /// The node stays under observation.
    Soaking,
    /// The image failed its checks in the soak.
    SoakFailed,
    /// The soak is over.
    SoakEnded,
    /// A word of a newer program.
    #[serde(untagged)]
    Other(String),
}

impl Kind {
    /// All that this program knows.
    pub const ALL: [Self; 13] = [
        Self::Staged,
        Self::Requested,
        Self::Draining,
        Self::SteppedBack,
        Self::Rebooting,
        Self::Proven,
        Self::Unproven,
        Self::RollingBack,
        Self::FellBack,
        Self::Quarantined,
        Self::Soaking,
        Self::SoakFailed,
        Self::SoakEnded,
    ];

    /// The id of its messages in the journal; docs/reference/logs.md and the catalog have them as well. They never change.
    #[must_use]
    pub fn message_id(&self) -> &'static str {
        match self {
            Self::Staged => "b5d355fe81d759538baf5d2a0eafc22e",
            Self::Requested => "c4825ea67d305b93b4c9951437228842",
            Self::Draining => "e7625c54342b51bb9fd7fb159b5c59cd",
            Self::SteppedBack => "9dbe7648024d511ea303af1858fe7495",
            Self::Rebooting => "9b5120f148295462aa440983b2f6cbad",
            Self::Proven => "92f6911ef32f547e80832466f3dca634",
            Self::Unproven => "fbc09603992b558f9528b86660e43ab4",
            Self::RollingBack => "ba0ccbdac6a152f4897cd831da01dbbc",
            Self::FellBack => "660a871b90f051ceb1bf3153d1d56c07",
            Self::Quarantined => "a770368cacd05f62bfc9a47d256490fa",
            Self::Soaking => "0c1eb83c24245112878bb729ce1f88ad",
            Self::SoakFailed => "e6ab550fd9a35b57ba23640af252f0e9",
            Self::SoakEnded => "bbabcab9ec705e71a27a7df179147330",
            Self::Other(_) => "",
        }
    }

    /// The word of it.
    #[must_use]
    pub fn word(&self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(word)) => word,
            _ => String::new(),
        }
    }

    /// Whether somebody should look at it.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        matches!(
            self,
            Self::SteppedBack
                | Self::Unproven
                | Self::RollingBack
                | Self::FellBack
                | Self::Quarantined
                | Self::SoakFailed
        )
    }
}

/// One event: a line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// When, by this machine's clock.
    pub time: Timestamp,
    /// What.
    pub event: Kind,
    /// In which boot (proc(5), `random/boot_id`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
    /// The image that ran before, where the event is about a reboot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ImageId>,
    /// The image that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<ImageId>,
    /// Why, a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How long it took: from the drain to the proof; the length of a soak. In seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// What is compared to see what happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen<'a> {
    /// The state, one word.
    pub state: &'a str,
    /// What the state is for, a sentence.
    pub why: &'a str,
    /// The journal, as far as it can be read.
    pub journal: &'a Journal,
    /// What runs.
    pub runs: &'a ImageId,
}

/// The history of this run of the agent.
#[derive(Debug, Default)]
pub struct History {
    state: String,
    journal: Option<Journal>,
    /// Why the boot was not proven, as it was noted last: it is checked again and again.
    unproven: Option<String>,
    /// How its last reboot ended.
    ends: Ends,
    tries: Tries,
}

impl History {
    /// A history that goes on after events that say this of the last reboot.
    #[must_use]
    pub fn after(ends: Ends) -> Self {
        Self {
            ends,
            ..Self::default()
        }
    }

    /// Begins with this journal: nothing that it says is new. It counts once.
    pub fn begin(&mut self, journal: &Journal) {
        self.journal.get_or_insert_with(|| journal.clone());
    }

    /// How this node's last reboot ended; none where that is not known.
    #[must_use]
    pub fn last(&self) -> Option<&LastReboot> {
        self.ends.last.as_ref()
    }

    /// Since when a reboot is pending, if one is: when the update was staged or the reboot was requested, as far as that is known.
    pub fn pending_since(&mut self, is_pending: bool, now: Timestamp) -> Option<Timestamp> {
        if !is_pending {
            self.ends.pending = None;
            return None;
        }
        Some(*self.ends.pending.get_or_insert(now))
    }

    /// What has happened since it was asked last, in that order.
    pub fn look(&mut self, seen: &Seen<'_>, boot_id: &str, now: Timestamp) -> Vec<Happened> {
        let Some(before) = self.journal.replace(seen.journal.clone()) else {
            return Vec::new();
        };
        let state = std::mem::replace(&mut self.state, seen.state.to_owned());
        let step = Step {
            old: &before,
            state: &state,
            seen,
            boot_id,
            unproven: self.unproven.as_deref(),
        };
        let happened = |(event, of): (Kind, Of)| Happened {
            time: now,
            event,
            boot_id: boot_id.to_owned(),
            from: of.from,
            to: of.to,
            reason: of.reason,
            seconds: of.seconds,
        };
        let found = self
            .tries
            .without_repetition(step.events().into_iter().map(happened));
        for happened in &found {
            match happened.event {
                Kind::Unproven => self.unproven = Some(happened.reason.clone()),
                Kind::Proven => self.unproven = None,
                _ => {}
            }
        }
        for happened in &found {
            self.ends.follow(happened);
        }
        found
    }
}

/// A drain that fails is tried again every minute, perhaps for days: what fails as it did before is noted once.
#[derive(Debug, Clone, Default)]
struct Tries {
    /// Where to, and why the last try was given up.
    failed: Option<(Option<ImageId>, String)>,
    /// The drain of another try for the same, which is noted if something else comes of it.
    drains: Option<Happened>,
}

impl Tries {
    fn without_repetition(&mut self, events: impl Iterator<Item = Happened>) -> Vec<Happened> {
        let mut noted = Vec::new();
        for happened in events {
            let drains = match happened.event {
                Kind::Draining => None,
                _ => self.drains.take(),
            };
            let failed = (happened.to.clone(), happened.reason.clone());
            match happened.event {
                Kind::Draining
                    if self
                        .failed
                        .as_ref()
                        .is_some_and(|(to, _)| *to == happened.to) =>
                {
                    self.drains = Some(happened);
                    continue;
                }
                Kind::SteppedBack if self.failed.as_ref() == Some(&failed) => continue,
                Kind::SteppedBack => self.failed = Some(failed),
                _ => self.failed = None,
            }
            noted.extend(drains);
            noted.push(happened);
        }
        noted
    }
}

/// How the last reboot ended, by the events until now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ends {
    began: Option<Timestamp>,
    /// Since when a reboot is pending.
    pending: Option<Timestamp>,
    last: Option<LastReboot>,
    /// Whether a reboot was committed, and has not ended yet.
    committed: bool,
    /// Whether the node is on its way to the image before: it is out of service until that is proven again.
    returns: bool,
}

impl Ends {
    /// By these events, the oldest first.
    #[must_use]
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Happened>) -> Self {
        let mut ends = Self::default();
        for happened in events {
            ends.follow(happened);
        }
        ends
    }

    fn follow(&mut self, happened: &Happened) {
        if happened.event == Kind::Proven
            && std::mem::take(&mut self.returns)
            && happened.from.is_none()
            && let Some(last) = &mut self.last
        {
            last.ended = Some(happened.time);
        }
        let outcome = match &happened.event {
            Kind::Draining => {
                self.began = Some(happened.time);
                return;
            }
            Kind::Staged | Kind::Requested => {
                self.pending.get_or_insert(happened.time);
                return;
            }
            Kind::Rebooting => {
                self.committed = true;
                return;
            }
            // A reboot into the image that ran already has no other that it came from.
            Kind::Proven if happened.from.is_some() || self.committed => {
                self.pending = None;
                Outcome::Proven
            }
            Kind::SteppedBack => Outcome::SteppedBack,
            Kind::FellBack => Outcome::FellBack,
            Kind::RollingBack => Outcome::RolledBack,
            Kind::SoakFailed => Outcome::SoakFailed,
            _ => return,
        };
        self.committed = false;
        self.returns = matches!(outcome, Outcome::FellBack | Outcome::RolledBack);
        let same = happened.to.as_ref().filter(|_| outcome == Outcome::Proven);
        self.last = Some(LastReboot {
            outcome,
            from: happened.from.as_ref().or(same).cloned().unwrap_or_default(),
            to: happened.to.clone().unwrap_or_default(),
            began: self.began,
            ended: Some(happened.time),
            reason: happened.reason.clone(),
        });
    }
}

impl Happened {
    /// Logs it, with its message id: only where the log is the journal, since the steps are logged anyhow.
    pub fn log(&self) {
        let of = |image: &Option<ImageId>| image.as_ref().map(ImageId::name).unwrap_or_default();
        let (from, to) = (of(&self.from), of(&self.to));
        let event = self.event.word();
        let seconds = self
            .seconds
            .map(|seconds| seconds.to_string())
            .unwrap_or_default();
        let (reason, id) = (self.reason.as_str(), self.event.message_id());
        // The level is part of what is compiled.
        macro_rules! say {
            ($level:ident) => {
                tracing::$level!(
                    target: telemetry::EVENTS,
                    message_id = id,
                    pointsman_event = event,
                    pointsman_from = from,
                    pointsman_to = to,
                    pointsman_reason = reason,
                    pointsman_seconds = seconds,
                    "{self}"
                )
            };
        }
        match self.event.is_trouble() {
            true => say!(warn),
            false => say!(info),
        }
    }

    /// How long it took.
    #[must_use]
    pub fn took(&self) -> Option<Duration> {
        self.seconds.map(Duration::from_secs)
    }
}

impl std::fmt::Display for Happened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.event.word().replace('-', " "))?;
        if let Some(to) = &self.to {
            write!(f, ": {to}")?;
        }
        if let Some(took) = self.took() {
            write!(f, " ({})", host::duration::print(took))?;
        }
        match self.reason.as_str() {
            "" => Ok(()),
            reason => write!(f, ": {reason}"),
        }
    }
}
