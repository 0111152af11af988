//! Nodes on one network, with etcd on them, and what an operator sees of them from the outside.

use std::{fmt::Write as _, fs, time::Duration};

use pointsman_testbed::process::{Output, run};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    bed::{Bed, built, repository, sh},
    container::{Container, PATIENCE},
    network::Network,
};

/// The nodes. Dropped, everything of them is gone.
#[derive(Debug)]
pub struct Cluster {
    /// n1, n2, …
    pub nodes: Vec<Container>,
    /// Their network.
    pub network: Network,
    /// The place of it all; the last to go.
    pub bed: Bed,
}

/// How many nodes have a member of etcd.
const MEMBERS: usize = 3;

/// What a node's agent is told; quick, as tests want it.
const CONFIG: &str = "
slots: {disk: /dev/disk-ab}
timings: {retry-min: 500ms, retry-max: 3s, proving: 15s, login-grace: 5s, ticket-lease: 20s}
";

impl Cluster {
    /// So many systems, switched off. The first three, or all where there are fewer, are members of one etcd.
    pub async fn new(count: usize) -> Self {
        let bed = Bed::new().await;
        let image = bed.image().await;
        let names: Vec<String> = (1..=count).map(|n| format!("n{n}")).collect();
        let (network, ports) = Network::new(&bed, &names).await;
        let members: Vec<String> = names
            .iter()
            .zip(&ports)
            .take(MEMBERS)
            .map(|(name, port)| format!("{name}={}", port.address))
            .collect();
        let mut nodes = Vec::new();
        for (index, (name, port)) in names.iter().zip(ports).enumerate() {
            let address = port.address;
            let node = Container::new(&bed, &image, name, port).await;
            if index >= MEMBERS {
                let enabled = "etc/systemd/system/multi-user.target.wants/etcd.service";
                fs::remove_file(node.path(enabled)).expect("etcd is enabled in the image");
            }
            // As a cluster of Vagrant's is made.
            let script = repository().join("vagrant/provision.sh");
            sh(&format!(
                "{script} --root {root} --name {name} --address {address} --members '{members}'",
                script = script.display(),
                root = node.path("").display(),
                members = members.join(" "),
            ))
            .await;
            node.write("etc/pointsman/config.d/05-tests.yaml", CONFIG);
            nodes.push(node);
        }
        Self {
            nodes,
            network,
            bed,
        }
    }

    /// One system that reboots without asking etcd: switched on, and its agent idle.
    pub async fn idle_alone() -> Self {
        let cluster = Self::new(1).await;
        let node = &cluster.nodes[0];
        node.write(
            "etc/pointsman/config.d/10-strategy.yaml",
            "strategy: reboot\n",
        );
        node.start();
        node.up().await;
        node.agent_is("idle").await;
        cluster
    }

    /// Switches all on, and waits until all agents are idle. The group has its document: an agent by itself creates it only
    /// once its ticket has stood for a while.
    pub async fn up(&self) {
        for node in &self.nodes {
            node.start();
        }
        for node in &self.nodes {
            node.agent_is("idle").await;
        }
        let set = self.command(&["set-max", "1"]).await;
        assert_eq!(set.code, Some(0), "{set:?}");
    }

    /// An operator's command, from a machine that is no node.
    pub async fn command(&self, args: &[&str]) -> Output {
        let mut endpoints = String::new();
        for node in self.nodes.iter().take(MEMBERS) {
            let _ = write!(endpoints, "http://{}:2379,", node.port().address);
        }
        let program = built().join("pointsman").display().to_string();
        let hub = self.network.hub();
        let call = ["netns", "exec", &hub, &program];
        let with = ["--endpoint", endpoints.trim_end_matches(',')];
        run("ip", [&call[..], args, &with].concat(), &[], PATIENCE).await
    }

    /// The group, as `status --json` shows it; null while etcd cannot be reached.
    pub async fn group(&self) -> Value {
        let said = self.command(&["status", "--json"]).await;
        let status: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
        status["groups"][0].clone()
    }

    /// Waits until the group is so.
    pub async fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + 3 * PATIENCE;
        loop {
            let group = self.group().await;
            if is(&group) {
                return group;
            }
            assert!(
                Instant::now() < until,
                "not in time: {what}; the group: {group:#}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until nobody holds and nobody waits.
    pub async fn free(&self) {
        self.until("nobody holds or waits", |group| {
            group["holders"] == Value::Array(vec![]) && group["queue"] == Value::Array(vec![])
        })
        .await;
    }

    /// Waits until the node holds in this phase.
    pub async fn phase(&self, node: &Container, phase: &str) -> Value {
        self.until(&format!("{} is {phase}", node.name()), |group| {
            holders(group).any(|holder| holder["id"] == node.id() && holder["phase"] == phase)
        })
        .await
    }
}

/// The holders of a group.
pub fn holders(group: &Value) -> impl Iterator<Item = &Value> {
    group["holders"].as_array().into_iter().flatten()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.nodes {
                node.tell();
            }
        }
    }
}
