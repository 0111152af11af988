//! The agent's machine of states: state × event → state × effects. Pure.
//!
//! The driver does the effects, one operation at a time, and brings back what came of each as an event. An
//! event that does not belong to the operation under way comes from one given up meanwhile, and is dropped.

#[cfg(test)]
mod tests;
mod vocabulary;

use std::time::Duration;

pub use vocabulary::{Effect, Event, Op, State};

use super::{
    gate::{Facts, Gate, Intent, Now, Request, Rules, gate, gate_with_people, intent},
    journal::{Asked, ClaimKey, Entry, Journal, Stage},
};
use crate::{
    config::Strategy,
    semaphore::{keys::Keys, records::Image},
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
    /// What runs.
    pub runs: Image,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The rules in force.
    pub rules: Rules,
    identity: Identity,
    state: State,
    journal: Result<Journal, String>,
    facts: Option<Facts>,
    /// When the grace for people logged in ends, once it began.
    grace: Option<Duration>,
    /// Until when nothing is tried again after a failure, and that failure.
    hold_off: Option<(Duration, String)>,
    /// While a changed request is being written: what it was before.
    request_before: Option<Option<Asked>>,
    /// What the operation under way last said it waits for.
    note: String,
    stopping: bool,
}

impl Machine {
    /// The machine at the start of the agent, with what its journal says.
    #[must_use]
    pub fn new(rules: Rules, identity: Identity, journal: Result<Journal, String>) -> Self {
        Self {
            rules,
            identity,
            state: State::Starting,
            journal,
            facts: None,
            grace: None,
            hold_off: None,
            request_before: None,
            note: String::new(),
            stopping: false,
        }
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
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

    /// What is known from outside.
    #[must_use]
    pub fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

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
        match &self.state {
            State::Starting => ("starting", "waiting for update_engine and logind".into()),
            State::Idle => ("idle", String::new()),
            State::Waiting { why, .. } => ("waiting", why.clone()),
            State::Queued { .. } => ("queued", note("joining the line for the semaphore")),
            State::Leaving => ("leaving", note("leaving the line for the semaphore")),
            State::Taken | State::Draining { .. } | State::Drained => {
                ("draining", note("running the drain hooks"))
            }
            State::Committing | State::Committed => {
                ("committing", note("a last look before the reboot"))
            }
            State::Rebooting { .. } => ("rebooting", "waiting for the system to go down".into()),
            State::Doubting { why } => ("rebooting", why.clone()),
            State::GoingDown => ("rebooting", "the system is going down".into()),
            State::SteppingBack { why } => ("stepping-back", why.clone()),
            State::Proving => ("proving", note("checking the new boot")),
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

    /// When [`Event::Tick`] is due, on the monotonic clock.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        match &self.state {
            State::Waiting { until, .. }
            | State::Queued { until, .. }
            | State::Draining { until } => *until,
            State::Rebooting { until } => Some(*until),
            _ => None,
        }
    }

    /// Begins: what a former run of the agent left is taken up.
    pub fn start(&mut self) -> Vec<Effect> {
        let Ok(journal) = &mut self.journal else {
            return Vec::new();
        };
        let this_boot = &self.identity.boot_id;
        // A new boot fulfils what was asked for in an earlier one.
        let fulfilled = journal
            .request
            .take_if(|asked| asked.boot_id != *this_boot)
            .is_some();
        let Some(entry) = journal.entry.clone() else {
            return if fulfilled {
                vec![Effect::Journal(journal.clone())]
            } else {
                Vec::new()
            };
        };
        let new_boot = entry.boot_id != *this_boot;
        match (entry.stage, new_boot) {
            // Whether it holds is asked in the same step that gives up the ticket. On the same boot the line is
            // taken up again as soon as the facts are known; the place in it is kept until then.
            (Stage::Queued, false) => Vec::new(),
            (Stage::Queued, true) => self.run(State::Leaving, Op::Leave(entry)),
            (Stage::Draining, false) => {
                self.step_back("the agent was started anew during the drain")
            }
            (Stage::Committing, false) => self.look(State::Doubting {
                why: "the agent was started anew after the commit".into(),
            }),
            (Stage::Draining | Stage::Committing, true) => self.prove(),
            (Stage::Releasing, _) => self.release(),
        }
    }

