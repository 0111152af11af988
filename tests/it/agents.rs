//! Agents as processes of their own, on machines with a shared etcd.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use pointsman_testbed::{
    etcd::{shared_cluster, unique_prefix},
    node::Node,
    process::Spec,
};
use semaphore::{
    etcd::{Group, Semaphore},
    records::{Holder, NodeRecord, Phase},
};

use crate::support::{eventually, found, holder, on};

/// The program under test: the one that Cargo has built, or the one that the variable TEST_PROGRAM names (`make static-test`).
pub(crate) fn bin() -> &'static Path {
    static BIN: LazyLock<PathBuf> = LazyLock::new(|| {
        let other = std::env::var_os("TEST_PROGRAM").map(PathBuf::from);
        other.unwrap_or_else(|| env!("CARGO_BIN_EXE_pointsman").into())
    });
    &BIN
}

/// Starts the node's agent on these endpoints, under this prefix of keys. It tries again soon what failed, unless
/// `env` says otherwise.
pub(crate) async fn agent(node: &Node, endpoints: &[String], prefix: &str, env: &[(&str, &str)]) {
    let endpoints = endpoints.join(",");
    let args = ["--endpoint", &endpoints, "--key-prefix", prefix];
    let quick = [
        ("POINTSMAN_RETRY_MIN", "20ms"),
        ("POINTSMAN_RETRY_MAX", "300ms"),
    ];
    node.start(bin(), &args, &[&quick[..], env].concat()).await;
}

/// A group of nodes on the shared etcd, apart from all others. It has its document.
pub(crate) struct Site {
    pub(crate) prefix: String,
    pub(crate) semaphore: Semaphore,
}

impl Site {
    pub(crate) fn new(name: &str) -> Self {
        let prefix = unique_prefix(name);
        let semaphore = on(shared_cluster(), &prefix);
        // On a thread of its own: the caller is inside a runtime, where another cannot be entered.
        let create = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let semaphore = on(shared_cluster(), &prefix);
            runtime
                .expect("a runtime can be made")
                .block_on(found(&semaphore));
        };
        std::thread::scope(|scope| scope.spawn(create).join()).expect("the group has a document");
        Self { prefix, semaphore }
    }

    /// Starts the node's agent and waits until it is ready.
    pub(crate) async fn start(&self, node: &Node, env: &[(&str, &str)]) {
        agent(node, &shared_cluster().endpoints(), &self.prefix, env).await;
        node.wait_ready().await;
    }

    /// A node that runs version 1 and notes its undrains, whose agent is idle.
    pub(crate) async fn node(&self, name: &str, env: &[(&str, &str)]) -> Node {
        let node = machine(name).await;
        self.start(&node, env).await;
        node.wait_status(|status| status == "idle").await;
        node
    }

    /// A command of an operator, on this node.
    pub(crate) async fn command(
        &self,
        node: &Node,
        args: &[&str],
    ) -> pointsman_testbed::process::Output {
        let endpoints = shared_cluster().endpoints().join(",");
        let common = ["--endpoint", &endpoints, "--key-prefix", &self.prefix];
        // For the others they mean nothing, and are refused.
        let asks_etcd = !["slots", "update", "cancel"].contains(&args[0]);
        let common = if asks_etcd { &common[..] } else { &[] };
        node.run(bin(), &[args, common].concat()).await
    }

    pub(crate) async fn status(&self, node: &Node) -> pointsman_testbed::process::Output {
        self.command(node, &["status"]).await
    }

    /// The program in the foreground of this node, not yet run: its words, and then what it needs to find this site.
    pub(crate) fn foreground(&self, node: &Node, words: &[&str]) -> Spec {
        let root = node.root().display().to_string();
        let endpoints = shared_cluster().endpoints().join(",");
        Spec::new(bin(), node.path("foreground.log"))
            .args(words)
            .args(["--root", &root, "--endpoint", &endpoints])
            .args(["--key-prefix", &self.prefix])
            .env("DBUS_SYSTEM_BUS_ADDRESS", node.bus().address())
    }

    pub(crate) async fn read(&self) -> Group {
        self.semaphore.read().await.unwrap()
    }

    /// Waits until the group in etcd is so.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&Group) -> bool) -> Group {
        eventually(what, async || self.read().await, is).await
    }

    /// Waits until nobody holds and nobody waits.
    pub(crate) async fn free(&self) {
        self.until("nobody holds or waits", |group| {
            group.holders.is_empty() && group.queue.is_empty()
        })
        .await;
    }

    /// Waits until the node's entry has this phase.
    pub(crate) async fn phase(&self, node: &Node, phase: Phase) -> Holder {
        let group = self
            .until(&format!("{} is {phase}", node.name()), |group| {
                entry(group, node).is_some_and(|entry| entry.phase == phase)
            })
            .await;
        entry(&group, node).unwrap().clone()
    }

    /// Somebody holds by hand, so that whoever comes waits in the queue.
    pub(crate) async fn lock(&self) {
        let by_hand = holder("operator", Phase::Manual);
        self.semaphore.lock(&by_hand).await.unwrap();
    }

    pub(crate) async fn unlock(&self, id: &str) {
        self.semaphore.unlock(id, true).await.unwrap();
    }

    /// What the node last said of itself in etcd.
    pub(crate) async fn record(&self, node: &Node, is: impl Fn(&NodeRecord) -> bool) -> NodeRecord {
        let of = |group: &Group| {
            let mut nodes = group.nodes.iter();
            nodes.find(|record| record.id == node.machine_id()).cloned()
        };
        let group = self
            .until(&format!("the record of {}", node.name()), |group| {
                of(group).is_some_and(|record| is(&record))
            })
            .await;
        of(&group).unwrap()
    }
}

