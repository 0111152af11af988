//! logind as systemd 252 has it, the parts an agent that reboots needs: `org.freedesktop.login1`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::watch;
use zbus::{Connection, OwnedObjectPath, Variant, fdo, interface};

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

#[derive(Clone, Debug)]
struct Session {
    id: String,
    user: String,
    tty: String,
    class: String,
}

/// What of this session is `org.freedesktop.login1.Session`'s: uid 0 is root, all others share one.
impl Session {
    fn uid(&self) -> u32 {
        if self.user == "root" { 0 } else { 500 }
    }

    fn path(&self) -> OwnedObjectPath {
        path(format!("{PATH}/session/{}", escape(&self.id)))
    }
}

#[derive(Clone, Debug)]
struct Inhibitor {
    what: String,
    who: String,
    why: String,
    mode: String,
}

#[derive(Debug, Default)]
struct Values {
    on_reboot: OnReboot,
    preparing: bool,
    sessions: BTreeMap<String, Session>,
    inhibitors: BTreeMap<u32, Inhibitor>,
    next_inhibitor: u32,
}

impl Values {
    /// The property `BlockInhibited`: what block inhibitors name, joined by colons, each once.
    fn block_inhibited(&self) -> String {
        let blocking = self.inhibitors.values().filter(|i| i.mode == "block");
        let mut whats: Vec<&str> = blocking.flat_map(|i| i.what.split(':')).collect();
        whats.sort_unstable();
        whats.dedup();
        whats.join(":")
    }
}

#[derive(Debug)]
struct State {
    values: Mutex<Values>,
    calls: Calls,
    asked: watch::Sender<Vec<RebootCall>>,
    reboots: watch::Sender<Vec<RebootCall>>,
}

impl State {
    fn with<T>(&self, f: impl FnOnce(&mut Values) -> T) -> T {
        f(&mut self
            .values
            .lock()
            .expect("nothing panics while it is locked"))
    }

    async fn reboot(&self, connection: &Connection, flags: Option<u64>) -> fdo::Result<()> {
        let call = RebootCall {
            at: Instant::now(),
            flags,
        };
        let what = self.with(|v| v.on_reboot.clone());
        let begins = matches!(what, OnReboot::Succeed | OnReboot::Hang);
        if begins && self.with(|v| std::mem::replace(&mut v.preparing, true)) {
            return Err(fdo::Error::Failed(
                "There's already a shutdown or sleep operation in progress".into(),
            ));
        }
        self.asked.send_modify(|calls| calls.push(call));
        if begins {
            emit(connection, "PrepareForShutdown", &true).await;
        }
        match what {
            OnReboot::Succeed => self.reboots.send_modify(|calls| calls.push(call)),
            OnReboot::Fail(why) => return Err(fdo::Error::Failed(why)),
            OnReboot::Hang | OnReboot::Nothing => {}
        }
        Ok(())
    }
}

struct Manager(Arc<State>);

#[interface(name = "org.freedesktop.login1.Manager")]
impl Manager {
    fn list_sessions(&self) -> Vec<(String, u32, String, String, OwnedObjectPath)> {
        self.0.calls.count("ListSessions");
        let row = |s: &Session| {
            (
                s.id.clone(),
                s.uid(),
                s.user.clone(),
                String::new(),
                s.path(),
            )
        };
        self.0.with(|v| v.sessions.values().map(row).collect())
    }

    fn list_inhibitors(&self) -> Vec<(String, String, String, String, u32, u32)> {
        self.0.calls.count("ListInhibitors");
        let row = |i: &Inhibitor| {
            (
                i.what.clone(),
                i.who.clone(),
                i.why.clone(),
                i.mode.clone(),
                0,
                std::process::id(),
            )
        };
        self.0.with(|v| v.inhibitors.values().map(row).collect())
    }

    async fn reboot(
        &self,
        _interactive: bool,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<()> {
        self.0.calls.count("Reboot");
        self.0.reboot(connection, None).await
    }

    async fn reboot_with_flags(
        &self,
        flags: u64,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<()> {
        self.0.calls.count("RebootWithFlags");
        self.0.reboot(connection, Some(flags)).await
    }

    #[zbus(property)]
    fn block_inhibited(&self) -> String {
        self.0.with(|v| v.block_inhibited())
    }

    // systemd announces it by the signal only.
    #[zbus(property(emits_changed_signal = "false"))]
    fn preparing_for_shutdown(&self) -> bool {
        self.0.with(|v| v.preparing)
    }
}

#[interface(name = "org.freedesktop.login1.Session")]
impl Session {
    #[zbus(property(emits_changed_signal = "const"), name = "Id")]
    fn id_property(&self) -> String {
        self.id.clone()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn user(&self) -> (u32, OwnedObjectPath) {
        (self.uid(), path(format!("{PATH}/user/_{}", self.uid())))
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        self.user.clone()
    }

    #[zbus(property(emits_changed_signal = "const"), name = "TTY")]
    fn tty(&self) -> String {
        self.tty.clone()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn class(&self) -> String {
        self.class.clone()
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn state(&self) -> String {
        "active".into()
    }
}

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

async fn emit<B: zbus::export::serde::Serialize + zbus::DynamicType>(
    connection: &Connection,
    signal: &str,
    body: &B,
) {
    connection
        .emit_signal(None::<&str>, PATH, MANAGER, signal, body)
        .await
        .unwrap_or_else(|e| panic!("cannot emit {signal}: {e}"));
}

fn path(path: String) -> OwnedObjectPath {
    OwnedObjectPath::try_from(path).expect("made of letters, digits and underscores")
}

/// A name as one part of an object path, escaped as sd-bus does: a leading digit and anything but letters and digits
/// become `_xx`.
pub(super) fn escape(name: &str) -> String {
    if name.is_empty() {
        return "_".into();
    }
    let escaped = |(i, b): (usize, u8)| match b {
        b'a'..=b'z' | b'A'..=b'Z' => char::from(b).to_string(),
        b'0'..=b'9' if i > 0 => char::from(b).to_string(),
        _ => format!("_{b:02x}"),
    };
    name.bytes().enumerate().map(escaped).collect()
}
