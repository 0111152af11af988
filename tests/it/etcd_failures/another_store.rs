//! More of an etcd that is not the one it was: what is found while nothing breaks the connection, by an agent that may not
//! pause, and what becomes of values from before a person accepted the store.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use pointsman_testbed::{
    disk::Slot,
    etcd::{Cluster, Version, unique_prefix},
    node::{AutoReboot, Node},
    process::Signal,
    proxy::{Mode, Proxy},
};
use semaphore::{
    etcd::{self, Accept, Agent, Claim, Group, Memory, Options, Semaphore, Wait},
    records::Phase,
    store::{Marks, Remembered},
};

use super::{may_not_pause, on_both, one, pointsman};
use crate::{
    agents::{agent, machine},
    support::{claim, eventually, found, holder, node, on, options, with},
    trials::{QUICK, judge, runs_from},
};

on_both!(
    return_to_the_old_cluster_does_not_stop_it,
    endpoint_of_another_cluster_stops_the_first_in_the_queue,
    agent_without_pause_permission_does_not_reboot_in_a_store_with_higher_revisions,
    quarantine_lost_in_a_restore_is_written_again_after_the_accept,
    accept_from_the_snapshot_counts_for_no_agent_that_never_saw_it,
    no_step_is_taken_before_the_journal_is_written,
    a_member_that_is_out_from_before_the_accept_is_named_as_such,
);

async fn says_stopped(node: &Node) {
    node.wait_status(|status| status.contains("etcd was restored or exchanged"))
        .await;
}

/// Waits until an agent has stopped the cluster; the id of that.
async fn stopped(semaphore: &Semaphore) -> String {
    let id = |group: &Group| Some(group.pause_all.as_ref()?.store.as_ref()?.id.clone());
    let read = async || semaphore.read().await.unwrap();
    let group = eventually("it is stopped", read, |group| id(group).is_some()).await;
    id(&group).unwrap()
}

/// A person looks, and accepts; who means another stop, or none, ends nothing.
async fn accept(semaphore: &Semaphore) {
    let id = stopped(semaphore).await;
    for other in [Some("0"), None] {
        let done = semaphore.accept(other, "bob", "looked").await.unwrap();
        assert!(matches!(done, Accept::NotThat(Some(_))), "{done:?}");
    }
    assert_eq!(stopped(semaphore).await, id);
    let done = semaphore.accept(Some(&id), "ann", "looked").await.unwrap();
    assert!(matches!(done, Accept::Done(_)), "{done:?}");
}

async fn endpoint_of_another_cluster_stops_the_first_in_the_queue(version: Version) {
    let (cluster, other) = (one(version).await, one(version).await);
    let prefix = unique_prefix("elsewhere");
    let semaphore = on(&cluster, &prefix);
    found(&semaphore).await;
    semaphore.lock(&holder("out", Phase::Manual)).await.unwrap();
    let proxy = Proxy::start(other.address(0)).await;
    proxy.set(Mode::Refuse).await;
    let node = machine("node-1").await;
    let endpoints = [cluster.endpoint(0), proxy.url()];
    agent(&node, &endpoints, &prefix, &[]).await;
    node.wait_status(|status| status == "idle").await;
    node.update_engine().ready("2").await;
    // One that does not answer does not count.
    node.wait_status(|status| status.contains("taken by out"))
        .await;
    proxy.set(Mode::Pass).await;
    node.wait_status(|status| status.contains("different clusters"))
        .await;
    stopped(&semaphore).await;
    assert!(node.logind().asked().is_empty());
}

async fn agent_without_pause_permission_does_not_reboot_in_a_store_with_higher_revisions(
    version: Version,
) {
    let cluster = Cluster::builder(1)
        .version(version)
        .password("s3cret")
        .start()
        .await;
    let prefix = unique_prefix("overtaken");
    let root = Options {
        user: Some(("root".into(), "s3cret".into())),
        ..options(cluster.endpoints())
    };
    found(&with(root.clone(), &prefix)).await;
    let mut client = cluster.client().await;
    // A store has a history, by which its raft log differs from that of one restored from a snapshot of it.
    for _ in 0..100 {
        client.put(format!("{prefix}/x"), "", None).await.unwrap();
    }
    may_not_pause(&cluster, &prefix).await;
    let snapshot = cluster.dir().join("before");
    cluster.snapshot(&snapshot).await;
    let semaphore = with(root.clone(), &prefix);
    semaphore.lock(&holder("out", Phase::Manual)).await.unwrap();
    let node = machine("node-1").await;
    node.write("password", "s3cret");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(node.path("password"), mode).unwrap();
    let env = [
        ("POINTSMAN_ETCD_USERNAME", "agent"),
        ("POINTSMAN_ETCD_PASSWORD_FILE", "/password"),
        ("POINTSMAN_ETCD_MEMBER", "none"),
    ];
    agent(&node, &cluster.endpoints(), &prefix, &env).await;
    node.wait_status(|status| status == "idle").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.contains("taken by out"))
        .await;
    let before = cluster.revision().await;
    node.child().signal(Signal::SIGSTOP);
    cluster.restore_same(&snapshot).await;
    let mut client = cluster.client().await;
    while cluster.revision().await < before + 10 {
        client.put(format!("{prefix}/x"), "", None).await.unwrap();
    }
    node.child().signal(Signal::SIGCONT);
    // It says so each time it tries, with what it is stopped for.
    let tried = async || {
        let log = node.log();
        let says = |line: &&str| {
            line.contains("etcd was restored or exchanged")
                && line.contains("(only this node is stopped: ")
        };
        log.lines().filter(says).count()
    };
    eventually("it is stopped alone, again and again", tried, |n| *n > 2).await;
    says_stopped(&node).await;
    let group = with(root, &prefix).read().await.unwrap();
    assert!(
        group.pause_all.is_none() && group.holders.is_empty() && group.queue.is_empty(),
        "{group:?}"
    );
    assert!(node.logind().asked().is_empty());
}

