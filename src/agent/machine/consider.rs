//! Is a reboot wanted, and may the node go for it?

use std::time::Duration;

use semaphore::records::ImageId;
use settings::Strategy;

use super::{Effect, Machine, Op, State};
use crate::agent::{
    failure::Failure,
    gate::{self, ClosedBy, Gate},
    journal::{Claim, ClaimKey, Entry, Stage},
    situation::{Intent, Now, Update, intent},
};

impl Machine {
    /// Is a reboot wanted, and may the node go for it?
    pub(super) fn consider(&mut self, now: &Now) -> Vec<Effect> {
        // What was left in the queue is left; now what runs is to be proven before it goes anywhere.
        if self.identity.boot.trial && self.entry().is_none() {
            return self.prove(now);
        }
        if self.facts.is_none() {
            return Vec::new();
        }
        if self.still_holds_back && !self.is_held_off(now) {
            self.still_holds_back = false;
            self.state = State::Idle;
            let journal = Effect::Journal(self.journal.clone().unwrap_or_default());
            return vec![journal, Effect::LetUpdatesIn, Effect::Again];
        }
        // What a run before this one left in the queue.
        let ticket = self.entry().cloned();
        let mut effects = Vec::new();
        self.state = match self.gate_at(gate::Stage::BeforeQueue, now) {
            Gate::Go { intent, until } => return self.go(intent, until, ticket, now),
            Gate::Nothing => {
                self.grace = None;
                State::Idle
            }
            Gate::Closed(closed) => {
                let mut until = closed.until;
                if let ClosedBy::Restaged(..) = closed.by {
                    effects.extend(self.restage(now));
                }
                if closed.by.ends_grace() {
                    self.grace = None;
                } else if let ClosedBy::People(_) = closed.by {
                    until = Some(*self.grace.get_or_insert_with(|| {
                        effects.push(Effect::Announce(self.rules.login_grace));
                        now.monotonic + self.rules.login_grace
                    }));
                }
                State::Waiting {
                    waits_for: closed.by,
                    until,
                }
            }
        };
        if ticket.is_some() {
            return self.leave();
        }
        effects
    }

    fn go(
        &mut self,
        intent: Intent,
        until: Option<Duration>,
        ticket: Option<Entry>,
        now: &Now,
    ) -> Vec<Effect> {
        let same = |entry: &Entry| {
            let same_claim = match (&entry.claim, self.rules.strategy) {
                (Some(Claim::Etcd(claim)), Strategy::EtcdLock) => claim.keys == self.identity.keys,
                (Some(Claim::FleetLock(place)), Strategy::FleetLock) => {
                    Some(place) == self.identity.place.as_ref()
                }
                _ => false,
            };
            entry.intent.to.is(&intent.to) && same_claim
        };
        if let Some(mut entry) = ticket {
            return if !same(&entry) {
                self.leave()
            } else if entry.intent.new_image == intent.new_image {
                self.run(State::Queued { until }, Op::Acquire(entry))
            } else {
                entry.intent.new_image = intent.new_image;
                self.correct(entry)
            };
        }
        if self.allowed.take().is_none_or(|to| !to.is(&intent.to)) {
            self.allowed = Some(intent.to.clone());
            return self.run(State::Asking, Op::May(intent));
        }
        let entry = Entry {
            stage: Stage::Queued,
            boot_id: self.identity.boot_id.clone(),
            claim: self.new_claim(now),
            intent,
            from: self.identity.runs.clone(),
            drain_began: None,
            way_back: false,
        };
        if entry.claim.is_some() {
            self.set_entry(Some(entry.clone()));
            self.journalled(State::Queued { until }, Op::Acquire(entry))
        } else {
            self.set_entry(Some(entry));
            self.look(State::Taken)
        }
    }

    /// Journals what has changed of a reboot that a run before this one left in the queue; then it goes on. Where that cannot be
    /// written, it stays as it was: perhaps it holds already.
    fn correct(&mut self, entry: Entry) -> Vec<Effect> {
        self.before = self.journal.as_ref().ok().cloned();
        self.set_entry(Some(entry));
        let journal = Effect::Journal(self.journal.clone().unwrap_or_default());
        vec![journal, Effect::Again]
    }

