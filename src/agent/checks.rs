//! The checks of a boot: this node's own, those that need other nodes, and those that only warn.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::machine::Verdict;
use crate::{
    blocking,
    hooks::{HookError, Hooks},
    node::{Root, write_atomic},
    semaphore::etcd::BackOff,
    systemd,
};

/// What waits for the proof itself.
const BEHIND_THE_GATE: [&str; 1] = ["update-engine.service"];

/// What the checks are made with.
pub struct Checks<'a> {
    /// The machine.
    pub root: &'a Root,
    /// Its system bus.
    pub bus: &'a zbus::Connection,
    /// The units whose state says nothing.
    pub ignore_units: &'a [String],
    /// The units that need other nodes.
    pub cluster_units: &'a [String],
    /// Its hooks: `health.d`, `health-cluster.d`, `health-wanted.d`.
    pub hooks: &'a Hooks,
    /// Their variables.
    pub variables: &'a [(String, String)],
    /// How long the boot has to pass all that are required.
    pub limit: Duration,
    /// The waits between one round and the next.
    pub waits: BackOff,
}

impl Checks<'_> {
    /// Runs all of them, again and again until those required pass or the time is over. `held`: this boot was made while
    /// holding the semaphore, so that the rest of the cluster was there: only then does a check that needs it tell
    /// anything. `member` asks how the node's own member of etcd is, where it hosts one; `note` is told what has not passed
    /// yet.
    pub async fn run(
        &self,
        held: bool,
        member: impl AsyncFn() -> Result<(), String>,
        note: impl Fn(&str),
    ) -> Verdict {
        let until = Instant::now() + self.limit;
        let mut waits = self.waits.waits();
        loop {
            let (own, mut others) = self.round().await;
            others.extend(member().await.err());
            let why = own
                .iter()
                .chain(&others)
                .cloned()
                .collect::<Vec<_>>()
                .join("; ");
            if why.is_empty() {
                self.wanted().await;
                return Verdict::Passed;
            }
            note(&why);
            let wait = waits.next().unwrap_or(self.waits.max);
            if Instant::now() + wait < until {
                sleep(wait).await;
                continue;
            }
            tracing::error!("the boot has not passed its checks: {why}");
            return if !own.is_empty() || held {
                Verdict::Failed(why)
            } else {
                Verdict::Unknown(format!(
                    "{why} (this needs other nodes, which may be starting as well)"
                ))
            };
        }
    }

    /// What fails of this node's own checks, and of those that need others.
    async fn round(&self) -> (Vec<String>, Vec<String>) {
        let texts =
            |errors: Vec<HookError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut own = texts(self.hooks.run_all("health.d", self.variables).await);
        own.extend(self.state_is_writable().await.err());
        let mut others = texts(self.hooks.run_all("health-cluster.d", self.variables).await);
        match systemd::unsettled(self.bus).await {
            Ok(units) => {
                for (unit, what) in units {
                    if BEHIND_THE_GATE.contains(&unit.as_str()) || self.ignore_units.contains(&unit)
                    {
                        continue;
                    }
                    let of_cluster = self.cluster_units.contains(&unit);
                    let list = if of_cluster { &mut others } else { &mut own };
                    list.push(format!("{unit} {what}"));
                }
            }
            Err(error) => own.push(format!("systemd does not say what it has started: {error}")),
        }
        (own, others)
    }

    async fn wanted(&self) {
        for error in self.hooks.run_all("health-wanted.d", self.variables).await {
            tracing::warn!("wanted, and not required: {error}");
        }
    }

    /// The journal must be writable, or the node would forget what it holds.
    async fn state_is_writable(&self) -> Result<(), String> {
        let path = self.root.path("var/lib/pointsman/writable");
        blocking::run(move || {
            write_atomic(&path, b"", 0o600).map_err(|error| format!("{}: {error}", path.display()))
        })
        .await
    }
}
