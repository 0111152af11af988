//! The states of the model: what a node is between two steps, what etcd holds, and how both are written down so that states meet
//! again on different ways.
//!
//! Nothing of a state grows with time. The clock stands still: what would be over at some time is kept as what is left of it, and
//! that it passes is a choice. Revisions are ranks among those that still stand; a compare that can never hold again is
//! only that. The name of a claim is the least one of its node that nobody knows any more.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::{self, Write as _},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};

use super::super::{
    HOUR,
    flight::Flight,
    node::{Node, Power, Run},
    store::{Compare, Store, Write},
};
use crate::agent::{
    journal::Journal,
    machine::{Machine, State},
};

/// The time at which everything happens, in milliseconds.
pub(super) const TIME: u64 = 24 * HOUR;
const NOW: Duration = Duration::from_millis(TIME);

/// The lease of a ticket that its agent keeps alive, and the one of everything else: it may run out at any time.
pub(super) const KEPT: u64 = 1;
const LAPSING: u64 = 0;

/// A node, and what is on its way from it.
#[derive(Debug, Clone)]
pub(super) struct Local {
    pub(super) node: Node,
    /// Whether its agent runs.
    pub(super) up: bool,
    /// A transaction that its agent has given up, and that may still reach etcd.
    pub(super) stray: Option<Flight>,
}

impl Local {
    /// Whether a transaction of it is on its way.
    pub(super) fn has_flight(&self) -> bool {
        self.node.flight.is_some() || self.stray.is_some()
    }

    fn flights(&mut self) -> impl Iterator<Item = &mut Flight> {
        self.node.flight.iter_mut().chain(self.stray.iter_mut())
    }

    /// Writes the node down as if no time had ever passed, after `passed` has since the clock stood.
    pub(super) fn settle(&mut self, passed: Duration) {
        let node = &mut self.node;
        if !self.up {
            node.machine = node.new_machine();
            node.op = None;
            node.run = Run::default();
            node.flight = None;
        }
        settle_journal(&mut node.disk, passed);
        settle_machine(&mut node.machine, passed);
        node.power = match node.power {
            Power::Down(_) => Power::Down(0),
            Power::Off(_) => Power::Off(0),
            power => power,
        };
        node.booted_at = TIME;
        node.looks_at = u64::MAX;
        node.fails_at = u64::MAX;
        node.wake = None;
        // Who waits may look, and see to a wave, at any time.
        node.run.wave_again = 0;
        node.run.waited = false;
        node.run.said.clear();
        let own = node.run.lease.replace(KEPT);
        if own.is_none() {
            node.run.lease = None;
        }
        for flight in self.flights() {
            for write in &mut flight.writes {
                if let Write::Put(_, _, Some(lease)) = write {
                    *lease = lease_of(Some(*lease), own);
                }
            }
        }
    }

    /// Writes down what its transactions compare by the ranks of the revisions in a store that has changed.
    pub(super) fn follow(&mut self, store: &Store, ranks: &Ranks) {
        for flight in self.flights() {
            for compare in &mut flight.compares {
                follow(compare, store, ranks);
            }
        }
        // It can never be done any more.
        self.stray.take_if(|stray| {
            stray.compares.iter().any(|compare| match compare {
                Compare::AsRead(_, Some(read)) => read.modified < 0,
                Compare::Created(_, created) => *created < 0,
                _ => false,
            })
        });
    }
}

fn lease_of(lease: Option<u64>, own: Option<u64>) -> u64 {
    match lease.is_some() && lease == own {
        true => KEPT,
        false => LAPSING,
    }
}

fn follow(compare: &mut Compare, store: &Store, ranks: &Ranks) {
    match compare {
        Compare::AsRead(key, Some(read)) => {
            let rank = ranks.of(read.modified);
            let stands = read.modified > 0
                && ranks.0.contains(&read.modified)
                && (store.get(key))
                    .is_some_and(|now| now.modified == rank && now.value == read.value);
            read.modified = if stands { rank } else { -1 };
        }
        Compare::Created(key, created) if *created > 0 => {
            let stands = ranks.0.contains(created) && store.created(key) == ranks.of(*created);
            *created = if stands { ranks.of(*created) } else { -1 };
        }
        Compare::NoneSince(_, revision) => *revision = ranks.of(*revision),
        _ => {}
    }
}

/// The revisions that still stand, ascending, as they were before they became ranks.
#[derive(Debug)]
pub(super) struct Ranks(Vec<i64>);

impl Ranks {
    fn of(&self, revision: i64) -> i64 {
        self.0.partition_point(|known| *known <= revision) as i64
    }
}

/// Writes the store down by ranks. `ticket` is whose step it was, and the lease that its agent keeps alive.
pub(super) fn settle_store(store: &mut Store, ticket: Option<(&str, Option<u64>)>) -> Ranks {
    let mut revisions: Vec<i64> = store
        .keys
        .values()
        .flat_map(|kept| [kept.created, kept.stored.modified])
        .filter(|revision| *revision > 0)
        .collect();
    revisions.sort_unstable();
    revisions.dedup();
    let ranks = Ranks(revisions);
    for (key, kept) in &mut store.keys {
        kept.created = ranks.of(kept.created);
        kept.stored.modified = ranks.of(kept.stored.modified);
        if let (Some(lease), Some((own_key, own))) = (kept.lease, ticket)
            && own_key == key
        {
            kept.lease = Some(lease_of(Some(lease), own));
        }
        if !key.contains("/queue/") {
            kept.lease = kept.lease.map(|_| LAPSING);
        }
    }
    store.revision = ranks.0.len() as i64;
    store.history.clear();
    store.now = TIME;
    store.leases = BTreeMap::from([(LAPSING, Some(0)), (KEPT, None)]);
    ranks
}

