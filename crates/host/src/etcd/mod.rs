//! The way to etcd: endpoints tried in turn, every request within its deadline.

mod error;
mod once;
mod reason;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use etcd_client::{Channel, Client, ConnectOptions, ResponseHeader};
use tokio::time::{Instant, timeout_at};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

pub use error::Error;
use once::Once;
use reason::{Failure, in_words};

/// The most an answer may hold, in bytes: what some 50,000 nodes say of themselves.
pub const LARGEST: usize = 64 << 20;

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

/// How it is known whether this node hosts a member of etcd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Local {
    /// By its addresses: the member that advertises one of them is this node's.
    #[default]
    Auto,
    /// It hosts none, or its operator does not want it looked after.
    None,
    /// It hosts the one with this client URL.
    At(String),
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
    /// See [`Connection::is_marked`].
    marked: bool,
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

    /// How etcd is reached.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Closes the connection. The next request opens one again.
    pub fn close(&self) {
        self.current().client = None;
    }

    /// Whether [`Self::mark`] was called since the connection that is open now was opened: whoever answers over a new one may
    /// be somebody else.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.current().marked
    }

    /// Marks the connection that is open now.
    pub fn mark(&self) {
        self.current().marked = true;
    }

    /// Leaves the endpoint in use: the next request starts with the one after it.
    pub fn move_on(&self) {
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
    pub async fn call<T>(
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
                Err(_) => format!("no reply within {} ms", share.as_millis()).into(),
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

    /// The id of the cluster at each endpoint, asked all at once; those that do not answer soon are left out.
    pub async fn clusters(&self) -> Vec<(String, u64)> {
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

    /// A connection of its own to these endpoints, with the same credentials.
    #[must_use]
    pub fn to(&self, endpoints: Vec<String>) -> Self {
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
            .map_err(|e| Failure::of_connection(&e))?;
        let mut options = ConnectOptions::new().with_require_leader(true);
        if let Some((user, password)) = &self.options.user {
            options = options.with_user(user, password);
        }
        let client = Client::from_channel(Channel::Tonic(channel), Some(options)).await?;
        let mut current = self.current();
        current.index = index;
        current.client = Some(client.clone());
        current.marked = false;
        Ok(client)
    }

    fn endpoint(&self, index: usize) -> Result<Endpoint, Failure> {
        let url = &self.options.endpoints[index];
        let reason = |e: tonic::transport::Error| Failure::of_connection(&e);
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
        let error = connection.get("key").await.unwrap_err();
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
