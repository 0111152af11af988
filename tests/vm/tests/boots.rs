//! What only a whole machine shows: the boot loader's choice, a panic, a hang, a wrong clock.

use std::time::Duration;

use pointsman_testbed::{disk::Slot, process::run};
use pointsman_vm::{
    machine::{Machine, Outfit},
    site::{Site, record},
    skipped,
};

const LIMIT: Duration = Duration::from_secs(10);

/// A machine that runs image 1, idle; none where there can be none.
async fn up(name: &str) -> Option<(Site, Machine)> {
    if skipped(name) {
        return None;
    }
    let site = Site::new().await;
    let machine = site.machine(name).await;
    machine.start().await;
    site.rests(&machine, "1").await;
    Some((site, machine))
}

/// An image that is bad in this way: rolled back without a hand on the machine, and quarantined.
async fn rolls_back_from(site: &Site, machine: &Machine, version: &str) {
    let before = machine.boots();
    machine.stage(version).await;
    let image = machine.image(Slot::B).await;
    site.until(machine, &format!("{version} is quarantined"), |group| {
        let mut bad = group.quarantine.iter();
        bad.any(|bad| bad.what.digest.as_deref() == Some(image.as_str()))
            && group.holders.is_empty()
    })
    .await;
    let disk = machine.disk();
    assert!(disk.bits(Slot::A).successful, "{version}");
    assert!(!disk.bits(Slot::B).successful, "{version}");
    assert_eq!(disk.version(Slot::A).as_deref(), Some("1"));
    site.rests(machine, "1").await;
    assert!(machine.boots() >= before + 2, "it was tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_proven() {
    let Some((site, machine)) = up("vm-good").await else {
        return;
    };
    machine.stage("2").await;
    site.rests(&machine, "2").await;
    assert_eq!(machine.boots(), 2);
    assert!(machine.disk().bits(Slot::B).successful);
}

#[tokio::test(flavor = "multi_thread")]
async fn image_that_panics_or_is_unhealthy_is_rolled_back() {
    let Some((site, machine)) = up("vm-panic").await else {
        return;
    };
    rolls_back_from(&site, &machine, "2-panic").await;
    rolls_back_from(&site, &machine, "3-bad").await;
    // The quarantined one is not tried again; a good one is taken.
    let boots = machine.boots();
    machine.stage("2-panic").await;
    site.until(&machine, "it says why it stays", |group| {
        record(group, &machine).is_some_and(|record| {
            record.state == "waiting" && record.waits_for.contains("is quarantined")
        })
    })
    .await;
    assert_eq!(machine.boots(), boots);
    machine.stage("4").await;
    site.rests(&machine, "4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn image_that_hangs_or_has_no_network_is_rolled_back() {
    let Some((site, machine)) = up("vm-hang").await else {
        return;
    };
    rolls_back_from(&site, &machine, "2-hang").await;
    rolls_back_from(&site, &machine, "3-nonet").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_by_hand_works_both_ways_and_with_a_wrong_clock() {
    let Some((site, machine)) = up("vm-person").await else {
        return;
    };
    machine.stage("2").await;
    site.rests(&machine, "2").await;
    for version in ["1", "2"] {
        // For 45 s update_engine, which has just been let in, would undo it: until then it is refused, with 3.
        machine
            .sh("until pointsman rollback --reboot || [ $? != 3 ]; do sleep 2; done")
            .await;
        site.rests(&machine, version).await;
    }
    assert_eq!(machine.boots(), 4);
    // A day back and a day ahead, by the clock that the machine finds when it is switched on.
    for (ago, version) in [("1 day ago", "3"), ("1 day", "4")] {
        let format = ["-u", "-d", ago, "+%Y-%m-%dT%H:%M:%S"];
        let clock = run("date", format, &[], LIMIT).await.stdout;
        let clock = clock.trim();
        machine.cut().await;
        let outfit = Outfit {
            clock: Some(clock),
            ..Outfit::default()
        };
        machine.start_with(&outfit).await;
        machine.stage(version).await;
        site.rests(&machine, version).await;
    }
    assert!(site.read().await.quarantine.is_empty());
}
