//! Waiting for a key to change.

use etcd_client::{Client, Event, EventType, KeyValue, Txn, TxnOp, WatchOptions};
use host::kept::Kept;
use tokio::time::sleep;

use super::{Error, Semaphore, read, stand_back};
use crate::{
    records::{ImageId, LostNode},
    stored::KeyRange,
};

/// What became of a watched key.
#[derive(Debug)]
pub(super) enum Change {
    /// It was written: value and mod revision.
    Put(Vec<u8>, i64),
    /// It was deleted.
    Deleted,
    /// The watch cannot go on (member lost, history compacted, another or restored store): what was known
    /// must be read again.
    Lost(String),
}

/// Why a claim does not hold any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoldEnd {
    /// Its entry is gone, or another claim's.
    #[error("the reboot lock was taken from this node")]
    Taken,
    /// Another node passed over this one by the group's policy.
    #[error("{}", .0.of_itself())]
    ThoughtLost(LostNode),
    /// Nothing is known of the hold any more: the store is not the one it was.
    #[error("{0}")]
    OtherStore(Kept<Error>),
}

impl Semaphore {
    /// Waits until the claim with this nonce is no holder any more: why. It goes on waiting for as long as etcd
    /// cannot be asked.
    pub async fn hold_ends(&self, id: &str, nonce: &str) -> HoldEnd {
        let mut waits = self.back_off.waits();
        loop {
            match self.hold_ended(id, nonce).await {
                Ok(end) => return end,
                Err(error) if error.is_unreachable() => tracing::debug!("{error}"),
                Err(error @ Error::OtherStore { .. }) => return HoldEnd::OtherStore(error.into()),
                Err(error) => tracing::warn!("{error}"),
            }
            sleep(waits.next().unwrap_or(self.back_off.max)).await;
        }
    }

    async fn hold_ended(&self, id: &str, nonce: &str) -> Result<HoldEnd, Error> {
        const DOING: &str = "watching the hold";
        loop {
            let held = self.held(DOING, id, Vec::new()).await?;
            if held.by(nonce).is_none() {
                self.ended_by_somebody(DOING, nonce, &held).await?;
                return Ok(match held.lost {
                    Some((lost, _)) => HoldEnd::ThoughtLost(lost),
                    None => HoldEnd::Taken,
                });
            }
            let key = self.keys.holder(id);
            match self.changed(&key, held.cluster, held.revision).await? {
                Change::Lost(why) => {
                    tracing::debug!(key, "{why}");
                    stand_back(20).await;
                }
                Change::Put(..) | Change::Deleted => {}
            }
        }
    }

    /// Waits until no quarantine of this image or version stands any more.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses: then it is not known, and must be asked again.
    pub async fn quarantine_ends(&self, what: &ImageId) -> Result<(), Error> {
        let keys = self.keys.quarantines_of(what);
        loop {
            let gets = keys.iter().map(|key| TxnOp::get(key.clone(), None));
            let asked = Txn::new().and_then(gets.collect::<Vec<_>>());
            let response = self.txn("watching a quarantine", asked).await?;
            let answers = read::answers(&response);
            let Some((key, _)) = keys
                .iter()
                .zip(answers)
                .find(|(_, found)| !found.is_empty())
            else {
                return Ok(());
            };
            let header = response.header();
            let (cluster, revision) =
                header.map_or((0, 0), |header| (header.cluster_id(), header.revision()));
            if let Change::Lost(why) = self.changed(key, cluster, revision).await? {
                tracing::debug!(key, "{why}");
                stand_back(20).await;
            }
        }
    }

    /// Waits until `key` changes after this revision of this cluster.
    ///
    /// # Errors
    /// When no endpoint takes the watch.
    pub(super) async fn changed(
        &self,
        key: &str,
        cluster: u64,
        revision: i64,
    ) -> Result<Change, Error> {
        // The last event counts: it is the newest state of the key.
        let last = |events: &[Event]| events.last().map(become_of);
        self.watched(key, WatchOptions::new(), cluster, revision, last)
            .await
    }

    /// Waits until the group's document or its policy changes after this revision of this cluster: one watch, of the keys from
    /// the one to the other. What else stands between them (the queue) is sent as well, and does not count.
    ///
    /// # Errors
    /// When no endpoint takes the watch.
    pub(super) async fn document_or_policy_changed(
        &self,
        cluster: u64,
        revision: i64,
    ) -> Result<Change, Error> {
        let (policy, document) = (self.keys.policy(), self.keys.semaphore());
        debug_assert!(policy < document);
        let is = |event: &Event, key: &str| {
            let kv = event.kv();
            kv.is_some_and(|kv: &KeyValue| kv.key() == key.as_bytes())
        };
        let change = |events: &[Event]| {
            if events.iter().any(|event| is(event, &policy)) {
                // It is read with the rest.
                return Some(Change::Deleted);
            }
            let document = events.iter().rfind(|event| is(event, &document));
            document.map(become_of)
        };
        let options = WatchOptions::new().with_range(format!("{document}\0"));
        self.watched(&policy, options, cluster, revision, change)
            .await
    }

