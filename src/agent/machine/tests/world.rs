//! The world around the machine: one etcd, one node, and what befalls them.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};

use super::{ID, happening::Happening, image, rules, slots::Slots};
use crate::{
    agent::{
        gate::{Facts, Logins, Now, Request, Update},
        journal::{Entry, Journal, Stage},
        machine::{Effect, Event, Identity, Machine, Op, State},
    },
    config::Strategy,
    node::Group,
    semaphore::{keys::Keys, records::Image},
};

fn identity(boot: u32, slots: &Slots) -> Identity {
    Identity {
        id: ID.into(),
        boot_id: format!("boot-{boot}"),
        keys: Keys::new("p", Group::default()),
        runs: image(slots.runs()),
        boot: slots.boot_of(),
    }
}

/// The world: one etcd, one node.
pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) strategy: Strategy,
    pub(super) boot: u32,
    pub(super) minutes: u64,
    pub(super) random: u128,
    pub(super) facts: Facts,
    pub(super) disk: Journal,
    pub(super) disk_works: bool,
    pub(super) op: Option<Op>,
    pub(super) exited: bool,
    /// The nonce that holds the semaphore, and whether it has committed.
    pub(super) holder: Option<(String, bool)>,
    /// Whether this boot is going down by this agent's call.
    pub(super) called: bool,
    /// Whether logind was asked to reboot in this boot, or a former run of the agent may have.
    pub(super) asked_logind: bool,
    pub(super) reboots: usize,
    pub(super) slots: Slots,
    /// Whether the agent went back on this boot.
    pub(super) went_back: bool,
    /// Whether this boot has passed its checks, while this run of the agent saw it.
    pub(super) passed: bool,
    /// What the cluster knows to be bad.
    pub(super) known_bad: Vec<Image>,
}

impl World {
    pub(super) fn new(strategy: Strategy) -> Self {
        let mut world = Self {
            machine: Machine::new(
                rules(strategy),
                identity(0, &Slots::new()),
                Ok(Journal::default()),
            ),
            strategy,
            boot: 0,
            minutes: 0,
            random: 0,
            facts: Facts {
                update: Update::None("UPDATE_STATUS_IDLE".into()),
                next: Ok(None),
                logind: Ok(Logins::default()),
            },
            disk: Journal::default(),
            disk_works: true,
            op: None,
            exited: false,
            holder: None,
            called: false,
            asked_logind: false,
            reboots: 0,
            slots: Slots::new(),
            went_back: false,
            passed: false,
            known_bad: Vec::new(),
        };
        world.start();
        world
    }

    pub(super) fn now(&mut self) -> Now {
        self.random += 1;
        let minutes = i64::try_from(self.minutes).unwrap();
        Now {
            wall: Timestamp::from_second(minutes * 60)
                .unwrap()
                .to_zoned(TimeZone::UTC),
            monotonic: Duration::from_secs(self.minutes * 60),
            random: self.random,
        }
    }

    pub(super) fn in_window(&self) -> bool {
        (120..240).contains(&(self.minutes % 1440))
    }

    pub(super) fn start(&mut self) {
        self.machine = Machine::new(
            rules(self.strategy),
            identity(self.boot, &self.slots),
            Ok(self.disk.clone()),
        );
        self.op = None;
        self.exited = false;
        self.passed = false;
        let now = self.now();
        let effects = self.machine.start(&now);
        self.perform(effects);
        self.step(Event::Facts(self.facts()));
    }

    /// The facts, with what the slots say by now.
    pub(super) fn facts(&self) -> Facts {
        let next = match self.facts.update {
            Update::Staged(_) => None,
            _ => Some(image(self.slots.images[self.slots.next()])),
        };
        Facts {
            next: Ok(next),
            ..self.facts.clone()
        }
    }

    /// What a reboot by this agent would boot now.
    pub(super) fn destination(&self) -> Image {
        match &self.facts.update {
            Update::Staged(staged) => staged.clone(),
            _ => image(self.slots.images[self.slots.next()]),
        }
    }

    pub(super) fn step(&mut self, event: Event) {
        let now = self.now();
        let effects = self.machine.step(event, &now);
        self.perform(effects);
    }

