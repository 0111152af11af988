//! What the agent finds on the system bus, played by the test: update_engine, logind, systemd.

mod logind;
mod systemd;
mod update_engine;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use zbus::Connection;

pub use logind::{InhibitorId, Logind, OnReboot, RebootCall};
pub use systemd::{Job, Systemd};
pub use update_engine::{Check, Status, UpdateEngine, forge, forge_to};

/// How long to wait for what a test awaits before the test is given up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Counts calls by method, and lets a test wait for one.
#[derive(Debug)]
struct Calls(watch::Sender<BTreeMap<String, u64>>);

impl Calls {
    fn new() -> Self {
        Self(watch::Sender::new(BTreeMap::new()))
    }

    fn count(&self, method: &str) {
        self.0
            .send_modify(|calls| *calls.entry(method.to_owned()).or_default() += 1);
    }

    fn get(&self, method: &str) -> u64 {
        self.0.borrow().get(method).copied().unwrap_or(0)
    }

    async fn wait_for(&self, method: &str, at_least: u64) {
        let mut calls = self.0.subscribe();
        let enough = calls.wait_for(|calls| calls.get(method).copied().unwrap_or(0) >= at_least);
        match tokio::time::timeout(PATIENCE, enough).await {
            Ok(result) => drop(result.expect("the sender lives as long as self")),
            Err(_) => panic!(
                "{method} was called {} times within {PATIENCE:?}, not {at_least}; all calls: {:?}",
                self.get(method),
                *self.0.borrow()
            ),
        }
    }
}

/// The connection of a fake, which comes and goes as the daemon does.
#[derive(Debug, Default)]
struct Presence(std::sync::Mutex<Option<Connection>>);

impl Presence {
    fn get(&self) -> Option<Connection> {
        self.0
            .lock()
            .expect("nothing panics while it is locked")
            .clone()
    }

    fn set(&self, connection: Connection) {
        *self.0.lock().expect("nothing panics while it is locked") = Some(connection);
    }

    /// Leaves the bus; the daemon drops the name before it answers anybody who asks later.
    async fn leave(&self, name: &'static str) {
        let connection = self
            .0
            .lock()
            .expect("nothing panics while it is locked")
            .take();
        if let Some(connection) = connection {
            // The bus may be dead already; then the name is gone too.
            let _ = connection.release_name(name).await;
            let _ = connection.close().await;
        }
    }
}

#[cfg(test)]
mod tests;
