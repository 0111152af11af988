//! `pointsman serve`: places for the clients of FleetLock, and what the cluster does, over HTTP.
//!
//! One process without a state of its own: any number of replicas may run beside each other.

mod connections;
mod etcd;
mod file;
mod protocol;
mod router;
mod stall;
mod status;
mod worker;

use std::{io, net::SocketAddr, rc::Rc};

use host::telemetry::notify;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use semaphore::etcd::BackOff;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::sleep,
};

pub use connections::Limits;
pub use etcd::EtcdStore;
pub use file::Places;
pub use status::ReadStatus;
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

/// Serves until it is told to end. `status` reads what `status` shows.
///
/// # Errors
/// When the address cannot be listened on, or etcd has a group called `default`.
pub async fn run(setup: Setup, backend: Backend, status: ReadStatus) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let limits = bounded(setup.limits);
    let address = setup.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| ServeError::Listen { address, error })?;
    let address = listener.local_addr()?;
    let (store, etcd): (Rc<dyn Store>, _) = match backend {
        Backend::File(places) => (Rc::new(places), None),
        Backend::Etcd(store) => {
            let store = Rc::new(store);
            (Rc::clone(&store) as _, Some(store))
        }
    };
    let desk = Desk::open(store, status);
    let router = router::router(desk, limits.wait);
    let (end, ends) = watch::channel(false);
    let mut serving = std::pin::pin!(connections::serve(listener, router, limits, ends));
    notify::ready();
    tracing::info!("listening on http://{address}");
    let ended = tokio::select! {
        () = &mut serving => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        () = group_default(etcd.as_deref(), setup.back_off) => Err(ServeError::GroupDefault),
    };
    notify::stopping();
    let _ = end.send(true);
    serving.await;
    ended
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
