//! The metrics of the cluster: what `status --all-groups` shows.

use std::collections::BTreeMap;

use jiff::{Timestamp, tz::TimeZone};
use windows::{State, Windows};

use super::{Metric, Page};
use crate::cli::status::{GroupStatus, Status};

/// All of them.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "pointsman_cluster_etcd_up",
        labels: &[],
        help: "1 if etcd answers.",
    },
    Metric {
        name: "pointsman_cluster_paused",
        labels: &[],
        help: "1 if the whole cluster is paused.",
    },
    Metric {
        name: "pointsman_cluster_store_stopped",
        labels: &[],
        help: "1 if the agents have stopped because etcd was restored or exchanged.",
    },
    Metric {
        name: "pointsman_group_usable",
        labels: &["group"],
        help: "1 if the semaphore document and the policy of the group can be used.",
    },
    Metric {
        name: "pointsman_group_paused",
        labels: &["group"],
        help: "1 if the group is paused.",
    },
    Metric {
        name: "pointsman_group_window_open",
        labels: &["group"],
        help: "1 if the reboot windows of the group's policy are open, or it has none.",
    },
    Metric {
        name: "pointsman_group_max",
        labels: &["group"],
        help: "How many nodes may be out of service at the same time.",
    },
    Metric {
        name: "pointsman_group_available",
        labels: &["group"],
        help: "How many more nodes may go now; negative if max was lowered.",
    },
    Metric {
        name: "pointsman_group_holders",
        labels: &["group", "phase"],
        help: "How many nodes hold the reboot lock, by phase.",
    },
    Metric {
        name: "pointsman_group_overdue_holders",
        labels: &["group"],
        help: "How many holders have not come back by their deadline.",
    },
    Metric {
        name: "pointsman_group_lost_nodes",
        labels: &["group"],
        help: "How many nodes were passed over and are not back.",
    },
    Metric {
        name: "pointsman_group_queue_length",
        labels: &["group"],
        help: "How many nodes wait in the queue.",
    },
    Metric {
        name: "pointsman_group_queue_first_start_time_seconds",
        labels: &["group"],
        help: "Since when the first in the queue waits, in seconds since 1970; missing if nobody waits.",
    },
    Metric {
        name: "pointsman_group_nodes",
        labels: &["group", "state"],
        help: "How many nodes there are, by the state that they last reported.",
    },
    Metric {
        name: "pointsman_group_nodes_running",
        labels: &["group", "version"],
        help: "How many nodes run a version.",
    },
    Metric {
        name: "pointsman_group_rollout_nodes",
        labels: &["group", "to"],
        help: "How many nodes a roll-out concerns that is under way.",
    },
    Metric {
        name: "pointsman_group_rollout_done_nodes",
        labels: &["group", "to"],
        help: "How many of them run the image.",
    },
    Metric {
        name: "pointsman_holder_start_time_seconds",
        labels: &["group", "id", "host", "phase"],
        help: "Since when a node holds the reboot lock, in seconds since 1970.",
    },
    Metric {
        name: "pointsman_holder_overdue",
        labels: &["group", "id", "host"],
        help: "1 if a holder has not come back by its deadline.",
    },
    Metric {
        name: "pointsman_quarantine_start_time_seconds",
        labels: &["version", "image", "host"],
        help: "Since when an image or version is quarantined, in seconds since 1970; 0 if that is not known.",
    },
];

/// The page with them.
#[must_use]
pub fn text(status: &Status, now: Timestamp, zone: &TimeZone) -> String {
    let page = Page::new(METRICS);
    page.is(
        "pointsman_cluster_etcd_up",
        &[],
        status.etcd_error.is_none(),
    );
    if status.etcd_error.is_some() {
        return page.text();
    }
    let pause = status.pause_all.as_ref();
    page.is("pointsman_cluster_paused", &[], pause.is_some());
    page.is(
        "pointsman_cluster_store_stopped",
        &[],
        pause.is_some_and(|pause| pause.store.is_some()),
    );
    for group in &status.groups {
        of_group(&page, group, now, zone);
    }
    for bad in &status.quarantine {
        let known = |text: &Option<String>| text.clone().unwrap_or_default();
        let labels = [
            &*known(&bad.what.version),
            &known(&bad.what.digest),
            &bad.hostname,
        ];
        let since = bad.since.unwrap_or(Timestamp::UNIX_EPOCH);
        page.time(
            "pointsman_quarantine_start_time_seconds",
            &labels,
            Some(since),
        );
    }
    page.text()
}

