//! The way to etcd: endpoints tried in turn, every request within its deadline.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use etcd_client::{Channel, Client, ConnectOptions, ResponseHeader, Txn, TxnResponse};
use tokio::time::{Instant, timeout_at};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::{
    Error,
    reason::{Failure, explain, in_words},
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
}

#[derive(Default)]
struct Current {
    index: usize,
    client: Option<Client>,
    store: Option<(u64, i64)>,
}

impl Connection {
    /// Prepares a connection; nothing is asked of the network yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            current: Mutex::default(),
        }
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

    /// One transaction, see [`Self::call`].
    pub(super) async fn txn(&self, doing: &'static str, txn: Txn) -> Result<TxnResponse, Error> {
        let response = self
            .call(doing, async |client: Client| {
                let mut kv = client.kv_client().max_decoding_message_size(LARGEST);
                kv.txn(txn.clone()).await
            })
            .await?;
        self.note_store(response.header());
        Ok(response)
    }

    /// Remembers which store answered, and says so when it is another one or an older state of it: then
    /// nothing learned before holds.
    fn note_store(&self, header: Option<&ResponseHeader>) {
        let Some(header) = header else { return };
        let seen = (header.cluster_id(), header.revision());
        let before = self.current().store.replace(seen);
        match before {
            Some((cluster, _)) if cluster != seen.0 => tracing::warn!(
                "etcd is another cluster than before (id {:x}, was {cluster:x}); everything is read anew",
                seen.0
            ),
            Some((_, revision)) if revision > seen.1 => tracing::warn!(
                "etcd went back from revision {revision} to {}, as after a restored backup; everything is read anew",
                seen.1
            ),
            _ => {}
        }
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
            .connect()
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
        Ok(client)
    }

    fn endpoint(&self, index: usize) -> Result<Endpoint, Failure> {
        let url = &self.options.endpoints[index];
        let reason = |e: tonic::transport::Error| Failure::Endpoint(explain(&e));
        let mut endpoint = Endpoint::from_shared(url.clone())
            .map_err(reason)?
            .tcp_nodelay(true)
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
