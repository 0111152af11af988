//! The service manager's end of sd_notify(3).

use std::path::{Path, PathBuf};

use tokio::net::UnixDatagram;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What an agent has told its service manager.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notified {
    /// It said `READY=1`.
    pub ready: bool,
    /// It said `STOPPING=1`.
    pub stopping: bool,
    /// Its last `STATUS=`.
    pub status: String,
    /// How often it said `WATCHDOG=1`.
    pub watchdog: u64,
    /// Every message, in order.
    pub messages: Vec<String>,
}

impl Notified {
    fn take(&mut self, message: &str) {
        for line in message.lines() {
            match line.split_once('=') {
                Some(("READY", "1")) => self.ready = true,
                Some(("STOPPING", "1")) => self.stopping = true,
                Some(("STATUS", text)) => text.clone_into(&mut self.status),
                Some(("WATCHDOG", "1")) => self.watchdog += 1,
                _ => {}
            }
        }
        self.messages.push(message.to_owned());
    }
}

/// The socket of one run of an agent; a task reads it.
#[derive(Debug)]
pub(super) struct Notify {
    pub(super) path: PathBuf,
    pub(super) told: watch::Receiver<Notified>,
    reader: JoinHandle<()>,
}

impl Notify {
    pub(super) fn bind(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path)
            .unwrap_or_else(|e| panic!("no socket at {}: {e}", path.display()));
        let (tell, told) = watch::channel(Notified::default());
        let reader = tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(n) = socket.recv(&mut buffer).await {
                let message = String::from_utf8_lossy(&buffer[..n]).into_owned();
                tell.send_modify(|notified| notified.take(&message));
            }
        });
        Self {
            path: path.to_owned(),
            told,
            reader,
        }
    }
}

impl Drop for Notify {
    fn drop(&mut self) {
        self.reader.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}