fn of_group(page: &Page, group: &GroupStatus, now: Timestamp, zone: &TimeZone) {
    let name = group.group.as_str();
    page.is(
        "pointsman_group_usable",
        &[name],
        group.error.is_none() && group.policy_error.is_none(),
    );
    page.is("pointsman_group_paused", &[name], group.pause.is_some());
    page.is(
        "pointsman_group_window_open",
        &[name],
        is_open(group, now, zone),
    );
    if let Some(max) = group.max {
        page.set("pointsman_group_max", &[name], max.into());
    }
    if let Some(available) = group
        .available
        .and_then(|available| i32::try_from(available).ok())
    {
        page.set("pointsman_group_available", &[name], available.into());
    }
    let mut phases: BTreeMap<&str, usize> =
        ["draining", "rebooting", "proving", "soaking", "manual"]
            .map(|phase| (phase, 0))
            .into();
    for holder in &group.holders {
        *phases.entry(&holder.phase).or_default() += 1;
        let host = holder.hostname.as_deref().unwrap_or_default();
        page.time(
            "pointsman_holder_start_time_seconds",
            &[name, &holder.id, host, &holder.phase],
            holder.since,
        );
        page.is(
            "pointsman_holder_overdue",
            &[name, &holder.id, host],
            holder.overdue,
        );
    }
    for (phase, count) in phases {
        page.count("pointsman_group_holders", &[name, phase], count);
    }
    let overdue = group.holders.iter().filter(|holder| holder.overdue).count();
    page.count("pointsman_group_overdue_holders", &[name], overdue);
    page.count("pointsman_group_lost_nodes", &[name], group.lost.len());
    page.count("pointsman_group_queue_length", &[name], group.queue.len());
    let first = group.queue.first().and_then(|ticket| ticket.since);
    page.time(
        "pointsman_group_queue_first_start_time_seconds",
        &[name],
        first,
    );
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    let mut versions: BTreeMap<String, usize> = BTreeMap::new();
    for node in &group.nodes {
        *states.entry(&node.state).or_default() += 1;
        *versions.entry(node.runs.name()).or_default() += 1;
    }
    for (state, count) in states {
        page.count("pointsman_group_nodes", &[name, state], count);
    }
    for (version, count) in versions {
        page.count("pointsman_group_nodes_running", &[name, &version], count);
    }
    if let Some(rollout) = &group.rollout {
        let to = rollout.to.name();
        page.count("pointsman_group_rollout_nodes", &[name, &to], rollout.nodes);
        page.count(
            "pointsman_group_rollout_done_nodes",
            &[name, &to],
            rollout.done,
        );
    }
}

/// Whether the windows of the policy are open: a random delay, which each node has for itself, is left out.
fn is_open(group: &GroupStatus, now: Timestamp, zone: &TimeZone) -> bool {
    let specs = group
        .policy
        .as_ref()
        .map_or(&[][..], |policy| &policy.windows);
    let windows = Windows::of(None, specs).unwrap_or_default();
    specs.is_empty()
        || matches!(
            windows.state(&now.to_zoned(zone.clone())),
            State::Open { .. }
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(status: &Status) -> String {
        text(
            status,
            "2026-11-30T12:00:00Z".parse().unwrap(),
            &TimeZone::UTC,
        )
    }

    fn group() -> GroupStatus {
        let node = |id: &str, version: &str, state: &str| {
            let record = serde_json::json!({"id": id, "version": version, "state": state});
            serde_json::from_value(record).unwrap()
        };
        let ticket = serde_json::json!({"id": "c", "since": "1970-01-01T00:16:40Z"});
        GroupStatus {
            group: "web".into(),
            max: Some(2),
            available: Some(-1),
            queue: vec![serde_json::from_value(ticket).unwrap()],
            nodes: vec![
                node("a", "1", "idle"),
                node("b", "2", "idle"),
                node("c", "1", "queued"),
            ],
            ..GroupStatus::default()
        }
    }

    #[test]
    fn a_group_is_told_with_its_nodes_and_its_queue() {
        let status = Status {
            groups: vec![group()],
            ..Status::default()
        };
        let text = text_of(&status);
        for line in [
            "pointsman_cluster_etcd_up 1",
            "pointsman_cluster_paused 0",
            "pointsman_group_max{group=\"web\"} 2",
            "pointsman_group_available{group=\"web\"} -1",
            "pointsman_group_usable{group=\"web\"} 1",
            "pointsman_group_window_open{group=\"web\"} 1",
            "pointsman_group_holders{group=\"web\",phase=\"draining\"} 0",
            "pointsman_group_queue_length{group=\"web\"} 1",
            "pointsman_group_queue_first_start_time_seconds{group=\"web\"} 1000",
            "pointsman_group_nodes{group=\"web\",state=\"idle\"} 2",
            "pointsman_group_nodes_running{group=\"web\",version=\"1\"} 2",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in {text}");
        }
    }

    #[test]
    fn nothing_is_told_of_a_cluster_that_cannot_be_asked() {
        let status = Status {
            etcd_error: Some("etcd is away".into()),
            groups: vec![group()],
            ..Status::default()
        };
        let text = text_of(&status);
        let values: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(values, ["pointsman_cluster_etcd_up 0"]);
    }
}
