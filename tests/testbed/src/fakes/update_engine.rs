//! update_engine as it is on D-Bus: `com.coreos.update1`, `/com/coreos/update1`, `com.coreos.update1.Manager`.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use zbus::{BoxDBusError, Connection, DBusError, fdo, interface, object_server::SignalEmitter};

use super::{Calls, Presence};
use crate::bus::Bus;

const NAME: &str = "com.coreos.update1";
const PATH: &str = "/com/coreos/update1";
const INTERFACE: &str = "com.coreos.update1.Manager";
const IDLE: &str = "UPDATE_STATUS_IDLE";
const CHECKING: &str = "UPDATE_STATUS_CHECKING_FOR_UPDATE";
const NEED_REBOOT: &str = "UPDATE_STATUS_UPDATED_NEED_REBOOT";

/// What `GetStatus` returns and `StatusUpdate` carries: `xdssx`.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Seconds since 1970.
    pub last_checked_time: i64,
    /// 0 to 1.
    pub progress: f64,
    /// `UPDATE_STATUS_…`
    pub operation: String,
    /// `0.0.0`: unknown.
    pub version: String,
    /// Bytes.
    pub size: i64,
}

impl Status {
    /// `operation` is the full word, `UPDATE_STATUS_…`.
    pub fn new(operation: &str, version: &str) -> Self {
        let (operation, version) = (operation.to_owned(), version.to_owned());
        Self {
            last_checked_time: 1_700_000_000,
            progress: 0.0,
            operation,
            version,
            size: 0,
        }
    }

    /// `UPDATE_STATUS_IDLE`, version unknown: as after a boot.
    pub fn idle() -> Self {
        Self::new(IDLE, "0.0.0")
    }

    /// `UPDATE_STATUS_UPDATED_NEED_REBOOT` with this version.
    pub fn ready(version: &str) -> Self {
        Self::new(NEED_REBOOT, version)
    }

    /// Whether it is `UPDATE_STATUS_UPDATED_NEED_REBOOT`.
    pub fn needs_reboot(&self) -> bool {
        self.operation == NEED_REBOOT
    }

    fn wire(&self) -> Wire {
        (
            self.last_checked_time,
            self.progress,
            self.operation.clone(),
            self.version.clone(),
            self.size,
        )
    }
}

type Wire = (i64, f64, String, String, i64);

/// What comes of an `AttemptUpdate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The test says it, by [`UpdateEngine::set`]; the call itself does nothing.
    ByTheTest,
    /// The server says that there is nothing: `last_checked_time` becomes now.
    NoUpdate,
    /// The server cannot be reached, or is `disabled`: `IDLE` again, and `last_checked_time` as it was. Nothing else tells
    /// it from [`Self::NoUpdate`].
    Fails,
    /// It looks, and never ends.
    Hangs,
}

/// How soon after another one an `AttemptUpdate` is answered and then ignored, without a signal.
const TOO_SOON: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct State {
    status: Mutex<Status>,
    calls: Calls,
    check: Mutex<(Check, Option<Instant>)>,
}

/// dbus-glib's answer where a method fails without saying why.
#[derive(Debug, DBusError)]
#[zbus(prefix = "org.freedesktop.DBus.GLib")]
enum GLib {
    ErrorError(String),
}

impl State {
    fn status(&self) -> Status {
        self.status
            .lock()
            .expect("nothing panics while it is locked")
            .clone()
    }

    fn set(&self, status: Status) {
        *self
            .status
            .lock()
            .expect("nothing panics while it is locked") = status;
    }
}

struct Manager(Arc<State>);

#[interface(name = "com.coreos.update1.Manager")]
impl Manager {
    #[zbus(out_args(
        "last_checked_time",
        "progress",
        "current_operation",
        "new_version",
        "new_size"
    ))]
    fn get_status(&self) -> Wire {
        let status = self.0.status().wire();
        self.0.calls.count("GetStatus");
        status
    }

    async fn attempt_update(&self, #[zbus(signal_emitter)] emitter: SignalEmitter<'_>) {
        self.0.calls.count("AttemptUpdate");
        let check = {
            let mut check = self
                .0
                .check
                .lock()
                .expect("nothing panics while it is locked");
            let too_soon = check.1.is_some_and(|last| last.elapsed() < TOO_SOON);
            check.1 = Some(Instant::now());
            if too_soon && check.0 != Check::ByTheTest {
                return;
            }
            check.0
        };
        // Whatever runs already goes on, and nobody is told of it again.
        if check == Check::ByTheTest || self.0.status().operation != IDLE {
            return;
        }
        let mut status = self.0.status();
        let checking = Status {
            operation: CHECKING.to_owned(),
            ..status.clone()
        };
        let connection = emitter.connection().clone();
        self.0.set(checking.clone());
        emit(&connection, None, &checking).await;
        if check == Check::Hangs {
            return;
        }
        let state = self.0.clone();
        // The call returns before the check ends.
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if check == Check::NoUpdate {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                status.last_checked_time = now.map_or(0, |now| now.as_secs() as i64);
            }
            state.set(status.clone());
            emit(&connection, None, &status).await;
        });
    }

    /// Without a signal, as with the real one.
    fn reset_status(&self) -> Result<(), BoxDBusError> {
        let status = self.0.status();
        let result: Result<(), BoxDBusError> = if status.needs_reboot() || status.operation == IDLE
        {
            self.0.set(Status {
                last_checked_time: status.last_checked_time,
                ..Status::idle()
            });
            Ok(())
        } else {
            let said = "Method invoked for ResetStatus returned FALSE but did not set error";
            Err(Box::new(GLib::ErrorError(said.to_owned())))
        };
        self.0.calls.count("ResetStatus");
        result
    }
}

