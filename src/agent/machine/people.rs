//! What people and the system ask of the machine from outside: a reboot, its end, a journal that fails.

use settings::Strategy;

use super::{Effect, Machine, Op, State};
use crate::agent::{
    failure::{Failure, Refusal},
    gate::ClosedBy,
    journal::{Asked, JournalError, Stage},
    situation::{Now, Request},
};

impl Machine {
    pub(super) fn asked(&mut self, request: Request) -> Vec<Effect> {
        let journal = match &mut self.journal {
            Err(why) => return vec![Effect::Answer(Err(Refusal::Journal(why.clone())))],
            Ok(_) if self.rules.strategy == Strategy::Off => {
                return vec![Effect::Answer(Err(Refusal::Closed(ClosedBy::StrategyOff)))];
            }
            Ok(journal) => journal,
        };
        let asked = Asked {
            request,
            boot_id: self.identity.boot_id.clone(),
        };
        self.before = Some(journal.clone());
        journal.request = Some(asked);
        let journal = Effect::Journal(journal.clone());
        // A person who asks again wants it tried again.
        self.hold_off = None;
        vec![journal, Effect::Answer(Ok(())), Effect::Again]
    }

    pub(super) fn cancelled(&mut self) -> Vec<Effect> {
        let Ok(journal) = &mut self.journal else {
            return vec![Effect::Answer(Ok(()))];
        };
        let before = journal.clone();
        if journal.request.take().is_none() {
            return vec![Effect::Answer(Err(Refusal::NothingAsked))];
        }
        self.before = Some(before);
        let answer = match self.state {
            State::Rebooting { .. } | State::Doubting { .. } | State::GoingDown { .. } => {
                Err(Refusal::RebootCalled)
            }
            _ => Ok(()),
        };
        vec![
            Effect::Journal(journal.clone()),
            Effect::Answer(answer),
            Effect::Again,
        ]
    }

    pub(super) fn stop(&mut self) -> Vec<Effect> {
        self.stopping = true;
        match &self.state {
            State::Queued { .. } => self.leave(),
            // Asked again: of a shutdown that systemd was told of directly nobody has heard.
            held @ (State::Taken | State::Drained | State::Committed) => self.look(held.clone()),
            State::Draining { .. } => self.look(State::Drained),
            // The next start tells the server.
            State::Leaving if self.greets() => {
                self.state = State::Stopped;
                vec![Effect::Exit]
            }
            // Under way already, and soon done; the driver sets the time limit.
            State::Leaving
            | State::Committing
            | State::SteppingBack { .. }
            | State::Releasing { .. } => Vec::new(),
            // From the reboot call on nothing is released: the journal has what the next start needs.
            _ => {
                self.state = State::Stopped;
                vec![Effect::Exit]
            }
        }
    }

    pub(super) fn journal_failed(&mut self, why: JournalError, now: &Now) -> Vec<Effect> {
        if let Some(before) = self.before.take() {
            // What the person asked for is refused, and nothing else has changed.
            self.journal = Ok(before);
            return Vec::new();
        }
        let why = Failure::from(why);
        self.hold_off(now, why.clone());
        match &self.state {
            // The step before whose journal failed was not taken: nothing was begun that is not journalled.
            State::Queued { .. } | State::Idle | State::Waiting { .. } | State::Starting => {
                self.still_holds_back |= self.state == State::Idle;
                self.set_entry(None);
                self.state = State::Waiting {
                    waits_for: ClosedBy::Failure(why),
                    until: self.hold_off.as_ref().map(|(until, _)| *until),
                };
                Vec::new()
            }
            State::Draining { .. } | State::Committing => {
                // Journalled as an earlier stage: a crash now is repaired by the same release. Nor was anything activated.
                let entry = self.at_stage(Stage::Draining);
                self.run(State::SteppingBack { why: why.into() }, Op::Undo(entry))
            }
            // What is in the journal of these only tells a later boot more: they go on without.
            State::Proving => vec![Effect::Run(self.proof())],
            State::Undraining => {
                let entry = self.entry().cloned();
                entry.map_or_else(Vec::new, |entry| vec![Effect::Run(Op::Undrain(entry))])
            }
            State::Leaving => self.leave(),
            // The other slot, once it has booted, finds by the tries that this one failed.
            State::RollingBack { verdict, .. } => {
                vec![Effect::Run(self.way_of(verdict.clone()))]
            }
            State::Soaking { .. } | State::SoakFailed { .. } => {
                let entry = self.entry().cloned();
                entry.map_or_else(Vec::new, |entry| vec![Effect::Run(Op::Watch(entry))])
            }
            State::Resuming => {
                let op = self.resumption(now);
                op.map_or_else(Vec::new, |op| vec![Effect::Run(op)])
            }
            // A release needs no journal to be right: repeated after a crash, it is harmless.
            State::Releasing { .. } => {
                let entry = self.entry().cloned();
                let owed = self.owed().cloned();
                entry.map_or_else(Vec::new, |entry| {
                    vec![Effect::Run(Op::Release(entry, owed))]
                })
            }
            _ => Vec::new(),
        }
    }
}
