//! Single histories in which something once went wrong.

use settings::Strategy;

use super::{named, world::World};
use crate::agent::{
    journal::{OwnQuarantine, Stage},
    machine::{Event, Op, State},
    situation::{Request, Update},
};

/// In the window, with this image staged.
fn staged(number: u8) -> World {
    let mut world = World::new(Strategy::EtcdLock);
    world.until_window();
    world.stage(Some(number));
    world
}

/// In the queue for a reboot that somebody asked for, with this image next to boot, which nobody has staged.
fn queued_beside(number: u8) -> World {
    let mut world = staged(number);
    world.change(|facts| facts.update = Update::None("UPDATE_STATUS_IDLE".into()));
    world.slots.first = 1;
    world.step(Event::Asked(Request {
        reason: "ann".into(),
    }));
    world.end(true);
    world
}

/// Ends one operation after the other, well, until the reboot is called.
fn goes(world: &mut World) {
    for _ in 0..20 {
        if world.called {
            return;
        }
        world.end(true);
    }
    panic!("no reboot, in {:?}", world.machine.state());
}

/// Ends one operation after the other, well, until there is none.
fn rests(world: &mut World) {
    for _ in 0..20 {
        world.end(true);
    }
    assert_eq!(world.machine.state(), &State::Idle);
    assert_eq!(world.holder, None);
}

#[test]
fn cleared_image_that_fails_again_is_quarantined_again() {
    let mut world = staged(1);
    goes(&mut world);
    world.comes_not();
    rests(&mut world);
    assert_eq!(world.known_bad, [named(1)]);
    // Told, and not told again.
    world.report();
    assert_eq!(world.known_bad.len(), 1);

    world.known_bad.clear();
    world.stage(Some(1));
    goes(&mut world);
    world.comes_not();
    rests(&mut world);
    assert_eq!(world.known_bad.len(), 1, "found again, and told nobody");
}

#[test]
fn cleared_quarantine_is_not_reported_again_by_a_clean_boot() {
    let mut world = staged(1);
    goes(&mut world);
    // Goes back by itself; the others know it before the node is down.
    world.reboot();
    world.end(true);
    world.report();
    world.end(true);
    assert!(world.went_back);
    world.known_bad.clear();
    for _ in 0..2 {
        world.reboot();
    }
    rests(&mut world);
    assert!(
        world.known_bad.is_empty(),
        "told again: {:?}",
        world.known_bad
    );
}

#[test]
fn interrupted_proof_stays_forgiven_after_another_power_failure() {
    let mut world = staged(2);
    goes(&mut world);
    world.reboot();
    assert_eq!(world.machine.state(), &State::Proving);
    assert_eq!(world.slots.runs(), 2);
    // The power fails while it is proving, and again before the old slot has been.
    for _ in 0..2 {
        world.reboot();
        assert_eq!(world.slots.runs(), 0);
        assert_eq!(world.machine.state(), &State::Proving);
    }
    rests(&mut world);
    assert!(world.known_bad.is_empty(), "{:?}", world.known_bad);
}

#[test]
fn interrupted_proof_of_an_uncoordinated_boot_excuses_no_later_one() {
    let mut world = World::new(Strategy::EtcdLock);
    world.slots.images[1] = 2;
    world.slots.tries[1] = true;
    world.slots.first = 1;
    // Somebody boots it, and the power fails while it is proving.
    world.reboot();
    assert_eq!(world.machine.state(), &State::Proving);
    world.reboot();
    assert_eq!(world.slots.runs(), 0);
    world.until_window();
    world.stage(Some(2));
    goes(&mut world);
    world.comes_not();
    rests(&mut world);
    assert_eq!(world.known_bad, [named(2)]);
}

#[test]
fn queued_trial_rolls_back_without_etcd() {
    let mut world = queued_beside(1);
    assert!(matches!(world.machine.state(), State::Queued { .. }));
    world.etcd = false;
    world.reboot();
    assert_eq!(world.slots.runs(), 1);
    for _ in 0..5 {
        world.end(true);
    }
    assert!(world.went_back, "in {:?}", world.machine.state());
    world.reboot();
    world.etcd = true;
    rests(&mut world);
    assert_eq!(world.known_bad, []);
    world.report();
    assert_eq!(world.known_bad, [named(1)]);
}

