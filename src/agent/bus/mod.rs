//! The agent on the system bus: what it is doing, for everyone to read, and what root may ask of it.

use std::collections::HashMap;

use host::bus;
use semaphore::records::ImageId;
use tokio::sync::{mpsc, oneshot, watch};
use zbus::{
    Connection, DBusError as _, OwnedVariant, Variant,
    fdo::{self, RequestNameFlags},
    object_server::SignalEmitter,
};

use super::{failure::Refusal, situation::Request};
use object::Agent;

pub use client::{AgentClient, Changes, ClientError};

mod client;
mod object;

/// The agent's bus name.
pub const NAME: &str = "org.pointsman.Agent1";
/// The object the agent serves.
pub const PATH: &str = "/org/pointsman/Agent1";
/// The interface of that object.
pub const INTERFACE: &str = "org.pointsman.Agent1";
/// The D-Bus error by which the agent says no; its message is a sentence for people.
pub const REFUSED: &str = "org.pointsman.Error.Refused";

/// The file of the bus policy without which the agent may not own its name.
const POLICY: &str = "/usr/share/dbus-1/system.d/org.pointsman.Agent1.conf";

/// What someone asks of the agent over the bus; always root.
#[derive(Debug)]
pub enum Call {
    /// To reboot, as soon as the node may.
    RequestReboot {
        /// Why, for people, which is not blank; and whether it is urgent.
        request: Request,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// To forget the reboot asked for.
    Cancel {
        /// Where the answer goes.
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// To end the soak of this node.
    EndSoak {
        /// Where the answer goes: why the agent refuses.
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// Not to boot an image on this node.
    Quarantine {
        /// The image or version.
        what: ImageId,
        /// Why, for people.
        reason: String,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// To clear what this node has found to be bad.
    ClearQuarantine {
        /// The image or version.
        what: ImageId,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
}

macro_rules! published {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $property:literal,)*) => {
        /// The values of the interface's properties.
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct Published {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl Published {
            /// The properties whose value differs from `old`'s, by name.
            fn changed_since(&self, old: &Self) -> HashMap<&'static str, Variant<'_>> {
                let mut changed = HashMap::new();
                $(if self.$field != old.$field {
                    changed.insert($property, Variant::from(&self.$field));
                })*
                changed
            }

            /// Takes over the properties given. One unknown, or of another type, is passed over: the agent
            /// may be of another version than the client.
            fn take(&mut self, values: HashMap<String, OwnedVariant>) {
                for (name, value) in values {
                    match name.as_str() {
                        $($property => if let Ok(value) = value.try_into() {
                            self.$field = value;
                        },)*
                        _ => {}
                    }
                }
            }
        }
    };
}

published! {
    /// `State`: the state's word.
    state: String = "State",
    /// `Reason`: what it waits for, a sentence, or empty.
    waits_for: String = "Reason",
    /// `Strategy`: what is asked before a reboot.
    strategy: String = "Strategy",
    /// `Group`: the group whose semaphore is taken.
    group: String = "Group",
    /// `NodeId`: by what the node goes in etcd.
    node_id: String = "NodeId",
    /// `Since`: when the state began, RFC 3339.
    since: String = "Since",
    /// `Holding`: whether the node holds the semaphore.
    holding: bool = "Holding",
    /// `Request`: the reason of the reboot asked for, or empty.
    request: String = "Request",
    /// `Version`: the agent's version.
    version: String = "Version",
    /// `Update`: what update_engine does.
    update: String = "Update",
    /// `ConfigError`: why the configuration on disk is not the one in force, or empty.
    config_error: String = "ConfigError",
    /// `EtcdError`: why etcd cannot be asked, or empty.
    etcd_error: String = "EtcdError",
    /// `Member`: the member of etcd that is taken for this node's, by its name and id, or empty.
    member: String = "Member",
    /// `To`: the version that the node would reboot into, or empty.
    to: String = "To",
    /// `FailedBefore`: the units that fail in this boot as they did before the reboot, a sentence each.
    failed_before: Vec<String> = "FailedBefore",
    /// `Recorded`: whether etcd has this node's record as this agent wrote it.
    recorded: bool = "Recorded",
    /// `Twin`: that another machine goes by this machine's id, a sentence, or empty.
    twin: String = "Twin",
    /// `LockServer`: the URL of the FleetLock server that is asked; empty with other strategies.
    lock_server: String = "LockServer",
    /// `LockServerLastCall`: the last call to it, when that was, and what it answered; or empty.
    lock_server_last_call: String = "LockServerLastCall",
    /// `LockServerError`: why it does not answer as a FleetLock server does, or empty.
    lock_server_error: String = "LockServerError",
}

/// Why the agent cannot be on the bus.
#[derive(Debug, thiserror::Error)]
pub enum AgentBusError {
    /// Someone owns the name.
    #[error(
        "{NAME} is taken on the bus: another agent runs; stop it first (`busctl status {NAME}` shows it)"
    )]
    Taken,
    /// The bus's policy forbids it.
    #[error(
        "the bus does not let this process own {NAME} ({0}): it must run as root, and {POLICY} must be \
         installed and the bus told to read it (`busctl call org.freedesktop.DBus /org/freedesktop/DBus \
         org.freedesktop.DBus ReloadConfig`)"
    )]
    Forbidden(String),
    /// Anything else the bus says.
    #[error("the bus does not let the agent serve {NAME}: {0}")]
    Bus(zbus::Error),
}

/// The agent's place on the bus; it is there until the connection ends.
#[derive(Debug)]
pub struct AgentBus {
    published: watch::Sender<Published>,
    emitter: SignalEmitter<'static>,
}

impl AgentBus {
    /// Serves the interface and then takes the name, so that no one finds the name without the interface.
    /// What is asked goes to `calls`.
    ///
    /// # Errors
    /// When the name is taken, the policy forbids it, or the bus fails.
    pub async fn start(
        conn: &Connection,
        calls: mpsc::Sender<Call>,
    ) -> Result<Self, AgentBusError> {
        let (published, values) = watch::channel(Published::default());
        conn.object_server()
            .at(PATH, Agent { values, calls })
            .await
            .map_err(AgentBusError::Bus)?;
        // Not to be replaced, and not to wait in a line: two agents on a node would take turns unseen.
        let name = conn.request_name_with_flags(NAME, RequestNameFlags::DO_NOT_QUEUE);
        bus::in_time(name).await.map_err(|error| match error {
            zbus::Error::NameTaken => AgentBusError::Taken,
            zbus::Error::FDO(error) if error.name() == ACCESS_DENIED => {
                AgentBusError::Forbidden(error.description().unwrap_or_default().to_owned())
            }
            error => AgentBusError::Bus(error),
        })?;
        let emitter = SignalEmitter::new(conn, PATH)
            .map_err(AgentBusError::Bus)?
            .into_owned();
        Ok(Self { published, emitter })
    }

    /// Makes these the values of the properties, and tells of those that changed, in one signal. A bus that
    /// cannot be told is logged only: whoever uses the connection next learns of it.
    pub async fn publish(&self, new: &Published) {
        let old = self.published.send_replace(new.clone());
        let changed = new.changed_since(&old);
        if changed.is_empty() {
            return;
        }
        let interface = INTERFACE
            .try_into()
            .expect("the constant is an interface's name");
        let told =
            fdo::Properties::properties_changed(&self.emitter, interface, changed, [][..].into());
        if let Err(error) = bus::in_time(told).await {
            tracing::warn!("the agent's state cannot be published on the bus: {error}");
        }
    }
}

const ACCESS_DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";

#[cfg(test)]
mod on_a_bus;
