//! The status as people read it.

use std::time::Duration;

use host::{duration, text, time};
use jiff::{Timestamp, tz::TimeZone};
use semaphore::records::{ImageId, NodeRecord, Pause};

use super::Status;
use crate::cli::{
    names, output, policy,
    table::{cells, table, trimmed},
};

/// How many nodes of a queue are shown where not all of them are asked for: those whose turn is near.
const NEAR: usize = 20;

/// How much of a queue is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Its first nodes, and how many follow.
    Near,
    /// All of it.
    Whole,
}

/// The status as tables for people.
#[must_use]
pub fn render(status: &Status, queue: Queue, now: &Timestamp, zone: &TimeZone) -> String {
    let shown = match queue {
        Queue::Near => NEAR,
        Queue::Whole => usize::MAX,
    };
    let when =
        |since: Option<Timestamp>| since.map_or("-".into(), |since| time::ago(since, *now, zone));
    let mut out = String::new();
    if let Some(pause) = &status.pause_all {
        out += &format!(
            "THE WHOLE CLUSTER IS PAUSED {}\n\n",
            said(pause, &when, zone)
        );
        if let Some(found) = &pause.store {
            let accept = format!("store accept {}", output::word(&found.id));
            out += &format!(
                "ALL NODES ARE STOPPED until a person decides: {}\n\
                 To see what is known: pointsman store\n\
                 To continue with the present content of etcd: pointsman {accept}\n\n",
                output::in_line(&found.reason)
            );
        }
    }
    for group in &status.groups {
        let own = status.groups.len() > 1
            && status
                .node
                .as_ref()
                .is_some_and(|node| node.group == group.group);
        let own = if own { ", this node's" } else { "" };
        out += &format!("Group: {}{own}\n", names::group(&group.group));
        match (group.available, group.max) {
            (Some(available), Some(max)) => {
                out += &format!("Available: {available}\nMax: {max}");
                if let Some(percentage) = &group.percentage {
                    out += &format!(" ({percentage})");
                }
                out += "\n";
            }
            _ if group.error.is_some() => {
                out += "The semaphore document cannot be used, see below.\n"
            }
            _ => {
                out += "Not used yet: `set-max N` creates the reboot lock, or the first agent that waits, with max 1.\n"
            }
        }
        if !group.without_policy.is_empty() {
            out += &format!(
                "The policy does not hold for nodes whose agents do not know policies: {}\n",
                output::in_line(&text::few(&group.without_policy))
            );
        }
        if let Some(error) = &group.policy_error {
            out += &format!("POLICY cannot be used: {}\n", output::in_line(error));
        }
        out += &group.lost_line();
        if let Some(policy) = &group.policy {
            for line in policy::pace_lines(policy, group.members, group.max) {
                out += &format!("{line}\n");
            }
            out += &policy::windows_line(&policy.windows, &now.to_zoned(zone.clone()), zone);
        }
        if let Some(rollout) = &group.rollout {
            out += &format!("{}\n", output::in_line(&rollout.sentence()));
        }
        if let Some(pause) = &group.pause {
            out += &format!("PAUSED {}\n", said(pause, &when, zone));
        }
        if !group.holders.is_empty() {
            let mut table = table(&["HOLDER", "PHASE", "SINCE", "TO", "REASON", "ID"]);
            for holder in &group.holders {
                let mut phase = holder.phase.clone();
                if let Some(via) = &holder.via {
                    phase += &format!(" by {via}");
                }
                if holder.overdue {
                    phase += " OVERDUE";
                }
                let host = holder.hostname.as_ref().unwrap_or(&holder.id);
                table.add_row(cells(vec![
                    host.clone(),
                    phase,
                    when(holder.since),
                    if holder.to == ImageId::default() {
                        "-".into()
                    } else {
                        holder.to.to_string()
                    },
                    holder.reason.clone().unwrap_or_else(|| "-".into()),
                    holder.id.clone(),
                ]));
            }
            let rows = trimmed(&table);
            let mut rows = rows.lines();
            out += &format!("\n{}\n", rows.next().unwrap_or_default());
            for (row, holder) in rows.zip(&group.holders) {
                out += &format!("{row}\n");
                if holder.before_accept {
                    out += &format!(
                        "  older than `store accept`. If this node is in service: pointsman unlock {}\n",
                        output::word(&holder.id)
                    );
                }
                if let Some(until) = holder.soaks_until {
                    out += &format!(
                        "  soaks until {}{}\n",
                        time::shown(until, zone),
                        left(until, *now, holder.deadline)
                    );
                }
                if let Some(passed_over) = group.passed_over_line(holder) {
                    out += &format!("  {}\n", output::in_line(&passed_over));
                }
                let record = group.nodes.iter().find(|node| node.id == holder.id);
                if let Some(said) = record.and_then(|record| says(record, &when)) {
                    out += &format!("  {said}\n");
                }
            }
        }
        out += &group.lost_table(&when);
        if !group.queue.is_empty() {
            let mut table = table(&["QUEUE", "NODE", "SINCE", "TO", "ID"]);
            for (place, ticket) in group.queue.iter().enumerate().take(shown) {
                let host = match ticket.hostname.as_str() {
                    "" => &ticket.id,
                    host => host,
                };
                table.add_row(cells(vec![
                    (place + 1).to_string(),
                    host.to_owned(),
                    when(ticket.since),
                    if ticket.to == ImageId::default() {
                        "-".into()
                    } else {
                        ticket.to.to_string()
                    },
                    ticket.id.clone(),
                ]));
            }
            out += &format!("\n{}\n", trimmed(&table));
            if let more @ 1.. = group.queue.len().saturating_sub(shown) {
                out += &format!("{more} more in the queue. To see them: pointsman status --all\n");
            }
        }
        out.push('\n');
    }
    if let Some(member) = &status.member_out {
        let who = output::in_line(&member.to_string());
        out += &format!("Out of service with a member of etcd: {who}\n");
        if status.member_before_accept {
            out += &format!(
                "  older than `store accept`. If this node is in service: pointsman unlock {}\n",
                output::word(&member.id)
            );
        }
        out.push('\n');
    }
    if !status.quarantine.is_empty() {
        let mut table = table(&["QUARANTINED", "FOUND BY", "SINCE", "REASON"]);
        for one in &status.quarantine {
            table.add_row(cells(vec![
                one.what.to_string(),
                one.hostname.clone(),
                when(one.since),
                one.reason.clone(),
            ]));
        }
        out += &format!("{}\n\n", trimmed(&table));
    }
    match &status.node {
        None => {
            out += &match &status.node_error {
                None => match &status.unit_failed {
                    None => "This node: no agent runs".to_owned(),
                    Some(why) => format!("This node: no agent runs: {}", output::in_line(why)),
                },
                Some(why) => format!(
                    "This node: it is not known whether an agent runs: {}",
                    output::in_line(why)
                ),
            };
            if let Some(other) = &status.coordinator {
                out += &format!(
                    ". Its reboots are coordinated by {}",
                    output::in_line(other)
                );
            }
            out.push('\n');
        }
        Some(node) => {
            let since: Option<Timestamp> = node.since.parse().ok();
            out += &format!(
                "This node: {} is {} since {}\n",
                names::named(&node.hostname, &node.id),
                output::in_line(&node.state),
                when(since)
            );
            let mut line = |name: &str, text: &str| {
                if !text.is_empty() {
                    out += &format!("  {name}: {}\n", output::in_line(text));
                }
            };
            line("waits for", &node.waits_for);
            line("requested", &node.request);
            line("update", &node.update);
            line("to", node.to.as_deref().unwrap_or_default());
            line("member of etcd", &node.member);
            line("strategy", &node.strategy);
            if let Some(server) = &node.fleet_lock {
                line("FleetLock server", &server.url);
                line(
                    "known there as",
                    &format!("{} in group {}", server.id, server.group),
                );
                // A refusal is not said twice.
                if !node.waits_for.contains(&server.url) {
                    line("last call", &server.last_call);
                }
                line(
                    "reboot lock",
                    if node.holding { "held" } else { "not held" },
                );
            }
            // The same error is not said twice.
            if !node.waits_for.contains(&node.etcd_error) {
                line("etcd", &node.etcd_error);
            }
            line("configuration", &node.config_error);
            line("failed before", &node.failed_before.join("; "));
            for warning in &node.warnings {
                line("warning", warning);
            }
            if let Some(group) = &status.configured_group {
                let name = |group: &str| match group {
                    "" => "the default group".to_owned(),
                    group => group.to_owned(),
                };
                line(
                    "group",
                    &format!(
                        "the configuration says {}, but the agent uses {}. To use the new one: systemctl reload pointsman",
                        name(group),
                        name(&node.group)
                    ),
                );
            }
        }
    }
    if let Some(outcome) = &status.cloud_config {
        out += &format!("{outcome}\n");
    }
    out
}

