//! `pointsman serve`: places for the clients of FleetLock, and what the cluster does, over HTTP.
//!
//! One process without a state of its own: any number of replicas may run beside each other.

mod connections;
mod etcd;
mod protocol;
mod router;
mod worker;

use std::{io, net::SocketAddr, rc::Rc, time::Duration};

use host::telemetry::notify;
use semaphore::etcd::BackOff;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::sleep,
};

use connections::Limits;
pub use etcd::EtcdStore;
use worker::{Desk, Store};

/// What a connection may cost.
const LIMITS: Limits = Limits {
    connections: 2048,
    head: Duration::from_secs(10),
};

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

/// Serves until it is told to end.
///
/// # Errors
/// When the address cannot be listened on, or etcd has a group called `default`.
pub async fn run(
    listen: SocketAddr,
    store: EtcdStore,
    back_off: BackOff,
) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| ServeError::Listen {
            address: listen,
            error,
        })?;
    let address = listener.local_addr()?;
    let store = Rc::new(store);
    let desk = Desk::open(Rc::clone(&store) as Rc<dyn Store>);
    let (end, ends) = watch::channel(false);
    let mut serving = std::pin::pin!(connections::serve(
        listener,
        router::router(desk),
        LIMITS,
        ends
    ));
    notify::ready();
    tracing::info!("listening on http://{address}");
    let ended = tokio::select! {
        () = &mut serving => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        () = group_default(&store, back_off) => Err(ServeError::GroupDefault),
    };
    notify::stopping();
    let _ = end.send(true);
    serving.await;
    ended
}

/// Ends when etcd is found to have a group called `default`. Where it is away the question is asked again.
async fn group_default(store: &EtcdStore, back_off: BackOff) {
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
