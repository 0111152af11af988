//! The checks of a boot: this node's own, those that need other nodes, and those that only warn.

use std::{cell::RefCell, fmt::Display, io, time::Duration};

use host::{
    blocking,
    bus::BusError,
    hooks::{HookError, Hooks},
    node::{Root, RootPath},
    systemd::{
        self, Unsettled,
        boot_complete::{self, Gate},
    },
};
use semaphore::etcd::BackOff;
use tokio::time::{Instant, sleep, timeout_at};

use super::health::{Judged, Round, Rules, Verdict, judge};

/// What the checks are made with.
pub struct Checks<'a> {
    /// The machine.
    pub root: &'a Root,
    /// Its system bus.
    pub bus: &'a zbus::Connection,
    /// By what units are judged.
    pub rules: Rules<'a>,
    /// Its hooks: `health.d`, `health-cluster.d`, `health-wanted.d`.
    pub hooks: &'a Hooks,
    /// Greenboot's checks, where greenboot does not run them itself.
    pub greenboot: Option<&'a Hooks>,
    /// The variables of hooks.
    pub variables: &'a [(String, String)],
    /// How long the boot has to pass all that are required.
    pub limit: Duration,
    /// The waits between one round and the next.
    pub waits: BackOff,
}

/// The service that runs greenboot's checks.
const GREENBOOT: &str = "greenboot-healthcheck.service";

/// Greenboot's checks, where greenboot's own service is not enabled to run them.
pub async fn greenboot(root: &Root, bus: &zbus::Connection, limit: Duration) -> Option<Hooks> {
    match systemd::enabled(bus, GREENBOOT).await {
        Ok(Some(true)) => None,
        Ok(_) => Some(Hooks::of_greenboot(root, limit)),
        Err(error) => {
            tracing::warn!("it is not known whether greenboot runs its checks itself: {error}");
            None
        }
    }
}

impl Checks<'_> {
    /// Runs all of them, again and again until those required pass or the time is over, and then starts systemd's
    /// `boot-complete.target`, which is a check as well. `held`: this boot was made while holding the semaphore, so that the
    /// rest of the cluster was there: only then does a check that needs it tell anything. `member` asks how the node's own
    /// member of etcd is, where it hosts one; `note` is told what has not passed yet.
    pub async fn run<E: Display>(
        &self,
        held: bool,
        member: impl AsyncFn() -> Result<(), E>,
        note: impl Fn(&str),
    ) -> Verdict {
        let until = Instant::now() + self.limit;
        for hooks in [Some(self.hooks), self.greenboot].into_iter().flatten() {
            hooks.end_by(until);
        }
        let mut waits = self.waits.waits();
        let said = RefCell::new(Vec::new());
        let mut last: Option<Round> = None;
        loop {
            let (mut round, gate) = self.round().await;
            // The time was over before all were asked again: what they said before counts.
            if Instant::now() >= until
                && let Some(last) = last
            {
                tracing::error!("the boot has not passed its checks in time");
                return last.verdict(held);
            }
            let member = member().await.err();
            round.others.extend(member.map(|error| error.to_string()));
            if round.fault().is_none()
                && let Some(gate) = gate
            {
                self.boot_complete(&gate, until, &mut round).await;
            }
            let before = round.before();
            if *said.borrow() != before {
                for unit in &before {
                    tracing::warn!("{unit}, as before the reboot: it does not count");
                }
                said.replace(before);
            }
            let Some(why) = round.fault() else {
                self.wanted().await;
                return round.verdict(held);
            };
            note(&why);
            let wait = waits.next().unwrap_or(self.waits.max);
            if Instant::now() + wait < until {
                last = Some(round);
                sleep(wait).await;
                continue;
            }
            tracing::error!("the boot has not passed its checks: {why}");
            return round.verdict(held);
        }
    }

    /// One round of all that are required, and what there is of `boot-complete.target`, whose turn comes when they pass.
    pub async fn round(&self) -> (Round, Option<Gate>) {
        let texts =
            |errors: Vec<HookError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut round = Round {
            own: texts(self.hooks.run_all("health.d", self.variables).await),
            ..Round::default()
        };
        if let Some(greenboot) = self.greenboot {
            let failed = greenboot.run_all("required.d", self.variables).await;
            round.own.extend(texts(failed));
        }
        let unwritable = self.state_is_writable().await.err();
        round.own.extend(unwritable.map(|error| error.to_string()));
        round.others = texts(self.hooks.run_all("health-cluster.d", self.variables).await);
        let asked = async {
            let Some(units) = systemd::unsettled(self.bus).await? else {
                return Ok::<_, BusError>(None);
            };
            Ok(Some((units, boot_complete::gate(self.bus).await?)))
        };
        match asked.await {
            Ok(None) => (round, None),
            Ok(Some((units, gate))) => {
                let later =
                    |unit: &Unsettled| gate.as_ref().is_some_and(|g| g.concerns(&unit.unit));
                let now = units.into_iter().filter(|unit| !later(unit));
                round.units = now.map(|unit| judge(unit, &self.rules)).collect();
                (round, gate)
            }
            Err(error) => {
                let fault = format!("it is not known what systemd has started: {error}");
                round.own.push(fault);
                (round, None)
            }
        }
    }

    /// Starts `boot-complete.target`, and with it the units that it requires, and waits for them.
    async fn boot_complete(&self, gate: &Gate, until: Instant, round: &mut Round) {
        let started = timeout_at(until, boot_complete::start(self.bus)).await;
        let reached = match started {
            Ok(Ok(reached)) => reached,
            Ok(Err(error)) => return round.own.push(error.to_string()),
            Err(_) => false,
        };
        if reached {
            return;
        }
        let judged = match self.required_by(gate).await {
            Ok(judged) => judged,
            Err(error) => return round.own.push(error.to_string()),
        };
        // What has failed says more than that the target was not reached, and may have failed before as well.
        if judged.is_empty() {
            let target = boot_complete::TARGET;
            round.own.push(format!("{target} was not reached"));
        }
        round.units.extend(judged);
    }

    /// The checks that the target requires and that have failed, or are still to start.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub async fn required_by(&self, gate: &Gate) -> Result<Vec<Judged>, BusError> {
        let units = systemd::unsettled(self.bus).await?.unwrap_or_default();
        let required = units
            .into_iter()
            .filter(|unit| gate.checks.contains(&unit.unit));
        Ok(required.map(|unit| judge(unit, &self.rules)).collect())
    }

    /// Runs the checks that only warn; what they said.
    pub async fn warnings(&self) -> Vec<String> {
        let mut failed = self.hooks.run_all("health-wanted.d", self.variables).await;
        if let Some(greenboot) = self.greenboot {
            failed.extend(greenboot.run_all("wanted.d", self.variables).await);
        }
        failed.iter().map(ToString::to_string).collect()
    }

    async fn wanted(&self) {
        for warning in self.warnings().await {
            tracing::warn!("a check that is not required failed: {warning}");
        }
    }

    /// The journal must be writable, or the node would forget what it holds.
    async fn state_is_writable(&self) -> Result<(), Unwritable> {
        let path = self.root.path("var/lib/pointsman/writable");
        blocking::run(move || {
            let written = path.write_atomic(b"", 0o600);
            written.map_err(|error| Unwritable { path, error })
        })
        .await
    }
}

/// Why the journal's folder cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {error}")]
struct Unwritable {
    path: RootPath,
    error: io::Error,
}
