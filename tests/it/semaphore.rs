//! The semaphore on a real three-member etcd.

use std::{cell::RefCell, rc::Rc, time::Duration};

use pointsman::semaphore::{
    document::Document,
    etcd::{Committed, Error, Left, Locked, Owner, Released, Semaphore, Unlocked},
    records::{Pause, Phase, Quarantine},
};
use pointsman_testbed::{
    etcd::{Cluster, shared_cluster, unique_prefix},
    proxy::Proxy,
};
use tokio::time::timeout;

use crate::support::{claim, eventually, holder, on, semaphore, version};

async fn put(cluster: &Cluster, key: &str, value: &str) {
    cluster.client().await.put(key, value, None).await.unwrap();
}

async fn get(cluster: &Cluster, key: &str) -> Option<String> {
    let found = cluster.client().await.get(key, None).await.unwrap();
    found
        .kvs()
        .first()
        .map(|kv| String::from_utf8(kv.value().to_vec()).unwrap())
}

async fn holders(semaphore: &Semaphore) -> Vec<String> {
    semaphore
        .read()
        .await
        .unwrap()
        .holders
        .into_iter()
        .map(|h| h.id)
        .collect()
}

fn pause() -> Pause {
    serde_json::from_str(r#"{"by":"ann@desk","reason":"maintenance"}"#).unwrap()
}

/// Takes, within the test's patience.
async fn acquire(semaphore: &Semaphore, claim: &pointsman::semaphore::etcd::Claim) {
    timeout(Duration::from_secs(20), semaphore.acquire(claim, |_| {}))
        .await
        .expect("taken in time");
}

/// Starts waiting in the line; what it waits for is collected. The place in the line is taken when this returns.
async fn wait_in_line(
    cluster: &'static Cluster,
    prefix: &str,
    id: &str,
) -> (tokio::task::JoinHandle<()>, Rc<RefCell<Vec<String>>>) {
    let notes = Rc::new(RefCell::new(Vec::new()));
    let (s, c, n) = (on(cluster, prefix), claim(id), notes.clone());
    let task = tokio::task::spawn_local(async move {
        s.acquire(&c, |note| n.borrow_mut().push(note.to_owned()))
            .await
    });
    let looker = on(cluster, prefix);
    eventually(
        "its ticket",
        async || looker.read().await.unwrap().queue,
        |q| q.iter().any(|t| t.id == id),
    )
    .await;
    eventually(
        "what it waits for",
        async || notes.borrow().len(),
        |n| *n > 0,
    )
    .await;
    (task, notes)
}

macro_rules! local {
    ($body:block) => {
        tokio::task::LocalSet::new().run_until(async move $body).await
    };
}

#[tokio::test]
async fn a_claim_goes_from_ticket_to_release() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("whole");
    let s = on(cluster, &prefix);
    let c = claim("a");
    acquire(&s, &c).await;
    assert_eq!(
        get(cluster, &format!("{prefix}/semaphore")).await.unwrap(),
        r#"{"semaphore":0,"max":1,"holders":["a"]}"#
    );
    let group = s.read().await.unwrap();
    assert!(group.queue.is_empty() && !group.holders[0].overdue && group.holders[0].listed);
    assert_eq!(
        group.holders[0].entry.as_ref().unwrap().phase,
        Phase::Draining
    );
    assert_eq!(group.nodes[0].state, "draining");
    assert_eq!(s.owner("a", &c.holder.nonce).await.unwrap(), Owner::Claim);
    assert_eq!(s.commit(&c).await.unwrap(), Committed::Yes);
    assert_eq!(
        s.commit(&c).await.unwrap(),
        Committed::Yes,
        "a commit may be repeated"
    );
    assert_eq!(
        s.read().await.unwrap().holders[0]
            .entry
            .as_ref()
            .unwrap()
            .phase,
        Phase::Rebooting
    );
    let owed: Quarantine = serde_json::from_str(r#"{"version":"2","reason":"bad"}"#).unwrap();
    let release = async || {
        s.release("a", &c.holder.nonce, Some(&owed), c.node.as_ref())
            .await
            .unwrap()
    };
    assert_eq!(release().await, Released::Released);
    assert_eq!(
        release().await,
        Released::NotHeld,
        "a release may be repeated"
    );
    let group = s.read().await.unwrap();
    assert!(group.holders.is_empty() && group.quarantine[0].reason == "bad");
    assert_eq!(
        get(cluster, &format!("{prefix}/semaphore")).await.unwrap(),
        r#"{"semaphore":1,"max":1,"holders":[]}"#
    );
    assert_eq!(get(cluster, &format!("{prefix}/deadlines/a")).await, None);
}

#[tokio::test]
async fn the_line_keeps_its_order_and_says_what_it_waits_for() {
    local!({
        let cluster = shared_cluster();
        let prefix = unique_prefix("order");
        let s = on(cluster, &prefix);
        let first = claim("first");
        acquire(&s, &first).await;
        let mut waiting = Vec::new();
        // Neither the ids' order nor the reverse.
        for id in ["m", "b", "x", "a"] {
            waiting.push((id, wait_in_line(cluster, &prefix, id).await));
        }
        assert!(
            waiting[0]
                .1
                .1
                .borrow()
                .last()
                .unwrap()
                .contains("held by first")
        );
        assert!(
            waiting[1]
                .1
                .1
                .borrow()
                .last()
                .unwrap()
                .contains("behind host-m")
        );
        let mut holder = ("first".to_owned(), first.holder.nonce.clone());
        for (id, (task, _)) in waiting {
            s.release(&holder.0, &holder.1, None, None).await.unwrap();
            timeout(Duration::from_secs(20), task)
                .await
                .expect(id)
                .unwrap();
            assert_eq!(holders(&s).await, [id]);
            let entry = s.read().await.unwrap().holders[0].entry.clone().unwrap();
            holder = (entry.id, entry.nonce);
        }
    });
}

#[tokio::test]
async fn a_gate_closes_the_line_and_opens_it_again() {
    local!({
        let cluster = shared_cluster();
        for all in [false, true] {
            let prefix = unique_prefix("gate");
            let s = on(cluster, &prefix);
            s.pause(all, &pause(), None).await.unwrap();
            let (task, notes) = wait_in_line(cluster, &prefix, "n").await;
            assert!(notes.borrow().last().unwrap().contains("maintenance"));
            assert!(s.resume(all).await.unwrap().is_some());
            timeout(Duration::from_secs(20), task)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(holders(&s).await, ["n"]);
        }
    });
}

#[tokio::test]
async fn a_pause_with_an_end_ends() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("pause-for");
    let s = on(cluster, &prefix);
    s.pause(false, &pause(), Some(1)).await.unwrap();
    assert!(matches!(
        s.lock(&holder("n", Phase::Manual)).await.unwrap(),
        Locked::Paused(false, _)
    ));
    acquire(&s, &claim("n")).await;
    assert_eq!(s.read().await.unwrap().pause, None);
}

