//! Waiting for a key to change.

use etcd_client::{Client, EventType, KeyValue, WatchOptions};

use super::{Error, Semaphore};
use crate::semaphore::queue::View;

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
    /// Waits until `key` changes after this was read.
    ///
    /// # Errors
    /// When no endpoint takes the watch.
    pub(super) async fn changed(&self, key: &str, read: &View) -> Result<Change, Error> {
        let revision = read.revision;
        // Both from the answer to the request itself: etcd confirms a watch before its first event.
        let mut stream = self
            .connection
            .call("watching", async |mut client: Client| {
                let options = WatchOptions::new().with_start_revision(revision + 1);
                client.watch(key, Some(options)).await
            })
            .await?;
        let lost = |why: String| {
            self.connection.move_on();
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
            if header.is_some_and(|h| h.cluster_id() != read.cluster) {
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
