//! What follows when an operation has ended, or the node was looked at again.

use std::time::Duration;

use super::{Effect, Event, Machine, Op, State};
use crate::agent::{
    failure::{Failure, SoakNote, Why},
    gate::Gate,
    journal::{Entry, Stage},
    situation::Now,
};

impl Machine {
    /// An operation ended.
    pub(super) fn ended(&mut self, outcome: Event, now: &Now) -> Vec<Effect> {
        match (&self.state, outcome) {
            (State::Queued { .. }, Event::Acquired(claim)) => {
                // Journalled with the next stage.
                self.remember_claim(claim);
                self.taken(now)
            }
            (State::Leaving, Event::Left(Some(claim))) => {
                self.remember_claim(claim);
                self.taken(now)
            }
            (State::Asking, Event::Allowed(Ok(()), facts)) => {
                // What has become known meanwhile counts as well.
                self.facts = Some(facts);
                self.state = State::Idle;
                let effects = self.consider(now);
                // Unless it goes elsewhere by now, and asks for that.
                if self.state != State::Asking {
                    self.allowed = None;
                }
                effects
            }
            (State::Asking, Event::Allowed(Err(why), facts)) => {
                self.facts = Some(facts);
                self.allowed = None;
                self.hold_off(now, why);
                self.state = State::Idle;
                self.consider(now)
            }
            (State::Leaving, Event::Left(None)) => self.clear(),
            (State::Draining { .. }, Event::Drained(Ok(()), before)) => {
                self.take_baseline(before);
                self.look(State::Drained)
            }
            // There is nothing to undo: only whether the system goes down by now is asked.
            (State::Draining { .. }, Event::Refused(why)) => {
                self.hold_off(now, why.clone());
                self.look(State::SteppingBack { why: why.into() })
            }
            (State::Draining { .. }, Event::Drained(Err(why), _)) => {
                self.hold_off(now, why.clone());
                self.step_back(why.into(), now)
            }
            (State::Committing, Event::CommitEnded(Ok(()))) => self.look(State::Committed),
            (State::Committing, Event::CommitEnded(Err(why))) => {
                // Somebody said no: joining the queue again at once would only ask them again.
                self.hold_off(now, why.clone());
                self.step_back(why.into(), now)
            }
            (State::Rebooting { .. }, Event::RebootCalled(Err(why))) => {
                let why = Failure::RebootCall(why.into());
                self.look(State::Doubting { why })
            }
            // The undrain may have taken long: whether the system goes down by now is asked.
            (state @ State::SteppingBack { .. }, Event::Undone) => self.look(state.clone()),
            (State::Undraining, Event::Undone) if self.going_down() == Some(true) => {
                self.go_down(now)
            }
            (State::Undraining, Event::Undone) => self.end_hold(now),
            (State::Proving, Event::Checked(verdict, other)) => self.checked(verdict, other, now),
            (State::Marking, Event::Marked(done)) => self.marked(done, now),
            // Quarantined it stays, whatever the checks would say by now: it is tried again.
            (State::RollingBack { verdict, .. }, Event::RolledBack(Err(why))) => {
                self.state = State::RollingBack {
                    verdict: verdict.clone(),
                    failed: Some(why),
                    until: now.monotonic + self.rules.retry.max(Duration::from_millis(10)),
                };
                Vec::new()
            }
            (State::Releasing { .. }, Event::Soaks(length)) => self.soaks(length, now),
            (State::Resuming, Event::Resumed) => {
                let note = self.hold_off.as_ref().filter(|_| self.wants_way_back());
                let note = note.map(|(_, why)| SoakNote::WayBack(why.clone().into()));
                self.soak_on(note, now)
            }
            (State::Soaking { .. } | State::SoakFailed { .. }, Event::Checked(verdict, other)) => {
                self.soak_checked(verdict, other, now)
            }
            (
                State::Resuming | State::Soaking { .. } | State::SoakFailed { .. },
                Event::HoldEnded(why),
            ) => self.soak_over(Why::SoakCutOff(why)),
            (State::Releasing { .. }, Event::Released(told)) => {
                if let Some(what) = told {
                    self.reported(&what);
                }
                self.clear()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn taken(&mut self, now: &Now) -> Vec<Effect> {
        let here = |entry: &Entry| entry.boot_id == self.identity.boot_id;
        if self.entry().is_some_and(here) {
            self.look(State::Taken)
        } else if self.stopping {
            // The next start asks again, and proves this boot.
            self.state = State::Stopped;
            vec![Effect::Exit]
        } else {
            self.at_stage(Stage::Draining);
            self.prove(now)
        }
    }

    /// The node was looked at again, in a state that asked for it.
    pub(super) fn looked(&mut self, now: &Now) -> Vec<Effect> {
        let going_down = self.going_down();
        match self.state.clone() {
            State::Taken | State::Drained | State::Committed | State::SteppingBack { .. }
                // Not known is not no: what is held is kept until somebody says.
                if going_down != Some(false) =>
            {
                self.go_down(now)
            }
            State::Taken | State::Drained | State::Committed if self.stopping => {
                self.step_back(Why::Stopped, now)
            }
            State::SteppingBack { .. } => self.stepped_back(now),
            State::Taken => match self.gate(now) {
                Gate::Go { until, .. } => {
                    let entry = self.begin_drain(now);
                    self.journalled(State::Draining { until }, Op::Drain(entry))
                }
                other => self.step_back(reason(other), now),
            },
            State::Drained => match self.gate(now) {
                Gate::Go { .. } => {
                    let entry = self.at_stage(Stage::Committing);
                    self.journalled(State::Committing, Op::Commit(entry))
                }
                other => self.step_back(reason(other), now),
            },
            State::Committed => match (self.gate(now), self.entry().cloned()) {
                (Gate::Go { .. }, Some(entry)) => {
                    let until = now.monotonic + self.rules.shutdown_timeout;
                    self.run(State::Rebooting { until }, Op::Reboot(entry))
                }
                (other, _) => self.step_back(reason(other), now),
            },
            State::Doubting { why } => match going_down {
                Some(false) => {
                    // Whatever kept the system up would keep it up again; and who called the shutdown off meant it.
                    self.hold_off(now, why.clone());
                    self.step_back(why.into(), now)
                }
                Some(true) => self.go_down(now),
                // Not known: the semaphore is kept.
                None => {
                    self.state = State::Rebooting {
                        until: now.monotonic + self.rules.shutdown_timeout,
                    };
                    Vec::new()
                }
            },
            _ => self.reconsider(now),
        }
    }
}

/// Why a gate is not open.
pub(super) fn reason(gate: Gate) -> Why {
    match gate {
        Gate::Closed(closed) => Why::Closed(closed.by),
        Gate::Nothing | Gate::Go { .. } => Why::NothingWanted,
    }
}
