//! The etcd that the machines see through their emulated network, and what it knows of them.

use std::time::Duration;

use host::node::Group;
use pointsman_testbed::etcd::Cluster;
use semaphore::{
    etcd::{self, BackOff, Options, Semaphore},
    keys::Keys,
    records::NodeRecord,
};
use tokio::time::{Instant, sleep};

use crate::machine::{Machine, PATIENCE};

/// Three members of etcd, and the semaphore of their one group.
pub struct Site {
    cluster: Cluster,
    semaphore: Semaphore,
}

impl Site {
    /// A new one.
    pub async fn new() -> Self {
        let cluster = Cluster::start(3).await;
        let options = Options {
            endpoints: cluster.endpoints(),
            timeout: Duration::from_secs(5),
            ..Options::default()
        };
        let back_off = BackOff {
            min: Duration::from_millis(20),
            max: Duration::from_millis(200),
        };
        let keys = Keys::new("vm", Group::default());
        let semaphore = Semaphore::new(options, keys, back_off);
        let set = semaphore.set_max(1, false).await;
        set.expect("the group has a document");
        Self { cluster, semaphore }
    }

    /// A machine of this site, switched off.
    pub async fn machine(&self, name: &str) -> Machine {
        // What is this machine's loopback is the gateway there.
        let endpoints: Vec<String> = self
            .cluster
            .endpoints()
            .iter()
            .map(|url| url.replace("127.0.0.1", "10.0.2.2"))
            .collect();
        let config = format!(
            "key-prefix: vm\netcd: {{endpoints: [{}]}}\n\
             timings: {{retry-min: 500ms, retry-max: 3s, proving: 30s, login-grace: 0s}}\n",
            endpoints.join(", ")
        );
        Machine::new(name, &config).await
    }

    /// All there is about the group.
    pub async fn read(&self) -> etcd::Group {
        self.semaphore.read().await.expect("etcd answers here")
    }

    /// Waits until the group is so.
    pub async fn until(
        &self,
        machine: &Machine,
        what: &str,
        is: impl Fn(&etcd::Group) -> bool,
    ) -> etcd::Group {
        let until = Instant::now() + PATIENCE;
        loop {
            let group = self.read().await;
            if is(&group) {
                return group;
            }
            assert!(
                Instant::now() < until,
                "not in time: {what}; {}: {group:#?}",
                machine.name()
            );
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until the machine runs this version, idle, and nobody holds or waits.
    pub async fn rests(&self, machine: &Machine, version: &str) -> etcd::Group {
        self.until(machine, &format!("it rests on {version}"), |group| {
            group.holders.is_empty()
                && group.queue.is_empty()
                && record(group, machine).is_some_and(|record| {
                    record.state == "idle" && record.runs.version.as_deref() == Some(version)
                })
        })
        .await
    }
}

/// What the machine last said of itself.
pub fn record<'a>(group: &'a etcd::Group, machine: &Machine) -> Option<&'a NodeRecord> {
    group.nodes.iter().find(|record| record.id == machine.id())
}
