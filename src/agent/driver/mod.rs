//! Drives the machine: brings it events, does its effects, and says how things stand.

use std::{
    future::Future,
    pin::{Pin, pin},
    rc::Rc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    signal::unix::{Signal, SignalKind},
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};

mod carry_out;
mod say;
mod wait;

use wait::{any, maybe, told, until};

use host::{
    coordinator::{self, Coordinator},
    node,
    telemetry::notify,
};
use semaphore::records::Holder;
use settings::{Config, ConfigError, Strategy};

use super::{
    bus::{AgentBus, Call},
    effects::{EffectRunner, Unanswered, Updates},
    facts::Watching,
    failure::Refusal,
    history::{History, file::Writer},
    journal::{Journal, JournalError},
    machine::{Event, Identity, Machine, State},
    situation::{Facts, Now, Request, Rules, Update},
};
use crate::metrics::publish::Publisher;
use crate::notify::Notifier;

/// How an agent's run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It was told to end.
    Stopped,
    /// In the foreground: there is nothing to do any more.
    Done,
    /// In the foreground: this signal took the reboot back.
    TakenBack(SignalKind),
    /// The reboot asked for in the foreground was refused: why.
    Refused(Refusal),
    /// The system bus went away; a new start finds everything in the journal.
    BusLost,
    /// The configuration has changed; a new driver goes on with this one.
    Reconfigured(Box<Config>),
}

/// What outlives a driver when the configuration changes.
pub struct Outside {
    /// What happened on this node.
    pub history: History,
    /// Where it is written.
    pub history_file: Writer,
    /// Where the metrics can be read.
    pub metrics: Publisher,
    /// Who is told of it.
    pub notifier: Notifier,
    /// The agent's place on the bus; none in the foreground.
    pub bus: Option<AgentBus>,
    /// Being the node's coordinator.
    pub coordinator: Coordinator,
    /// What people ask over the bus.
    pub calls: mpsc::Receiver<Call>,
    /// What ends it: SIGTERM, SIGINT, on a terminal SIGHUP.
    pub ends: Vec<(SignalKind, Signal)>,
    /// SIGHUP, where it means to read the configuration again.
    pub reload: Option<(Signal, Reload)>,
}

/// Reads the configuration again.
pub type Reload = Box<dyn Fn() -> Result<Config, ConfigError>>;

/// How the driver runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// As the node's service.
    Service,
    /// For one reboot, asked for so.
    Once(Request),
}

/// The entry under this node's id among the holders, or why etcd did not answer; and whether the journal knew of no hold when
/// it was asked.
type Asked = (Result<Option<Holder>, Unanswered>, bool);

type Doing<T> = Pin<Box<dyn Future<Output = T>>>;

