//! What `status` shows of the cluster, for however many clients: the store is asked once a second at most, and only while somebody
//! asks.

use std::time::Duration;

use axum::body::Bytes;
use futures_util::future::LocalBoxFuture;
use tokio::{sync::Mutex, time::Instant};

/// Reads the status as JSON; or what is left of it where the store is away.
pub type ReadStatus = Box<dyn Fn() -> LocalBoxFuture<'static, Result<String, String>>>;

/// The status as it is shown, or what is left of it.
pub(super) type Shown = Result<Bytes, Bytes>;

/// How old a status may be that is shown.
const FRESH: Duration = Duration::from_secs(1);

/// The status that was read last.
pub(super) struct LastStatus {
    read: ReadStatus,
    last: Mutex<Option<(Instant, Shown)>>,
}

impl LastStatus {
    pub(super) fn new(read: ReadStatus) -> Self {
        Self {
            read,
            last: Mutex::default(),
        }
    }

    /// The status, at most [`FRESH`] old. Those who ask while it is read wait for that one.
    pub(super) async fn get(&self) -> Shown {
        let mut last = self.last.lock().await;
        if let Some((at, shown)) = &*last
            && at.elapsed() < FRESH
        {
            return shown.clone();
        }
        // What is written while it is read may be missing in it.
        let begun = Instant::now();
        let shown = match (self.read)().await {
            Ok(json) => Ok(Bytes::from(json)),
            Err(json) => Err(Bytes::from(json)),
        };
        *last = Some((begun, shown.clone()));
        shown
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use futures_util::{FutureExt as _, future::join_all};
    use tokio::time::{advance, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_store_is_asked_once_a_second_however_many_look() {
        let reads = Rc::new(Cell::new(0));
        let counted = Rc::clone(&reads);
        let last = LastStatus::new(Box::new(move || {
            counted.set(counted.get() + 1);
            let json = counted.get().to_string();
            async move {
                sleep(Duration::from_millis(300)).await;
                if json == "3" { Err(json) } else { Ok(json) }
            }
            .boxed_local()
        }));
        let all = join_all((0..1000).map(|_| last.get())).await;
        assert!(all.iter().all(|shown| *shown == Ok(Bytes::from("1"))));
        advance(Duration::from_millis(600)).await;
        assert_eq!(last.get().await, Ok(Bytes::from("1")));
        advance(Duration::from_millis(200)).await;
        assert_eq!(last.get().await, Ok(Bytes::from("2")));
        advance(FRESH).await;
        assert_eq!(last.get().await, Err(Bytes::from("3")));
        assert_eq!(reads.get(), 3);
    }
}
