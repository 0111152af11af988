//! Nodes that host the members of etcd leave one at a time, and only while all the others are well.

use std::time::Duration;

use pointsman_testbed::{
    etcd::{Cluster, unique_prefix},
    node::{AutoReboot, Death, Node},
    proxy::{Aim, Mode, Proxy},
};
use semaphore::{
    etcd::{Group, Semaphore},
    policy::PolicyChange,
    records::Phase,
};

use crate::{
    agents::{agent, bin, drained, draining, entry, machine, slow_drain},
    support::{eventually, holder, on},
};

/// Nodes with an etcd of their own.
struct Site {
    cluster: Cluster,
    prefix: String,
    semaphore: Semaphore,
}

impl Site {
    async fn new(name: &str, max: u32) -> Self {
        let cluster = Cluster::builder(3).fast_elections().start().await;
        let prefix = unique_prefix(name);
        let semaphore = on(&cluster, &prefix);
        semaphore.set_max(max, false).await.unwrap();
        Self {
            cluster,
            prefix,
            semaphore,
        }
    }

    /// A node of this name which hosts the `i`-th member, or none.
    async fn node(&self, name: &str, i: Option<usize>) -> Node {
        let node = machine(name).await;
        let member = i.map_or("none".into(), |i| self.cluster.endpoint(i));
        let env = [("POINTSMAN_ETCD_MEMBER", member.as_str())];
        agent(&node, &self.cluster.endpoints(), &self.prefix, &env).await;
        node.wait_ready().await;
        node.wait_status(|status| status == "idle").await;
        node
    }

    /// What etcd has, once it answers: a member that was killed may have been the leader.
    async fn read(&self) -> Group {
        let read = async || self.semaphore.read().await;
        eventually("etcd has a leader", read, Result::is_ok)
            .await
            .unwrap()
    }

    async fn until(&self, what: &str, is: impl Fn(&Group) -> bool) -> Group {
        eventually(what, async || self.read().await, is).await
    }

    async fn committed(&self, node: &Node) {
        self.until("it has committed", |group| {
            entry(group, node).is_some_and(|entry| entry.phase == Phase::Rebooting)
        })
        .await;
        node.logind().wait_asked(1).await;
    }

    async fn free(&self) {
        self.until("nobody holds or waits", |group| {
            group.holders.is_empty() && group.queue.is_empty() && group.member_out.is_none()
        })
        .await;
    }
}

/// Waits until the node says this, and waits outside the queue.
async fn waits(node: &Node, why: &str) {
    node.wait_status(|status| status.starts_with("waiting: ") && status.contains(why))
        .await;
}

#[tokio::test]
async fn etcd_members_reboot_one_at_a_time_beside_other_nodes() {
    let site = Site::new("members-one", 3).await;
    let a = site.node("node-a", Some(0)).await;
    let b = site.node("node-b", Some(1)).await;
    let c = site.node("node-c", None).await;
    a.update_engine().ready("2").await;
    site.committed(&a).await;
    a.go_down(Death::Term).await;
    b.update_engine().ready("2").await;
    waits(&b, "and so does node-a").await;
    let group = site.read().await;
    let out = group.member_out.clone().unwrap();
    assert_eq!(
        (out.id.as_str(), out.hostname.as_str()),
        (a.machine_id(), "node-a")
    );
    assert!(group.queue.is_empty(), "{:?}", group.queue);
    let endpoints = site.cluster.endpoints().join(",");
    let status = [
        "status",
        "--endpoint",
        &endpoints,
        "--key-prefix",
        &site.prefix,
    ];
    let shown = b.run(bin(), &status).await;
    assert!(
        shown
            .stdout
            .contains("Out of service with a member of etcd: node-a"),
        "{shown:?}"
    );
    let members = site.cluster.client().await.member_list().await.unwrap();
    let url = site.cluster.endpoint(1);
    let mut members = members.members().iter();
    let own = members.find(|m| m.client_urls().contains(&url)).unwrap();
    let line = format!("  member of etcd: {} ({:x})\n", own.name(), own.id());
    assert!(shown.stdout.contains(&line), "{line}: {shown:?}");
    // It is not behind b, which could not go.
    c.update_engine().ready("2").await;
    site.committed(&c).await;
    assert!(b.logind().asked().is_empty());
    a.come_up().await;
    a.start_again();
    site.committed(&b).await;
    for node in [&b, &c] {
        node.reboot(Death::Term).await;
    }
    site.free().await;
}

#[tokio::test]
async fn member_stays_queued_while_another_member_holds_the_only_place() {
    let site = Site::new("members-line", 1).await;
    let a = site.node("node-a", Some(0)).await;
    let b = site.node("node-b", Some(1)).await;
    let c = site.node("node-c", None).await;
    a.update_engine().ready("2").await;
    site.committed(&a).await;
    let mut places = Vec::new();
    for node in [&b, &c] {
        node.update_engine().ready("2").await;
        places.push(node.machine_id().to_owned());
        site.until("it has its place", |group| {
            group
                .queue
                .iter()
                .map(|ticket| ticket.id.clone())
                .collect::<Vec<_>>()
                == places
        })
        .await;
    }
    a.reboot(Death::Term).await;
    site.committed(&b).await;
    let group = site.read().await;
    assert_eq!(group.queue.len(), 1, "{:?}", group.queue);
    assert_eq!(group.member_out.unwrap().hostname, "node-b");
}

