//! `pointsman serve`: places for the clients of FleetLock, and what the cluster does, over HTTP.
//!
//! One process without a state of its own: any number of replicas may run beside each other.

mod connections;
mod etcd;
mod feed;
mod file;
mod listeners;
mod protocol;
mod router;
mod stall;
mod tls;
mod worker;

use std::{io, net::SocketAddr, rc::Rc};

use futures_util::future::join_all;
use host::telemetry::notify;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use semaphore::etcd::BackOff;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

pub use connections::Limits;
pub use etcd::EtcdStore;
pub use feed::{Changed, Source, View};
pub use file::Places;
pub use tls::{Tls, TlsError};
use worker::{Desk, Store};

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("{address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// A socket that systemd gave is of no use.
    #[error("the socket that systemd has opened: {0}; expected one for TCP")]
    Socket(io::Error),
    /// Other machines reach the address, and their clients need not prove who they are.
    #[error(
        "{address}: whoever reaches this address may take and release places; expected a loopback address, or serve.client-ca \
         (--client-ca) so that clients prove who they are, or serve.allow-unauthenticated (--allow-unauthenticated)"
    )]
    Open {
        /// The address.
        address: SocketAddr,
    },
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// etcd has a group of FleetLock's name for the unnamed one.
    #[error(
        "etcd has a group called `default`, and FleetLock means the unnamed group by that name: move its nodes to a group of \
         another name, then remove it"
    )]
    GroupDefault,
    /// The system refuses something else.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// How it serves.
#[derive(Debug)]
pub struct Setup {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What clients may cost.
    pub limits: Limits,
    /// The certificates; none: plain HTTP.
    pub tls: Option<Tls>,
    /// Whether clients without a certificate may ask from other machines.
    pub allow_unauthenticated: bool,
    /// How long to wait between tries while etcd is away.
    pub back_off: BackOff,
}

/// Where the places are.
pub enum Backend {
    /// In etcd.
    Etcd(EtcdStore),
    /// In a file.
    File(Places),
}

/// Serves until it is told to end. What it shows is read from `source`.
///
/// # Errors
/// When the address cannot be listened on, or etcd has a group called `default`.
pub async fn run(
    setup: Setup,
    backend: Backend,
    source: Box<dyn Source>,
) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let limits = bounded(setup.limits);
    let acceptor = setup.tls.as_ref().map(Tls::acceptor).transpose()?;
    let sockets = listeners::open(setup.listen).await?;
    if !setup.allow_unauthenticated && !setup.tls.as_ref().is_some_and(Tls::checks_clients) {
        listeners::are_of_this_machine(&sockets)?;
    }
    let (store, etcd): (Rc<dyn Store>, _) = match backend {
        Backend::File(places) => (Rc::new(places), None),
        Backend::Etcd(store) => {
            let store = Rc::new(store);
            (Rc::clone(&store) as _, Some(store))
        }
    };
    let desk = Desk::open(store, source);
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    for socket in &sockets {
        tracing::info!("listening on {scheme}://{}", socket.local_addr()?);
    }
    let (end, ends) = watch::channel(false);
    let router = router::router(desk, limits.wait, ends.clone());
    let (new_tls, tls) = watch::channel(acceptor);
    let server = connections::Server::new(router, limits, tls, ends);
    let mut serving = std::pin::pin!(join_all(
        sockets.into_iter().map(|socket| server.serve(socket))
    ));
    notify::ready();
    let ended = loop {
        tokio::select! {
            _ = &mut serving => break Ok(()),
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            () = group_default(etcd.as_deref(), setup.back_off) => break Err(ServeError::GroupDefault),
            _ = hangup.recv() => reload(setup.tls.as_ref(), &new_tls),
        }
    };
    notify::stopping();
    let _ = end.send(true);
    serving.await;
    ended
}

/// Serves these paths over plain HTTP until it must end, with the limits that all clients have.
pub(crate) async fn serve_plainly(
    listener: tokio::net::TcpListener,
    router: axum::Router,
    limits: Limits,
    ends: watch::Receiver<bool>,
) {
    let (_tls, tls) = watch::channel(None);
    connections::Server::new(router, limits, tls, ends)
        .serve(listener)
        .await;
}

/// Reads the certificates again, for the connections to come. Where they have a fault, those before stay.
fn reload(tls: Option<&Tls>, new: &watch::Sender<Option<TlsAcceptor>>) {
    match tls.map(Tls::acceptor).transpose() {
        Ok(acceptor) => {
            let _ = new.send(acceptor);
            tracing::info!("the certificates are read again");
        }
        Err(error) => tracing::error!("the certificates before stay in use: {error}"),
    }
}

/// How many file descriptors are kept for all else: etcd, the log, the store.
const OTHERS: u64 = 64;

/// The limits, with no more connections than the system lets the process have, after asking it for as many as are wanted.
fn bounded(limits: Limits) -> Limits {
    let wanted = u64::try_from(limits.connections).unwrap_or(u64::MAX);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return limits;
    };
    let more = wanted.saturating_add(OTHERS).min(hard);
    let soft = match more > soft && setrlimit(Resource::RLIMIT_NOFILE, more, hard).is_ok() {
        true => more,
        false => soft,
    };
    let most = soft.saturating_sub(OTHERS).max(1);
    if most < wanted {
        tracing::warn!(
            "the system allows {soft} open files: at most {most} connections are served at a time"
        );
    }
    Limits {
        connections: usize::try_from(most.min(wanted)).unwrap_or(usize::MAX),
        ..limits
    }
}

/// Ends when etcd is found to have a group called `default`. Where it is away the question is asked again.
async fn group_default(store: Option<&EtcdStore>, back_off: BackOff) {
    let Some(store) = store else {
        return std::future::pending().await;
    };
    let mut waits = back_off.waits();
    loop {
        match store.has_group_default().await {
            Ok(true) => return,
            Ok(false) => std::future::pending().await,
            Err(error) => {
                tracing::warn!("{}", host::text::in_a_sentence(&error.to_string()));
                sleep(waits.next().unwrap_or(back_off.max)).await;
            }
        }
    }
}