/// The node's entry among the holders.
pub(crate) fn entry<'a>(group: &'a Group, node: &Node) -> Option<&'a Holder> {
    let mut holders = group.holders.iter();
    holders
        .find(|holder| holder.id == node.machine_id())?
        .entry
        .as_ref()
}

/// A machine that runs version 1 and notes its undrains; no agent runs yet.
pub(crate) async fn machine(name: &str) -> Node {
    let node = Node::new(name).await;
    prepare(&node);
    node
}

/// What [`machine`] does to a node.
pub(crate) fn prepare(node: &Node) {
    node.set_version("1");
    let undrained = node.path("undrained");
    let script = format!("echo $POINTSMAN_PHASE >>{}", undrained.display());
    hook(node, "post-boot.d/10-note", &script);
}

/// The phases in which the node undrained so far.
pub(crate) fn undrained(node: &Node) -> Vec<String> {
    let text = fs::read_to_string(node.path("undrained")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

pub(crate) fn hook(node: &Node, name: &str, script: &str) {
    let name = format!("etc/pointsman/hooks/{name}");
    node.write(&name, &format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(node.path(&name), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Makes every drain of this node last until [`drained`], or the machine is gone.
pub(crate) fn slow_drain(node: &Node) {
    let go = node.path("drained");
    let begun = node.path("draining");
    let script = format!(
        "touch {0}; while [ -e {0} ] && [ ! -e {1} ]; do sleep 0.02; done",
        begun.display(),
        go.display()
    );
    hook(node, "pre-reboot.d/10-wait", &script);
}

/// Waits until the node's journal has this of what its agent remembers of etcd: it comes there after etcd has it.
pub(crate) async fn remembers(node: &Node, field: &str) {
    let path = node.path("var/lib/pointsman/journal.json");
    let field = format!("\"{field}\"");
    let text = async || fs::read_to_string(&path).unwrap_or_default();
    eventually("the journal", text, |text| text.contains(&field)).await;
}

/// Waits until the node's slow drain has begun.
pub(crate) async fn draining(node: &Node) {
    let begun = node.path("draining");
    eventually("the drain", async || begun.exists(), |begun| *begun).await;
}

/// Ends the drains of this node, this one and all later ones.
pub(crate) fn drained(node: &Node) {
    node.write("drained", "");
}

/// Waits until the coordinator's file says this state.
pub(crate) async fn coordinator(node: &Node, state: &str) {
    let path = node.path("run/update-engine/coordinator.conf");
    let line = format!("STATE={state}\n");
    eventually(
        &line,
        async || fs::read_to_string(&path).unwrap_or_default(),
        |text| text.starts_with("NAME=pointsman\n") && text.ends_with(&line),
    )
    .await;
}