#[tokio::test]
async fn no_member_reboots_while_another_is_down() {
    let site = Site::new("members-down", 1).await;
    let a = site.node("node-a", Some(0)).await;
    let c = site.node("node-c", None).await;
    site.cluster.kill_member(2).await;
    a.update_engine().ready("2").await;
    waits(&a, "and another one (").await;
    waits(&a, &site.cluster.endpoint(2)).await;
    waits(&a, "Connection refused").await;
    // Nobody depends on c, and it does not wait behind a.
    c.update_engine().ready("2").await;
    site.committed(&c).await;
    c.reboot(Death::Term).await;
    site.free().await;
    assert!(a.logind().asked().is_empty());
    site.cluster.restart_member(2).await;
    site.committed(&a).await;
    // Its own may be down: the reboot may repair it.
    a.reboot(Death::Term).await;
    site.free().await;
    site.cluster.kill_member(0).await;
    a.update_engine().ready("3").await;
    a.logind().wait_asked(2).await;
}

#[tokio::test]
async fn lost_member_removes_the_node_from_the_queue() {
    let site = Site::new("members-queued", 1).await;
    let by_hand = holder("operator", Phase::Manual);
    site.semaphore.lock(&by_hand).await.unwrap();
    let a = site.node("node-a", Some(0)).await;
    a.update_engine().ready("2").await;
    site.until("it is in the queue", |group| group.queue.len() == 1)
        .await;
    site.cluster.kill_member(2).await;
    waits(&a, "is not healthy").await;
    site.until("its ticket is gone", |group| group.queue.is_empty())
        .await;
    site.cluster.restart_member(2).await;
    site.until("it is in the queue", |group| group.queue.len() == 1)
        .await;
    site.semaphore.unlock("operator", false).await.unwrap();
    site.committed(&a).await;
}

#[tokio::test]
async fn a_member_lost_during_the_drain_ends_it() {
    let site = Site::new("members-drain", 1).await;
    let a = site.node("node-a", Some(0)).await;
    slow_drain(&a);
    a.update_engine().ready("2").await;
    draining(&a).await;
    site.cluster.kill_member(1).await;
    drained(&a);
    waits(&a, "is not healthy").await;
    site.free().await;
    assert!(a.logind().asked().is_empty());
    assert_eq!(crate::agents::undrained(&a), ["stepping-back"]);
}

#[tokio::test]
async fn a_boot_is_not_proven_before_its_own_member_is_back() {
    let site = Site::new("members-back", 1).await;
    let a = site.node("node-a", Some(0)).await;
    a.update_engine().ready("2").await;
    site.committed(&a).await;
    site.cluster.kill_member(0).await;
    a.reboot(Death::Term).await;
    a.wait_status(|status| {
        status.starts_with("proving: ") && status.contains("this node's member of etcd")
    })
    .await;
    let group = site.read().await;
    assert_eq!(group.holders.len(), 1);
    assert!(group.member_out.is_some());
    site.cluster.restart_member(0).await;
    site.free().await;
    a.wait_status(|status| status == "idle").await;
}

#[tokio::test]
async fn a_boot_after_a_take_whose_reply_was_lost_waits_for_its_own_member_too() {
    let site = Site::new("members-lost", 1).await;
    let proxy = Proxy::start(site.cluster.address(1)).await;
    let a = machine("node-a").await;
    let member = site.cluster.endpoint(0);
    let env = [("POINTSMAN_ETCD_MEMBER", member.as_str())];
    agent(&a, &[proxy.url()], &site.prefix, &env).await;
    a.wait_status(|status| status == "idle").await;
    proxy.lose_reply_to(Aim::Take);
    a.update_engine().ready("2").await;
    proxy.wait_lost(1).await;
    proxy.set(Mode::BlackHole).await;
    a.go_down(Death::Kill).await;
    let taken = |group: &Group| entry(group, &a).is_some() && group.member_out.is_some();
    site.until("it is taken", taken).await;
    site.cluster.kill_member(0).await;
    a.come_up().await;
    a.start_again();
    proxy.set(Mode::Pass).await;
    a.wait_status(|status| {
        status.starts_with("proving: ") && status.contains("this node's member of etcd")
    })
    .await;
    assert!(taken(&site.read().await));
    site.cluster.restart_member(0).await;
    site.free().await;
}

