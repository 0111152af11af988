//! The connection to etcd whose answers are judged by what is remembered of the store.

use std::{panic::resume_unwind, sync::Arc, time::Duration};

use etcd_client::{Client, ResponseHeader, StatusResponse, Txn, TxnOp, TxnResponse};
use host::etcd::{self, LARGEST, Options};
use tokio::task::JoinError;

use super::{
    Error,
    memory::{Agent, Memory, reply},
    read,
};
use crate::{
    records::Accepted,
    store::{Reply, Sign},
};

/// The connection, and what is remembered.
#[derive(Clone)]
pub struct Connection {
    etcd: Arc<etcd::Connection>,
    memory: Arc<Memory>,
}

impl Connection {
    /// Prepares a connection; nothing is asked of the network yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            etcd: Arc::new(etcd::Connection::new(options)),
            memory: Arc::default(),
        }
    }

    /// The same, with answers judged by this memory.
    #[must_use]
    pub fn with_memory(self, memory: Arc<Memory>) -> Self {
        Self { memory, ..self }
    }

    /// By what its answers are judged.
    #[must_use]
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// The connection itself, for requests whose answers are not judged.
    #[must_use]
    pub fn etcd(&self) -> &etcd::Connection {
        &self.etcd
    }

    /// The most a request may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.etcd.timeout()
    }

    /// Closes the connection. The next request opens one again.
    pub fn close(&self) {
        self.etcd.close();
    }

    /// One transaction, see [`host::etcd::Connection::call`]. Its answer is judged by what is remembered of the store.
    ///
    /// # Errors
    /// As [`host::etcd::Connection::call`], and [`Error::OtherStore`] when the store is not the one it was: whether the transaction was carried
    /// out in it is not said.
    pub(super) async fn txn(&self, doing: &'static str, txn: Txn) -> Result<TxnResponse, Error> {
        let agent = self.memory.agent();
        let answered = self
            .etcd
            .call(doing, async |client: Client| {
                if let Some(agent) = agent.as_deref().filter(|_| !self.etcd.is_marked()) {
                    let get = Txn::new().and_then(vec![TxnOp::get(agent.keys.store(), None)]);
                    let judged = self.judged(&client, get).await?;
                    if let Err(sign) = judged {
                        return Ok(Err(sign));
                    }
                }
                let sent = self.memory.remembered();
                let response = sent_whole(&client, txn.clone()).await?;
                let judged = self.memory.judge(&sent, &reply(response.header()));
                Ok(judged.map(|()| response))
            })
            .await?;
        answered.map_err(|sign| other_store(doing, &sign))
    }

    /// As [`Self::txn`], of a transaction that only reads, and it is looked in any case whether the store is the one it was,
    /// by its raft log too.
    ///
    /// # Errors
    /// As [`Self::txn`].
    pub(super) async fn judged_look(
        &self,
        doing: &'static str,
        txn: Txn,
    ) -> Result<TxnResponse, Error> {
        let answered = self
            .etcd
            .call(doing, async |client: Client| {
                self.judged(&client, txn.clone()).await
            })
            .await?;
        answered.map_err(|sign| other_store(doing, &sign))
    }

    async fn judged(
        &self,
        client: &Client,
        txn: Txn,
    ) -> Result<Result<TxnResponse, Sign>, etcd_client::Error> {
        let sent = self.memory.remembered();
        let (response, reply) = looked(client, txn).await?;
        let mut judged = self.memory.judge(&sent, &reply);
        if let (Ok(()), Some(agent)) = (&judged, self.memory.agent()) {
            let accepted = accepted(&agent, &response);
            judged = self.memory.judge_accept(&sent, accepted.as_ref(), &reply);
        }
        if judged.is_ok() {
            self.etcd.mark();
        }
        Ok(judged.map(|()| response))
    }

    /// One transaction, whose answer is not judged.
    pub(super) async fn call_txn(
        &self,
        doing: &'static str,
        txn: Txn,
    ) -> Result<TxnResponse, Error> {
        let answer = self.etcd.call(doing, async |client: Client| {
            sent_whole(&client, txn.clone()).await
        });
        Ok(answer.await?)
    }

    /// One transaction, and what its answer says of the store. It is not judged.
    pub(super) async fn look(
        &self,
        doing: &'static str,
        txn: Txn,
    ) -> Result<(TxnResponse, Reply), Error> {
        let answer = self.etcd.call(doing, async |client: Client| {
            looked(&client, txn.clone()).await
        });
        Ok(answer.await?)
    }
}

/// One transaction, which comes to its end although its caller does not wait for it: before 3.5.5 a member of etcd ends with a
/// panic when a client cancels a transaction that only reads (etcd #14110; measured with 3.5.1).
async fn sent_whole(client: &Client, txn: Txn) -> Result<TxnResponse, etcd_client::Error> {
    let mut kv = client.kv_client().max_decoding_message_size(LARGEST);
    let under_way = tokio::spawn(async move { kv.txn(txn).await });
    match under_way.await.map_err(JoinError::try_into_panic) {
        Ok(answer) => answer,
        Err(Ok(panic)) => resume_unwind(panic),
        // The runtime ends, and with it who waits here.
        Err(Err(_)) => std::future::pending().await,
    }
}

/// One transaction, and between which numbers `revision - raft index` lay meanwhile: the member that answers is asked how it
/// is before and after.
async fn looked(client: &Client, txn: Txn) -> Result<(TxnResponse, Reply), etcd_client::Error> {
    // Who may not ask, or asks a proxy that does not know, goes without.
    let before = client.maintenance_client().status().await.ok();
    let response = sent_whole(client, txn).await?;
    let after = client.maintenance_client().status().await.ok();
    let difference = difference(response.header(), before.as_ref(), after.as_ref());
    let reply = Reply {
        difference,
        ..reply(response.header())
    };
    Ok((response, reply))
}

/// How the store was accepted last, where that was read.
fn accepted(agent: &Agent, response: &TxnResponse) -> Option<Accepted> {
    let key = agent.keys.store();
    let mut read = read::answers(response).into_iter().flatten();
    let kv = read.find(|kv| kv.key() == key.as_bytes())?;
    Some(read::accepted(&kv))
}

fn other_store(doing: &'static str, sign: &Sign) -> Error {
    Error::OtherStore {
        doing,
        sign: sign.to_string(),
    }
}

/// Between which numbers `revision - raft index` lay when this was answered: all that a member had committed before was
/// applied by then, and all that was applied it knew to be committed after. None where not one member gave all three.
fn difference(
    answer: Option<&ResponseHeader>,
    before: Option<&StatusResponse>,
    after: Option<&StatusResponse>,
) -> Option<(i64, i64)> {
    let answer = answer?;
    let index = |status: Option<&StatusResponse>| {
        let status = status?;
        let member = status.header()?.member_id();
        let same = member == answer.member_id() && member != 0;
        same.then(|| i64::try_from(status.raft_index()).ok())?
    };
    let (before, after) = (index(before)?, index(after)?);
    Some((answer.revision() - after, answer.revision() - before))
}
