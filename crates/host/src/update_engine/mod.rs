//! update_engine on the system bus: what it says, and how it is told to look for updates.

pub mod conf;
#[cfg(test)]
mod on_a_bus;
mod status;

use std::time::Duration;

use tokio::{sync::mpsc, time::timeout};
use zbus::{
    Connection, fdo,
    names::{BusName, WellKnownName},
};

pub use status::{Operation, Status};

use crate::{
    bus::{BusError, Owned, Signal, Task, call, call_with_timeout},
    kept::Kept,
    node::Root,
};

/// Its name on the bus.
pub const NAME: &str = "com.coreos.update1";
const PATH: &str = "/com/coreos/update1";
const INTERFACE: &str = "com.coreos.update1.Manager";
const STATUS_UPDATE: Signal = Signal {
    path: PATH,
    interface: INTERFACE,
    member: "StatusUpdate",
};
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// How long after a failed call the news may take that the service has ended, which then was the reason.
const GRACE: Duration = Duration::from_secs(1);

/// The update_engine on a bus.
#[derive(Debug, Clone)]
pub struct UpdateEngine {
    conn: Connection,
}

impl UpdateEngine {
    /// The one on this bus, whether it is there or not.
    #[must_use]
    pub fn new(conn: &Connection) -> Self {
        Self { conn: conn.clone() }
    }

    /// What it does now.
    ///
    /// # Errors
    /// When it is not on the bus, does not answer within 10 s, or answers otherwise than expected.
    pub async fn get_status(&self) -> Result<Status, BusError> {
        self.status_of(NAME).await
    }

    async fn status_of(&self, name: &str) -> Result<Status, BusError> {
        call::<_, status::Wire>(&self.conn, name, PATH, INTERFACE, "GetStatus", &())
            .await
            .map(Status::from)
    }

    /// Has it look for an update now, and stage it if there is one.
    ///
    /// # Errors
    /// As [`Self::get_status`].
    pub async fn attempt_update(&self) -> Result<(), BusError> {
        call(&self.conn, NAME, PATH, INTERFACE, "AttemptUpdate", &()).await
    }

    /// Has it forget the staged update. It emits no signal for that.
    ///
    /// # Errors
    /// As [`Self::get_status`]; it refuses while it is at work.
    pub async fn reset_status(&self) -> Result<(), BusError> {
        call(&self.conn, NAME, PATH, INTERFACE, "ResetStatus", &()).await
    }

    /// Watches it; the first item comes at once. Must run inside a tokio runtime.
    #[must_use]
    pub fn watch(&self) -> Watch {
        let (tell, told) = mpsc::channel(1);
        Watch {
            told,
            _task: Task::spawn(watch(self.clone(), tell)),
        }
    }
}

/// What became known.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Its status; maybe the same as before.
    Status(Status),
    /// It is not on the bus.
    Gone,
    /// Its status could not be read, for this reason; it will be tried again.
    Failed(Kept<BusError>),
}

/// Watches update_engine: its status is read again when it comes up and after each signal of its own.
#[derive(Debug)]
pub struct Watch {
    told: mpsc::Receiver<Change>,
    _task: Task,
}

impl Watch {
    /// The next change; none: the connection to the bus is lost. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Change> {
        self.told.recv().await
    }
}

async fn watch(engine: UpdateEngine, tell: mpsc::Sender<Change>) {
    let mut retry = FIRST_RETRY;
    while !engine.conn.is_closed() {
        match Owned::follow(&engine.conn, NAME, &[STATUS_UPDATE]).await {
            Ok(owned) => return follow(&engine, owned, &tell).await,
            Err(_) if engine.conn.is_closed() => return,
            Err(error) => {
                if tell.send(Change::Failed(error.into())).await.is_err() {
                    return;
                }
                tokio::time::sleep(retry).await;
            }
        }
        retry = (retry * 2).min(LAST_RETRY);
    }
}

/// Ends when nobody listens any more, or the connection is lost.
async fn follow(engine: &UpdateEngine, mut owned: Owned, tell: &mpsc::Sender<Change>) {
    let mut retry = FIRST_RETRY;
    let mut gone = false;
    loop {
        let Some(owner) = owned.owner() else {
            if !gone && tell.send(Change::Gone).await.is_err() {
                return;
            }
            gone = true;
            if !owned.changed().await {
                return;
            }
            continue;
        };
        // By its unique name, so that nobody else's answer is taken for its own.
        let answer = engine.status_of(owner.as_str()).await;
        if !owned.is_owner(&owner) {
            continue;
        }
        gone = false;
        match answer {
            Ok(status) => {
                retry = FIRST_RETRY;
                if tell.send(Change::Status(status)).await.is_err() || !owned.changed().await {
                    return;
                }
            }
            Err(error) => match timeout(GRACE, owned.replaced(&owner)).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => {
                    if tell.send(Change::Failed(error.into())).await.is_err() {
                        return;
                    }
                    if let Ok(false) = timeout(retry, owned.changed()).await {
                        return;
                    }
                    retry = (retry * 2).min(LAST_RETRY);
                }
            },
        }
    }
}

/// Whether this node has an update_engine: its unit is there, or its name on the bus has an owner or could
/// be activated. Where it has none, the sentinel file says whether a reboot is wanted. A bus that does not
/// answer counts as no, and is logged.
pub async fn installed(conn: &Connection, root: &Root) -> bool {
    unit_exists(root)
        || on_bus(conn).await.unwrap_or_else(|error| {
            tracing::warn!("assuming that update_engine is not installed: {error}");
            false
        })
}

fn unit_exists(root: &Root) -> bool {
    ["etc", "usr/lib"].iter().any(|folder| {
        // Also where it is a link to what the tree does not have.
        root.path(folder)
            .join("systemd/system/update-engine.service")
            .is_there()
    })
}

async fn on_bus(conn: &Connection) -> Result<bool, BusError> {
    let name = WellKnownName::from_static_str_unchecked(NAME);
    let what = format!("looking for {NAME}");
    call_with_timeout("org.freedesktop.DBus", what, async {
        let bus = fdo::DBusProxy::new(conn).await?;
        let has_owner = bus.name_has_owner(BusName::from(name.clone())).await?;
        Ok(has_owner
            || bus
                .list_activatable_names()
                .await?
                .iter()
                .any(|activatable| activatable.as_str() == NAME))
    })
    .await
}