/// The driver.
pub struct Driver {
    runner: Rc<EffectRunner>,
    machine: Machine,
    mode: Mode,
    started: Instant,
    op: Option<Doing<Event>>,
    /// How the operation ended, where that was while the driver waited for the disk.
    ended: Option<Event>,
    /// What the watch has told since the operation began.
    heard: Option<Facts>,
    /// Who waits for the machine's answer.
    asker: Option<oneshot::Sender<Result<(), Refusal>>>,
    publishing: Option<Doing<()>>,
    /// The cluster being told of a bad image.
    reporting: Option<Doing<Event>>,
    /// The wait until a person clears the image that failed its soak here.
    clearing: Option<Doing<Event>>,
    said: (&'static str, String),
    since: Timestamp,
    /// Why this boot is not proven, as the cluster was told last.
    unproven: Option<String>,
    ending: Option<Ending>,
    /// In the foreground: the signal that came before the node was going down.
    taken_back: Option<SignalKind>,
    stop_by: Option<Instant>,
    /// A changed configuration, until the machine is where it may be exchanged.
    changed: Option<Box<Config>>,
    /// Why the configuration on disk is not the one in force.
    config_error: String,
    /// Why etcd could not be asked when this node last told it of itself; empty where it answered.
    etcd_error: String,
    /// Whether etcd has this node's record as this run wrote it.
    recorded: bool,
    /// That another machine goes by this machine's id, a sentence; empty where none was seen to.
    twin: String,
    /// That etcd has this node for a holder, and its journal does not; logged once.
    lost_hold: String,
    /// Where that becomes known.
    asked_etcd: (mpsc::UnboundedSender<Asked>, mpsc::UnboundedReceiver<Asked>),
    /// When what failed is tried again, on the monotonic clock since the start and in words.
    again: Option<(Duration, String)>,
    /// That this node's reboots outlast every window, where they do.
    window_note: Option<String>,
    /// What systemd was told last.
    status: String,
    /// What was logged last of where the agent stands.
    logged: String,
    /// Whether it is to be settled which slot boots next, as soon as the machine is where that may be done.
    next_slot_due: bool,
    /// When to try again what the disk refused.
    next_slot_again: Option<Instant>,
    /// To have the facts looked at again.
    look_again: Rc<Notify>,
}

impl Driver {
    /// A driver for this node, with what its journal says; nothing happens yet.
    #[must_use]
    pub fn new(
        runner: Rc<EffectRunner>,
        mode: Mode,
        journal: Result<Journal, JournalError>,
    ) -> Self {
        if let Err(why) = &journal {
            tracing::error!("{why}");
        }
        let timings = &runner.config.timings;
        let rules = Rules {
            strategy: runner.config.strategy,
            windows: runner.config.windows.clone().on_node(&runner.id),
            login_grace: timings.login_grace,
            shutdown_timeout: timings.shutdown_timeout,
            quarantine_reset: timings.quarantine_reset,
            // A file that asks for a reboot names no image.
            restage_after: runner
                .config
                .restage_after
                .filter(|_| runner.updates == Updates::Engine),
            retry: timings.retry_max,
        };
        let identity = Identity {
            id: runner.id.clone(),
            boot_id: runner.boot_id.clone(),
            keys: runner.keys.clone(),
            place: runner.place(),
            runs: runner.runs.clone(),
            boot: runner.boot.clone(),
        };
        Self {
            machine: Machine::new(rules, identity, journal),
            runner,
            mode,
            started: Instant::now(),
            op: None,
            ended: None,
            heard: None,
            asker: None,
            publishing: None,
            reporting: None,
            clearing: None,
            said: ("", String::new()),
            since: Timestamp::now(),
            unproven: None,
            ending: None,
            taken_back: None,
            stop_by: None,
            changed: None,
            config_error: String::new(),
            etcd_error: String::new(),
            recorded: false,
            twin: String::new(),
            lost_hold: String::new(),
            asked_etcd: mpsc::unbounded_channel(),
            again: None,
            status: String::new(),
            window_note: None,
            logged: String::new(),
            next_slot_due: false,
            next_slot_again: None,
            look_again: Rc::default(),
        }
    }

