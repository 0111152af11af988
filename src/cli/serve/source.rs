//! What the server shows, read from etcd or from the file with the places.

use std::{rc::Rc, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use host::{
    blocking,
    node::{self, Group, Root},
};
use jiff::{Timestamp, tz::TimeZone};
use semaphore::{
    acts::Act,
    etcd::{Changes, Semaphore},
    file::FileStore,
};

use super::page::{self, Query};
use crate::{
    cli::{
        output,
        status::{Status, gather},
    },
    metrics,
    serve::{Changed, Source, View},
};

/// How often a file is looked at while somebody follows.
const LOOK: Duration = Duration::from_millis(500);

/// What was read, when, and in which zone times are shown.
struct Look {
    status: Status,
    acts: Vec<Act>,
    away: bool,
    at: Timestamp,
    zone: TimeZone,
}

impl Look {
    /// What was read just now.
    fn now(read: Result<Status, Status>, acts: Vec<Act>, root: &Root) -> Rc<dyn View> {
        let away = read.is_err();
        Rc::new(Self {
            status: read.unwrap_or_else(|left| left),
            acts,
            away,
            at: Timestamp::now(),
            zone: node::time_zone(root),
        })
    }
}

impl View for Look {
    fn json(&self) -> String {
        output::to_json(&self.status)
    }

    fn page(&self, query: &str) -> String {
        let look = page::Look {
            status: &self.status,
            acts: &self.acts,
            now: self.at,
            zone: &self.zone,
        };
        page::page(look, &Query::read(query))
    }

    fn metrics(&self) -> String {
        metrics::cluster::text(&self.status, Timestamp::now(), &self.zone)
    }

    fn is_away(&self) -> bool {
        self.away
    }
}

/// All groups in etcd.
pub(super) struct InEtcd {
    pub(super) semaphore: Semaphore,
    pub(super) root: Root,
}

impl Source for InEtcd {
    fn read(&self) -> LocalBoxFuture<'_, Rc<dyn View>> {
        // Over the same connection, and without a memory: what is read of a restored store is shown as it is.
        let reader = self.semaphore.of_group(Group::default());
        let reader = reader.with_memory(Arc::default());
        async move {
            let read = gather::of_cluster(&reader).await;
            // Without them all else is shown.
            let acts = match &read {
                Ok(_) => reader.acts().await.unwrap_or_default(),
                Err(_) => Vec::new(),
            };
            Look::now(read, acts, &self.root)
        }
        .boxed_local()
    }

    fn changes(&self) -> Box<dyn Changed + '_> {
        Box::new(Watched {
            semaphore: &self.semaphore,
            changes: Changes::default(),
        })
    }
}

/// One watch on all that is under the key prefix.
struct Watched<'a> {
    semaphore: &'a Semaphore,
    changes: Changes,
}

impl Changed for Watched<'_> {
    fn begin(&mut self) -> LocalBoxFuture<'_, ()> {
        // Where it cannot be watched, it cannot be read either, and that says why.
        let begun = self.changes.begin(self.semaphore);
        begun.map(|_| ()).boxed_local()
    }

    fn next(&mut self) -> LocalBoxFuture<'_, ()> {
        self.changes.next(self.semaphore).boxed_local()
    }
}

/// The places in a file.
pub(super) struct InFile {
    pub(super) store: FileStore,
    pub(super) root: Root,
}

impl Source for InFile {
    fn read(&self) -> LocalBoxFuture<'_, Rc<dyn View>> {
        let store = self.store.clone();
        async move {
            let read = blocking::run(move || store.groups()).await;
            let read = read.map(gather::of_file).map_err(|error| Status {
                etcd_error: Some(error.to_string()),
                ..Status::default()
            });
            Look::now(read, Vec::new(), &self.root)
        }
        .boxed_local()
    }

    fn changes(&self) -> Box<dyn Changed + '_> {
        Box::new(LookedAt {
            store: self.store.clone(),
            before: None,
        })
    }
}

/// A file, by when it was replaced last.
struct LookedAt {
    store: FileStore,
    before: Option<std::time::SystemTime>,
}

impl Changed for LookedAt {
    fn begin(&mut self) -> LocalBoxFuture<'_, ()> {
        let store = self.store.clone();
        async move { self.before = blocking::run(move || store.changed()).await }.boxed_local()
    }

    fn next(&mut self) -> LocalBoxFuture<'_, ()> {
        async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let store = self.store.clone();
                if blocking::run(move || store.changed()).await != self.before {
                    return;
                }
            }
        }
        .boxed_local()
    }
}
