//! The way to etcd: endpoints tried in turn, every request within its deadline.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use etcd_client::{
    Channel, Client, ConnectOptions, ResponseHeader, StatusResponse, Txn, TxnOp, TxnResponse,
};
use tokio::time::{Instant, timeout_at};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::{
    Error,
    memory::{Agent, Memory, reply},
    once::Once,
    read,
    reason::{Failure, explain, in_words},
};
use crate::semaphore::{
    records::Accepted,
    store::{Reply, Sign},
};

/// The most an answer may hold, in bytes: what some 50,000 nodes say of themselves.
const LARGEST: usize = 64 << 20;

/// How to reach etcd.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// URLs, `http://host:port` or `https://host:port`, in the order in which they are tried.
    pub endpoints: Vec<String>,
    /// For `https` endpoints: what to trust and who to be. Without it, the system's authorities.
    pub tls: Option<Tls>,
    /// User and password, where etcd has authentication switched on.
    pub user: Option<(String, String)>,
    /// The most a request may take, over all endpoints together.
    pub timeout: Duration,
}

/// Certificates, each in PEM.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authorities trusted to sign etcd's certificate; without them, the system's.
    pub authorities: Option<Vec<u8>>,
    /// The client's certificate and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// A connection to one of the endpoints, made when first needed and moved to the next one when it fails.
pub struct Connection {
    options: Options,
    current: Mutex<Current>,
    memory: Arc<Memory>,
}

#[derive(Default)]
struct Current {
    index: usize,
    client: Option<Client>,
    /// Whether it was looked over this connection whether the store is the one it was.
    looked: bool,
}

impl Connection {
    /// Prepares a connection; nothing is asked of the network yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            current: Mutex::default(),
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

    /// The most a request may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.options.timeout
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// Closes the connection. The next request opens one again.
    pub fn close(&self) {
        self.current().client = None;
    }

