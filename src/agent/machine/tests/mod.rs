//! The machine in a simulation of its node and etcd: crashes anywhere, people and others interfering.

mod diagram;
mod fleet;
mod happening;
mod known_windows;
mod operations;
mod quarantine;
mod restage;
mod simulation;
mod slots;
mod soak;
mod tables;

use std::{io, time::Duration};

use ::slots::SlotsError;
use happening::{Happening, happening};
use host::{bus::BusError, hooks::HookError, node::Root};
use proptest::{
    prelude::{Just, ProptestConfig, prop},
    prop_assert, prop_assert_eq, prop_oneof, proptest,
    test_runner::TestCaseError,
};
use semaphore::{
    etcd::{QueuePosition, Wait},
    records::ImageId,
};
use settings::Strategy;
use simulation::Simulation;
use windows::{Window, Windows};

use super::{Event, State};
use crate::agent::{
    failure::{Failure, Stays, Unproven},
    journal::{Journal, JournalError, JournalFault},
    next_slot::SlotFault,
    situation::{Logins, Rules, Update},
};

const ID: &str = "0123456789abcdef0123456789abcdef";

fn rules(strategy: Strategy) -> Rules {
    Rules {
        strategy,
        windows: Windows::of(Some(Window::parse("02:00", "2h").unwrap()), &[]).unwrap(),
        login_grace: Duration::from_secs(300),
        shutdown_timeout: Duration::from_secs(300),
        quarantine_reset: Duration::from_secs(12 * 3600),
        restage_after: None,
        retry: Duration::from_secs(60),
    }
}

/// A hook says no.
fn not_now() -> Failure {
    let hook = HookError {
        hook: "/etc/pointsman/hooks/may-reboot.d/backup".into(),
        what: "ended with exit status 75".into(),
        code: Some(75),
    };
    hook.into()
}

/// The slots cannot be read.
fn unreadable() -> SlotFault {
    let error = SlotsError::Io {
        disk: "/dev/sda".into(),
        error: io::Error::other("medium error"),
    };
    error.into()
}

/// logind does not answer.
fn no_reply() -> BusError {
    BusError::TimedOut {
        call: "Reboot".into(),
    }
}

/// The journal cannot be written.
fn no_space() -> JournalError {
    let path = Journal::path(&Root::new("/"));
    JournalError::new(
        &path,
        JournalFault::Unwritable(io::Error::other("no space").into()),
    )
}

/// An image, by content; odd ones are bad.
fn image(number: u8) -> ImageId {
    ImageId {
        digest: Some(format!("sha256:{number}")),
        version: None,
    }
}

/// The same, as update_engine and the system itself name it.
fn named(number: u8) -> ImageId {
    ImageId {
        version: Some(number.to_string()),
        ..image(number)
    }
}

#[test]
fn full_disk_during_a_quarantine_report_keeps_the_ticket() {
    let mut simulation = Simulation::new(Strategy::EtcdLock);
    simulation.minutes = 125;
    // It fell back from image 1, and etcd does not know yet.
    if let Ok(journal) = &mut simulation.machine.journal {
        journal
            .quarantined
            .push(crate::agent::journal::OwnQuarantine {
                what: image(1),
                reason: "bad".into(),
                boot_id: "boot-0".into(),
                reported: false,
            });
    }
    simulation.stage(Some(2));
    simulation.end(true);
    assert!(matches!(simulation.machine.state(), State::Queued { .. }));
    simulation.disk_works = false;
    simulation.report();
    simulation.end(true);
    simulation.disk_works = true;
    simulation.check();
    for _ in 0..10 {
        simulation.end(true);
    }
    assert!(simulation.called, "in {:?}", simulation.machine.state());
}

/// Found by the histories below.
#[test]
fn what_has_changed_of_a_ticket_is_journalled_first() {
    let mut simulation = Simulation::new(Strategy::EtcdLock);
    for happening in [
        Happening::Asked(true),
        Happening::Staged(Some(1)),
        Happening::Minutes(120),
        Happening::Ends(true),
        // The same image, and not staged any more.
        Happening::EngineGone,
        Happening::Rollback,
    ] {
        simulation.happen(&happening);
    }
    // As long as it cannot be written, the ticket of the run before stays as it is.
    simulation.disk_works = false;
    simulation.happen(&Happening::Dies);
    assert_eq!(
        (simulation.machine.state(), &simulation.op),
        (&State::Starting, &None)
    );
    assert_eq!(simulation.machine.entry(), simulation.disk.entry.as_ref());
    simulation.disk_works = true;
    simulation.step(Event::Tick);
    assert!(matches!(simulation.machine.state(), State::Queued { .. }));
    assert!(
        simulation
            .disk
            .entry
            .as_ref()
            .is_some_and(|entry| !entry.intent.new_image)
    );
}

#[test]
fn clock_change_while_waiting_for_the_window_is_noticed_within_a_minute() {
    let mut simulation = Simulation::new(Strategy::EtcdLock);
    // At midnight, two hours before the window.
    simulation.stage(Some(2));
    assert!(matches!(simulation.machine.state(), State::Waiting { .. }));
    // Set, or the machine slept: no event comes of it.
    simulation.clock = 125;
    simulation.minutes += 1;
    simulation.tick();
    assert_eq!(simulation.machine.state(), &State::Asking);
}

