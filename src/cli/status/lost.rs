//! What `status` shows of nodes that do not come back.

use std::{collections::BTreeMap, time::Duration};

use host::duration;
use jiff::Timestamp;
use semaphore::{
    etcd::{self, HolderState, Semaphore},
    policy::Lost,
    records::{ImageId, LostNode},
};
use serde::Serialize;

use super::{GroupStatus, HolderStatus};
use crate::cli::{
    output,
    table::{cells, table, trimmed},
};

/// A node that was passed over and is not back.
#[derive(Debug, Clone, Serialize)]
pub struct LostStatus {
    /// Its id.
    pub id: String,
    /// What is known of it.
    #[serde(flatten)]
    pub node: LostNode,
}

/// Whether the policy passes over an overdue holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PassedOver {
    /// In so many seconds, about; 0 once its grace has passed; null where that cannot be asked.
    InSeconds(Option<u64>),
    /// Never: why.
    Never(String),
}

/// Whether this holder is passed over, and when; none where the policy passes over nobody, or the holder is not overdue.
pub(super) async fn passed_over(
    semaphore: &Semaphore,
    policy: Option<&Lost>,
    held: &HolderState,
) -> Option<PassedOver> {
    policy.filter(|_| held.overdue && held.listed)?;
    Some(match (&held.grace, held.grace_lease) {
        (Err(kept), _) => PassedOver::Never(kept.to_string()),
        (Ok(_), None) => PassedOver::InSeconds(Some(0)),
        (Ok(_), Some(lease)) => {
            let left: Result<_, etcd::Error> = semaphore.time_left(lease).await;
            let left = left.ok();
            PassedOver::InSeconds(left.map(|left| left.unwrap_or_default().as_secs()))
        }
    })
}

/// The lost nodes of a group as they are shown.
pub(super) fn lost(nodes: BTreeMap<String, LostNode>) -> Vec<LostStatus> {
    let status = |(id, node)| LostStatus { id, node };
    nodes.into_iter().map(status).collect()
}

impl GroupStatus {
    /// What the policy says of lost nodes.
    fn lost_policy(&self) -> Option<&Lost> {
        self.policy.as_ref()?.lost.as_ref()
    }

    /// The line on the policy and its budget; empty where it passes over nobody.
    pub(super) fn lost_line(&self) -> String {
        let Some(policy) = self.lost_policy() else {
            return String::new();
        };
        let text = crate::cli::policy::lost_nodes(policy);
        format!("Lost nodes: {text}; lost now: {}\n", self.lost.len())
    }

    /// When this holder is passed over, or why not, as a line; none where that is no question.
    pub(super) fn passed_over_line(&self, holder: &HolderStatus) -> Option<String> {
        let policy = self.lost_policy()?;
        let over_budget = self.lost.len() >= policy.budget as usize;
        Some(match holder.passed_over.as_ref()? {
            PassedOver::Never(why) => format!("never passed over by the policy: {why}"),
            PassedOver::InSeconds(_) if over_budget => format!(
                "not passed over: {} lost, and the policy allows {}",
                nodes(self.lost.len()),
                policy.budget
            ),
            PassedOver::InSeconds(Some(0)) => {
                "passed over by the policy as soon as a node waits for its place".into()
            }
            PassedOver::InSeconds(Some(seconds)) => format!(
                "passed over by the policy in about {}, if a node waits for its place",
                about(*seconds)
            ),
            PassedOver::InSeconds(None) => {
                "passed over by the policy when its grace has passed".into()
            }
        })
    }

    /// The table of the lost nodes; empty where there are none.
    pub(super) fn lost_table(&self, when: &impl Fn(Option<Timestamp>) -> String) -> String {
        if self.lost.is_empty() {
            return String::new();
        }
        let mut rows = table(&["LOST", "PASSED OVER", "TO", "ID"]);
        for LostStatus { id, node } in &self.lost {
            let host = match node.hostname.as_str() {
                "" => id,
                host => host,
            };
            let to = if node.to == ImageId::default() {
                "-".to_owned()
            } else if node.quarantined {
                format!("{} (quarantined for it)", node.to)
            } else {
                node.to.to_string()
            };
            rows.add_row(cells(vec![
                host.to_owned(),
                when(node.since),
                to,
                id.clone(),
            ]));
        }
        let first = &self.lost[0].id;
        format!(
            "\n{}\n  A lost node counts as such until it is back. If it is gone for good: pointsman forget {}\n",
            trimmed(&rows),
            output::word(first)
        )
    }
}

fn nodes(number: usize) -> String {
    match number {
        1 => "1 node is".into(),
        many => format!("{many} nodes are"),
    }
}

/// A length of time, to the minute from two minutes on.
fn about(seconds: u64) -> String {
    let seconds = match seconds {
        ..120 => seconds,
        longer => longer / 60 * 60,
    };
    duration::print(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_shown_to_the_minute() {
        for (seconds, shown) in [
            (5, "5s"),
            (119, "1m59s"),
            (125, "2m"),
            (4830, "1h20m"),
            (7200, "2h"),
        ] {
            assert_eq!(about(seconds), shown);
        }
    }
}