    /// Waits until something of this range changes after this revision of this cluster.
    ///
    /// # Errors
    /// When no endpoint takes the watch.
    pub(super) async fn changed_in(
        &self,
        range: &KeyRange,
        cluster: u64,
        revision: i64,
    ) -> Result<Change, Error> {
        match range {
            KeyRange::One(key) => self.changed(key, cluster, revision).await,
            KeyRange::Prefix(prefix) => {
                // Which of them, and how, is read with the rest.
                let any = |events: &[Event]| (!events.is_empty()).then_some(Change::Deleted);
                let options = WatchOptions::new().with_prefix();
                self.watched(prefix, options, cluster, revision, any).await
            }
        }
    }

    /// Waits until a key with this prefix is created or deleted after this revision of this cluster; what is written over one
    /// does not count.
    ///
    /// # Errors
    /// When no endpoint takes the watch.
    pub(super) async fn number_changed(
        &self,
        prefix: &str,
        cluster: u64,
        revision: i64,
    ) -> Result<Change, Error> {
        let counts = |event: &Event| {
            let created = event.kv().is_some_and(|kv: &KeyValue| kv.version() == 1);
            event.event_type() == EventType::Delete || created
        };
        let any = |events: &[Event]| {
            let counts = events.iter().any(counts);
            counts.then(|| Change::Lost("the number of members has changed".into()))
        };
        let options = WatchOptions::new().with_prefix();
        self.watched(prefix, options, cluster, revision, any).await
    }

    /// Waits until a key with this prefix is deleted, or its lease has ended, after this revision of this cluster.
    ///
    /// # Errors
    /// When no endpoint takes the watch.
    pub(super) async fn any_deleted(
        &self,
        prefix: &str,
        cluster: u64,
        revision: i64,
    ) -> Result<Change, Error> {
        let any = |events: &[Event]| {
            let gone = |event: &Event| event.event_type() == EventType::Delete;
            let gone = events.iter().any(gone);
            gone.then_some(Change::Deleted)
        };
        let options = WatchOptions::new().with_prefix();
        self.watched(prefix, options, cluster, revision, any).await
    }

    async fn watched(
        &self,
        key: &str,
        options: WatchOptions,
        cluster: u64,
        revision: i64,
        change: impl Fn(&[Event]) -> Option<Change>,
    ) -> Result<Change, Error> {
        // Both from the answer to the request itself: etcd confirms a watch before its first event.
        let mut stream = self
            .connection
            .etcd()
            .call("watching", async |mut client: Client| {
                let options = options.clone().with_start_revision(revision + 1);
                client.watch(key, Some(options)).await
            })
            .await?;
        let lost = |why: String| {
            self.connection.etcd().move_on();
            Ok(Change::Lost(why))
        };
        loop {
            let message = match stream.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return lost("etcd ended the watch".into()),
                Err(error) => return lost(format!("the watch broke: {error}")),
            };
            if message.canceled() {
                // A compacted revision is the history's end, not the member's fault: no need to move on.
                return Ok(Change::Lost(if message.compact_revision() > 0 {
                    "the history was compacted".into()
                } else {
                    format!("etcd cancelled the watch: {}", message.cancel_reason())
                }));
            }
            let header = message.header().filter(|_| message.created());
            if header.is_some_and(|h| h.cluster_id() != cluster) {
                return lost("this is another cluster than the one read before".into());
            }
            if header.is_some_and(|h| h.revision() < revision) {
                // Behind what was read: a member that lags, or a restored store, where the event waited for
                // may already be in the past.
                return lost("the member is behind what was read before".into());
            }
            if let Some(change) = change(message.events()) {
                return Ok(change);
            }
        }
    }
}

/// What became of the key of this event.
fn become_of(event: &Event) -> Change {
    match event.event_type() {
        EventType::Delete => Change::Deleted,
        EventType::Put => {
            let (value, modified) = event
                .kv()
                .map(|kv: &KeyValue| (kv.value().to_vec(), kv.mod_revision()))
                .unwrap_or_default();
            Change::Put(value, modified)
        }
    }
}
