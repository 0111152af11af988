//! Is a reboot wanted, and may the node go for it?

use std::time::Duration;

use semaphore::records::Image;
use settings::Strategy;

use super::{Effect, Machine, Op, State};
use crate::agent::{
    gate::{Gate, Intent, Now, Update, gate, gate_with_people, intent},
    journal::{ClaimKey, Entry, Stage},
};

impl Machine {
    /// Is a reboot wanted, and may the node go for it?
    pub(super) fn consider(&mut self, now: &Now) -> Vec<Effect> {
        // What was left in the line is left; now what runs is to be proven before it goes anywhere.
        if self.identity.boot.trial && self.entry().is_none() {
            return self.prove(now);
        }
        let Some(facts) = &self.facts else {
            return Vec::new();
        };
        let journal = match &self.journal {
            Ok(journal) => journal,
            Err(why) => {
                self.state = State::Waiting {
                    why: why.clone(),
                    until: None,
                };
                return Vec::new();
            }
        };
        // What a run before this one left in the line.
        let ticket = journal.entry.clone();
        let grace_over = self.grace.is_some_and(|end| now.monotonic >= end);
        let intent = self.intent();
        let hold_off = self
            .hold_off
            .clone()
            .filter(|(until, _)| now.monotonic < *until);
        let wait = |why: String, until: Option<Duration>| State::Waiting { why, until };
        let gate = gate_with_people(&self.rules, facts, intent, grace_over, now);
        let mut effects = Vec::new();
        let next = match gate {
            Gate::Nothing => {
                self.grace = None;
                State::Idle
            }
            Gate::Blocked { why, until } => {
                self.grace = None;
                wait(why, until)
            }
            _ if journal.is_newer() => wait(
                format!(
                    "the journal is of a newer pointsman (version {}): this one begins no reboot",
                    journal.version
                ),
                None,
            ),
            _ if hold_off.is_some() => {
                let (until, why) = hold_off.unwrap_or_default();
                wait(why, Some(until))
            }
            Gate::People(people) => {
                let end = *self.grace.get_or_insert_with(|| {
                    effects.push(Effect::Announce(self.rules.login_grace));
                    now.monotonic + self.rules.login_grace
                });
                let names: Vec<String> = people
                    .iter()
                    .map(|(who, tty)| format!("{who} ({tty})"))
                    .collect();
                wait(
                    format!(
                        "{} logged in: waiting until they had time to finish",
                        names.join(", ")
                    ),
                    Some(end),
                )
            }
            Gate::Go { intent, until } => match self.quarantined(&intent.to) {
                Some(why) => wait(why, None),
                None => return self.go(intent, until, ticket, now),
            },
        };
        if ticket.is_some() {
            return self.leave();
        }
        self.state = next;
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
            let here = |claim: &ClaimKey| claim.keys == self.identity.keys;
            entry.intent.to.is(&intent.to)
                && self.rules.strategy == Strategy::EtcdLock
                && entry.claim.as_ref().is_some_and(here)
        };
        if let Some(entry) = ticket {
            return if same(&entry) {
                self.run(State::Queued { until }, Op::Acquire(entry))
            } else {
                self.leave()
            };
        }
        if self.allowed.take().is_none_or(|to| !to.is(&intent.to)) {
            self.allowed = Some(intent.to.clone());
            return self.run(State::Asking, Op::May(intent));
        }
        let mut entry = Entry {
            stage: Stage::Queued,
            boot_id: self.identity.boot_id.clone(),
            claim: None,
            intent,
            from: self.identity.runs.clone(),
        };
        if self.rules.strategy == Strategy::EtcdLock {
            entry.claim = Some(ClaimKey {
                nonce: now.nonce(),
                id: self.identity.id.clone(),
                keys: self.identity.keys.clone(),
                member: None,
                by_hand: false,
                drained: false,
            });
            self.set_entry(Some(entry.clone()));
            self.journalled(State::Queued { until }, Op::Acquire(entry))
        } else {
            self.set_entry(Some(entry));
            self.look(State::Taken)
        }
    }

    pub(super) fn intent(&self) -> Option<Intent> {
        let mut intent = intent(self.facts.as_ref()?, self.request(), &self.identity.runs)?;
        intent.to = self.named(intent.to);
        Some(intent)
    }

    /// An image with its version, where this node has seen it under one: a quarantine may be of the version only.
    pub(super) fn named(&self, image: Image) -> Image {
        let (
            Image {
                image: Some(_),
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
            .find(|known| known.image == image.image)
            .and_then(|known| known.version.clone());
        Image { version, ..image }
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
        if staged.image.is_none()
            || staged.version.is_none()
            || journal.staged.as_ref() == Some(staged)
        {
            return None;
        }
        journal.staged = Some(staged.clone());
        Some(Effect::Remember(journal.clone()))
    }

    pub(super) fn gate(&self, now: &Now) -> Gate {
        let Some(facts) = &self.facts else {
            return Gate::Nothing;
        };
        match (gate(&self.rules, facts, self.intent(), now), self.entry()) {
            (Gate::Go { intent, .. }, Some(entry)) if !intent.to.is(&entry.intent.to) => {
                Gate::Blocked {
                    why: format!("{} boots next now, not {}", intent.to, entry.intent.to),
                    until: None,
                }
            }
            // Taken back, where something else wants the reboot as well.
            (Gate::Go { intent, .. }, Some(entry)) if under_a_lock(entry) && !intent.by_person => {
                Gate::Blocked {
                    why: "nobody asks for the reboot any more, and this node is locked by hand"
                        .into(),
                    until: None,
                }
            }
            (Gate::Go { intent, until }, _) => match self.quarantined(&intent.to) {
                Some(why) => Gate::Blocked { why, until: None },
                None => Gate::Go { intent, until },
            },
            (gate, _) => gate,
        }
    }

    pub(super) fn going_down(&self) -> Option<bool> {
        let logins = self.facts.as_ref()?.logind.as_ref().ok()?;
        Some(logins.going_down)
    }

    pub(super) fn hold_off(&mut self, now: &Now, why: &str) {
        self.hold_off = Some((now.monotonic + self.rules.retry, why.to_owned()));
    }
}

/// Whether this reboot goes under the lock of a person.
fn under_a_lock(entry: &Entry) -> bool {
    entry.claim.as_ref().is_some_and(|claim| claim.by_hand)
}
