//! Waves of real fleets: many nodes, machines that are installed again, nodes that people update by themselves.

use pointsman_testbed::node::Death;
use semaphore::etcd::Forgotten;

use super::{
    super::members::{member, member_is},
    *,
};

/// Members of the group that have all proven this.
async fn many(keys: &Keys, number: usize, proven: &str) {
    let mut client = shared_cluster().client().await;
    let ids: Vec<usize> = (0..number).collect();
    for some in ids.chunks(100) {
        let puts = some.iter().map(|id| {
            let key = keys.member(&format!("m{id:05}"));
            etcd_client::TxnOp::put(key, proven, None)
        });
        let txn = etcd_client::Txn::new().and_then(puts.collect::<Vec<_>>());
        client.txn(txn).await.unwrap();
    }
}

#[tokio::test]
async fn policies_hold_in_a_group_of_five_thousand() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("waves-many");
    let (canary, later) = (of_group(&prefix, "canary"), of_group(&prefix, ""));
    many(canary.keys(), 5000, "X").await;
    put(cluster, &canary.keys().member("last"), "W").await;
    set(&canary, &percent(20)).await;
    assert_eq!(document(&canary).await.max, 1000);
    set(&later, &after(&["canary"])).await;
    assert!(!canary.open_wave(canary.keys(), "X", None).await.unwrap());
    waves(&prefix, "proven by 5000 of 5001").await;
    // The take counts them, and the last one's release compares them all.
    let mut claim = claim("last");
    claim.node.as_mut().unwrap().group = "canary".into();
    canary.acquire(&claim, |_| {}).await;
    let proven = NodeRecord {
        member: Some(Member {
            proven: Some("X".into()),
        }),
        ..claim.node.clone().unwrap()
    };
    let released = canary.release("last", &claim.holder.nonce, None, Some(&proven));
    assert_eq!(released.await.unwrap(), Released::Released);
    assert!(get(cluster, &canary.keys().wave("X")).await.is_some());
    canary.forget("last", false, false).await.unwrap();
    assert_eq!(document(&canary).await.max, 1000);
    let dry = canary.forget("m00000", false, true).await.unwrap();
    assert!(
        matches!(&dry, Forgotten::Done(state) if state.member.as_deref() == Some("X")),
        "{dry:?}"
    );
}

#[tokio::test]
async fn groups_that_come_later_wait_for_the_rest_of_the_time_as_well() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let prefix = unique_prefix("waves-third");
            let canary = of_group(&prefix, "canary");
            set(&canary, &wave_soak(Duration::from_secs(1000))).await;
            put(cluster, &canary.keys().member("c1"), "X").await;
            assert!(canary.open_wave(canary.keys(), "X", None).await.unwrap());
            // What is set now counts for the next wave.
            set(&canary, &wave_soak(Duration::ZERO)).await;
            let third = of_group(&prefix, "third");
            set(&third, &after(&["canary"])).await;
            third.set_max(1, false).await.unwrap();
            let said = Rc::new(RefCell::new(String::new()));
            let says_so = said.clone();
            let mut claim = claim("t1");
            claim.new_image = true;
            claim.holder.to.digest = Some("X".into());
            let goes = tokio::task::spawn_local(async move {
                let note = |wait: semaphore::etcd::Wait| *says_so.borrow_mut() = wait.waits_for;
                third.acquire(&claim, note).await;
            });
            says(&said, "the time between the groups has not passed yet").await;
            assert!(!goes.is_finished());
            canary
                .open_wave_by_hand("X", &Wave::default())
                .await
                .unwrap();
            tokio::time::timeout(Duration::from_secs(30), goes)
                .await
                .unwrap()
                .unwrap();
        })
        .await;
}

#[tokio::test]
async fn nodes_that_waited_for_a_wave_join_the_queue_one_after_another() {
    const SPREAD: Duration = Duration::from_secs(3);
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let prefix = unique_prefix("waves-spread");
            let (canary, later) = (of_group(&prefix, "canary"), of_group(&prefix, ""));
            put(cluster, &canary.keys().member("c1"), "W").await;
            set(&later, &after(&["canary"])).await;
            later.set_max(100, false).await.unwrap();
            let said = Rc::new(RefCell::new(0));
            let tasks: Vec<_> = (0..20)
                .map(|number| {
                    let (semaphore, said) = (of_group(&prefix, ""), said.clone());
                    let mut claim = claim(&format!("p{number}"));
                    claim.new_image = true;
                    claim.holder.to.digest = Some("X".into());
                    claim.waves.retry = Duration::from_secs(3600);
                    claim.waves.spread = SPREAD;
                    tokio::task::spawn_local(async move {
                        let note = |wait: semaphore::etcd::Wait| {
                            let waits = wait.waits_for.contains("has not proven");
                            *said.borrow_mut() += usize::from(waits);
                        };
                        semaphore.acquire(&claim, note).await;
                        std::time::Instant::now()
                    })
                })
                .collect();
            eventually("all wait", async || *said.borrow(), |said| *said == 20).await;
            let opened = std::time::Instant::now();
            canary
                .open_wave_by_hand("X", &Wave::default())
                .await
                .unwrap();
            let mut went = Vec::new();
            for task in tasks {
                went.push(task.await.unwrap().duration_since(opened));
            }
            went.sort();
            // Of twenty that are drawn from three seconds, hardly ever all are in one of them.
            assert!(went[19] - went[0] > SPREAD / 3, "{went:?}");
            // They take the lock one after another as well, on a machine that others use.
            assert!(went[19] < SPREAD * 3, "{went:?}");
        })
        .await;
}

