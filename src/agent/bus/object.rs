//! The object on the bus: its methods, which only root may call, and its properties.

use host::bus;
use semaphore::records::{self, ImageId};
use tokio::sync::{mpsc, oneshot, watch};
use zbus::{BoxDBusError, Connection, DBusError, fdo, interface, message::Header};

use super::{Call, Published};
use crate::agent::{failure::Refusal, situation::Request};

/// The agent says no.
#[derive(Debug, DBusError)]
#[zbus(prefix = "org.pointsman.Error")]
enum AgentError {
    Refused(String),
}

/// The object.
pub(super) struct Agent {
    /// The values of its properties.
    pub(super) values: watch::Receiver<Published>,
    /// Where its calls go.
    pub(super) calls: mpsc::Sender<Call>,
}

impl Agent {
    /// Lets root through only. The bus's policy says so too; this holds where the policy was loosened.
    async fn allow(&self, conn: &Connection, header: &Header<'_>) -> Result<(), BoxDBusError> {
        let denied = |why: String| fdo::Error::AccessDenied(why).into();
        let Some(sender) = header.sender() else {
            return Err(denied("the caller is unknown, expected root".into()));
        };
        let user = bus::call(
            conn,
            "org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus",
            "GetConnectionUnixUser",
            sender,
        );
        match user.await {
            Ok(0_u32) => Ok(()),
            Ok(uid) => Err(denied(format!(
                "only root may ask this of the agent, and the caller is user {uid}"
            ))),
            Err(error) => Err(denied(format!(
                "only root may ask this of the agent, and the bus does not say who calls: {error}"
            ))),
        }
    }

    /// Hands the call to the agent and waits for its answer.
    async fn ask(
        &self,
        call: impl FnOnce(oneshot::Sender<Result<(), Refusal>>) -> Call,
    ) -> Result<(), BoxDBusError> {
        let (reply, answer) = oneshot::channel();
        // A send that fails drops `reply`, and so is seen below.
        let _ = self.calls.send(call(reply)).await;
        match answer.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(Box::new(AgentError::Refused(why.to_string()))),
            Err(_) => Err(fdo::Error::Failed("the agent is ending; try again".into()).into()),
        }
    }
}

impl Agent {
    /// Asks for this reboot.
    async fn reboot(
        &self,
        conn: &Connection,
        header: &Header<'_>,
        request: Request,
    ) -> Result<(), BoxDBusError> {
        self.allow(conn, header).await?;
        given(&request.reason)?;
        self.ask(|reply| Call::RequestReboot { request, reply })
            .await
    }
}

/// A reason as it comes over the bus.
fn given(reason: &str) -> Result<(), BoxDBusError> {
    records::reason(reason)
        .map_err(|why| fdo::Error::InvalidArgs(format!("the reason: {why}")).into())
}

/// An image as it comes over the bus, where an absent part is an empty text.
fn known(image: String, version: String) -> Result<ImageId, BoxDBusError> {
    let part = |text: String| Some(text).filter(|text| !text.is_empty());
    match (part(image), part(version)) {
        (None, None) => {
            let why = "an image or a version is expected, and both are empty";
            Err(fdo::Error::InvalidArgs(why.into()).into())
        }
        (image, version) => Ok(ImageId {
            digest: image,
            version,
        }),
    }
}

/// What the agent of this node does, and what root may ask of it.
#[interface(name = "org.pointsman.Agent1")]
impl Agent {
    /// Asks for a reboot; the agent goes for it as soon as the node may. Root only.
    async fn request_reboot(
        &self,
        #[zbus(connection)] conn: &Connection,
        #[zbus(header)] header: Header<'_>,
        reason: String,
    ) -> Result<(), BoxDBusError> {
        self.reboot(conn, &header, Request::new(reason)).await
    }

    /// Asks for a reboot that does not wait for the reboot windows; for all else it does. Root only.
    async fn request_urgent_reboot(
        &self,
        #[zbus(connection)] conn: &Connection,
        #[zbus(header)] header: Header<'_>,
        reason: String,
    ) -> Result<(), BoxDBusError> {
        let request = Request {
            urgent: true,
            ..Request::new(reason)
        };
        self.reboot(conn, &header, request).await
    }

    /// Takes back the reboot asked for. Root only.
    async fn cancel(
        &self,
        #[zbus(connection)] conn: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), BoxDBusError> {
        self.allow(conn, &header).await?;
        self.ask(|reply| Call::Cancel { reply }).await
    }

