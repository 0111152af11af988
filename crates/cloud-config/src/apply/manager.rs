//! Commands to units: what systemd was asked, and the log of a unit that fails.

use std::{collections::HashSet, io};

use host::{
    bus::{self, BusError},
    node::Root,
    systemd::{JobEnd, Link, Units},
};
use tokio::{process::Command, time::timeout};

use super::error::ApplyError;

/// The unit that configures the network.
pub(super) const NETWORKD: &str = "systemd-networkd.service";

/// How many lines of a unit's log are shown when it fails.
const LINES: &str = "10";

/// systemd on the system bus.
#[derive(Debug)]
pub(super) struct Manager {
    units: Units,
}

/// The result of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommandResult {
    /// It was carried out.
    Done,
    /// It waits for other jobs; systemd runs it when they are done.
    Queued,
}

/// The method of systemd behind a command.
fn method(command: &str) -> &'static str {
    match command {
        "start" => "StartUnit",
        "stop" => "StopUnit",
        "restart" => "RestartUnit",
        "reload" => "ReloadUnit",
        "try-restart" => "TryRestartUnit",
        "reload-or-restart" => "ReloadOrRestartUnit",
        _ => "ReloadOrTryRestartUnit",
    }
}

impl Manager {
    /// Connects to systemd.
    ///
    /// # Errors
    /// When the bus or systemd does not answer.
    pub(super) async fn connect(root: &Root) -> Result<Self, BusError> {
        let units = Units::subscribe(bus::connect(root).await?).await?;
        Ok(Self { units })
    }

    /// Reloads the units of systemd.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) async fn reload(&self) -> Result<(), ApplyError> {
        let reloaded = self.units.reload().await;
        reloaded.map_err(|error| ApplyError::step("the reload of systemd", error))
    }

    /// Enables a unit and returns the links that changed.
    ///
    /// # Errors
    /// When systemd refuses.
    pub(super) async fn enable(&self, unit: &str, runtime: bool) -> Result<Vec<Link>, ApplyError> {
        Ok(self.units.enable(unit, runtime).await?)
    }

    /// Returns which of these units are active or activating.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub(super) async fn active(&self, units: &HashSet<&str>) -> Result<HashSet<String>, BusError> {
        let mut active = HashSet::new();
        for unit in units {
            let state = self.units.state(unit).await?;
            if matches!(
                state.as_str(),
                "active" | "activating" | "reloading" | "refreshing"
            ) {
                active.insert((*unit).to_owned());
            }
        }
        Ok(active)
    }

    /// Requests a command, without waiting for its end.
    ///
    /// # Errors
    /// When systemd refuses.
    pub(super) async fn ask(&self, unit: &str, command: &str) -> Result<(), ApplyError> {
        self.units.request(method(command), unit).await?;
        Ok(())
    }

    /// Runs a command, such as `start`, and waits for its end.
    ///
    /// # Errors
    /// When systemd refuses, or the unit fails: then with the last lines of its log.
    pub(super) async fn command(
        &self,
        unit: &str,
        command: &str,
    ) -> Result<CommandResult, ApplyError> {
        // Listen before the request: a job may end at once.
        let jobs = self.units.jobs().await;
        let jobs = jobs.map_err(|error| ApplyError::step(unit, io::Error::other(error)))?;
        let job = self.units.request(method(command), unit).await?;
        match jobs.end_of(&job).await {
            JobEnd::Queued => return Ok(CommandResult::Queued),
            // `skipped`: there is nothing to reload or to restart.
            JobEnd::Ended(result) if !matches!(result.as_str(), "done" | "skipped") => {
                return Err(failed(unit, command, &result).await);
            }
            JobEnd::Ended(_) => {}
        }
        self.check(unit, command).await?;
        Ok(CommandResult::Done)
    }

    /// Resets the failed state of a unit.
    pub(super) async fn reset(&self, unit: &str) {
        // Usually it has not failed, which is an error of the request.
        let _ = self.units.reset_failed(unit).await;
    }

    /// Checks that a unit has not failed: a unit of a simple type counts as started before its program runs.
    ///
    /// # Errors
    /// When it has failed.
    pub(super) async fn check(&self, unit: &str, command: &str) -> Result<(), ApplyError> {
        if command != "stop" && self.units.state(unit).await? == "failed" {
            return Err(failed(unit, command, "failed").await);
        }
        Ok(())
    }
}

async fn failed(unit: &str, command: &str, result: &str) -> ApplyError {
    ApplyError::Unit {
        unit: unit.to_owned(),
        command: command.to_owned(),
        result: result.to_owned(),
        log: log(unit).await,
    }
}

/// Reads the last lines of a unit's log; none if there is no log.
pub(super) async fn log(unit: &str) -> String {
    let output = Command::new("journalctl")
        .args([
            "--quiet",
            "--no-pager",
            "--boot",
            "--output=cat",
            "--lines",
            LINES,
            "--unit",
            unit,
        ])
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    match timeout(bus::CALL_LIMIT, output).await {
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned(),
        _ => String::new(),
    }
}

/// Runs a script as a transient unit, and waits for its end.
///
/// # Errors
/// When it fails: with the last lines of its log.
pub(super) async fn script(path: &str, sha256: &str) -> Result<(), ApplyError> {
    let unit = format!("pointsman-script-{}.service", &sha256[..12]);
    let status = Command::new("systemd-run")
        .args(["--quiet", "--collect", "--wait"])
        .arg(format!("--unit={unit}"))
        .arg("--description=a script of the cloud-config")
        .arg("--")
        .arg(path)
        .stdin(std::process::Stdio::null())
        .output()
        .await;
    let why = match status {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => match (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).trim(),
        ) {
            (Some(code), "") => format!("exit code {code}"),
            (_, text) => text.to_owned(),
        },
        Err(error) => return Err(ApplyError::step("systemd-run", error)),
    };
    Err(ApplyError::Unit {
        log: log(&unit).await,
        command: "script".into(),
        result: why,
        unit,
    })
}

/// Sets the host name of the running system.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn set_hostname(name: &str) -> io::Result<()> {
    Ok(nix::unistd::sethostname(name)?)
}
