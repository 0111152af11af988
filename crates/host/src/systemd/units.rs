//! Units of systemd: their state, the jobs that change it, and their links.

use std::{
    io,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use tokio::time::timeout;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath, message};

use super::{MANAGER, NAME, PATH, subscribe};
use crate::bus::{self, BusError};

const UNIT: &str = "org.freedesktop.systemd1.Unit";
const JOB: &str = "org.freedesktop.systemd1.Job";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// How long a unit may take to start or stop; systemd's own limits are mostly shorter.
const LIMIT: Duration = Duration::from_secs(300);

/// How long a job may wait for other jobs before it is left to systemd.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long systemd may take to reload its units, generators included.
const RELOAD: Duration = Duration::from_secs(90);

/// How many ends of other jobs are buffered while one is requested.
const QUEUE: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// A link that systemd has created or removed: `symlink` or `unlink`, path, and target.
pub type Link = (String, String, String);

/// What became of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEnd {
    /// It ended with this result, such as `done` or `failed`.
    Ended(String),
    /// It waits for other jobs; systemd runs it when they are done.
    Queued,
}

/// systemd on the system bus, with its signals about jobs.
#[derive(Debug)]
pub struct Units {
    conn: Connection,
}

impl Units {
    /// Has systemd signal the end of jobs to this connection.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub async fn subscribe(conn: Connection) -> Result<Self, BusError> {
        subscribe(&conn).await?;
        Ok(Self { conn })
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
    /// When it does not answer within 90 s.
    pub async fn reload(&self) -> io::Result<()> {
        let reload = self
            .conn
            .call_method(Some(NAME), PATH, Some(MANAGER), "Reload", &());
        match timeout(RELOAD, reload).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(io::Error::other(error)),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Enables a unit and returns the links that changed.
    ///
    /// # Errors
    /// When systemd refuses.
    pub async fn enable(&self, unit: &str, runtime: bool) -> Result<Vec<Link>, BusError> {
        let answer: (bool, Vec<Link>) = self
            .call("EnableUnitFiles", &(vec![unit], runtime, true))
            .await?;
        Ok(answer.1)
    }

    /// Reads the state of a unit, such as `active`.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub async fn state(&self, unit: &str) -> Result<String, BusError> {
        let path = load(&self.conn, unit).await?;
        property(&self.conn, &path, "ActiveState").await
    }

    /// Resets the failed state of a unit.
    ///
    /// # Errors
    /// When systemd refuses, as it does where the unit has not failed and is not loaded.
    pub async fn reset_failed(&self, unit: &str) -> Result<(), BusError> {
        self.call("ResetFailedUnit", &unit).await
    }

    /// Requests a job, such as `StartUnit`, without waiting for its end.
    ///
    /// # Errors
    /// As [`super::unit`].
    pub async fn request(&self, method: &str, unit: &str) -> Result<OwnedObjectPath, BusError> {
        super::unit(&self.conn, method, unit).await
    }

    /// Follows the jobs that end from now on.
    ///
    /// # Errors
    /// When the bus does not answer within 10 s.
    pub async fn jobs(&self) -> zbus::Result<Jobs<'_>> {
        let ends = async {
            let rule = MatchRule::builder()
                .msg_type(message::Type::Signal)
                .sender(NAME)
                .interface(MANAGER)
                .member("JobRemoved")
                .build()?;
            MessageStream::for_match_rule(rule, &self.conn, Some(QUEUE)).await
        };
        let ends = bus::in_time(ends).await?;
        Ok(Jobs { units: self, ends })
    }

    /// Whether a job waits for others and has not begun.
    async fn is_queued(&self, job: &OwnedObjectPath) -> bool {
        let state: Result<String, BusError> = get(&self.conn, job, JOB, "State").await;
        state.is_ok_and(|state| state == "waiting")
    }
}

/// The jobs of systemd that end.
#[derive(Debug)]
pub struct Jobs<'a> {
    units: &'a Units,
    ends: MessageStream,
}

impl Jobs<'_> {
    /// Waits for the end of a job that was requested after [`Units::jobs`]; not for one that itself waits for other jobs: it may
    /// wait for the boot of which this program is part.
    pub async fn end_of(mut self, job: &OwnedObjectPath) -> JobEnd {
        let mut ended = std::pin::pin!(async {
            while let Some(Ok(message)) = self.ends.next().await {
                let ended = message
                    .body()
                    .deserialize::<(u32, OwnedObjectPath, String, String)>();
                if let Ok((_, path, _, result)) = ended
                    && path == *job
                {
                    return result;
                }
            }
            "the connection to D-Bus is closed".to_owned()
        });
        let began = Instant::now();
        loop {
            match timeout(PATIENCE, &mut ended).await {
                Ok(result) => return JobEnd::Ended(result),
                Err(_) if self.units.is_queued(job).await => return JobEnd::Queued,
                Err(_) if began.elapsed() < LIMIT => {}
                Err(_) => {
                    let late = format!("not finished after {} s", LIMIT.as_secs());
                    return JobEnd::Ended(late);
                }
            }
        }
    }
}

/// The object of a unit, which is loaded where it was not.
pub(super) async fn load(conn: &Connection, unit: &str) -> Result<OwnedObjectPath, BusError> {
    bus::call(conn, NAME, PATH, MANAGER, "LoadUnit", &unit).await
}

/// A property of a unit.
pub(super) async fn property<T>(
    conn: &Connection,
    path: &OwnedObjectPath,
    name: &str,
) -> Result<T, BusError>
where
    T: TryFrom<zbus::OwnedVariant>,
    T::Error: Into<zbus::Error>,
{
    get(conn, path, UNIT, name).await
}

/// A property of an object of systemd.
pub(super) async fn get<T>(
    conn: &Connection,
    path: &OwnedObjectPath,
    interface: &str,
    name: &str,
) -> Result<T, BusError>
where
    T: TryFrom<zbus::OwnedVariant>,
    T::Error: Into<zbus::Error>,
{
    let value: zbus::OwnedVariant = bus::call(
        conn,
        NAME,
        path.as_str(),
        PROPERTIES,
        "Get",
        &(interface, name),
    )
    .await?;
    T::try_from(value).map_err(|reason| BusError::Call {
        call: format!("{name} of {NAME}"),
        reason: reason.into(),
    })
}
