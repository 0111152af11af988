//! What several test modules need.

use std::time::Duration;

use host::node::Group;
use pointsman_testbed::etcd::Cluster;

pub(crate) use pointsman_testbed::random::Random;
use semaphore::{
    etcd::{BackOff, Claim, Options, Semaphore, WaveWait},
    keys::Keys,
    records::{Holder, ImageId, NodeRecord, Phase, new_nonce},
};

pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// Waits quickly between tries, as tests want it.
pub(crate) const BACK_OFF: BackOff = BackOff {
    min: Duration::from_millis(20),
    max: Duration::from_millis(200),
};

/// The default group's semaphore under `prefix`.
pub(crate) fn semaphore(endpoints: Vec<String>, prefix: &str) -> Semaphore {
    with(options(endpoints), prefix)
}

/// Plain endpoints, without a user.
pub(crate) fn options(endpoints: Vec<String>) -> Options {
    Options {
        endpoints,
        timeout: TIMEOUT,
        ..Options::default()
    }
}

/// The default group's semaphore under `prefix`, reached so.
pub(crate) fn with(options: Options, prefix: &str) -> Semaphore {
    Semaphore::new(options, Keys::new(prefix, Group::default()), BACK_OFF)
}

pub(crate) fn on(cluster: &Cluster, prefix: &str) -> Semaphore {
    semaphore(cluster.endpoints(), prefix)
}

pub(crate) fn holder(id: &str, phase: Phase) -> Holder {
    Holder {
        id: id.into(),
        hostname: format!("host-{id}"),
        nonce: new_nonce().unwrap(),
        boot_id: "boot".into(),
        since: None,
        from: version("1"),
        to: version("2"),
        phase,
        deadline: None,
        reason: None,
        agent: "test".into(),
        grace: None,
        soaks_until: None,
        by_hand: None,
        unknown: serde_json::Map::new(),
    }
}

pub(crate) fn version(version: &str) -> ImageId {
    ImageId {
        digest: None,
        version: Some(version.into()),
    }
}

pub(crate) fn group(name: &str) -> Group {
    Group::new(name).unwrap()
}

pub(crate) fn node(id: &str) -> NodeRecord {
    serde_json::from_value(serde_json::json!({ "id": id, "hostname": format!("host-{id}") }))
        .unwrap()
}

/// A node's claim for an update from version 1 to 2.
pub(crate) fn claim(id: &str) -> Claim {
    Claim {
        holder: Holder {
            deadline: Some(600),
            ..holder(id, Phase::Draining)
        },
        ticket_lease: 10,
        member: false,
        by_person: false,
        new_image: false,
        waves: WaveWait::default(),
        windows: None,
        node: Some(node(id)),
    }
}

/// Creates the group's document with max 1, where there is none: an agent by itself waits for as long as its ticket lives
/// before it does.
pub(crate) async fn found(semaphore: &Semaphore) {
    let group = semaphore.read().await.unwrap();
    if group.document.is_none() && group.holders.is_empty() {
        semaphore.set_max(1, false).await.unwrap();
    }
}

/// Waits for `what` to become true of what `ask` gives.
pub(crate) async fn eventually<T: std::fmt::Debug>(
    what: &str,
    mut ask: impl AsyncFnMut() -> T,
    is: impl Fn(&T) -> bool,
) -> T {
    let limit = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let found = ask().await;
        if is(&found) {
            return found;
        }
        assert!(
            tokio::time::Instant::now() < limit,
            "not in time: {what}; last seen: {found:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The most holders the document has ever named, by its own history, which every change of it is in.
pub(crate) async fn most_holders(cluster: &Cluster, semaphore: &Semaphore) -> usize {
    let mut client = cluster.client().await;
    let key = semaphore.keys().semaphore();
    let kv = client.get(key.clone(), None).await.unwrap().kvs()[0].clone();
    let options = etcd_client::WatchOptions::new().with_start_revision(kv.create_revision());
    let mut watch = client.watch(key, Some(options)).await.unwrap();
    let mut most = 0;
    loop {
        let message = watch.message().await.unwrap().expect("the watch goes on");
        for event in message.events() {
            let stored = event.kv().unwrap();
            let document = semaphore::document::Document::parse(stored.value()).unwrap();
            most = most.max(document.holders.len());
            if stored.mod_revision() == kv.mod_revision() {
                return most;
            }
        }
    }
}
