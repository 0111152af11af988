//! What can happen next to one node, to etcd, and by people.

use std::time::Duration;

use pointsman_testbed::random::Random;

use super::{
    super::{
        bugs::{Bug, Doing},
        node::{Node, Power},
        outside::Outside,
        store::{Store, Write},
    },
    world::{KEPT, Local, TIME},
};
use crate::agent::{
    journal::{Claim, Entry, Journal, Stage},
    machine::{Event, Op, State},
};

/// A step of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Do {
    /// Its operation goes on: it looks and decides, or what it has sent is done and answered.
    Act,
    /// The time it waits for comes.
    Tick,
    /// It has called the reboot, and nothing follows for so long that it gives up.
    GiveUp,
    /// update_engine stages the newest image.
    Stage,
    /// It tells as a member what is proven on it.
    Tell,
    /// It goes down.
    GoDown,
    /// It boots.
    ComeUp,
    /// Its agent is started.
    Start,
    /// What was given up reaches etcd after all.
    StrayLands,
    /// Its agent is killed; what it has sent does not reach etcd.
    Crash,
    /// Its agent is killed, and what it has sent is done.
    CrashLanded,
    /// Its agent is killed after it has changed something on the node, and before the journal says so.
    CrashUnjournalled,
    /// Its power is cut.
    Cut,
    /// What it has sent is done, and the answer lost.
    LoseReply,
    /// What it has sent is given up, and may reach etcd later, or never.
    Delay,
    /// It goes down and never returns.
    NeverReturn,
}

/// A kind of failure, of which there may be so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Crash,
    Cut,
    LostReply,
    Delay,
    Lease,
    Gone,
    NoShutdown,
    Late,
}

/// How many kinds there are.
pub(super) const FAULTS: usize = 8;

impl Do {
    pub(super) const ALL: [Self; 16] = [
        Self::Act,
        Self::Tick,
        Self::GiveUp,
        Self::Stage,
        Self::Tell,
        Self::GoDown,
        Self::ComeUp,
        Self::Start,
        Self::StrayLands,
        Self::Crash,
        Self::CrashLanded,
        Self::CrashUnjournalled,
        Self::Cut,
        Self::LoseReply,
        Self::Delay,
        Self::NeverReturn,
    ];

    /// Which failure it is; none for what is no failure.
    pub(super) fn fault(self) -> Option<Fault> {
        Some(match self {
            Self::Crash | Self::CrashLanded | Self::CrashUnjournalled => Fault::Crash,
            Self::Cut => Fault::Cut,
            Self::LoseReply => Fault::LostReply,
            Self::Delay => Fault::Delay,
            Self::NeverReturn => Fault::Gone,
            Self::GiveUp => Fault::NoShutdown,
            _ => return None,
        })
    }

    /// In a sentence about the node.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Act => "goes on",
            Self::Tick => "has waited long enough",
            Self::GiveUp => "gives up waiting for the shutdown",
            Self::Stage => "stages the newest image",
            Self::Tell => "tells what is proven on it",
            Self::GoDown => "goes down",
            Self::ComeUp => "boots",
            Self::Start => "has its agent started",
            Self::StrayLands => "gave up a transaction that reaches etcd now",
            Self::Crash => "loses its agent",
            Self::CrashLanded => "loses its agent right after what it sent was done",
            Self::CrashUnjournalled => "loses its agent before its journal says what it did",
            Self::Cut => "loses its power",
            Self::LoseReply => "loses the answer to what it sent",
            Self::Delay => "gives up what it sent, which is still on its way",
            Self::NeverReturn => "goes down for ever",
        }
    }
}

