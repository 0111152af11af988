//! What waits for a receiver: bounded, and kept on disk, so that a reboot loses nothing.

use std::{collections::VecDeque, io};

use host::{
    blocking,
    node::{ReadError, Root, RootPath},
};
use settings::{Receiver, ReceiverKind};

use super::Notification;

/// The most that waits for one receiver. What is older is lost, and that is logged.
const MOST: usize = 100;

/// The most that is read of a file.
const LARGEST: u64 = 4 << 20;

/// Only root reads it: a reason may tell what not everybody should know.
const MODE: u32 = 0o600;

fn folder(root: &Root) -> RootPath {
    root.path("var/lib/pointsman/notify")
}

/// The name of a receiver's file: of whom it is for, and nothing of that can be read from it.
pub(super) fn name(receiver: &Receiver) -> String {
    let to = match &receiver.to {
        ReceiverKind::Command(path) => format!("command {}", path.display()),
        ReceiverKind::Webhook { url, .. } => format!("webhook {url}"),
    };
    format!("{:.16}.json", host::fleet_lock::hashed(&to))
}

/// Removes what waits for receivers that are configured no more.
pub(super) fn remove_others(root: &Root, kept: &[String]) {
    let folder = folder(root);
    let names = folder.names().unwrap_or_default();
    for name in names {
        let name = name.to_string_lossy().into_owned();
        if !kept.contains(&name) {
            let file = root.path(format!("var/lib/pointsman/notify/{name}"));
            if let Err(error) = file.remove() {
                tracing::warn!("{file}: it cannot be removed: {error}");
            }
        }
    }
}

/// What waits for one receiver, the oldest first.
pub(super) struct Spool {
    path: RootPath,
    whose: String,
    waiting: VecDeque<Notification>,
    /// How many were lost since the last one was taken.
    lost: usize,
}

impl Spool {
    pub(super) fn new(root: &Root, receiver: &Receiver) -> Self {
        Self {
            path: root.path(format!("var/lib/pointsman/notify/{}", name(receiver))),
            whose: receiver.shown(),
            waiting: VecDeque::new(),
            lost: 0,
        }
    }

    /// Reads what a run before left.
    pub(super) async fn load(&mut self) {
        let path = self.path.clone();
        let read = blocking::run(move || match path.read_bounded(LARGEST) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
            Err(ReadError::System(error)) if error.kind() == io::ErrorKind::NotFound => {
                Ok(VecDeque::new())
            }
            Err(error) => Err(io::Error::other(error)),
        });
        match read.await {
            Ok(waiting) => self.waiting = waiting,
            Err(error) => tracing::warn!(
                "{}: what waits for {} cannot be read, and is lost: {error}",
                self.path,
                self.whose
            ),
        }
    }

    pub(super) fn first(&self) -> Option<&Notification> {
        self.waiting.front()
    }

    /// Adds one. Of too many the oldest is lost, but for the one that may be on its way.
    pub(super) async fn add(&mut self, notification: Notification) {
        self.waiting.push_back(notification);
        if self.waiting.len() > MOST {
            self.waiting.remove(1);
            self.lost += 1;
            if self.lost.is_power_of_two() {
                tracing::warn!(
                    "{}: more than {MOST} notifications wait, and {} are lost",
                    self.whose,
                    self.lost
                );
            }
        }
        self.save().await;
    }

    /// The first one was taken, or refused for good.
    pub(super) async fn remove_first(&mut self) {
        self.waiting.pop_front();
        self.lost = 0;
        self.save().await;
    }

    /// Writes it. What cannot be written is told all the same, unless the node reboots first.
    async fn save(&self) {
        let (path, empty) = (self.path.clone(), self.waiting.is_empty());
        let bytes = serde_json::to_vec(&self.waiting).expect("texts and numbers always serialize");
        let written = blocking::run(move || {
            if empty {
                return match path.remove() {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                };
            }
            path.parent().make_folder()?;
            path.write_atomic(&bytes, MODE)
        });
        if let Err(error) = written.await {
            tracing::warn!(
                "{}: what waits for {} cannot be written: {error}",
                self.path,
                self.whose
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver() -> Receiver {
        Receiver {
            events: Vec::new(),
            to: ReceiverKind::Command("/bin/true".into()),
        }
    }

    fn told(reason: &str) -> Notification {
        serde_json::from_value(serde_json::json!({
            "version": 1, "event": "proven", "text": "", "time": "2026-11-30T01:02:03Z", "node": "0a", "hostname": "a",
            "group": "", "reason": reason,
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn oldest_of_too_many_are_lost_but_for_the_one_on_its_way() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let mut spool = Spool::new(&root, &receiver());
        for number in 0..MOST + 10 {
            spool.add(told(&number.to_string())).await;
        }
        let mut again = Spool::new(&root, &receiver());
        again.load().await;
        assert_eq!(again.waiting.len(), MOST);
        let reason = |at: usize| again.waiting[at].reason.clone();
        assert_eq!((reason(0), reason(1)), ("0".into(), "11".into()));
        assert_eq!(reason(MOST - 1), (MOST + 9).to_string());
        while again.first().is_some() {
            again.remove_first().await;
        }
        assert!(
            !again.path.is_there(),
            "nothing waits, and no file is there"
        );
    }

    #[tokio::test]
    async fn damaged_spool_is_lost_and_a_new_one_begins() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let mut spool = Spool::new(&root, &receiver());
        spool.add(told("a")).await;
        spool.path.write_atomic(b"[{", MODE).unwrap();
        let mut again = Spool::new(&root, &receiver());
        again.load().await;
        assert_eq!(again.first(), None);
        again.add(told("b")).await;
        remove_others(&root, &[name(&receiver())]);
        assert!(again.path.is_there());
        remove_others(&root, &[]);
        assert!(!again.path.is_there());
    }
}
