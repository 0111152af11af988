//! The soak, and the way back from it.

use settings::Strategy;

use super::{happening::Happening, named, simulation::Simulation};
use crate::agent::machine::{Event, State};

/// A node that soaks on image 2, proven after image 0.
fn soaks() -> Simulation {
    let mut simulation = Simulation::new(Strategy::EtcdLock);
    simulation.soak = Some(60);
    simulation.until_window();
    simulation.stage(Some(2));
    while !simulation.called {
        simulation.end(true);
    }
    simulation.reboot();
    while !matches!(simulation.machine.state(), State::Soaking { .. }) {
        assert_ne!(simulation.machine.state(), &State::Idle);
        simulation.end(true);
    }
    simulation
}

/// Time passes, and the checks that are due end: well or badly.
fn minutes(simulation: &mut Simulation, minutes: u16, well: bool) {
    for _ in 0..minutes {
        simulation.happen(&Happening::Minutes(1));
        simulation.end(well);
    }
}

#[test]
fn soak_ends_when_its_time_is_over_and_only_then_the_image_is_proven() {
    let mut simulation = soaks();
    assert_eq!(simulation.machine.proven_digest(), None);
    minutes(&mut simulation, 59, true);
    assert!(matches!(simulation.machine.state(), State::Soaking { .. }));
    // A new run of the agent goes on with it.
    simulation.happen(&Happening::Dies);
    simulation.end(true);
    assert!(matches!(simulation.machine.state(), State::Soaking { .. }));
    minutes(&mut simulation, 2, true);
    simulation.end(true);
    assert_eq!(simulation.machine.state(), &State::Idle);
    assert_eq!(
        simulation.machine.proven_digest(),
        named(2).digest.as_deref()
    );
    assert_eq!(simulation.disk.soak, None);
}

#[test]
fn failed_soak_is_a_person_s_to_end_and_proves_nothing() {
    let mut simulation = soaks();
    simulation.happen(&Happening::Broken(true));
    minutes(&mut simulation, 6, true);
    assert!(matches!(
        simulation.machine.state(),
        State::SoakFailed { .. }
    ));
    let owed = simulation.machine.owed().map(|owed| owed.what.clone());
    assert_eq!(owed, Some(named(2)));
    // Neither time, nor a repair, nor another boot makes it good.
    simulation.happen(&Happening::Broken(false));
    simulation.report();
    minutes(&mut simulation, 100, true);
    simulation.happen(&Happening::Reboots);
    minutes(&mut simulation, 100, true);
    assert!(matches!(
        simulation.machine.state(),
        State::SoakFailed { .. }
    ));
    simulation.happen(&Happening::SoakEnded);
    simulation.end(true);
    assert_eq!(simulation.machine.state(), &State::Idle);
    assert_eq!(
        (simulation.machine.proven_digest(), &simulation.holder),
        (None, &None)
    );
}

#[test]
fn image_that_failed_its_soak_is_proven_only_once_a_person_clears_it() {
    let mut simulation = soaks();
    simulation.happen(&Happening::Broken(true));
    minutes(&mut simulation, 6, true);
    assert_eq!(simulation.machine.waits_to_be_cleared(), None, "not told");
    simulation.report();
    assert_eq!(simulation.machine.waits_to_be_cleared(), None, "it holds");
    simulation.happen(&Happening::Broken(false));
    simulation.happen(&Happening::SoakEnded);
    simulation.end(true);
    assert_eq!(simulation.machine.state(), &State::Idle);
    // It boots once more, and passes its checks.
    for reboots in 0..2 {
        simulation.happen(&Happening::Asked(true));
        while !simulation.called {
            simulation.until_window();
            simulation.tick();
            simulation.end(true);
        }
        simulation.reboot();
        while simulation.machine.state() != &State::Idle {
            simulation.end(true);
        }
        assert_eq!(simulation.machine.proven_digest(), None, "{reboots}");
    }
    assert_eq!(simulation.machine.waits_to_be_cleared(), Some(&named(2)));
    simulation.step(Event::SoakCleared(named(4)));
    assert_eq!(simulation.machine.proven_digest(), None);
    simulation.step(Event::SoakCleared(named(2)));
    let proven = simulation.machine.proven_digest();
    assert_eq!(proven, named(2).digest.as_deref());
    assert_eq!(simulation.machine.waits_to_be_cleared(), None);
    // The journal knows it.
    simulation.happen(&Happening::Dies);
    let proven = simulation.machine.proven_digest();
    assert_eq!(proven, named(2).digest.as_deref());
}

#[test]
fn image_that_failed_its_soak_is_forgotten_once_another_one_runs() {
    let mut simulation = soaks();
    simulation.happen(&Happening::Broken(true));
    minutes(&mut simulation, 6, true);
    simulation.report();
    simulation.happen(&Happening::Broken(false));
    simulation.happen(&Happening::Rollback);
    simulation.happen(&Happening::Asked(true));
    while !simulation.called {
        simulation.tick();
        simulation.end(true);
    }
    simulation.reboot();
    while simulation.machine.state() != &State::Idle {
        simulation.end(true);
    }
    let old = named(0).digest;
    assert_eq!(simulation.machine.proven_digest(), old.as_deref());
    assert_eq!(simulation.disk.failed_soak, None);
}

#[test]
fn checks_that_need_other_nodes_only_put_off_the_end_of_a_soak() {
    let mut simulation = soaks();
    simulation.happen(&Happening::Broken(true));
    minutes(&mut simulation, 600, false);
    let (word, why) = simulation.machine.report();
    assert_eq!(word, "soaking");
    assert!(why.contains("; its end waits: alone"), "{why}");
    simulation.happen(&Happening::Broken(false));
    minutes(&mut simulation, 10, true);
    assert_eq!(simulation.machine.state(), &State::Idle);
    assert_eq!(
        simulation.machine.proven_digest(),
        named(2).digest.as_deref()
    );
}