    /// Takes one step.
    pub fn step(&mut self, event: Event, now: &Now) -> Vec<Effect> {
        if !matches!(event, Event::JournalFailed(_)) {
            self.request_before = None;
        }
        match event {
            Event::Facts(facts) => {
                self.facts = Some(facts);
                self.reconsider(now)
            }
            Event::Tick => self.tick(now),
            Event::Asked(request) => self.asked(request),
            Event::Cancelled => self.cancelled(),
            Event::Stop => self.stop(),
            Event::JournalFailed(why) => self.journal_failed(why, now),
            Event::Note(note) => {
                self.note = note;
                Vec::new()
            }
            Event::Looked(facts) => {
                self.facts = Some(facts);
                self.looked(now)
            }
            outcome => self.ended(outcome, now),
        }
    }

    /// An operation ended.
    fn ended(&mut self, outcome: Event, now: &Now) -> Vec<Effect> {
        match (&self.state, outcome) {
            (State::Queued { .. }, Event::Acquired) | (State::Leaving, Event::Left(true)) => {
                if self
                    .entry()
                    .is_some_and(|entry| entry.boot_id != self.identity.boot_id)
                {
                    return self.prove();
                }
                self.look(State::Taken)
            }
            (State::Leaving, Event::Left(false)) => self.clear(),
            (State::Draining { .. }, Event::Drained(Ok(()))) => self.look(State::Drained),
            (State::Draining { .. }, Event::Drained(Err(why))) => {
                self.hold_off(now, &why);
                self.step_back(&why)
            }
            (State::Committing, Event::CommitEnded(Ok(()))) => self.look(State::Committed),
            (State::Committing, Event::CommitEnded(Err(why))) => {
                // Somebody said no: joining the line again at once would only ask them again.
                self.hold_off(now, &why);
                self.step_back(&why)
            }
            (State::Rebooting { .. }, Event::RebootCalled(Err(why))) => {
                let why = format!("the reboot call failed: {why}");
                self.look(State::Doubting { why })
            }
            (State::SteppingBack { .. }, Event::Undone) | (State::Proving, Event::Proven) => {
                self.release()
            }
            (State::Releasing { .. }, Event::Released) => self.clear(),
            _ => Vec::new(),
        }
    }

