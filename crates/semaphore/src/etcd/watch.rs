//! Waiting for a key to change.

use etcd_client::{Client, EventType, KeyValue, WatchOptions};
use tokio::time::sleep;

use super::{Error, Semaphore, stand_back};

/// What became of a watched key.
#[derive(Debug)]
pub(super) enum Change {
    /// It was written: value and mod revision.
    Put(Vec<u8>, i64),
    /// It was deleted.
    Deleted,
    /// The watch cannot go on (member lost, history compacted, another or restored store): what was known
    /// must be read anew.
    Lost(String),
}

impl Semaphore {
    /// Waits until the claim with this nonce is no holder any more: why, a sentence. It goes on waiting for as long as etcd
    /// cannot be asked.
    pub async fn hold_ends(&self, id: &str, nonce: &str) -> String {
        let mut waits = self.back_off.waits();
        loop {
            match self.hold_ended(id, nonce).await {
                Ok(why) => return why,
                Err(error) if error.is_unreachable() => tracing::debug!("{error}"),
                // Nothing is known of the hold any more, in this store.
                Err(error @ Error::OtherStore { .. }) => return error.to_string(),
                Err(error) => tracing::warn!("{error}"),
            }
            sleep(waits.next().unwrap_or(self.back_off.max)).await;
        }
    }

    async fn hold_ended(&self, id: &str, nonce: &str) -> Result<String, Error> {
        const DOING: &str = "watching the hold";
        loop {
            let held = self.held(DOING, id, Vec::new()).await?;
            if held.by(nonce).is_none() {
                self.ended_by_somebody(DOING, nonce, &held).await?;
                return Ok("the reboot lock was taken from this node".into());
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
        // Both from the answer to the request itself: etcd confirms a watch before its first event.
        let mut stream = self
            .connection
            .etcd()
            .call("watching", async |mut client: Client| {
                let options = WatchOptions::new().with_start_revision(revision + 1);
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
            // The last event counts: it is the newest state of the key.
            if let Some(event) = message.events().last() {
                return Ok(match event.event_type() {
                    EventType::Delete => Change::Deleted,
                    EventType::Put => {
                        let (value, modified) = event
                            .kv()
                            .map(|kv: &KeyValue| (kv.value().to_vec(), kv.mod_revision()))
                            .unwrap_or_default();
                        Change::Put(value, modified)
                    }
                });
            }
        }
    }
}
