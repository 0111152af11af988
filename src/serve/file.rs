//! The places of FleetLock's clients in a file, without etcd.

use std::{sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;
use host::{blocking, node::Group, text};
use jiff::Zoned;
use semaphore::{
    file::{FileError, FileStore},
    poller::{Poller, PollerTaken, Refusal},
};
use tokio::sync::Mutex;

use super::{
    protocol::{Call, Client, DEFAULT_GROUP, Verdict},
    worker::{Asked, Store},
};
use crate::agent::effects::AGENT;

/// The store in a file.
pub struct Places {
    store: FileStore,
    deadline: Duration,
    /// One change at a time waits for the disk.
    turn: Arc<Mutex<()>>,
}

impl Places {
    /// The places in this file. A client is expected back within `deadline`.
    #[must_use]
    pub fn new(store: FileStore, deadline: Duration) -> Self {
        Self {
            store,
            deadline,
            turn: Arc::default(),
        }
    }

    async fn carry_out(&self, asked: &Asked) -> Verdict {
        // Held by the work itself, which goes on where nobody waits for it any more.
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let (store, deadline, asked) = (self.store.clone(), self.deadline, asked.clone());
        blocking::run(move || {
            let _turn = turn;
            change(&store, deadline, &asked)
        })
        .await
    }
}

impl Store for Places {
    fn call<'a>(&'a self, asked: &'a Asked) -> LocalBoxFuture<'a, Verdict> {
        Box::pin(self.carry_out(asked))
    }
}

fn change(store: &FileStore, deadline: Duration, asked: &Asked) -> Verdict {
    let Client { id, group } = &asked.client;
    let done = match asked.call {
        Call::SteadyState => store.release(group, id).map(|()| PollerTaken::Taken),
        Call::PreReboot => {
            let poller = Poller {
                client: id.clone(),
                deadline: deadline.as_secs(),
                from: asked.from.map(|from| format!("FleetLock client at {from}")),
                agent: AGENT.to_owned(),
                now: Zoned::now(),
            };
            store.take(group, &poller)
        }
    };
    match done {
        Ok(PollerTaken::Taken) => Verdict::Done,
        Ok(PollerTaken::Refused(refusal)) => Verdict::Refused {
            kind: refusal.kind(),
            value: match refusal {
                Refusal::NoDocument(_) => no_group(group),
                refusal => refusal.to_string(),
            },
        },
        Err(error) => failed(&error),
    }
}

fn no_group(group: &Group) -> String {
    let name = match group.as_str() {
        "" => DEFAULT_GROUP,
        name => name,
    };
    format!("the file has no group {name:?}: add it there, with its max")
}

fn failed(error: &FileError) -> Verdict {
    let value = text::in_a_sentence(&error.to_string());
    tracing::warn!("{value}");
    Verdict::Away {
        kind: "storage_unavailable",
        value,
    }
}
