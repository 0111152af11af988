//! What the cluster does, for however many look: one watch while somebody follows, nothing while nobody asks.
//!
//! Who asks gets what was read last, as long as that is known to be so: while somebody follows, until the watch tells of a change; else for
//! a second.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use axum::body::Bytes;
use futures_util::future::LocalBoxFuture;
use tokio::{
    sync::{Mutex, Notify, watch},
    time::{Instant, sleep},
};

/// What was read, to be shown in one form or another.
pub trait View {
    /// As JSON.
    fn json(&self) -> String;
    /// As a page, with what this part of its address asks for.
    fn page(&self, query: &str) -> String;
    /// As metrics, in Prometheus' text format.
    fn metrics(&self) -> String;
    /// Whether the store could not be read, so that it shows only why.
    fn is_away(&self) -> bool;
}

/// In which form it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// JSON.
    Json,
    /// The page, with this part of its address.
    Page(String),
    /// Metrics.
    Metrics,
}

/// Where it is read from.
pub trait Source {
    /// Reads all that is shown.
    fn read(&self) -> LocalBoxFuture<'_, Rc<dyn View>>;
    /// What tells of changes. It asks nothing before [`Changed::begin`].
    fn changes(&self) -> Box<dyn Changed + '_>;
}

/// Tells of changes: who begins, reads and waits for the next misses none.
pub trait Changed {
    /// Watches from now on, where it does not yet.
    fn begin(&mut self) -> LocalBoxFuture<'_, ()>;
    /// Waits until something has changed, or may have.
    fn next(&mut self) -> LocalBoxFuture<'_, ()>;
}

/// How old something may be that is shown while nothing tells of changes.
const FRESH: Duration = Duration::from_secs(1);
/// How long changes are gathered before they are told: a step of a node changes several keys one after another.
const SETTLE: Duration = Duration::from_millis(200);

/// Where those who follow hear of changes: a number that grows with each.
#[derive(Clone)]
pub(super) struct Followers {
    version: Arc<watch::Sender<u64>>,
    first: Arc<Notify>,
}

impl Followers {
    /// Hears of changes from now on.
    pub(super) fn follow(&self) -> watch::Receiver<u64> {
        let heard = self.version.subscribe();
        self.first.notify_one();
        heard
    }
}

/// The last look, and who follows.
pub(super) struct Feed {
    source: Box<dyn Source>,
    followers: Followers,
    /// Whether a change since the last look would have been told.
    watching: Cell<bool>,
    /// Held while it is read: those who ask meanwhile wait for that look.
    reading: Mutex<()>,
    last: RefCell<Option<Last>>,
}

struct Last {
    at: Instant,
    version: u64,
    view: Rc<dyn View>,
    /// The JSON, once somebody has asked for it.
    json: Option<Bytes>,
}

impl Feed {
    pub(super) fn new(source: Box<dyn Source>) -> Self {
        Self {
            source,
            followers: Followers {
                version: Arc::new(watch::Sender::new(0)),
                first: Arc::default(),
            },
            watching: Cell::new(false),
            reading: Mutex::default(),
            last: RefCell::default(),
        }
    }

    pub(super) fn followers(&self) -> Followers {
        self.followers.clone()
    }

    /// Watches while somebody follows.
    pub(super) async fn run(&self) {
        let version = &self.followers.version;
        loop {
            self.followers.first.notified().await;
            let mut changes = self.source.changes();
            while version.receiver_count() > 0 {
                changes.begin().await;
                self.watching.set(true);
                // What was read before the watch began may be old.
                version.send_modify(|version| *version += 1);
                tokio::select! {
                    () = changes.next() => sleep(SETTLE).await,
                    () = version.closed() => {}
                }
            }
            self.watching.set(false);
        }
    }

    /// What there is now in this form, and whether the store could not be read.
    pub(super) async fn show(&self, form: Form) -> (bool, Bytes) {
        let text = match form {
            Form::Json => return self.json().await,
            Form::Page(query) => {
                let view = self.view().await;
                (view.is_away(), view.page(&query))
            }
            Form::Metrics => {
                let view = self.view().await;
                (view.is_away(), view.metrics())
            }
        };
        (text.0, Bytes::from(text.1))
    }