#[tokio::test]
async fn a_quarantined_version_leaves_the_line_until_it_is_cleared() {
    local!({
        let cluster = shared_cluster();
        let prefix = unique_prefix("quarantine");
        let s = on(cluster, &prefix);
        acquire(&s, &claim("holder")).await;
        let (task, notes) = wait_in_line(cluster, &prefix, "n").await;
        let key = format!("{prefix}/quarantine/version:2");
        put(
            cluster,
            &key,
            r#"{"version":"2","reason":"does not boot","hostname":"h1"}"#,
        )
        .await;
        assert!(matches!(
            s.unlock("holder", true).await.unwrap(),
            Unlocked::Unlocked(_)
        ));
        eventually(
            "the ticket gone",
            async || s.read().await.unwrap().queue.len(),
            |n| *n == 0,
        )
        .await;
        eventually(
            "why",
            async || notes.borrow().last().unwrap().clone(),
            |n| n.contains("does not boot"),
        )
        .await;
        assert!(holders(&s).await.is_empty());
        cluster.client().await.delete(key, None).await.unwrap();
        timeout(Duration::from_secs(20), task)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(holders(&s).await, ["n"]);
    });
}

#[tokio::test]
async fn a_quarantine_does_not_keep_a_node_from_rebooting_into_what_it_runs() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("same-image");
    let s = on(cluster, &prefix);
    put(cluster, &format!("{prefix}/quarantine/version:2"), "{}").await;
    let mut c = claim("n");
    c.holder.from = version("2");
    acquire(&s, &c).await;
    assert_eq!(s.commit(&c).await.unwrap(), Committed::Yes);
}

