//! The reboot windows of the group's policy, as the machine is told them.

use std::time::Duration;

use semaphore::etcd::{QueuePosition, Wait};
use settings::Strategy;
use windows::WindowSpec;

use super::simulation::Simulation;
use crate::agent::machine::{Event, State};

const HOUR: u64 = 60;

fn told(windows: &[(&str, &str)]) -> Event {
    let spec = |(at, length): &(&str, &str)| WindowSpec {
        at: (*at).into(),
        length: (*length).into(),
        zone: Some("UTC".into()),
        ..WindowSpec::default()
    };
    Event::WaitsFor(Wait {
        policy_windows: Some(windows.iter().map(spec).collect()),
        ..Wait::default()
    })
}

/// In the queue at 02:10, inside its own window from 02:00 to 04:00; its reboots take an hour and a half.
fn queued() -> Simulation {
    let mut simulation = Simulation::new(Strategy::EtcdLock);
    simulation.disk.reboot_seconds = vec![90 * 60];
    simulation.start();
    simulation.minutes = 2 * HOUR + 10;
    simulation.stage(Some(2));
    simulation.end(true);
    assert!(matches!(simulation.machine.state(), State::Queued { .. }));
    simulation
}

#[test]
fn node_stays_in_the_queue_while_only_the_policy_s_windows_are_too_short() {
    let mut simulation = queued();
    let before = simulation.machine.report();
    // From 03:00 both are open, for an hour only: that is as long as it gets.
    simulation.step(told(&[("03:00", "12h")]));
    assert_eq!(simulation.machine.report(), before, "it waits for the same");
    for _ in 0..2 {
        simulation.minutes = 3 * HOUR + 5;
        simulation.tick();
        assert!(matches!(simulation.machine.state(), State::Queued { .. }));
        // A new run of the agent knows it from the journal.
        simulation.start();
        assert!(matches!(simulation.machine.state(), State::Queued { .. }));
    }
    let note = simulation.machine.known_windows();
    assert_eq!(note.usual, Some(Duration::from_secs(90 * 60)));
    assert_eq!(note.policy, simulation.disk.policy_windows);
    // Unset: its own windows are long enough, and this one is too far gone.
    simulation.step(told(&[]));
    assert_eq!(simulation.machine.state(), &State::Leaving);
    simulation.end(true);
    let said = simulation.machine.report().1;
    assert!(said.contains("a reboot of this node takes 1h30m"), "{said}");
    assert_eq!(simulation.disk.policy_windows, []);
}

#[test]
fn node_leaves_the_queue_when_its_own_window_closes_whatever_the_policy_says() {
    let mut simulation = queued();
    simulation.step(told(&[("03:00", "12h")]));
    simulation.minutes = 4 * HOUR;
    simulation.tick();
    assert_eq!(simulation.machine.state(), &State::Leaving);
    simulation.end(true);
    let said = simulation.machine.report().1;
    assert!(said.contains("outside the reboot window"), "{said}");
}

#[test]
fn old_update_is_kept_in_the_hour_before_the_policy_s_window_and_in_it() {
    let mut simulation = Simulation::new(Strategy::EtcdLock);
    simulation.at_any_time = true;
    simulation.restage_after = Some(Duration::from_secs(10 * 3600));
    simulation.minutes = HOUR;
    simulation.start();
    simulation.stage(Some(2));
    simulation.end(true);
    simulation.step(told(&[("12:00", "4h")]));
    simulation.step(Event::WaitsFor(Wait {
        waits_for: "outside the reboot window of the group's policy".into(),
        position: QueuePosition::Outside,
        ..Wait::default()
    }));
    assert_eq!(simulation.machine.report().0, "waiting");
    while simulation.minutes < 16 * HOUR - 1 {
        simulation.minutes += 1;
        simulation.tick();
    }
    assert!(matches!(simulation.machine.state(), State::Queued { .. }));
    simulation.minutes += 1;
    simulation.tick();
    // It leaves the queue first.
    assert_eq!(simulation.machine.state(), &State::Leaving);
    simulation.end(true);
    assert_eq!(simulation.resets.len(), 1);
}
