//! Waves: an image goes to later groups once a group has proven it.

use std::time::Duration;

use host::node::Group;
use pointsman_testbed::disk::Slot;
use semaphore::waves::Wave;

use super::{members::runs, *};
use crate::{
    agents::bin,
    support::options,
    trials::{self, QUICK, runs_from},
};

/// A wave is seen at once, and a missed one soon.
const SOON: [(&str, &str); 2] = [
    ("POINTSMAN_WAVE_SPREAD", "0s"),
    ("POINTSMAN_WAVE_RETRY", "12h"),
];

fn group(name: &str) -> Group {
    Group::new(name).unwrap()
}

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

async fn waves(site: &Site, says: &str) {
    let shown = site.semaphore.keys();
    let args = [
        "waves",
        "--endpoint",
        &shared_cluster().endpoints().join(","),
        "--key-prefix",
        shown.prefix(),
    ];
    let output = pointsman_testbed::process::run(bin(), args, &[], Duration::from_secs(20)).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output.stdout.contains(says),
        "{says:?} in {}",
        output.stdout
    );
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
    waves(&site, "proven by 1 of 2\n  c2 (").await;
    waves(&site, "): it has proven 1, since ").await;
    canaries[1].stage("2").await;
    runs_from(&later, Slot::B, 1).await;
    waves(&site, "open to later groups since ").await;
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
    waves(&site, "open to later groups in ").await;
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
async fn wave_opens_only_where_every_member_has_proven_the_image() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("waves-opens");
    let canary = of_group(&prefix, "canary");
    let member = |id: &str| canary.keys().member(id);
    let opens = async |digest: &str| canary.open_wave(canary.keys(), digest, None).await.unwrap();
    // No members, and no policy.
    assert!(!opens("X").await);
    put(cluster, &member("c1"), "X").await;
    assert!(!opens("X").await, "the group opens no waves");
    set(&canary, &wave_soak(Duration::ZERO)).await;
    assert!(
        get(cluster, &canary.keys().wave("X")).await.is_some(),
        "`policy set` opens what is due"
    );
    // All are new, and nothing is proven.
    for id in ["c1", "c2"] {
        put(cluster, &member(id), "").await;
    }
    assert!(!opens("").await);
    assert!(!canary.open_due_wave(canary.keys()).await.unwrap());
    // One went back by hand, and is on its way.
    put(cluster, &member("c1"), "").await;
    put(cluster, &member("c2"), "Y").await;
    assert!(!opens("Y").await);
    put(cluster, &member("c1"), "W").await;
    assert!(!opens("Y").await);
    put(cluster, &member("c1"), "Y").await;
    assert!(opens("Y").await);
    assert!(!opens("Y").await, "once");
    // A node that is gone keeps the wave shut until it is forgotten.
    put(cluster, &member("c3"), "Y").await;
    for id in ["c1", "c2"] {
        put(cluster, &member(id), "Z").await;
    }
    assert!(!opens("Z").await);
    canary.forget("c3", false, false).await.unwrap();
    assert!(
        get(cluster, &canary.keys().wave("Z")).await.is_some(),
        "`forget` opens what is due"
    );
    // What was said before a person accepted the store may be long past.
    put(cluster, &canary.keys().store(), r#"{"token":"t"}"#).await;
    for id in ["c1", "c2"] {
        put(cluster, &member(id), "V").await;
    }
    put(cluster, &canary.keys().store(), r#"{"token":"u"}"#).await;
    assert!(!opens("V").await);
    for id in ["c1", "c2"] {
        put(cluster, &member(id), "V").await;
    }
    assert!(opens("V").await);
}

#[tokio::test]
async fn wave_is_opened_once_by_many_at_once_and_soaks_as_the_policy_of_that_moment_says() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let prefix = unique_prefix("waves-races");
            let looker = of_group(&prefix, "canary");
            set(&looker, &wave_soak(Duration::from_secs(1000))).await;
            for round in 0..5 {
                let digest = format!("X{round}");
                for id in ["c1", "c2", "c3"] {
                    put(cluster, &looker.keys().member(id), &digest).await;
                }
                let open = |_| {
                    let (prefix, digest) = (prefix.clone(), digest.clone());
                    tokio::task::spawn_local(async move {
                        let canary = of_group(&prefix, "canary");
                        canary
                            .open_wave(canary.keys(), &digest, None)
                            .await
                            .unwrap()
                    })
                };
                let tasks: Vec<_> = (0..8).map(open).collect();
                // `policy set` opens what is due as well.
                set(&looker, &wave_soak(Duration::from_secs(2000 + round))).await;
                let mut opened = 0;
                for task in tasks {
                    opened += u32::from(task.await.unwrap());
                }
                assert!(opened <= 1, "round {round}: {opened}");
                let mut client = cluster.client().await;
                let wave = client.get(looker.keys().wave(&digest), None).await.unwrap();
                assert_eq!(wave.kvs()[0].version(), 1, "round {round}");
                let soak = client
                    .get(looker.keys().wave_soak(&digest), None)
                    .await
                    .unwrap();
                let lease = soak.kvs()[0].lease();
                let left = looker.time_left(lease).await.unwrap().unwrap();
                assert!(left > Duration::from_secs(900), "round {round}: {left:?}");
            }
        })
        .await;
}

