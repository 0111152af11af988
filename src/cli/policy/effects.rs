//! What a change of the policy would do to the nodes there are. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use host::{duration, node};
use semaphore::{etcd, policy::Policy, records::Phase};

use crate::cli::names;

/// How long an image takes at least to reach all members: each place is taken for as long as a node soaks. None without a soak,
/// or where nobody may go. In a group that nobody has used, one node may: agents create its document so.
pub(super) fn pace(soak: Option<Duration>, members: u64, max: Option<u32>) -> Option<Duration> {
    let max = max.unwrap_or(1);
    let turns = members.div_ceil(u64::from(max).max(1));
    let turns = u32::try_from(turns).unwrap_or(u32::MAX);
    let at_work = max > 0 && members > 0;
    soak.filter(|_| at_work)
        .map(|soak| soak.saturating_mul(turns))
}

/// What the nodes would do, a line each. `open` are the images that each earlier group has opened, by their digests.
pub(super) fn on_nodes(
    before: Option<&Policy>,
    after: &Policy,
    group: &etcd::Group,
    open: &BTreeMap<node::Group, BTreeSet<String>>,
) -> Vec<String> {
    let mut lines = Vec::new();
    let soaked = before.and_then(|policy| policy.soak);
    for held in &group.holders {
        let Some(entry) = &held.entry else { continue };
        let name = names::named(&entry.hostname, &held.id);
        let goes = matches!(
            entry.phase,
            Phase::Draining | Phase::Rebooting | Phase::Proving
        );
        let new = entry.by_hand.is_none() && !entry.to.is(&entry.from);
        match after.soak {
            Some(soak) if goes && new && soaked != after.soak => lines.push(format!(
                "{name} ({}) would soak for {} before it releases the lock",
                entry.phase,
                duration::print(soak)
            )),
            None if goes && new && soaked.is_some() => {
                lines.push(format!("{name} ({}) would not soak", entry.phase));
            }
            _ => {}
        }
        if entry.phase == Phase::Soaking && soaked != after.soak {
            lines.push(format!("{name} goes on soaking as long as it began to"));
        }
        if after.lost.is_some() && entry.grace.is_none() && entry.phase != Phase::Manual {
            lines.push(format!(
                "{name} took the lock without a grace: it would never be passed over"
            ));
        }
    }
    for ticket in &group.queue {
        let Some(digest) = &ticket.to.digest else {
            continue;
        };
        let is_open =
            |group: &node::Group| open.get(group).is_some_and(|open| open.contains(digest));
        if let Some(shut) = after.after.iter().find(|group| !is_open(group)) {
            lines.push(format!(
                "{} would leave the queue until {} has proven {}",
                names::named(&ticket.hostname, &ticket.id),
                names::group(shut.as_str()),
                ticket.to
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use semaphore::{etcd::HolderState, lost::Never};

    use super::*;

    #[test]
    fn pace_is_a_soak_for_each_turn() {
        let hour = Duration::from_secs(3600);
        for (soak, members, max, found) in [
            (Some(hour), 12, Some(2), Some(hour * 6)),
            (Some(hour), 13, Some(2), Some(hour * 7)),
            (Some(hour), 0, Some(2), None),
            (Some(hour), 12, Some(0), None),
            (Some(hour), 12, None, Some(hour * 12)),
            (None, 12, Some(2), None),
        ] {
            assert_eq!(pace(soak, members, max), found, "{members} {max:?}");
        }
    }

    #[test]
    fn each_node_that_would_act_otherwise_is_named() {
        let held = |id: &str, phase: Phase| {
            let text = format!(
                r#"{{"id":"{id}","hostname":"{id}","phase":"manual","from":{{"version":"1"}},"to":{{"version":"2"}}}}"#
            );
            let mut entry: semaphore::records::Holder = serde_json::from_str(&text).unwrap();
            entry.phase = phase;
            HolderState {
                id: id.to_owned(),
                entry: Some(entry),
                listed: true,
                overdue: false,
                before_accept: false,
                grace: Err(Never::NoGrace),
                grace_lease: None,
            }
        };
        let group = etcd::Group {
            holders: vec![
                held("drains", Phase::Draining),
                held("soaks", Phase::Soaking),
                held("by-hand", Phase::Manual),
            ],
            queue: vec![
                serde_json::from_str(
                    r#"{"id":"waits","hostname":"waits","to":{"image":"X","version":"2"}}"#,
                )
                .unwrap(),
            ],
            ..etcd::Group::default()
        };
        let canary = host::node::Group::new("canary").unwrap();
        let policy = Policy {
            soak: Some(Duration::from_secs(60)),
            after: vec![canary.clone()],
            ..Policy::default()
        };
        let mut open = BTreeMap::new();
        let lines = on_nodes(None, &policy, &group, &open);
        assert_eq!(
            lines,
            [
                "drains (draining) would soak for 1m before it releases the lock",
                "soaks goes on soaking as long as it began to",
                "waits would leave the queue until canary has proven 2",
            ]
        );
        open.insert(canary, BTreeSet::from(["X".to_owned()]));
        let lines = on_nodes(Some(&policy), &Policy::default(), &group, &open);
        assert_eq!(
            lines,
            [
                "drains (draining) would not soak",
                "soaks goes on soaking as long as it began to"
            ]
        );
        assert!(on_nodes(Some(&policy), &policy, &group, &open).is_empty());
    }
}