    /// What a reboot that begins now has to be given.
    fn new_claim(&self, now: &Now) -> Option<Claim> {
        match self.rules.strategy {
            Strategy::EtcdLock => Some(Claim::Etcd(ClaimKey {
                nonce: now.nonce(),
                id: self.identity.id.clone(),
                keys: self.identity.keys.clone(),
                member: None,
                by_hand: false,
                soaks: false,
                drained: false,
            })),
            Strategy::FleetLock => self.identity.place.clone().map(Claim::FleetLock),
            Strategy::Reboot | Strategy::Off => None,
        }
    }

    pub(super) fn intent(&self) -> Option<Intent> {
        let mut intent = intent(self.facts.as_ref()?, self.request(), &self.identity.runs)?;
        intent.to = self.named(intent.to);
        // A slot that is marked good ran well here.
        let good = self
            .identity
            .boot
            .other
            .as_ref()
            .filter(|other| other.successful);
        intent.new_image &= !good.is_some_and(|other| other.image.is(&intent.to));
        Some(intent)
    }

    /// An image with its version, where this node has seen it under one: a quarantine may be of the version only.
    pub(super) fn named(&self, image: ImageId) -> ImageId {
        let (
            ImageId {
                digest: Some(_),
                version: None,
            },
            Ok(journal),
        ) = (&image, &self.journal)
        else {
            return image;
        };
        let quarantined = journal.quarantined.iter().map(|c| &c.what);
        let from = self.entry().map(|entry| &entry.from);
        let seen = [journal.staged.as_ref(), journal.good.as_ref(), from];
        let seen = seen.into_iter().flatten();
        let version = seen
            .chain(quarantined)
            .find(|known| known.digest == image.digest)
            .and_then(|known| known.version.clone());
        ImageId { version, ..image }
    }

    /// Remembers the staged update's version with its content.
    pub(super) fn remember_what_is_staged(&mut self) -> Option<Effect> {
        let Some(Update::Staged(staged)) = self.facts.as_ref().map(|facts| &facts.update) else {
            return None;
        };
        let journal = self
            .journal
            .as_mut()
            .ok()
            .filter(|journal| !journal.is_newer())?;
        if staged.digest.is_none()
            || staged.version.is_none()
            || journal.staged.as_ref() == Some(staged)
        {
            return None;
        }
        journal.staged = Some(staged.clone());
        Some(Effect::Remember(journal.clone()))
    }

    /// The gates of the reboot under way.
    pub(super) fn gate(&self, now: &Now) -> Gate {
        match self.entry() {
            Some(entry) => self.gate_at(gate::Stage::UnderWay(entry), now),
            None => Gate::Nothing,
        }
    }

    pub(super) fn gate_at(&self, stage: gate::Stage<'_>, now: &Now) -> Gate {
        let Some(facts) = &self.facts else {
            return Gate::Nothing;
        };
        let intent = self.intent();
        let node = gate::Node {
            rules: &self.rules,
            facts,
            journal: self.journal.as_ref(),
            policy_windows: self.policy_windows(),
            quarantined: intent.as_ref().and_then(|to| self.quarantined(&to.to)),
            intent: intent.as_ref(),
            restaged: self.restaged(now),
            hold_off: self.hold_off.as_ref(),
            grace_ends: self.grace,
            now,
        };
        gate::decide(&node, stage)
    }

    pub(super) fn going_down(&self) -> Option<bool> {
        let logins = self.facts.as_ref()?.logind.as_ref().ok()?;
        Some(logins.going_down)
    }

    /// Whether nothing is tried again yet after a failure.
    pub(super) fn is_held_off(&self, now: &Now) -> bool {
        let held_off = |(until, _): &(Duration, _)| now.monotonic < *until;
        self.hold_off.as_ref().is_some_and(held_off)
    }

    pub(super) fn hold_off(&mut self, now: &Now, why: Failure) {
        self.hold_off = Some((now.monotonic + self.rules.retry, why));
    }
}
