//! The queue: places in it, and what keeps it.

use super::*;

#[tokio::test]
async fn queue_keeps_its_order_and_names_what_each_waits_for() {
    local!({
        let cluster = shared_cluster();
        let prefix = unique_prefix("order");
        let s = on(cluster, &prefix);
        let first = claim("first");
        acquire(&s, &first).await;
        let mut waiting = Vec::new();
        // Neither the ids' order nor the reverse.
        for id in ["m", "b", "x", "a"] {
            waiting.push((id, wait_in_queue(cluster, &prefix, id).await));
        }
        assert!(
            waiting[0]
                .1
                .1
                .borrow()
                .last()
                .unwrap()
                .contains("taken by first")
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
async fn first_in_the_queue_names_who_came_since_by_the_host_as_well() {
    local!({
        let cluster = shared_cluster();
        let prefix = unique_prefix("hosts");
        let s = on(cluster, &prefix);
        let [one, two] = ["1", "2"].map(|digit| digit.repeat(32));
        acquire(&s, &claim(&one)).await;
        let (_task, notes) = wait_in_queue(cluster, &prefix, "n").await;
        let says = async |text: &str| {
            let said = async || notes.borrow().last().cloned().unwrap_or_default();
            eventually(text, said, |said| said.contains(text)).await;
        };
        says(&format!("the only place is taken by host-{one} ({one})")).await;
        // Another tool lets one more in.
        let entry = serde_json::to_string(&holder(&two, Phase::Draining)).unwrap();
        put(cluster, &s.keys().holder(&two), &entry).await;
        let document = format!(r#"{{"semaphore":0,"max":2,"holders":["{one}","{two}"]}}"#);
        put(cluster, &s.keys().semaphore(), &document).await;
        says(&format!(
            "all 2 places are taken by host-{one} ({one}), host-{two} ({two})"
        ))
        .await;
    });
}

#[tokio::test]
async fn closed_gate_stops_the_queue_until_it_opens() {
    local!({
        let cluster = shared_cluster();
        for all in [false, true] {
            let prefix = unique_prefix("gate");
            let s = on(cluster, &prefix);
            s.pause(all, &pause(), None, true).await.unwrap();
            let (task, notes) = wait_in_queue(cluster, &prefix, "n").await;
            assert!(notes.borrow().last().unwrap().contains("maintenance"));
            assert_eq!(s.resume(all).await.unwrap(), Resumed::Done(Some(pause())));
            timeout(Duration::from_secs(20), task)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(holders(&s).await, ["n"]);
        }
    });
}

#[tokio::test]
async fn pause_with_an_end_expires() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("pause-for");
    let s = on(cluster, &prefix);
    s.pause(false, &pause(), Some(1), true).await.unwrap();
    assert!(matches!(
        s.lock(&holder("n", Phase::Manual)).await.unwrap(),
        Locked::Paused(false, _)
    ));
    acquire(&s, &claim("n")).await;
    assert_eq!(s.read().await.unwrap().pause, None);
}

#[tokio::test]
async fn quarantined_version_leaves_the_queue_until_it_is_cleared() {
    local!({
        let cluster = shared_cluster();
        let prefix = unique_prefix("quarantine");
        let s = on(cluster, &prefix);
        acquire(&s, &claim("holder")).await;
        let (task, notes) = wait_in_queue(cluster, &prefix, "n").await;
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
async fn left_ticket_is_never_taken() {
    local!({
        let cluster = shared_cluster();
        let prefix = unique_prefix("leave");
        let s = on(cluster, &prefix);
        acquire(&s, &claim("holder")).await;
        let (task, _) = wait_in_queue(cluster, &prefix, "n").await;
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
        let (first, _) = wait_in_queue(cluster, &prefix, "a").await;
        let (_second, _) = wait_in_queue(cluster, &prefix, "b").await;
        first.abort();
        let _ = first.await;
        let (first, _) = wait_in_queue(cluster, &prefix, "a").await;
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
        let (next, _) = wait_in_queue(cluster, &prefix, "next").await;
        task.abort();
        s.unlock("holder", true).await.unwrap();
        timeout(Duration::from_secs(20), next)
            .await
            .expect("the queue moves on")
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
async fn a_deadline_whose_lease_was_granted_while_waiting_has_its_whole_time() {
    local!({
        let cluster = shared_cluster();
        let prefix = unique_prefix("spare");
        let s = on(cluster, &prefix);
        let first = claim("first");
        acquire(&s, &first).await;
        let (task, _) = wait_in_queue(cluster, &prefix, "next").await;
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