#[test]
fn queued_trial_is_proven_and_then_leaves_the_queue_or_releases() {
    for won in [false, true] {
        let mut world = queued_beside(2);
        let nonce = world.disk.entry.as_ref().unwrap().claim.clone().unwrap();
        world.holder = won.then_some((nonce.nonce, false));
        world.etcd = false;
        world.reboot();
        for _ in 0..5 {
            world.end(true);
        }
        assert!(world.slots.good[1], "in {:?}", world.machine.state());
        world.etcd = true;
        world.end(true);
        assert_eq!(world.machine.holds(), won);
        rests(&mut world);
        assert_eq!(world.disk.entry, None);
    }
}

#[test]
fn silent_logind_is_reported_instead_of_a_shutdown() {
    let mut world = staged(2);
    while !matches!(world.machine.state(), State::Draining { .. }) {
        world.end(true);
    }
    world.logind = false;
    world.change(|_| ());
    for _ in 0..10 {
        world.end(true);
        world.minutes += 10;
        world.tick();
        let (state, why) = world.machine.report();
        assert!(
            state == "stepping-back" || why.contains("not known: no reply"),
            "{state}: {why}"
        );
        assert!(world.holder.is_some(), "given back on a guess");
    }
    world.logind = true;
    world.change(|_| ());
    world.change(|facts| facts.update = Update::None("UPDATE_STATUS_IDLE".into()));
    rests(&mut world);
}

#[test]
fn quarantines_written_with_the_release_count_as_reported() {
    let mut world = staged(2);
    goes(&mut world);
    world.reboot();
    let bad = |number| OwnQuarantine {
        what: named(number),
        reason: "bad".into(),
        boot_id: "boot-0".into(),
        reported: false,
    };
    world.machine.journal.as_mut().unwrap().quarantined = vec![bad(3), bad(5)];
    while !matches!(world.op, Some(Op::Release(..))) {
        world.end(true);
    }
    // The first is told on its own meanwhile.
    world.report();
    assert_eq!(world.known_bad, [named(3)]);
    rests(&mut world);
    world.report();
    assert!(world.known_bad.contains(&named(5)), "{:?}", world.known_bad);
}

#[test]
fn update_staged_during_another_shutdown_waits_for_its_turn() {
    let mut world = World::new(Strategy::EtcdLock);
    world.until_window();
    world.step(Event::Asked(Request {
        reason: "a new disk".into(),
    }));
    goes(&mut world);
    world.stage(Some(1));
    world.reboot();
    assert_eq!(world.slots.runs(), 0, "into what nobody cleared");
    assert_eq!(world.disk.entry.as_ref().unwrap().stage, Stage::Committing);
}

#[test]
fn queued_trial_leaves_the_queue_with_a_full_disk() {
    let mut world = queued_beside(2);
    let nonce = world.disk.entry.as_ref().unwrap().claim.clone().unwrap();
    world.holder = Some((nonce.nonce, false));
    world.reboot();
    world.disk_works = false;
    for _ in 0..20 {
        world.end(true);
    }
    assert_eq!(world.holder, None, "in {:?}", world.machine.state());
}

#[test]
fn lock_taken_under_a_newer_programs_journal_is_released() {
    let mut world = staged(2);
    world.end(true);
    let nonce = world.disk.entry.as_ref().unwrap().claim.clone().unwrap();
    // A newer program takes its place, and then this one again, while the take is on its way.
    world.disk.version = 99;
    world.start();
    world.holder = Some((nonce.nonce, false));
    for _ in 0..10 {
        world.end(true);
    }
    assert_eq!(world.holder, None);
    let (state, why) = world.machine.report();
    assert!(
        state == "waiting" && why.contains("newer pointsman"),
        "{state}: {why}"
    );
}

#[test]
fn failed_image_is_quarantined_with_the_release_first() {
    let mut world = staged(1);
    goes(&mut world);
    world.comes_not();
    // A person has quarantined another one meanwhile, and that came first.
    let journal = world.machine.journal.as_mut().unwrap();
    let other = OwnQuarantine {
        what: named(4),
        reason: "ann says so".into(),
        boot_id: "boot-0".into(),
        reported: false,
    };
    journal.quarantined.insert(0, other);
    for _ in 0..20 {
        if let Some(Op::Release(_, owed)) = &world.op {
            assert_eq!(owed.as_ref().map(|owed| &owed.what), Some(&named(1)));
            return;
        }
        world.end(true);
    }
    panic!("no release, in {:?}", world.machine.state());
}