/// The node after this step, and the store if it has changed; none where the step cannot be taken. Neither is settled yet: the
/// time that has passed is told with them.
pub(super) fn step(
    before: &Local,
    store: &Store,
    newest: u8,
    what: Do,
) -> Option<(Local, Store, Duration)> {
    let power = before.node.power;
    let on = power == Power::On;
    let up = before.up && on;
    let possible = match what {
        Do::Act => up && (before.node.op.is_some() || before.node.flight.is_some()),
        Do::Tick | Do::GiveUp => {
            let called = matches!(before.node.machine.state(), State::Rebooting { .. });
            up && time_left(&before.node).is_some() && called == (what == Do::GiveUp)
        }
        Do::Stage | Do::Tell => up,
        Do::GoDown | Do::NeverReturn => matches!(power, Power::Down(_)),
        Do::ComeUp => matches!(power, Power::Off(_)),
        Do::Start => on && !before.up,
        Do::StrayLands => before.stray.is_some(),
        Do::Crash => up,
        Do::CrashLanded | Do::LoseReply => up && before.node.flight.is_some(),
        Do::CrashUnjournalled => {
            up && matches!(
                before.node.op,
                Some(Op::Mark | Op::RollBack { .. } | Op::Reboot(_))
            )
        }
        Do::Cut => on,
        Do::Delay => up && before.node.flight.is_some() && before.stray.is_none(),
    };
    if !possible {
        return None;
    }
    let (mut local, mut store) = (before.clone(), store.clone());
    let mut passed = Duration::ZERO;
    store.now = TIME;
    let mut outside = Outside::new(Random::from_seed(1), false);
    outside.newest = newest;
    outside.nonces_are_chosen = true;
    outside.nonces = free_nonce(before, &store);
    let node = &mut local.node;
    match what {
        Do::Act => node.act(&mut store, &mut outside),
        Do::Tick | Do::GiveUp => {
            passed = time_left(node)?;
            store.now += u64::try_from(passed.as_millis()).ok()?;
            node.step(Event::Tick, &mut store, &mut outside);
        }
        Do::Stage => {
            node.looks(&mut store, &mut outside);
            if node.staged == before.node.staged {
                return None;
            }
        }
        Do::Tell => {
            let revision = store.revision;
            node.tell_membership(&mut store);
            if store.revision == revision {
                return None;
            }
        }
        Do::GoDown => {
            node.goes_down(&mut store, &mut outside);
            local.up = false;
        }
        Do::NeverReturn => {
            node.end_run(&mut store);
            node.power = Power::Gone;
            local.up = false;
        }
        Do::ComeUp => {
            node.reboots = free_boot(before) - 1;
            node.comes_up(&mut store, &mut outside);
            local.up = true;
        }
        Do::Start => {
            node.start(&mut store, &mut outside);
            local.up = true;
        }
        Do::StrayLands => {
            let stray = local.stray.take()?;
            if !store.txn(&stray.compares, stray.writes) {
                return None;
            }
        }
        Do::Crash => local.crash(&mut store),
        Do::CrashLanded => {
            let flight = node.flight.take()?;
            if !store.txn(&flight.compares, flight.writes) {
                return None;
            }
            local.crash(&mut store);
        }
        Do::CrashUnjournalled => {
            node.act(&mut store, &mut outside);
            node.disk = before.node.disk.clone();
            local.crash(&mut store);
        }
        Do::Cut => {
            node.power = Power::Off(0);
            local.crash(&mut store);
        }
        Do::LoseReply => {
            let flight = node.flight.take()?;
            let took = flight.doing() == Doing::Take;
            if !store.txn(&flight.compares, flight.writes) {
                return None;
            }
            if took && store.bug == Some(Bug::NewNonceAfterLostReply) {
                rename_claim(node, outside.nonces);
            }
        }
        Do::Delay => local.stray = local.node.flight.take(),
    }
    if store.bug == Some(Bug::TakeNotJournalled) {
        let disk = &mut local.node.disk;
        disk.entry.take_if(|entry| entry.stage == Stage::Queued);
    }
    Some((local, store, passed))
}

impl Local {
    fn crash(&mut self, store: &mut Store) {
        self.node.end_run(store);
        self.up = false;
    }
}

