//! A node's member key, by real agents.

use super::*;

pub(super) async fn member(site: &Site, node: &Node) -> Option<String> {
    let key = site.semaphore.keys().member(node.machine_id());
    get(shared_cluster(), &key).await
}

pub(super) async fn member_is(site: &Site, node: &Node, value: Option<&str>) {
    let value = value.map(str::to_owned);
    eventually(
        "its member key",
        async || member(site, node).await,
        |found| *found == value,
    )
    .await;
}

/// The digest of the image that the node says it runs, once that has this version.
pub(super) async fn runs(site: &Site, node: &Node, version: &str) -> String {
    let is = |record: &NodeRecord| record.runs.version.as_deref() == Some(version);
    site.record(node, is).await.runs.digest.unwrap()
}

#[tokio::test]
async fn a_member_tells_what_was_proven_on_it() {
    let site = Site::new("members");
    let node = machine("node-1").await;
    node.add_disk("1");
    slow_drain(&node);
    node.auto_reboot(AutoReboot::default());
    site.start(&node, &[]).await;
    let old = runs(&site, &node, "1").await;
    member_is(&site, &node, Some(&old)).await;
    node.stage("2").await;
    draining(&node).await;
    // On its way nothing counts as proven, until what it goes to is.
    member_is(&site, &node, Some("")).await;
    drained(&node);
    site.free().await;
    let new = runs(&site, &node, "2").await;
    assert_ne!(new, old);
    assert_eq!(
        member(&site, &node).await,
        Some(new.clone()),
        "said in the release"
    );
    // A reboot into the same image changes nothing.
    let asked = site.command(&node, &["reboot"]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    draining(&node).await;
    assert_eq!(member(&site, &node).await, Some(new.clone()));
    drained(&node);
    eventually("it is back", async || node.reboots(), |n| *n == 2).await;
    site.free().await;
    assert_eq!(member(&site, &node).await, Some(new));
}

#[tokio::test]
async fn a_node_that_steps_back_still_counts_with_what_it_runs() {
    let site = Site::new("members-back");
    let node = machine("node-1").await;
    node.add_disk("1");
    slow_drain(&node);
    site.start(&node, &[]).await;
    let old = runs(&site, &node, "1").await;
    node.stage("2").await;
    draining(&node).await;
    member_is(&site, &node, Some("")).await;
    site.semaphore
        .pause(false, &serde_json::from_str("{}").unwrap(), None, true)
        .await
        .unwrap();
    drained(&node);
    site.free().await;
    member_is(&site, &node, Some(&old)).await;
}

#[tokio::test]
async fn a_node_that_leaves_its_group_is_no_member_of_it_any_more() {
    const FILE: &str = "etc/pointsman/config.yaml";
    let site = Site::new("members-leave");
    let node = site.node("node-1", &[]).await;
    member_is(&site, &node, Some("")).await;
    node.stop().await;
    node.write(FILE, "group: blue\n");
    node.start_again();
    member_is(&site, &node, None).await;
    let keys = Keys::new(
        site.semaphore.keys().prefix(),
        host::node::Group::new("blue").unwrap(),
    );
    let there = keys.member(node.machine_id());
    assert_eq!(get(shared_cluster(), &there).await.as_deref(), Some(""));
    // It asks nobody any more.
    node.stop().await;
    node.write(FILE, "group: blue\nstrategy: reboot\n");
    node.start_again();
    let gone = async || get(shared_cluster(), &there).await;
    eventually("it is no member", gone, Option::is_none).await;
}

#[tokio::test]
async fn tickets_in_the_queue_are_not_counted_as_members() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("percent-queue");
    let looker = on(cluster, &prefix);
    members(cluster, looker.keys(), 0..9).await;
    looker
        .set_policy(&percent(20), "ann@desk", false)
        .await
        .unwrap();
    // The first of a queue that is longer than the group: agents of 0.1.0 have no member keys.
    put(cluster, &looker.keys().ticket("a"), "{}").await;
    for number in 0..30 {
        put(cluster, &looker.keys().ticket(&format!("t{number}")), "{}").await;
    }
    on(cluster, &prefix).acquire(&claim("a"), |_| {}).await;
    let found = document(&looker).await;
    assert_eq!((found.max, found.holders.join(",")), (1, "a".into()));
}

