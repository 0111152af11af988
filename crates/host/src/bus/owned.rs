//! Who owns a name on the bus, and the signals that only the owner may send.

use std::{collections::HashSet, num::NonZeroUsize};

use futures_util::{
    StreamExt as _,
    stream::{SelectAll, select_all},
};
use tokio::sync::{oneshot, watch};
use zbus::{Connection, MatchRule, Message, MessageStream, message, names::OwnedUniqueName};

use super::{BusError, Task, call, call_with_timeout};

/// Messages that one subscription may be behind. When it is full, everything on the connection waits.
const QUEUE: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Forgers that are named in the log; beyond, whoever takes a new name for every signal fills no memory.
const FORGERS: usize = 64;

const DBUS: &str = "org.freedesktop.DBus";
const DBUS_PATH: &str = "/org/freedesktop/DBus";

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
/// follower asks the service again. A signal counts only when the bus says that the name's owner sent it, from
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
            // Without the sender: what others forge is to be seen, and logged. With the path, since every service
            // emits a PropertiesChanged of its own.
            let rule = MatchRule::builder()
                .path(signal.path)
                .interface(signal.interface)
                .member(signal.member);
            streams.push(listen(conn, signal.member, rule).await?);
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
            reason: zbus::Error::Failure("the connection to the bus was lost".into()),
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
        mut signals: SelectAll<MessageStream>,
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
                Some(Ok(message)) = signals.next() => self.signal(&message),
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

    fn signal(&mut self, message: &Message) {
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
        } else {
            self.told.send_modify(|seen| seen.signals += 1);
        }
    }

    fn forged(&mut self, message: &Message) {
        let header = message.header();
        let Some(from) = header.sender() else { return };
        let from = OwnedUniqueName::from(from.to_owned());
        if self.forgers.len() >= FORGERS || !self.forgers.insert(from.clone()) {
            return;
        }
        let member = header
            .member()
            .map_or("", |member| member.as_str())
            .to_owned();
        let (conn, name) = (self.conn.clone(), self.name);
        // Beside the following, which must not wait for the bus.
        tokio::spawn(async move {
            let user = call::<_, u32>(&conn, DBUS, DBUS_PATH, DBUS, "GetConnectionUnixUser", &from);
            let user = match user.await {
                Ok(uid) => format!("user {uid}"),
                Err(_) => "an unknown user".to_owned(),
            };
            tracing::warn!(
                "{from} ({user}) sent a signal {member} that only {name} may send; it is ignored"
            );
        });
    }
}

#[cfg(test)]
mod on_a_bus {
    use pointsman_testbed::bus::Bus;

    use super::*;

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
