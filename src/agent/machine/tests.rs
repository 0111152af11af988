//! The machine against a model of the world around it: crashes anywhere, people and others interfering.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use proptest::{
    prelude::{Just, ProptestConfig, any, prop},
    prop_assert_eq, prop_oneof, proptest,
    strategy::Strategy as Generator,
};

use super::*;
use crate::{
    agent::gate::{Logins, Update},
    config::Strategy,
    node::Group,
    window::Window,
};

const ID: &str = "0123456789abcdef0123456789abcdef";

fn rules(strategy: Strategy) -> Rules {
    Rules {
        strategy,
        window: Some(Window::parse("02:00", "2h").unwrap()),
        login_grace: Duration::from_secs(300),
        shutdown_timeout: Duration::from_secs(300),
        quarantine_reset: Duration::from_secs(12 * 3600),
        retry: Duration::from_secs(60),
    }
}

/// An image, by content; odd ones are bad.
fn image(number: u8) -> Image {
    Image {
        image: Some(format!("sha256:{number}")),
        version: None,
    }
}

/// The node's disk: what each slot holds, and what the boot loader sees.
#[derive(Debug, Clone)]
struct Slots {
    images: [u8; 2],
    good: [bool; 2],
    tries: [bool; 2],
    /// What a roll-back left, until something is written there.
    abandoned: [bool; 2],
    first: usize,
    booted: usize,
}

impl Slots {
    fn new() -> Self {
        Self {
            images: [0, 0],
            good: [true, false],
            tries: [false, false],
            abandoned: [false, false],
            first: 0,
            booted: 0,
        }
    }

    fn can(&self, slot: usize) -> bool {
        (self.good[slot] || self.tries[slot]) && !self.abandoned[slot]
    }

    /// What the boot loader would take.
    fn next(&self) -> usize {
        if self.can(self.first) {
            self.first
        } else {
            1 - self.first
        }
    }

    /// What the boot loader does.
    fn boot(&mut self) {
        let next = self.next();
        assert!(self.can(next), "no slot boots: {self:?}");
        self.tries[next] = false;
        self.booted = next;
    }

    fn runs(&self) -> u8 {
        self.images[self.booted]
    }

    fn boot_of(&self) -> Boot {
        let other = 1 - self.booted;
        Boot {
            trial: !self.good[self.booted],
            other: Some(Other {
                image: image(self.images[other]),
                successful: self.good[other],
                tries: self.tries[other],
                abandoned: self.abandoned[other],
            }),
        }
    }
}

fn identity(boot: u32, slots: &Slots) -> Identity {
    Identity {
        id: ID.into(),
        boot_id: format!("boot-{boot}"),
        keys: Keys::new("p", Group::default()),
        runs: image(slots.runs()),
        boot: slots.boot_of(),
    }
}

/// What happens to the node next.
#[derive(Debug, Clone)]
enum Happening {
    /// The operation under way ends: well (true), or as badly as it can.
    Ends(bool),
    /// An update is staged, or no more.
    Staged(Option<u8>),
    /// update_engine is away.
    EngineGone,
    /// Somebody logs in or out.
    Person(bool),
    /// Somebody blocks or unblocks shutdowns.
    Inhibited(bool),
    /// Time passes, in minutes.
    Minutes(u16),
    /// A person asks for a reboot, or takes it back.
    Asked(bool),
    /// A person makes the other slot next, or this one again.
    Rollback,
    /// A person quarantines this image on this node, or clears it.
    Judged(u8, bool),
    /// A person unlocks this node; once it has committed that needs force, and is theirs to answer for.
    Unlocked,
    /// The agent dies and is started again.
    Dies,
    /// The agent is told to end, and is started again once it has.
    Stops,
    /// systemd is told directly to shut down, or that it shall not after all; nobody signals either.
    Shutdown(bool),
    /// The machine loses power, or is rebooted by somebody.
    Reboots,
    /// The journal cannot be written from now on, or can again.
    Disk(bool),
    /// etcd is told of what was found to be bad.
    Report,
}

