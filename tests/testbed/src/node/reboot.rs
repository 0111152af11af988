//! Reboots: the agent's process dies, the boot id changes, what lives under /run and in daemons is gone.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{History, Kind, Node};
use crate::{fakes::Status, process::Signal};

/// How a reboot ends the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Death {
    /// SIGTERM, and SIGKILL five seconds later: an orderly shutdown.
    #[default]
    Term,
    /// SIGKILL at once: a crash, a power cut.
    Kill,
}

/// How [`Node::auto_reboot`] reboots.
#[derive(Clone, Debug, Default)]
pub struct AutoReboot {
    /// How the agent ends.
    pub death: Death,
    /// How long the machine is away.
    pub delay: Duration,
    /// Where the reboots are written down.
    pub history: History,
}

impl Node {
    /// Reboots the machine now, whoever asked: ends the agent, makes everything as after a boot, starts the agent again
    /// (if it was ever started).
    pub async fn reboot(&self, death: Death) {
        self.go_down(death).await;
        self.come_up().await;
        if self.agent().is_some() {
            self.start_again();
        }
    }

    /// The machine goes down and stays away until [`Self::come_up`].
    pub async fn go_down(&self, death: Death) {
        let child = self.agent().as_ref().map(|a| a.child.clone());
        if let Some(child) = child {
            if death == Death::Term {
                child.signal(Signal::SIGTERM);
                let _ = child.wait_timeout(Duration::from_secs(5)).await;
            }
            child.kill().await;
        }
    }

    /// The machine comes up: a new boot id, an empty /run, nobody logged in, update_engine idle. A staged update with a
    /// known version is what runs now (`VERSION_ID` in etc/os-release); on a machine with a disk, the image in the slot that
    /// its boot loader takes. The agent is not started.
    pub async fn come_up(&self) {
        let staged = self.update_engine().status();
        if self.disk().is_some() {
            self.load().await;
        } else if staged.needs_reboot() && staged.version != "0.0.0" {
            self.set_version(&staged.version);
        }
        self.update_engine().set_silently(Status::idle());
        if self.inner.has_update_engine {
            self.update_engine().restart().await;
        }
        self.logind().reset().await;
        let run = self.path("run");
        fs::remove_dir_all(&run)
            .and_then(|()| fs::create_dir(&run))
            .unwrap_or_else(|e| panic!("cannot empty {}: {e}", run.display()));
        self.new_boot_id();
        self.inner.reboots.fetch_add(1, Ordering::SeqCst);
    }

    /// Writes etc/os-release with this `VERSION_ID`.
    pub fn set_version(&self, version: &str) {
        self.write(
            "etc/os-release",
            &format!("ID=testbed\nNAME=Testbed\nVERSION_ID={version}\n"),
        );
    }

    /// The `VERSION_ID` in etc/os-release.
    pub fn version(&self) -> String {
        let text = fs::read_to_string(self.path("etc/os-release")).unwrap_or_default();
        let version = text
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_ID="));
        version.unwrap_or_default().to_owned()
    }

    /// How often the machine has come up again.
    pub fn reboots(&self) -> usize {
        self.inner.reboots.load(Ordering::SeqCst)
    }

    /// From now on the machine really reboots when its logind is asked to and
    /// [`OnReboot::Succeed`](crate::fakes::OnReboot) is set. Down is when logind accepted, up is right before the agent starts: what the agent does then cannot
    /// come before it in the history.
    pub fn auto_reboot(&self, how: AutoReboot) {
        let mut asked = self.logind().watch_reboots();
        asked.mark_unchanged();
        let weak = std::sync::Arc::downgrade(&self.inner);
        let task = tokio::spawn(async move {
            while asked.changed().await.is_ok() {
                let Some(call) = asked.borrow_and_update().last().copied() else {
                    continue;
                };
                let Some(inner) = weak.upgrade() else { return };
                let node = Self { inner };
                how.history.record(call.at, node.name(), Kind::Down);
                node.go_down(how.death).await;
                tokio::time::sleep(how.delay).await;
                node.come_up().await;
                how.history.record(Instant::now(), node.name(), Kind::Up);
                node.start_again();
            }
        });
        let old = self
            .inner
            .auto_reboot
            .lock()
            .expect("nothing panics while it is locked")
            .replace(task);
        if let Some(old) = old {
            old.abort();
        }
    }
}
