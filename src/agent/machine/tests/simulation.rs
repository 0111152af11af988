//! A simulation of what is around the machine: one node and one etcd.

use std::{collections::BTreeSet, time::Duration};

use host::node::Group;
use jiff::{Timestamp, tz::TimeZone};
use semaphore::{fleet_lock::Place, keys::Keys, records::ImageId};
use settings::Strategy;
use windows::Windows;

use super::{ID, image, named, no_reply, no_space, rules, slots::Slots, unreadable};
use crate::agent::{
    journal::{Claim, Entry, Journal, Stage},
    machine::{Boot, Effect, Event, Identity, Machine, Op, State, StateName},
    restage::Reset,
    situation::{Asked, Facts, Logins, Now, Rules, Update},
};

fn identity(strategy: Strategy, boot: u32, slots: &Slots, readable: bool) -> Identity {
    let ImageId {
        digest: image,
        version,
    } = named(slots.runs());
    Identity {
        id: ID.into(),
        boot_id: format!("boot-{boot}"),
        keys: Keys::new("p", Group::default()),
        place: (strategy == Strategy::FleetLock).then(|| Place {
            url: "https://locks.example/".into(),
            id: "own".into(),
            group: "default".into(),
        }),
        runs: ImageId {
            digest: image.filter(|_| readable),
            version,
        },
        boot: match readable {
            true => slots.boot_of(),
            false => Boot::default(),
        },
    }
}

/// Under what a reboot holds: its nonce in etcd, its id at a FleetLock server.
pub(super) fn name(entry: &Entry) -> Option<&String> {
    match entry.claim.as_ref()? {
        Claim::Etcd(claim) => Some(&claim.nonce),
        Claim::FleetLock(place) => Some(&place.id),
    }
}

/// One node, and one etcd or FleetLock server.
#[derive(Clone)]
pub(super) struct Simulation {
    pub(super) machine: Machine,
    pub(super) strategy: Strategy,
    /// The one that a changed configuration names.
    pub(super) other_strategy: Strategy,
    pub(super) boot: u32,
    pub(super) minutes: u64,
    /// When it was booted last.
    pub(super) booted_at: u64,
    /// How many minutes the group's policy has a node soak.
    pub(super) soak: Option<u64>,
    pub(super) random: u128,
    pub(super) facts: Facts,
    pub(super) disk: Journal,
    pub(super) disk_works: bool,
    pub(super) op: Option<Op>,
    pub(super) exited: bool,
    /// The [`name`] that holds the lock, and whether it has committed.
    pub(super) holder: Option<(String, bool)>,
    /// Whether a FleetLock server has said yes to this node, and has not been called since to release.
    pub(super) granted: bool,
    /// Whether this boot is going down by this agent's call.
    pub(super) called: bool,
    /// Whether logind was asked to reboot in this boot, or a former run of the agent may have.
    pub(super) asked_logind: bool,
    pub(super) reboots: usize,
    pub(super) slots: Slots,
    /// Whether the agent rolled back on this boot.
    pub(super) went_back: bool,
    /// Whether this boot has passed its checks, while this run of the agent saw it.
    pub(super) passed: bool,
    /// What the cluster knows to be bad.
    pub(super) known_bad: Vec<ImageId>,
    /// By how many minutes the wall clock is wrong.
    pub(super) clock: i64,
    pub(super) etcd: bool,
    pub(super) broken: bool,
    pub(super) logind: bool,
    pub(super) slots_readable: bool,
    /// Whether this run of the agent could not read the slots when it was started.
    pub(super) blind: bool,
    /// What the last reboot by this agent was for.
    pub(super) cleared: Option<ImageId>,
    /// What was to boot after this agent's reboot and did not come up: until it is released the cluster must be told.
    pub(super) fell_from: Option<ImageId>,
    /// How old a staged update may grow.
    pub(super) restage_after: Option<Duration>,
    /// Whether there are no windows.
    pub(super) at_any_time: bool,
    /// Whether update_engine does as it is told.
    pub(super) engine_resets: bool,
    /// What update_engine was told to forget.
    pub(super) resets: Vec<Reset>,
    /// Which state one step has led to which other.
    pub(super) seen: BTreeSet<(StateName, StateName)>,
}

