//! The other side: how the command line asks the agent of this node.

use futures_util::{FutureExt as _, StreamExt as _};
use host::{
    bus::{self, BusError},
    node::Root,
    remedy::Remedy,
};
use semaphore::records::ImageId;
use zbus::{Connection, MatchRule, MessageStream, message::Type};

use super::{INTERFACE, NAME, PATH, Published, REFUSED};

const BUS: &str = "org.freedesktop.DBus";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Why the agent of this node did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No agent is on the bus.
    #[error("no agent runs on this node ({NAME} is not on the bus)")]
    NotRunning,
    /// The bus or the agent lets root only: the sentence.
    #[error("{0}")]
    AccessDenied(BusError),
    /// The agent refuses: its sentence.
    #[error("the agent refuses: {0}")]
    Refused(String),
    /// The bus is out of reach, or the agent fails or does not answer.
    #[error(transparent)]
    Bus(BusError),
}

impl ClientError {
    /// What a person can do about it, where that is known.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::NotRunning => Some(Remedy::new("start it", "systemctl start pointsman")),
            Self::AccessDenied(error) | Self::Bus(error) => error.remedy(),
            Self::Refused(_) => None,
        }
    }
}

impl From<BusError> for ClientError {
    fn from(error: BusError) -> Self {
        let (name, text) = match &error {
            BusError::NoOwner { .. } => return Self::NotRunning,
            BusError::Denied { .. } => return Self::AccessDenied(error),
            BusError::Call {
                reason: zbus::Error::FDO(error),
                ..
            } => {
                use zbus::DBusError as _;
                (
                    error.name().to_string(),
                    error.description().unwrap_or_default().to_owned(),
                )
            }
            BusError::Call {
                reason: zbus::Error::MethodError(name, text, _),
                ..
            } => (name.to_string(), text.clone().unwrap_or_default()),
            _ => return Self::Bus(error),
        };
        match name.as_str() {
            REFUSED => Self::Refused(text),
            _ => Self::Bus(error),
        }
    }
}

/// A connection to the agent of this node.
#[derive(Debug, Clone)]
pub struct AgentClient {
    conn: Connection,
}

impl AgentClient {
    /// Connects to the machine's bus.
    ///
    /// # Errors
    /// When the bus is out of reach. Whether an agent runs is seen with the first question.
    pub async fn connect(root: &Root) -> Result<Self, ClientError> {
        Ok(Self::new(bus::connect(root).await?))
    }

    /// Asks over this connection.
    #[must_use]
    pub fn new(conn: Connection) -> Self {
        Self { conn }
    }

    /// What the agent does now.
    ///
    /// # Errors
    /// When no agent runs, or it does not answer within 10 s.
    pub async fn properties(&self) -> Result<Published, ClientError> {
        let mut published = Published::default();
        published.take(bus::call(&self.conn, NAME, PATH, PROPERTIES, "GetAll", &INTERFACE).await?);
        Ok(published)
    }

    /// Asks for a reboot, for this reason. Done means that the agent took note; follow [`Self::changes`].
    ///
    /// # Errors
    /// When no agent runs, the caller is not root, the agent refuses, or it does not answer within 10 s.
    pub async fn request_reboot(&self, reason: &str) -> Result<(), ClientError> {
        let call = bus::call(&self.conn, NAME, PATH, INTERFACE, "RequestReboot", &reason);
        Ok(call.await?)
    }

    /// Asks for a reboot, for this reason, that does not wait for the reboot windows.
    ///
    /// # Errors
    /// As [`Self::request_reboot`]; also where the agent is too old to know of this.
    pub async fn request_urgent_reboot(&self, reason: &str) -> Result<(), ClientError> {
        let method = "RequestUrgentReboot";
        Ok(bus::call(&self.conn, NAME, PATH, INTERFACE, method, &reason).await?)
    }

    /// Takes back the reboot asked for.
    ///
    /// # Errors
    /// As [`Self::request_reboot`].
    pub async fn cancel(&self) -> Result<(), ClientError> {
        Ok(bus::call(&self.conn, NAME, PATH, INTERFACE, "Cancel", &()).await?)
    }

