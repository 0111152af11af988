//! What has changed between two looks, a line each. Pure.

use host::text;
use semaphore::records::ImageId;

use super::super::{GroupStatus, HolderStatus, Status};
use crate::cli::names;

/// What has changed, for people.
pub(super) fn changes(before: &Status, now: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    match (&before.etcd_error, &now.etcd_error) {
        (None, Some(why)) => lines.push(text::in_a_sentence(why)),
        (Some(_), None) => lines.push("etcd answers again".into()),
        _ => {}
    }
    // Nothing is known of the cluster then, and what is known again is compared with what was known.
    if before.etcd_error.is_some() || now.etcd_error.is_some() {
        return lines;
    }
    if before.pause_all != now.pause_all {
        lines.push(match &now.pause_all {
            Some(pause) => format!(
                "the whole cluster is paused by {}: {}",
                pause.author(),
                pause.reason
            ),
            None => "the whole cluster is not paused any more".into(),
        });
    }
    for bad in now
        .quarantine
        .iter()
        .filter(|bad| !before.quarantine.contains(bad))
    {
        lines.push(format!("{} is quarantined: {}", bad.what, bad.reason));
    }
    let still = |bad: &&semaphore::records::Quarantine| {
        now.quarantine.iter().any(|other| other.what == bad.what)
    };
    for bad in before.quarantine.iter().filter(|bad| !still(bad)) {
        lines.push(format!("{} is not quarantined any more", bad.what));
    }
    for group in &now.groups {
        let nothing = GroupStatus::default();
        let old = before.groups.iter().find(|old| old.group == group.group);
        of_group(old.unwrap_or(&nothing), group, &mut lines);
    }
    lines
}