impl Simulation {
    pub(super) fn new(strategy: Strategy) -> Self {
        let mut simulation = Self {
            machine: Machine::new(
                rules(strategy),
                identity(strategy, 0, &Slots::new(), true),
                Ok(Journal::default()),
            ),
            strategy,
            other_strategy: match strategy {
                Strategy::EtcdLock => Strategy::Reboot,
                _ => Strategy::EtcdLock,
            },
            boot: 0,
            minutes: 0,
            booted_at: 0,
            soak: None,
            random: 0,
            facts: Facts {
                update: Update::None("UPDATE_STATUS_IDLE".into()),
                next: Ok(None),
                logind: Ok(Logins::default()),
                asked: Asked::default(),
            },
            disk: Journal::default(),
            disk_works: true,
            op: None,
            exited: false,
            holder: None,
            granted: false,
            called: false,
            asked_logind: false,
            reboots: 0,
            slots: Slots::new(),
            went_back: false,
            passed: false,
            known_bad: Vec::new(),
            clock: 0,
            etcd: true,
            broken: false,
            logind: true,
            slots_readable: true,
            blind: false,
            cleared: None,
            fell_from: None,
            restage_after: None,
            at_any_time: false,
            engine_resets: true,
            resets: Vec::new(),
            seen: BTreeSet::new(),
        };
        simulation.start();
        simulation
    }

    pub(super) fn now(&mut self) -> Now {
        self.random += 1;
        Now {
            wall: Timestamp::from_second(self.wall() * 60)
                .unwrap()
                .to_zoned(TimeZone::UTC),
            monotonic: Duration::from_secs(self.minutes * 60),
            since_boot: Duration::from_secs((self.minutes - self.booted_at) * 60),
            random: self.random,
        }
    }

    /// What the wall clock says, in minutes.
    fn wall(&self) -> i64 {
        i64::try_from(self.minutes).unwrap() + self.clock
    }

    pub(super) fn in_window(&self) -> bool {
        self.at_any_time || (120..240).contains(&self.wall().rem_euclid(1440))
    }

    /// Whether what is left of the window is enough for a reboot of this node, as long as its reboots usually take. Where no
    /// window is, that does not count.
    fn can_use_window(&self) -> bool {
        let left = 240 - self.wall().rem_euclid(1440);
        let usual = self.disk.usual_duration().map(|usual| usual.as_secs());
        self.in_window()
            && usual
                .is_none_or(|usual| usual > 120 * 60 || left * 60 >= i64::try_from(usual).unwrap())
    }

    /// Lets time pass until the window is open.
    pub(super) fn until_window(&mut self) {
        while !self.in_window() {
            self.minutes += 1;
        }
    }

    pub(super) fn start(&mut self) {
        let rules = Rules {
            restage_after: self.restage_after,
            windows: match self.at_any_time {
                true => Windows::default(),
                false => rules(self.strategy).windows,
            },
            ..rules(self.strategy)
        };
        self.machine = Machine::new(
            rules,
            identity(self.strategy, self.boot, &self.slots, self.slots_readable),
            Ok(self.disk.clone()),
        );
        self.op = None;
        self.blind = !self.slots_readable;
        self.exited = false;
        self.passed = false;
        let now = self.now();
        let effects = self.machine.start(&now);
        self.note(StateName::Starting);
        self.perform(effects);
        self.step(Event::Facts(self.facts()));
    }

    /// The facts, with what the slots say by now.
    pub(super) fn facts(&self) -> Facts {
        let (update, next) = match &self.facts.update {
            Update::Staged(_) if !self.slots_readable => (Update::Unusable(unreadable()), Ok(None)),
            Update::Staged(image) => (Update::Staged(image.clone()), Ok(None)),
            other if !self.slots_readable => (other.clone(), Err(unreadable())),
            other => {
                let next = match self.slots.next() {
                    next if next == self.slots.booted => named(self.slots.images[next]),
                    next => image(self.slots.images[next]),
                };
                (other.clone(), Ok(Some(next)))
            }
        };
        let logind = match self.logind {
            true => self.facts.logind.clone(),
            false => Err(no_reply().into()),
        };
        Facts {
            update,
            next,
            logind,
            asked: Asked::default(),
        }
    }