#[tokio::test]
async fn a_commit_sees_what_changed_since_the_take() {
    let cluster = shared_cluster();
    for (name, says) in [
        ("unlocked", "taken from this node"),
        ("relocked", "taken from this node"),
        ("unlisted", "does not name this node"),
        ("deleted", "gone or unreadable"),
        ("paused", "paused by ann@desk: maintenance"),
        ("paused-all", "paused by ann@desk: maintenance"),
        ("quarantined", "quarantined: no good"),
    ] {
        let prefix = unique_prefix(name);
        let s = on(cluster, &prefix);
        let c = claim("n");
        acquire(&s, &c).await;
        match name {
            "unlocked" => drop(s.unlock("n", false).await.unwrap()),
            "relocked" => {
                s.unlock("n", false).await.unwrap();
                assert_eq!(
                    s.lock(&holder("n", Phase::Manual)).await.unwrap(),
                    Locked::Taken
                );
            }
            "unlisted" => put(cluster, &s.keys().semaphore(), &Document::new(1).to_json()).await,
            "deleted" => drop(
                cluster
                    .client()
                    .await
                    .delete(s.keys().semaphore(), None)
                    .await
                    .unwrap(),
            ),
            "paused" => s.pause(false, &pause(), None).await.unwrap(),
            "paused-all" => s.pause(true, &pause(), None).await.unwrap(),
            _ => {
                put(
                    cluster,
                    &s.keys().quarantine_version("2"),
                    r#"{"version":"2","reason":"no good"}"#,
                )
                .await
            }
        }
        match s.commit(&c).await.unwrap() {
            Committed::No(why) => assert!(why.contains(says), "{name}: {why}"),
            Committed::Yes => panic!("{name}: committed"),
        }
        // Stepping back gives back only what is this claim's.
        let released = s.release("n", &c.holder.nonce, None, None).await.unwrap();
        let taken_away = name.ends_with("locked");
        assert_eq!(released == Released::NotHeld, taken_away, "{name}");
        assert_eq!(holders(&s).await.is_empty(), name != "relocked", "{name}");
    }
}

#[tokio::test]
async fn two_machines_with_one_id_do_not_go_together() {
    local!({
        let cluster = shared_cluster();
        let prefix = unique_prefix("twins");
        let s = on(cluster, &prefix);
        s.set_max(5, false).await.unwrap();
        let one = claim("twin");
        acquire(&s, &one).await;
        let two = claim("twin");
        let notes = Rc::new(RefCell::new(String::new()));
        let (s2, two2, n) = (on(cluster, &prefix), two.clone(), notes.clone());
        let task = tokio::task::spawn_local(async move {
            s2.acquire(&two2, |note| note.clone_into(&mut n.borrow_mut()))
                .await;
        });
        eventually(
            "why",
            async || notes.borrow().clone(),
            |n| n.contains("unlock twin"),
        )
        .await;
        assert_eq!(
            s.release("twin", &two.holder.nonce, None, None)
                .await
                .unwrap(),
            Released::NotHeld
        );
        assert_eq!(
            s.owner("twin", &one.holder.nonce).await.unwrap(),
            Owner::Claim
        );
        s.release("twin", &one.holder.nonce, None, None)
            .await
            .unwrap();
        timeout(Duration::from_secs(20), task)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            s.owner("twin", &two.holder.nonce).await.unwrap(),
            Owner::Claim
        );
    });
}

