//! Single histories in which something once went wrong.

use settings::Strategy;

use super::{named, simulation::Simulation};
use crate::agent::{
    journal::{OwnQuarantine, Stage},
    machine::{Event, Op, State},
    situation::{Request, Update},
};

/// In the window, with this image staged.
fn staged(number: u8) -> Simulation {
    let mut simulation = Simulation::new(Strategy::EtcdLock);
    simulation.until_window();
    simulation.stage(Some(number));
    simulation
}

/// In the queue for a reboot that somebody asked for, with this image next to boot, which nobody has staged.
fn queued_beside(number: u8) -> Simulation {
    let mut simulation = staged(number);
    simulation.change(|facts| facts.update = Update::None("UPDATE_STATUS_IDLE".into()));
    simulation.slots.first = 1;
    simulation.step(Event::Asked(Request::new("ann")));
    simulation.end(true);
    simulation
}

/// Ends one operation after the other, well, until the reboot is called.
fn goes(simulation: &mut Simulation) {
    for _ in 0..20 {
        if simulation.called {
            return;
        }
        simulation.end(true);
    }
    panic!("no reboot, in {:?}", simulation.machine.state());
}

/// Ends one operation after the other, well, until there is none.
fn rests(simulation: &mut Simulation) {
    for _ in 0..20 {
        simulation.end(true);
    }
    assert_eq!(simulation.machine.state(), &State::Idle);
    assert_eq!(simulation.holder, None);
}

#[test]
fn a_reboot_takes_from_its_drain_to_its_proof() {
    let mut simulation = Simulation::new(Strategy::EtcdLock);
    for (number, minutes) in [(2u8, 7u64), (4, 3), (6, 9), (8, 1), (10, 1), (12, 2)] {
        simulation.until_window();
        simulation.minutes += 10;
        simulation.stage(Some(number));
        while !matches!(simulation.machine.state(), State::Draining { .. }) {
            simulation.end(true);
        }
        simulation.minutes += minutes;
        goes(&mut simulation);
        simulation.reboot();
        simulation.minutes += 1;
        rests(&mut simulation);
        simulation.minutes += 1300;
        simulation.tick();
    }
    // The last five.
    assert_eq!(simulation.disk.reboot_seconds, [240, 600, 120, 120, 180]);
    assert_eq!(
        simulation.disk.usual_duration(),
        Some(std::time::Duration::from_secs(600))
    );
}

#[test]
fn cleared_image_that_fails_again_is_quarantined_again() {
    let mut simulation = staged(1);
    goes(&mut simulation);
    simulation.comes_not();
    rests(&mut simulation);
    assert_eq!(simulation.known_bad, [named(1)]);
    // Told, and not told again.
    simulation.report();
    assert_eq!(simulation.known_bad.len(), 1);

    simulation.known_bad.clear();
    simulation.stage(Some(1));
    goes(&mut simulation);
    simulation.comes_not();
    rests(&mut simulation);
    assert_eq!(
        simulation.known_bad.len(),
        1,
        "found again, and told nobody"
    );
}

#[test]
fn cleared_quarantine_is_not_reported_again_by_a_clean_boot() {
    let mut simulation = staged(1);
    goes(&mut simulation);
    // Rolls back by itself; the others know it before the node is down.
    simulation.reboot();
    simulation.end(true);
    simulation.report();
    simulation.end(true);
    assert!(simulation.went_back);
    simulation.known_bad.clear();
    for _ in 0..2 {
        simulation.reboot();
    }
    rests(&mut simulation);
    assert!(
        simulation.known_bad.is_empty(),
        "told again: {:?}",
        simulation.known_bad
    );
}

#[test]
fn interrupted_proof_stays_forgiven_after_another_power_failure() {
    let mut simulation = staged(2);
    goes(&mut simulation);
    simulation.reboot();
    assert_eq!(simulation.machine.state(), &State::Proving);
    assert_eq!(simulation.slots.runs(), 2);
    // The power fails while it is proving, and again before the old slot has been.
    for _ in 0..2 {
        simulation.reboot();
        assert_eq!(simulation.slots.runs(), 0);
        assert_eq!(simulation.machine.state(), &State::Proving);
    }
    rests(&mut simulation);
    assert!(
        simulation.known_bad.is_empty(),
        "{:?}",
        simulation.known_bad
    );
}

#[test]
fn interrupted_proof_of_an_uncoordinated_boot_excuses_no_later_one() {
    let mut simulation = Simulation::new(Strategy::EtcdLock);
    simulation.slots.images[1] = 2;
    simulation.slots.tries[1] = true;
    simulation.slots.first = 1;
    // Somebody boots it, and the power fails while it is proving.
    simulation.reboot();
    assert_eq!(simulation.machine.state(), &State::Proving);
    simulation.reboot();
    assert_eq!(simulation.slots.runs(), 0);
    simulation.until_window();
    simulation.stage(Some(2));
    goes(&mut simulation);
    simulation.comes_not();
    rests(&mut simulation);
    assert_eq!(simulation.known_bad, [named(2)]);
}

#[test]
fn queued_trial_rolls_back_without_etcd() {
    let mut simulation = queued_beside(1);
    assert!(matches!(simulation.machine.state(), State::Queued { .. }));
    simulation.etcd = false;
    simulation.reboot();
    assert_eq!(simulation.slots.runs(), 1);
    for _ in 0..5 {
        simulation.end(true);
    }
    assert!(simulation.went_back, "in {:?}", simulation.machine.state());
    simulation.reboot();
    simulation.etcd = true;
    rests(&mut simulation);
    assert_eq!(simulation.known_bad, []);
    simulation.report();
    assert_eq!(simulation.known_bad, [named(1)]);
}

