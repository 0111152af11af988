//! One simulated node: its disk, its power, update_engine, and the operations of its agent that ask nobody.

use std::{fmt, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use semaphore::{keys::Keys, records::Holder};
use settings::Strategy;
use windows::Windows;

use super::{
    super::{image, named, rules, slots::Slots},
    HOUR, MINUTE, SECOND, bugs,
    flight::Flight,
    outside::Outside,
    store::{Compare, Store, Write},
};
use crate::agent::{
    journal::{Entry, Journal},
    machine::{Effect, Event, Identity, Machine, Op, State},
    situation::{Asked, Facts, Logins, Now, Rules, Update},
};

/// What the node's power does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Power {
    On,
    /// It goes down at this time.
    Down(u64),
    /// It is off until this time.
    Off(u64),
    /// It is off for ever.
    Gone,
}

/// What an operation remembers between two looks.
#[derive(Debug, Clone, Default)]
pub(super) struct Run {
    /// The lease of the ticket, which this run keeps alive.
    pub(super) lease: Option<u64>,
    /// When to see again to it that a wave opens.
    pub(super) wave_again: u64,
    /// Whether it has waited for a wave.
    pub(super) waited: bool,
    /// What the machine was told last that it waits for.
    pub(super) said: String,
    /// Whether the cluster knows that the boot is being checked.
    pub(super) told: bool,
    /// The wave that may be due before it ends.
    pub(super) opens: Option<(String, Event)>,
}

/// A node.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) keys: Keys,
    pub(super) machine: Machine,
    pub(super) run: Run,
    pub(super) reboots: usize,
    pub(super) id: String,
    pub(super) slots: Slots,
    pub(super) disk: Journal,
    pub(super) booted_at: u64,
    pub(super) power: Power,
    pub(super) staged: Option<u8>,
    /// When update_engine looks for an update.
    pub(super) looks_at: u64,
    pub(super) fails_at: u64,
    pub(super) op: Option<Op>,
    /// When something of the operation ends; none while it waits for a change in etcd.
    pub(super) wake: Option<u64>,
    pub(super) flight: Option<Flight>,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            power,
            staged,
            op,
            wake,
            ..
        } = self;
        let (word, why) = self.machine.report();
        let runs = self.slots.runs();
        write!(
            f,
            "{id}: runs {runs}, {power:?}, staged {staged:?}, {word}: {why}; {op:?} until {wake:?}"
        )
    }
}