/// How long it is until then, by the clock of another node, in brackets; nothing where that has passed. `most` is how long it can
/// be, in seconds.
fn left(until: Timestamp, now: Timestamp, most: Option<u64>) -> String {
    match u64::try_from(until.duration_since(now).as_secs()) {
        Ok(left) if most.is_some_and(|most| left > most) => {
            " (by the clock of that node, which is ahead of this one's)".into()
        }
        Ok(left) if left > 0 => {
            let left = duration::print(Duration::from_secs(left));
            format!(" ({left} left)")
        }
        _ => String::new(),
    }
}

/// What a holder's own agent last said of itself, on one line; none where it has said nothing.
fn says(record: &NodeRecord, when: &impl Fn(Option<Timestamp>) -> String) -> Option<String> {
    if record.state.is_empty() {
        return None;
    }
    let reason = match record.waits_for.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    let host = match record.hostname.as_str() {
        "" => &record.id,
        host => host,
    };
    Some(output::in_line(&format!(
        "{host} says: {}{reason}, since {}",
        record.state,
        when(record.since)
    )))
}

fn said(pause: &Pause, when: &impl Fn(Option<Timestamp>) -> String, zone: &TimeZone) -> String {
    let until = pause.until.map_or(String::new(), |until| {
        format!(", until {}", time::shown(until, zone))
    });
    format!(
        "by {} since {}{until}: {}",
        output::in_line(pause.author()),
        when(pause.since),
        output::in_line(&pause.reason)
    )
}