#[test]
fn queued_trial_is_proven_and_then_leaves_the_queue_or_releases() {
    for won in [false, true] {
        let mut simulation = queued_beside(2);
        let nonce = simulation
            .disk
            .entry
            .as_ref()
            .unwrap()
            .in_etcd()
            .cloned()
            .unwrap();
        simulation.holder = won.then_some((nonce.nonce, false));
        simulation.etcd = false;
        simulation.reboot();
        for _ in 0..5 {
            simulation.end(true);
        }
        assert!(
            simulation.slots.good[1],
            "in {:?}",
            simulation.machine.state()
        );
        simulation.etcd = true;
        simulation.end(true);
        assert_eq!(simulation.machine.holds(), won);
        rests(&mut simulation);
        assert_eq!(simulation.disk.entry, None);
    }
}

#[test]
fn silent_logind_is_reported_instead_of_a_shutdown() {
    let mut simulation = staged(2);
    while !matches!(simulation.machine.state(), State::Draining { .. }) {
        simulation.end(true);
    }
    simulation.logind = false;
    simulation.change(|_| ());
    for _ in 0..10 {
        simulation.end(true);
        simulation.minutes += 10;
        simulation.tick();
        let (state, why) = simulation.machine.report();
        assert!(
            state == "stepping-back"
                || why.contains("not known: Reboot was not answered within 10 s"),
            "{state}: {why}"
        );
        assert!(simulation.holder.is_some(), "released on a guess");
    }
    simulation.logind = true;
    simulation.change(|_| ());
    simulation.change(|facts| facts.update = Update::None("UPDATE_STATUS_IDLE".into()));
    rests(&mut simulation);
}

#[test]
fn quarantines_written_with_the_release_count_as_reported() {
    let mut simulation = staged(2);
    goes(&mut simulation);
    simulation.reboot();
    let bad = |number| OwnQuarantine {
        what: named(number),
        reason: "bad".into(),
        boot_id: "boot-0".into(),
        reported: false,
    };
    simulation.machine.journal.as_mut().unwrap().quarantined = vec![bad(3), bad(5)];
    while !matches!(simulation.op, Some(Op::Release(..))) {
        simulation.end(true);
    }
    // The first is told on its own meanwhile.
    simulation.report();
    assert_eq!(simulation.known_bad, [named(3)]);
    rests(&mut simulation);
    simulation.report();
    assert!(
        simulation.known_bad.contains(&named(5)),
        "{:?}",
        simulation.known_bad
    );
}

#[test]
fn update_staged_during_another_shutdown_waits_for_its_turn() {
    let mut simulation = Simulation::new(Strategy::EtcdLock);
    simulation.until_window();
    simulation.step(Event::Asked(Request::new("a new disk")));
    goes(&mut simulation);
    simulation.stage(Some(1));
    simulation.reboot();
    assert_eq!(simulation.slots.runs(), 0, "into what nobody cleared");
    assert_eq!(
        simulation.disk.entry.as_ref().unwrap().stage,
        Stage::Committing
    );
}

#[test]
fn queued_trial_leaves_the_queue_with_a_full_disk() {
    let mut simulation = queued_beside(2);
    let nonce = simulation
        .disk
        .entry
        .as_ref()
        .unwrap()
        .in_etcd()
        .cloned()
        .unwrap();
    simulation.holder = Some((nonce.nonce, false));
    simulation.reboot();
    simulation.disk_works = false;
    for _ in 0..20 {
        simulation.end(true);
    }
    assert_eq!(
        simulation.holder,
        None,
        "in {:?}",
        simulation.machine.state()
    );
}

#[test]
fn lock_taken_under_a_newer_programs_journal_is_released() {
    let mut simulation = staged(2);
    simulation.end(true);
    let nonce = simulation
        .disk
        .entry
        .as_ref()
        .unwrap()
        .in_etcd()
        .cloned()
        .unwrap();
    // A newer program takes its place, and then this one again, while the take is on its way.
    simulation.disk.version = 99;
    simulation.start();
    simulation.holder = Some((nonce.nonce, false));
    for _ in 0..10 {
        simulation.end(true);
    }
    assert_eq!(simulation.holder, None);
    let (state, why) = simulation.machine.report();
    assert!(
        state == "waiting" && why.contains("newer pointsman"),
        "{state}: {why}"
    );
}

#[test]
fn failed_image_is_quarantined_with_the_release_first() {
    let mut simulation = staged(1);
    goes(&mut simulation);
    simulation.comes_not();
    // A person has quarantined another one meanwhile, and that came first.
    let journal = simulation.machine.journal.as_mut().unwrap();
    let other = OwnQuarantine {
        what: named(4),
        reason: "ann says so".into(),
        boot_id: "boot-0".into(),
        reported: false,
    };
    journal.quarantined.insert(0, other);
    for _ in 0..20 {
        if let Some(Op::Release(_, owed)) = &simulation.op {
            assert_eq!(owed.as_ref().map(|owed| &owed.what), Some(&named(1)));
            return;
        }
        simulation.end(true);
    }
    panic!("no release, in {:?}", simulation.machine.state());
}
