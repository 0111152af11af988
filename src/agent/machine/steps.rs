//! The steps the machine is made of: into a state, with its operation, after its journal.

use semaphore::etcd::QueuePosition;

use super::{Effect, Machine, Op, State};
use crate::agent::{
    failure::{Failure, Why},
    journal::{Claim, Entry, Journal, Stage},
    situation::Now,
};

impl Machine {
    pub(super) fn set_entry(&mut self, entry: Option<Entry>) {
        if let Ok(journal) = &mut self.journal {
            journal.entry = entry;
        }
    }

    /// Notes how the semaphore was taken.
    pub(super) fn remember_claim(&mut self, taken: Claim) {
        if let Ok(Journal {
            entry: Some(Entry {
                claim: Some(claim), ..
            }),
            ..
        }) = &mut self.journal
        {
            *claim = taken;
        }
    }

    /// The entry, moved to `stage`.
    pub(super) fn at_stage(&mut self, stage: Stage) -> Entry {
        let entry = match &mut self.journal {
            Ok(Journal {
                entry: Some(entry), ..
            }) => entry,
            _ => unreachable!("stages follow one another only with an entry"),
        };
        entry.stage = stage;
        entry.clone()
    }

    /// The operation waits for this, which may be a hook.
    pub(super) fn waits(&mut self, what: String, at: QueuePosition, hook: bool) -> Vec<Effect> {
        self.asks_again_at = None;
        self.position = at;
        self.waits_for = what;
        self.waits_for_hook = hook;
        Vec::new()
    }

    /// The entry, moved to the drain, which begins now.
    pub(super) fn begin_drain(&mut self, now: &Now) -> Entry {
        if let Ok(Journal {
            entry: Some(entry), ..
        }) = &mut self.journal
        {
            entry.drain_began = Some(now.wall.timestamp());
        }
        self.at_stage(Stage::Draining)
    }

    pub(super) fn run(&mut self, state: State, op: Op) -> Vec<Effect> {
        self.state = state;
        self.waits_for.clear();
        self.asks_again_at = None;
        self.position = QueuePosition::Unknown;
        vec![Effect::Run(op)]
    }

    pub(super) fn journalled(&mut self, state: State, op: Op) -> Vec<Effect> {
        let journal = Effect::Journal(self.journal.clone().unwrap_or_default());
        let mut effects = vec![journal];
        effects.extend(self.run(state, op));
        effects
    }

    pub(super) fn look(&mut self, state: State) -> Vec<Effect> {
        self.run(state, Op::Look)
    }

    pub(super) fn leave(&mut self) -> Vec<Effect> {
        match self.entry().cloned() {
            Some(entry) => self.run(State::Leaving, Op::Leave(entry)),
            None => Vec::new(),
        }
    }

    /// The system goes down by another's will: the next boot releases the lock.
    pub(super) fn go_down(&mut self, now: &Now) -> Vec<Effect> {
        if self.stopping {
            self.state = State::Stopped;
            return vec![Effect::Exit];
        }
        // Where logind merely did not answer it is asked again soon.
        let patience = match self.going_down() {
            Some(true) => self.rules.shutdown_timeout,
            _ => self.rules.retry.min(self.rules.shutdown_timeout),
        };
        self.state = State::GoingDown {
            until: now.monotonic + patience,
        };
        Vec::new()
    }

    /// Perhaps the shutdown was called off.
    pub(super) fn called_off(&mut self) -> Vec<Effect> {
        self.look(State::Doubting {
            why: Failure::CalledOff,
        })
    }

    /// No reboot follows: undo the drain where it has begun, then release the lock.
    pub(super) fn step_back(&mut self, why: Why, now: &Now) -> Vec<Effect> {
        match self.entry().cloned() {
            // Of its way back nothing has begun.
            Some(entry) if entry.way_back && self.state == State::Taken => self.leave_way_back(now),
            Some(entry) if entry.stage == Stage::Queued => {
                self.state = State::SteppingBack { why };
                self.release()
            }
            Some(entry) => self.run(State::SteppingBack { why }, Op::Undo(entry)),
            None => Vec::new(),
        }
    }

    /// The drain is undone.
    pub(super) fn stepped_back(&mut self, now: &Now) -> Vec<Effect> {
        match self.entry().is_some_and(|entry| entry.way_back) {
            true => self.leave_way_back(now),
            false => self.release(),
        }
    }

    pub(super) fn release(&mut self) -> Vec<Effect> {
        let why = match &self.state {
            State::SteppingBack { why } => why.clone(),
            _ => Why::Back,
        };
        self.release_because(why)
    }

    pub(super) fn release_because(&mut self, why: Why) -> Vec<Effect> {
        let entry = self.at_stage(Stage::Releasing);
        let owed = self.owed().cloned();
        self.journalled(State::Releasing { why }, Op::Release(entry, owed))
    }

    /// Nothing is held or waited for any more.
    pub(super) fn clear(&mut self) -> Vec<Effect> {
        let held_back = self.holds_updates_back();
        self.set_entry(None);
        if let Ok(journal) = &mut self.journal {
            journal.soak = None;
        }
        self.state = State::Idle;
        let mut effects = vec![Effect::Journal(self.journal.clone().unwrap_or_default())];
        effects.extend(held_back.then_some(Effect::LetUpdatesIn));
        if self.stopping {
            self.state = State::Stopped;
            effects.push(Effect::Exit);
        } else {
            effects.push(Effect::Again);
        }
        effects
    }
}