fn happening() -> impl Generator<Value = Happening> {
    use Happening::*;
    prop_oneof![
        12 => any::<bool>().prop_map(Ends),
        6 => Just(Ends(true)),
        4 => prop::option::weighted(0.8, 1u8..6).prop_map(Staged),
        1 => Just(EngineGone),
        1 => any::<bool>().prop_map(Person),
        1 => any::<bool>().prop_map(Inhibited),
        4 => (0u16..200).prop_map(Minutes),
        1 => any::<bool>().prop_map(Asked),
        1 => Just(Rollback),
        1 => (1u8..6, any::<bool>()).prop_map(|(version, bad)| Judged(version, bad)),
        1 => Just(Unlocked),
        1 => Just(Dies),
        1 => Just(Stops),
        1 => any::<bool>().prop_map(Shutdown),
        1 => Just(Reboots),
        1 => prop::bool::weighted(0.7).prop_map(Disk),
        1 => Just(Report),
    ]
}

/// The world: one etcd, one node.
struct World {
    machine: Machine,
    strategy: Strategy,
    boot: u32,
    minutes: u64,
    random: u128,
    facts: Facts,
    disk: Journal,
    disk_works: bool,
    op: Option<Op>,
    exited: bool,
    /// The nonce that holds the semaphore, and whether it has committed.
    holder: Option<(String, bool)>,
    /// Whether this boot is going down by this agent's call.
    called: bool,
    /// Whether logind was asked to reboot in this boot, or a former run of the agent may have.
    asked_logind: bool,
    reboots: usize,
    slots: Slots,
    /// Whether the agent went back on this boot.
    went_back: bool,
    /// Whether this boot has passed its checks, while this run of the agent saw it.
    passed: bool,
    /// What the cluster knows to be bad.
    known_bad: Vec<Image>,
}