/// A fake update_engine with a connection of its own.
#[derive(Debug)]
pub struct UpdateEngine {
    address: String,
    state: Arc<State>,
    presence: Presence,
}

impl UpdateEngine {
    /// Comes up on the bus, idle.
    pub async fn start(bus: &Bus) -> Self {
        let engine = Self::absent(bus);
        engine.come().await;
        engine
    }

    /// One that is not on the bus until [`Self::restart`].
    pub fn absent(bus: &Bus) -> Self {
        let state = State {
            status: Mutex::new(Status::idle()),
            calls: Calls::new(),
            check: Mutex::new((Check::ByTheTest, None)),
        };
        Self {
            address: bus.address(),
            state: Arc::new(state),
            presence: Presence::default(),
        }
    }

    async fn come(&self) {
        let result = async {
            zbus::connection::Builder::address(self.address.as_str())
                .serve_at(PATH, Manager(self.state.clone()))
                .name(NAME)
                .build()
                .await
        };
        self.presence.set(
            result
                .await
                .unwrap_or_else(|e| panic!("the fake update_engine cannot own {NAME}: {e}")),
        );
    }

    /// What it would answer now.
    pub fn status(&self) -> Status {
        self.state.status()
    }

    /// Changes the status and says so with `StatusUpdate`, if it is on the bus.
    pub async fn set(&self, status: Status) {
        self.set_silently(status.clone());
        if let Some(connection) = self.presence.get() {
            emit(&connection, None, &status).await;
        }
    }

    /// What comes of every `AttemptUpdate` from now on.
    pub fn checks(&self, check: Check) {
        *self
            .state
            .check
            .lock()
            .expect("nothing panics while it is locked") = (check, None);
    }

    /// Changes the status without a signal.
    pub fn set_silently(&self, status: Status) {
        self.state.set(status);
    }

    /// An update is staged: `UPDATE_STATUS_UPDATED_NEED_REBOOT`, with the signal.
    pub async fn ready(&self, version: &str) {
        self.set(Status::ready(version)).await;
    }

    /// The daemon dies and comes back with another unique name: a staged update stays staged but its version is
    /// unknown then, everything else is idle. No signal, as with the real one.
    pub async fn restart(&self) {
        self.stop().await;
        let staged = self.status().needs_reboot();
        self.set_silently(if staged {
            Status::ready("0.0.0")
        } else {
            Status::idle()
        });
        self.come().await;
    }

    /// The daemon goes; its name has no owner.
    pub async fn stop(&self) {
        self.presence.leave(NAME).await;
    }

    /// How often a method (`GetStatus`, `AttemptUpdate`, `ResetStatus`) has been called.
    pub fn calls(&self, method: &str) -> u64 {
        self.state.calls.get(method)
    }

    /// Waits until a method has been called at least so often since the start; panics after
    /// [`PATIENCE`](super::PATIENCE).
    pub async fn wait_for_calls(&self, method: &str, at_least: u64) {
        self.state.calls.wait_for(method, at_least).await;
    }

    /// Waits for one more call of a method than there were when this function was called (not: awaited); panics after
    /// [`PATIENCE`](super::PATIENCE).
    pub fn wait_for_call(&self, method: &'static str) -> impl Future<Output = ()> + use<'_> {
        self.wait_for_calls(method, self.calls(method) + 1)
    }
}

async fn emit(connection: &Connection, destination: Option<&str>, status: &Status) {
    connection
        .emit_signal(destination, PATH, INTERFACE, "StatusUpdate", &status.wire())
        .await
        .unwrap_or_else(|e| panic!("cannot emit StatusUpdate: {e}"));
}

/// Broadcasts a `StatusUpdate` with the right path and interface from a connection that does not own the name, as
/// any local user can. When it returns, the bus has passed the signal on. Gives the forger's unique name.
pub async fn forge(bus: &Bus, status: &Status) -> String {
    forged(bus, None, status).await
}

/// Like [`forge`], to one connection only (a unique or well-known name), which gets it without a match rule.
pub async fn forge_to(bus: &Bus, destination: &str, status: &Status) -> String {
    forged(bus, Some(destination), status).await
}

async fn forged(bus: &Bus, destination: Option<&str>, status: &Status) -> String {
    let liar = bus.connection().await;
    emit(&liar, destination, status).await;
    // The bus handles one connection's messages in order: an answer says that it has handled the signal.
    let proxy = fdo::DBusProxy::new(&liar)
        .await
        .unwrap_or_else(|e| panic!("the bus does not answer: {e}"));
    proxy
        .get_id()
        .await
        .unwrap_or_else(|e| panic!("the bus does not answer: {e}"));
    liar.unique_name()
        .map(ToString::to_string)
        .unwrap_or_default()
}