#[tokio::test]
async fn the_last_sixteen_waves_are_kept() {
    let prefix = unique_prefix("waves-kept");
    let canary = of_group(&prefix, "canary");
    for number in 0..20 {
        let digest = format!("X{number:02}");
        canary
            .open_wave_by_hand(&digest, &Wave::default())
            .await
            .unwrap();
    }
    let rollout = canary.rollout().await.unwrap();
    let waves: Vec<&String> = rollout.groups[&group("canary")].waves.keys().collect();
    assert_eq!((waves.len(), waves[0].as_str()), (16, "X04"));
}

#[tokio::test]
async fn groups_that_cannot_come_first_are_refused() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("waves-refused");
    let [a, b, c] = ["a", "b", "c"].map(|name| of_group(&prefix, name));
    let refused = async |semaphore: &Semaphore, names: &[&str], says: &str| {
        let set = semaphore.set_policy(&after(names), "ann@desk", false).await;
        let error = set.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    refused(&a, &["b"], "the group \"b\" has no members").await;
    for semaphore in [&a, &b, &c] {
        put(cluster, &semaphore.keys().member("x"), "").await;
    }
    set(&b, &after(&["a"])).await;
    set(&c, &after(&["b"])).await;
    refused(&a, &["a"], "the group \"a\" would come after itself").await;
    refused(&a, &["c"], "\"a\", \"b\", \"c\" lead to it").await;
    // A group that proves images for others has a time between waves from then on.
    let policy = get(cluster, &a.keys().policy()).await.unwrap();
    assert!(
        policy.contains(r#""wave_soak":"0s""#) && policy.contains("ann@desk"),
        "{policy}"
    );
    // An agent of a release before says nothing of what it has proven.
    put(
        cluster,
        &a.keys().node("old"),
        r#"{"id":"old","hostname":"old-1","group":"b"}"#,
    )
    .await;
    refused(
        &c,
        &["b"],
        "older agents, which know nothing of waves, run on 1 node of these groups: old-1. Waves do not wait for these nodes, \
         and these nodes wait for no wave; --force allows this",
    )
    .await;
    let force = PolicyChange {
        force: true,
        ..after(&["b", "a"])
    };
    set(&c, &force).await;
    put(cluster, &b.keys().policy(), r#"{"moon":1}"#).await;
    refused(&c, &["b"], "the policy of the group \"b\" cannot be used").await;
    let many: Vec<String> = (0..17).map(|number| format!("g{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    refused(&c, &many, "after names 17 groups, expected at most 16").await;
    refused(&c, &["a", "a"], "after names the group \"a\" twice").await;
}

#[tokio::test]
async fn circle_that_two_people_make_at_once_is_refused_to_one() {
    LocalSet::new()
        .run_until(async {
            for round in 0..10 {
                let cluster = shared_cluster();
                let prefix = unique_prefix("waves-circle");
                let [a, b] = ["a", "b"].map(|name| of_group(&prefix, name));
                for semaphore in [&a, &b] {
                    put(cluster, &semaphore.keys().member("x"), "").await;
                }
                let (to_b, to_a) = (after(&["b"]), after(&["a"]));
                let (one, other) = tokio::join!(
                    a.set_policy(&to_b, "ann@desk", false),
                    b.set_policy(&to_a, "bob@desk", false)
                );
                assert!(
                    one.is_ok() != other.is_ok(),
                    "round {round}: {one:?} {other:?}"
                );
            }
        })
        .await;
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
    later.set_max(100, false).await.unwrap();
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
            const NODES: usize = 20;
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