#[tokio::test]
async fn leaving_the_line_is_final() {
    local!({
        let cluster = shared_cluster();
        let prefix = unique_prefix("leave");
        let s = on(cluster, &prefix);
        acquire(&s, &claim("holder")).await;
        let (task, _) = wait_in_line(cluster, &prefix, "n").await;
        task.abort();
        let _ = task.await;
        let nonce = "0";
        assert_eq!(s.leave("n", nonce, None).await.unwrap(), Left::Left);
        assert!(s.read().await.unwrap().queue.is_empty());
        // Won at the last moment: leaving says so instead of losing it.
        let c = claim("w");
        s.unlock("holder", true).await.unwrap();
        acquire(&s, &c).await;
        assert_eq!(
            s.leave("w", &c.holder.nonce, None).await.unwrap(),
            Left::Held
        );
        assert_eq!(s.leave("w", "another", None).await.unwrap(), Left::Left);
    });
}

#[tokio::test]
async fn a_restarted_agent_keeps_its_place() {
    local!({
        let cluster = shared_cluster();
        let prefix = unique_prefix("restart");
        let s = on(cluster, &prefix);
        acquire(&s, &claim("holder")).await;
        let (first, _) = wait_in_line(cluster, &prefix, "a").await;
        let (_second, _) = wait_in_line(cluster, &prefix, "b").await;
        first.abort();
        let _ = first.await;
        let (first, _) = wait_in_line(cluster, &prefix, "a").await;
        s.unlock("holder", true).await.unwrap();
        timeout(Duration::from_secs(20), first)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(holders(&s).await, ["a"]);
    });
}

#[tokio::test]
async fn a_silent_node_loses_its_place_when_its_lease_ends() {
    local!({
        let cluster = shared_cluster();
        let prefix = unique_prefix("silent");
        let s = on(cluster, &prefix);
        acquire(&s, &claim("holder")).await;
        let mut hung = claim("hung");
        hung.ticket_lease = 2;
        let s2 = on(cluster, &prefix);
        let task = tokio::task::spawn_local(async move { s2.acquire(&hung, |_| {}).await });
        eventually(
            "its ticket",
            async || s.read().await.unwrap().queue.len(),
            |n| *n == 1,
        )
        .await;
        let (next, _) = wait_in_line(cluster, &prefix, "next").await;
        task.abort();
        s.unlock("holder", true).await.unwrap();
        timeout(Duration::from_secs(20), next)
            .await
            .expect("the line moves on")
            .unwrap();
        assert_eq!(holders(&s).await, ["next"]);
    });
}

#[tokio::test]
async fn a_waiting_node_keeps_its_lease_alive() {
    local!({
        let cluster = shared_cluster();
        let prefix = unique_prefix("alive");
        let s = on(cluster, &prefix);
        let first = claim("holder");
        acquire(&s, &first).await;
        let mut c = claim("n");
        c.ticket_lease = 2;
        let s2 = on(cluster, &prefix);
        let task = tokio::task::spawn_local(async move { s2.acquire(&c, |_| {}).await });
        let ticket = || async {
            cluster
                .client()
                .await
                .get(format!("{prefix}/queue/n"), None)
                .await
                .unwrap()
        };
        eventually("its ticket", async || ticket().await.count(), |n| *n == 1).await;
        let place = ticket().await.kvs()[0].create_revision();
        // Its lease is renewed twice and more: a length of time is the very thing tested here.
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(ticket().await.kvs()[0].create_revision(), place);
        s.release("holder", &first.holder.nonce, None, None)
            .await
            .unwrap();
        timeout(Duration::from_secs(20), task)
            .await
            .unwrap()
            .unwrap();
    });
}

#[tokio::test]
async fn overdue_is_said_by_the_lease() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("overdue");
    let s = on(cluster, &prefix);
    let mut c = claim("late");
    c.holder.deadline = Some(1);
    acquire(&s, &c).await;
    let overdue = async || s.read().await.unwrap().holders[0].overdue;
    eventually("overdue", overdue, |o| *o).await;
    assert_eq!(holders(&s).await, ["late"], "time alone lets nobody in");
}