    pub(super) fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Journal(journal) => {
                    if !self.disk_works {
                        self.step(Event::JournalFailed("no space".into()));
                        return;
                    }
                    self.disk = journal;
                }
                Effect::Remember(journal) if self.disk_works => self.disk = journal,
                Effect::Remember(_) => {}
                Effect::Run(op) => self.begin(op),
                Effect::Again => self.step(Event::Tick),
                Effect::Exit => self.exited = true,
                Effect::Announce(_) | Effect::Answer(_) | Effect::Reset => {}
            }
        }
    }

    pub(super) fn going_down(&self) -> bool {
        self.facts.logind.as_ref().is_ok_and(|l| l.going_down)
    }

    pub(super) fn may_go(&self) -> bool {
        let blocked = |l: &Logins| !l.inhibitors.is_empty() || l.going_down;
        self.wanted() && self.in_window() && !self.facts.logind.as_ref().is_ok_and(blocked)
    }

    pub(super) fn wanted(&self) -> bool {
        matches!(self.facts.update, Update::Staged(_)) || self.machine.request().is_some()
    }

    pub(super) fn held_by(&self, entry: &Entry) -> bool {
        let nonce = entry.claim.as_ref().map(|claim| &claim.nonce);
        self.holder.as_ref().map(|(holder, _)| holder) == nonce && nonce.is_some()
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
        {
            self.known_bad.push(owed.what.clone());
            self.step(Event::Reported(owed.what));
        }
    }

    pub(super) fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Ends(well) => self.end(*well),
            Happening::Staged(version) => self.stage(*version),
            Happening::EngineGone => {
                self.change(|facts| facts.update = Update::Unknown("gone".into()))
            }
            Happening::Person(there) => self.change(|facts| {
                if let Ok(logins) = &mut facts.logind {
                    logins.people = there
                        .then(|| ("ann".into(), "tty1".into()))
                        .into_iter()
                        .collect();
                }
            }),
            Happening::Inhibited(there) => self.change(|facts| {
                if let Ok(logins) = &mut facts.logind {
                    logins.inhibitors = there
                        .then(|| ("backup".into(), "runs".into()))
                        .into_iter()
                        .collect();
                }
            }),
            Happening::Minutes(minutes) => {
                self.minutes += u64::from(*minutes);
                self.tick();
            }
            Happening::Asked(true) => self.step(Event::Asked(Request {
                reason: "why not".into(),
            })),
            Happening::Asked(false) => self.step(Event::Cancelled),
            // The command refuses while an update is staged, and where the boot is on trial the loader forgets it.
            Happening::Rollback => {
                let to = 1 - self.slots.next();
                let staged = matches!(self.facts.update, Update::Staged(_));
                if !staged && !self.going_down() && self.slots.can(to) {
                    self.slots.first = to;
                }
            }
            Happening::Judged(version, true) => self.step(Event::Condemned {
                what: image(*version),
                reason: "ann says so".into(),
            }),
            Happening::Judged(version, false) => self.step(Event::Cleared(image(*version))),
            Happening::Unlocked => {
                self.holder = self.holder.take().filter(|(_, committed)| *committed)
            }
            Happening::Dies => {
                self.asked_logind = true;
                self.start();
            }
            Happening::Stops => {
                // That somebody's shutdown was called off is seen at the next start.
                let believed = matches!(
                    self.machine.state(),
                    State::GoingDown { .. } | State::Doubting { .. }
                );
                let going = self.going_down() || believed;
                self.step(Event::Stop);
                for _ in 0..10 {
                    self.end(true);
                }
                // With a disk that cannot be written the driver's patience ends it.
                let state = self.machine.state();
                assert!(
                    self.exited || !self.disk_works,
                    "does not stop in {state:?}"
                );
                let this_boot = format!("boot-{}", self.boot);
                let proving = matches!(&self.disk.entry, Some(e) if e.boot_id != this_boot);
                // Whether a shutdown follows a call that failed, or one of an earlier run, is still in doubt.
                let doubting = matches!(&self.disk.entry, Some(e) if e.stage == Stage::Committing);
                let excused = going || proving || doubting && self.asked_logind;
                if self.disk_works && !excused {
                    assert_eq!(
                        self.holder, None,
                        "stopped before the call, and still holding"
                    );
                }
                self.start();
            }
            Happening::Shutdown(begins) => {
                if let Ok(logins) = &mut self.facts.logind
                    && !self.called
                {
                    logins.going_down = *begins;
                }
            }
            Happening::Reboots => self.reboot(),
            Happening::Disk(works) => self.disk_works = *works,
            Happening::Report => self.report(),
        }
        self.check();
    }

    /// update_engine writes an image to the other slot (or forgets it). It is let in only where the booted one is good.
    pub(super) fn stage(&mut self, version: Option<u8>) {
        if let Some(version) = version {
            if !self.slots.good[self.slots.booted] || self.going_down() {
                return;
            }
            let other = 1 - self.slots.booted;
            self.slots.images[other] = version;
            self.slots.good[other] = false;
            self.slots.tries[other] = true;
            self.slots.abandoned[other] = false;
            // Its post-install makes it next; a coordinated agent holds it back.
            self.slots.first = match self.strategy {
                Strategy::EtcdLock => self.slots.booted,
                _ => other,
            };
        }
        self.change(|facts| {
            facts.update = match version {
                Some(version) => Update::Staged(image(version)),
                None => Update::None("UPDATE_STATUS_IDLE".into()),
            }
        });
    }

    pub(super) fn tick(&mut self) {
        let monotonic = Duration::from_secs(self.minutes * 60);
        if self.machine.wake_at().is_some_and(|at| at <= monotonic) {
            self.step(Event::Tick);
        }
    }

    pub(super) fn reboot(&mut self) {
        self.boot += 1;
        self.reboots += 1;
        self.slots.boot();
        self.went_back = false;
        self.called = false;
        self.asked_logind = false;
        self.facts = Facts {
            update: Update::None("UPDATE_STATUS_IDLE".into()),
            next: Ok(None),
            logind: Ok(Logins::default()),
        };
        self.start();
    }

    /// What must hold at every moment.
    pub(super) fn check(&self) {
        if let Some((nonce, _)) = &self.holder {
            let known = self
                .disk
                .entry
                .as_ref()
                .and_then(|entry| entry.claim.as_ref());
            assert_eq!(
                known.map(|claim| &claim.nonce),
                Some(nonce),
                "held, and not in the journal"
            );
        }
        let queued = matches!(self.machine.state(), State::Queued { .. });
        if queued && !self.exited && !self.going_down() {
            assert!(self.may_go(), "in the line for a reboot that may not be");
        }
        if self.called {
            let still = self.strategy != Strategy::EtcdLock || self.holder.is_some();
            assert!(
                still || self.machine.entry().is_some(),
                "given back while going down"
            );
        }
    }
}
