//! When etcd is not the one it was: the cluster is stopped, and an agent goes on once a person has accepted the store.

use std::collections::{BTreeMap, BTreeSet};

use etcd_client::{KeyValue, Txn, TxnOp, TxnResponse};
use jiff::Timestamp;

use super::{
    Error, RACES, Semaphore, absent, json, memory::Agent, put_node, read, stand_back, unchanged,
};
use crate::{
    records::{Accepted, NodeRecord, OtherStore, Pause, new_nonce},
    store::Reply,
    stored::Stored,
};

/// What is read to see how a store stands.
pub(super) struct Looked {
    pub(super) reply: Reply,
    pub(super) accepted: Option<(Accepted, Stored)>,
    pub(super) pause: Option<(Pause, Stored)>,
    pub(super) more: Vec<KeyValue>,
}

impl Looked {
    fn new(response: &TxnResponse, reply: Reply) -> Self {
        let mut answers = read::answers(response).into_iter();
        let mut next = || answers.next().unwrap_or_default();
        Self {
            reply,
            accepted: next()
                .first()
                .map(|kv| (read::accepted(kv), Stored::from(kv))),
            pause: next().first().map(|kv| (read::pause(kv), Stored::from(kv))),
            more: next(),
        }
    }

    /// The token by which a person accepted this very store, where this is none of those seen.
    fn answer(&self, seen: &BTreeSet<String>) -> Option<&str> {
        let (accepted, _) = self.accepted.as_ref()?;
        // It may have come with the snapshot.
        let of_another = accepted
            .marks
            .as_ref()
            .and_then(|marks| marks.judge(&self.reply));
        let new = !accepted.token.is_empty() && !seen.contains(&accepted.token);
        (new && of_another.is_none()).then_some(accepted.token.as_str())
    }
}

impl Semaphore {
    /// One transaction in a store that is the one it was, or that a person has accepted. An agent looks first, once over each
    /// connection.
    ///
    /// # Errors
    /// As [`super::Connection::txn`].
    pub(super) async fn txn(&self, doing: &'static str, txn: Txn) -> Result<TxnResponse, Error> {
        self.trusted(doing).await?;
        let done = self.connection.txn(doing, txn).await;
        self.after(done).await
    }

    /// As [`Self::txn`], of a transaction that only reads, before a ticket and while it is first: it is looked in any case
    /// whether the store is the one it was, and whether all endpoints lead to one cluster.
    ///
    /// # Errors
    /// As [`Self::txn`], and [`Error::Clusters`].
    pub(super) async fn probing_txn(
        &self,
        doing: &'static str,
        txn: Txn,
    ) -> Result<TxnResponse, Error> {
        self.trusted(doing).await?;
        self.one_cluster().await?;
        let done = self.connection.judged_look(doing, txn).await;
        self.after(done).await
    }

    /// Looks whether the store is the one it was.
    ///
    /// # Errors
    /// [`Error::OtherStore`] or [`Error::Clusters`] where it is not; or etcd cannot be asked.
    pub(super) async fn probe(&self) -> Result<(), Error> {
        let get = TxnOp::get(self.keys.store(), None);
        let asked = self.probing_txn("looking at etcd", Txn::new().and_then(vec![get]));
        asked.await.map(drop)
    }

    /// Remembers by which token the store was accepted last.
    pub(super) fn note_token(&self, stored: Option<&KeyValue>) {
        if let Some(accepted) = stored.map(read::accepted) {
            self.memory()
                .note(|remembered| remembered.note_token(&accepted.token));
        }
    }

    async fn trusted(&self, doing: &'static str) -> Result<(), Error> {
        let Some(sign) = self.memory().sign() else {
            return Ok(());
        };
        let sign = match self.answered().await {
            Ok(true) => return Ok(()),
            Ok(false) => sign.to_string(),
            Err(error @ Error::Clusters { .. }) => return Err(error),
            Err(error) if error.is_unreachable() => return Err(error),
            // What it is stopped for is said all the same.
            Err(error) => format!("{sign} (only this node is stopped: {error})"),
        };
        Err(Error::OtherStore { doing, sign })
    }

    /// With the first sign the cluster is stopped at once.
    async fn after(&self, done: Result<TxnResponse, Error>) -> Result<TxnResponse, Error> {
        if let Err(Error::OtherStore { .. }) = &done {
            self.stop_for_a_sign().await;
        }
        let response = done?;
        self.note_own_record(&response);
        // The first answer of a store is journalled at once; later ones with the steps that need it.
        if self.memory().is_new()
            && let Err(error) = self.memory().keep("remembering etcd").await
        {
            // A node that can take nothing for that says so in etcd all the same.
            tracing::debug!("{error}");
        }
        Ok(response)
    }