/// Whether the next step of the node changes nothing that others see, reads nothing that they change, and is not checked by a rule.
pub(super) fn is_private(local: &Local, what: Do) -> bool {
    let Node {
        op, flight, run, ..
    } = &local.node;
    match what {
        Do::GoDown | Do::ComeUp | Do::Start => true,
        Do::Act if flight.is_none() => match op {
            Some(Op::Prove { entry, .. }) => entry.is_none() || run.told,
            Some(op) => matches!(
                op,
                Op::May(_) | Op::Look | Op::Undo(_) | Op::Undrain(_) | Op::Mark
            ),
            None => false,
        },
        _ => false,
    }
}

/// How long it waits for the next thing that time brings.
fn time_left(node: &Node) -> Option<Duration> {
    let now = Duration::from_millis(TIME);
    if matches!(node.machine.state(), State::Soaking { .. }) {
        if matches!(node.op, Some(Op::CheckSoak { .. })) {
            return None;
        }
        // Its checks before the end of the soak are left out.
        return node.disk.soak.as_ref().map(|soak| soak.over_at());
    }
    Some(node.machine.wake_at()?.saturating_sub(now))
}

fn nonce(number: u128) -> String {
    format!("{number:032x}")
}

/// The least number of this node that names no claim which is still known anywhere.
fn free_nonce(local: &Local, store: &Store) -> u128 {
    let node = &local.node;
    let first = node
        .id
        .bytes()
        .fold(0, |all, byte| all << 8 | u128::from(byte))
        << 8;
    if !matches!(node.op, Some(Op::May(_) | Op::Acquire(_))) {
        return first;
    }
    let holder = store.get(&node.keys.holder(&node.id));
    let holder = holder.map(|stored| String::from_utf8_lossy(&stored.value).into_owned());
    let known = format!(
        "{:?} {:?} {holder:?} {:?} {:?}",
        node.disk, node.machine.journal, node.flight, local.stray
    );
    let free = (first..).find(|number| !known.contains(&nonce(*number)));
    free.expect("some are free")
}

/// The least number of a boot that the node knows nothing of any more.
fn free_boot(local: &Local) -> usize {
    let known = format!("{:?}", local.node.disk);
    let free = (1..).find(|boot| !known.contains(&format!("\"boot-{boot}\"")));
    free.expect("some are free")
}

/// The seeded bug: what comes after is sent under another name.
fn rename_claim(node: &mut Node, number: u128) {
    let rename = |entry: &mut Entry| {
        if let Some(Claim::Etcd(claim)) = &mut entry.claim {
            claim.nonce = nonce(number);
        }
    };
    let journals = [Some(&mut node.disk), node.machine.journal.as_mut().ok()];
    for journal in journals.into_iter().flatten() {
        let Journal { entry, .. } = journal;
        entry.iter_mut().for_each(rename);
    }
    if let Some(Op::Acquire(entry)) = &mut node.op {
        rename(entry);
    }
}

/// The keys in the store that a time may end; and which failure that is, where somebody keeps it alive or is back in time else:
/// `is_gone` tells who never is.
pub(super) fn lapsing(
    store: &Store,
    is_gone: impl Fn(&str) -> bool,
) -> Vec<(String, Option<Fault>)> {
    let leased = store.keys.iter().filter_map(|(key, kept)| {
        let lease = kept.lease?;
        // A deadline counts only where a grace follows it, which ends after it.
        let (group, id) = key.rsplit_once('/')?;
        let group = group.rsplit_once('/').map_or("", |(group, _)| group);
        let graced = store.keys.contains_key(&format!("{group}/expires/{id}"));
        let deadline = store.keys.contains_key(&format!("{group}/deadlines/{id}"));
        let possible = match key {
            key if key.contains("/deadlines/") => graced,
            key if key.contains("/expires/") => !deadline,
            _ => true,
        };
        let fault = match lease {
            KEPT => Some(Fault::Lease),
            _ if key.contains("/deadlines/") && !is_gone(id) => Some(Fault::Late),
            _ => None,
        };
        possible.then(|| (key.clone(), fault))
    });
    leased.collect()
}

/// The end of a key's lease.
pub(super) fn lapse(store: &mut Store, key: &str) {
    store.txn(&[], vec![Write::Delete(key.to_owned())]);
}