    /// Ends the soak of this node: one that has not failed counts as passed. Root only.
    async fn end_soak(
        &self,
        #[zbus(connection)] conn: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), BoxDBusError> {
        self.allow(conn, &header).await?;
        self.ask(|reply| Call::EndSoak { reply }).await
    }

    /// Keeps this node, and no other, from booting the image (`sha256:…`) or version; one of the two may be empty.
    /// Root only.
    async fn quarantine(
        &self,
        #[zbus(connection)] conn: &Connection,
        #[zbus(header)] header: Header<'_>,
        image: String,
        version: String,
        reason: String,
    ) -> Result<(), BoxDBusError> {
        self.allow(conn, &header).await?;
        let what = known(image, version)?;
        given(&reason)?;
        self.ask(|reply| Call::Quarantine {
            what,
            reason,
            reply,
        })
        .await
    }

    /// Clears what this node itself has found to be bad, or was told to be. Root only.
    async fn clear_quarantine(
        &self,
        #[zbus(connection)] conn: &Connection,
        #[zbus(header)] header: Header<'_>,
        image: String,
        version: String,
    ) -> Result<(), BoxDBusError> {
        self.allow(conn, &header).await?;
        let what = known(image, version)?;
        self.ask(|reply| Call::ClearQuarantine { what, reply })
            .await
    }

    /// The state's word.
    #[zbus(property)]
    fn state(&self) -> String {
        self.values.borrow().state.clone()
    }

    /// What the agent waits for.
    #[zbus(property)]
    fn reason(&self) -> String {
        self.values.borrow().waits_for.clone()
    }

    /// What is asked before a reboot.
    #[zbus(property)]
    fn strategy(&self) -> String {
        self.values.borrow().strategy.clone()
    }

    /// The group whose semaphore is taken.
    #[zbus(property)]
    fn group(&self) -> String {
        self.values.borrow().group.clone()
    }

    /// By what the node goes in etcd.
    #[zbus(property)]
    fn node_id(&self) -> String {
        self.values.borrow().node_id.clone()
    }

    /// When the state began, RFC 3339.
    #[zbus(property)]
    fn since(&self) -> String {
        self.values.borrow().since.clone()
    }

    /// Whether the node holds the semaphore.
    #[zbus(property)]
    fn holding(&self) -> bool {
        self.values.borrow().holding
    }

    /// The reason of the reboot asked for, or empty.
    #[zbus(property)]
    fn request(&self) -> String {
        self.values.borrow().request.clone()
    }

    /// The agent's version.
    #[zbus(property)]
    fn version(&self) -> String {
        self.values.borrow().version.clone()
    }

    /// What update_engine does.
    #[zbus(property)]
    fn update(&self) -> String {
        self.values.borrow().update.clone()
    }

    /// Why the configuration on disk is not the one in force, or empty.
    #[zbus(property)]
    fn config_error(&self) -> String {
        self.values.borrow().config_error.clone()
    }

    /// Why etcd cannot be asked, or empty.
    #[zbus(property)]
    fn etcd_error(&self) -> String {
        self.values.borrow().etcd_error.clone()
    }

    /// The member of etcd that is taken for this node's, or empty.
    #[zbus(property)]
    fn member(&self) -> String {
        self.values.borrow().member.clone()
    }

    /// The version that the node would reboot into, or empty.
    #[zbus(property)]
    fn to(&self) -> String {
        self.values.borrow().to.clone()
    }

    /// The units that fail in this boot as they did before the reboot.
    #[zbus(property)]
    fn failed_before(&self) -> Vec<String> {
        self.values.borrow().failed_before.clone()
    }

    /// Whether etcd has this node's record as this agent wrote it.
    #[zbus(property)]
    fn recorded(&self) -> bool {
        self.values.borrow().recorded
    }

    /// The URL of the FleetLock server that is asked; empty with other strategies.
    #[zbus(property)]
    fn lock_server(&self) -> String {
        self.values.borrow().lock_server.clone()
    }

    /// The last call to it, when that was, and what it answered; or empty.
    #[zbus(property)]
    fn lock_server_last_call(&self) -> String {
        self.values.borrow().lock_server_last_call.clone()
    }

    /// Why it does not answer as a FleetLock server does, or empty.
    #[zbus(property)]
    fn lock_server_error(&self) -> String {
        self.values.borrow().lock_server_error.clone()
    }

    /// That another machine goes by this machine's id, or empty.
    #[zbus(property)]
    fn twin(&self) -> String {
        self.values.borrow().twin.clone()
    }
}
