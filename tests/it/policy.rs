//! A group's policy and its members, on a real three-member etcd and by real agents.

use std::{cell::RefCell, rc::Rc};

use pointsman_testbed::{
    etcd::{Cluster, shared_cluster, unique_prefix},
    node::{AutoReboot, Node},
    proxy::{Aim, Mode, Proxy},
};
use semaphore::{
    document::Document,
    etcd::{Committed, Locked, Released, Semaphore},
    keys::Keys,
    policy::{Field, PolicyChange},
    records::{Member, NodeRecord, Phase},
};
use tokio::task::LocalSet;

use crate::{
    agents::{Site, drained, draining, machine, slow_drain},
    support::{claim, eventually, holder, on, semaphore},
};

fn percent(percent: u32) -> PolicyChange {
    PolicyChange {
        max_percent: Some(percent),
        ..PolicyChange::default()
    }
}

async fn put(cluster: &Cluster, key: &str, value: &str) {
    cluster.client().await.put(key, value, None).await.unwrap();
}

async fn get(cluster: &Cluster, key: &str) -> Option<String> {
    let found = cluster.client().await.get(key, None).await.unwrap();
    let first = found.kvs().first();
    first.map(|kv| kv.value_str().unwrap().to_owned())
}

/// Makes so many nodes members of the group, named `m<number>`.
async fn members(cluster: &Cluster, keys: &Keys, numbers: std::ops::Range<u32>) {
    for number in numbers {
        put(cluster, &keys.member(&format!("m{number}")), "").await;
    }
}

/// Waits in the queue; what it waits for, and whether it holds.
fn waiter(semaphore: Semaphore, id: &str) -> (Rc<RefCell<String>>, tokio::task::JoinHandle<()>) {
    let said = Rc::new(RefCell::new(String::new()));
    let (claim, says) = (claim(id), said.clone());
    let task = tokio::task::spawn_local(async move {
        let note = |wait: semaphore::etcd::Wait| *says.borrow_mut() = wait.waits_for;
        semaphore.acquire(&claim, note).await;
    });
    (said, task)
}

async fn says(said: &Rc<RefCell<String>>, text: &str) {
    eventually(
        text,
        async || said.borrow().clone(),
        |said| said.contains(text),
    )
    .await;
}

async fn document(semaphore: &Semaphore) -> Document {
    semaphore.read().await.unwrap().document.unwrap().unwrap()
}

#[tokio::test]
async fn percentage_follows_the_members_and_wakes_the_first_in_the_queue() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let prefix = unique_prefix("percent");
            let looker = on(cluster, &prefix);
            members(cluster, looker.keys(), 0..9).await;
            let set = looker
                .set_policy(&percent(20), "ann@desk", false)
                .await
                .unwrap();
            assert_eq!(set.document.unwrap().max, 1, "20% of 9");
            let a = claim("a");
            on(cluster, &prefix).acquire(&a, |_| {}).await;
            let (said, b) = waiter(on(cluster, &prefix), "b");
            says(&said, "the only place is taken by a").await;
            // A tenth one: nobody writes the document, and b goes.
            members(cluster, looker.keys(), 9..10).await;
            b.await.unwrap();
            let found = document(&looker).await;
            assert_eq!((found.max, found.percent_max), (2, Some(2)));
            // Half of them are gone: who is out stays out, and the next one waits.
            let (said, c) = waiter(on(cluster, &prefix), "c");
            says(&said, "all 2 places are taken by a, b").await;
            for id in ["m0", "m1", "m2", "m3", "m4"] {
                looker.forget(id, false, false).await.unwrap();
            }
            assert_eq!(document(&looker).await.max, 1, "forget writes it");
            says(&said, "the only place is taken by a, b").await;
            let released = looker.release("a", &a.holder.nonce, None, None).await;
            assert_eq!(released.unwrap(), Released::Released);
            says(&said, "the only place is taken by b").await;
            looker.unlock("b", true).await.unwrap();
            c.await.unwrap();
        })
        .await;
}

