//! The places of FleetLock's clients in etcd: the same reboot locks as the agents take.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use host::{
    node::{self, Group, Root},
    text,
};
use jiff::Zoned;
use semaphore::{
    etcd::{Error, Semaphore},
    poller::{Poller, PollerTaken},
};

use super::{
    protocol::{Call, Client, DEFAULT_GROUP, Verdict},
    worker::{Asked, Store},
};
use crate::agent::effects::AGENT;

/// The store in etcd.
pub struct EtcdStore {
    /// Any group's reboot lock: it has the connection.
    pub semaphore: Semaphore,
    /// Within what time a client is expected back.
    pub deadline: Duration,
    /// The machine, whose time zone counts for windows without one.
    pub root: Root,
}

impl EtcdStore {
    /// Whether etcd has a group of the name that FleetLock gives to the unnamed one: nobody could tell them apart. From now on etcd is
    /// known again.
    ///
    /// # Errors
    /// When etcd cannot be asked.
    pub(super) async fn has_group_default(&self) -> Result<bool, Error> {
        self.semaphore.remember_store().await?;
        let groups = self.semaphore.groups().await?;
        Ok(groups.iter().any(|group| group.as_str() == DEFAULT_GROUP))
    }

    async fn carry_out(&self, asked: &Asked) -> Verdict {
        let Client { id, group } = &asked.client;
        let semaphore = self.semaphore.of_group(group.clone());
        match asked.call {
            Call::SteadyState => match semaphore.release_for_poller(id).await {
                Ok(()) => Verdict::Done,
                Err(error) => failed(group, &error),
            },
            Call::PreReboot => {
                let poller = Poller {
                    client: id.clone(),
                    deadline: self.deadline.as_secs(),
                    from: asked.from.map(|from| format!("FleetLock client at {from}")),
                    agent: AGENT.to_owned(),
                    now: Zoned::now().with_time_zone(node::time_zone(&self.root)),
                };
                match semaphore.take_for_poller(&poller).await {
                    Ok(PollerTaken::Taken) => Verdict::Done,
                    Ok(PollerTaken::Refused(refusal)) => Verdict::Refused {
                        kind: refusal.kind(),
                        value: refusal.to_string(),
                    },
                    Err(error) => failed(group, &error),
                }
            }
        }
    }
}

impl Store for EtcdStore {
    fn call<'a>(&'a self, asked: &'a Asked) -> LocalBoxFuture<'a, Verdict> {
        Box::pin(self.carry_out(asked))
    }
}

/// What an error comes to. It is logged, since the client may not show it.
fn failed(group: &Group, error: &Error) -> Verdict {
    let value = text::in_a_sentence(&error.to_string());
    tracing::warn!(group = group.as_str(), "{value}");
    match error {
        Error::Document { .. } | Error::Missing { .. } => Verdict::Refused {
            kind: "semaphore_unusable",
            value,
        },
        Error::OtherStore { .. } | Error::Clusters { .. } => Verdict::Away {
            kind: "storage_changed",
            value,
        },
        _ => Verdict::Away {
            kind: "storage_unavailable",
            value,
        },
    }
}
