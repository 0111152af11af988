//! Waves: an image goes to later groups once a group has proven it.

mod after;
mod failures;
mod opening;
mod people;

use std::time::Duration;

use pointsman_testbed::disk::Slot;
use semaphore::waves::Wave;

use super::{members::runs, *};
use crate::{
    agents::bin,
    support::{group, options},
    trials::{self, QUICK, runs_from},
};

/// A wave is seen at once, and a missed one soon.
const SOON: [(&str, &str); 2] = [
    ("POINTSMAN_WAVE_SPREAD", "0s"),
    ("POINTSMAN_WAVE_RETRY", "12h"),
];

fn of_group(prefix: &str, name: &str) -> Semaphore {
    let keys = Keys::new(prefix, group(name));
    let back_off = semaphore::etcd::BackOff {
        min: Duration::from_millis(20),
        max: Duration::from_millis(300),
    };
    Semaphore::new(options(shared_cluster().endpoints()), keys, back_off)
}

fn after(names: &[&str]) -> PolicyChange {
    PolicyChange {
        after: Some(names.iter().copied().map(group).collect()),
        ..PolicyChange::default()
    }
}

fn wave_soak(length: Duration) -> PolicyChange {
    PolicyChange {
        wave_soak: Some(length),
        ..PolicyChange::default()
    }
}

async fn set(semaphore: &Semaphore, change: &PolicyChange) {
    semaphore
        .set_policy(change, "ann@desk", false)
        .await
        .unwrap();
}

/// A node of this group that runs version 1 and finds no version bad.
async fn node(site: &Site, name: &str, group: &str, env: &[(&str, &str)]) -> Node {
    let node = machine(name).await;
    node.add_disk("1");
    node.auto_reboot(AutoReboot::default());
    let env = [&QUICK[..], &SOON, &[("POINTSMAN_GROUP", group)], env].concat();
    site.start(&node, &env).await;
    node.wait_status(|status| status == "idle").await;
    node
}

/// The default group comes after `canary`, in which these are.
async fn canaries(site: &Site, names: &[&str]) -> Vec<Node> {
    let mut nodes = Vec::new();
    let canary = of_group(&site.prefix, "canary");
    canary.set_max(1, false).await.unwrap();
    for name in names {
        let node = node(site, name, "canary", &[]).await;
        let member = canary.keys().member(node.machine_id());
        let says = async || get(shared_cluster(), &member).await;
        eventually("it is a member", says, Option::is_some).await;
        nodes.push(node);
    }
    set(&site.semaphore, &after(&["canary"])).await;
    nodes
}

async fn waits_for_wave(node: &Node) {
    node.wait_status(|status| {
        status.starts_with("waiting: ") && status.contains("has not proven 2")
    })
    .await;
}

/// What `pointsman waves` prints, which has this in it.
async fn waves(prefix: &str, says: &str) -> String {
    let endpoints = shared_cluster().endpoints().join(",");
    let args = ["waves", "--endpoint", &endpoints, "--key-prefix", prefix];
    let output = pointsman_testbed::process::run(bin(), args, &[], Duration::from_secs(20)).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let shown = output.stdout;
    assert!(shown.contains(says), "{says:?} in {shown}");
    shown
}

