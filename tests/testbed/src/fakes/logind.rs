//! logind as systemd 252 has it, the parts an agent that reboots needs: `org.freedesktop.login1`.

mod interface;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::watch;
use zbus::{Connection, Variant};

pub(super) use interface::escape;
use interface::{Inhibitor, Manager, Session, State, emit};

use super::{Calls, PATIENCE, Presence};
use crate::bus::Bus;

const NAME: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";

/// What happens when somebody asks for a reboot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnReboot {
    /// The shutdown begins, is announced, and is recorded as one that happens.
    #[default]
    Succeed,
    /// The call fails with this text (`org.freedesktop.DBus.Error.Failed`).
    Fail(String),
    /// The shutdown begins and is announced but never ends, until [`Logind::finish_shutdown`] or
    /// [`Logind::cancel_shutdown`].
    Hang,
    /// The call succeeds and nothing follows.
    Nothing,
}

/// One call of `Reboot` or `RebootWithFlags`.
#[derive(Clone, Copy, Debug)]
pub struct RebootCall {
    /// When it came.
    pub at: Instant,
    /// `RebootWithFlags`' flags; `None`: it was `Reboot`.
    pub flags: Option<u64>,
}

/// What [`Logind::inhibit`] gives and [`Logind::uninhibit`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InhibitorId(u32);

/// A fake logind with a connection of its own.
#[derive(Debug)]
pub struct Logind {
    address: String,
    state: Arc<State>,
    presence: Presence,
}

impl Logind {
    /// Comes up on the bus: nobody logged in, no inhibitors, reboots succeed.
    pub async fn start(bus: &Bus) -> Self {
        let state = State {
            values: Mutex::default(),
            calls: Calls::new(),
            asked: watch::Sender::new(Vec::new()),
            reboots: watch::Sender::new(Vec::new()),
        };
        let logind = Self {
            address: bus.address(),
            state: Arc::new(state),
            presence: Presence::default(),
        };
        logind.restart().await;
        logind
    }

    /// The daemon restarts: another owner of the name, same sessions and inhibitors.
    pub async fn restart(&self) {
        self.stop().await;
        let result = async {
            let mut builder = zbus::connection::Builder::address(self.address.as_str())
                .serve_at(PATH, Manager(self.state.clone()))
                .name(NAME);
            for session in self.state.with(|v| v.sessions.clone()).into_values() {
                builder = builder.serve_at(session.path(), session);
            }
            builder.build().await
        };
        self.presence.set(
            result
                .await
                .unwrap_or_else(|e| panic!("the fake logind cannot own {NAME}: {e}")),
        );
    }

    /// The daemon goes.
    pub async fn stop(&self) {
        self.presence.leave(NAME).await;
    }

    fn connection(&self) -> Connection {
        self.presence
            .get()
            .expect("the fake logind is on the bus (it was stopped)")
    }

    /// What the next calls of `Reboot` do.
    pub fn on_reboot(&self, what: OnReboot) {
        self.state.with(|v| v.on_reboot = what);
    }

    /// A session of class `user`; an empty `tty` is one without a terminal.
    pub async fn log_in(&self, id: &str, user: &str, tty: &str) {
        self.log_in_as(id, user, tty, "user").await;
    }

    /// A session of any class (`user`, `greeter`, `manager`, `background`…).
    pub async fn log_in_as(&self, id: &str, user: &str, tty: &str, class: &str) {
        let [id, user, tty, class] = [id, user, tty, class].map(str::to_owned);
        let session = Session {
            id,
            user,
            tty,
            class,
        };
        let connection = self.connection();
        self.state
            .with(|v| v.sessions.insert(session.id.clone(), session.clone()));
        let body = (session.id.clone(), session.path());
        let served = connection.object_server().at(session.path(), session).await;
        served.unwrap_or_else(|e| panic!("cannot serve the session {}: {e}", body.0));
        emit(&connection, "SessionNew", &body).await;
    }

    /// The session ends.
    pub async fn log_out(&self, id: &str) {
        let session = self
            .state
            .with(|v| v.sessions.remove(id))
            .unwrap_or_else(|| panic!("no session {id}"));
        let connection = self.connection();
        let _ = connection
            .object_server()
            .remove::<Session, _>(session.path())
            .await;
        emit(
            &connection,
            "SessionRemoved",
            &(session.id.clone(), session.path()),
        )
        .await;
    }

    /// Somebody inhibits `shutdown`; `mode` is `block` or `delay`.
    pub async fn inhibit(&self, who: &str, why: &str, mode: &str) -> InhibitorId {
        self.inhibit_what("shutdown", who, why, mode).await
    }

