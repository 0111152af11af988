//! Futures that may not be there, to be awaited beside others.

use std::{future::poll_fn, task::Poll};

use tokio::{
    signal::unix::{Signal, SignalKind},
    time::{Instant, sleep_until},
};

use super::{Doing, Reload};

/// The first of these signals.
pub(super) async fn any(signals: &mut [(SignalKind, Signal)]) -> SignalKind {
    poll_fn(|context| {
        let mut came = signals.iter_mut();
        let came = came.find_map(|(kind, one)| one.poll_recv(context).is_ready().then_some(*kind));
        came.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// The signal that may not be there.
pub(super) async fn told(reload: Option<&mut (Signal, Reload)>) {
    match reload {
        Some((signal, _)) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// A future that may not be there; then it never ends.
pub(super) async fn maybe<T>(doing: Option<&mut Doing<T>>) -> T {
    match doing {
        Some(doing) => doing.await,
        None => std::future::pending().await,
    }
}

/// A time that may not come.
pub(super) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
