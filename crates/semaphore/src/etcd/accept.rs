//! A person looks at a store that is not the one it was, and accepts it.

use etcd_client::{GetOptions, Txn, TxnOp};
use jiff::Timestamp;

use super::{Error, RACES, Semaphore, acts::About, json, read, stand_back, store::as_read};
use crate::records::{Accepted, NodeRecord, Pause, new_nonce};

/// How a person's accept ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Accept {
    /// Accepted, and the pause that was ended with it; one that a person had made before stays.
    Done(Option<Pause>),
    /// The pause has another id, or none, or there is no such pause.
    NotThat(Option<Pause>),
}

/// The store as it answers now.
#[derive(Debug, Clone)]
pub struct StoreLook {
    /// The id of its cluster; 0 where whoever answers does not say.
    pub cluster: u64,
    /// Its revision.
    pub revision: i64,
    /// How it was accepted last.
    pub accepted: Option<Accepted>,
    /// The whole cluster's pause.
    pub pause_all: Option<Pause>,
    /// The nodes whose agents stopped, and what they knew.
    pub nodes: Vec<NodeRecord>,
}

impl Semaphore {
    /// What there is to see of the store for a person.
    ///
    /// # Errors
    /// [`Error::Clusters`] where the endpoints lead to several; or etcd cannot be reached or refuses.
    pub async fn store(&self) -> Result<StoreLook, Error> {
        self.of_one_cluster().await?;
        let nodes = GetOptions::new().with_prefix();
        let looked = self
            .look_at_store(TxnOp::get(self.keys.nodes(), Some(nodes)))
            .await?;
        let mut nodes = read::readable::<NodeRecord>(&looked.more);
        nodes.retain(|node| node.knew.is_some());
        Ok(StoreLook {
            cluster: looked.reply.cluster,
            revision: looked.reply.revision,
            accepted: looked.accepted.map(|(accepted, _)| accepted),
            pause_all: looked.pause.map(|(pause, _)| pause),
            nodes,
        })
    }

    /// Accepts the store as it is, for a person who has looked: ends the pause of this id in the same step. Without an id
    /// where no agent has stopped: before any of them comes.
    ///
    /// # Errors
    /// [`Error::Clusters`] where the endpoints lead to several; or etcd cannot be reached or refuses.
    pub async fn accept(&self, id: Option<&str>, by: &str, reason: &str) -> Result<Accept, Error> {
        const DOING: &str = "accepting the store";
        self.of_one_cluster().await?;
        let token = new_nonce().map_err(|error| Error::Machine {
            doing: DOING,
            error,
        })?;
        let target = id.unwrap_or_default().to_owned();
        let act = self.act(DOING, "store accept", About::Cluster, target, reason)?;
        for tries in 0..RACES {
            let looked = self
                .look_at_store(TxnOp::get(self.keys.store(), None))
                .await?;
            if let Some((accepted, _)) = &looked.accepted
                && accepted.token == token
            {
                // The reply to an earlier try was lost.
                return Ok(Accept::Done(looked.pause.map(|(pause, _)| pause)));
            }
            let stopped = looked
                .pause
                .as_ref()
                .filter(|(pause, _)| pause.store.is_some());
            let found = stopped.and_then(|(pause, _)| pause.store.as_ref());
            if found.map(|found| found.id.as_str()) != id {
                return Ok(Accept::NotThat(stopped.map(|(pause, _)| pause.clone())));
            }
            let accepted = Accepted {
                token: token.clone(),
                id: id.unwrap_or_default().to_owned(),
                by: by.to_owned(),
                reason: reason.to_owned(),
                since: Some(Timestamp::now()),
                marks: looked.reply.marks(),
                unknown: serde_json::Map::new(),
            };
            let (store, pause) = (self.keys.store(), self.keys.pause_all());
            let mut compares = as_read(&store, looked.accepted.as_ref().map(|(_, stored)| stored));
            compares.extend(as_read(
                &pause,
                looked.pause.as_ref().map(|(_, stored)| stored),
            ));
            let mut then = vec![TxnOp::put(store, json(&accepted), None)];
            if let Some((before, _)) = stopped {
                then.push(match persons(before) {
                    Some(kept) => TxnOp::put(pause, json(&kept), None),
                    None => TxnOp::delete(pause, None),
                });
            }
            then.extend(act.ops());
            let txn = Txn::new().when(compares).and_then(then);
            let response = self.connection.call_txn(DOING, txn).await?;
            if response.succeeded() {
                self.acted(&response).await;
                return Ok(Accept::Done(stopped.map(|(pause, _)| pause.clone())));
            }
            stand_back(tries).await;
        }
        Err(Error::Contended {
            doing: DOING,
            tries: RACES,
        })
    }
}

/// What a person had paused before, without what an agent found.
fn persons(pause: &Pause) -> Option<Pause> {
    let found = pause.store.as_ref()?;
    let own = pause.reason == found.reason;
    let over = pause.until.is_some_and(|until| until <= Timestamp::now());
    (!own && !over).then(|| Pause {
        store: None,
        until: None,
        ..pause.clone()
    })
}
