//! From the take to the release.

use super::*;

#[tokio::test]
async fn claim_takes_commits_and_releases() {
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
async fn commit_is_refused_after_a_change_since_the_take() {
    let cluster = shared_cluster();
    for (name, says) in [
        ("unlocked", "taken from this node"),
        ("relocked", "taken from this node"),
        ("unlisted", "does not name this node"),
        ("deleted", "gone or unreadable"),
        ("paused", "paused by ann@desk: maintenance"),
        ("paused-all", "paused by ann@desk: maintenance"),
        ("quarantined", "quarantined: no good"),
        ("copied", "another machine with this node's machine id"),
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
            "paused" => drop(s.pause(false, &pause(), None, true).await.unwrap()),
            // A machine with a copy of the node's disk has booted, and proves this claim.
            "copied" => s.proving("n", &c.holder.nonce, 1800, None).await.unwrap(),
            "paused-all" => drop(s.pause(true, &pause(), None, true).await.unwrap()),
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
            Committed::No(why) => assert!(why.to_string().contains(says), "{name}: {why}"),
            Committed::Yes => panic!("{name}: committed"),
        }
        // Stepping back releases only what is this claim's.
        let released = s.release("n", &c.holder.nonce, None, None).await.unwrap();
        let taken_away = name.ends_with("locked");
        assert_eq!(released == Released::NotHeld, taken_away, "{name}");
        assert_eq!(holders(&s).await.is_empty(), name != "relocked", "{name}");
    }
}

#[tokio::test]
async fn machines_with_the_same_id_do_not_hold_together() {
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
            s2.acquire(&two2, |wait| *n.borrow_mut() = wait.waits_for)
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
async fn release_keeps_the_member_out_value_of_another_node() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("members");
    let s = on(cluster, &prefix);
    s.set_max(2, false).await.unwrap();
    let (mut hosts, other) = (claim("hosts"), claim("other"));
    hosts.member = true;
    acquire(&s, &hosts).await;
    acquire(&s, &other).await;
    let out = async || s.read().await.unwrap().member_out.map(|out| out.id);
    s.release("other", &other.holder.nonce, None, None)
        .await
        .unwrap();
    assert_eq!(out().await.as_deref(), Some("hosts"));
    s.release("hosts", &hosts.holder.nonce, None, None)
        .await
        .unwrap();
    assert_eq!(out().await, None);
}

#[tokio::test]
async fn holder_is_overdue_when_its_deadline_lease_ends() {
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
async fn take_with_a_lost_reply_is_found_and_not_repeated() {
    let cluster = shared_cluster();
    let proxy = Proxy::start(cluster.address(0)).await;
    for aim in [Aim::Any, Aim::Write, Aim::Take] {
        let prefix = unique_prefix("lost");
        let s = semaphore(vec![proxy.url()], &prefix);
        let direct = on(cluster, &prefix);
        direct.set_max(3, false).await.unwrap();
        s.read().await.unwrap();
        proxy.lose_reply_to(aim);
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
        // What follows has no take.
        let next = if aim == Aim::Take { Aim::Write } else { aim };
        proxy.lose_reply_to(next);
        assert_eq!(s.commit(&c).await.unwrap(), Committed::Yes);
        proxy.lose_reply_to(next);
        s.release("n", &c.holder.nonce, None, None).await.unwrap();
        assert!(holders(&direct).await.is_empty());
        proxy.lose_reply_to(next);
        assert_eq!(
            s.lock(&holder("m", Phase::Manual)).await.unwrap(),
            Locked::Taken
        );
        proxy.lose_reply_to(next);
        assert!(matches!(
            s.unlock("m", false).await.unwrap(),
            Unlocked::Unlocked(_) | Unlocked::NotHeld
        ));
        assert!(holders(&direct).await.is_empty());
    }
}