#[tokio::test]
async fn unlock_removes_the_member_out_value_of_a_deleted_holder() {
    let site = Site::new("members-left", 2).await;
    let a = site.node("node-a", Some(0)).await;
    let b = site.node("node-b", Some(1)).await;
    a.update_engine().ready("2").await;
    site.committed(&a).await;
    a.go_down(Death::Term).await;
    // By somebody with etcdctl.
    let mut client = site.cluster.client().await;
    let key = format!("{}/holders/{}", site.prefix, a.machine_id());
    client.delete(key, None).await.unwrap();
    client
        .put(
            format!("{}/semaphore", site.prefix),
            r#"{"semaphore":2,"max":2,"holders":[]}"#,
            None,
        )
        .await
        .unwrap();
    b.update_engine().ready("2").await;
    waits(&b, "and so does node-a").await;
    let endpoints = site.cluster.endpoints().join(",");
    let common = ["--endpoint", &endpoints, "--key-prefix", &site.prefix];
    let unlock = [&["unlock", a.machine_id()], &common[..]].concat();
    let done = b.run(bin(), &unlock).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!done.stdout.contains("did not hold"), "{done:?}");
    site.committed(&b).await;
    let done = b.run(bin(), &unlock).await;
    assert!(done.stdout.contains("did not hold"), "{done:?}");
}

#[tokio::test]
async fn drain_that_stops_the_own_member_leads_to_the_reboot() {
    let site = Site::new("members-stopped", 1).await;
    // Reached at an address that it does not advertise.
    let own = Proxy::start(site.cluster.address(0)).await;
    let a = machine("node-a").await;
    slow_drain(&a);
    let env = [("POINTSMAN_ETCD_MEMBER", own.url())];
    let env = env.each_ref().map(|(name, url)| (*name, url.as_str()));
    agent(&a, &site.cluster.endpoints(), &site.prefix, &env).await;
    a.wait_status(|status| status == "idle").await;
    a.update_engine().ready("2").await;
    draining(&a).await;
    own.set(Mode::Refuse).await;
    drained(&a);
    site.committed(&a).await;
    assert!(crate::agents::undrained(&a).is_empty());
}

#[tokio::test]
async fn a_boot_of_a_node_that_went_without_a_member_is_not_judged_by_one() {
    let site = Site::new("members-later", 1).await;
    let a = machine("node-a").await;
    agent(&a, &site.cluster.endpoints(), &site.prefix, &[]).await;
    a.wait_status(|status| status == "idle").await;
    a.update_engine().ready("2").await;
    site.committed(&a).await;
    assert!(site.read().await.member_out.is_none());
    // By now a member goes by the node's name, and is not healthy.
    let mut client = site.cluster.client().await;
    let id = site.cluster.client_of(2).await.status().await.unwrap();
    let id = id.header().unwrap().member_id();
    client
        .member_update(id, ["http://node-a:2380".to_owned()])
        .await
        .unwrap();
    site.cluster.kill_member(2).await;
    a.reboot(Death::Term).await;
    site.free().await;
}

#[tokio::test]
async fn soaking_etcd_member_lets_others_go_and_goes_back_only_alone() {
    let site = Site::new("members-soak", 3).await;
    let change = PolicyChange {
        soak: Some(Duration::from_secs(3600)),
        ..PolicyChange::default()
    };
    site.semaphore
        .set_policy(&change, "ann@desk", false)
        .await
        .unwrap();
    let a = machine("node-a").await;
    a.add_disk("1");
    let env = [("POINTSMAN_ETCD_MEMBER", &*site.cluster.endpoint(0))];
    agent(&a, &site.cluster.endpoints(), &site.prefix, &env).await;
    a.wait_ready().await;
    a.auto_reboot(AutoReboot::default());
    a.wait_status(|status| status == "idle").await;
    let b = site.node("node-b", Some(1)).await;
    a.stage("2").await;
    let soaks = |group: &Group| entry(group, &a).is_some_and(|entry| entry.phase == Phase::Soaking);
    let group = site.until("it soaks", soaks).await;
    assert!(group.member_out.is_none(), "{group:?}");
    // Another one goes meanwhile.
    b.update_engine().ready("2").await;
    site.committed(&b).await;
    slow_drain(&a);
    for words in [&["slots", "prioritize", "A"][..], &["reboot"]] {
        let done = a.run(bin(), words).await;
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    a.wait_status(|status| {
        status.contains("the way back waits: ") && status.contains("so does node-b")
    })
    .await;
    assert!(!a.path("draining").exists(), "it drained in vain");
    // It is back, and soaks as well: now this one is the only one.
    b.go_down(Death::Term).await;
    b.set_version("2");
    b.come_up().await;
    b.start_again();
    draining(&a).await;
    drained(&a);
    site.until("it is out as a member", |group| {
        group
            .member_out
            .as_ref()
            .is_some_and(|out| out.id == a.machine_id())
    })
    .await;
    eventually("it is back", async || a.reboots(), |n| *n == 2).await;
    site.until("it holds nothing", |group| {
        entry(group, &a).is_none() && group.member_out.is_none()
    })
    .await;
    assert_eq!(a.booted(), pointsman_testbed::disk::Slot::A);
}