async fn quarantine_lost_in_a_restore_is_written_again_after_the_accept(version: Version) {
    let cluster = one(version).await;
    let prefix = unique_prefix("told");
    found(&on(&cluster, &prefix)).await;
    cluster.write_beyond(100).await;
    let snapshot = cluster.dir().join("before");
    cluster.snapshot(&snapshot).await;
    let node = machine("node-1").await;
    node.add_disk("1");
    judge(&node, "health.d", &["2"]);
    node.auto_reboot(AutoReboot::default());
    agent(&node, &cluster.endpoints(), &prefix, &QUICK).await;
    node.wait_status(|status| status == "idle").await;
    node.stage("2").await;
    runs_from(&node, Slot::A, 2).await;
    let quarantined = async |cluster: &Cluster| {
        let group = on(cluster, &prefix).read().await.unwrap();
        group.quarantine.len()
    };
    eventually(
        "it is quarantined",
        async || quarantined(&cluster).await,
        |n| *n == 1,
    )
    .await;
    node.wait_status(|status| status == "idle").await;
    cluster.restore_same(&snapshot).await;
    node.stage("3").await;
    says_stopped(&node).await;
    assert_eq!(quarantined(&cluster).await, 0);
    accept(&on(&cluster, &prefix)).await;
    eventually(
        "it is told again",
        async || quarantined(&cluster).await,
        |n| *n == 1,
    )
    .await;
}

async fn accept_from_the_snapshot_counts_for_no_agent_that_never_saw_it(version: Version) {
    let cluster = one(version).await;
    let prefix = unique_prefix("unseen");
    let semaphore = on(&cluster, &prefix);
    found(&semaphore).await;
    cluster.write_beyond(100).await;
    let node = machine("node-1").await;
    agent(&node, &cluster.endpoints(), &prefix, &[]).await;
    node.wait_status(|status| status == "idle").await;
    let read = async || semaphore.read().await.unwrap();
    eventually("its record", read, |group| group.nodes.len() == 1).await;
    node.stop().await;
    let done = semaphore.accept(None, "ann", "a new cluster").await;
    assert_eq!(done.unwrap(), Accept::Done(None));
    let snapshot = cluster.dir().join("accepted");
    cluster.snapshot(&snapshot).await;
    cluster.restore_same(&snapshot).await;
    node.update_engine().ready("2").await;
    node.start_again();
    says_stopped(&node).await;
    accept(&on(&cluster, &prefix)).await;
    node.logind().rebooted().await;
    let log = node.log();
    let accepted = log.matches("a person has accepted this store").count();
    assert_eq!(accepted, 1, "only the last accept counts: {log}");
}