    /// Somebody inhibits something (`shutdown`, `sleep`, `shutdown:idle`…).
    pub async fn inhibit_what(&self, what: &str, who: &str, why: &str, mode: &str) -> InhibitorId {
        let [what, who, why, mode] = [what, who, why, mode].map(str::to_owned);
        let id = self.state.with(|v| {
            v.next_inhibitor += 1;
            v.inhibitors.insert(
                v.next_inhibitor,
                Inhibitor {
                    what,
                    who,
                    why,
                    mode,
                },
            );
            v.next_inhibitor
        });
        self.announce_inhibited().await;
        InhibitorId(id)
    }

    /// Lets go of an inhibitor.
    pub async fn uninhibit(&self, id: InhibitorId) {
        let gone = self.state.with(|v| v.inhibitors.remove(&id.0));
        assert!(gone.is_some(), "the inhibitor {id:?} is gone already");
        self.announce_inhibited().await;
    }

    async fn announce_inhibited(&self) {
        let value = self.state.with(|v| v.block_inhibited());
        let changed = HashMap::from([("BlockInhibited", Variant::from(value))]);
        let body = (MANAGER, changed, Vec::<&str>::new());
        self.connection()
            .emit_signal(
                None::<&str>,
                PATH,
                "org.freedesktop.DBus.Properties",
                "PropertiesChanged",
                &body,
            )
            .await
            .unwrap_or_else(|e| panic!("cannot emit PropertiesChanged: {e}"));
    }

    /// Whether a shutdown is announced and under way.
    pub fn is_preparing(&self) -> bool {
        self.state.with(|v| v.preparing)
    }

    /// A hung shutdown goes through after all: it counts in [`Self::reboots`].
    pub fn finish_shutdown(&self) {
        let call = *self
            .state
            .asked
            .borrow()
            .last()
            .expect("a reboot was asked for");
        self.state.reboots.send_modify(|calls| calls.push(call));
    }

    /// A shutdown under way is called off: `PrepareForShutdown(false)`.
    pub async fn cancel_shutdown(&self) {
        self.state.with(|v| v.preparing = false);
        emit(&self.connection(), "PrepareForShutdown", &false).await;
    }

    /// As after a boot: nobody logged in, nothing inhibited, no shutdown under way. What reboots do stays; nothing is
    /// announced, since nobody lived through it.
    pub async fn reset(&self) {
        self.state.with(|v| {
            v.preparing = false;
            v.sessions.clear();
            v.inhibitors.clear();
        });
        self.restart().await;
    }

    /// Every call that asked for a reboot and was not refused for one under way, also those that failed or hang.
    pub fn asked(&self) -> Vec<RebootCall> {
        self.state.asked.borrow().clone()
    }

    /// The calls that led to a reboot.
    pub fn reboots(&self) -> Vec<RebootCall> {
        self.state.reboots.borrow().clone()
    }

    /// Waits until there have been so many reboots in all; panics after [`PATIENCE`]. Gives the last one.
    pub async fn wait_reboots(&self, at_least: usize) -> RebootCall {
        wait(&self.state.reboots, at_least, "reboots").await
    }

    /// Waits for the first reboot; panics after [`PATIENCE`].
    pub async fn rebooted(&self) -> RebootCall {
        self.wait_reboots(1).await
    }

    /// Waits until a reboot was asked for so often, whatever came of it; panics after [`PATIENCE`].
    pub async fn wait_asked(&self, at_least: usize) -> RebootCall {
        wait(&self.state.asked, at_least, "calls for a reboot").await
    }

    /// A view on the reboots that outlives no logind, for a task that serves them.
    pub(crate) fn watch_reboots(&self) -> watch::Receiver<Vec<RebootCall>> {
        self.state.reboots.subscribe()
    }

    /// How often a method of the manager has been called.
    pub fn calls(&self, method: &str) -> u64 {
        self.state.calls.get(method)
    }

    /// Waits until a method of the manager has been called so often in all; panics after [`PATIENCE`].
    pub async fn wait_for_calls(&self, method: &str, at_least: u64) {
        self.state.calls.wait_for(method, at_least).await;
    }
}

async fn wait(calls: &watch::Sender<Vec<RebootCall>>, at_least: usize, what: &str) -> RebootCall {
    let mut view = calls.subscribe();
    let result =
        tokio::time::timeout(PATIENCE, view.wait_for(|c| c.len() >= at_least.max(1))).await;
    match result {
        Ok(calls) => *calls
            .expect("the sender lives as long as the fake")
            .last()
            .expect("there is one"),
        Err(_) => panic!(
            "{} {what} within {PATIENCE:?}, not {at_least}",
            calls.borrow().len()
        ),
    }
}
