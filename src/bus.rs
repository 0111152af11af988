//! The system bus: the way to it, calls that end, and who owns a name on it.

use std::{collections::HashSet, future::Future, num::NonZeroUsize, time::Duration};

use futures_util::{
    StreamExt as _,
    stream::{SelectAll, select_all},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};
use zbus::{
    Connection, DynamicType, MatchRule, Message, MessageStream, Type, fdo, message,
    names::OwnedUniqueName,
};

use crate::node::Root;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a service may take to answer a call.
pub const CALL_LIMIT: Duration = Duration::from_secs(10);
/// Messages that one subscription may be behind. When it is full, everything on the connection waits.
const QUEUE: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Forgers that are named in the log; beyond, whoever takes a new name for every signal fills no memory.
const FORGERS: usize = 64;

const DBUS: &str = "org.freedesktop.DBus";
const DBUS_PATH: &str = "/org/freedesktop/DBus";

/// Why the bus, or a service on it, did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    /// There is no way to the bus.
    #[error(
        "the system bus at {address} cannot be reached: {reason}; is dbus running, and is \
         DBUS_SYSTEM_BUS_ADDRESS, if set, right?"
    )]
    Unreachable {
        /// The bus's address, in the form of the D-Bus specification.
        address: String,
        /// What happened.
        reason: String,
    },
    /// A call was answered with an error, or with something other than expected.
    #[error("{call} failed: {reason}")]
    Call {
        /// Whom and what was called.
        call: String,
        /// What was answered.
        reason: zbus::Error,
    },
    /// A call was not answered in time.
    #[error("{call} was not answered within {} s", CALL_LIMIT.as_secs())]
    TimedOut {
        /// Whom and what was called.
        call: String,
    },
    /// No service has this name.
    #[error("{name} is not on the bus; is its service running?")]
    NoOwner {
        /// The name.
        name: String,
    },
}

/// What may stand unescaped in the value of an address (D-Bus specification, "Server Addresses").
const OPTIONALLY_ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'/')
    .remove(b'.')
    .remove(b'*');

/// The system bus's address: the environment's `DBUS_SYSTEM_BUS_ADDRESS`, else the socket
/// `run/dbus/system_bus_socket` of the root.
#[must_use]
pub fn system_bus_address(root: &Root) -> String {
    address(std::env::var("DBUS_SYSTEM_BUS_ADDRESS").ok(), root)
}

fn address(of_environment: Option<String>, root: &Root) -> String {
    of_environment
        .filter(|address| !address.is_empty())
        .unwrap_or_else(|| {
            let socket = root.path("run/dbus/system_bus_socket");
            let bytes = socket.as_os_str().as_encoded_bytes();
            format!("unix:path={}", percent_encode(bytes, OPTIONALLY_ESCAPED))
        })
}

/// Connects to the system bus, see [`system_bus_address`].
///
/// # Errors
/// [`BusError::Unreachable`], at the latest after 5 s.
pub async fn connect(root: &Root) -> Result<Connection, BusError> {
    connect_to(system_bus_address(root)).await
}

async fn connect_to(address: String) -> Result<Connection, BusError> {
    let connecting = zbus::connection::Builder::address(address.as_str()).build();
    let reason = match timeout(CONNECT_LIMIT, connecting).await {
        Ok(Ok(connection)) => return Ok(connection),
        Ok(Err(zbus::Error::Connection(error, _))) => error.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", CONNECT_LIMIT.as_secs()),
    };
    Err(BusError::Unreachable { address, reason })
}

/// Waits for the answer of the service `name` to what is called `call` in the error.
///
/// # Errors
/// [`BusError::TimedOut`] after 10 s; [`BusError::NoOwner`] where the bus knows no such service;
/// [`BusError::Call`].
pub async fn call_with_timeout<T>(
    name: &str,
    call: impl Into<String>,
    answer: impl Future<Output = zbus::Result<T>>,
) -> Result<T, BusError> {
    let call = call.into();
    match timeout(CALL_LIMIT, answer).await {
        Err(_) => Err(BusError::TimedOut { call }),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(zbus::Error::FDO(error)))
            if matches!(
                *error,
                fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_)
            ) =>
        {
            Err(BusError::NoOwner { name: name.into() })
        }
        Ok(Err(reason)) => Err(BusError::Call { call, reason }),
    }
}

/// Calls a method of the service `name` (a well-known or a unique name) and reads its answer.
///
/// # Errors
/// As [`call_with_timeout`]; [`BusError::Call`] too where the answer has another type.
pub async fn call<B, R>(
    conn: &Connection,
    name: &str,
    path: &str,
    interface: &str,
    method: &str,
    body: &B,
) -> Result<R, BusError>
where
    B: Serialize + DynamicType,
    R: DeserializeOwned + Type,
{
    call_with_timeout(name, format!("{method} of {name}"), async {
        conn.call_method(Some(name), path, Some(interface), method, body)
            .await?
            .body()
            .deserialize()
    })
    .await
}

