//! The semaphore on a real three-member etcd.

macro_rules! local {
    ($body:block) => {
        tokio::task::LocalSet::new().run_until(async move $body).await
    };
}

mod acts;
mod documents;
mod holding;
mod queue;
mod races;
mod unknown_version;

use std::{cell::RefCell, rc::Rc, time::Duration};

use pointsman_testbed::{
    etcd::{Cluster, shared_cluster, unique_prefix},
    proxy::{Aim, Proxy},
};
use semaphore::{
    document::Document,
    etcd::{Committed, Error, Left, Locked, Owner, Released, Resumed, Semaphore, Unlocked},
    records::{Pause, Phase, Quarantine},
};
use tokio::time::timeout;

use crate::support::{claim, eventually, found, holder, on, semaphore, version};

async fn put(cluster: &Cluster, key: &str, value: &str) {
    cluster.client().await.put(key, value, None).await.unwrap();
}

async fn get(cluster: &Cluster, key: &str) -> Option<String> {
    let found = cluster.client().await.get(key, None).await.unwrap();
    found
        .kvs()
        .first()
        .map(|kv| String::from_utf8(kv.value().to_vec()).unwrap())
}

async fn holders(semaphore: &Semaphore) -> Vec<String> {
    semaphore
        .read()
        .await
        .unwrap()
        .holders
        .into_iter()
        .map(|h| h.id)
        .collect()
}

fn pause() -> Pause {
    serde_json::from_str(r#"{"by":"ann@desk","reason":"maintenance"}"#).unwrap()
}

/// Takes, within the test's patience.
async fn acquire(semaphore: &Semaphore, claim: &semaphore::etcd::Claim) {
    found(semaphore).await;
    timeout(Duration::from_secs(20), semaphore.acquire(claim, |_| {}))
        .await
        .expect("taken in time");
}

/// Starts waiting in the queue; what it waits for is collected. The place in the queue is taken when this returns.
async fn wait_in_queue(
    cluster: &'static Cluster,
    prefix: &str,
    id: &str,
) -> (tokio::task::JoinHandle<()>, Rc<RefCell<Vec<String>>>) {
    found(&on(cluster, prefix)).await;
    let notes = Rc::new(RefCell::new(Vec::new()));
    let (s, c, n) = (on(cluster, prefix), claim(id), notes.clone());
    let task = tokio::task::spawn_local(async move {
        s.acquire(&c, |wait| n.borrow_mut().push(wait.waits_for))
            .await
    });
    let looker = on(cluster, prefix);
    eventually(
        "its ticket",
        async || looker.read().await.unwrap().queue,
        |q| q.iter().any(|t| t.id == id),
    )
    .await;
    eventually(
        "what it waits for",
        async || notes.borrow().len(),
        |n| *n > 0,
    )
    .await;
    (task, notes)
}
