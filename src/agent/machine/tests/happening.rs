//! What can happen to the simulated node.

use proptest::{
    prelude::{Just, any, prop},
    prop_oneof,
    strategy::Strategy as Generator,
};

use super::{image, simulation::Simulation};
use crate::agent::{
    journal::{Entry, Stage},
    machine::{Event, Op, State},
    situation::{NoStatus, Request, Update},
};

/// What happens to the node next.
#[derive(Debug, Clone)]
pub(super) enum Happening {
    /// The operation under way ends: well (true), or as badly as it can. Where none is, the machine goes down that is
    /// going down.
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
    /// It passes until the window opens.
    Window,
    /// The wall clock is set, by so many minutes.
    Clock(i16),
    /// etcd is away from now on (false), or there again.
    Etcd(bool),
    /// logind answers no more, or again.
    Logind(bool),
    /// The disk with the slots cannot be read, or can again.
    Slots(bool),
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
    /// As that, and what boots next does not come up.
    ComesNot,
    /// The machine is broken, whatever it runs, or is repaired.
    Broken(bool),
    /// A person clears this image in etcd.
    Pardoned(u8),
    /// The configuration is read again, and names the other strategy.
    Strategy,
    /// A newer program has run here for a while.
    Newer,
    /// The journal cannot be written from now on, or can again.
    Disk(bool),
    /// etcd is told of what was found to be bad.
    Report,
    /// The group's policy has nodes soak from now on, or no more.
    Policy(bool),
    /// A person ends the soak.
    SoakEnded,
}

pub(super) fn happening() -> impl Generator<Value = Happening> {
    use Happening::*;
    prop_oneof![
        8 => any::<bool>().prop_map(Ends),
        24 => Just(Ends(true)),
        4 => prop::option::weighted(0.8, 1u8..6).prop_map(Staged),
        1 => Just(EngineGone),
        1 => any::<bool>().prop_map(Person),
        1 => any::<bool>().prop_map(Inhibited),
        2 => (0u16..200).prop_map(Minutes),
        4 => Just(Window),
        1 => (-300i16..300).prop_map(Clock),
        1 => prop::bool::weighted(0.7).prop_map(Etcd),
        1 => prop::bool::weighted(0.7).prop_map(Logind),
        1 => prop::bool::weighted(0.7).prop_map(Slots),
        1 => any::<bool>().prop_map(Asked),
        1 => Just(Rollback),
        1 => (1u8..6, any::<bool>()).prop_map(|(version, bad)| Judged(version, bad)),
        1 => Just(Unlocked),
        1 => Just(Dies),
        1 => Just(Stops),
        1 => any::<bool>().prop_map(Shutdown),
        1 => Just(Reboots),
        2 => Just(ComesNot),
        1 => prop::bool::weighted(0.3).prop_map(Broken),
        1 => (1u8..6).prop_map(Pardoned),
        1 => prop::bool::weighted(0.3).prop_map(|other| if other { Strategy } else { Window }),
        1 => prop::bool::weighted(0.1).prop_map(|newer| if newer { Newer } else { Window }),
        1 => prop::bool::weighted(0.7).prop_map(Disk),
        1 => Just(Report),
        2 => prop::bool::weighted(0.8).prop_map(Policy),
        1 => prop::bool::weighted(0.2).prop_map(|ends| if ends { SoakEnded } else { Window }),
    ]
}