#[tokio::test]
async fn member_whose_reply_to_the_take_was_lost_says_what_is_proven_when_it_steps_back() {
    let cluster = shared_cluster();
    let proxy = Proxy::start(cluster.address(0)).await;
    let prefix = unique_prefix("members-lost");
    let looker = on(cluster, &prefix);
    looker.set_max(1, false).await.unwrap();
    let s = semaphore(vec![proxy.url()], &prefix);
    let mut claim = claim("a");
    let node = NodeRecord {
        member: Some(Member {
            proven: Some("sha256:aa".into()),
        }),
        ..claim.node.take().unwrap()
    };
    claim.node = Some(node.clone());
    s.publish(&node).await.unwrap();
    let key = looker.keys().member("a");
    assert_eq!(get(cluster, &key).await.as_deref(), Some("sha256:aa"));
    proxy.lose_reply_to(Aim::Take);
    s.acquire(&claim, |_| {}).await;
    assert_eq!(proxy.lost(), 1);
    assert_eq!(get(cluster, &key).await.as_deref(), Some(""));
    let nonce = &claim.holder.nonce;
    s.release("a", nonce, None, Some(&node)).await.unwrap();
    assert_eq!(get(cluster, &key).await.as_deref(), Some("sha256:aa"));
}

#[tokio::test]
async fn percentage_in_a_group_whose_document_is_gone_is_refused_with_the_holders() {
    let cluster = shared_cluster();
    let looker = on(cluster, &unique_prefix("percent-missing"));
    looker.set_max(1, false).await.unwrap();
    looker.lock(&holder("a", Phase::Manual)).await.unwrap();
    let mut client = cluster.client().await;
    client
        .delete(looker.keys().semaphore(), None)
        .await
        .unwrap();
    let refused = looker.set_policy(&percent(20), "ann@desk", false).await;
    assert!(
        matches!(&refused, Err(semaphore::etcd::Error::Missing { holders, .. }) if *holders == ["a"]),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_damaged_percent_max_is_replaced_when_the_percentage_is_set() {
    let cluster = shared_cluster();
    let looker = on(cluster, &unique_prefix("percent-damaged"));
    members(cluster, looker.keys(), 0..10).await;
    for damaged in [
        r#""2""#,
        "-1",
        "1e300",
        "99999999999999999999",
        "4294967296",
        "[]",
        "null",
    ] {
        let text =
            format!(r#"{{"semaphore":1,"max":1,"holders":[],"percent_max":{damaged},"k":1}}"#);
        put(cluster, &looker.keys().semaphore(), &text).await;
        looker
            .set_policy(&percent(20), "ann@desk", false)
            .await
            .unwrap();
        let stored = get(cluster, &looker.keys().semaphore()).await.unwrap();
        assert_eq!(stored.matches("percent_max").count(), 1, "{stored}");
        assert!(stored.contains(r#""k":1"#), "{stored}");
        assert!(document(&looker).await.follows_percentage(), "{stored}");
    }
}

#[tokio::test]
async fn a_node_without_its_journal_leaves_no_member_in_the_group_it_was_in() {
    let site = Site::new("members-wiped");
    let node = site.node("node-1", &[]).await;
    member_is(&site, &node, Some("")).await;
    node.stop().await;
    std::fs::remove_dir_all(node.path("var/lib/pointsman")).unwrap();
    node.write("etc/pointsman/config.yaml", "group: blue\n");
    node.start_again();
    member_is(&site, &node, None).await;
}

#[tokio::test]
async fn a_holder_whose_group_or_strategy_changed_is_no_member_where_it_releases() {
    for config in ["group: blue\n", "strategy: reboot\n"] {
        let site = Site::new("members-held");
        let node = machine("node-1").await;
        slow_drain(&node);
        site.start(&node, &[]).await;
        node.update_engine().ready("2").await;
        draining(&node).await;
        member_is(&site, &node, Some("")).await;
        node.kill().await;
        node.update_engine()
            .set_silently(pointsman_testbed::fakes::Status::idle());
        node.write("etc/pointsman/config.yaml", config);
        drained(&node);
        node.start_again();
        site.free().await;
        node.wait_status(|status| status == "idle").await;
        member_is(&site, &node, None).await;
    }
}

#[tokio::test]
async fn a_node_under_another_key_prefix_is_no_member_under_the_former_one() {
    let site = Site::new("members-prefix");
    let node = site.node("node-1", &[]).await;
    member_is(&site, &node, Some("")).await;
    node.stop().await;
    let former = std::fs::read_to_string(node.path("etc/pointsman/config.yaml")).ok();
    assert_eq!(former, None);
    let other = unique_prefix("members-prefix-new");
    let endpoints = shared_cluster().endpoints();
    crate::agents::agent(&node, &endpoints, &other, &[]).await;
    node.wait_status(|status| status == "idle").await;
    member_is(&site, &node, None).await;
}

#[tokio::test]
async fn a_lost_reply_does_not_hide_what_was_forgotten_or_set() {
    let cluster = shared_cluster();
    let proxy = Proxy::start(cluster.address(0)).await;
    let prefix = unique_prefix("forget-lost");
    let looker = on(cluster, &prefix);
    members(cluster, looker.keys(), 0..10).await;
    let s = semaphore(vec![proxy.url()], &prefix);
    s.policy().await.unwrap();
    proxy.lose_reply_to(Aim::Write);
    let set = s.set_policy(&percent(20), "ann@desk", false).await;
    assert_eq!(proxy.lost(), 1);
    assert_eq!(set.unwrap().document.unwrap().max, 2);
    proxy.lose_reply_to(Aim::Write);
    let forgotten = s.forget("m0", false, false).await;
    assert_eq!(proxy.lost(), 2);
    assert!(
        matches!(&forgotten, Ok(semaphore::etcd::Forgotten::Done(state)) if state.member.is_some()),
        "{forgotten:?}"
    );
    assert_eq!(document(&looker).await.max, 1);
    let (a, b) = tokio::join!(
        looker.forget("m1", false, false),
        s.forget("m1", false, false)
    );
    assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
    assert_eq!(looker.policy().await.unwrap().members, 8);
}

#[tokio::test]
async fn a_node_that_asks_nobody_ends_its_membership_once_etcd_answers_again() {
    let site = Site::new("members-away");
    let proxy = Proxy::start(shared_cluster().address(0)).await;
    let node = machine("node-1").await;
    crate::agents::agent(&node, &[proxy.url()], &site.prefix, &[]).await;
    member_is(&site, &node, Some("")).await;
    crate::agents::remembers(&node, "member").await;
    node.stop().await;
    node.write("etc/pointsman/config.yaml", "strategy: reboot\n");
    proxy.set(Mode::Refuse).await;
    node.start_again();
    let log = async || node.log();
    eventually("it says so", log, |log| {
        log.contains("this node is still counted as a member of its group")
    })
    .await;
    proxy.set(Mode::Pass).await;
    member_is(&site, &node, None).await;
}

#[tokio::test]
async fn a_member_that_a_restored_store_does_not_know_is_told_with_the_next_ticket() {
    let cluster = Cluster::start(1).await;
    let prefix = unique_prefix("members-restored");
    let s = on(&cluster, &prefix);
    let node = machine("node-1").await;
    let key = s.keys().member(node.machine_id());
    let is_member = async |value: Option<&str>| {
        let value = value.map(str::to_owned);
        let found = async || get(&cluster, &key).await;
        eventually("its member key", found, |found| *found == value).await;
    };
    crate::agents::agent(&node, &cluster.endpoints(), &prefix, &[]).await;
    is_member(Some("")).await;
    // The snapshot is of a time when it was none.
    let mut client = cluster.client().await;
    client.delete(key.as_str(), None).await.unwrap();
    let path = cluster.dir().join("snapshot");
    cluster.snapshot(&path).await;
    put(&cluster, &key, "").await;
    cluster.restore(&path).await;
    node.update_engine().ready("2").await;
    let stop = async || s.read().await.ok()?.pause_all?.store;
    let stop = eventually("the stop", stop, Option::is_some).await;
    let id = stop.unwrap().id;
    let accept = ["store", "accept", &id, "--yes"];
    let at = [
        "--endpoint",
        &cluster.endpoints()[0],
        "--key-prefix",
        &prefix,
    ];
    let accepted = node
        .run(crate::agents::bin(), &[&accept[..], &at].concat())
        .await;
    assert_eq!(accepted.code, Some(0), "{accepted:?}");
    is_member(Some("")).await;
}
