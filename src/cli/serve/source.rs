//! What the server shows, read from etcd or from the file with the places.

use std::{cell::RefCell, path::Path, rc::Rc, sync::Arc, time::Duration};

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
        waves::{self, gather::GroupShown},
    },
    metrics,
    serve::{Changed, Source, View},
};

/// How often a file is looked at while somebody follows.
const LOOK: Duration = Duration::from_millis(500);
/// The metric that says whether etcd answers.
const ETCD_UP: &str = "pointsman_cluster_etcd_up";

/// What is read.
#[derive(Clone, Default)]
struct All {
    status: Status,
    waves: Vec<GroupShown>,
    acts: Vec<Act>,
}

/// What was read, when, and in which zone times are shown.
struct Look {
    all: All,
    at: Timestamp,
    zone: TimeZone,
    /// What could not be read; then all else is as it was read last.
    away: Option<Status>,
    /// The file with the places, where they are in one.
    file: Option<String>,
}

impl Look {
    /// What was read just now; where that failed, what was read last, and why it may be old.
    fn now(
        read: Result<All, Status>,
        last: &RefCell<Option<Rc<Self>>>,
        root: &Root,
        file: Option<String>,
    ) -> Rc<dyn View> {
        let zone = node::time_zone(root);
        let before = last.borrow().clone();
        let (all, at, away) = match (read, before) {
            (Ok(all), _) => (all, Timestamp::now(), None),
            (Err(left), Some(before)) => (before.all.clone(), before.at, Some(left)),
            (Err(left), None) => (All::default(), Timestamp::now(), Some(left)),
        };
        let look = Self {
            all,
            at,
            zone,
            away,
            file,
        };
        let look = Rc::new(look);
        last.replace(Some(Rc::clone(&look)));
        look
    }
}

impl View for Look {
    fn json(&self) -> String {
        output::to_json(self.away.as_ref().unwrap_or(&self.all.status))
    }

    fn page(&self, query: &str) -> String {
        let look = page::Look {
            status: &self.all.status,
            waves: &self.all.waves,
            file_note: self.file.as_deref(),
            away: self
                .away
                .as_ref()
                .and_then(|left| left.etcd_error.as_deref()),
            acts: &self.all.acts,
            now: match self.away {
                Some(_) => Timestamp::now(),
                None => self.at,
            },
            read: self.at,
            zone: &self.zone,
        };
        page::page(look, &Query::read(query))
    }

    fn metrics(&self) -> String {
        let status = self.away.as_ref().unwrap_or(&self.all.status);
        let text = metrics::cluster::text(status, Timestamp::now(), &self.zone);
        match &self.file {
            None => text,
            // Nothing is said of an etcd that nobody asks.
            Some(_) => text
                .lines()
                .filter(|line| !line.contains(ETCD_UP))
                .flat_map(|line| [line, "\n"])
                .collect(),
        }
    }

    fn is_away(&self) -> bool {
        self.away.is_some()
    }
}

/// All groups in etcd.
pub(super) struct InEtcd {
    semaphore: Semaphore,
    root: Root,
    last: RefCell<Option<Rc<Look>>>,
}

impl InEtcd {
    pub(super) fn new(semaphore: Semaphore, root: Root) -> Self {
        Self {
            semaphore,
            root,
            last: RefCell::default(),
        }
    }
}

/// How far images have come, which costs requests only where a group comes after another one.
async fn waves(reader: &Semaphore, status: &Status) -> Vec<GroupShown> {
    let mut policies = status.groups.iter().flat_map(|group| &group.policy);
    if !policies.any(|policy| !policy.after.is_empty() || policy.wave_soak.is_some()) {
        return Vec::new();
    }
    let command = |group: &Group, words: &str| page::command(group.as_str(), words);
    let read = waves::gather::groups(reader, &command).await;
    read.unwrap_or_default()
}

impl Source for InEtcd {
    fn read(&self) -> LocalBoxFuture<'_, Rc<dyn View>> {
        // Over the same connection, and without a memory: what is read of a restored store is shown as it is.
        let reader = self.semaphore.of_group(Group::default());
        let reader = reader.with_memory(Arc::default());
        async move {
            let read = match gather::of_cluster(&reader).await {
                // Without waves and what people did all else is shown.
                Ok(status) => Ok(All {
                    waves: waves(&reader, &status).await,
                    acts: reader.acts().await.unwrap_or_default(),
                    status,
                }),
                Err(left) => Err(left),
            };
            Look::now(read, &self.last, &self.root, None)
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
    store: FileStore,
    root: Root,
    last: RefCell<Option<Rc<Look>>>,
    note: String,
}

impl InFile {
    /// The places in this file, which people know by this path.
    pub(super) fn new(store: FileStore, root: Root, path: &Path) -> Self {
        let path = path.display();
        Self {
            store,
            root,
            last: RefCell::default(),
            note: format!("The places are in the file {path}, without etcd."),
        }
    }
}

impl Source for InFile {
    fn read(&self) -> LocalBoxFuture<'_, Rc<dyn View>> {
        let store = self.store.clone();
        async move {
            let read = blocking::run(move || store.groups()).await;
            let read = read.map(|groups| All {
                status: gather::of_file(groups),
                ..All::default()
            });
            let read = read.map_err(|error| Status {
                etcd_error: Some(error.to_string()),
                ..Status::default()
            });
            let note = Some(self.note.clone());
            Look::now(read, &self.last, &self.root, note)
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
