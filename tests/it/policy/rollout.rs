//! A roll-out to three groups of twenty agents, checked from etcd's own history. A simulated one is checked by the same rules.

#[path = "../../../src/agent/machine/tests/fleet/history.rs"]
mod history;

use std::time::Duration;

use etcd_client::{EventType, WatchOptions};
use history::{Change, check};
use pointsman_testbed::disk::Slot;

use super::*;
use crate::{
    agents::{bin, undrained},
    support::{found, group, options},
    trials::{QUICK, judge},
};

const CANARIES: usize = 3;
const WEB: usize = 12;
const REST: usize = 5;
/// Three minutes of 12 web nodes, two at a time, on a machine that others use.
const PATIENCE: Duration = Duration::from_secs(180);

/// Everything that was ever written under the prefix, in order.
async fn written(prefix: &str) -> Vec<Change> {
    let mut client = shared_cluster().client().await;
    let options = etcd_client::GetOptions::new().with_prefix();
    let now = client.get(prefix, Some(options)).await.unwrap();
    let last = now.header().unwrap().revision();
    // A key of its own tells when all before it has been seen.
    let end = format!("{prefix}/end-of-the-test");
    client.put(end.clone(), "", None).await.unwrap();
    let options = WatchOptions::new().with_prefix().with_start_revision(1);
    let mut watch = client.watch(prefix, Some(options)).await.unwrap();
    let mut changes = Vec::new();
    loop {
        let message = watch.message().await.unwrap().expect("the watch goes on");
        assert!(
            !message.canceled(),
            "the history was compacted before {last}"
        );
        for event in message.events() {
            let kv = event.kv().unwrap();
            let key = kv.key_str().unwrap().to_owned();
            if key == end {
                return changes;
            }
            let put = event.event_type() == EventType::Put;
            let value = put.then(|| kv.value_str().unwrap().to_owned());
            changes.push(Change {
                revision: kv.mod_revision(),
                at: None,
                key,
                value,
            });
        }
    }
}

/// The agents of one group, with its policy.
struct Fleet {
    name: &'static str,
    semaphore: Semaphore,
    nodes: Vec<Node>,
}

impl Fleet {
    async fn start(prefix: &str, name: &'static str, number: usize, bad: &[&str]) -> Self {
        let keys = Keys::new(prefix, group(name));
        let back_off = semaphore::etcd::BackOff {
            min: Duration::from_millis(20),
            max: Duration::from_millis(300),
        };
        let semaphore = Semaphore::new(options(shared_cluster().endpoints()), keys, back_off);
        found(&semaphore).await;
        let mut nodes = Vec::new();
        for index in 0..number {
            let node = machine(&format!("{name}-{index}")).await;
            node.add_disk("1");
            judge(&node, "health.d", bad);
            node.auto_reboot(AutoReboot::default());
            let endpoints = shared_cluster().endpoints().join(",");
            let args = ["--endpoint", &endpoints, "--key-prefix", prefix];
            let env = [
                ("POINTSMAN_GROUP", name),
                ("POINTSMAN_WAVE_SPREAD", "100ms"),
                ("POINTSMAN_RETRY_MIN", "20ms"),
                ("POINTSMAN_REBOOT_DEADLINE", "8s"),
                ("POINTSMAN_PROVING", "3s"),
            ];
            node.start(bin(), &args, &[&QUICK[1..], &env].concat())
                .await;
            node.wait_ready().await;
            nodes.push(node);
        }
        for node in &nodes {
            node.wait_status(|status| status == "idle").await;
        }
        let members = async || semaphore.read().await.unwrap().members;
        eventually("all are members", members, |found| *found == number as u64).await;
        Self {
            name,
            semaphore,
            nodes,
        }
    }

    async fn stage(&self, version: &str) {
        for node in &self.nodes {
            node.stage(version).await;
        }
    }

    async fn set(&self, change: PolicyChange) {
        self.semaphore
            .set_policy(&change, "ann@desk", false)
            .await
            .unwrap();
    }

