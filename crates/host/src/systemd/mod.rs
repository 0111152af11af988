//! systemd on the system bus.

pub mod boot_complete;
mod units;

use std::fmt;

use serde::{Deserialize, Serialize};
use zbus::{Connection, OwnedObjectPath, fdo};

pub use units::{JobEnd, Jobs, Link, Units};

use crate::bus::{self, BusError};

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// The targets that take the machine down (systemd.special(7)).
const DOWN: [&str; 6] = [
    "reboot.target",
    "poweroff.target",
    "halt.target",
    "kexec.target",
    "soft-reboot.target",
    "shutdown.target",
];

/// What is wrong with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// It has failed.
    Failed,
    /// Its job to start is still pending.
    Starting,
}

/// A unit that has failed, or is still to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsettled {
    /// Its name.
    pub unit: String,
    /// What is wrong with it.
    pub trouble: Trouble,
}

impl fmt::Display for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.trouble {
            Trouble::Failed => "has failed",
            Trouble::Starting => "has not started yet",
        };
        write!(f, "{} {what}", self.unit)
    }
}

/// The target of the shutdown systemd has begun, if any. Where no systemd is on the bus, it has begun none.
///
/// # Errors
/// When systemd is there and does not answer.
pub async fn shutdown_job(conn: &Connection) -> Result<Option<String>, BusError> {
    let Some(jobs) = jobs(conn).await? else {
        return Ok(None);
    };
    Ok(jobs.into_iter().find(|unit| DOWN.contains(&unit.as_str())))
}

/// Starts a service that systemd did not start because its `ExecCondition=` said no; whether it did. One that somebody stopped,
/// or that nobody asked for, stays as it is.
///
/// # Errors
/// When systemd does not answer.
pub async fn start_if_skipped(conn: &Connection, service: &str) -> Result<bool, BusError> {
    const SERVICE: &str = "org.freedesktop.systemd1.Service";
    let path = units::load(conn, service).await?;
    let result: String = units::get(conn, &path, SERVICE, "Result").await?;
    let skipped = result == "exec-condition";
    if skipped {
        unit(conn, "StartUnit", service).await?;
    }
    Ok(skipped)
}

/// The units that are to start, or have begun to; none where no systemd is on the bus.
async fn jobs(conn: &Connection) -> Result<Option<Vec<String>>, BusError> {
    type Jobs = Vec<(
        u32,
        String,
        String,
        String,
        OwnedObjectPath,
        OwnedObjectPath,
    )>;
    if !runs(conn).await? {
        return Ok(None);
    }
    let jobs: Result<Jobs, BusError> = bus::call(conn, NAME, PATH, MANAGER, "ListJobs", &()).await;
    match jobs {
        Ok(jobs) => Ok(Some(
            jobs.into_iter()
                .filter(|(_, _, kind, ..)| kind == "start")
                .map(|(_, unit, ..)| unit)
                .collect(),
        )),
        Err(BusError::NoOwner { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether systemd is on the bus.
async fn runs(conn: &Connection) -> Result<bool, BusError> {
    // Asked first: where systemd is installed but does not run, its name is activatable all the same, and a call
    // has the bus start /bin/false and report that it failed.
    let runs = bus::call(
        conn,
        "org.freedesktop.DBus",
        "/org/freedesktop/DBus",
        "org.freedesktop.DBus",
        "NameHasOwner",
        &NAME,
    );
    runs.await
}

/// Whether this unit is started at boot; none where no systemd is on the bus.
///
/// # Errors
/// When systemd does not answer.
pub async fn enabled(conn: &Connection, unit: &str) -> Result<Option<bool>, BusError> {
    if !runs(conn).await? {
        return Ok(None);
    }
    let state: Result<String, BusError> =
        bus::call(conn, NAME, PATH, MANAGER, "GetUnitFileState", &unit).await;
    match state {
        Ok(state) => Ok(Some(matches!(
            state.as_str(),
            "enabled" | "enabled-runtime" | "static" | "alias" | "generated"
        ))),
        Err(error) if is_no_unit(&error) => Ok(Some(false)),
        Err(error) => Err(error),
    }
}

/// Whether systemd answered that there is no such unit: of a unit file it says so with the bus's own error for files.
fn is_no_unit(error: &BusError) -> bool {
    match error {
        BusError::Call {
            reason: zbus::Error::FDO(error),
            ..
        } => matches!(**error, fdo::Error::FileNotFound(_)),
        BusError::Call {
            reason: zbus::Error::MethodError(..),
            ..
        } => true,
        _ => false,
    }
}

/// The units that have failed, and those that are still to start; none where no systemd is on the bus.
///
/// # Errors
/// When systemd is there and does not answer.
pub async fn unsettled(conn: &Connection) -> Result<Option<Vec<Unsettled>>, BusError> {
    type Units = Vec<(
        String,
        String,
        String,
        String,
        String,
        String,
        OwnedObjectPath,
        u32,
        String,
        OwnedObjectPath,
    )>;
    let Some(starting) = jobs(conn).await? else {
        return Ok(None);
    };
    let failed: Units = bus::call(
        conn,
        NAME,
        PATH,
        MANAGER,
        "ListUnitsFiltered",
        &(vec!["failed"],),
    )
    .await?;
    let unsettled = |trouble| move |unit| Unsettled { unit, trouble };
    let failed = failed.into_iter().map(|unit| unit.0);
    let failed = failed.map(unsettled(Trouble::Failed));
    let starting = starting.into_iter().map(unsettled(Trouble::Starting));
    Ok(Some(failed.chain(starting).collect()))
}

/// Has systemd signal the end of jobs to this connection.
async fn subscribe(conn: &Connection) -> Result<(), BusError> {
    bus::call(conn, NAME, PATH, MANAGER, "Subscribe", &()).await
}

/// Has systemd `StartUnit`, `StopUnit`, `RestartUnit` or the like a unit; the object of the job. The job has begun when this
/// returns, and not ended.
///
/// # Errors
/// When systemd is not there, does not answer, or knows no such unit.
pub async fn unit(
    conn: &Connection,
    method: &str,
    unit: &str,
) -> Result<OwnedObjectPath, BusError> {
    bus::call(conn, NAME, PATH, MANAGER, method, &(unit, "replace")).await
}