    async fn view(&self) -> Rc<dyn View> {
        let _one = self.reading.lock().await;
        let version = *self.followers.version.borrow();
        if let Some(last) = &*self.last.borrow()
            && last.version == version
            && (self.watching.get() || last.at.elapsed() < FRESH)
        {
            return Rc::clone(&last.view);
        }
        // What is written while it is read may be missing in it.
        let at = Instant::now();
        let view = self.source.read().await;
        *self.last.borrow_mut() = Some(Last {
            at,
            version,
            view: Rc::clone(&view),
            json: None,
        });
        view
    }

    /// It is made once, for however many ask for it.
    async fn json(&self) -> (bool, Bytes) {
        let view = self.view().await;
        let mut last = self.last.borrow_mut();
        let kept = last.as_mut().filter(|last| Rc::ptr_eq(&last.view, &view));
        let json = match kept {
            Some(last) => last
                .json
                .get_or_insert_with(|| Bytes::from(view.json()))
                .clone(),
            None => Bytes::from(view.json()),
        };
        (view.is_away(), json)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, future::join_all};
    use tokio::{task::LocalSet, time::advance};

    use super::*;

    struct Number(u64);

    impl View for Number {
        fn json(&self) -> String {
            self.0.to_string()
        }

        fn page(&self, query: &str) -> String {
            format!("{query}{}", self.0)
        }

        fn metrics(&self) -> String {
            String::new()
        }

        fn is_away(&self) -> bool {
            self.0 == 3
        }
    }

    #[derive(Clone, Default)]
    struct Counted {
        reads: Rc<Cell<u64>>,
        watches: Rc<Cell<u64>>,
        changed: Rc<Notify>,
    }

    impl Source for Counted {
        fn read(&self) -> LocalBoxFuture<'_, Rc<dyn View>> {
            async {
                self.reads.set(self.reads.get() + 1);
                let number = Number(self.reads.get());
                sleep(Duration::from_millis(300)).await;
                Rc::new(number) as Rc<dyn View>
            }
            .boxed_local()
        }

        fn changes(&self) -> Box<dyn Changed + '_> {
            self.watches.set(self.watches.get() + 1);
            Box::new(self.clone())
        }
    }

    impl Changed for Counted {
        fn begin(&mut self) -> LocalBoxFuture<'_, ()> {
            std::future::ready(()).boxed_local()
        }

        fn next(&mut self) -> LocalBoxFuture<'_, ()> {
            self.changed.notified().boxed_local()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_read_once_a_second_however_many_ask_and_nobody_follows() {
        let source = Counted::default();
        let feed = Feed::new(Box::new(source.clone()));
        let all = join_all((0..1000).map(|_| feed.json())).await;
        assert!(all.iter().all(|shown| *shown == (false, Bytes::from("1"))));
        advance(Duration::from_millis(600)).await;
        assert_eq!(feed.json().await, (false, Bytes::from("1")));
        advance(Duration::from_millis(200)).await;
        assert_eq!(feed.view().await.page("q"), "q2");
        advance(FRESH).await;
        assert_eq!(feed.json().await, (true, Bytes::from("3")));
        assert_eq!((source.reads.get(), source.watches.get()), (3, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn while_somebody_follows_it_is_read_after_changes_only() {
        let source = Counted::default();
        let feed = Rc::new(Feed::new(Box::new(source.clone())));
        let local = LocalSet::new();
        let (running, followed) = (Rc::clone(&feed), Rc::clone(&feed));
        local.spawn_local(async move { running.run().await });
        local
            .run_until(async move {
                let feed = followed;
                let mut all: Vec<_> = (0..200).map(|_| feed.followers().follow()).collect();
                all[0].changed().await.unwrap();
                for _ in 0..3 {
                    assert_eq!(feed.json().await.1, "1");
                    advance(Duration::from_secs(3600)).await;
                }
                for one in &mut all {
                    one.mark_unchanged();
                }
                // Several changes at once are one.
                source.changed.notify_one();
                tokio::task::yield_now().await;
                source.changed.notify_one();
                for one in &mut all {
                    one.changed().await.unwrap();
                }
                assert_eq!(feed.json().await.1, "2");
                assert_eq!(source.watches.get(), 1);
                drop(all);
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                advance(FRESH * 2).await;
                assert_eq!(feed.json().await.1, "3");
                // Who follows again begins a watch again.
                let mut again = feed.followers().follow();
                again.changed().await.unwrap();
                assert_eq!(source.watches.get(), 2);
            })
            .await;
    }
}
