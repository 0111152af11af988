//! How things stand, for people and for the driver.

use std::time::Duration;

use host::duration;
use semaphore::{etcd::QueuePosition, fleet_lock::Place};

use super::{Machine, State, StateName};
use crate::agent::{
    gate::ClosedBy,
    journal::{Entry, Journal, Stage},
    situation::Now,
};

impl Machine {
    /// The state as one word, and what the agent waits for as a sentence (empty where it waits for nothing).
    #[must_use]
    pub fn report(&self) -> (&'static str, String) {
        let said = |otherwise: &str| {
            if self.waits_for.is_empty() {
                otherwise.to_owned()
            } else {
                self.waits_for.clone()
            }
        };
        let silent = self.facts.as_ref().and_then(|f| f.logind.as_ref().err());
        let unless_unknown = |otherwise: &str| match silent {
            Some(error) => format!("whether the system goes down is not known: {error}"),
            None => otherwise.to_owned(),
        };
        // What must not go has left the queue, and joins it again once it may.
        let outside = matches!(
            self.position,
            QueuePosition::Outside | QueuePosition::Quarantined | QueuePosition::Held
        );
        if outside && matches!(self.state, State::Queued { .. }) {
            return (StateName::Waiting.word(), self.waits_for.clone());
        }
        // Where a server is asked there is no queue.
        if matches!(self.state, State::Queued { .. })
            && self.entry().is_some_and(|entry| entry.place().is_some())
        {
            let asks = said("asking the FleetLock server");
            return (StateName::Waiting.word(), asks);
        }
        let waits_for = match &self.state {
            State::Idle | State::Stopped => String::new(),
            State::Starting => "waiting for update_engine and logind".into(),
            State::Waiting { waits_for, .. } => waits_for.to_string(),
            State::Unproven { why, .. } => why.to_string(),
            State::Asking => said("asking the may-reboot.d hooks"),
            State::Queued { .. } => said("joining the queue for the reboot lock"),
            State::Leaving if self.greets() => {
                said("telling the FleetLock server that this node is up")
            }
            State::Leaving if self.entry().is_some_and(|entry| entry.place().is_some()) => {
                said("telling the FleetLock server that no place is wanted")
            }
            State::Leaving => said("leaving the queue for the reboot lock"),
            State::Taken | State::Draining { .. } | State::Drained => {
                said("running the drain hooks")
            }
            State::Committing | State::Committed => said("a last look before the reboot"),
            State::Rebooting { .. } => unless_unknown("waiting for the system to go down"),
            State::Doubting { why } => unless_unknown(&why.to_string()),
            State::GoingDown { .. } => unless_unknown("the system is going down"),
            State::Proving => said("checking the new boot"),
            State::Marking => said("marking the slot good"),
            State::Undraining => said("running the undrain hooks"),
            State::Resuming => said("telling the cluster that this node soaks"),
            State::Soaking { .. } | State::SoakFailed { .. } => self.soak_report(),
            State::SteppingBack { why } | State::Releasing { why } => said(&why.to_string()),
            State::RollingBack {
                verdict,
                failed: Some(why),
                ..
            } => format!("{verdict}; it must roll back, and cannot: {why}"),
            State::RollingBack { verdict, .. } => said(verdict),
        };
        (self.state.name().word(), waits_for)
    }

    /// The journal; none where it cannot be read.
    #[must_use]
    pub fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref().ok()
    }

    /// Whether what it waits for, as reported, is a hook.
    #[must_use]
    pub fn waits_for_hook(&self) -> bool {
        self.waits_for_hook && !self.waits_for.is_empty() && self.report().1 == self.waits_for
    }

    /// The digest of the image that was proven here last; none where none was, and while the node is on its way to another.
    #[must_use]
    pub fn proven_digest(&self) -> Option<&str> {
        let journal = self.journal.as_ref().ok()?;
        let on_its_way = |entry: &Entry| {
            let ended = matches!(entry.stage, Stage::Queued | Stage::Releasing);
            !ended && !entry.intent.to.is(&entry.from)
        };
        if journal.entry.as_ref().is_some_and(on_its_way) {
            return None;
        }
        let good = journal.good.as_ref()?;
        // One that failed its soak was proven, and is not good all the same.
        let bad = journal
            .quarantined
            .iter()
            .any(|bad| good.is_meant_by(&bad.what));
        good.digest.as_deref().filter(|_| !bad)
    }

    /// That this node's reboots outlast every window, which people should know; none where no reboot is wanted.
    #[must_use]
    pub fn window_note(&self, now: &Now) -> Option<String> {
        self.intent()?;
        let usual = self.journal.as_ref().ok()?.usual_duration()?;
        let windows = self.rules.windows.clone().and(self.policy_windows());
        windows::outlasts_all(&windows, usual, &now.wall).then(|| {
            format!(
                "a reboot of this node takes {}, longer than every reboot window; it starts while one is open all the same",
                duration::print(usual)
            )
        })
    }

    /// The place at a FleetLock server that the node asks for; none with another strategy.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        self.identity.place.as_ref()
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
                waits_for: ClosedBy::Failure(why),
                until: Some(until),
            } => self
                .hold_off
                .as_ref()
                .filter(|(at, of)| at == until && of == why)
                .map(|(at, _)| *at),
            State::Queued { .. } | State::Leaving | State::Releasing { .. } => self.asks_again_at,
            State::Unproven { until, .. } | State::RollingBack { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// When [`super::Event::Tick`] is due, on the monotonic clock.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        let forget = self
            .update_is_quarantined()
            .is_some_and(|quarantined_update| quarantined_update);
        let forget = self
            .quarantined_update
            .as_ref()
            .filter(|_| forget)
            .map(|(_, at)| *at);
        let write_again = self.hold_off.as_ref().filter(|_| self.still_holds_back);
        let write_again = write_again.map(|(until, _)| *until);
        let ends = [self.state_ends(), forget, write_again, self.restage_at];
        ends.into_iter().flatten().min()
    }

    fn state_ends(&self) -> Option<Duration> {
        match &self.state {
            State::Waiting { until, .. }
            | State::Queued { until, .. }
            | State::Draining { until } => *until,
            State::SoakFailed { until, .. } => *until,
            State::Soaking { until, .. }
            | State::Rebooting { until }
            | State::GoingDown { until }
            | State::Unproven { until, .. }
            | State::RollingBack { until, .. } => Some(*until),
            _ => None,
        }
    }
}