    /// Waits until all of these run the version and have released the lock.
    async fn all_run(&self, version: &str, but: Option<&Node>) {
        let all = async {
            for node in &self.nodes {
                if but.is_some_and(|but| but.machine_id() == node.machine_id()) {
                    continue;
                }
                while node.version() != version || node.status() != "idle" {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        };
        let done = tokio::time::timeout(PATIENCE, all).await;
        if done.is_err() {
            let stand: Vec<String> = self
                .nodes
                .iter()
                .map(|node| format!("{}: {} {}", node.name(), node.version(), node.status()))
                .collect();
            panic!(
                "not all of {} run {version}:\n{}",
                self.name,
                stand.join("\n")
            );
        }
    }
}

#[tokio::test]
async fn image_goes_through_three_groups_as_their_policies_say() {
    let prefix = unique_prefix("rollout");
    let canary = Fleet::start(&prefix, "canary", CANARIES, &["2"]).await;
    let web = Fleet::start(&prefix, "web", WEB, &["2"]).await;
    let rest = Fleet::start(&prefix, "rest", REST, &["2"]).await;
    canary
        .set(PolicyChange {
            wave_soak: Some(Duration::from_secs(2)),
            ..PolicyChange::default()
        })
        .await;
    web.set(PolicyChange {
        max_percent: Some(20),
        soak: Some(Duration::from_secs(1)),
        after: Some(vec![group("canary")]),
        lost_grace: Some(Duration::from_secs(2)),
        ..PolicyChange::default()
    })
    .await;
    rest.set(PolicyChange {
        after: Some(vec![group("web")]),
        ..PolicyChange::default()
    })
    .await;

    // A bad image: one canary finds out, and nobody else boots it.
    for fleet in [&canary, &web, &rest] {
        fleet.stage("2").await;
    }
    let quarantined = async || canary.semaphore.read().await.unwrap().quarantine.len();
    eventually("it is quarantined", quarantined, |found| *found > 0).await;
    let free = async || canary.semaphore.read().await.unwrap().holders.len();
    eventually("the canary is back", free, |found| *found == 0).await;
    let blocked = |node: &&Node| node.status().contains("is quarantined");
    let others = async || canary.nodes.iter().filter(blocked).count();
    eventually("the other canaries stay where they are", others, |found| {
        *found == CANARIES - 1
    })
    .await;
    for node in web.nodes.iter().chain(&rest.nodes) {
        node.wait_status(|status| status.contains("has not proven 2 on all its nodes"))
            .await;
    }
    let all = || canary.nodes.iter().chain(&web.nodes).chain(&rest.nodes);
    let reboots: usize = all().map(Node::reboots).sum();
    assert_eq!(reboots, 2, "into it and back");

    // A good one, and one web node that never returns from it.
    let gone = &web.nodes[4];
    gone.auto_reboot(AutoReboot {
        delay: Duration::from_secs(3600),
        ..AutoReboot::default()
    });
    gone.stage("3").await;
    for fleet in [&rest, &canary] {
        fleet.stage("3").await;
    }
    canary.all_run("3", None).await;
    let goes = async || web.semaphore.read().await.unwrap().holders;
    let rebooting = |holders: &Vec<semaphore::etcd::HolderState>| {
        let entry = holders.first().and_then(|held| held.entry.as_ref());
        entry.is_some_and(|entry| entry.phase == Phase::Rebooting)
    };
    eventually("the first of the web nodes goes down", goes, rebooting).await;
    for node in web
        .nodes
        .iter()
        .filter(|node| node.machine_id() != gone.machine_id())
    {
        node.stage("3").await;
    }
    web.all_run("3", Some(gone)).await;
    // It is thought lost, and the groups after this one wait for it until a person says that it is gone.
    let lost = async || web.semaphore.read().await.unwrap().lost.len();
    eventually("it is thought lost", lost, |found| *found == 1).await;
    for node in &rest.nodes {
        node.wait_status(|status| status.contains("has not proven 3 on all its nodes"))
            .await;
    }
    web.semaphore
        .forget(gone.machine_id(), false, false)
        .await
        .unwrap();
    rest.all_run("3", None).await;
    for node in all().filter(|node| node.machine_id() != gone.machine_id()) {
        assert_eq!(node.booted(), Slot::B, "{}", node.name());
    }
    // It fell over no other node: who had booted the bad image ran its hooks twice, the others once.
    let undrains: usize = all().map(|node| undrained(node).len()).sum();
    assert_eq!(undrains, 1 + CANARIES + WEB - 1 + REST);
    let bad = canary.semaphore.read().await.unwrap().quarantine;
    assert_eq!(
        bad.len(),
        1,
        "the good image is not blamed for the lost node: {bad:?}"
    );
    let groups = [&canary, &web, &rest].map(|fleet| fleet.semaphore.keys().clone());
    let courses = check(&written(&prefix).await, &groups);
    let out: Vec<_> = courses
        .iter()
        .map(|course| (course.held, course.out))
        .collect();
    // 20 % of 12, and a budget of one.
    assert_eq!(out, [(1, 1), (2, 3), (1, 1)]);
    let takes: Vec<usize> = courses
        .iter()
        .map(|course| course.takes.values().sum())
        .collect();
    assert_eq!(takes, [1 + CANARIES, WEB, REST], "the bad image once");
    assert_eq!((courses[1].soaks, courses[1].lost), (WEB - 1, 1));
    let waves: Vec<usize> = courses.iter().map(|course| course.waves.len()).collect();
    assert_eq!(waves, [2, 2, 0], "the first image, and the good one");
}