    pub(super) async fn stop_for_a_sign(&self) {
        if let Err(error) = self.answered().await {
            tracing::error!("only this node is stopped yet: {error}");
        }
    }

    /// Whether a person has accepted the store that answers now, so that this agent goes on with it. If not, it sees to it
    /// that the whole cluster stands still, and tells what it knew. Nothing of that is asked of who acts by hand.
    async fn answered(&self) -> Result<bool, Error> {
        const DOING: &str = "stopping the cluster";
        let Some(agent) = self.memory().agent() else {
            return Ok(false);
        };
        self.one_cluster().await?;
        self.expected.take();
        for tries in 0..RACES {
            let own = self.keys.node(&agent.node.id);
            let looked = self.look_at_store(TxnOp::get(own, None)).await?;
            if let Some(token) = looked.answer(&self.memory().remembered().tokens) {
                self.memory().accept(token, &looked.reply);
                tracing::warn!("a person has accepted this store, and this node continues with it");
                // Before anything is awaited: whoever asks may be dropped there, and nobody else finds the accept any more.
                (agent.accepted)();
                self.memory().keep(DOING).await?;
                return Ok(true);
            }
            // By a mistaken list of endpoints, say, another cluster was asked; now the one that is remembered answers again.
            let accepted = looked.accepted.as_ref().map(|(accepted, _)| accepted);
            if self.memory().is_back(&looked.reply, accepted) {
                tracing::warn!("the etcd that this node knows answers again");
                return Ok(true);
            }
            let Some(sign) = self.memory().sign() else {
                return Ok(true);
            };
            if self.stop(&agent, &sign.to_string(), &looked).await? {
                return Ok(false);
            }
            stand_back(tries).await;
        }
        Err(Error::Contended {
            doing: DOING,
            tries: RACES,
        })
    }

    /// Goes on, without an agent's journal, with a store that a person has accepted or that is the remembered one again.
    pub(super) fn go_on_with(&self, looked: &Looked) {
        let memory = self.memory();
        if let Some(token) = looked.answer(&memory.remembered().tokens) {
            memory.accept(token, &looked.reply);
            tracing::warn!("a person has accepted this store, and its content counts from now on");
            return;
        }
        let accepted = looked.accepted.as_ref().map(|(accepted, _)| accepted);
        if memory.is_back(&looked.reply, accepted) {
            tracing::warn!("the etcd that was asked before answers again");
        }
    }

    /// Puts the pause that only `store accept` ends, and what this node knew; whether they stand now.
    async fn stop(&self, agent: &Agent, reason: &str, looked: &Looked) -> Result<bool, Error> {
        const DOING: &str = "stopping the cluster";
        let told = read::readable::<NodeRecord>(&looked.more);
        if !told.iter().any(|node| node.knew.is_some()) {
            let now = NodeRecord {
                state: "waiting".into(),
                waits_for: reason.to_owned(),
                since: Some(Timestamp::now()),
                knew: Some(self.memory().remembered().known),
                ..agent.node.clone()
            };
            let txn = Txn::new().and_then(vec![put_node(&self.keys, &now)]);
            self.connection.call_txn(DOING, txn).await?;
        }
        let Some(op) = pausing(agent, reason, looked.pause.as_ref())? else {
            return Ok(true);
        };
        let key = self.keys.pause_all();
        let txn = Txn::new()
            .when(as_read(
                &key,
                looked.pause.as_ref().map(|(_, stored)| stored),
            ))
            .and_then(vec![TxnOp::put(key, json(&op), None)]);
        Ok(self.connection.call_txn(DOING, txn).await?.succeeded())
    }

    /// Whether all endpoints that answer lead to one cluster. Where they do not, each of the clusters is stopped.
    async fn one_cluster(&self) -> Result<(), Error> {
        // Who acts by hand sees what answers, and asks at once.
        let Some(agent) = self.memory().agent() else {
            return Ok(());
        };
        let Err(error) = self.of_one_cluster().await else {
            return Ok(());
        };
        let Error::Clusters { clusters } = &error else {
            return Err(error);
        };
        let reason = error.to_string();
        let each: BTreeMap<u64, &String> = clusters.iter().map(|(at, id)| (*id, at)).collect();
        for (id, endpoint) in each {
            let alone = Self::new(
                super::Options {
                    endpoints: vec![endpoint.clone()],
                    ..self.connection.etcd().options().clone()
                },
                self.keys.clone(),
                self.back_off,
            );
            if let Err(error) = alone.stop_until_done(&agent, &reason).await {
                tracing::error!("the cluster {id:x} at {endpoint} is not stopped: {error}");
            }
        }
        Err(error)
    }

