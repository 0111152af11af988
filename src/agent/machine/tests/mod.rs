//! The machine against a model of the world around it: crashes anywhere, people and others interfering.

mod diagram;
mod happening;
mod operations;
mod quarantine;
mod slots;
mod tables;
mod world;

use std::time::Duration;

use happening::{Happening, happening};
use proptest::{
    prelude::{ProptestConfig, prop},
    prop_assert_eq, proptest,
};
use semaphore::{
    etcd::{QueuePosition, Wait},
    records::ImageId,
};
use settings::{Strategy, window::Window};
use world::World;

use super::{Event, State};
use crate::agent::situation::{Logins, Rules, Update};

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
    let mut world = World::new(Strategy::EtcdLock);
    world.minutes = 125;
    // It fell back from image 1, and etcd does not know yet.
    if let Ok(journal) = &mut world.machine.journal {
        journal
            .quarantined
            .push(crate::agent::journal::OwnQuarantine {
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

#[test]
fn clock_change_while_waiting_for_the_window_is_noticed_within_a_minute() {
    let mut world = World::new(Strategy::EtcdLock);
    // At midnight, two hours before the window.
    world.stage(Some(2));
    assert!(matches!(world.machine.state(), State::Waiting { .. }));
    // Set, or the machine slept: no event comes of it.
    world.clock = 125;
    world.minutes += 1;
    world.tick();
    assert_eq!(world.machine.state(), &State::Asking);
}

#[test]
fn hook_is_told_from_what_else_is_waited_for() {
    let mut world = World::new(Strategy::EtcdLock);
    world.until_window();
    world.stage(Some(2));
    while !matches!(world.machine.state(), State::Draining { .. }) {
        world.end(true);
    }
    assert!(!world.machine.waits_for_hook());
    world.step(Event::HookRuns("the hook x runs".into()));
    assert_eq!(world.machine.report().1, "the hook x runs");
    assert!(world.machine.waits_for_hook());
    world.step(Event::WaitsFor(Wait {
        waits_for: "the hook x runs".into(),
        position: QueuePosition::Unknown,
    }));
    assert!(!world.machine.waits_for_hook(), "it goes by the words");
    world.step(Event::HookRuns("the hook y runs".into()));
    world.end(true);
    assert!(!world.machine.waits_for_hook(), "its end is not seen");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_never_reboot_without_the_lock_or_lose_it(
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
        world.etcd = true;
        world.broken = false;
        world.logind = true;
        world.slots_readable = true;
        world.exited = false;
        // It says so, and what mends it: systemctl restart pointsman.
        if world.blind {
            world.asked_logind = true;
            world.start();
        }
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
        // Or somebody quarantined what it would go back to, or the other slot has nothing else to go back to. Or somebody
        // booted a bad one whose forerunner could not be written down: it stays up as well.
        let forgot = happenings.iter().any(|h| matches!(h, Happening::Disk(false)));
        if let State::Unproven { why, .. } = world.machine.state()
            && (why.contains("it rolled back from this image before")
                || why.contains("which is quarantined as well (ann says so)")
                || why.contains("the other slot holds the same image")
                || forgot && why.contains("not what ran here before"))
        {
            return Ok(());
        }
        prop_assert_eq!(&world.holder, &None, "in {:?}", world.machine.state());
        prop_assert_eq!(world.machine.state(), &State::Idle);
        if world.disk.is_newer() {
            return Ok(());
        }
        // And it can still do its work.
        world.minutes += 240;
        world.until_window();
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