    /// Runs until it is told to end.
    ///
    /// `facts` brings what changes outside; `notes` what the operations wait for.
    pub(super) async fn run(
        mut self,
        outside: &mut Outside,
        mut facts: Watching,
        mut notes: mpsc::UnboundedReceiver<Event>,
    ) -> Ending {
        self.look_again = facts.again();
        let accepted = self.runner.store_accepted.clone();
        let watchdog = notify::watchdog_period();
        let mut next_watchdog = Instant::now();
        let now = self.now();
        let effects = self.machine.start(&now);
        self.carry_out(effects).await;
        self.let_skipped_updates_in();
        if let Mode::Once(request) = &self.mode {
            let (answer, answered) = oneshot::channel();
            self.ask(Event::Asked(request.clone()), answer).await;
            if let Ok(Err(why)) = answered.await {
                return Ending::Refused(why);
            }
        }
        loop {
            self.say(outside).await;
            if let Some(ending) = self.ending.take() {
                return self.taken_back.map_or(ending, Ending::TakenBack);
            }
            if let Some(config) = self.changed.take_if(|_| self.machine.may_be_exchanged()) {
                return Ending::Reconfigured(config);
            }
            let wake = self.machine.wake_at().map(|at| self.started + at);
            if let Some(event) = self.ended.take() {
                self.op_ended(event).await;
                continue;
            }
            tokio::select! {
                event = maybe(self.op.as_mut()) => {
                    self.op = None;
                    self.op_ended(event).await;
                }
                received = facts.next() => match received {
                    Some(facts) => {
                        self.heard = Some(facts.clone());
                        self.step(Event::Facts(facts)).await;
                    }
                    None => return Ending::BusLost,
                },
                () = accepted.notified() => {
                    self.runner.told.borrow_mut().clear();
                    self.step(Event::StoreAccepted).await;
                }
                Some(note) = notes.recv() => self.step(note).await,
                Some(call) = outside.calls.recv() => match call {
                    Call::RequestReboot { request, reply } => {
                        self.look_at_the_slots().await;
                        self.ask(Event::Asked(request), reply).await;
                    }
                    Call::EndSoak { reply } => self.ask(Event::SoakEnded, reply).await,
                    Call::Cancel { reply } => self.ask(Event::Cancelled, reply).await,
                    Call::Quarantine { what, reason, reply } => {
                        self.ask(Event::QuarantinedByHand { what, reason }, reply).await;
                    }
                    Call::ClearQuarantine { what, reply } => {
                        self.ask(Event::Cleared(what), reply).await;
                    }
                },
                () = until(wake) => self.step(Event::Tick).await,
                () = until(watchdog.map(|_| next_watchdog)) => {
                    notify::watchdog();
                    next_watchdog = Instant::now() + watchdog.unwrap_or_default() / 2;
                    // A clock that was set moves the window.
                    self.step(Event::Tick).await;
                }
                () = maybe(self.publishing.as_mut()) => self.publishing = None,
                Some(asked) = self.asked_etcd.1.recv() => self.etcd_answered(asked),
                reported = maybe(self.reporting.as_mut()) => {
                    self.reporting = None;
                    self.step(reported).await;
                }
                cleared = maybe(self.clearing.as_mut()) => {
                    self.clearing = None;
                    self.step(cleared).await;
                    // It counts as proven from now on.
                    self.ask_etcd_once();
                }
                signal = any(&mut outside.ends) => self.stop(signal).await,
                () = told(outside.reload.as_mut()) => self.reload(outside),
                () = until(self.next_slot_again) => {
                    self.next_slot_again = None;
                    self.next_slot_due = true;
                    self.settle_next_slot().await;
                }
                () = until(self.stop_by) => self.ending = Some(Ending::Stopped),
            }
        }
    }

    /// Nothing signals that a person made the other slot next, and who asks for a reboot may just have done that.
    async fn look_at_the_slots(&mut self) {
        if let Some(Facts { update, logind, .. }) = self.machine.facts().cloned() {
            let runner = self.runner.clone();
            let facts = self.meanwhile(runner.facts(update, logind)).await;
            self.step(Event::Facts(facts)).await;
        }
    }

    /// An operation ended.
    async fn op_ended(&mut self, event: Event) {
        let looked = matches!(event, Event::Looked(_) | Event::Allowed(..));
        let heard = self.heard.take().filter(|_| looked);
        self.step(event).await;
        // What was heard during the look may be newer than it, and nothing wakes for it again.
        if let Some(facts) = heard {
            self.step(Event::Facts(facts)).await;
        }
    }

    /// Waits for the disk. The operation under way, which may keep a lease, goes on, and the watchdog is fed.
    async fn meanwhile<T>(&mut self, disk: impl Future<Output = T>) -> T {
        let mut disk = pin!(notify::watched(disk));
        loop {
            tokio::select! {
                biased;
                done = &mut disk => return done,
                event = maybe(self.op.as_mut()) => {
                    self.op = None;
                    self.ended = Some(event);
                }
            }
        }
    }

