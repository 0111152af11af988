//! The connections of clients: how many, and for how long.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{Semaphore, watch},
    task::spawn_local,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{router::Peer, stall::Stall};

/// What clients may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many there are at a time; the others wait to be accepted.
    pub connections: usize,
    /// The most until the head of a request has come, the first or a later one; as much again for its body; and the most for
    /// which a client may take nothing of an answer.
    pub wait: Duration,
}

/// How long a request that is under way may still take when the server ends.
const GRACE: Duration = Duration::from_secs(5);
/// The wait after the system accepted no connection, such as for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// The most bytes of a request's head.
const HEAD: usize = 16 << 10;

/// What all connections share.
pub(super) struct Server {
    router: Router,
    limits: Limits,
    permits: Arc<Semaphore>,
    tls: watch::Receiver<Option<TlsAcceptor>>,
    ends: watch::Receiver<bool>,
}

impl Server {
    /// A server that has not begun. `tls` has the certificates as they are now; `ends` becomes true when it must end.
    pub(super) fn new(
        router: Router,
        limits: Limits,
        tls: watch::Receiver<Option<TlsAcceptor>>,
        ends: watch::Receiver<bool>,
    ) -> Self {
        Self {
            router,
            limits,
            permits: Arc::new(Semaphore::new(limits.connections)),
            tls,
            ends,
        }
    }

    /// Serves this socket until the server must end, then lets what is under way come to its end.
    pub(super) async fn serve(&self, listener: TcpListener) {
        let mut ends = self.ends.clone();
        loop {
            let permit = tokio::select! {
                permit = Arc::clone(&self.permits).acquire_owned() => permit,
                _ = ends.wait_for(|ends| *ends) => break,
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = ends.wait_for(|ends| *ends) => break,
            };
            match accepted {
                Ok((stream, from)) => {
                    let (router, limits) = (self.router.clone(), self.limits);
                    let (tls, ends) = (self.tls.borrow().clone(), ends.clone());
                    spawn_local(async move {
                        let _permit = permit;
                        match tls {
                            None => connection(stream, from, router, limits, ends).await,
                            Some(tls) => match timeout(limits.wait, tls.accept(stream)).await {
                                Ok(Ok(stream)) => {
                                    connection(stream, from, router, limits, ends).await;
                                }
                                Ok(Err(error)) => tracing::debug!(%from, "no TLS: {error}"),
                                Err(_) => tracing::debug!(%from, "TLS took too long"),
                            },
                        }
                    });
                }
                Err(error) => refused(&error).await,
            }
        }
        let all = u32::try_from(self.limits.connections).unwrap_or(u32::MAX);
        let _ = timeout(GRACE, self.permits.acquire_many(all)).await;
    }
}

async fn refused(error: &io::Error) {
    // The client has left, which concerns nobody.
    if error.kind() != io::ErrorKind::ConnectionAborted {
        tracing::warn!("no connection can be accepted: {error}");
        sleep(ACCEPT_AGAIN).await;
    }
}

/// Serves one connection.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    from: SocketAddr,
    router: Router,
    limits: Limits,
    mut ends: watch::Receiver<bool>,
) {
    let router = router.layer(Extension(Peer(Some(from.ip()))));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.wait)
        .max_buf_size(HEAD)
        .serve_connection(
            TokioIo::new(Stall::new(stream, limits.wait)),
            TowerToHyperService::new(router),
        );
    let mut served = pin!(served);
    let done = tokio::select! {
        done = &mut served => done,
        _ = ends.wait_for(|ends| *ends) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = done {
        tracing::debug!(%from, "{}", host::text::with_causes(&error));
    }
}