fn of_group(before: &GroupStatus, now: &GroupStatus, lines: &mut Vec<String>) {
    let name = names::group(&now.group);
    let mut say = |what: String| lines.push(format!("{name}: {what}"));
    if before.max != now.max
        && let Some(max) = now.max
    {
        say(format!("max is {max}"));
    }
    match (&before.error, &now.error) {
        (old, Some(why)) if old.as_ref() != Some(why) => {
            say(format!("the semaphore document cannot be used: {why}"))
        }
        _ => {}
    }
    match (&before.policy_error, &now.policy_error) {
        (old, Some(why)) if old.as_ref() != Some(why) => {
            say(format!("the policy cannot be used: {why}"))
        }
        (_, None) if before.policy != now.policy => say(match now.policy {
            Some(_) => "the policy has changed".into(),
            None => "the policy is removed".into(),
        }),
        _ => {}
    }
    if before.pause != now.pause {
        say(match &now.pause {
            Some(pause) => format!("paused by {}: {}", pause.author(), pause.reason),
            None => "not paused any more".into(),
        });
    }
    let host = |holder: &HolderStatus| holder.hostname.clone().unwrap_or_else(|| holder.id.clone());
    for gone in before
        .holders
        .iter()
        .filter(|old| now.holders.iter().all(|holder| holder.id != old.id))
    {
        let last = now
            .nodes
            .iter()
            .find(|node| node.id == gone.id)
            .and_then(|node| node.last.as_ref());
        let how = last.filter(|last| last.ended > gone.since);
        let how = how.map_or(String::new(), |last| match last.reason.as_str() {
            "" => format!(": {}", last.outcome),
            why => format!(": {}: {why}", last.outcome),
        });
        say(format!("{} has released the lock{how}", host(gone)));
    }
    for holder in &now.holders {
        let old = before.holders.iter().find(|old| old.id == holder.id);
        if old.is_none_or(|old| old.phase != holder.phase) {
            let to = if holder.to == ImageId::default() {
                String::new()
            } else {
                format!(" (to {})", holder.to)
            };
            say(format!("{} is {}{to}", host(holder), holder.phase));
        }
        if holder.overdue && old.is_none_or(|old| !old.overdue) {
            say(format!("{} is overdue", host(holder)));
        }
    }
    for lost in now
        .lost
        .iter()
        .filter(|lost| before.lost.iter().all(|old| old.id != lost.id))
    {
        let host = if lost.node.hostname.is_empty() {
            &lost.id
        } else {
            &lost.node.hostname
        };
        say(format!("{host} did not come back, and was passed over"));
    }
    for (place, ticket) in now.queue.iter().enumerate() {
        if before.queue.iter().all(|old| old.id != ticket.id) {
            let host = if ticket.hostname.is_empty() {
                &ticket.id
            } else {
                &ticket.hostname
            };
            say(format!("{host} waits in the queue, place {}", place + 1));
        }
    }
    for node in now
        .nodes
        .iter()
        .filter(|node| matches!(node.state.as_str(), "unproven" | "soak-failed"))
    {
        let old = before.nodes.iter().find(|old| old.id == node.id);
        if old.is_none_or(|old| (&old.state, &old.waits_for) != (&node.state, &node.waits_for)) {
            let host = if node.hostname.is_empty() {
                &node.id
            } else {
                &node.hostname
            };
            say(format!("{host} is {}: {}", node.state, node.waits_for));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(group: &str) -> Status {
        let mut status = Status::default();
        status.groups.push(GroupStatus {
            max: Some(1),
            ..GroupStatus::default()
        });
        let fields: serde_json::Value = serde_json::from_str(group).unwrap();
        let group = &mut status.groups[0];
        if let Some(queue) = fields.get("queue") {
            group.queue = serde_json::from_value(queue.clone()).unwrap();
        }
        if let Some(nodes) = fields.get("nodes") {
            group.nodes = serde_json::from_value(nodes.clone()).unwrap();
        }
        if let Some(entry) = fields.get("holder") {
            group
                .holders
                .push(HolderStatus::from(semaphore::etcd::HolderState {
                    id: "a".into(),
                    entry: Some(serde_json::from_value(entry.clone()).unwrap()),
                    listed: true,
                    overdue: entry.get("late").is_some(),
                    before_accept: false,
                    grace: Err(semaphore::lost::Never::ByHand),
                    grace_lease: None,
                }));
        }
        status
    }

    #[test]
    fn each_step_of_a_reboot_is_a_line() {
        let holder = |phase: &str, more: &str| {
            status(&format!(
                r#"{{"holder": {{"id":"a","hostname":"web-1","phase":"{phase}","since":"2026-11-30T01:00:00Z",
                    "to":{{"version":"2"}}{more}}}}}"#
            ))
        };
        let steps = [
            status("{}"),
            status(r#"{"queue": [{"id":"a","hostname":"web-1"}]}"#),
            holder("draining", ""),
            holder("rebooting", ""),
            holder("rebooting", r#","late":1"#),
            status(
                r#"{"nodes": [{"id":"a","hostname":"web-1","state":"idle","last":{"outcome":"proven","ended":"2026-11-30T01:05:00Z"}}]}"#,
            ),
        ];
        let said: Vec<String> = steps
            .windows(2)
            .flat_map(|two| changes(&two[0], &two[1]))
            .collect();
        assert_eq!(
            said,
            [
                "(default): web-1 waits in the queue, place 1",
                "(default): web-1 is draining (to 2)",
                "(default): web-1 is rebooting (to 2)",
                "(default): web-1 is overdue",
                "(default): web-1 has released the lock: proven",
            ]
        );
        assert_eq!(changes(&steps[2], &steps[2]), [""; 0]);
    }

    #[test]
    fn nothing_is_said_of_a_cluster_that_cannot_be_asked() {
        let full = status(r#"{"queue": [{"id":"a","hostname":"web-1"}]}"#);
        let away = Status {
            etcd_error: Some("etcd is away".into()),
            ..Status::default()
        };
        assert_eq!(changes(&full, &away), ["etcd is away"]);
        assert_eq!(changes(&away, &full), ["etcd answers again"]);
    }
}