    /// Reads the configuration again. One with a fault leaves the old one in force.
    fn reload(&mut self, outside: &Outside) {
        let Some((_, read)) = &outside.reload else {
            return;
        };
        self.config_error = match read() {
            Ok(config) => {
                // Certificates and the password are renewed in their files, under the same names.
                let etcd = config.etcd_options().ok();
                if config == self.runner.config
                    && etcd.as_ref() == Some(&*self.runner.etcd.borrow())
                {
                    tracing::info!("the configuration was read again, and has not changed");
                    self.changed = None;
                    self.ask_etcd_once();
                } else {
                    tracing::info!("the configuration has changed");
                    // What is under way may wait for an etcd that is to be found elsewhere by now, and all else waits for it.
                    if let (Strategy::EtcdLock, Some(etcd)) = (config.strategy, etcd) {
                        self.runner.reach_by(&config, etcd);
                    }
                    self.runner.newest.replace(Some(config.clone()));
                    self.changed = Some(Box::new(config));
                }
                String::new()
            }
            Err(error) => {
                tracing::error!("the old configuration is kept: {error}");
                error.to_string()
            }
        };
    }

    async fn stop(&mut self, signal: SignalKind) {
        notify::stopping();
        // Two rounds to etcd fit, and the undo of a drain; what is not done by then, the journal has.
        let timings = &self.runner.config.timings;
        let undo = match self.machine.state() {
            State::Taken
            | State::Draining { .. }
            | State::Drained
            | State::Committing
            | State::Committed
            | State::SteppingBack { .. } => timings.hook_timeout,
            _ => Duration::ZERO,
        };
        let patience = self.runner.config.etcd.timeout * 2 + undo;
        self.stop_by = Some(Instant::now() + patience);
        if self.mode != Mode::Service {
            let goes = self.coordinator_state() == coordinator::State::Rebooting;
            self.taken_back = (!goes).then_some(signal);
            self.step(Event::Cancelled).await;
        }
        self.step(Event::Stop).await;
    }

    pub(super) fn now(&self) -> Now {
        let mut random = [0u8; 16];
        // Only names a claim; without randomness the time tells claims of one node apart.
        if getrandom::fill(&mut random).is_err() {
            random = Timestamp::now().as_nanosecond().to_le_bytes();
        }
        Now {
            wall: Timestamp::now().to_zoned(node::time_zone(&self.runner.config.root)),
            monotonic: self.started.elapsed(),
            since_boot: node::since_boot(),
            random: u128::from_le_bytes(random),
        }
    }

    async fn step(&mut self, event: Event) {
        tracing::debug!(state = ?self.machine.state(), ?event, "event");
        self.next_slot_due |= matches!(event, Event::Facts(_) | Event::Looked(_));
        let now = self.now();
        let quarantined_update = self.machine.has_quarantined_update();
        let effects = self.machine.step(event, &now);
        self.carry_out(effects).await;
        self.next_slot_due |= self.machine.has_quarantined_update() != quarantined_update;
        self.settle_next_slot().await;
    }

    /// Pins the booted slot, or unpins it, once for what became known.
    async fn settle_next_slot(&mut self) {
        let staged = match self.machine.facts().map(|facts| &facts.update) {
            Some(Update::Staged(_)) => true,
            Some(Update::None(_)) => false,
            Some(Update::Unknown(_) | Update::Unusable(_)) | None => return,
        };
        // A file that asks for a reboot says nothing of slots.
        let by_engine = self.runner.updates == Updates::Engine;
        if self.next_slot_due && by_engine && self.machine.may_pin_slot() {
            self.next_slot_due = false;
            self.next_slot_again = None;
            let (runner, quarantined_update) =
                (self.runner.clone(), self.machine.has_quarantined_update());
            let settling = runner
                .next_slot
                .run(move |next_slot| next_slot.settle(staged, quarantined_update));
            if let Err(why) = self.meanwhile(settling).await {
                tracing::error!("which slot boots next has not changed: {why}");
                self.next_slot_again = Some(Instant::now() + self.runner.config.timings.retry_max);
            }
        }
    }

    async fn ask(&mut self, event: Event, asker: oneshot::Sender<Result<(), Refusal>>) {
        self.asker = Some(asker);
        self.step(event).await;
    }

    fn answer(&mut self, answer: Result<(), Refusal>) {
        if let Some(asker) = self.asker.take() {
            // Who asked may be gone.
            let _ = asker.send(answer);
        }
    }
}