fn earlier(at: &mut Duration, passed: Duration) {
    *at = at.saturating_sub(passed).max(NOW);
}

fn settle_journal(journal: &mut Journal, passed: Duration) {
    journal.reboot_seconds.clear();
    if let Some(soak) = &mut journal.soak {
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        soak.over_at_ms = soak.over_at_ms.saturating_sub(passed);
    }
}

fn settle_machine(machine: &mut Machine, passed: Duration) {
    machine.before = None;
    machine.asks_again_at = None;
    machine.waits_for.clear();
    machine.hold_off.take_if(|(until, _)| {
        earlier(until, passed);
        *until <= NOW
    });
    if let Some((_, due)) = &mut machine.quarantined_update {
        // A shorter wait does not shorten it: it would be counted down else.
        if *due > NOW + passed {
            *due = NOW + machine.rules.quarantine_reset;
        } else {
            *due = NOW;
        }
    }
    if let Ok(journal) = &mut machine.journal {
        settle_journal(journal, passed);
    }
    match &mut machine.state {
        State::Soaking { until, over_at, .. } => {
            *over_at = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
            earlier(until, passed);
        }
        State::Rebooting { until }
        | State::GoingDown { until }
        | State::Unproven { until, .. }
        | State::RollingBack { until, .. } => earlier(until, passed),
        State::Waiting { until, .. }
        | State::Queued { until }
        | State::Draining { until }
        | State::SoakFailed { until, .. } => {
            if let Some(until) = until {
                earlier(until, passed);
            }
        }
        _ => {}
    }
}

/// Things that are told apart by a hash, each kept once, under a number.
pub(super) struct Pool<T> {
    numbers: HashMap<u128, u32>,
    pub(super) all: Vec<T>,
}

impl<T: Distinct> Pool<T> {
    pub(super) fn new() -> Self {
        Self {
            numbers: HashMap::new(),
            all: Vec::new(),
        }
    }

    pub(super) fn number(&mut self, thing: T) -> u32 {
        let mut hash = Digest::default();
        thing.tell_apart(&mut hash);
        let next = u32::try_from(self.all.len()).expect("fewer than four billion");
        let number = *self.numbers.entry(hash.value()).or_insert(next);
        if number == next {
            self.all.push(thing);
        }
        number
    }

    pub(super) fn get(&self, number: u32) -> &T {
        &self.all[number as usize]
    }
}

/// What is told apart by some of its parts.
pub(super) trait Distinct {
    fn tell_apart(&self, into: &mut Digest);
}

/// A hash of 128 bits: of a million states no two have the same by chance.
pub(super) struct Digest(DefaultHasher, DefaultHasher);

impl Default for Digest {
    fn default() -> Self {
        let mut second = DefaultHasher::new();
        second.write_u8(1);
        Self(DefaultHasher::new(), second)
    }
}

impl Digest {
    fn value(&self) -> u128 {
        u128::from(self.0.finish()) << 64 | u128::from(self.1.finish())
    }

    fn add(&mut self, thing: &impl Hash) {
        thing.hash(&mut self.0);
        thing.hash(&mut self.1);
    }

    fn print(&mut self, thing: &impl fmt::Debug) {
        write!(self, "{thing:?};").expect("a hash takes everything");
    }
}

impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        self.1.write(text.as_bytes());
        Ok(())
    }
}

impl Distinct for Store {
    fn tell_apart(&self, into: &mut Digest) {
        for (key, kept) in &self.keys {
            into.add(&(key, &kept.stored.value, kept.stored.modified));
            into.add(&(kept.created, kept.lease));
        }
    }
}

impl Distinct for Local {
    fn tell_apart(&self, into: &mut Digest) {
        let Node {
            keys: _,
            machine,
            run,
            reboots,
            id,
            slots,
            disk,
            booted_at: _,
            power,
            staged,
            looks_at: _,
            fails_at: _,
            op,
            wake: _,
            flight,
        } = &self.node;
        // All of the machine but its rules, which never change; a new field must be named here.
        let Machine {
            rules: _,
            identity,
            state,
            journal,
            facts,
            grace,
            hold_off,
            before,
            allowed,
            waits_for,
            waits_for_hook,
            asks_again_at,
            position,
            quarantined_update,
            still_holds_back,
            restaged,
            newer_wave,
            restage_at,
            stopping,
        } = machine;
        into.print(&(identity, state, journal, facts, grace, hold_off, before));
        into.print(&(allowed, waits_for, waits_for_hook, asks_again_at, position));
        into.print(&(quarantined_update, still_holds_back, restaged, newer_wave));
        into.print(&(restage_at, stopping, run, reboots, id, slots, disk, power));
        into.print(&(staged, op, flight, &self.stray, self.up));
    }
}