    /// Leaves the endpoint in use: the next request starts with the one after it.
    pub(super) fn move_on(&self) {
        let mut current = self.current();
        current.client = None;
        current.index = (current.index + 1) % self.options.endpoints.len().max(1);
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a request, at each endpoint in turn until one serves it, the last good one first.
    ///
    /// A request that got no reply may have been carried out and is made again elsewhere: so `request`
    /// must be harmless when it takes effect twice, or guard itself by compares.
    ///
    /// # Errors
    /// [`Error::Unreachable`] with every endpoint's reason; [`Error::Refused`] when etcd understood the
    /// request and will not serve it anywhere.
    pub(super) async fn call<T>(
        &self,
        doing: &'static str,
        request: impl AsyncFn(Client) -> Result<T, etcd_client::Error>,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + self.options.timeout;
        let endpoints = self.options.endpoints.len();
        let (first, connected) = {
            let current = self.current();
            (current.index, current.client.is_some())
        };
        // A connection made earlier may have died unnoticed: its endpoint is worth a second, fresh try.
        let turns = endpoints + usize::from(connected);
        let mut reasons: Vec<(String, String)> = Vec::new();
        for turn in 0..turns {
            let index = (first + turn) % endpoints;
            let left = deadline.saturating_duration_since(Instant::now());
            // An endpoint that hangs may use up its share of the time, not the others'.
            let share = left / u32::try_from(turns - turn).unwrap_or(1);
            // On the heap: connecting and asking is large, and is part of every future above.
            let attempt = Box::pin(async {
                let client = self.client(index).await?;
                request(client).await.map_err(Failure::from)
            });
            let reason = match timeout_at(Instant::now() + share, attempt).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(Failure::Final(message))) => return Err(Error::Refused { doing, message }),
                Ok(Err(Failure::Endpoint(reason))) => reason,
                Err(_) => format!("no reply within {} ms", share.as_millis()),
            };
            let endpoint = &self.options.endpoints[index];
            let reason = in_words(endpoint, &reason);
            tracing::debug!(endpoint, doing, "{reason}");
            self.forget(index);
            // Of two tries at the same endpoint the fresh one tells.
            reasons.retain(|(tried, _)| tried != endpoint);
            reasons.push((endpoint.clone(), reason));
        }
        Err(Error::Unreachable { doing, reasons })
    }

    /// The value of a key; none where it does not stand.
    ///
    /// # Errors
    /// [`Error::Unreachable`] with every endpoint's reason; [`Error::Refused`] when etcd will not serve it.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let response = self
            .call("reading a key", async |client: Client| {
                let mut kv = client.kv_client().max_decoding_message_size(LARGEST);
                kv.get(key, None).await
            })
            .await?;
        Ok(response.kvs().first().map(|kv| kv.value().to_vec()))
    }

    /// One transaction, see [`Self::call`]. Its answer is judged by what is remembered of the store.
    ///
    /// # Errors
    /// As [`Self::call`], and [`Error::OtherStore`] when the store is not the one it was: whether the transaction was carried
    /// out in it is not said.
    pub(super) async fn txn(&self, doing: &'static str, txn: Txn) -> Result<TxnResponse, Error> {
        let agent = self.memory.agent();
        let answered = self
            .call(doing, async |client: Client| {
                if let Some(agent) = agent.as_deref().filter(|_| !self.current().looked) {
                    let get = Txn::new().and_then(vec![TxnOp::get(agent.keys.store(), None)]);
                    let judged = self.judged(&client, get).await?;
                    if let Err(sign) = judged {
                        return Ok(Err(sign));
                    }
                }
                let sent = self.memory.remembered();
                let mut kv = client.kv_client().max_decoding_message_size(LARGEST);
                let response = kv.txn(txn.clone()).await?;
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
            self.current().looked = true;
        }
        Ok(judged.map(|()| response))
    }

    /// One transaction, whose answer is not judged.
    pub(super) async fn call_txn(
        &self,
        doing: &'static str,
        txn: Txn,
    ) -> Result<TxnResponse, Error> {
        self.call(doing, async |client: Client| {
            let mut kv = client.kv_client().max_decoding_message_size(LARGEST);
            kv.txn(txn.clone()).await
        })
        .await
    }

    /// One transaction, and what its answer says of the store. It is not judged.
    pub(super) async fn look(
        &self,
        doing: &'static str,
        txn: Txn,
    ) -> Result<(TxnResponse, Reply), Error> {
        self.call(doing, async |client: Client| {
            looked(&client, txn.clone()).await
        })
        .await
    }

    /// The id of the cluster at each endpoint, asked all at once; those that do not answer soon are left out.
    pub(super) async fn clusters(&self) -> Vec<(String, u64)> {
        let endpoints = &self.options.endpoints;
        let limit = self.options.timeout / u32::try_from(endpoints.len().max(1)).unwrap_or(1);
        let asked = endpoints.iter().map(|endpoint| async move {
            let one = self.to(vec![endpoint.clone()]);
            let ask = one.call("asking which cluster answers", async |client: Client| {
                client.maintenance_client().status().await
            });
            let status = tokio::time::timeout(limit, ask).await.ok()?.ok()?;
            let id = status.header().map_or(0, ResponseHeader::cluster_id);
            Some((endpoint.clone(), id)).filter(|(_, id)| *id != 0)
        });
        let answers = futures_util::future::join_all(asked).await;
        answers.into_iter().flatten().collect()
    }

    /// A connection of its own to these endpoints, with the same credentials; what it is answered is not judged.
    pub(super) fn to(&self, endpoints: Vec<String>) -> Self {
        Self::new(Options {
            endpoints,
            ..self.options.clone()
        })
    }

    fn forget(&self, index: usize) {
        let mut current = self.current();
        if current.index == index {
            current.client = None;
        }
    }

    async fn client(&self, index: usize) -> Result<Client, Failure> {
        {
            let current = self.current();
            if let (true, Some(client)) = (current.index == index, &current.client) {
                return Ok(client.clone());
            }
        }
        let channel = self
            .endpoint(index)?
            .connect_with_connector(Once::new())
            .await
            .map_err(|e| Failure::Endpoint(explain(&e)))?;
        let mut options = ConnectOptions::new().with_require_leader(true);
        if let Some((user, password)) = &self.options.user {
            options = options.with_user(user, password);
        }
        let client = Client::from_channel(Channel::Tonic(channel), Some(options)).await?;
        let mut current = self.current();
        current.index = index;
        current.client = Some(client.clone());
        current.looked = false;
        Ok(client)
    }

    fn endpoint(&self, index: usize) -> Result<Endpoint, Failure> {
        let url = &self.options.endpoints[index];
        let reason = |e: tonic::transport::Error| Failure::Endpoint(explain(&e));
        let mut endpoint = Endpoint::from_shared(url.clone())
            .map_err(reason)?
            // A watch on a member that went silent is noticed within these fifteen seconds; etcd refuses
            // pings more often than every five (its --grpc-keepalive-min-time).
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5));
        if url.starts_with("https:") {
            let given = self.options.tls.clone().unwrap_or_default();
            let mut tls = ClientTlsConfig::new();
            tls = match given.authorities {
                Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
                None => tls.with_native_roots(),
            };
            if let Some((certificate, key)) = given.identity {
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            endpoint = endpoint.tls_config(tls).map_err(reason)?;
        }
        Ok(endpoint)
    }
}

/// One transaction, and between which numbers `revision - raft index` lay meanwhile: the member that answers is asked how it
/// is before and after.
async fn looked(client: &Client, txn: Txn) -> Result<(TxnResponse, Reply), etcd_client::Error> {
    // Who may not ask, or asks a proxy that does not know, goes without.
    let before = client.maintenance_client().status().await.ok();
    let mut kv = client.kv_client().max_decoding_message_size(LARGEST);
    let response = kv.txn(txn).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_endpoint_is_named_with_its_reason() {
        let connection = Connection::new(Options {
            endpoints: vec![
                "http://127.0.0.1:1".into(),
                "http://no-such-host.invalid:2379".into(),
            ],
            timeout: Duration::from_secs(5),
            ..Options::default()
        });
        let error = connection.txn("trying", Txn::new()).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("http://127.0.0.1:1") && text.contains("Connection refused"),
            "{text}"
        );
        assert!(
            text.contains("no-such-host.invalid") && text.contains("lookup"),
            "{text}"
        );
    }
}
