//! A staged update that grows old while its node waits.

use std::time::Duration;

use semaphore::etcd::{QueuePosition, Wait};
use settings::Strategy;

use super::{named, simulation::Simulation};
use crate::agent::{
    machine::{Event, State},
    restage::Reset,
    situation::Request,
};

const HOUR: u64 = 60;

/// A node in which update 2 has been staged since 05:00, an hour after its window has closed; it may be 10 hours old.
fn waits() -> Simulation {
    let mut simulation = Simulation::new(Strategy::EtcdLock);
    simulation.restage_after = Some(Duration::from_secs(10 * 3600));
    simulation.minutes = 5 * HOUR;
    simulation.start();
    simulation.stage(Some(2));
    simulation
}

/// The same without windows, in the queue behind somebody.
fn queued() -> Simulation {
    let mut simulation = waits();
    simulation.at_any_time = true;
    simulation.start();
    simulation.end(true);
    assert!(matches!(simulation.machine.state(), State::Queued { .. }));
    simulation
}

/// At each minute of this hour and those before, what is due happens.
fn until(simulation: &mut Simulation, hour: u64) {
    while simulation.minutes < hour * HOUR {
        simulation.minutes += 1;
        simulation.tick();
    }
}

#[test]
fn update_that_waited_long_is_reset_once_and_its_age_counts_from_then() {
    let mut simulation = waits();
    simulation.engine_resets = false;
    until(&mut simulation, 14);
    assert_eq!(simulation.resets, []);
    let due = Duration::from_secs(15 * 3600);
    assert!(simulation.machine.wake_at().is_some_and(|at| at <= due));
    until(&mut simulation, 16);
    assert_eq!(simulation.resets, [Reset::Old]);
    // update_engine has not done it: what is staged is there still, and waits as before.
    let said = simulation.machine.report().1;
    assert!(said.contains("outside the reboot window"), "{said}");
    // 10 hours after the first: 01:00 is an hour before the window, in which the node goes with what it has.
    until(&mut simulation, 26);
    assert_eq!(simulation.resets, [Reset::Old]);
    simulation.end(true);
    assert!(matches!(simulation.machine.state(), State::Queued { .. }));
}

#[test]
fn node_says_that_it_looks_for_a_newer_update_and_takes_what_comes() {
    let mut simulation = waits();
    simulation.engine_resets = false;
    simulation.minutes = 15 * HOUR;
    simulation.tick();
    assert_eq!(
        simulation.machine.report(),
        (
            "waiting",
            "2 has been staged for long: update_engine looks for a newer update first".into()
        )
    );
    simulation.stage(None);
    assert_eq!(simulation.machine.state(), &State::Idle);
    simulation.stage(Some(4));
    // That one is new.
    until(&mut simulation, 24);
    assert_eq!(simulation.resets, [Reset::Old]);
    // The same image may have come again: it is as good as new as well.
    let waits = simulation.disk.waits.as_ref().unwrap();
    assert!(waits.image.is(&named(4)));
    assert_eq!(waits.since.as_second(), 15 * 3600);
}

#[test]
fn age_of_a_staged_update_survives_a_restart_of_the_agent() {
    let mut simulation = waits();
    until(&mut simulation, 12);
    simulation.start();
    assert_eq!(simulation.resets, []);
    until(&mut simulation, 16);
    assert_eq!(simulation.resets, [Reset::Old]);
}

#[test]
fn queued_node_leaves_the_queue_before_its_update_is_reset() {
    let mut simulation = queued();
    simulation.minutes = 15 * HOUR;
    simulation.tick();
    assert_eq!(simulation.machine.state(), &State::Leaving);
    assert_eq!(simulation.resets, []);
    simulation.end(true);
    assert_eq!(simulation.resets, [Reset::Old]);
    assert_eq!(simulation.machine.state(), &State::Idle);
}

#[test]
fn ticket_of_a_run_before_is_given_up_before_its_update_is_reset() {
    let mut simulation = queued();
    simulation.minutes = 15 * HOUR;
    simulation.start();
    assert_eq!(simulation.machine.state(), &State::Leaving);
    assert_eq!(simulation.resets, []);
    simulation.end(true);
    assert_eq!(simulation.resets, [Reset::Old]);
}

#[test]
fn lock_that_was_won_while_leaving_is_used_with_what_is_staged() {
    let mut simulation = queued();
    simulation.minutes = 15 * HOUR;
    simulation.tick();
    simulation.end(false);
    assert_eq!(simulation.machine.state(), &State::Taken);
    while !simulation.called {
        simulation.end(true);
    }
    assert_eq!(simulation.resets, []);
}

#[test]
fn what_a_person_or_the_node_is_about_is_not_reset() {
    type Change = fn(&mut Simulation);
    let cases: [(&str, Change); 7] = [
        ("not configured", |simulation| {
            simulation.restage_after = None;
            simulation.start();
        }),
        ("strategy off", |simulation| {
            simulation.strategy = Strategy::Off;
            simulation.start();
        }),
        ("a person asked", |simulation| {
            let reason = "ann";
            simulation.step(Event::Asked(Request::new(reason)));
        }),
        ("logind is silent", |simulation| {
            simulation.logind = false;
            simulation.change(|_| ());
        }),
        ("quarantined here", |simulation| {
            simulation.known_bad.clear();
            simulation.strategy = Strategy::Reboot;
            simulation.start();
            simulation.step(Event::QuarantinedByHand {
                what: named(2),
                reason: "bad".into(),
            });
        }),
        ("a newer program's journal", |simulation| {
            simulation.disk.version = 99;
            simulation.start();
        }),
        ("told to end", |simulation| simulation.step(Event::Stop)),
    ];
    for (what, change) in cases {
        let mut simulation = waits();
        change(&mut simulation);
        until(&mut simulation, 17);
        let old = simulation.resets.contains(&Reset::Old);
        assert!(!old, "{what}: {:?}", simulation.machine.state());
    }
    // Locked by hand, it holds: and so it does while it drains.
    let mut simulation = queued();
    let locked = Wait {
        waits_for: "this node is locked by hand".into(),
        position: QueuePosition::Held,
        ..Wait::default()
    };
    simulation.step(Event::WaitsFor(locked.clone()));
    until(&mut simulation, 17);
    let queued_still = matches!(simulation.machine.state(), State::Queued { .. });
    assert!(queued_still, "in {:?}", simulation.machine.state());
    simulation.step(Event::WaitsFor(Wait {
        position: QueuePosition::InQueue,
        ..locked
    }));
    simulation.tick();
    simulation.end(true);
    assert_eq!(simulation.resets, [Reset::Old], "unlocked");
    let mut simulation = queued();
    simulation.end(true);
    while !matches!(simulation.machine.state(), State::Draining { .. }) {
        simulation.end(true);
    }
    until(&mut simulation, 17);
    assert_eq!(simulation.resets, [], "in {:?}", simulation.machine.state());
}