#[tokio::test]
async fn a_deadline_whose_lease_was_granted_while_waiting_has_its_whole_time() {
    local!({
        let cluster = shared_cluster();
        let prefix = unique_prefix("spare");
        let s = on(cluster, &prefix);
        let first = claim("first");
        acquire(&s, &first).await;
        let (task, _) = wait_in_line(cluster, &prefix, "next").await;
        s.release("first", &first.holder.nonce, None, None)
            .await
            .unwrap();
        timeout(Duration::from_secs(20), task)
            .await
            .unwrap()
            .unwrap();
        let mut client = cluster.client().await;
        let key = format!("{prefix}/deadlines/next");
        let lease = client.get(key, None).await.unwrap().kvs()[0].lease();
        let left = client.lease_time_to_live(lease, None).await.unwrap();
        // The deadline, 600 s, and the ticket's lease, 10 s: granted before the release, and spare.
        assert_eq!(left.granted_ttl(), 610);
        assert!(left.ttl() >= 599, "{} s left", left.ttl());
    });
}

#[tokio::test]
async fn documents_of_the_wild_are_handled_and_broken_ones_named() {
    let cluster = shared_cluster();
    for text in [
        r#"{"semaphore":1,"max":1,"holders":null}"#,
        r#"{"max":3,"holders":["z","c"]}"#,
    ] {
        let prefix = unique_prefix("wild");
        let s = on(cluster, &prefix);
        put(cluster, &s.keys().semaphore(), text).await;
        let c = claim("n");
        acquire(&s, &c).await;
        assert_eq!(
            s.release("n", &c.holder.nonce, None, None).await.unwrap(),
            Released::Released
        );
        for id in holders(&s).await {
            assert!(matches!(
                s.unlock(&id, false).await.unwrap(),
                Unlocked::Unlocked(None)
            ));
        }
        assert!(holders(&s).await.is_empty());
    }
    for text in ["", "{", "[]", r#"{"max":-2}"#] {
        let prefix = unique_prefix("broken");
        let s = on(cluster, &prefix);
        put(cluster, &s.keys().semaphore(), text).await;
        for error in [
            s.lock(&holder("n", Phase::Manual)).await.unwrap_err(),
            s.unlock("n", false).await.unwrap_err(),
            s.set_max(2, false).await.unwrap_err(),
        ] {
            let said = error.to_string();
            assert!(
                matches!(error, Error::Document { .. })
                    && said.contains(text)
                    && said.contains("--rebuild"),
                "{said}"
            );
        }
        s.set_max(2, true).await.unwrap();
        assert_eq!(
            s.lock(&holder("n", Phase::Manual)).await.unwrap(),
            Locked::Taken
        );
    }
}

#[tokio::test]
async fn a_node_waits_for_a_broken_document_to_be_repaired() {
    local!({
        let cluster = shared_cluster();
        let prefix = unique_prefix("repair");
        let s = on(cluster, &prefix);
        put(cluster, &s.keys().semaphore(), "oops").await;
        let (task, notes) = wait_in_line(cluster, &prefix, "n").await;
        assert!(notes.borrow().last().unwrap().contains("oops"));
        s.set_max(1, true).await.unwrap();
        timeout(Duration::from_secs(20), task)
            .await
            .unwrap()
            .unwrap();
    });
}

#[tokio::test]
async fn a_deleted_document_lets_nobody_in_while_holders_stand() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("deleted");
    let s = on(cluster, &prefix);
    let c = claim("out");
    acquire(&s, &c).await;
    cluster
        .client()
        .await
        .delete(s.keys().semaphore(), None)
        .await
        .unwrap();
    for error in [
        s.lock(&holder("n", Phase::Manual)).await.unwrap_err(),
        s.set_max(1, false).await.unwrap_err(),
    ] {
        let said = error.to_string();
        assert!(
            said.contains("out is a holder") && said.contains("--rebuild"),
            "{said}"
        );
    }
    let other = claim("n");
    let waited = timeout(Duration::from_millis(500), s.acquire(&other, |_| {})).await;
    assert!(waited.is_err(), "let in beside a holder");
    let set = s.set_max(1, true).await.unwrap();
    assert_eq!(set.document.holders, ["out"]);
    assert_eq!(
        s.release("out", &c.holder.nonce, None, None).await.unwrap(),
        Released::Released
    );
    acquire(&s, &other).await;
}

