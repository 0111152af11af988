//! The power is cut, again and again, at moments drawn at random.

use std::time::Duration;

use pointsman_testbed::{disk::Slot, random::Random};
use pointsman_vm::{
    site::{Site, record},
    skipped,
};
use semaphore::etcd::Group;

/// How often, on each of two machines.
const CUTS: u64 = 10;

/// How long an update may be on its way, in milliseconds.
const WAY: u64 = 45_000;

/// Whatever the moment: it boots, one slot at least is good, it releases what it held, and it can still be updated.
async fn cut(name: &str, bad: &str) {
    let site = Site::new().await;
    let machine = site.machine(name).await;
    let mut random = Random::new(name);
    let parts = random.shuffled(CUTS);
    machine.start().await;
    site.rests(&machine, "1").await;
    let mut moments: Vec<String> = Vec::new();
    for (round, part) in (0..).zip(parts) {
        // Every second one is bad: then it is a roll-back that is cut.
        let suffix = if round % 2 == 1 { bad } else { "" };
        let version = format!("{}{suffix}", round + 2);
        machine.stage(&version).await;
        // From the ticket to the new boot's proof or roll-back, once in each part of it: the moment is what is varied.
        let moment = part * WAY / CUTS + random.below(WAY / CUTS);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        machine.cut().await;
        let group = site.read().await;
        let phase = |group: &Group| {
            let holder = group.holders.first().and_then(|held| held.entry.clone());
            holder.map_or("idle".into(), |entry| entry.phase.to_string())
        };
        let moment = phase(&group);
        eprintln!(
            "{name}, {version}: cut while {moment}, after {} boots",
            machine.boots()
        );
        moments.push(moment.clone());
        let disk = machine.disk();
        assert!(
            disk.bits(Slot::A).successful || disk.bits(Slot::B).successful,
            "{name}, {version}: both slots are bad"
        );
        // Whoever is out now is out until it is back.
        assert_eq!(phase(&site.read().await), moment);
        machine.start().await;
        site.until(&machine, "it has come to rest", |group| {
            group.holders.is_empty()
                && group.queue.is_empty()
                && record(group, &machine).is_some_and(|record| record.state == "idle")
        })
        .await;
        // What runs is good, and no image whose version says that it is bad.
        let label = machine.sh("cat /etc/booted-slot").await;
        let slot = Slot::of_label(label.trim()).expect("a slot");
        assert!(
            machine.disk().bits(slot).successful,
            "{name}, {version}: on trial"
        );
        let runs = machine.disk().version(slot).unwrap_or_default();
        assert!(bad.is_empty() || !runs.ends_with(bad), "{name} runs {runs}");
    }
    machine.stage("100").await;
    site.rests(&machine, "100").await;
    // The moments were what they were meant to be: mostly of a node that is on its way.
    let on_its_way = moments.iter().filter(|moment| *moment != "idle").count();
    assert!(on_its_way >= moments.len() / 2, "{name}: {moments:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn random_power_cuts_leave_a_node_that_boots_and_continues() {
    if skipped("power cuts of virtual machines") {
        return;
    }
    tokio::join!(cut("vm-cut-bad", "-bad"), cut("vm-cut-panic", "-panic"));
}
