//! The client of systemd for units.

use std::{
    collections::HashSet,
    io,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use host::{
    bus::{self, BusError},
    node::Root,
};
use tokio::{process::Command, time::timeout};
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath, message};

use super::error::ApplyError;

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// The unit that configures the network.
pub(super) const NETWORKD: &str = "systemd-networkd.service";

/// How long a unit may take to start or stop; systemd's own limits are mostly shorter.
const LIMIT: Duration = Duration::from_secs(300);

/// How long a job may wait for other jobs before it is left to systemd.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long systemd may take to reload its units, generators included.
const RELOAD: Duration = Duration::from_secs(90);

/// How many ends of other jobs are buffered while one is requested.
const QUEUE: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// How many lines of a unit's log are shown when it fails.
const LINES: &str = "10";

/// systemd on the system bus.
#[derive(Debug)]
pub(super) struct Manager {
    conn: Connection,
}

/// The result of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommandResult {
    /// It was carried out.
    Done,
    /// It waits for other jobs; systemd runs it when they are done.
    Queued,
}

/// A link that systemd has created or removed: `symlink` or `unlink`, path, and target.
type Link = (String, String, String);

impl Manager {
    /// Connects to systemd.
    ///
    /// # Errors
    /// When the bus or systemd does not answer.
    pub(super) async fn connect(root: &Root) -> Result<Self, BusError> {
        let conn = bus::connect(root).await?;
        let manager = Self { conn };
        // Without this, systemd does not signal the end of a job.
        manager.call::<_, ()>("Subscribe", &()).await?;
        Ok(manager)
    }

    async fn call<B, R>(&self, method: &str, body: &B) -> Result<R, BusError>
    where
        B: serde::Serialize + zbus::DynamicType,
        R: serde::de::DeserializeOwned + zbus::Type,
    {
        bus::call(&self.conn, NAME, PATH, MANAGER, method, body).await
    }

    /// Reloads the units of systemd.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) async fn reload(&self) -> Result<(), ApplyError> {
        let reload = self
            .conn
            .call_method(Some(NAME), PATH, Some(MANAGER), "Reload", &());
        let error = match timeout(RELOAD, reload).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => io::Error::other(error),
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        Err(ApplyError::step("the reload of systemd", error))
    }

    /// Enables a unit and returns the links that changed.
    ///
    /// # Errors
    /// When systemd refuses.
    pub(super) async fn enable(&self, unit: &str, runtime: bool) -> Result<Vec<Link>, ApplyError> {
        let answer: (bool, Vec<Link>) = self
            .call("EnableUnitFiles", &(vec![unit], runtime, true))
            .await?;
        Ok(answer.1)
    }

    /// Returns which of these units are active or activating.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub(super) async fn active(&self, units: &HashSet<&str>) -> Result<HashSet<String>, BusError> {
        let mut active = HashSet::new();
        for unit in units {
            let state = self.state(unit).await?;
            if matches!(
                state.as_str(),
                "active" | "activating" | "reloading" | "refreshing"
            ) {
                active.insert((*unit).to_owned());
            }
        }
        Ok(active)
    }

    /// Reads the state of a unit, such as `active`.
    async fn state(&self, unit: &str) -> Result<String, BusError> {
        let path: OwnedObjectPath = self.call("LoadUnit", &unit).await?;
        self.property(&path, "org.freedesktop.systemd1.Unit", "ActiveState")
            .await
    }

    /// Reads a property that is a text.
    async fn property(
        &self,
        path: &OwnedObjectPath,
        interface: &str,
        name: &str,
    ) -> Result<String, BusError> {
        let value: zbus::OwnedVariant = bus::call(
            &self.conn,
            NAME,
            path.as_str(),
            "org.freedesktop.DBus.Properties",
            "Get",
            &(interface, name),
        )
        .await?;
        Ok(String::try_from(value).unwrap_or_default())
    }

    /// Requests a command and returns its job, without waiting for its end.
    ///
    /// # Errors
    /// When systemd refuses.
    pub(super) async fn ask(
        &self,
        unit: &str,
        command: &str,
    ) -> Result<OwnedObjectPath, ApplyError> {
        let method = match command {
            "start" => "StartUnit",
            "stop" => "StopUnit",
            "restart" => "RestartUnit",
            "reload" => "ReloadUnit",
            "try-restart" => "TryRestartUnit",
            "reload-or-restart" => "ReloadOrRestartUnit",
            _ => "ReloadOrTryRestartUnit",
        };
        Ok(self.call(method, &(unit, "replace")).await?)
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
        let ends = async {
            let rule = MatchRule::builder()
                .msg_type(message::Type::Signal)
                .sender(NAME)
                .interface(MANAGER)
                .member("JobRemoved")
                .build()?;
            MessageStream::for_match_rule(rule, &self.conn, Some(QUEUE)).await
        };
        let mut ends = bus::in_time(ends)
            .await
            .map_err(|error| ApplyError::step(unit, io::Error::other(error)))?;
        let job = self.ask(unit, command).await?;
        let mut ended = std::pin::pin!(async {
            while let Some(Ok(message)) = ends.next().await {
                let ended = message
                    .body()
                    .deserialize::<(u32, OwnedObjectPath, String, String)>();
                if let Ok((_, path, _, result)) = ended
                    && path == job
                {
                    return result;
                }
            }
            "the connection to D-Bus is closed".to_owned()
        });
        let began = Instant::now();
        let result = loop {
            match timeout(PATIENCE, &mut ended).await {
                Ok(result) => break result,
                // The job may wait for the boot of which this program is part, so it cannot be waited for.
                Err(_) if self.is_queued(&job).await => return Ok(CommandResult::Queued),
                Err(_) if began.elapsed() < LIMIT => {}
                Err(_) => break format!("not finished after {} s", LIMIT.as_secs()),
            }
        };
        // `skipped`: there is nothing to reload or to restart.
        if !matches!(result.as_str(), "done" | "skipped") {
            return Err(failed(unit, command, &result).await);
        }
        self.check(unit, command).await?;
        Ok(CommandResult::Done)
    }

    /// Tells whether a job waits for others and has not begun.
    async fn is_queued(&self, job: &OwnedObjectPath) -> bool {
        let state = self.property(job, "org.freedesktop.systemd1.Job", "State");
        state.await.is_ok_and(|state| state == "waiting")
    }

    /// Resets the failed state of a unit.
    pub(super) async fn reset(&self, unit: &str) {
        // Usually it has not failed, which is an error of the request.
        let _ = self.call::<_, ()>("ResetFailedUnit", &unit).await;
    }

    /// Checks that a unit has not failed: a unit of a simple type counts as started before its program runs.
    ///
    /// # Errors
    /// When it has failed.
    pub(super) async fn check(&self, unit: &str, command: &str) -> Result<(), ApplyError> {
        if command != "stop" && self.state(unit).await? == "failed" {
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
