//! Nodes whose clocks are a year wrong. Nothing that nodes decide together goes by a clock.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use host::node::Group;
use pointsman_testbed::disk::Slot;

use super::*;
use crate::{
    agents::bin,
    support::options,
    trials::{QUICK, runs_from},
};

const SOAK: Duration = Duration::from_secs(3);
const BETWEEN: Duration = Duration::from_secs(4);

/// The library that shifts the wall clock of a process.
fn libfaketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").expect("/usr/lib can be read");
    let library = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.ok()?.path().join("faketime/libfaketime.so.1");
        path.exists().then_some(path)
    };
    let found = folders.into_iter().find_map(library);
    found.expect("libfaketime is missing (Debian package libfaketime; tests/setup.sh installs it)")
}

/// A node of this group whose agent has a wall clock that is off by this; its monotonic clocks are right.
async fn node(site: &Site, name: &str, group: &str, off: &str) -> Node {
    let node = machine(name).await;
    node.add_disk("1");
    node.auto_reboot(AutoReboot::default());
    let library = libfaketime();
    let clock = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME", off),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("NO_FAKE_STAT", "1"),
    ];
    let env = [
        ("POINTSMAN_GROUP", group),
        ("POINTSMAN_WAVE_SPREAD", "0s"),
        ("POINTSMAN_WAVE_RETRY", "12h"),
        ("POINTSMAN_REBOOT_DEADLINE", "20s"),
    ];
    site.start(&node, &[&QUICK[1..], &env, &clock].concat())
        .await;
    node.wait_status(|status| status == "idle").await;
    node
}

fn in_group(site: &Site, name: &str) -> Semaphore {
    let keys = Keys::new(&site.prefix, Group::new(name).unwrap());
    let endpoints = shared_cluster().endpoints();
    Semaphore::new(options(endpoints), keys, crate::support::BACK_OFF)
}

/// What `status` prints of a group, in which no time is negative, and none is left that nobody waits for.
async fn status(site: &Site, group: &str) -> String {
    let endpoints = shared_cluster().endpoints().join(",");
    let args = ["status", "--group", group, "--endpoint", &endpoints];
    let args = [&args[..], &["--key-prefix", &site.prefix]].concat();
    let output = pointsman_testbed::process::run(bin(), args, &[], Duration::from_secs(20)).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let shown = output.stdout;
    for words in shown.split('(').skip(1) {
        let words = words.split(')').next().unwrap_or_default();
        let left = words.strip_suffix(" left").unwrap_or_default();
        let wrong = left.contains('h') || words.contains('-') && words.ends_with(" ago");
        assert!(!wrong, "{words:?} in {shown}");
    }
    shown
}

#[tokio::test]
async fn nodes_whose_clocks_are_a_year_wrong_take_their_turns_and_are_not_thought_lost() {
    let site = Site::new("clocks");
    let canary = in_group(&site, "canary");
    canary.set_max(1, false).await.unwrap();
    let ahead = node(&site, "ahead", "canary", "+365d").await;
    let behind = node(&site, "behind", "canary", "-365d").await;
    let later = node(&site, "later", "", "+365d").await;
    for (node, off) in [(&ahead, 364), (&behind, -365)] {
        let records = canary.read().await.unwrap().nodes;
        let record = records.iter().find(|record| record.id == node.machine_id());
        let since = record.unwrap().since.unwrap();
        let days = since
            .duration_since(jiff::Timestamp::now())
            .as_secs()
            .div_euclid(86_400);
        assert_eq!(days, off, "its clock is not the one of the test");
    }
    let change = PolicyChange {
        soak: Some(SOAK),
        lost_grace: Some(Duration::from_secs(1)),
        wave_soak: Some(BETWEEN),
        ..PolicyChange::default()
    };
    canary.set_policy(&change, "ann@desk", false).await.unwrap();
    let change = PolicyChange {
        after: Some(vec![canary.keys().group().clone()]),
        soak: Some(SOAK),
        lost_grace: Some(Duration::from_secs(1)),
        ..PolicyChange::default()
    };
    let set = site.semaphore.set_policy(&change, "ann@desk", false).await;
    set.unwrap();
    later.stage("2").await;
    let phase = async |node: &Node, semaphore: &Semaphore, phase: Phase| {
        let says = async || {
            let group = semaphore.read().await.unwrap();
            assert!(group.lost.is_empty() && group.quarantine.is_empty());
            crate::agents::entry(&group, node).map(|entry| entry.phase.clone())
        };
        eventually("its phase", says, |found| *found == Some(phase.clone())).await;
        Instant::now()
    };
    let free = async |semaphore: &Semaphore| {
        let holders = async || semaphore.read().await.unwrap().holders.len();
        eventually("nobody holds", holders, |found| *found == 0).await;
        Instant::now()
    };
    // As late as it was seen, and as early as it was asked: two reads of etcd lie between.
    let slack = Duration::from_millis(200);
    for node in [&ahead, &behind] {
        node.stage("2").await;
        let soaks = phase(node, &canary, Phase::Soaking).await;
        let shown = status(&site, "canary").await;
        assert!(shown.contains("soaks until 20"), "{shown}");
        let says = " (by the clock of that node, which is ahead of this one's)\n";
        assert_eq!(shown.contains(says), node.name() == "ahead", "{shown}");
        let over = free(&canary).await;
        let soaked = over.duration_since(soaks);
        assert!(soaked + slack >= SOAK, "{} soaked {soaked:?}", node.name());
        assert!(soaked < SOAK * 3, "{} soaked {soaked:?}", node.name());
        assert_eq!((node.booted(), node.reboots()), (Slot::B, 1));
    }
    let opened = free(&canary).await;
    later
        .wait_status(|status| status.contains("the time between the groups has not passed yet"))
        .await;
    let shown = status(&site, "canary").await + &status(&site, "").await;
    assert!(
        !shown.contains("OVERDUE") && !shown.contains("lost now: 1"),
        "{shown}"
    );
    phase(&later, &site.semaphore, Phase::Draining).await;
    let waited = opened.elapsed();
    assert!(waited + slack >= BETWEEN, "it went after {waited:?}");
    phase(&later, &site.semaphore, Phase::Soaking).await;
    free(&site.semaphore).await;
    runs_from(&later, Slot::B, 1).await;
    for semaphore in [&canary, &site.semaphore] {
        let group = semaphore.read().await.unwrap();
        assert!(group.lost.is_empty() && group.quarantine.is_empty());
    }
}
