//! logind on the system bus: who is logged in, who blocks shutdowns, and the reboot itself.

use std::os::fd::OwnedFd;

use zbus::{Connection, OwnedObjectPath, OwnedVariant, fdo};

use crate::bus::{self, BusError, Owned, Signal};

const NAME: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
const SESSION: &str = "org.freedesktop.login1.Session";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// By which name this program blocks shutdowns.
const WHO: &str = "pointsman";

/// Shutdowns are blocked until this is dropped.
#[derive(Debug)]
pub struct ShutdownBlock(#[expect(dead_code, reason = "it is open, and that is all")] OwnedFd);

/// Somebody logged in at a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The session's id.
    pub id: String,
    /// The user's name.
    pub user: String,
    /// The terminal, such as `tty1` or `pts/0`.
    pub tty: String,
}

/// Somebody who blocks shutdowns (systemd-inhibit(1)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inhibitor {
    /// Who, in their own words.
    pub who: String,
    /// Why, in their own words.
    pub why: String,
}

/// logind, asked through this connection. Every call has its time limit.
#[derive(Debug)]
pub struct Logind<'a>(&'a Connection);

impl<'a> Logind<'a> {
    /// logind on this bus.
    #[must_use]
    pub fn new(conn: &'a Connection) -> Self {
        Self(conn)
    }

    async fn property(
        &self,
        path: &str,
        interface: &str,
        name: &str,
    ) -> Result<OwnedVariant, BusError> {
        bus::call(self.0, NAME, path, PROPERTIES, "Get", &(interface, name)).await
    }

    async fn text(&self, path: &str, name: &str) -> Result<String, BusError> {
        let value = self.property(path, SESSION, name).await?;
        Ok(String::try_from(value).unwrap_or_default())
    }

    /// People: sessions of class `user` that have a terminal.
    ///
    /// # Errors
    /// When logind is not there or does not answer.
    pub async fn sessions(&self) -> Result<Vec<Session>, BusError> {
        type Listed = Vec<(String, u32, String, String, OwnedObjectPath)>;
        let listed: Listed = bus::call(self.0, NAME, PATH, MANAGER, "ListSessions", &()).await?;
        let mut sessions = Vec::new();
        for (id, _, user, _, path) in listed {
            let (class, tty) = match (
                self.text(&path, "Class").await,
                self.text(&path, "TTY").await,
            ) {
                (Ok(class), Ok(tty)) => (class, tty),
                (Err(error), _) | (_, Err(error)) if is_gone(&error) => continue,
                (Err(error), _) | (_, Err(error)) => return Err(error),
            };
            if class == "user" && !tty.is_empty() {
                sessions.push(Session { id, user, tty });
            }
        }
        Ok(sessions)
    }

    /// Blocks the shutdowns of others, who are told why. Which systemd heeds that for whom: docs/reference/configuration.md.
    ///
    /// # Errors
    /// When logind is not there, does not answer, or refuses.
    pub async fn block_shutdowns(&self, why: &str) -> Result<ShutdownBlock, BusError> {
        let body = ("shutdown", WHO, why, "block");
        let open: zbus::OwnedFd = bus::call(self.0, NAME, PATH, MANAGER, "Inhibit", &body).await?;
        Ok(ShutdownBlock(open.into()))
    }

    /// Those who block shutdowns, except this process. Root's own call would not be kept by them, so the caller has to.
    ///
    /// # Errors
    /// When logind is not there or does not answer.
    pub async fn block_inhibitors(&self) -> Result<Vec<Inhibitor>, BusError> {
        type Listed = Vec<(String, String, String, String, u32, u32)>;
        let listed: Listed = bus::call(self.0, NAME, PATH, MANAGER, "ListInhibitors", &()).await?;
        Ok(listed
            .into_iter()
            .filter(|(what, who, _, mode, _, pid)| {
                let own = who == WHO && *pid == std::process::id();
                !own && mode == "block" && what.split(':').any(|w| w == "shutdown")
            })
            .map(|(_, who, why, ..)| Inhibitor { who, why })
            .collect())
    }

    /// Whether a shutdown has begun.
    ///
    /// # Errors
    /// When logind is not there or does not answer.
    pub async fn preparing_for_shutdown(&self) -> Result<bool, BusError> {
        let value = self.property(PATH, MANAGER, "PreparingForShutdown").await?;
        bool::try_from(value).map_err(|reason| BusError::Call {
            call: "PreparingForShutdown of org.freedesktop.login1".into(),
            reason,
        })
    }

    /// Reboots the machine.
    ///
    /// # Errors
    /// When logind is not there, does not answer, or refuses. It may reboot all the same where it only did not answer.
    pub async fn reboot(&self) -> Result<(), BusError> {
        bus::call(self.0, NAME, PATH, MANAGER, "Reboot", &false).await
    }
}

/// Whether the call found no such object: a session that ended after it was listed. Any other failure says
/// nothing about who is logged in.
fn is_gone(error: &BusError) -> bool {
    matches!(error, BusError::Call { reason: zbus::Error::FDO(error), .. }
        if matches!(**error, fdo::Error::UnknownObject(_)))
}

/// Wakes when something changed that [`Logind`] would answer.
#[derive(Debug)]
pub struct Watch(Owned);

impl Watch {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn new(conn: &Connection) -> Result<Self, BusError> {
        let of = |interface, member| Signal {
            path: PATH,
            interface,
            member,
        };
        let signals = [
            of(MANAGER, "SessionNew"),
            of(MANAGER, "SessionRemoved"),
            of(MANAGER, "PrepareForShutdown"),
            // BlockInhibited.
            of(PROPERTIES, "PropertiesChanged"),
        ];
        let mut owned = Owned::follow(conn, NAME, &signals).await?;
        owned.owner();
        Ok(Self(owned))
    }

    /// Waits for the next change; none when the bus is lost.
    pub async fn next(&mut self) -> Option<()> {
        self.0.changed().await.then_some(())
    }
}
