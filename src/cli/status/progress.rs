//! How far a roll-out is, and how long it takes at this pace. Pure.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use host::duration;
use jiff::Timestamp;
use semaphore::records::{ImageId, NodeRecord, Outcome};
use serde::Serialize;

use super::GroupStatus;

/// A roll-out that is under way in a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Where to.
    pub to: ImageId,
    /// How many nodes the group has, by their records.
    pub nodes: usize,
    /// How many of them run it.
    pub done: usize,
    /// How many run what else.
    #[serde(skip)]
    pub others: Vec<(String, usize)>,
    /// How long a node is out of service for it: the median of those that have done it, with the soak. Null where none has.
    pub seconds_per_node: Option<u64>,
    /// How long the others take at this pace. Null where that is not known, or they do not go: max is 0, or nobody may go.
    pub seconds_left: Option<u64>,
}

/// The roll-out of a group: into what its holders and its queue go, else into what was proven last, while some node runs something else.
#[must_use]
pub(super) fn progress(group: &GroupStatus) -> Option<Progress> {
    let to = goal(group)?;
    let nodes = &group.nodes;
    let runs = |node: &&NodeRecord| node.runs.is(&to);
    let done = nodes.iter().filter(runs).count();
    let left = nodes.len() - done;
    if left == 0 {
        return None;
    }
    let mut others: BTreeMap<String, usize> = BTreeMap::new();
    for node in nodes.iter().filter(|node| !runs(node)) {
        *others.entry(node.runs.to_string()).or_default() += 1;
    }
    let mut others: Vec<(String, usize)> = others.into_iter().collect();
    others.sort_by_key(|(_, count)| Reverse(*count));
    let per_node = seconds_per_node(group, &to);
    // Each of them waits for a place, so many at a time.
    let rounds = |max: u32| {
        u64::try_from(left)
            .ok()
            .map(|left| left.div_ceil(max.into()))
    };
    let stopped = group.pause.is_some();
    let max = group.max.filter(|max| *max > 0 && !stopped);
    Some(Progress {
        nodes: nodes.len(),
        done,
        others,
        seconds_per_node: per_node,
        seconds_left: per_node
            .zip(max.and_then(rounds))
            .map(|(one, rounds)| one.saturating_mul(rounds)),
        to,
    })
}

/// The image that most of those who are out of service, or wait for it, go to; else the one that was proven last.
fn goal(group: &GroupStatus) -> Option<ImageId> {
    let holders = group
        .holders
        .iter()
        .filter(|holder| holder.phase != "manual");
    let out = holders.map(|holder| (&holder.from, &holder.to));
    let unknown = ImageId::default();
    let waits = group.queue.iter().map(|ticket| (&unknown, &ticket.to));
    let mut goals: Vec<(&ImageId, usize)> = Vec::new();
    // Who reboots into what it runs rolls nothing out.
    let moves = |(from, to): &(&ImageId, &ImageId)| **to != unknown && !to.is(from);
    for (_, to) in out.chain(waits).filter(moves) {
        match goals.iter_mut().find(|(goal, _)| goal.is(to)) {
            Some((_, count)) => *count += 1,
            None => goals.push((to, 1)),
        }
    }
    let most = goals
        .iter()
        .max_by_key(|(_, count)| *count)
        .map(|(to, _)| (*to).clone());
    most.or_else(|| {
        let proven = group.nodes.iter().filter_map(|node| {
            let last = node
                .last
                .as_ref()
                .filter(|last| last.outcome == Outcome::Proven)?;
            (!last.to.is(&last.from) && node.runs.is(&last.to)).then_some((last.ended?, &last.to))
        });
        let (_, to) = proven.max_by_key(|(ended, _)| *ended)?;
        Some(to.clone())
    })
}

fn seconds_per_node(group: &GroupStatus, to: &ImageId) -> Option<u64> {
    let took = |node: &NodeRecord| {
        let last = node
            .last
            .as_ref()
            .filter(|last| last.outcome == Outcome::Proven && last.to.is(to))?;
        let took: Timestamp = last.ended?;
        u64::try_from(took.duration_since(last.began?).as_secs()).ok()
    };
    let mut all: Vec<u64> = group.nodes.iter().filter_map(took).collect();
    all.sort_unstable();
    let median = all.get(all.len().checked_sub(1)? / 2)?;
    let soak = group
        .policy
        .as_ref()
        .and_then(|policy| policy.soak)
        .unwrap_or_default();
    Some(median.saturating_add(soak.as_secs()))
}