#[tokio::test]
async fn a_number_that_somebody_wrote_stands_until_the_percentage_is_set_again() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let prefix = unique_prefix("percent-stop");
            let looker = on(cluster, &prefix);
            members(cluster, looker.keys(), 0..10).await;
            looker
                .set_policy(&percent(20), "ann@desk", false)
                .await
                .unwrap();
            let a = claim("a");
            let holds = on(cluster, &prefix);
            holds.acquire(&a, |_| {}).await;
            // An emergency, by a client that knows nothing of percentages and keeps what it does not know.
            let key = looker.keys().semaphore();
            let stored = get(cluster, &key).await.unwrap();
            assert!(stored.contains(r#""percent_max":2"#), "{stored}");
            put(cluster, &key, &stored.replace(r#""max":2"#, r#""max":0"#)).await;
            let (said, b) = waiter(on(cluster, &prefix), "b");
            says(&said, "the group is stopped (max is 0)").await;
            let committed = holds.commit(&a).await.unwrap();
            assert!(
                matches!(&committed, Committed::No(why) if why.to_string().contains("max is 0")),
                "{committed:?}"
            );
            // Neither a member that joins nor another field of the policy raises it.
            members(cluster, looker.keys(), 10..20).await;
            let change = PolicyChange::default();
            looker.set_policy(&change, "ann@desk", false).await.unwrap();
            assert_eq!(document(&looker).await.max, 0);
            looker
                .set_policy(&percent(20), "ann@desk", false)
                .await
                .unwrap();
            b.await.unwrap();
            let found = document(&looker).await;
            assert_eq!((found.max, found.holders.join(",")), (4, "a,b".into()));
            // Without the percentage the number stays what it is.
            let unset = PolicyChange {
                unset: vec![Field::MaxPercent],
                ..PolicyChange::default()
            };
            let set = looker.set_policy(&unset, "ann@desk", false).await.unwrap();
            assert!(set.policy.is_none());
            assert_eq!(get(cluster, &looker.keys().policy()).await, None);
            let found = document(&looker).await;
            assert_eq!((found.max, found.percent_max), (4, None));
        })
        .await;
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_stops_the_group_and_says_so() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let prefix = unique_prefix("policy-damaged");
            let looker = on(cluster, &prefix);
            looker.set_max(2, false).await.unwrap();
            let a = claim("a");
            let holds = on(cluster, &prefix);
            holds.acquire(&a, |_| {}).await;
            // Of a newer program.
            put(
                cluster,
                &looker.keys().policy(),
                r#"{"max_percent":20,"moon":"full"}"#,
            )
            .await;
            let text = "the group's policy cannot be used: unknown field `moon`";
            let (said, b) = waiter(on(cluster, &prefix), "b");
            says(&said, text).await;
            let committed = holds.commit(&a).await.unwrap();
            assert!(
                matches!(&committed, Committed::No(why) if why.to_string().contains(text)),
                "{committed:?}"
            );
            // A person's lock takes no node anywhere.
            let locked = looker.lock(&holder("c", Phase::Manual)).await.unwrap();
            assert_eq!(locked, Locked::Taken);
            looker.unlock("c", false).await.unwrap();
            let refused = looker.set_policy(&percent(100), "ann@desk", false).await;
            assert!(
                refused.unwrap_err().to_string().contains("`moon`"),
                "it would be lost"
            );
            let replace = PolicyChange {
                replace: true,
                ..percent(100)
            };
            looker
                .set_policy(&replace, "ann@desk", false)
                .await
                .unwrap();
            looker.set_max(2, false).await.unwrap();
            b.await.unwrap();
        })
        .await;
}

#[tokio::test]
async fn a_policy_that_changes_between_look_and_take_loses_the_take_nothing_but_a_look() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let prefix = unique_prefix("policy-races");
            let looker = Rc::new(on(cluster, &prefix));
            members(cluster, looker.keys(), 0..30).await;
            looker
                .set_policy(&percent(10), "ann@desk", false)
                .await
                .unwrap();
            let changes = tokio::task::spawn_local({
                let looker = looker.clone();
                async move {
                    for round in 0..40 {
                        let percent = percent(10 + round % 2 * 10);
                        looker
                            .set_policy(&percent, "ann@desk", false)
                            .await
                            .unwrap();
                    }
                }
            });
            let mut takes = Vec::new();
            for number in 0..20 {
                let semaphore = on(cluster, &prefix);
                takes.push(tokio::task::spawn_local(async move {
                    let claim = claim(&format!("n{number}"));
                    let id = claim.holder.id.clone();
                    semaphore.acquire(&claim, |_| {}).await;
                    semaphore
                        .release(&id, &claim.holder.nonce, None, None)
                        .await
                        .unwrap();
                }));
            }
            for take in takes {
                take.await.unwrap();
            }
            changes.await.unwrap();
            let most = crate::support::most_holders(cluster, &looker).await;
            assert!(most <= 6, "{most} were out, of at most 20% of 30");
        })
        .await;
}

/// How many requests one node's way to the lock and back costs in a group with this policy.
async fn cost(cluster: &Cluster, policy: Option<PolicyChange>) -> u64 {
    let prefix = unique_prefix("policy-cost");
    let semaphore = on(cluster, &prefix);
    semaphore.set_max(1, false).await.unwrap();
    if let Some(policy) = policy {
        semaphore
            .set_policy(&policy, "ann@desk", false)
            .await
            .unwrap();
    }
    let before = cluster.requests().await;
    let claim = claim("a");
    semaphore.acquire(&claim, |_| {}).await;
    assert_eq!(semaphore.commit(&claim).await.unwrap(), Committed::Yes);
    let nonce = &claim.holder.nonce;
    semaphore
        .proving("a", nonce, claim.node.as_ref())
        .await
        .unwrap();
    semaphore
        .release("a", nonce, None, claim.node.as_ref())
        .await
        .unwrap();
    cluster.requests().await.since(&before).total()
}

#[tokio::test]
async fn a_group_without_a_policy_costs_no_request_and_one_with_a_percentage_one() {
    let cluster = Cluster::start(1).await;
    // As before there were policies: status twice and range of the store's marks, ticket's lease, ticket, view, deadline's
    // lease, take; look and commit; look and word of the proof; release.
    let without = cost(&cluster, None).await;
    assert_eq!(without, WITHOUT_A_POLICY);
    assert_eq!(cost(&cluster, Some(percent(20))).await, without + 1);
}

/// Measured on the release before.
const WITHOUT_A_POLICY: u64 = 13;

async fn member(site: &Site, node: &Node) -> Option<String> {
    let key = site.semaphore.keys().member(node.machine_id());
    get(shared_cluster(), &key).await
}

async fn member_is(site: &Site, node: &Node, value: Option<&str>) {
    let value = value.map(str::to_owned);
    eventually(
        "its member key",
        async || member(site, node).await,
        |found| *found == value,
    )
    .await;
}

/// The digest of the image that the node says it runs, once that has this version.
async fn runs(site: &Site, node: &Node, version: &str) -> String {
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