    /// Ends the soak of this node.
    ///
    /// # Errors
    /// As [`Self::request_reboot`].
    pub async fn end_soak(&self) -> Result<(), ClientError> {
        Ok(bus::call(&self.conn, NAME, PATH, INTERFACE, "EndSoak", &()).await?)
    }

    /// Keeps this node from booting an image or version.
    ///
    /// # Errors
    /// As [`Self::request_reboot`].
    pub async fn quarantine(&self, what: &ImageId, reason: &str) -> Result<(), ClientError> {
        let (image, version) = parts(what);
        let body = (image, version, reason);
        Ok(bus::call(&self.conn, NAME, PATH, INTERFACE, "Quarantine", &body).await?)
    }

    /// Clears what this node has found to be bad.
    ///
    /// # Errors
    /// As [`Self::request_reboot`].
    pub async fn clear_quarantine(&self, what: &ImageId) -> Result<(), ClientError> {
        let body = parts(what);
        Ok(bus::call(&self.conn, NAME, PATH, INTERFACE, "ClearQuarantine", &body).await?)
    }

    /// What the agent does now, and then every change, until it goes away.
    ///
    /// # Errors
    /// When no agent runs, or the bus fails.
    pub async fn changes(&self) -> Result<Changes, ClientError> {
        let subscribe = |rule: zbus::Result<MatchRule<'static>>| async {
            let failed = |error| BusError::Call {
                call: format!("subscribing to {NAME}"),
                reason: error,
            };
            let rule = rule.map_err(failed)?;
            MessageStream::for_match_rule(rule, &self.conn, None)
                .await
                .map_err(failed)
        };
        let left = subscribe(
            MatchRule::builder()
                .msg_type(Type::Signal)
                .sender(BUS)
                .interface(BUS)
                .member("NameOwnerChanged")
                .arg(0, NAME)
                .build(),
        )
        .await?;
        // By its unique name: what another process says, or an agent started later, is not this agent's word.
        let owner: String = bus::call(
            &self.conn,
            BUS,
            "/org/freedesktop/DBus",
            BUS,
            "GetNameOwner",
            &NAME,
        )
        .await
        .map_err(|error| match error {
            BusError::NoOwner { .. } => ClientError::NotRunning,
            error => error.into(),
        })?;
        let changed = subscribe(
            MatchRule::builder()
                .msg_type(Type::Signal)
                .sender(owner)
                .path(PATH)
                .interface(PROPERTIES)
                .member("PropertiesChanged")
                .arg(0, INTERFACE)
                .build(),
        )
        .await?;
        // After the subscription, so that nothing falls between.
        let now = self.properties().await?;
        Ok(Changes {
            changed,
            left,
            now,
            told: false,
            gone: false,
        })
    }
}

/// An image as it goes over the bus: an absent part is an empty text.
fn parts(what: &ImageId) -> (&str, &str) {
    (
        what.digest.as_deref().unwrap_or_default(),
        what.version.as_deref().unwrap_or_default(),
    )
}

/// The agent's doings, as they change; see [`AgentClient::changes`].
#[derive(Debug)]
pub struct Changes {
    changed: MessageStream,
    left: MessageStream,
    now: Published,
    told: bool,
    gone: bool,
}

impl Changes {
    /// The next change; the first is what holds at the start. None when the agent went away: it ended, or
    /// the bus did. What it said before is told first.
    pub async fn next(&mut self) -> Option<Published> {
        if !std::mem::replace(&mut self.told, true) {
            return Some(self.now.clone());
        }
        loop {
            let message = if self.gone {
                // Its last words.
                self.changed.next().now_or_never().flatten()
            } else {
                tokio::select! {
                    biased;
                    message = self.changed.next() => message,
                    _ = self.left.next() => {
                        self.gone = true;
                        continue;
                    }
                }
            };
            let body = message?.ok()?.body();
            let Ok((_, values, _)) = body.deserialize::<(
                String,
                std::collections::HashMap<String, zbus::OwnedVariant>,
                Vec<String>,
            )>() else {
                continue;
            };
            self.now.take(values);
            return Some(self.now.clone());
        }
    }
}