/// A signal to listen for.
#[derive(Debug, Clone, Copy)]
pub struct Signal {
    /// The object that emits it.
    pub path: &'static str,
    /// Its interface.
    pub interface: &'static str,
    /// Its name.
    pub member: &'static str,
}

/// What is known of a followed name.
#[derive(Debug, Default)]
struct Seen {
    owner: Option<OwnedUniqueName>,
    /// Counts the genuine signals; only that it changes matters.
    signals: u64,
}

/// Follows who owns a name on the bus, and that its owner emitted a signal.
///
/// It says *that* something changed, not what: what a signal says may be outdated when it is read, so the
/// follower asks the service anew. A signal counts only when the bus says that the name's owner sent it, from
/// the right object: anyone on the bus may emit one of the same name, to all or straight to us. A task of its
/// own takes the messages off the connection, as one subscription that is not read makes all others wait.
#[derive(Debug)]
pub struct Owned {
    seen: watch::Receiver<Seen>,
    _task: Task,
}

impl Owned {
    /// Follows this well-known name and these signals of its owner. It listens before it asks for the owner, so
    /// that no change is missed. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// When the bus does not answer, or refuses.
    pub async fn follow(
        conn: &Connection,
        name: &'static str,
        signals: &[Signal],
    ) -> Result<Self, BusError> {
        let owners = listen(
            conn,
            "NameOwnerChanged",
            MatchRule::builder()
                // The bus's own unique name, so zbus drops what others send straight to us.
                .sender(DBUS)
                .path(DBUS_PATH)
                .interface(DBUS)
                .member("NameOwnerChanged")
                .arg(0, name),
        )
        .await?;
        let mut streams = Vec::with_capacity(signals.len());
        for signal in signals {
            // Without the path and the sender: what others forge is to be seen, and logged.
            let rule = MatchRule::builder()
                .interface(signal.interface)
                .member(signal.member);
            let path = signal.path;
            let stream = listen(conn, signal.member, rule).await?;
            streams.push(stream.map(move |message| (path, message)).boxed());
        }
        let (told, seen) = watch::channel(Seen::default());
        let (ready, first) = oneshot::channel();
        let follower = Follower {
            conn: conn.clone(),
            name,
            known: false,
            former: None,
            forgers: HashSet::new(),
            told,
        };
        let task = Task::spawn(follower.run(owners, select_all(streams), ready));
        let lost = || BusError::Call {
            call: format!("GetNameOwner of {name}"),
            reason: zbus::Error::Failure("the connection to the bus is lost".into()),
        };
        first.await.unwrap_or_else(|_| Err(lost()))?;
        Ok(Self { seen, _task: task })
    }

    /// Who owns the name now; none: nobody. What happened up to now is no news any more to [`Self::changed`].
    pub fn owner(&mut self) -> Option<OwnedUniqueName> {
        self.seen.borrow_and_update().owner.clone()
    }

    /// Whether this is still the owner; what happened stays news.
    #[must_use]
    pub fn is_owner(&self, name: &OwnedUniqueName) -> bool {
        self.seen.borrow().owner.as_ref() == Some(name)
    }

    /// Waits until the owner changed, or the owner emitted one of the signals, since [`Self::owner`] was asked
    /// or this returned; many at once count as one. `false`: the connection to the bus is lost. Nothing is lost
    /// when the future is dropped.
    pub async fn changed(&mut self) -> bool {
        self.seen.changed().await.is_ok()
    }

    /// Waits until this is no longer the owner. `false`: the connection to the bus is lost.
    pub async fn replaced(&mut self, name: &OwnedUniqueName) -> bool {
        self.seen
            .wait_for(|seen| seen.owner.as_ref() != Some(name))
            .await
            .is_ok()
    }
}

async fn listen(
    conn: &Connection,
    member: &str,
    rule: zbus::match_rule::Builder<'_>,
) -> Result<MessageStream, BusError> {
    let call = format!("subscribing to {member}");
    call_with_timeout(DBUS, call, async {
        let rule = rule.msg_type(message::Type::Signal).build()?.into_owned();
        MessageStream::for_match_rule(rule, conn, Some(QUEUE)).await
    })
    .await
}

