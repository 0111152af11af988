//! The agent's machine of states: state × event → state × effects. Pure.
//!
//! The driver does the effects, one operation at a time, and brings back what came of each as an event. An
//! event that does not belong to the operation under way comes from one given up meanwhile, and is dropped.

mod consider;
mod known_windows;
mod outcomes;
mod people;
mod proving;
mod quarantined;
mod report;
mod restage;
mod soaking;
mod states;
mod steps;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::time::Duration;

pub use known_windows::KnownWindows;
pub use states::StateName;
pub use vocabulary::{Effect, Event, Op, State};

use semaphore::{etcd::QueuePosition, fleet_lock::Place, keys::Keys, records::ImageId};

use outcomes::reason;

use super::{
    failure::{Failure, Why},
    gate::Gate,
    journal::{Entry, Journal, JournalError, Stage},
    restage::Restaged,
    situation::{Facts, Intent, Now, Request, Rules},
};

/// Who this node is, and what is fixed for this run.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The node's id.
    pub id: String,
    /// The boot this is.
    pub boot_id: String,
    /// Where the semaphore is.
    pub keys: Keys,
    /// The place that it asks for with the strategy `fleet-lock`; none with others.
    pub place: Option<Place>,
    /// What runs.
    pub runs: ImageId,
    /// What the slots say of this boot.
    pub boot: Boot,
}

/// What the slots say of a boot; of a node without slots, nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boot {
    /// Whether the booted slot is not marked good.
    pub trial: bool,
    /// The other slot, where there is one.
    pub other: Option<Other>,
}

/// The slot that does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// What it holds.
    pub image: ImageId,
    /// Whether it is marked good.
    pub successful: bool,
    /// Whether it has tries left.
    pub tries: bool,
    /// Whether a roll-back has left it: its priority is 0, which no boot loader makes it.
    pub abandoned: bool,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The rules in force.
    pub rules: Rules,
    identity: Identity,
    state: State,
    journal: Result<Journal, JournalError>,
    facts: Option<Facts>,
    /// When the grace for people logged in ends, once it began.
    grace: Option<Duration>,
    /// Until when nothing is tried again after a failure, and that failure.
    hold_off: Option<(Duration, Failure)>,
    /// While what a person asked for is being written: the journal before it.
    before: Option<Journal>,
    /// Where the hooks have just allowed to go.
    allowed: Option<ImageId>,
    /// What the operation under way last said it waits for.
    waits_for: String,
    /// Whether that is a hook.
    waits_for_hook: bool,
    /// When that is asked again, on the monotonic clock, where the operation has said so.
    asks_again_at: Option<Duration>,
    /// Where it stands in the queue meanwhile.
    position: QueuePosition,
    /// A staged update that must not be booted, and when update_engine is to forget it, on the monotonic clock.
    quarantined_update: Option<(ImageId, Duration)>,
    /// Whether the journal on disk still holds update_engine back, because it could not be written when the hold ended.
    still_holds_back: bool,
    /// A staged update that has grown too old, and until when update_engine is given to forget it, on the monotonic clock.
    restaged: Option<Restaged>,
    /// Whether another image than the staged one has become open to the group, of which this node has not known.
    newer_wave: bool,
    /// When to see whether the staged update has grown too old, on the monotonic clock.
    restage_at: Option<Duration>,
    stopping: bool,
}