#[test]
fn way_back_outside_the_window_keeps_the_hold_and_is_not_soaked() {
    let mut simulation = soaks();
    let held = simulation.holder.clone().map(|(nonce, _)| nonce);
    minutes(&mut simulation, 20, true);
    simulation.clock = 600;
    simulation.happen(&Happening::Rollback);
    simulation.happen(&Happening::Asked(true));
    // The first drain fails: the node soaks on, and it is tried again.
    simulation.end(true);
    simulation.end(false);
    while !matches!(simulation.machine.state(), State::Soaking { .. }) {
        simulation.end(true);
    }
    let (_, why) = simulation.machine.report();
    assert!(why.contains("; the way back waits: "), "{why}");
    for _ in 0..10 {
        simulation.minutes += 1;
        simulation.tick();
        simulation.end(true);
    }
    assert!(simulation.called, "in {:?}", simulation.machine.state());
    assert_eq!(simulation.holder.clone().map(|(nonce, _)| nonce), held);
    simulation.reboot();
    for _ in 0..10 {
        assert!(!matches!(simulation.machine.state(), State::Soaking { .. }));
        simulation.end(true);
    }
    assert_eq!(simulation.machine.state(), &State::Idle);
    assert_eq!(
        simulation.machine.proven_digest(),
        named(0).digest.as_deref()
    );
    assert_eq!((&simulation.holder, &simulation.disk.soak), (&None, &None));
}

#[test]
fn way_back_that_boots_the_same_image_again_soaks_from_the_start() {
    let mut simulation = soaks();
    minutes(&mut simulation, 50, true);
    simulation.happen(&Happening::Rollback);
    simulation.happen(&Happening::Asked(true));
    while !simulation.called {
        simulation.end(true);
    }
    // A person makes this image the next one again.
    simulation.slots.first = simulation.slots.booted;
    simulation.reboot();
    minutes(&mut simulation, 50, true);
    assert!(matches!(simulation.machine.state(), State::Soaking { .. }));
    minutes(&mut simulation, 20, true);
    assert_eq!(simulation.machine.state(), &State::Idle);
    assert_eq!(
        simulation.machine.proven_digest(),
        named(2).digest.as_deref()
    );
}

#[test]
fn soak_ended_by_a_person_or_by_unlock_counts_as_proof() {
    let mut ended = soaks();
    ended.happen(&Happening::SoakEnded);
    let mut unlocked = soaks();
    unlocked.happen(&Happening::Unlocked);
    for mut simulation in [ended, unlocked] {
        simulation.end(true);
        simulation.end(true);
        assert_eq!(simulation.machine.state(), &State::Idle);
        assert_eq!(
            simulation.machine.proven_digest(),
            named(2).digest.as_deref()
        );
    }
    let mut idle = Simulation::new(Strategy::EtcdLock);
    idle.happen(&Happening::SoakEnded);
    assert_eq!(idle.machine.state(), &State::Idle);
}

#[test]
fn new_image_that_fails_in_a_boot_after_its_soak_began_has_failed_the_soak() {
    let mut simulation = soaks();
    simulation.happen(&Happening::Broken(true));
    simulation.happen(&Happening::Reboots);
    simulation.end(true);
    assert!(matches!(simulation.machine.state(), State::Unproven { .. }));
    let owed = simulation.machine.owed().map(|owed| owed.what.clone());
    assert_eq!(owed, Some(named(2)));
    simulation.happen(&Happening::Broken(false));
    minutes(&mut simulation, 10, true);
    assert!(matches!(
        simulation.machine.state(),
        State::SoakFailed { .. }
    ));
}

#[test]
fn way_back_that_is_asked_for_while_the_boot_is_checked_begins_after_the_checks() {
    let mut simulation = soaks();
    simulation.happen(&Happening::Broken(true));
    simulation.happen(&Happening::Reboots);
    simulation.end(true);
    minutes(&mut simulation, 10, false);
    while !matches!(simulation.machine.state(), State::Proving) {
        simulation.minutes += 1;
        simulation.tick();
    }
    simulation.happen(&Happening::Rollback);
    simulation.happen(&Happening::Asked(true));
    simulation.change(|_| ());
    assert!(matches!(simulation.machine.state(), State::Proving));
    simulation.end(true);
    assert!(matches!(simulation.machine.state(), State::Unproven { .. }));
    simulation.minutes += 10;
    simulation.tick();
    assert!(
        matches!(simulation.machine.state(), State::Taken),
        "in {:?}",
        simulation.machine.state()
    );
}

#[test]
fn image_that_fails_its_soak_and_then_its_boot_can_still_be_left() {
    let mut simulation = soaks();
    let held = simulation.holder.clone().map(|(nonce, _)| nonce);
    simulation.happen(&Happening::Broken(true));
    simulation.happen(&Happening::Reboots);
    simulation.end(true);
    assert!(matches!(simulation.machine.state(), State::Unproven { .. }));
    simulation.happen(&Happening::Rollback);
    simulation.happen(&Happening::Asked(true));
    for _ in 0..6 {
        simulation.end(true);
    }
    assert!(simulation.called, "in {:?}", simulation.machine.state());
    assert_eq!(simulation.holder.clone().map(|(nonce, _)| nonce), held);
    simulation.happen(&Happening::Broken(false));
    simulation.reboot();
    for _ in 0..6 {
        simulation.end(true);
    }
    assert_eq!(simulation.machine.state(), &State::Idle);
    assert_eq!(
        simulation.machine.proven_digest(),
        named(0).digest.as_deref()
    );
}