    /// What a reboot by this agent would boot now.
    pub(super) fn destination(&self) -> ImageId {
        match &self.facts.update {
            Update::Staged(staged) => staged.clone(),
            _ => image(self.slots.images[self.slots.next()]),
        }
    }

    pub(super) fn step(&mut self, event: Event) {
        let now = self.now();
        let before = self.machine.state().name();
        let effects = self.machine.step(event, &now);
        self.note(before);
        self.perform(effects);
    }

    /// Notes which state a step has led to.
    fn note(&mut self, before: StateName) {
        let after = self.machine.state().name();
        if before != after {
            self.seen.insert((before, after));
        }
    }

    pub(super) fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Journal(journal) => {
                    if !self.disk_works {
                        self.step(Event::JournalFailed(no_space()));
                        return;
                    }
                    self.disk = journal;
                }
                Effect::Remember(journal) if self.disk_works => self.disk = journal,
                Effect::Remember(_) => {}
                Effect::Run(op) => self.begin(op),
                Effect::Again => self.step(Event::Tick),
                Effect::Exit => self.exited = true,
                Effect::HoldUpdatesBack => {}
                Effect::LetUpdatesIn => assert!(
                    !self.disk_works || !self.disk.holds_updates_back(&self.boot_id()),
                    "update_engine is started while it is to be held back"
                ),
                Effect::Reset(why) => self.reset(why),
                Effect::Announce(_) | Effect::Answer(_) => {}
            }
        }
    }

    /// update_engine is told to forget what is staged.
    fn reset(&mut self, why: Reset) {
        self.resets.push(why);
        if why != Reset::Old {
            return;
        }
        assert!(self.machine.entry().is_none(), "in the queue, or holding");
        assert_eq!(self.op, None);
        assert!(self.machine.request().is_none(), "a person waits for it");
        let to_window = (120 - self.wall()).rem_euclid(1440);
        let early = to_window > 60 && !self.can_use_window();
        assert!(
            self.at_any_time || early,
            "{to_window} minutes before its window"
        );
        if self.engine_resets {
            self.stage(None);
        }
    }

    pub(super) fn going_down(&self) -> bool {
        self.facts.logind.as_ref().is_ok_and(|l| l.going_down)
    }

    pub(super) fn boot_id(&self) -> String {
        format!("boot-{}", self.boot)
    }

    pub(super) fn may_go(&self) -> bool {
        self.in_window() && self.may_go_back()
    }

    /// As [`Self::may_go`], for the way back of a node that soaks: the window does not matter.
    pub(super) fn may_go_back(&self) -> bool {
        let blocked = |l: &Logins| !l.inhibitors.is_empty() || l.going_down;
        self.wanted() && !self.facts.logind.as_ref().is_ok_and(blocked)
    }

    pub(super) fn wanted(&self) -> bool {
        matches!(self.facts.update, Update::Staged(_)) || self.machine.request().is_some()
    }

    pub(super) fn held_by(&self, entry: &Entry) -> bool {
        let own = name(entry);
        self.holder.as_ref().map(|(holder, _)| holder) == own && own.is_some()
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts);
        if !self.exited {
            self.step(Event::Facts(self.facts()));
        }
    }

    /// The cluster is told what this node owes it.
    pub(super) fn report(&mut self) {
        if let Some(owed) = self.machine.owed().cloned()
            && self.strategy == Strategy::EtcdLock
            && self.etcd
        {
            self.known_bad.push(owed.what.clone());
            self.step(Event::Reported(owed.what));
        }
    }

    /// Which slot the driver lets boot next while an update is staged.
    pub(super) fn pin_slot(&mut self) {
        let staged = matches!(self.facts.update, Update::Staged(_));
        if staged && self.strategy.is_coordinated() && self.machine.may_pin_slot() {
            self.slots.first = self.slots.booted;
        }
    }

    /// Whether this agent goes into another image by now: what is written over that nobody can help.
    pub(super) fn moves(&self) -> bool {
        let here = format!("boot-{}", self.boot);
        self.machine.entry().is_some_and(|e| {
            e.stage == Stage::Committing && e.boot_id == here && !e.intent.to.is(&e.from)
        })
    }

    /// update_engine writes an image to the other slot (or forgets it). It is let in only where the booted one is good.
    pub(super) fn stage(&mut self, version: Option<u8>) {
        if let Some(version) = version {
            // What is written between the last look and the boot nobody can help.
            let late = self.going_down() || matches!(self.op, Some(Op::Reboot(_)));
            let good = self.slots.good[self.slots.booted]
                && !self.disk.holds_updates_back(&self.boot_id());
            if !good || self.went_back || late && self.moves() {
                return;
            }
            // Written over before the agent could read the slots in this boot: nothing tells any more that it failed.
            if self.blind {
                self.fell_from = None;
            }
            let other = 1 - self.slots.booted;
            self.slots.images[other] = version;
            self.slots.good[other] = false;
            self.slots.tries[other] = true;
            self.slots.abandoned[other] = false;
            // Its post-install makes it next.
            self.slots.first = other;
        }
        self.change(|facts| {
            facts.update = match version {
                Some(version) => Update::Staged(named(version)),
                None => Update::None("UPDATE_STATUS_IDLE".into()),
            }
        });
        self.pin_slot();
    }

    pub(super) fn tick(&mut self) {
        let monotonic = Duration::from_secs(self.minutes * 60);
        if self.machine.wake_at().is_some_and(|at| at <= monotonic) {
            self.step(Event::Tick);
        }
    }

    /// The machine goes down, and what boots next does not come up.
    pub(super) fn comes_not(&mut self) {
        let next = self.slots.next();
        let (meant, before) = (image(self.slots.images[next]), self.slots.booted);
        if self.slots.good[next] || self.went_back || next == before {
            return self.reboot();
        }
        let cleared = self.cleared.as_ref().is_some_and(|to| to.is(&meant));
        // Who asked nobody holds nothing that others wait for.
        let holds = self.holder.is_some();
        if self.called && cleared && holds && self.slots.can(before) {
            self.fell_from = Some(meant);
        }
        self.slots.boot();
        self.cleared = None;
        self.reboot();
    }

    pub(super) fn reboot(&mut self) {
        let before = named(self.slots.runs());
        let next = image(self.slots.images[self.slots.next()]);
        if self.called
            && self.strategy.is_coordinated()
            && let Some(cleared) = self.cleared.take()
        {
            assert!(
                next.is(&cleared) || next.is(&before),
                "into what nobody cleared"
            );
        }
        self.boot += 1;
        self.booted_at = self.minutes;
        self.reboots += 1;
        self.slots.boot();
        self.went_back = false;
        self.called = false;
        self.asked_logind = false;
        self.facts = Facts {
            update: Update::None("UPDATE_STATUS_IDLE".into()),
            next: Ok(None),
            logind: Ok(Logins::default()),
            asked: Asked::default(),
        };
        self.start();
    }

    /// What must hold at every moment.
    pub(super) fn check(&self) {
        if let Some((holder, _)) = &self.holder {
            let known = self.disk.entry.as_ref().and_then(name);
            assert_eq!(known, Some(holder), "held, and not in the journal");
        }
        let soaks = matches!(
            self.machine.state(),
            State::Resuming | State::Soaking { .. } | State::SoakFailed { .. }
        );
        if soaks {
            assert_eq!(self.machine.proven_digest(), None, "proven before its soak");
            assert!(self.slots.good[self.slots.booted] || !self.slots_readable);
        }
        let queued = matches!(self.machine.state(), State::Queued { .. });
        if queued && !self.exited && !self.going_down() {
            assert!(self.may_go(), "in the queue for a reboot that may not be");
        }
        if self.called {
            let still = !self.strategy.is_coordinated() || self.holder.is_some();
            assert!(
                still || self.machine.entry().is_some(),
                "released while going down"
            );
        }
    }
}
