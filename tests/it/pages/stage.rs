//! The nodes of a page: real agents on a real etcd, and a machine without an agent.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, time::Duration};

use host::node::Group;
use pointsman_testbed::{
    etcd::shared_cluster,
    fakes::PATIENCE,
    node::{AutoReboot, Node},
    process::run,
};
use semaphore::policy::PolicyChange;

use crate::{
    agents::{Site, bin, drained, hook, prepare, slow_drain},
    support::eventually,
    trials::QUICK,
};

/// The nodes of the page, and a machine without an agent.
pub(super) struct Stage {
    site: Site,
    desk: Node,
    nodes: BTreeMap<String, (String, Node)>,
}

impl Stage {
    pub(super) async fn new(name: &str) -> Self {
        let site = Site::new(name);
        let desk = Node::new("desk").await;
        let endpoints = shared_cluster().endpoints();
        let config = format!(
            "key-prefix: {}\netcd:\n  endpoints: {endpoints:?}\n",
            site.prefix
        );
        desk.write("etc/pointsman/config.yaml", &config);
        desk.write(
            "bin/pointsman",
            &format!("#!/bin/sh\nexec {} \"$@\"\n", bin().display()),
        );
        fs::set_permissions(
            desk.path("bin/pointsman"),
            fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        let nodes = BTreeMap::new();
        Self { site, desk, nodes }
    }

    fn node(&self, name: &str) -> &Node {
        let node = self.nodes.get(name);
        &node
            .unwrap_or_else(|| panic!("no node {name} was started"))
            .1
    }

    /// The nodes that a word means: one of this name, or those of this group, in the order of their numbers.
    fn named(&self, word: &str) -> Vec<&Node> {
        let number = |node: &&Node| node.machine_id().to_owned();
        let mut nodes: Vec<&Node> = self
            .nodes
            .iter()
            .filter(|(name, (group, _))| *name == word || group == word)
            .map(|(_, (_, node))| node)
            .collect();
        nodes.sort_by_key(number);
        assert!(!nodes.is_empty(), "no node {word} was started");
        nodes
    }

    fn semaphore(&self, group: &str) -> semaphore::etcd::Semaphore {
        let keys = semaphore::keys::Keys::new(&self.site.prefix, Group::new(group).unwrap());
        let options = crate::support::options(shared_cluster().endpoints());
        semaphore::etcd::Semaphore::new(options, keys, crate::support::BACK_OFF)
    }

    /// Does what a comment says:
    /// - `start GROUP NUMBER`: nodes `GROUP-1` and so on, idle on version 4152.2.3; one of them may be out at a time;
    /// - `slow NODE|GROUP`: their drains last until they are told to end; `drained NODE|GROUP`: now;
    /// - `stage NODE|GROUP VERSION`: update_engine has installed it, and the agent has noticed;
    /// - `wait NODE|GROUP WORDS`: until the agent says this; `one GROUP WORDS`: until one of them does; `runs NODE|GROUP VERSION`:
    ///   until it runs this version and is idle;
    /// - `breaks NODE`: a check of the node fails in a soak from now on; `soak GROUP SECONDS`: its policy says so;
    /// - `stop NODE|GROUP`: the machines are gone.
    pub(super) async fn does(&mut self, what: &str) {
        let mut words = what.splitn(3, ' ');
        let mut next = || words.next().unwrap_or_default();
        let (verb, name, rest) = (next(), next(), next());
        match verb {
            "start" => self.start(name, rest.parse().unwrap()).await,
            "slow" => self.named(name).into_iter().for_each(slow_drain),
            "drained" => self.named(name).into_iter().for_each(drained),
            "stage" => {
                for node in self.named(name) {
                    let before = node.reboots();
                    node.stage(rest).await;
                    // It has its place in the queue, or among the holders, before the next one comes.
                    let on_its_way = |(reboots, status): &(usize, String)| {
                        let yet = ["idle", "waiting: asking", "queued: joining"];
                        *reboots > before || !yet.iter().any(|yet| status.starts_with(yet))
                    };
                    let says = async || (node.reboots(), node.status());
                    eventually("it is on its way", says, on_its_way).await;
                }
            }
            "wait" => {
                for node in self.named(name) {
                    node.wait_status(|status| status.contains(rest)).await;
                }
            }
            "one" => {
                let nodes = self.named(name);
                let says = async || nodes.iter().map(|node| node.status()).collect::<Vec<_>>();
                let one = |said: &Vec<String>| said.iter().any(|said| said.contains(rest));
                eventually(rest, says, one).await;
            }
            "runs" => {
                for node in self.named(name) {
                    let says = async || (node.version(), node.status());
                    let runs =
                        |(version, status): &(String, String)| version == rest && status == "idle";
                    eventually(rest, says, runs).await;
                }
            }
            "breaks" => hook(
                self.node(name),
                "health.d/20-replication",
                "[ $POINTSMAN_PHASE != soaking ] || { echo replication has stopped; exit 1; }",
            ),
            "soak" => {
                let change = PolicyChange {
                    soak: Some(Duration::from_secs(rest.parse().unwrap())),
                    ..PolicyChange::default()
                };
                let semaphore = self.semaphore(name);
                semaphore.set_policy(&change, "test", false).await.unwrap();
            }
            "stop" => {
                for node in self.named(name) {
                    node.stop().await;
                }
                self.nodes
                    .retain(|node, (group, _)| node != name && group != name);
            }
            other => panic!("{other}: not a word for what happens"),
        }
    }

    async fn start(&mut self, group: &str, number: u32) {
        self.semaphore(group).set_max(1, false).await.unwrap();
        for number in 1..=number {
            let name = format!("{group}-{number}");
            let first: u32 = group.bytes().map(u32::from).sum();
            let id = format!("{first:08x}{number:024x}");
            let node = Node::with_machine_id(&name, &id).await;
            prepare(&node);
            node.add_disk("4152.2.3");
            node.auto_reboot(AutoReboot::default());
            let env = [
                ("POINTSMAN_GROUP", group),
                ("POINTSMAN_WAVE_SPREAD", "0s"),
                ("POINTSMAN_REBOOT_DEADLINE", "30m"),
            ];
            self.site.start(&node, &[&QUICK[..], &env].concat()).await;
            node.wait_status(|status| status == "idle").await;
            let is = |record: &semaphore::records::NodeRecord| record.state == "idle";
            let semaphore = self.semaphore(group);
            eventually(
                "its record",
                async || semaphore.read().await.unwrap().nodes,
                |nodes| nodes.iter().any(|node| node.id == id && is(node)),
            )
            .await;
            self.nodes.insert(name, (group.to_owned(), node));
        }
    }

    /// Runs the commands of a block; what they print.
    pub(super) async fn runs(&self, commands: &[String]) -> Result<String, String> {
        let on = commands.first().and_then(|line| line.strip_prefix("# on "));
        let node = on.map_or(&self.desk, |name| self.node(name));
        let root = node.root().display().to_string();
        let path = format!("{}:/usr/bin:/bin", self.desk.path("bin").display());
        let env = [
            ("PATH", path.as_str()),
            ("POINTSMAN_ROOT", &root),
            ("DBUS_SYSTEM_BUS_ADDRESS", &node.bus().address()),
            ("SUDO_USER", "ann"),
        ];
        let mut printed = String::new();
        for command in commands.iter().filter(|line| !line.starts_with('#')) {
            let code = command
                .rsplit_once("# exit ")
                .map_or(Ok(0), |(_, code)| code.parse());
            let code = code.map_err(|error| format!("{command}: {error}"))?;
            let script = format!("exec 2>&1\n{command}");
            let output = run("/bin/sh", ["-c", &script], &env, PATIENCE).await;
            printed += &output.stdout;
            if output.code != Some(code) {
                return Err(format!("{command}: {output:?}, expected exit {code}"));
            }
        }
        Ok(printed)
    }
}