impl Machine {
    /// The machine at the start of the agent, with what its journal says.
    #[must_use]
    pub fn new(rules: Rules, identity: Identity, journal: Result<Journal, JournalError>) -> Self {
        Self {
            rules,
            identity,
            state: State::Starting,
            journal,
            facts: None,
            grace: None,
            hold_off: None,
            before: None,
            allowed: None,
            waits_for: String::new(),
            waits_for_hook: false,
            asks_again_at: None,
            position: QueuePosition::Unknown,
            quarantined_update: None,
            still_holds_back: false,
            restaged: None,
            newer_wave: false,
            restage_at: None,
            stopping: false,
        }
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether the booted slot is not marked good.
    #[must_use]
    pub fn is_on_trial(&self) -> bool {
        self.identity.boot.trial
    }

    /// The reboot under way, if any.
    #[must_use]
    pub fn entry(&self) -> Option<&Entry> {
        self.journal.as_ref().ok()?.entry.as_ref()
    }

    /// The reboot a person asked for, if any.
    #[must_use]
    pub fn request(&self) -> Option<&Request> {
        Some(&self.journal.as_ref().ok()?.request.as_ref()?.request)
    }

    /// Whether another machine, started from the same journal, would go on as this one would: nothing is on its way to
    /// be held or released. A boot that has not passed its checks is checked again, and perhaps by better rules.
    #[must_use]
    pub fn may_be_exchanged(&self) -> bool {
        let greets = matches!(self.state, State::Leaving) && self.greets();
        !self.stopping
            && (greets
                || matches!(
                    self.state,
                    State::Starting
                        | State::Idle
                        | State::Waiting { .. }
                        | State::Queued { .. }
                        | State::Unproven { .. }
                        | State::Soaking { .. }
                        | State::SoakFailed { .. }
                ))
    }

    /// Whether the node is only telling a FleetLock server that it holds nothing.
    #[must_use]
    pub fn greets(&self) -> bool {
        self.entry().is_some_and(Entry::is_greeting)
    }

    /// Whether no reboot of this machine's own into another image is on its way: from the commit on the next slot belongs to
    /// that. Where none is, nobody has cleared what is staged, also while the system goes down.
    #[must_use]
    pub fn may_pin_slot(&self) -> bool {
        let moves = |entry: &Entry| {
            let committed = entry.stage == Stage::Committing;
            committed && entry.boot_id == self.identity.boot_id && !entry.intent.to.is(&entry.from)
        };
        match self.state {
            State::Starting | State::RollingBack { .. } | State::Stopped => false,
            State::Committing
            | State::Committed
            | State::Rebooting { .. }
            | State::Doubting { .. }
            | State::GoingDown { .. } => !self.entry().is_some_and(moves),
            _ => true,
        }
    }

    /// What is known from outside.
    #[must_use]
    pub fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    /// Begins: what a former run of the agent left is taken up.
    pub fn start(&mut self, now: &Now) -> Vec<Effect> {
        let mut effects = self.remember_what_is_good();
        effects.extend(self.take_up(now));
        self.check_step_from(StateName::Starting);
        effects
    }

    /// Checks a step against the table of transitions, in debug builds.
    fn check_step_from(&self, before: StateName) {
        let after = self.state.name();
        debug_assert!(
            before == after || before.next().contains(&after),
            "{before:?} leads to {after:?}: add it to StateName::next, and to the diagram in ARCHITECTURE.md"
        );
    }

    fn take_up(&mut self, now: &Now) -> Vec<Effect> {
        let this_boot = self.identity.boot_id.clone();
        let Ok(journal) = &mut self.journal else {
            return Vec::new();
        };
        // It is told again, where it still has to be.
        journal.entry.take_if(|entry| entry.is_greeting());
        // A new boot fulfils what was asked for in an earlier one.
        let fulfilled = journal
            .request
            .take_if(|asked| asked.boot_id != this_boot)
            .is_some();
        // A program before this one kept it only as long as the soak.
        let failed = journal.soak.as_ref().filter(|soak| soak.failed.is_some());
        if let (None, Some(soak)) = (&journal.failed_soak, failed) {
            journal.failed_soak = Some(soak.entry.intent.to.clone());
        }
        // Another image has come up since.
        journal
            .failed_soak
            .take_if(|image| !image.is(&self.identity.runs));
        let from = journal.entry.as_ref().map(|entry| &*entry.boot_id);
        journal.baseline = journal
            .baseline
            .take()
            .and_then(|baseline| baseline.for_boot(&this_boot, from));
        if journal.entry.is_none()
            && let Some(place) = &self.identity.place
        {
            let greeting = Entry::greeting(place.clone(), &self.identity.runs);
            journal.entry = Some(greeting);
        }
        let Some(entry) = journal.entry.clone() else {
            // A proof that was cut off in a boot nobody had cleared: it says nothing of any later one.
            journal.trial = None;
            // Nobody's reboot, or a person's: a slot that is not marked good is to be proven all the same.
            return if self.identity.boot.trial {
                self.prove(now)
            } else if fulfilled {
                vec![Effect::Journal(journal.clone())]
            } else {
                Vec::new()
            };
        };
        if entry.boot_id != this_boot {
            self.fell_back(&entry);
        }
        let entry = self.still_there(entry);
        let new_boot = entry.boot_id != this_boot;
        match (entry.stage, new_boot) {
            // Whether it holds is asked in the same step that gives up the ticket. On the same boot the queue is
            // taken up again as soon as the facts are known; the place in it is kept until then.
            (Stage::Queued, false) => Vec::new(),
            // A trial is proven, or rolled back, also where etcd cannot be asked.
            (Stage::Queued, true) if self.identity.boot.trial => self.prove(now),
            (Stage::Queued, true) => self.run(State::Leaving, Op::Leave(entry)),
            (Stage::Draining, false) => self.step_back(Why::RestartedDuringDrain, now),
            (Stage::Committing, false) => self.look(State::Doubting {
                why: Failure::RestartedAfterCommit,
            }),
            (Stage::Draining | Stage::Committing, true) => self.prove(now),
            (Stage::Releasing, false) => self.look(State::SteppingBack {
                why: Why::RestartedDuringRelease,
            }),
            (Stage::Soaking, _) if self.was_proven() => self.end_hold(now),
            (Stage::Soaking, _) => self.prove(now),
            (Stage::Releasing, true) if self.was_proven() => self.release(),
            (Stage::Releasing, true) => self.prove(now),
        }
    }

    /// Takes one step.
    pub fn step(&mut self, event: Event, now: &Now) -> Vec<Effect> {
        let before = self.state.name();
        let mut effects = self.respond(event, now);
        self.check_step_from(before);
        effects.extend(self.remember_what_is_staged());
        effects.extend(self.count_how_long_it_waits(now));
        effects.extend(self.reset_quarantined_update(now));
        effects
    }

    fn respond(&mut self, event: Event, now: &Now) -> Vec<Effect> {
        if !matches!(event, Event::JournalFailed(_)) {
            self.before = None;
        }
        match event {
            Event::Facts(facts) => {
                self.facts = Some(facts);
                self.reconsider(now)
            }
            Event::Tick => self.tick(now),
            Event::Asked(request) => self.asked(request),
            Event::Cancelled => self.cancelled(),
            Event::SoakEnded => self.soak_ended(),
            Event::QuarantinedByHand { what, reason } => self.quarantined_by_hand(what, reason),
            Event::Cleared(what) => self.cleared(&what),
            Event::Stop => self.stop(),
            Event::Reported(what) => self.reported(&what),
            Event::SoakCleared(image) => self.soak_is_cleared(&image),
            Event::StoreAccepted => self.tell_again(),
            Event::JournalFailed(why) => self.journal_failed(why, now),
            Event::WaitsFor(wait) => {
                if let Some(windows) = wait.policy_windows {
                    return self.note_policy_windows(windows);
                }
                let mut effects = self.note_open_waves(&wait.open_waves);
                effects.extend(self.waits(wait.waits_for, wait.position, false));
                effects
            }
            Event::AsksAgain { waits_for, after } => {
                let effects = self.waits(waits_for, QueuePosition::Outside, false);
                self.asks_again_at = Some(now.monotonic + after);
                effects
            }
            Event::HookRuns(which) => self.waits(which, QueuePosition::Unknown, true),
            Event::Looked(facts) => {
                self.facts = Some(facts);
                self.looked(now)
            }
            outcome => self.ended(outcome, now),
        }
    }

    /// The facts, the request or the time changed.
    fn reconsider(&mut self, now: &Now) -> Vec<Effect> {
        match &self.state {
            State::Starting | State::Idle | State::Waiting { .. } => self.consider(now),
            State::Queued { .. } => match (self.gate(now), self.entry()) {
                (
                    Gate::Go {
                        intent,
                        until: closes,
                    },
                    Some(entry),
                ) if intent.to.is(&entry.intent.to) => {
                    let asked = |intent: &Intent| (intent.by_person, intent.urgent);
                    if asked(&intent) == asked(&entry.intent) {
                        self.state = State::Queued { until: closes };
                        return Vec::new();
                    }
                    // A person has asked for it meanwhile, or has taken that back: the ticket keeps its place.
                    let entry = Entry {
                        intent,
                        ..entry.clone()
                    };
                    self.set_entry(Some(entry.clone()));
                    self.journalled(State::Queued { until: closes }, Op::Acquire(entry))
                }
                _ => self.leave(),
            },
            State::Soaking { .. } | State::SoakFailed { .. } => self.reconsider_soak(now),
            State::Unproven { .. } if self.wants_way_back() && !self.is_held_off(now) => {
                self.go_way_back(now)
            }
            State::Draining { .. } if self.going_down() == Some(true) => self.go_down(now),
            State::Draining { .. } => match self.gate(now) {
                Gate::Go { until: closes, .. } => {
                    self.state = State::Draining { until: closes };
                    Vec::new()
                }
                other => self.step_back(reason(other), now),
            },
            // In `Rebooting` none may have begun yet: the time-out tells.
            State::GoingDown { .. } if self.going_down() == Some(false) => self.called_off(),
            _ => Vec::new(),
        }
    }

    fn tick(&mut self, now: &Now) -> Vec<Effect> {
        match &self.state {
            State::Rebooting { until } if now.monotonic >= *until => self.look(State::Doubting {
                why: Failure::NoShutdown,
            }),
            // Nobody signals the end of a shutdown that only systemd knew of.
            State::GoingDown { until } if now.monotonic >= *until => self.called_off(),
            State::Unproven { until, .. } if now.monotonic >= *until => {
                // It fails its checks again and again: that must not keep it from the image before.
                let effects = self.reconsider(now);
                match self.state {
                    State::Unproven { .. } => self.prove(now),
                    _ => effects,
                }
            }
            State::RollingBack { verdict, until, .. } if now.monotonic >= *until => {
                let verdict = verdict.clone();
                // What it would go to may have been quarantined meanwhile.
                self.go_back(verdict, now)
            }
            _ => self.reconsider(now),
        }
    }
}
