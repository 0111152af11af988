//! How things stand, for people and for the driver.

use std::time::Duration;

use semaphore::etcd::Place;

use super::{Machine, State};
use crate::agent::journal::Stage;

impl Machine {
    /// The state as one word, and what the agent waits for as a sentence (empty where it waits for nothing).
    #[must_use]
    pub fn report(&self) -> (&'static str, String) {
        let note = |otherwise: &str| {
            if self.note.is_empty() {
                otherwise.to_owned()
            } else {
                self.note.clone()
            }
        };
        let silent = self.facts.as_ref().and_then(|f| f.logind.as_ref().err());
        let unless_unknown = |otherwise: &str| match silent {
            Some(error) => format!("whether the system goes down is not known: {error}"),
            None => otherwise.to_owned(),
        };
        match &self.state {
            State::Starting => ("starting", "waiting for update_engine and logind".into()),
            State::Idle => ("idle", String::new()),
            State::Waiting { why, .. } => ("waiting", why.clone()),
            State::Asking => ("waiting", note("asking the may-reboot.d hooks")),
            // What must not go has left the line, and joins it again once it may.
            State::Queued { .. } if matches!(self.place, Place::Outside | Place::Quarantined) => {
                ("waiting", self.note.clone())
            }
            State::Queued { .. } => ("queued", note("joining the line for the semaphore")),
            State::Leaving => ("leaving", note("leaving the line for the semaphore")),
            State::Taken | State::Draining { .. } | State::Drained => {
                ("draining", note("running the drain hooks"))
            }
            State::Committing | State::Committed => {
                ("committing", note("a last look before the reboot"))
            }
            State::Rebooting { .. } => (
                "rebooting",
                unless_unknown("waiting for the system to go down"),
            ),
            State::Doubting { why } => ("rebooting", unless_unknown(why)),
            State::GoingDown { .. } => ("rebooting", unless_unknown("the system is going down")),
            State::SteppingBack { why } => ("stepping-back", note(why)),
            State::Proving => ("proving", note("checking the new boot")),
            State::Unproven { why, .. } => ("unproven", why.clone()),
            State::Marking => ("proving", note("marking the slot good")),
            State::Undraining => ("proving", note("running the undrain hooks")),
            State::RollingBack { why, .. } => ("rolling-back", note(why)),
            State::Releasing { why } => ("releasing", note(why)),
            State::Stopped => ("stopped", String::new()),
        }
    }

    /// Whether this node holds the semaphore, as far as it knows.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.entry().is_some_and(|entry| {
            entry.claim.is_some() && (entry.stage != Stage::Queued || self.state == State::Taken)
        })
    }

    /// When what has failed is tried again, on the monotonic clock; none where nothing has, or something else is waited for.
    #[must_use]
    pub fn tries_again_at(&self) -> Option<Duration> {
        match &self.state {
            State::Waiting {
                why,
                until: Some(until),
            } => self
                .hold_off
                .as_ref()
                .filter(|(at, of)| at == until && of == why)
                .map(|(at, _)| *at),
            State::Unproven { until, .. } | State::RollingBack { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// When [`super::Event::Tick`] is due, on the monotonic clock.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        let forget = self.is_shunned().is_some_and(|shunned| shunned);
        let forget = self.shunned.as_ref().filter(|_| forget).map(|(_, at)| *at);
        [self.state_ends(), forget].into_iter().flatten().min()
    }

    fn state_ends(&self) -> Option<Duration> {
        match &self.state {
            State::Waiting { until, .. }
            | State::Queued { until, .. }
            | State::Draining { until } => *until,
            State::Rebooting { until }
            | State::GoingDown { until }
            | State::Unproven { until, .. }
            | State::RollingBack { until, .. } => Some(*until),
            _ => None,
        }
    }
}
