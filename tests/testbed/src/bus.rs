//! A private system bus: a real dbus-daemon on a unix socket, where anybody may own any name.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use zbus::Connection;

use crate::process::{Child, Spec};

/// Lets everybody own, send and hear everything.
pub const OPEN: &str = r#"<policy context="default"><allow user="*"/><allow own="*"/>
<allow send_type="method_call"/><allow send_destination="*" eavesdrop="true"/>
<allow receive_type="method_call"/><allow eavesdrop="true"/></policy>"#;

/// A running dbus-daemon.
#[derive(Debug)]
pub struct Bus {
    dir: TempDir,
    daemon: Mutex<Option<Child>>,
}

impl Bus {
    /// Starts a daemon on a socket of its own, on which everybody may do everything, and waits until it answers.
    pub async fn start() -> Self {
        Self::with_policy(OPEN).await
    }

    /// Like [`Self::start`], with these policies instead: a piece of the daemon's configuration.
    pub async fn with_policy(policy: &str) -> Self {
        let bus = Self {
            dir: crate::scratch::dir("bus"),
            daemon: Mutex::new(None),
        };
        // Other users come too.
        std::fs::set_permissions(bus.dir.path(), std::fs::Permissions::from_mode(0o755))
            .unwrap_or_else(|e| panic!("cannot open the bus's directory: {e}"));
        let config = format!(
            r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>{policy}</busconfig>
"#,
            bus.socket().display()
        );
        std::fs::write(bus.dir.path().join("bus.conf"), config)
            .unwrap_or_else(|e| panic!("cannot write the bus's configuration: {e}"));
        bus.restart().await;
        bus
    }

    /// `busctl` as the user `nobody`: whether it worked, and all it said.
    pub async fn busctl_as_nobody(&self, args: &[&str]) -> (bool, String) {
        let address = format!("--address={}", self.address());
        let nobody = ["--reuid=65534", "--clear-groups", "busctl", &address];
        let args = [&nobody, args].concat();
        let output = crate::process::run("setpriv", &args, &[], crate::fakes::PATIENCE).await;
        (output.code == Some(0), output.stdout + &output.stderr)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// The address, for `DBUS_SYSTEM_BUS_ADDRESS` and `busctl --address=`.
    pub fn address(&self) -> String {
        format!("unix:path={}", self.socket().display())
    }

    /// A new connection with a unique name of its own.
    pub async fn connection(&self) -> Connection {
        self.try_connection()
            .await
            .unwrap_or_else(|e| panic!("no connection to the bus at {}: {e}", self.address()))
    }

    async fn try_connection(&self) -> zbus::Result<Connection> {
        zbus::connection::Builder::address(self.address().as_str())
            .build()
            .await
    }

    /// Kills the daemon: every connection breaks, and a new one is refused until [`Self::restart`].
    pub async fn kill(&self) {
        let daemon = self
            .daemon
            .lock()
            .expect("nothing panics while it is locked")
            .take();
        if let Some(daemon) = daemon {
            daemon.kill().await;
        }
    }

    /// Starts the daemon again on the same address (after killing it if it runs) and waits until it answers. No
    /// connection survives that, the fakes' neither: restart those too.
    pub async fn restart(&self) {
        self.kill().await;
        let _ = std::fs::remove_file(self.socket());
        let daemon = Spec::new("dbus-daemon", self.dir.path().join("log"))
            .arg(format!(
                "--config-file={}",
                self.dir.path().join("bus.conf").display()
            ))
            .args(["--nofork", "--nopidfile", "--nosyslog"])
            .spawn();
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(e) = self.try_connection().await {
            assert!(
                daemon.is_running() && Instant::now() < deadline,
                "dbus-daemon (Debian package dbus-daemon) does not answer: {e}; its log: {}",
                daemon.log()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        *self
            .daemon
            .lock()
            .expect("nothing panics while it is locked") = Some(daemon);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bus_dies_and_comes_back_on_its_address() {
        let bus = Bus::start().await;
        let first = bus.connection().await;
        first.request_name("org.freedesktop.login1").await.unwrap();
        bus.kill().await;
        first.closed().await;
        assert!(bus.try_connection().await.is_err());
        bus.restart().await;
        let second = bus.connection().await;
        assert!(second.unique_name().is_some());
    }
}
