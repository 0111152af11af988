//! Notifications: who is told what happens on this node, by a program or a webhook.
//!
//! Each receiver has a task and a bounded spool of its own. The agent hands an event over and goes on; a receiver that does
//! not answer holds up neither the agent nor another receiver.

mod deliver;
mod spool;
mod words;

use std::{
    cell::RefCell, collections::BTreeMap, os::unix::fs::PermissionsExt as _, path::PathBuf,
    time::Duration,
};

use host::node::Root;
use jiff::Timestamp;
use semaphore::{etcd::BackOff, records::ImageId};
use serde::{Deserialize, Serialize};
use settings::{Config, Receiver, ReceiverKind};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::agent::history::Happened;
use deliver::Refused;
use spool::Spool;

/// The version of the body.
const VERSION: u32 = 1;

/// What a receiver is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The version of this form.
    pub version: u32,
    /// What happened, one word.
    pub event: String,
    /// It in one sentence.
    pub text: String,
    /// When, by the clock of this machine.
    pub time: Timestamp,
    /// The node's id.
    pub node: String,
    /// Its host name.
    pub hostname: String,
    /// Its group.
    pub group: String,
    /// The image that ran before, where the event is about a reboot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ImageId>,
    /// The image that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<ImageId>,
    /// Why, a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How long it took, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// Programs among the receivers that cannot be run as they are now, a sentence each.
#[must_use]
pub fn missing_programs(config: &Config) -> Vec<String> {
    let programs = config
        .notify
        .iter()
        .filter_map(|receiver| match &receiver.to {
            ReceiverKind::Command(path) => Some(path),
            ReceiverKind::Webhook { .. } => None,
        });
    let complaint = |path: &PathBuf| {
        let why = match std::fs::metadata(path) {
            Ok(found) if !found.is_file() => "it is not a file".to_owned(),
            Ok(found) if found.permissions().mode() & 0o111 == 0 => {
                "it is not executable; make it so (chmod +x)".to_owned()
            }
            Ok(_) => return None,
            Err(error) => error.to_string(),
        };
        let path = path.display().to_string();
        let path = host::text::one_line(&path);
        Some(format!("notify.command {path} cannot be run: {why}"))
    };
    programs.filter_map(complaint).collect()
}

/// Hands events over to the receivers.
pub struct Notifier {
    root: Root,
    /// The node's id, its host name and its group.
    node: [String; 3],
    receivers: Vec<Running>,
    /// What was found of the surroundings, by the event that tells it.
    found: RefCell<BTreeMap<&'static str, bool>>,
}

/// A receiver and its task.
struct Running {
    receiver: Receiver,
    told: UnboundedSender<Notification>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Notifier {
    /// One that tells nobody yet.
    #[must_use]
    pub fn new(root: &Root, id: &str, hostname: &str) -> Self {
        Self {
            root: root.clone(),
            node: [id.to_owned(), hostname.to_owned(), String::new()],
            receivers: Vec::new(),
            found: RefCell::default(),
        }
    }

    /// Tells the receivers of this configuration from now on. What waits for one that is configured as before goes on; of
    /// one that is configured no more it is removed.
    pub fn configure(&mut self, config: &Config) {
        config.group.as_str().clone_into(&mut self.node[2]);
        let before = std::mem::take(&mut self.receivers);
        let mut before: Vec<Option<Running>> = before.into_iter().map(Some).collect();
        for receiver in &config.notify {
            let same = |running: &&mut Option<Running>| {
                let running = running.as_ref();
                running.is_some_and(|running| running.receiver == *receiver)
            };
            let running = before.iter_mut().find(same).and_then(Option::take);
            let running = running.unwrap_or_else(|| self.start(receiver, config));
            self.receivers.push(running);
        }
        let kept: Vec<String> = config.notify.iter().map(spool::name).collect();
        let had = before.iter().any(Option::is_some);
        if had || config.notify.is_empty() {
            let root = self.root.clone();
            tokio::task::spawn_blocking(move || spool::remove_others(&root, &kept));
        }
    }

    fn start(&self, receiver: &Receiver, config: &Config) -> Running {
        let (told, tells) = mpsc::unbounded_channel();
        let spool = Spool::new(&self.root, receiver);
        let back_off = BackOff {
            min: config.timings.retry_min,
            max: config.timings.retry_max,
        };
        Running {
            receiver: receiver.clone(),
            told,
            task: tokio::task::spawn_local(tell(receiver.clone(), spool, back_off, tells)),
        }
    }

    /// Tells what happened on the node. It returns at once.
    pub fn happened(&self, events: &[Happened]) {
        for happened in events {
            let event = words::word(&happened.event);
            self.tell(Notification {
                from: happened.from.clone(),
                to: happened.to.clone(),
                reason: happened.reason.clone(),
                seconds: happened.seconds,
                ..self.notification(&event, happened.time)
            });
        }
    }

    /// Tells what the agent finds of its surroundings: `event` when `what` becomes a sentence, and `over` when it is none again.
    pub fn finds(&self, event: &'static str, what: &str, over: Option<&str>) {
        let found = !what.is_empty();
        let before = self.found.borrow_mut().insert(event, found);
        if before.unwrap_or_default() == found {
            return;
        }
        let event = if found { Some(event) } else { over };
        if let Some(event) = event {
            self.tell(Notification {
                reason: what.to_owned(),
                ..self.notification(event, Timestamp::now())
            });
        }
    }

    fn notification(&self, event: &str, time: Timestamp) -> Notification {
        let [node, hostname, group] = self.node.clone();
        Notification {
            version: VERSION,
            event: event.to_owned(),
            text: String::new(),
            time,
            node,
            hostname,
            group,
            from: None,
            to: None,
            reason: String::new(),
            seconds: None,
        }
    }

    fn tell(&self, notification: Notification) {
        let wants = |running: &&Running| running.receiver.wants(&notification.event);
        for running in self.receivers.iter().filter(wants) {
            let text = words::sentence(&notification);
            // The task lives as long as the sender.
            let _ = running.told.send(Notification {
                text,
                ..notification.clone()
            });
        }
    }
}

/// Tells one receiver, one event after the other, again and again until it has taken it.
async fn tell(
    receiver: Receiver,
    mut spool: Spool,
    back_off: BackOff,
    mut told: UnboundedReceiver<Notification>,
) {
    spool.load().await;
    let mut waits = back_off.waits();
    let mut again: Option<Instant> = None;
    let mut sending = None;
    loop {
        if sending.is_none()
            && again.is_none()
            && let Some(next) = spool.first()
        {
            let (receiver, next) = (receiver.clone(), next.clone());
            sending = Some(Box::pin(
                async move { deliver::deliver(&receiver, &next).await },
            ));
        }
        let sends = async {
            match &mut sending {
                Some(sending) => sending.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            more = told.recv() => match more {
                Some(notification) => spool.add(notification).await,
                None => return,
            },
            sent = sends => {
                sending = None;
                match sent {
                    Ok(()) => {
                        waits = back_off.waits();
                        spool.remove_first().await;
                    }
                    Err(Refused { why, again: false }) => {
                        tracing::error!("{}: it refuses a notification, which is lost: {why}", receiver.shown());
                        spool.remove_first().await;
                    }
                    Err(Refused { why, .. }) => {
                        let wait = waits.next().unwrap_or(Duration::from_secs(60));
                        tracing::warn!("{}: a notification is tried again: {why}", receiver.shown());
                        again = Some(Instant::now() + wait);
                    }
                }
            }
            () = until(again) => again = None,
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