#[tokio::test]
async fn image_goes_to_the_next_group_once_every_member_has_proven_it() {
    let site = Site::new("waves");
    let canaries = canaries(&site, &["c1", "c2"]).await;
    let later = node(&site, "p1", "", &[]).await;
    later.stage("2").await;
    waits_for_wave(&later).await;
    let read = site.read().await;
    assert!(read.queue.is_empty() && read.holders.is_empty(), "{read:?}");
    canaries[0].stage("2").await;
    runs_from(&canaries[0], Slot::B, 1).await;
    let canary = of_group(&site.prefix, "canary");
    eventually(
        "it is released",
        async || canary.read().await.unwrap(),
        |group| group.holders.is_empty(),
    )
    .await;
    waits_for_wave(&later).await;
    waves(&site.prefix, "proven by 1 of 2\n  c2 (").await;
    waves(&site.prefix, "): it has proven 1, since ").await;
    canaries[1].stage("2").await;
    runs_from(&later, Slot::B, 1).await;
    waves(&site.prefix, "open to later groups since ").await;
    let new = runs(&site, &later, "2").await;
    let wave = get(shared_cluster(), &canary.keys().wave(&new))
        .await
        .unwrap();
    assert!(wave.contains(r#""version":"2""#), "{wave}");
    // The first image of all: nobody waits for it any more.
    assert_eq!(later.reboots(), 1);
}

#[tokio::test]
async fn time_between_groups_is_waited_for_and_ends_by_itself() {
    let site = Site::new("waves-soak");
    let canaries = canaries(&site, &["c1"]).await;
    let canary = of_group(&site.prefix, "canary");
    set(&canary, &wave_soak(Duration::from_secs(4))).await;
    let later = node(&site, "p1", "", &[]).await;
    later.stage("2").await;
    waits_for_wave(&later).await;
    canaries[0].stage("2").await;
    later
        .wait_status(|status| {
            status.contains("has proven 2, and the time between the groups has not passed yet")
        })
        .await;
    waves(&site.prefix, "open to later groups in ").await;
    runs_from(&later, Slot::B, 1).await;
}

#[tokio::test]
async fn blocked_node_goes_on_when_the_policy_names_no_group_any_more() {
    let site = Site::new("waves-unset");
    let _canaries = canaries(&site, &["c1"]).await;
    let later = node(&site, "p1", "", &[]).await;
    later.stage("2").await;
    waits_for_wave(&later).await;
    let unset = PolicyChange {
        unset: vec![Field::After],
        ..PolicyChange::default()
    };
    set(&site.semaphore, &unset).await;
    runs_from(&later, Slot::B, 1).await;
}

#[tokio::test]
async fn wave_that_nobody_opened_is_opened_by_who_waits_for_it() {
    let site = Site::new("waves-missed");
    let canaries = canaries(&site, &["c1"]).await;
    let later = node(&site, "p1", "", &[("POINTSMAN_WAVE_RETRY", "300ms")]).await;
    later.stage("2").await;
    waits_for_wave(&later).await;
    site.record(&later, |record| {
        record.waits_for.contains("see: pointsman waves")
    })
    .await;
    // The last canary proves the image and dies before it opens the wave: all that is left of it is its key.
    canaries[0].stop().await;
    let canary = of_group(&site.prefix, "canary");
    let key = canary.keys().member(canaries[0].machine_id());
    let slots = later.run(bin(), &["slots", "--json"]).await;
    let slots: serde_json::Value = serde_json::from_str(&slots.stdout).unwrap();
    let staged = slots["slots"][1]["image"].as_str().unwrap();
    put(shared_cluster(), &key, staged).await;
    runs_from(&later, Slot::B, 1).await;
}

#[tokio::test]
async fn way_back_to_an_image_that_ran_here_needs_no_wave() {
    let site = Site::new("waves-back");
    let (later, _) = trials::node(&site, "p1", &[]).await;
    later.stage("2").await;
    runs_from(&later, Slot::B, 1).await;
    site.free().await;
    let _canaries = canaries(&site, &["c1"]).await;
    for words in [&["slots", "prioritize", "A"][..], &["reboot"]] {
        let done = site.command(&later, words).await;
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    runs_from(&later, Slot::A, 2).await;
    site.free().await;
}

#[tokio::test]
async fn newer_image_that_is_open_has_update_engine_look_once() {
    let site = Site::new("waves-newer");
    let _canaries = canaries(&site, &["c1"]).await;
    let later = node(&site, "p1", "", &[]).await;
    later.stage("2").await;
    waits_for_wave(&later).await;
    assert_eq!(later.update_engine().calls("ResetStatus"), 0);
    // The canaries went past the image, and the wave of a newer one opens.
    let canary = of_group(&site.prefix, "canary");
    let newer = format!("sha256:{}", "3".repeat(64));
    canary
        .open_wave_by_hand(&newer, &Wave::default())
        .await
        .unwrap();
    later.update_engine().wait_for_calls("ResetStatus", 1).await;
    later.wait_status(|status| status == "idle").await;
    // The server had nothing newer yet: the same is staged again, and nothing is asked over and over.
    later.stage("2").await;
    waits_for_wave(&later).await;
    later.kill().await;
    later.start_again();
    waits_for_wave(&later).await;
    assert_eq!(later.update_engine().calls("ResetStatus"), 1);
    let newest = format!("sha256:{}", "4".repeat(64));
    canary
        .open_wave_by_hand(&newest, &Wave::default())
        .await
        .unwrap();
    later.update_engine().wait_for_calls("ResetStatus", 2).await;
    // It gets what is open.
    later.stage("5").await;
    later
        .wait_status(|status| status.contains("has not proven 5"))
        .await;
    let slots = later.run(bin(), &["slots", "--json"]).await;
    let slots: serde_json::Value = serde_json::from_str(&slots.stdout).unwrap();
    let staged = slots["slots"][1]["image"].as_str().unwrap();
    canary
        .open_wave_by_hand(staged, &Wave::default())
        .await
        .unwrap();
    runs_from(&later, Slot::B, 1).await;
    assert_eq!((later.version(), later.reboots()), ("5".to_owned(), 1));
}

#[tokio::test]
async fn images_that_were_open_before_the_one_that_runs_are_not_newer_than_a_staged_one() {
    let site = Site::new("waves-older");
    let canaries = canaries(&site, &["c1"]).await;
    let later = node(&site, "p1", "", &[]).await;
    // Both wait for the first one. The second time, the images 1 and 2 are open, and 2 runs.
    for (version, slot, reboots) in [("2", Slot::B, 1), ("3", Slot::A, 2)] {
        later.stage(version).await;
        later
            .wait_status(|status| {
                status.starts_with("waiting: ")
                    && status.contains(&format!("has not proven {version}"))
            })
            .await;
        canaries[0].stage(version).await;
        runs_from(&later, slot, reboots).await;
        site.free().await;
    }
    assert_eq!(later.update_engine().calls("ResetStatus"), 0);
}

#[tokio::test]
async fn node_that_waits_for_a_wave_asks_nothing_and_pays_little_when_it_opens() {
    let cluster = Cluster::builder(1).start().await;
    let prefix = unique_prefix("waves-cost");
    let keys = Keys::new(&prefix, group("canary"));
    let on_it = |name: &str| {
        let keys = Keys::new(&prefix, group(name));
        let back_off = semaphore::etcd::BackOff {
            min: Duration::from_millis(20),
            max: Duration::from_secs(60),
        };
        Semaphore::new(options(cluster.endpoints()), keys, back_off)
    };
    let (canary, later) = (on_it("canary"), on_it(""));
    put(&cluster, &keys.member("c1"), "W").await;
    set(&later, &after(&["canary"])).await;
    later.set_max(2000, false).await.unwrap();
    LocalSet::new()
        .run_until(async {
            let said = Rc::new(RefCell::new(0));
            let wait = |number: usize| {
                let (semaphore, said) = (on_it(""), said.clone());
                let mut claim = claim(&format!("p{number}"));
                claim.new_image = true;
                claim.holder.to.digest = Some("X".into());
                claim.waves.retry = Duration::from_secs(3600);
                tokio::task::spawn_local(async move {
                    let note = |wait: semaphore::etcd::Wait| {
                        *said.borrow_mut() +=
                            usize::from(wait.waits_for.contains("has not proven"));
                    };
                    semaphore.acquire(&claim, note).await;
                })
            };
            const NODES: usize = 100;
            let tasks: Vec<_> = (0..NODES).map(wait).collect();
            eventually("all wait", async || *said.borrow(), |said| *said == NODES).await;
            // The watches are requests as well: once they stand, nothing more is asked.
            let quiet = async || {
                let before = cluster.requests().await;
                tokio::time::sleep(Duration::from_millis(500)).await;
                cluster.requests().await.since(&before).total()
            };
            eventually("nothing is asked", quiet, |asked| *asked == 0).await;
            let before = cluster.requests().await;
            canary
                .open_wave_by_hand("X", &Wave::default())
                .await
                .unwrap();
            for task in tasks {
                task.await.unwrap();
            }
            let cost = cluster.requests().await.since(&before).total();
            let each = cost / NODES as u64;
            assert!(each <= 14, "{each} requests a node");
        })
        .await;
}