async fn no_step_is_taken_before_the_journal_is_written(version: Version) {
    let cluster = one(version).await;
    let prefix = unique_prefix("journal");
    let operator = on(&cluster, &prefix);
    found(&operator).await;
    operator.lock(&holder("out", Phase::Manual)).await.unwrap();
    // Something of the store stands in the journal already, and that can be written only now and then.
    let header = cluster.client().await.get("x", None).await.unwrap();
    let marks = Marks {
        cluster: header.header().unwrap().cluster_id(),
        revision: 1,
        difference: None,
    };
    let memory = Arc::new(Memory::new(Remembered {
        marks: Some(marks),
        ..Remembered::default()
    }));
    let full = Arc::new(AtomicBool::new(true));
    let writes = full.clone();
    memory.serve(etcd::Agent {
        keys: operator.keys().clone(),
        node: crate::support::node("waits"),
        keep: Box::new(move || {
            let full = writes.load(Ordering::SeqCst);
            Box::pin(async move {
                match full {
                    true => Err("the disk is full".into()),
                    false => Ok(()),
                }
            })
        }),
        accepted: Box::new(|| {}),
    });
    let waits = on(&cluster, &prefix).with_memory(memory);
    let claim = Claim {
        node: Some(crate::support::node("waits")),
        ..claim("waits")
    };
    let said = RefCell::new(Vec::new());
    let note = |wait: Wait| said.borrow_mut().push(wait.waits_for);
    let refused = async || {
        let before = said.borrow().len();
        let times = async || {
            let said = said.borrow();
            said[before..]
                .iter()
                .filter(|why| why.contains("the disk is full"))
                .count()
        };
        eventually("it is refused twice", times, |n| *n > 1).await;
    };
    let script = async {
        refused().await;
        assert!(operator.read().await.unwrap().queue.is_empty(), "a ticket");
        full.store(false, Ordering::SeqCst);
        let waiting = async || {
            said.borrow()
                .last()
                .is_some_and(|why| why.contains("taken by out"))
        };
        eventually("it waits as the first", waiting, |waits| *waits).await;
        full.store(true, Ordering::SeqCst);
        refused().await;
        operator.unlock("out", false).await.unwrap();
        refused().await;
        assert!(operator.read().await.unwrap().holders.is_empty(), "a take");
        full.store(false, Ordering::SeqCst);
    };
    tokio::join!(waits.acquire(&claim, note), script);
    assert_eq!(operator.read().await.unwrap().holders[0].id, "waits");
}

async fn a_member_that_is_out_from_before_the_accept_is_named_as_such(version: Version) {
    let cluster = one(version).await;
    let prefix = unique_prefix("member");
    let semaphore = on(&cluster, &prefix);
    semaphore.set_max(2, false).await.unwrap();
    let key = semaphore.keys().member_out();
    let out = r#"{"id":"out;1","hostname":"op1","group":"","nonce":"n"}"#;
    let mut client = cluster.client().await;
    client.put(key.clone(), out, None).await.unwrap();
    let says = async || {
        let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let mut claim = claim("waits");
        claim.member = true;
        let waits = on(&cluster, &prefix);
        tokio::select! {
            () = waits.acquire(&claim, |wait| said.send(wait.waits_for).unwrap()) => panic!("it went"),
            why = heard.recv() => why.unwrap(),
        }
    };
    let status = async || pointsman(&cluster.endpoints(), &prefix, &["status"]).await;
    let marked = "older than `store accept`; if it is in service: pointsman unlock 'out;1'";
    let row = "Out of service with a member of etcd: op1 (out;1)\n";
    let below =
        "  older than `store accept`. If this node is in service: pointsman unlock 'out;1'\n";
    let why = says().await;
    assert!(
        why.contains("so does op1 (out;1), which is out of service") && !why.contains(marked),
        "{why}"
    );
    let shown = status().await.stdout;
    assert!(shown.contains(row) && !shown.contains(below), "{shown}");
    semaphore.accept(None, "ann", "looked").await.unwrap();
    let why = says().await;
    assert!(why.ends_with(&format!("({marked})")), "{why}");
    let shown = status().await.stdout;
    assert!(shown.contains(&format!("{row}{below}")), "{shown}");
    // One that was put since is as good as any.
    client.put(key, out, None).await.unwrap();
    assert!(!says().await.contains(marked));
    assert!(!status().await.stdout.contains(below));
}

async fn return_to_the_old_cluster_does_not_stop_it(version: Version) {
    let (own, other) = (one(version).await, one(version).await);
    let prefix = unique_prefix("by-mistake");
    let memory = Arc::new(Memory::default());
    memory.serve(Agent {
        keys: on(&own, &prefix).keys().clone(),
        node: node("n"),
        keep: Box::new(|| Box::pin(async { Ok(()) })),
        accepted: Box::new(|| panic!("nobody has accepted anything")),
    });
    let at = |cluster: &Cluster| on(cluster, &prefix).with_memory(memory.clone());
    for cluster in [&own, &other] {
        found(&on(cluster, &prefix)).await;
    }
    at(&own).publish(&node("n")).await.unwrap();
    let elsewhere = at(&other);
    for _ in 0..2 {
        assert!(elsewhere.publish(&node("n")).await.is_err());
    }
    assert!(
        on(&other, &prefix)
            .read()
            .await
            .unwrap()
            .pause_all
            .is_some()
    );
    // The list is as it was: nobody has to accept the store that was never away.
    at(&own).publish(&node("n")).await.unwrap();
    assert_eq!(memory.sign(), None);
    let group = on(&own, &prefix).read().await.unwrap();
    assert!(group.pause_all.is_none());
    // Once more elsewhere, it is still told apart.
    assert!(at(&other).publish(&node("n")).await.is_err());
}
