//! systemd on the system bus.

use zbus::{Connection, OwnedObjectPath};

use crate::bus::{self, BusError};

const NAME: &str = "org.freedesktop.systemd1";

/// The targets that take the machine down (systemd.special(7)).
const DOWN: [&str; 6] = [
    "reboot.target",
    "poweroff.target",
    "halt.target",
    "kexec.target",
    "soft-reboot.target",
    "shutdown.target",
];

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
    let jobs: Result<Jobs, BusError> = bus::call(
        conn,
        NAME,
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
        "ListJobs",
        &(),
    )
    .await;
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
    let state: Result<String, BusError> = bus::call(
        conn,
        NAME,
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
        "GetUnitFileState",
        &unit,
    )
    .await;
    match state {
        Ok(state) => Ok(Some(matches!(
            state.as_str(),
            "enabled" | "enabled-runtime" | "static" | "alias" | "generated"
        ))),
        // There is no such unit.
        Err(BusError::Call {
            reason: zbus::Error::MethodError(..),
            ..
        }) => Ok(Some(false)),
        Err(error) => Err(error),
    }
}

/// The units that have failed, and those that are still to start; none where no systemd is on the bus.
///
/// # Errors
/// When systemd is there and does not answer.
pub async fn unsettled(conn: &Connection) -> Result<Vec<(String, &'static str)>, BusError> {
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
        return Ok(Vec::new());
    };
    let failed: Units = bus::call(
        conn,
        NAME,
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
        "ListUnitsFiltered",
        &(vec!["failed"],),
    )
    .await?;
    let failed = failed.into_iter().map(|unit| (unit.0, "has failed"));
    let starting = starting
        .into_iter()
        .map(|unit| (unit, "has not started yet"));
    Ok(failed.chain(starting).collect())
}

/// Has systemd `StartUnit`, `StopUnit` or `RestartUnit` a unit. It has begun when this returns, and not ended.
///
/// # Errors
/// When systemd is not there, does not answer, or knows no such unit.
pub async fn unit(conn: &Connection, method: &str, unit: &str) -> Result<(), BusError> {
    let _job: OwnedObjectPath = bus::call(
        conn,
        NAME,
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
        method,
        &(unit, "replace"),
    )
    .await?;
    Ok(())
}
