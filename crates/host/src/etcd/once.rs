//! A connector that connects once.
//!
//! A channel connects again by itself where its connection broke, and tells nobody. Whoever then answers at the address may
//! be another store: so each connection is a channel of its own, and the first request over it asks who answers.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper_util::client::legacy::connect::HttpConnector;
use tonic::codegen::{Service, http::Uri};

/// Connects once; every later try fails.
pub(super) struct Once {
    connector: Option<HttpConnector>,
}

impl Once {
    /// One that has not connected yet.
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        // TLS is put around it by the channel.
        connector.enforce_http(false);
        connector.set_nodelay(true);
        Self {
            connector: Some(connector),
        }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connected = <HttpConnector as Service<Uri>>::Response;

impl Service<Uri> for Once {
    type Response = Connected;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Connected, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.connector {
            Some(connector) => connector.poll_ready(context).map_err(Into::into),
            // The call says why it fails.
            None => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.connector.take();
        Box::pin(async move {
            match connector {
                Some(mut connector) => Ok(connector.call(uri).await?),
                None => {
                    Err(io::Error::new(io::ErrorKind::ConnectionReset, "connection reset").into())
                }
            }
        })
    }
}