    async fn stop_until_done(&self, agent: &Agent, reason: &str) -> Result<(), Error> {
        for tries in 0..RACES {
            let own = self.keys.node(&agent.node.id);
            let looked = self.look_at_store(TxnOp::get(own, None)).await?;
            if self.stop(agent, reason, &looked).await? {
                return Ok(());
            }
            stand_back(tries).await;
        }
        Ok(())
    }

    pub(super) async fn look_at_store(&self, more: TxnOp) -> Result<Looked, Error> {
        let ops = vec![
            TxnOp::get(self.keys.store(), None),
            TxnOp::get(self.keys.pause_all(), None),
            more,
        ];
        let asked = self
            .connection
            .look("looking at the store", Txn::new().and_then(ops));
        let (response, reply) = asked.await?;
        Ok(Looked::new(&response, reply))
    }

    /// An error where the endpoints that answer lead to several clusters.
    pub(super) async fn of_one_cluster(&self) -> Result<(), Error> {
        if self.connection.etcd().options().endpoints.len() < 2 {
            return Ok(());
        }
        let clusters = self.connection.etcd().clusters().await;
        let ids: BTreeSet<u64> = clusters.iter().map(|(_, id)| *id).collect();
        if ids.len() > 1 {
            return Err(Error::Clusters { clusters });
        }
        Ok(())
    }
}

/// "This stands as it was read", or does not stand as it did not then.
pub(super) fn as_read(key: &str, stored: Option<&Stored>) -> Vec<etcd_client::Compare> {
    stored.map_or_else(|| vec![absent(key)], |stored| unchanged(key, stored))
}

/// The pause that stops the cluster; none where such a one stands. A person's stays in it, without an end.
fn pausing(
    agent: &Agent,
    reason: &str,
    there: Option<&(Pause, Stored)>,
) -> Result<Option<Pause>, Error> {
    if there.is_some_and(|(pause, _)| pause.store.is_some()) {
        return Ok(None);
    }
    let random = new_nonce().map_err(|error| Error::Machine {
        doing: "stopping the cluster",
        error,
    })?;
    let node = &agent.node;
    let now = Some(Timestamp::now());
    let store = Some(OtherStore {
        id: random.chars().take(8).collect(),
        node: node.id.clone(),
        hostname: node.hostname.clone(),
        reason: reason.to_owned(),
        since: now,
    });
    Ok(Some(match there {
        Some((pause, _)) => Pause {
            store,
            ..pause.clone()
        },
        None => Pause {
            by: format!("pointsman@{}", node.hostname),
            reason: reason.to_owned(),
            since: now,
            until: None,
            store,
            unknown: serde_json::Map::new(),
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Marks;

    #[test]
    fn only_a_new_accept_of_this_store_counts() {
        let marks = |cluster| Marks {
            cluster,
            revision: 9,
            difference: None,
        };
        let answer = |token: &str, marks: Option<Marks>| {
            let looked = Looked {
                reply: Reply {
                    cluster: 7,
                    revision: 10,
                    difference: None,
                },
                accepted: Some((
                    Accepted {
                        token: token.into(),
                        id: String::new(),
                        by: "ann".into(),
                        reason: "looked".into(),
                        since: None,
                        marks,
                        unknown: serde_json::Map::new(),
                    },
                    Stored::default(),
                )),
                pause: None,
                more: Vec::new(),
            };
            let seen = BTreeSet::from(["seen".to_owned()]);
            looked.answer(&seen).map(str::to_owned)
        };
        assert_eq!(answer("new", Some(marks(7))).as_deref(), Some("new"));
        // An older program accepted it, which wrote no marks.
        assert_eq!(answer("new", None).as_deref(), Some("new"));
        assert_eq!(answer("seen", Some(marks(7))), None);
        assert_eq!(answer("", Some(marks(7))), None);
        // It came with a snapshot of the store that was accepted.
        assert_eq!(answer("new", Some(marks(8))), None);
    }
}
