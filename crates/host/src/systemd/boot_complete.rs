//! `boot-complete.target` (systemd.special(7)): how systemd is told that a boot is good, and what others hang before it.
//!
//! A unit that the target requires and that is ordered before it is a check of the boot ("Automatic Boot Assessment" of
//! systemd). `systemd-bless-boot.service` runs once the target is reached.

use zbus::{Connection, OwnedObjectPath};

use super::{
    MANAGER, NAME, PATH, subscribe,
    units::{load, property},
};
use crate::bus::{BusError, Owned, Signal};

/// Its name.
pub const TARGET: &str = "boot-complete.target";

/// What waits for it: systemd's own service that marks the boot loader's entry good.
const BEHIND: &str = "systemd-bless-boot.service";

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
    let path = load(conn, TARGET).await?;
    let state: String = property(conn, &path, "LoadState").await?;
    if state != "loaded" {
        return Ok(None);
    }
    let required: Vec<String> = property(conn, &path, "Requires").await?;
    let before: Vec<String> = property(conn, &path, "After").await?;
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
    if let Err(error) = subscribe(conn).await {
        tracing::debug!("{error}");
    }
    super::unit(conn, "StartUnit", TARGET).await?;
    let path = load(conn, TARGET).await?;
    loop {
        jobs.owner();
        let (job, _): (u32, OwnedObjectPath) = property(conn, &path, "Job").await?;
        if job == 0 {
            let state: String = property(conn, &path, "ActiveState").await?;
            return Ok(state == "active");
        }
        if !jobs.changed().await {
            return Ok(false);
        }
    }
}