impl Node {
    pub(super) fn new(id: &str, keys: Keys, outside: &mut Outside) -> Self {
        let slots = Slots::new();
        Self {
            machine: machine(id, 0, &keys, &slots, Journal::default()),
            keys,
            run: Run::default(),
            reboots: 0,
            id: id.to_owned(),
            slots,
            disk: Journal::default(),
            booted_at: 0,
            power: Power::On,
            staged: None,
            looks_at: outside.between(0, 30 * MINUTE),
            fails_at: outside.between(0, 10 * HOUR),
            op: None,
            wake: None,
            flight: None,
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn is_gone(&self) -> bool {
        self.power == Power::Gone
    }

    /// Whether it runs this image and has nothing to do.
    pub(super) fn rests_on(&self, image: u8) -> bool {
        let rests = matches!(
            self.machine.state(),
            State::Idle | State::Waiting { .. } | State::Queued { .. }
        );
        self.power == Power::On
            && rests
            && self.slots.runs() == image
            && self.slots.good[self.slots.booted]
    }

    /// The digest of what it runs.
    pub(super) fn runs(&self) -> Option<String> {
        image(self.slots.runs()).digest
    }

    fn now(&self, store: &Store, outside: &mut Outside) -> Now {
        let random = outside.nonce();
        let passed = Duration::from_millis(store.now);
        let wall = Timestamp::UNIX_EPOCH + passed;
        Now {
            wall: wall.to_zoned(TimeZone::UTC),
            monotonic: passed,
            since_boot: Duration::from_millis(store.now - self.booted_at),
            random,
        }
    }

    pub(super) fn facts(&self) -> Facts {
        let next = match self.slots.next() {
            next if next == self.slots.booted => named(self.slots.images[next]),
            next => image(self.slots.images[next]),
        };
        let (update, next) = match self.staged {
            Some(staged) => (Update::Staged(named(staged)), None),
            None => (Update::None("UPDATE_STATUS_IDLE".into()), Some(next)),
        };
        let going_down = matches!(self.power, Power::Down(_));
        let logins = Logins {
            going_down,
            ..Logins::default()
        };
        Facts {
            update,
            next: Ok(next),
            logind: Ok(logins),
            asked: Asked::default(),
        }
    }

    /// The machine of an agent that starts now, from what the disk has.
    pub(super) fn new_machine(&self) -> Machine {
        let disk = self.disk.clone();
        machine(&self.id, self.reboots, &self.keys, &self.slots, disk)
    }

    /// The node's agent starts.
    pub(super) fn start(&mut self, store: &mut Store, outside: &mut Outside) {
        self.machine = self.new_machine();
        let now = self.now(store, outside);
        let effects = self.machine.start(&now);
        self.perform(effects, store, outside);
        self.step(Event::Facts(self.facts()), store, outside);
    }

    /// The agent is gone. What was on its way to etcd arrives, or it does not.
    pub(super) fn dies(&mut self, store: &mut Store, outside: &mut Outside) {
        let arrives = outside.random.below(2) == 0;
        if let Some(flight) = self.flight.take().filter(|_| arrives) {
            store.txn(&flight.compares, flight.writes);
        }
        self.end_run(store);
    }

    pub(super) fn end_run(&mut self, store: &mut Store) {
        if let Some(lease) = self.run.lease {
            store.run_out(lease, Duration::from_secs(60));
        }
        self.run = Run::default();
        self.op = None;
        self.wake = None;
        self.flight = None;
    }

    pub(super) fn step(&mut self, event: Event, store: &mut Store, outside: &mut Outside) {
        let now = self.now(store, outside);
        let effects = self.machine.step(event, &now);
        self.perform(effects, store, outside);
    }

    fn perform(&mut self, effects: Vec<Effect>, store: &mut Store, outside: &mut Outside) {
        let mut reset = false;
        for effect in effects {
            match effect {
                Effect::Journal(journal) | Effect::Remember(journal) => self.disk = journal,
                Effect::Run(op) => self.begin(op, store, outside),
                Effect::Again => self.step(Event::Tick, store, outside),
                Effect::Reset(_) => reset = true,
                Effect::HoldUpdatesBack
                | Effect::LetUpdatesIn
                | Effect::Announce(_)
                | Effect::Answer(_)
                | Effect::Exit => {}
            }
        }
        if reset {
            self.staged = None;
            self.looks_at = store.now + outside.between(MINUTE, 10 * MINUTE);
            self.step(Event::Facts(self.facts()), store, outside);
        }
        if self.staged.is_some() && self.machine.may_pin_slot() {
            self.slots.first = self.slots.booted;
        }
    }

    fn begin(&mut self, op: Op, store: &mut Store, outside: &mut Outside) {
        self.end_run(store);
        let (least, most) = match &op {
            Op::May(_) | Op::Undrain(_) | Op::Undo(_) => (100, 5 * SECOND),
            Op::Drain(_) => (5 * SECOND, MINUTE),
            Op::CheckSoak { .. } => (SECOND, 30 * SECOND),
            _ => (1, 50),
        };
        self.wake = Some(store.now + outside.between(least, most));
        self.op = Some(op);
    }

    /// When something happens here next.
    pub(super) fn next(&self) -> Option<u64> {
        match self.power {
            Power::Gone => None,
            Power::Off(until) => Some(until),
            Power::Down(at) => Some(at),
            Power::On => {
                let tick = self.machine.wake_at();
                let tick = tick.map(|at| at.as_nanos().div_ceil(1_000_000) as u64);
                [self.wake, tick, Some(self.looks_at), Some(self.fails_at)]
                    .into_iter()
                    .flatten()
                    .min()
            }
        }
    }

    /// Something in etcd has changed.
    pub(super) fn hears(&mut self, store: &Store, outside: &mut Outside) {
        let waits = matches!(self.op, Some(Op::Acquire(_) | Op::Watch(_)));
        let at = store.now + outside.latency();
        if self.power == Power::On
            && waits
            && self.flight.is_none()
            && self.wake.is_none_or(|wake| wake > at)
        {
            // Who waits out its turn to join the queue goes on with that.
            if !self.run.said.starts_with("the image is open") {
                self.wake = Some(at);
            }
        }
    }

    /// Does what is due.
    pub(super) fn pass(&mut self, store: &mut Store, outside: &mut Outside) {
        let now = store.now;
        match self.power {
            Power::Down(at) if at <= now => self.goes_down(store, outside),
            Power::Off(until) if until <= now => self.comes_up(store, outside),
            Power::On => {
                if self.fails_at <= now {
                    self.fails(store, outside);
                } else if self.looks_at <= now {
                    self.looks(store, outside);
                } else if self.wake.is_some_and(|wake| wake <= now) {
                    self.wake = None;
                    self.act(store, outside);
                } else if self
                    .machine
                    .wake_at()
                    .is_some_and(|at| at <= Duration::from_millis(now))
                {
                    self.step(Event::Tick, store, outside);
                }
            }
            _ => return,
        }
        self.tell_membership(store);
    }

    /// A node that does nothing with the lock tells what is proven on it, where that is not known.
    pub(super) fn tell_membership(&mut self, store: &mut Store) {
        if self.power == Power::On && self.op.is_none() {
            let alone = Compare::AsRead(self.keys.holder(&self.id), None);
            let proven = self.machine.proven_digest().unwrap_or_default().to_owned();
            let tells = self.member_write(store, &proven);
            if !tells.is_empty() {
                store.txn(&[alone], tells);
            }
        }
    }

    /// What makes its member key say this, where it does not.
    pub(super) fn member_write(&self, store: &Store, proven: &str) -> Vec<Write> {
        let key = self.keys.member(&self.id);
        let stands = store
            .get(&key)
            .is_some_and(|stored| stored.value == proven.as_bytes());
        let put = Write::Put(key, proven.to_owned(), None);
        (!stands).then_some(put).into_iter().collect()
    }

    /// Sends a transaction.
    pub(super) fn send(&mut self, flight: Flight, store: &Store, outside: &mut Outside) {
        self.flight = Some(bugs::weakened(flight, store));
        self.wake = Some(store.now + outside.latency());
    }

    pub(super) fn ends(&mut self, event: Event, store: &mut Store, outside: &mut Outside) {
        self.end_run(store);
        self.step(event, store, outside);
        if matches!(self.power, Power::Down(_)) {
            self.step(Event::Facts(self.facts()), store, outside);
        }
    }

    /// Its entry among the holders, where this reboot's claim holds.
    pub(super) fn own_entry(&self, store: &Store, entry: &Entry) -> Option<Holder> {
        let stored = store.get(&self.keys.holder(&self.id))?;
        let holder: Holder = serde_json::from_slice(&stored.value).expect("an entry of a holder");
        let claim = entry.in_etcd()?;
        (holder.nonce == claim.nonce).then_some(holder)
    }
}

fn machine(id: &str, boot: usize, keys: &Keys, slots: &Slots, journal: Journal) -> Machine {
    let identity = Identity {
        id: id.to_owned(),
        boot_id: format!("boot-{boot}"),
        keys: keys.clone(),
        place: None,
        runs: named(slots.runs()),
        boot: slots.boot_of(),
    };
    let rules = Rules {
        windows: Windows::default(),
        quarantine_reset: Duration::from_millis(HOUR),
        ..rules(Strategy::EtcdLock)
    };
    Machine::new(rules, identity, Ok(journal))
}
