//! What is on the bus: the manager and the sessions, on shared values.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::watch;
use zbus::{Connection, OwnedObjectPath, fdo, interface};

use super::super::Calls;
use super::{MANAGER, OnReboot, PATH, RebootCall};

#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) user: String,
    pub(super) tty: String,
    pub(super) class: String,
}

/// What of this session is `org.freedesktop.login1.Session`'s: uid 0 is root, all others share one.
impl Session {
    fn uid(&self) -> u32 {
        if self.user == "root" { 0 } else { 500 }
    }

    pub(super) fn path(&self) -> OwnedObjectPath {
        path(format!("{PATH}/session/{}", escape(&self.id)))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Inhibitor {
    pub(super) what: String,
    pub(super) who: String,
    pub(super) why: String,
    pub(super) mode: String,
}

#[derive(Debug, Default)]
pub(super) struct Values {
    pub(super) on_reboot: OnReboot,
    pub(super) preparing: bool,
    pub(super) sessions: BTreeMap<String, Session>,
    pub(super) inhibitors: BTreeMap<u32, Inhibitor>,
    pub(super) next_inhibitor: u32,
}

impl Values {
    /// The property `BlockInhibited`: what block inhibitors name, joined by colons, each once.
    pub(super) fn block_inhibited(&self) -> String {
        let blocking = self.inhibitors.values().filter(|i| i.mode == "block");
        let mut whats: Vec<&str> = blocking.flat_map(|i| i.what.split(':')).collect();
        whats.sort_unstable();
        whats.dedup();
        whats.join(":")
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) values: Mutex<Values>,
    pub(super) calls: Calls,
    pub(super) asked: watch::Sender<Vec<RebootCall>>,
    pub(super) reboots: watch::Sender<Vec<RebootCall>>,
}

impl State {
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut Values) -> T) -> T {
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

pub(super) struct Manager(pub(super) Arc<State>);

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

pub(super) async fn emit<B: zbus::export::serde::Serialize + zbus::DynamicType>(
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
pub(in crate::fakes) fn escape(name: &str) -> String {
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
