//! Being told that something has changed, for those who show it.

use std::time::Duration;

use etcd_client::{Client, WatchOptions, WatchStream};
use tokio::time::sleep;

use super::{Error, Semaphore};

/// How long it waits between two tries where no member keeps a watch.
const BETWEEN: Duration = Duration::from_secs(1);

/// Tells of changes of anything under the key prefix, by one watch.
///
/// Who shows what is there begins, reads, shows, and waits for the next change: then nothing is missed, and nothing is asked while
/// nothing changes.
#[derive(Default)]
pub struct Changes {
    stream: Option<WatchStream>,
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes")
            .field("watches", &self.stream.is_some())
            .finish()
    }
}

impl Changes {
    /// Watches from now on, where it does not yet. What is read after this may be shown until [`Self::next`] returns.
    ///
    /// # Errors
    /// When no endpoint takes the watch.
    pub async fn begin(&mut self, semaphore: &Semaphore) -> Result<(), Error> {
        if self.stream.is_some() {
            return Ok(());
        }
        let prefix = format!("{}/", semaphore.keys().prefix());
        let etcd = semaphore.connection.etcd();
        let mut stream = etcd
            .call("watching", async |mut client: Client| {
                let options = WatchOptions::new().with_prefix();
                client.watch(prefix.as_str(), Some(options)).await
            })
            .await?;
        // Confirmed before anything is read: the watch begins at the revision of this answer.
        match stream.message().await {
            Ok(Some(message)) if message.created() && !message.canceled() => {
                self.stream = Some(stream)
            }
            // The next call finds another member, or an error that says why.
            _ => etcd.move_on(),
        }
        Ok(())
    }

    /// Waits until something has changed, or the watch is lost: then it begins again.
    pub async fn next(&mut self, semaphore: &Semaphore) {
        let Some(stream) = &mut self.stream else {
            return sleep(BETWEEN).await;
        };
        loop {
            match stream.message().await {
                Ok(Some(message)) if !message.canceled() => {
                    if !message.events().is_empty() {
                        return;
                    }
                }
                _ => {
                    self.stream = None;
                    semaphore.connection.etcd().move_on();
                    return;
                }
            }
        }
    }
}