    /// The node was looked at anew, in a state that asked for it.
    fn looked(&mut self, now: &Now) -> Vec<Effect> {
        let going_down = self.going_down();
        match self.state.clone() {
            State::Taken | State::Drained | State::Committed if going_down == Some(true) => {
                self.state = State::GoingDown;
                Vec::new()
            }
            State::Taken if self.stopping => self.step_back("the agent was stopped"),
            State::Taken => match self.gate(now) {
                Gate::Go { until, .. } => {
                    let entry = self.at_stage(Stage::Draining);
                    self.journalled(State::Draining { until }, Op::Drain(entry))
                }
                other => self.step_back(&reason(&other)),
            },
            State::Drained => match self.gate(now) {
                Gate::Go { .. } => {
                    let entry = self.at_stage(Stage::Committing);
                    self.journalled(State::Committing, Op::Commit(entry))
                }
                other => self.step_back(&reason(&other)),
            },
            State::Committed => match (self.gate(now), self.entry().cloned()) {
                (Gate::Go { .. }, Some(entry)) => {
                    let until = now.monotonic + self.rules.shutdown_timeout;
                    self.run(State::Rebooting { until }, Op::Reboot(entry))
                }
                (other, _) => self.step_back(&reason(&other)),
            },
            State::Doubting { why } => match going_down {
                Some(false) => {
                    // Whatever kept the system up would keep it up again; and who called the shutdown off meant it.
                    self.hold_off(now, &why);
                    self.step_back(&why)
                }
                // Going down, or not known: the semaphore is kept.
                _ => {
                    self.state = State::Rebooting {
                        until: now.monotonic + self.rules.shutdown_timeout,
                    };
                    Vec::new()
                }
            },
            _ => self.reconsider(now),
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
                ) if intent.to == entry.intent.to => {
                    self.state = State::Queued { until: closes };
                    Vec::new()
                }
                _ => self.leave(),
            },
            State::Draining { .. } if self.going_down() == Some(true) => {
                self.state = State::GoingDown;
                Vec::new()
            }
            State::Draining { .. } => match self.gate(now) {
                Gate::Go { until: closes, .. } => {
                    self.state = State::Draining { until: closes };
                    Vec::new()
                }
                other => self.step_back(&reason(&other)),
            },
            State::Rebooting { .. } | State::GoingDown if self.going_down() == Some(false) => {
                // A shutdown that was under way has been called off, or none has begun yet: the time-out tells.
                if self.state == State::GoingDown {
                    return self.look(State::Doubting {
                        why: "the shutdown was called off".into(),
                    });
                }
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn tick(&mut self, now: &Now) -> Vec<Effect> {
        match &self.state {
            State::Rebooting { until } if now.monotonic >= *until => self.look(State::Doubting {
                why: "the reboot was called, and no shutdown followed".into(),
            }),
            _ => self.reconsider(now),
        }
    }

    /// Is a reboot wanted, and may the node go for it?
    fn consider(&mut self, now: &Now) -> Vec<Effect> {
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
            Gate::Go { intent, until } => return self.go(intent, until, ticket, now),
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
            entry.intent.to == intent.to
                && entry
                    .claim
                    .as_ref()
                    .is_some_and(|claim| claim.keys == self.identity.keys)
        };
        if let Some(entry) = ticket {
            return if same(&entry) {
                self.run(State::Queued { until }, Op::Acquire(entry))
            } else {
                self.leave()
            };
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
            });
            self.set_entry(Some(entry.clone()));
            self.journalled(State::Queued { until }, Op::Acquire(entry))
        } else {
            self.set_entry(Some(entry));
            self.look(State::Taken)
        }
    }

    fn asked(&mut self, request: Request) -> Vec<Effect> {
        let journal = match &mut self.journal {
            Err(why) => return vec![Effect::Answer(Err(why.clone()))],
            Ok(_) if self.rules.strategy == Strategy::Off => {
                let why = "the strategy is `off`: this node does not reboot by itself".to_owned();
                return vec![Effect::Answer(Err(why))];
            }
            Ok(journal) => journal,
        };
        let asked = Asked {
            request,
            boot_id: self.identity.boot_id.clone(),
        };
        self.request_before = Some(journal.request.replace(asked));
        let journal = Effect::Journal(journal.clone());
        // A person who asks again wants it tried again.
        self.hold_off = None;
        vec![journal, Effect::Answer(Ok(())), Effect::Again]
    }

    fn cancelled(&mut self) -> Vec<Effect> {
        let Ok(journal) = &mut self.journal else {
            return vec![Effect::Answer(Ok(()))];
        };
        let Some(asked) = journal.request.take() else {
            return vec![Effect::Answer(Err("no reboot was asked for".into()))];
        };
        self.request_before = Some(Some(asked));
        vec![
            Effect::Journal(journal.clone()),
            Effect::Answer(Ok(())),
            Effect::Again,
        ]
    }

    fn stop(&mut self) -> Vec<Effect> {
        self.stopping = true;
        match &self.state {
            State::Queued { .. } => self.leave(),
            State::Draining { .. } | State::Taken | State::Drained
                if self.going_down() != Some(true) =>
            {
                self.step_back("the agent was stopped")
            }
            // Under way already, and soon done; the driver sets the time limit.
            State::Leaving | State::SteppingBack { .. } => Vec::new(),
            State::Releasing { .. } => Vec::new(),
            // From the commit on nothing is given back: the journal has what the next start needs.
            _ => {
                self.state = State::Stopped;
                vec![Effect::Exit]
            }
        }
    }

    fn journal_failed(&mut self, why: String, now: &Now) -> Vec<Effect> {
        if let Some(before) = self.request_before.take() {
            // What the person asked for is refused, and nothing else has changed.
            if let Ok(journal) = &mut self.journal {
                journal.request = before;
            }
            return Vec::new();
        }
        self.hold_off(now, &why);
        match &self.state {
            // The step before whose journal failed was not taken: nothing was begun that is not journalled.
            State::Queued { .. } | State::Idle | State::Waiting { .. } | State::Starting => {
                self.set_entry(None);
                self.state = State::Waiting {
                    why,
                    until: self.hold_off.as_ref().map(|(until, _)| *until),
                };
                Vec::new()
            }
            State::Draining { .. } | State::Committing => {
                // Journalled as an earlier stage: a crash now is mended by the same release.
                let entry = self.entry().cloned();
                entry.map_or_else(Vec::new, |entry| {
                    self.run(State::SteppingBack { why }, Op::Undo(entry))
                })
            }
            // Giving back needs no journal to be right: repeated after a crash, it is harmless.
            State::Releasing { .. } => {
                let entry = self.entry().cloned();
                entry.map_or_else(Vec::new, |entry| vec![Effect::Run(Op::Release(entry))])
            }
            _ => Vec::new(),
        }
    }

    fn intent(&self) -> Option<Intent> {
        intent(self.facts.as_ref()?, self.request(), &self.identity.runs)
    }

    fn gate(&self, now: &Now) -> Gate {
        let Some(facts) = &self.facts else {
            return Gate::Nothing;
        };
        match (gate(&self.rules, facts, self.intent(), now), self.entry()) {
            (Gate::Go { intent, .. }, Some(entry)) if intent.to != entry.intent.to => {
                Gate::Blocked {
                    why: format!("{} is staged now, not {}", intent.to, entry.intent.to),
                    until: None,
                }
            }
            (gate, _) => gate,
        }
    }

    fn going_down(&self) -> Option<bool> {
        let logins = self.facts.as_ref()?.logind.as_ref().ok()?;
        Some(logins.going_down)
    }

    fn hold_off(&mut self, now: &Now, why: &str) {
        self.hold_off = Some((now.monotonic + self.rules.retry, why.to_owned()));
    }

    fn set_entry(&mut self, entry: Option<Entry>) {
        if let Ok(journal) = &mut self.journal {
            journal.entry = entry;
        }
    }

    /// The entry, moved to `stage`.
    fn at_stage(&mut self, stage: Stage) -> Entry {
        let entry = match &mut self.journal {
            Ok(Journal {
                entry: Some(entry), ..
            }) => entry,
            _ => unreachable!("stages follow one another only with an entry"),
        };
        entry.stage = stage;
        entry.clone()
    }

    fn run(&mut self, state: State, op: Op) -> Vec<Effect> {
        self.state = state;
        self.note.clear();
        vec![Effect::Run(op)]
    }

    fn journalled(&mut self, state: State, op: Op) -> Vec<Effect> {
        let journal = Effect::Journal(self.journal.clone().unwrap_or_default());
        let mut effects = vec![journal];
        effects.extend(self.run(state, op));
        effects
    }

    fn look(&mut self, state: State) -> Vec<Effect> {
        self.run(state, Op::Look)
    }

    fn leave(&mut self) -> Vec<Effect> {
        match self.entry().cloned() {
            Some(entry) => self.run(State::Leaving, Op::Leave(entry)),
            None => Vec::new(),
        }
    }

    /// No reboot follows: undo the drain where it has begun, then give back.
    fn step_back(&mut self, why: &str) -> Vec<Effect> {
        match self.entry().cloned() {
            Some(entry) if entry.stage == Stage::Queued => {
                self.state = State::SteppingBack {
                    why: why.to_owned(),
                };
                self.release()
            }
            Some(entry) => self.run(
                State::SteppingBack {
                    why: why.to_owned(),
                },
                Op::Undo(entry),
            ),
            None => Vec::new(),
        }
    }

    fn prove(&mut self) -> Vec<Effect> {
        match self.entry().cloned() {
            Some(entry) => self.run(State::Proving, Op::Prove(entry)),
            None => Vec::new(),
        }
    }

    fn release(&mut self) -> Vec<Effect> {
        let why = match &self.state {
            State::SteppingBack { why } => why.clone(),
            _ => "the node is back".into(),
        };
        let entry = self.at_stage(Stage::Releasing);
        self.journalled(State::Releasing { why }, Op::Release(entry))
    }

    /// Nothing is held or waited for any more.
    fn clear(&mut self) -> Vec<Effect> {
        self.set_entry(None);
        self.state = State::Idle;
        let journal = Effect::Journal(self.journal.clone().unwrap_or_default());
        if self.stopping {
            self.state = State::Stopped;
            vec![journal, Effect::Exit]
        } else {
            vec![journal, Effect::Again]
        }
    }
}

/// Why a gate is not open.
fn reason(gate: &Gate) -> String {
    match gate {
        Gate::Nothing => "no reboot is wanted any more".into(),
        Gate::Blocked { why, .. } => why.clone(),
        Gate::People(_) | Gate::Go { .. } => String::new(),
    }
}