impl Progress {
    /// A sentence for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        let others: Vec<String> = self
            .others
            .iter()
            .map(|(what, count)| format!("{count} run {what}"))
            .collect();
        let shown = |seconds| duration::print(Duration::from_secs(seconds));
        let pace = match (self.seconds_per_node, self.seconds_left) {
            (Some(one), Some(left)) => format!(
                "; about {} more at this pace ({} for a node)",
                shown(left),
                shown(one)
            ),
            _ => String::new(),
        };
        format!(
            "Roll-out of {}: {} of {} nodes run it, {}{pace}",
            self.to,
            self.done,
            self.nodes,
            others.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use semaphore::{policy::Policy, records::LastReboot};

    use super::*;

    fn image(version: &str) -> ImageId {
        ImageId {
            digest: None,
            version: Some(version.into()),
        }
    }

    /// A node that runs this version, and went there in so many seconds.
    fn node(id: &str, version: &str, took: Option<i64>) -> NodeRecord {
        let mut node: NodeRecord =
            serde_json::from_value(serde_json::json!({"id": id, "version": version})).unwrap();
        node.last = took.map(|took| LastReboot {
            outcome: Outcome::Proven,
            from: image("1"),
            to: image(version),
            began: Some(Timestamp::UNIX_EPOCH),
            ended: Timestamp::from_second(took).ok(),
            reason: String::new(),
        });
        node
    }

    fn group(max: u32, nodes: Vec<NodeRecord>) -> GroupStatus {
        GroupStatus {
            max: Some(max),
            nodes,
            ..GroupStatus::default()
        }
    }

    fn ticket(to: &str) -> semaphore::records::Ticket {
        serde_json::from_value(serde_json::json!({"id": "t", "to": {"version": to}})).unwrap()
    }

    #[test]
    fn the_rest_takes_as_many_rounds_as_there_are_places() {
        let mut nodes = vec![
            node("a", "2", Some(100)),
            node("b", "2", Some(300)),
            node("c", "2", Some(200)),
        ];
        nodes.extend(["d", "e", "f", "g", "h"].map(|id| node(id, "1", None)));
        let mut group = group(2, nodes);
        group.queue.push(ticket("2"));
        let found = progress(&group).unwrap();
        assert_eq!((found.done, found.nodes), (3, 8));
        assert_eq!(
            (found.seconds_per_node, found.seconds_left),
            (Some(200), Some(600))
        );
        assert_eq!(
            found.sentence(),
            "Roll-out of 2: 3 of 8 nodes run it, 5 run 1; about 10m more at this pace (3m20s for a node)"
        );
        group.policy = Some(Policy {
            soak: Some(Duration::from_secs(100)),
            ..Policy::default()
        });
        assert_eq!(progress(&group).unwrap().seconds_left, Some(900));
        group.max = Some(0);
        assert_eq!(progress(&group).unwrap().seconds_left, None);
    }

    #[test]
    fn without_a_queue_the_goal_is_what_was_proven_last() {
        let nodes = vec![
            node("a", "2", Some(100)),
            node("b", "3", Some(300)),
            node("c", "1", None),
        ];
        let found = progress(&group(1, nodes)).unwrap();
        assert_eq!(
            (found.to, found.done, found.others.len()),
            (image("3"), 1, 2)
        );
        let all = vec![node("a", "2", Some(100)), node("b", "2", None)];
        assert_eq!(progress(&group(1, all)), None);
        let nobody_knows = vec![node("a", "2", None), node("b", "1", None)];
        assert_eq!(progress(&group(1, nobody_knows)), None);
    }

    #[test]
    fn the_goal_is_where_most_go_and_not_a_reboot_into_the_same() {
        let mut group = group(1, vec![node("a", "1", None), node("b", "1", None)]);
        group.queue.extend(["3", "2", "2"].map(ticket));
        let found = progress(&group).unwrap();
        assert_eq!(
            (found.to, found.seconds_per_node, found.seconds_left),
            (image("2"), None, None)
        );
        group.queue = vec![ticket("1")];
        assert_eq!(progress(&group), None, "all run it");
    }
}