impl Simulation {
    /// One thing happens, with all that follows from it at once.
    pub(super) fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Ends(true) if self.op.is_none() && (self.called || self.went_back) => {
                self.reboot();
            }
            Happening::Ends(well) => self.end(*well),
            Happening::Staged(version) => self.stage(*version),
            Happening::EngineGone => {
                self.change(|facts| facts.update = Update::Unknown(NoStatus::Gone))
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
            Happening::Window => {
                self.until_window();
                self.tick();
            }
            Happening::Clock(by) => {
                self.clock += i64::from(*by);
                // The watchdog's.
                self.step(Event::Tick);
            }
            Happening::Etcd(there) => self.etcd = *there,
            Happening::Logind(there) => {
                self.logind = *there;
                self.change(|_| ());
            }
            Happening::Slots(readable) => {
                self.slots_readable = *readable;
                self.change(|_| ());
            }
            Happening::Asked(true) => {
                // Who asks may just have made the other slot next: the driver looks at them first.
                self.change(|_| ());
                self.step(Event::Asked(Request::new("why not")));
            }
            Happening::Asked(false) => self.step(Event::Cancelled),
            // The command refuses while an update is staged, and where the boot is on trial the loader forgets it.
            Happening::Rollback => {
                let to = 1 - self.slots.next();
                let staged = matches!(self.facts.update, Update::Staged(_));
                // What is made next between the last look and the boot nobody can help.
                let late = self.going_down() || matches!(self.op, Some(Op::Reboot(_)));
                if !staged && !late && self.slots.can(to) {
                    self.slots.first = to;
                }
            }
            Happening::Judged(version, true) => self.step(Event::QuarantinedByHand {
                what: image(*version),
                reason: "ann says so".into(),
            }),
            // Of what a person has cleared here nobody need be told.
            Happening::Judged(version, false) => {
                self.step(Event::Cleared(image(*version)));
                self.fell_from.take_if(|from| from.is(&image(*version)));
            }
            Happening::Unlocked => {
                // A server may forget at any time.
                let place = self.disk.entry.as_ref().and_then(Entry::place).is_some();
                self.holder.take_if(|(_, committed)| place || !*committed);
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
                // So it does where logind did not say, and it has called for no reboot itself.
                let uncommitted = self
                    .machine
                    .entry()
                    .is_some_and(|entry| entry.stage != Stage::Committing);
                let doubted =
                    matches!(self.machine.state(), State::Rebooting { .. }) && uncommitted;
                let going = self.going_down() || believed || doubted;
                self.step(Event::Stop);
                for _ in 0..10 {
                    self.end(true);
                }
                // With a disk that cannot be written, or without etcd, the driver's patience ends it.
                let state = self.machine.state();
                assert!(
                    self.exited || !self.disk_works || !self.etcd,
                    "does not stop in {state:?}"
                );
                let this_boot = format!("boot-{}", self.boot);
                let proving = matches!(&self.disk.entry, Some(e) if e.boot_id != this_boot);
                // Whether a shutdown follows a call that failed, or one of an earlier run, is still in doubt.
                let doubting = matches!(&self.disk.entry, Some(e) if e.stage == Stage::Committing);
                let excused = going || proving || doubting && self.asked_logind;
                if self.disk_works && self.etcd && self.logind && !excused {
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
            Happening::ComesNot => self.comes_not(),
            Happening::Broken(broken) => self.broken = *broken,
            Happening::Pardoned(number) => {
                let pardoned = image(*number);
                let told = self.known_bad.iter().any(|bad| bad.is(&pardoned));
                self.known_bad.retain(|bad| !bad.is(&pardoned));
                // The cluster was told of it, and somebody has decided otherwise: once is enough.
                if told {
                    self.fell_from.take_if(|from| from.is(&pardoned));
                }
            }
            Happening::Strategy => self.reload(),
            Happening::Newer => {
                self.disk.version = 99;
                self.asked_logind = true;
                self.start();
            }
            Happening::Disk(works) => self.disk_works = *works,
            Happening::Report => self.report(),
            Happening::Policy(soaks) => self.soak = soaks.then_some(60),
            Happening::SoakEnded => self.step(Event::SoakEnded),
        }
        self.check();
    }

    /// Another strategy, once the machine may be exchanged.
    fn reload(&mut self) {
        if self.exited || !self.machine.may_be_exchanged() {
            return;
        }
        std::mem::swap(&mut self.strategy, &mut self.other_strategy);
        if matches!(self.facts.update, Update::Staged(_)) {
            self.slots.first = 1 - self.slots.booted;
        }
        self.start();
        self.pin_slot();
    }
}