/// A signal of one of the wanted names, and the path it should have.
type Heard = (&'static str, zbus::Result<Message>);

struct Follower {
    conn: Connection,
    name: &'static str,
    /// Whether the bus has said who owns the name.
    known: bool,
    /// The owner before: its last signals may be read after the news that it is gone.
    former: Option<OwnedUniqueName>,
    forgers: HashSet<OwnedUniqueName>,
    told: watch::Sender<Seen>,
}

impl Follower {
    async fn run(
        mut self,
        mut owners: MessageStream,
        mut signals: SelectAll<futures_util::stream::BoxStream<'static, Heard>>,
        ready: oneshot::Sender<Result<(), BusError>>,
    ) {
        let (conn, name) = (self.conn.clone(), self.name);
        let mut asking = Box::pin(async {
            let answer =
                call::<_, OwnedUniqueName>(&conn, DBUS, DBUS_PATH, DBUS, "GetNameOwner", &name)
                    .await;
            match answer {
                Err(BusError::NoOwner { .. }) => Ok(None),
                answer => answer.map(Some),
            }
        });
        let mut ready = Some(ready);
        loop {
            tokio::select! {
                // In the order in which the bus sent them, as far as it matters: a new owner before its signals.
                biased;
                message = owners.next() => match message {
                    Some(Ok(message)) => self.owner_changed(&message),
                    _ => return,
                },
                answer = &mut asking, if ready.is_some() => {
                    // A change of the owner that was heard is as new as the answer, or newer.
                    let result = answer.map(|owner| if !self.known { self.set(owner) });
                    let failed = result.is_err();
                    let _ = ready.take().map(|ready| ready.send(result));
                    if failed {
                        return;
                    }
                }
                Some((path, Ok(message))) = signals.next() => self.signal(path, &message),
            }
        }
    }

    fn set(&mut self, owner: Option<OwnedUniqueName>) {
        self.known = true;
        self.told.send_modify(|seen| {
            self.former = std::mem::replace(&mut seen.owner, owner);
        });
    }

    fn owner_changed(&mut self, message: &Message) {
        let body = message.body();
        match body.deserialize::<(&str, &str, &str)>() {
            Ok((_, _, "")) => self.set(None),
            Ok((_, _, owner)) => self.set(OwnedUniqueName::try_from(owner).ok()),
            Err(error) => tracing::warn!("NameOwnerChanged of the bus cannot be read: {error}"),
        }
    }

    fn signal(&mut self, path: &str, message: &Message) {
        let header = message.header();
        let from = header.sender();
        let is = |owner: &Option<OwnedUniqueName>| {
            owner.as_ref().is_some_and(|owner| from == Some(&**owner))
        };
        if !self.known {
            // Whoever follows asks the service after the owner is known.
        } else if !is(&self.told.borrow().owner) {
            if !is(&self.former) {
                self.forged(message);
            }
        } else if header.path().is_some_and(|found| found == path) {
            self.told.send_modify(|seen| seen.signals += 1);
        }
    }

    fn forged(&mut self, message: &Message) {
        let header = message.header();
        let Some(from) = header.sender() else { return };
        if self.forgers.len() < FORGERS && self.forgers.insert(from.to_owned().into()) {
            tracing::warn!(
                "{from} sent a signal {} that only {} may send; it is ignored",
                header.member().map_or("", |member| member.as_str()),
                self.name
            );
        }
    }
}

/// A task that ends with the value.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use pointsman_testbed::bus::Bus;

    use super::*;

    #[test]
    fn the_environment_comes_before_the_root() {
        let root = Root::new("/mnt/a b,c");
        for (of_environment, expected) in [
            (Some("unix:path=/x"), "unix:path=/x"),
            (
                Some(""),
                "unix:path=/mnt/a%20b%2Cc/run/dbus/system_bus_socket",
            ),
            (None, "unix:path=/mnt/a%20b%2Cc/run/dbus/system_bus_socket"),
        ] {
            let found = address(of_environment.map(str::to_owned), &root);
            assert_eq!(found, expected);
        }
    }

    #[tokio::test]
    async fn a_bus_out_of_reach_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let address = address(None, &Root::new(dir.path()));
        let error = connect_to(address.clone()).await.unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, BusError::Unreachable { address: named, .. } if named == address)
                && text.contains(&address)
                && text.contains("No such file"),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_bus_or_a_service_that_is_silent_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let _silent = tokio::net::UnixListener::bind(&socket).unwrap();
        let error = connect_to(format!("unix:path={}", socket.display()))
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("no answer within 5 s"),
            "{error}"
        );
        let answer = std::future::pending::<zbus::Result<()>>();
        let error = call_with_timeout("x.y", "Z of x.y", answer)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "Z of x.y was not answered within 10 s");
    }

    #[tokio::test]
    async fn an_owner_is_followed() {
        const NAME: &str = "org.example.Followed";
        let bus = Bus::start().await;
        let (conn, service) = (bus.connection().await, bus.connection().await);
        let mut owned = Owned::follow(&conn, NAME, &[]).await.unwrap();
        assert_eq!(owned.owner(), None);
        service.request_name(NAME).await.unwrap();
        assert!(owned.changed().await);
        let own = service.unique_name().unwrap();
        assert_eq!(owned.owner().as_ref(), Some(own));
        assert!(owned.is_owner(own));
        service.release_name(NAME).await.unwrap();
        assert!(owned.replaced(own).await);
        assert_eq!(owned.owner(), None);
        bus.kill().await;
        assert!(!owned.changed().await);
    }
}