#[tokio::test]
async fn by_hand() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("hand");
    let s = on(cluster, &prefix);
    assert_eq!(s.unlock("n", false).await.unwrap(), Unlocked::NotHeld);
    assert_eq!(
        s.lock(&holder("n", Phase::Manual)).await.unwrap(),
        Locked::Taken
    );
    assert!(matches!(
        s.lock(&holder("n", Phase::Manual)).await.unwrap(),
        Locked::AlreadyHeld(Some(_))
    ));
    assert!(matches!(
        s.lock(&holder("m", Phase::Manual)).await.unwrap(),
        Locked::Full(_)
    ));
    let set = s.set_max(0, false).await.unwrap();
    assert_eq!((set.old, set.document.available()), (Some(1), -1));
    assert!(matches!(
        s.unlock("n", false).await.unwrap(),
        Unlocked::Unlocked(Some(_))
    ));
    assert!(matches!(
        s.lock(&holder("n", Phase::Manual)).await.unwrap(),
        Locked::Full(_)
    ));
    s.set_max(1, false).await.unwrap();
    let c = claim("n");
    acquire(&s, &c).await;
    s.commit(&c).await.unwrap();
    assert!(matches!(
        s.unlock("n", false).await.unwrap(),
        Unlocked::InUse(_)
    ));
    assert!(matches!(
        s.unlock("n", true).await.unwrap(),
        Unlocked::Unlocked(_)
    ));
    assert!(s.resume(false).await.unwrap().is_none());
}

#[tokio::test]
async fn eight_locks_at_once_with_eight_free_all_succeed() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("eight");
    on(cluster, &prefix).set_max(8, false).await.unwrap();
    let locks = (0..8).map(|i| {
        let s = on(cluster, &prefix);
        async move {
            s.lock(&holder(&format!("n{i}"), Phase::Manual))
                .await
                .unwrap()
        }
    });
    for locked in futures_util::future::join_all(locks).await {
        assert_eq!(locked, Locked::Taken);
    }
    assert_eq!(holders(&on(cluster, &prefix)).await.len(), 8);
}

#[tokio::test]
async fn bad_names_and_dead_endpoints_do_not_hide_the_good_ones() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("endpoints");
    let mut endpoints = vec![
        "http://no-such-host.invalid:2379".to_owned(),
        "http://127.0.0.1:1".to_owned(),
    ];
    endpoints.extend(cluster.endpoints());
    let s = semaphore(endpoints, &prefix);
    assert_eq!(
        s.lock(&holder("n", Phase::Manual)).await.unwrap(),
        Locked::Taken
    );
}
#[tokio::test]
async fn a_reply_lost_after_a_take_is_taken_once_and_known() {
    let cluster = shared_cluster();
    let proxy = Proxy::start(cluster.address(0)).await;
    for bytes in [0, 200, 700] {
        let prefix = unique_prefix("lost");
        let s = semaphore(vec![proxy.url()], &prefix);
        let direct = on(cluster, &prefix);
        direct.set_max(3, false).await.unwrap();
        s.read().await.unwrap();
        proxy.lose_next_reply(bytes);
        let c = claim("n");
        acquire(&s, &c).await;
        let group = direct.read().await.unwrap();
        assert_eq!(group.holders.len(), 1);
        assert_eq!(
            group.holders[0].entry.as_ref().unwrap().nonce,
            c.holder.nonce
        );
        assert_eq!(
            direct
                .read()
                .await
                .unwrap()
                .document
                .unwrap()
                .unwrap()
                .holders,
            ["n"]
        );
        proxy.lose_next_reply(bytes);
        assert_eq!(s.commit(&c).await.unwrap(), Committed::Yes);
        proxy.lose_next_reply(bytes);
        s.release("n", &c.holder.nonce, None, None).await.unwrap();
        assert!(holders(&direct).await.is_empty());
        proxy.lose_next_reply(bytes);
        assert_eq!(
            s.lock(&holder("m", Phase::Manual)).await.unwrap(),
            Locked::Taken
        );
        proxy.lose_next_reply(bytes);
        assert!(matches!(
            s.unlock("m", false).await.unwrap(),
            Unlocked::Unlocked(_) | Unlocked::NotHeld
        ));
        assert!(holders(&direct).await.is_empty());
    }
}
