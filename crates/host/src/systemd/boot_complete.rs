//! `boot-complete.target` (systemd.special(7)): how systemd is told that a boot is good, and what others hang before it.
//!
//! A unit that the target requires and that is ordered before it is a check of the boot ("Automatic Boot Assessment" of
//! systemd). `systemd-bless-boot.service` runs once the target is reached.

use zbus::{Connection, OwnedObjectPath};

use super::{MANAGER, NAME, PATH};
use crate::bus::{self, BusError, Owned, Signal};

/// Its name.
pub const TARGET: &str = "boot-complete.target";

/// What waits for it: systemd's own service that marks the boot loader's entry good.
const BEHIND: &str = "systemd-bless-boot.service";

const UNIT: &str = "org.freedesktop.systemd1.Unit";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// The target as systemd has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gate {
    /// The units that it requires and that are ordered before it.
    pub checks: Vec<String>,
}

impl Gate {
    /// Whether this unit's state is the target's matter: a check's, its own, or that of what waits for it.
    #[must_use]
    pub fn concerns(&self, unit: &str) -> bool {
        unit == TARGET || unit == BEHIND || self.checks.iter().any(|check| check == unit)
    }
}

/// The target; none where this systemd has none.
///
/// # Errors
/// When systemd does not answer.
pub async fn gate(conn: &Connection) -> Result<Option<Gate>, BusError> {
    let path: OwnedObjectPath = bus::call(conn, NAME, PATH, MANAGER, "LoadUnit", &TARGET).await?;
    let property = |name| text(conn, &path, name);
    if property("LoadState").await? != "loaded" {
        return Ok(None);
    }
    let required = texts(conn, &path, "Requires").await?;
    let before = texts(conn, &path, "After").await?;
    let checks = required.into_iter().filter(|unit| before.contains(unit));
    Ok(Some(Gate {
        checks: checks.collect(),
    }))
}

/// Starts the target, with all that it requires, and waits until it is reached or cannot be; whether it is reached.
///
/// # Errors
/// When systemd does not answer.
pub async fn start(conn: &Connection) -> Result<bool, BusError> {
    let removed = Signal {
        path: PATH,
        interface: MANAGER,
        member: "JobRemoved",
    };
    let mut jobs = Owned::follow(conn, NAME, &[removed]).await?;
    // systemd signals jobs to subscribers only; who has subscribed already is refused, and hears of them.
    let subscribed: Result<(), BusError> =
        bus::call(conn, NAME, PATH, MANAGER, "Subscribe", &()).await;
    if let Err(error) = subscribed {
        tracing::debug!("{error}");
    }
    super::unit(conn, "StartUnit", TARGET).await?;
    let path: OwnedObjectPath = bus::call(conn, NAME, PATH, MANAGER, "LoadUnit", &TARGET).await?;
    loop {
        jobs.owner();
        let (job, _): (u32, OwnedObjectPath) = get(conn, &path, "Job").await?;
        if job == 0 {
            return Ok(text(conn, &path, "ActiveState").await? == "active");
        }
        if !jobs.changed().await {
            return Ok(false);
        }
    }
}

async fn text(conn: &Connection, path: &OwnedObjectPath, name: &str) -> Result<String, BusError> {
    get(conn, path, name).await
}

async fn texts(
    conn: &Connection,
    path: &OwnedObjectPath,
    name: &str,
) -> Result<Vec<String>, BusError> {
    get(conn, path, name).await
}

/// A property of a unit.
async fn get<T>(conn: &Connection, path: &OwnedObjectPath, name: &str) -> Result<T, BusError>
where
    T: TryFrom<zbus::OwnedVariant>,
    T::Error: Into<zbus::Error>,
{
    let value: zbus::OwnedVariant =
        bus::call(conn, NAME, path.as_str(), PROPERTIES, "Get", &(UNIT, name)).await?;
    T::try_from(value).map_err(|reason| BusError::Call {
        call: format!("{name} of {NAME}"),
        reason: reason.into(),
    })
}