#[tokio::test]
async fn machine_that_was_installed_again_is_named_and_forgotten_under_its_former_id() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("waves-again");
    let (canary, later) = (of_group(&prefix, "canary"), of_group(&prefix, ""));
    let keys = canary.keys();
    let (former, new) = ("1".repeat(32), "2".repeat(32));
    for (id, since, proven) in [
        (&former, "2026-01-01T00:00:00Z", "W"),
        (&new, "2026-01-02T00:00:00Z", "X"),
    ] {
        put(cluster, &keys.member(id), proven).await;
        let record = format!(
            r#"{{"id":"{id}","hostname":"c1","group":"canary","state":"idle","since":"{since}"}}"#
        );
        put(cluster, &keys.node(id), &record).await;
    }
    set(&later, &after(&["canary"])).await;
    waves(
        &prefix,
        &format!("the node {new} has its host name, and is newer"),
    )
    .await;
    let shown = waves(&prefix, "if it is gone for good: ").await;
    let command = shown
        .lines()
        .find_map(|line| line.trim().strip_prefix("if it is gone for good: "));
    // As a person types it who has copied it, but for the program's path.
    let command = command
        .unwrap()
        .replace("pointsman ", &format!("{} ", bin().display()));
    let output = std::process::Command::new("sh")
        .args(["-c", &command])
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    assert_eq!(get(cluster, &keys.member(&former)).await, None);
    assert!(
        get(cluster, &keys.wave("X")).await.is_some(),
        "it opens the wave"
    );
}

#[tokio::test]
async fn living_node_that_was_forgotten_registers_again_at_its_next_start() {
    let site = Site::new("waves-forgotten");
    let node = node(&site, "c1", "", &[]).await;
    let old = runs(&site, &node, "1").await;
    member_is(&site, &node, Some(&old)).await;
    let done = site.command(&node, &["forget", "c1"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(member(&site, &node).await, None);
    node.kill().await;
    node.start_again();
    member_is(&site, &node, Some(&old)).await;
    // Forgotten while it waits for the lock: it is a member again by its take.
    site.lock().await;
    node.stage("2").await;
    node.wait_status(|status| status.starts_with("queued"))
        .await;
    let done = site.command(&node, &["forget", "c1"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    site.unlock("operator").await;
    runs_from(&node, Slot::B, 1).await;
    site.free().await;
    let new = runs(&site, &node, "2").await;
    member_is(&site, &node, Some(&new)).await;
}

#[tokio::test]
async fn image_that_came_without_the_agent_is_told_once_it_is_proven() {
    let site = Site::new("waves-by-hand");
    let node = node(&site, "c1", "", &[]).await;
    // Somebody updates it by hand, and reboots it without asking.
    site.lock().await;
    node.stage("2").await;
    node.wait_status(|status| status.starts_with("queued"))
        .await;
    node.kill().await;
    let words = ["slots", "prioritize", "B"];
    let done = site.command(&node, &words).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    node.reboot(Death::Kill).await;
    assert_eq!(node.booted(), Slot::B);
    let new = runs(&site, &node, "2").await;
    member_is(&site, &node, Some(&new)).await;
    // And once more, while no agent runs at all: update_engine has marked the slot good.
    node.kill().await;
    node.stage("3").await;
    node.go_down(Death::Kill).await;
    node.come_up().await;
    assert_eq!(node.booted(), Slot::A);
    let done = site.command(&node, &["slots", "mark-good"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    node.start_again();
    let newest = runs(&site, &node, "3").await;
    assert_ne!(newest, new);
    member_is(&site, &node, Some(&newest)).await;
}

#[tokio::test]
async fn nodes_without_slots_are_named_where_waves_are_to_open() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("waves-slots");
    let (canary, later) = (of_group(&prefix, "canary"), of_group(&prefix, ""));
    for (semaphore, id, name) in [(&canary, "c", "canary"), (&later, "p", "")] {
        put(cluster, &semaphore.keys().member(id), "").await;
        let record = format!(
            r#"{{"id":"{id}","hostname":"{id}1","group":"{name}","version":"12","state":"idle"}}"#
        );
        put(cluster, &semaphore.keys().node(id), &record).await;
    }
    set(&later, &after(&["canary"])).await;
    let shown = waves(
        &prefix,
        "warning: 1 of its nodes has no slots: it waits for no wave",
    )
    .await;
    let says = "it comes after the group canary, where 1 node has no slots: no image is ever proven on it, and no wave opens";
    assert!(
        shown.contains(says) || shown.contains(&says.replace("the group ", "")),
        "{shown}"
    );
    let endpoints = shared_cluster().endpoints().join(",");
    let args = [
        "waves",
        "open",
        "12",
        "--group",
        "canary",
        "--reason",
        "x",
        "--endpoint",
        &endpoints,
    ];
    let mut args = [&args[..], &["--key-prefix", &prefix]].concat();
    let output =
        pointsman_testbed::process::run(bin(), args.clone(), &[], Duration::from_secs(20)).await;
    assert_eq!(output.code, Some(6), "{output:?}");
    assert!(
        output
            .stderr
            .contains("the nodes that run 12 have no slots"),
        "{output:?}"
    );
    // An image may be opened before anybody has it; but a digest is easily mistaken.
    let digest = format!("sha256:{}", "ab".repeat(32));
    args[2] = &digest;
    let output = pointsman_testbed::process::run(bin(), args, &[], Duration::from_secs(20)).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let warns = format!("warning: no node runs {digest} or waits for it yet");
    assert!(output.stderr.contains(&warns), "{output:?}");
}
