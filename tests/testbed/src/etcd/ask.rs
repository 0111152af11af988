//! What the members say of themselves: who leads, what they were asked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::Cluster;
use super::cluster::{RETRY, START_LIMIT};
use super::metrics::{self, Requests};

impl Cluster {
    /// The member that leads, by its own word; waits for an election. Hung and dead members are not asked.
    pub async fn leader(&self) -> usize {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            for i in self.up() {
                let ask = async { self.connect(&[self.endpoint(i)]).await?.status().await };
                if let Ok(Ok(status)) = timeout(Duration::from_secs(1), ask).await
                    && status.leader() != 0
                    && status
                        .header()
                        .is_some_and(|h| h.member_id() == status.leader())
                {
                    return i;
                }
            }
            assert!(
                Instant::now() < deadline,
                "no leader among {:?} after {START_LIMIT:?}",
                self.endpoints()
            );
            tokio::time::sleep(RETRY).await;
        }
    }

    /// A member's metrics: each series with its labels as written, and its value.
    pub async fn metrics(&self, i: usize) -> BTreeMap<String, f64> {
        metrics::fetch(self.metrics_address(i))
            .await
            .unwrap_or_else(|e| panic!("no metrics of member {i}: {e}"))
    }

    /// What all members that are up have been asked since they started, the testbed's own requests included.
    pub async fn requests(&self) -> Requests {
        let mut requests = Requests::default();
        for i in self.up() {
            requests.add(&self.metrics(i).await);
        }
        requests
    }
}