impl World {
    fn new(strategy: Strategy) -> Self {
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

    fn now(&mut self) -> Now {
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

    fn in_window(&self) -> bool {
        (120..240).contains(&(self.minutes % 1440))
    }

    fn start(&mut self) {
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
    fn facts(&self) -> Facts {
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
    fn destination(&self) -> Image {
        match &self.facts.update {
            Update::Staged(staged) => staged.clone(),
            _ => image(self.slots.images[self.slots.next()]),
        }
    }

    fn step(&mut self, event: Event) {
        let now = self.now();
        let effects = self.machine.step(event, &now);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
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

    fn begin(&mut self, op: Op) {
        match &op {
            Op::Acquire(entry) => {
                assert_eq!(
                    self.disk.entry.as_ref(),
                    Some(entry),
                    "the nonce is not in the journal"
                );
            }
            Op::Drain(_) if !self.may_go() => panic!("a drain for a reboot that may not be"),
            Op::Drain(_) => assert_eq!(self.disk.entry.as_ref().unwrap().stage, Stage::Draining),
            Op::Commit(_) => assert_eq!(self.disk.entry.as_ref().unwrap().stage, Stage::Committing),
            Op::Reboot(entry) => {
                assert!(self.in_window(), "a reboot outside the window");
                let nonce = entry.claim.as_ref().map(|claim| claim.nonce.clone());
                if self.strategy == Strategy::EtcdLock {
                    assert_eq!(
                        self.holder,
                        nonce.map(|n| (n, true)),
                        "a reboot without the semaphore"
                    );
                }
                let logins = self.facts.logind.as_ref().unwrap();
                assert!(logins.inhibitors.is_empty() && !logins.going_down);
                assert!(self.wanted(), "a reboot nobody wants");
                assert!(!self.called, "a second call");
                self.asked_logind = true;
                let to = self.destination();
                if !to.is(&image(self.slots.runs())) {
                    assert!(entry.intent.to.is(&to), "cleared for another image");
                    assert!(!self.known_bad.contains(&to), "into a quarantined image");
                    let own = self.disk.condemned.iter().find(|c| c.what.is(&to));
                    assert_eq!(own, None, "into an image this node went back from");
                }
            }
            Op::RollBack { .. } => {
                assert!(
                    !self.slots.good[self.slots.booted],
                    "back from what is no trial"
                );
                let other = 1 - self.slots.booted;
                assert!(
                    self.slots.good[other] || self.slots.tries[other],
                    "back to what cannot boot"
                );
            }
            Op::Mark => assert!(self.passed, "marked good without proof"),
            Op::Release(entry, owed) => {
                let of_this_boot = entry.boot_id == format!("boot-{}", self.boot);
                let proven = self.slots.good[self.slots.booted];
                assert!(
                    of_this_boot || entry.stage != Stage::Releasing || proven,
                    "given back before proof"
                );
                assert_eq!(owed.as_ref(), self.machine.owed());
                // The last word of this agent on this boot may have been a reboot that is under way.
                assert!(!self.going_down() || entry.boot_id != format!("boot-{}", self.boot));
            }
            _ => {}
        }
        self.op = Some(op);
    }

    fn going_down(&self) -> bool {
        self.facts.logind.as_ref().is_ok_and(|l| l.going_down)
    }

    fn may_go(&self) -> bool {
        let blocked = |l: &Logins| !l.inhibitors.is_empty() || l.going_down;
        self.wanted() && self.in_window() && !self.facts.logind.as_ref().is_ok_and(blocked)
    }

    fn wanted(&self) -> bool {
        matches!(self.facts.update, Update::Staged(_)) || self.machine.request().is_some()
    }

    fn held_by(&self, entry: &Entry) -> bool {
        let nonce = entry.claim.as_ref().map(|claim| &claim.nonce);
        self.holder.as_ref().map(|(holder, _)| holder) == nonce && nonce.is_some()
    }

    fn change(&mut self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts);
        if !self.exited {
            self.step(Event::Facts(self.facts()));
        }
    }

    fn end(&mut self, well: bool) {
        let Some(op) = self.op.take() else { return };
        let no = |why: &str| Err(why.to_owned());
        let event = match &op {
            Op::May(_) => {
                let answer = if well { Ok(()) } else { no("not now") };
                Event::Allowed(answer, self.facts())
            }
            Op::Acquire(entry) => {
                let Some(claim) = &entry.claim else { return };
                if self.holder.is_some() && !self.held_by(entry) || !well {
                    // Still waiting.
                    self.op = Some(op);
                    return;
                }
                self.holder.get_or_insert((claim.nonce.clone(), false));
                Event::Acquired(Holds::Plainly)
            }
            Op::Leave(entry) => {
                // As badly as can be: won while leaving, if it is not held by somebody else.
                if !well
                    && self.holder.is_none()
                    && let Some(claim) = &entry.claim
                {
                    self.holder = Some((claim.nonce.clone(), false));
                }
                Event::Left(self.held_by(entry))
            }
            Op::Look => Event::Looked(self.facts()),
            Op::Drain(_) => Event::Drained(if well { Ok(()) } else { no("the drain failed") }),
            Op::Undo(_) => Event::Undone,
            Op::Commit(entry) if entry.claim.is_none() => Event::CommitEnded(Ok(())),
            Op::Commit(entry) => {
                let may = well && self.held_by(entry);
                if let (true, Some(holder)) = (may, &mut self.holder) {
                    holder.1 = true;
                }
                Event::CommitEnded(if may { Ok(()) } else { no("paused") })
            }
            Op::Reboot(_) => {
                self.called = well;
                if well && matches!(self.facts.update, Update::Staged(_)) {
                    // The points are thrown.
                    self.slots.first = 1 - self.slots.booted;
                }
                if well && let Ok(logins) = &mut self.facts.logind {
                    logins.going_down = true;
                }
                Event::RebootCalled(if well { Ok(()) } else { no("no") })
            }
            Op::Prove { entry } => {
                let bad = self.slots.runs() % 2 == 1;
                let verdict = match (bad, well, entry) {
                    (true, true, _) | (true, false, Some(_)) => Verdict::Failed("bad".into()),
                    (true, false, None) => Verdict::Unknown("alone".into()),
                    (false, true, _) => Verdict::Passed,
                    (false, false, _) => Verdict::Unknown("not yet".into()),
                };
                self.passed |= verdict == Verdict::Passed;
                Event::Checked(verdict, Ok(self.slots.boot_of().other))
            }
            Op::Mark if well => {
                let booted = self.slots.booted;
                self.slots.good[booted] = true;
                self.slots.first = booted;
                Event::Marked(Ok(()))
            }
            Op::Mark => Event::Marked(no("medium error")),
            Op::Undrain(_) => Event::Undone,
            // It refuses where something was written over what it goes back to.
            Op::RollBack { to, .. }
                if well && to.is(&image(self.slots.images[1 - self.slots.booted])) =>
            {
                self.slots.first = 1 - self.slots.booted;
                self.slots.abandoned[self.slots.booted] = true;
                self.went_back = true;
                if let Ok(logins) = &mut self.facts.logind {
                    logins.going_down = true;
                }
                Event::RolledBack(Ok(()))
            }
            Op::RollBack { .. } => Event::RolledBack(no("no")),
            Op::Release(entry, owed) => {
                if let (true, Some(owed)) = (self.held_by(entry), owed) {
                    self.known_bad.push(owed.what.clone());
                }
                if self.held_by(entry) {
                    self.holder = None;
                }
                Event::Released
            }
        };
        self.step(event);
        if self.going_down() {
            self.step(Event::Facts(self.facts()));
        }
    }

    /// The cluster is told what this node owes it.
    fn report(&mut self) {
        if let Some(owed) = self.machine.owed().cloned()
            && self.strategy == Strategy::EtcdLock
        {
            self.known_bad.push(owed.what.clone());
            self.step(Event::Reported(owed.what));
        }
    }

    fn happen(&mut self, happening: &Happening) {
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
    fn stage(&mut self, version: Option<u8>) {
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

    fn tick(&mut self) {
        let monotonic = Duration::from_secs(self.minutes * 60);
        if self.machine.wake_at().is_some_and(|at| at <= monotonic) {
            self.step(Event::Tick);
        }
    }

    fn reboot(&mut self) {
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
    fn check(&self) {
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

#[test]
fn a_full_disk_while_etcd_is_told_of_a_bad_image_forgets_no_ticket() {
    let mut world = World::new(Strategy::EtcdLock);
    world.minutes = 125;
    // It fell back from image 1, and etcd does not know yet.
    if let Ok(journal) = &mut world.machine.journal {
        journal.condemned.push(crate::agent::journal::Condemned {
            what: image(1),
            reason: "bad".into(),
            boot_id: "boot-0".into(),
            reported: false,
        });
    }
    world.stage(Some(2));
    world.end(true);
    assert!(matches!(world.machine.state(), State::Queued { .. }));
    world.disk_works = false;
    world.report();
    world.end(true);
    world.disk_works = true;
    world.check();
    for _ in 0..10 {
        world.end(true);
    }
    assert!(world.called, "in {:?}", world.machine.state());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_reboot_without_the_semaphore_and_none_is_lost(
        coordinated in prop::bool::weighted(0.8),
        happenings in prop::collection::vec(happening(), 0..80),
    ) {
        let strategy = if coordinated { Strategy::EtcdLock } else { Strategy::Reboot };
        let mut world = World::new(strategy);
        for happening in &happenings {
            world.happen(happening);
        }
        // Left in peace, with nothing to do, it gives back what it holds and rests.
        world.disk_works = true;
        world.exited = false;
        if world.going_down() {
            world.reboot();
        }
        world.step(Event::Cancelled);
        world.change(|facts| facts.update = Update::None("UPDATE_STATUS_IDLE".into()));
        for _ in 0..30 {
            world.minutes += 10;
            world.tick();
            world.end(true);
            if world.went_back {
                world.reboot();
            }
        }
        // Somebody booted an image again that the node had gone back from: it stays up, holds, and waits for a person.
        // Or somebody quarantined what it would go back to. Or somebody booted a bad one whose forerunner could not be written down: it stays up as well.
        let forgot = happenings.iter().any(|h| matches!(h, Happening::Disk(false)));
        if let State::Unproven { why, .. } = world.machine.state()
            && (why.contains("it went back from this image before")
                || why.contains("which is quarantined as well (ann says so)")
                || forgot && why.contains("not what ran here before"))
        {
            return Ok(());
        }
        prop_assert_eq!(&world.holder, &None, "in {:?}", world.machine.state());
        prop_assert_eq!(world.machine.state(), &State::Idle);
        // And it can still do its work.
        world.minutes += 1440 - world.minutes % 1440 + 125;
        let before = world.reboots;
        world.stage(Some(8));
        world.change(|facts| facts.logind = Ok(Logins::default()));
        for _ in 0..20 {
            world.tick();
            world.end(true);
            if world.called {
                world.reboot();
            }
        }
        prop_assert_eq!(world.slots.runs(), 8);
        prop_assert_eq!(world.reboots, before + 1, "in {:?}", world.machine.state());
        prop_assert_eq!(&world.holder, &None);
    }
}
