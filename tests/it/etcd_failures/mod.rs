//! Failures of etcd: down, hung, without a quorum, restored from a backup, behind certificates and passwords, or another
//! program. What a waiting node does then, and what a person is told.

mod another_store;
mod backup;
mod documents;
mod endpoints;
mod false_alarms;
mod members;
mod secured;
mod store;

use std::{cell::RefCell, path::Path, rc::Rc, time::Duration};

use etcd_client::Permission;
use pointsman_testbed::{
    etcd::{Cluster, Version},
    process::{Output, run},
};
use semaphore::etcd::{Claim, Options, Semaphore, Wait};
use tokio::{task::JoinHandle, time::timeout};

use crate::{
    agents::bin,
    support::{claim, eventually, found, options, with},
};

/// The most anything here may take: it ends long before, or never.
const PATIENCE: Duration = Duration::from_secs(60);

macro_rules! local {
    ($body:block) => {
        tokio::task::LocalSet::new().run_until(async move $body).await
    };
}

/// The same test on both generations of etcd.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod etcd34 {
            $(#[tokio::test]
            async fn $test() {
                super::$test(pointsman_testbed::etcd::Version::Debian).await;
            })+
        }
        mod etcd35 {
            $(#[tokio::test]
            async fn $test() {
                super::$test(pointsman_testbed::etcd::Version::V35).await;
            })+
        }
    };
}

use {local, on_both};

async fn three(version: Version) -> Cluster {
    Cluster::builder(3)
        .version(version)
        .fast_elections()
        .start()
        .await
}

async fn one(version: Version) -> Cluster {
    Cluster::builder(1).version(version).start().await
}

/// A node that waits in the queue, as its agent would.
struct Waiter {
    task: JoinHandle<()>,
    notes: Rc<RefCell<Vec<String>>>,
    claim: Claim,
}

impl Waiter {
    fn start(endpoints: Vec<String>, prefix: &str, id: &str) -> Self {
        Self::start_with(options(endpoints), prefix, id)
    }

    fn start_with(options: Options, prefix: &str, id: &str) -> Self {
        let (semaphore, claim) = (with(options, prefix), claim(id));
        let notes = Rc::new(RefCell::new(Vec::new()));
        let (c, n) = (claim.clone(), notes.clone());
        let task = tokio::task::spawn_local(async move {
            let note = |wait: Wait| n.borrow_mut().push(wait.waits_for);
            semaphore.acquire(&c, note).await;
        });
        Self { task, notes, claim }
    }

    fn said(&self) -> usize {
        self.notes.borrow().len()
    }

    fn heard(&self, words: &str) -> bool {
        self.notes.borrow().iter().any(|note| note.contains(words))
    }

    /// Waits until it has said this, after the first so many things that it said.
    async fn says(&self, after: usize, words: &str) {
        eventually(
            words,
            async || self.notes.borrow()[after..].to_vec(),
            |notes| notes.iter().any(|note| note.contains(words)),
        )
        .await;
    }

    fn waits(&self) -> bool {
        !self.task.is_finished()
    }

    async fn takes(&mut self) {
        let taken = timeout(PATIENCE, &mut self.task).await;
        taken
            .unwrap_or_else(|_| panic!("{} has not taken: {:?}", self.claim.holder.id, self.notes))
            .unwrap();
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn acquire(semaphore: &Semaphore, claim: &Claim) {
    found(semaphore).await;
    timeout(PATIENCE, semaphore.acquire(claim, |_| {}))
        .await
        .expect("taken in time");
}

async fn release(semaphore: &Semaphore, claim: &Claim) {
    let holder = &claim.holder;
    semaphore
        .release(&holder.id, &holder.nonce, None, None)
        .await
        .unwrap();
}

async fn holders(semaphore: &Semaphore) -> Vec<String> {
    let group = semaphore.read().await.unwrap();
    group.holders.into_iter().map(|h| h.id).collect()
}

/// Runs `pointsman ARGS` with requests of at most a second, on a machine without any configuration.
async fn pointsman(endpoints: &[String], prefix: &str, args: &[&str]) -> Output {
    let root = tempfile::tempdir().unwrap();
    pointsman_at(root.path(), endpoints, prefix, args).await
}

/// The same on a machine with these files.
async fn pointsman_at(root: &Path, endpoints: &[String], prefix: &str, args: &[&str]) -> Output {
    let endpoints = endpoints.join(",");
    let root = root.to_str().unwrap();
    let common = [
        "--root",
        root,
        "--timeout",
        "1s",
        "--endpoint",
        &endpoints,
        "--key-prefix",
        prefix,
    ];
    let bus = format!("unix:path={root}/no-bus");
    let env = [("DBUS_SYSTEM_BUS_ADDRESS", bus.as_str())];
    run(
        bin(),
        [args, &common].concat(),
        &env,
        Duration::from_secs(20),
    )
    .await
}

/// A user `agent` who may read all that is under the prefix, and write all but what comes first and last around the pause.
async fn may_not_pause(cluster: &Cluster, prefix: &str) {
    let mut client = cluster.client().await;
    client.role_add("agent").await.unwrap();
    let read = Permission::read(prefix).with_prefix();
    client.role_grant_permission("agent", read).await.unwrap();
    for key in ["semaphore", "holders/", "queue/", "deadlines/", "nodes/"] {
        let write = Permission::read_write(format!("{prefix}/{key}")).with_prefix();
        client.role_grant_permission("agent", write).await.unwrap();
    }
    client.user_add("agent", "s3cret", None).await.unwrap();
    client.user_grant_role("agent", "agent").await.unwrap();
}