#[test]
fn hook_is_distinguished_from_other_reasons_to_wait() {
    let mut simulation = Simulation::new(Strategy::EtcdLock);
    simulation.until_window();
    simulation.stage(Some(2));
    while !matches!(simulation.machine.state(), State::Draining { .. }) {
        simulation.end(true);
    }
    assert!(!simulation.machine.waits_for_hook());
    simulation.step(Event::HookRuns("the hook x runs".into()));
    assert_eq!(simulation.machine.report().1, "the hook x runs");
    assert!(simulation.machine.waits_for_hook());
    simulation.step(Event::WaitsFor(Wait {
        waits_for: "the hook x runs".into(),
        position: QueuePosition::Unknown,
        ..Wait::default()
    }));
    assert!(!simulation.machine.waits_for_hook(), "it goes by the words");
    simulation.step(Event::HookRuns("the hook y runs".into()));
    simulation.end(true);
    assert!(!simulation.machine.waits_for_hook(), "its end is not seen");
}

/// Lets these things happen, with the first of the strategies, until the configuration names the other one.
fn random_history(
    [strategy, other]: [Strategy; 2],
    restage_after: Option<u64>,
    happenings: &[Happening],
) -> Result<(), TestCaseError> {
    let mut simulation = Simulation::new(strategy);
    simulation.other_strategy = other;
    simulation.restage_after = restage_after.map(|hours| Duration::from_secs(hours * 3600));
    simulation.start();
    for happening in happenings {
        simulation.happen(happening);
    }
    // Left in peace, with nothing to do, it releases what it holds and rests.
    simulation.disk_works = true;
    simulation.etcd = true;
    simulation.broken = false;
    simulation.logind = true;
    simulation.slots_readable = true;
    simulation.exited = false;
    // It says so, and what repairs it: systemctl restart pointsman.
    if simulation.blind {
        simulation.asked_logind = true;
        simulation.start();
    }
    if simulation.going_down() {
        simulation.reboot();
    }
    simulation.step(Event::Cancelled);
    simulation.change(|facts| facts.update = Update::None("UPDATE_STATUS_IDLE".into()));
    for _ in 0..30 {
        simulation.minutes += 10;
        simulation.tick();
        simulation.end(true);
        if simulation.went_back {
            simulation.reboot();
        }
        // What failed its soak waits for a person.
        if matches!(simulation.machine.state(), State::SoakFailed { .. }) {
            simulation.step(Event::SoakEnded);
        }
    }
    // Somebody booted an image again that the node had rolled back: it stays up, holds, and waits for a person.
    // Or somebody quarantined what it would roll back to, or the other slot has nothing else to roll back to. Or somebody
    // booted a bad one whose forerunner could not be written down, for want of space or into a newer journal: it stays up
    // as well.
    let keeps_none = |h: &Happening| matches!(h, Happening::Disk(false) | Happening::Newer);
    let forgot = happenings.iter().any(keeps_none);
    if let State::Unproven { why, .. } = simulation.machine.state()
        && let Unproven::Failed { stays, .. } = why
        && (matches!(stays, Stays::RolledBackBefore | Stays::SameImage(_))
            || matches!(stays, Stays::OtherQuarantined { reason, .. } if reason == "ann says so")
            || forgot && matches!(stays, Stays::NeverRan(_)))
    {
        return Ok(());
    }
    prop_assert!(!simulation.granted, "a place, and not released");
    prop_assert_eq!(
        &simulation.holder,
        &None,
        "in {:?}",
        simulation.machine.state()
    );
    prop_assert_eq!(simulation.machine.state(), &State::Idle);
    if simulation.disk.is_newer() {
        return Ok(());
    }
    // And it can still do its work.
    simulation.soak = None;
    simulation.minutes += 240;
    simulation.until_window();
    let before = simulation.reboots;
    simulation.stage(Some(8));
    simulation.change(|facts| facts.logind = Ok(Logins::default()));
    for _ in 0..20 {
        simulation.tick();
        simulation.end(true);
        if simulation.called {
            simulation.reboot();
        }
    }
    prop_assert_eq!(simulation.slots.runs(), 8);
    prop_assert_eq!(
        simulation.reboots,
        before + 1,
        "in {:?}",
        simulation.machine.state()
    );
    prop_assert_eq!(&simulation.holder, &None);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_never_reboot_without_the_lock_or_lose_it(
        coordinated in prop::bool::weighted(0.8),
        restage_after in prop::option::weighted(0.5, 1u64..20),
        happenings in prop::collection::vec(happening(), 0..80),
    ) {
        let strategies = match coordinated {
            true => [Strategy::EtcdLock, Strategy::Reboot],
            false => [Strategy::Reboot, Strategy::EtcdLock],
        };
        random_history(strategies, restage_after, &happenings)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// The same with a FleetLock server, before or after the configuration is changed.
    #[test]
    fn random_histories_with_a_server_never_reboot_without_a_place_or_lose_it(
        strategies in prop_oneof![
            Just([Strategy::FleetLock, Strategy::Reboot]),
            Just([Strategy::FleetLock, Strategy::EtcdLock]),
            Just([Strategy::EtcdLock, Strategy::FleetLock]),
        ],
        restage_after in prop::option::weighted(0.2, 1u64..20),
        happenings in prop::collection::vec(happening(), 0..80),
    ) {
        random_history(strategies, restage_after, &happenings)?;
    }
}
