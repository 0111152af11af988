//! `status --check`: one answer for a monitoring system, by the exit codes and the first line that Nagios' plugins have
//! (Monitoring Plugins Development Guidelines, "Plugin Output" and "Plugin Return Codes").

use std::time::Duration;

use host::{duration, node, text, time};
use jiff::{Timestamp, tz::TimeZone};
use semaphore::records::{NodeRecord, Ticket};
use serde::Serialize;
use windows::{State, Windows};

use super::{GroupStatus, HolderStatus, Status};
use crate::cli::names;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Somebody should look at it in working hours.
    Warning,
    /// Somebody has to act: without a person it stays as it is.
    Critical,
}

/// What a finding is about, one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// etcd cannot be asked.
    Etcd,
    /// The FleetLock server cannot be asked, or answers as none does.
    FleetLock,
    /// Agents stopped because etcd was restored or exchanged.
    Store,
    /// The configuration, the semaphore document or the policy cannot be used, or the agent's unit has failed.
    Configuration,
    /// A holder has not come back by its deadline, or was passed over.
    Overdue,
    /// An image or version is quarantined.
    Quarantined,
    /// A boot is not proven.
    Unproven,
    /// The queue does not move although it could.
    Queue,
    /// A certificate expires soon.
    Certificate,
    /// This node's agent warns.
    Node,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// How bad it is.
    pub(super) level: Level,
    /// What it is about.
    pub(super) kind: Kind,
    /// What was found, a sentence.
    pub(super) text: String,
}

impl Finding {
    /// A finding for which somebody has to act.
    pub(super) fn critical(kind: Kind, text: impl Into<String>) -> Self {
        let (level, text) = (Level::Critical, text.into());
        Self { level, kind, text }
    }

    /// A finding that somebody should look at.
    pub(super) fn warning(kind: Kind, text: impl Into<String>) -> Self {
        let (level, text) = (Level::Warning, text.into());
        Self { level, kind, text }
    }
}

/// What is critical first, else in their order.
pub(super) fn sort(findings: &mut [Finding]) {
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
}

/// All that is not as it should be in what `status` shows. A queue counts as one that does not move from this age of its first
/// ticket.
#[must_use]
pub(super) fn findings(
    status: &Status,
    queue_age: Duration,
    now: Timestamp,
    zone: &TimeZone,
) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(error) = &status.etcd_error {
        found.push(Finding::critical(Kind::Etcd, text::in_a_sentence(error)));
    }
    if let Some(store) = status
        .pause_all
        .as_ref()
        .and_then(|pause| pause.store.as_ref())
    {
        let text = format!(
            "all nodes are stopped until a person decides (pointsman store): {}",
            store.reason
        );
        found.push(Finding::critical(Kind::Store, text));
    }
    // A node that asks a FleetLock server is in no group of etcd.
    let elsewhere = status
        .node
        .as_ref()
        .filter(|node| node.fleet_lock.is_some());
    for group in &status.groups {
        let elsewhere = elsewhere.is_some_and(|node| node.group == group.group);
        if !(elsewhere && group.is_unused()) {
            of_group(group, now, zone, &mut found);
        }
        // Of a cluster that a person has paused no queue moves.
        if status.pause_all.is_none() {
            found.extend(of_queue(group, queue_age, now, zone));
        }
    }
    for one in &status.quarantine {
        let by = if one.hostname.is_empty() {
            &one.node
        } else {
            &one.hostname
        };
        let text = format!("{} is quarantined by {by}: {}", one.what, one.reason);
        found.push(Finding::critical(Kind::Quarantined, text));
    }
    if let Some(why) = &status.unit_failed {
        found.push(Finding::critical(Kind::Configuration, why));
    }
    if status.only_node && status.node.is_none() {
        let text = match &status.node_error {
            Some(why) => format!("it is not known whether an agent runs on this node: {why}"),
            None => "no agent runs on this node".to_owned(),
        };
        found.push(Finding::critical(Kind::Node, text));
    }
    if let Some(node) = &status.node {
        if node.state == "starting" && status.only_node {
            let text = format!("the agent of this node: {}", node.waits_for);
            found.push(Finding::warning(Kind::Node, text));
        }
        if !node.config_error.is_empty() {
            let text = format!(
                "the configuration on disk is not in force: {}",
                node.config_error
            );
            found.push(Finding::critical(Kind::Configuration, text));
        }
        // Without etcd, what the agent of this node knows.
        if status.etcd_error.is_none() && !node.etcd_error.is_empty() {
            found.push(Finding::critical(
                Kind::Etcd,
                format!("the agent of this node: {}", node.etcd_error),
            ));
        }
        if let Some(server) = &node.fleet_lock
            && !server.error.is_empty()
        {
            let text = format!("the FleetLock server {} {}", server.url, server.error);
            found.push(Finding::critical(Kind::FleetLock, text));
        }
        if node.state == UNPROVEN
            && !status
                .groups
                .iter()
                .any(|group| group.nodes.iter().any(|it| it.id == node.id))
        {
            found.push(Finding::warning(
                Kind::Unproven,
                format!("the boot of this node is not proven: {}", node.waits_for),
            ));
        }
        found.extend(
            node.warnings
                .iter()
                .map(|text| Finding::warning(Kind::Node, text)),
        );
    }
    found
}

/// The state of an agent whose checks failed where it cannot roll back.
const UNPROVEN: &str = "unproven";

/// The state of an agent whose image failed its soak: only a person ends it, whatever becomes of the quarantine.
const SOAK_FAILED: &str = "soak-failed";

fn ago(since: Option<Timestamp>, now: Timestamp, zone: &TimeZone) -> String {
    since.map_or("an unknown time".into(), |since| {
        time::ago(since, now, zone)
    })
}

fn of_group(group: &GroupStatus, now: Timestamp, zone: &TimeZone, found: &mut Vec<Finding>) {
    let name = node::named_group(&group.group);
    let since = |since: Option<Timestamp>| ago(since, now, zone);
    if let Some(error) = &group.error {
        let text = format!("{name}: the semaphore document cannot be used: {error}");
        found.push(Finding::critical(Kind::Configuration, text));
    }
    if group.is_unused() {
        let text =
            format!("{name} is not used: it has no node and no lock; is this the right name?");
        found.push(Finding::warning(Kind::Configuration, text));
    }
    if let Some(error) = &group.policy_error {
        let text = format!("{name}: the policy cannot be used: {error}");
        found.push(Finding::critical(Kind::Configuration, text));
    }
    for holder in group.holders.iter().filter(|holder| holder.overdue) {
        let who = host(holder.hostname.as_deref().unwrap_or_default(), &holder.id);
        let text = format!(
            "{name}: {who} is overdue: {} since {}",
            holder.phase,
            since(holder.since)
        );
        found.push(Finding::critical(Kind::Overdue, text));
    }
    for lost in &group.lost {
        let who = host(&lost.node.hostname, &lost.id);
        let text = format!(
            "{name}: {who} did not come back and was passed over, {}",
            since(lost.node.since)
        );
        found.push(Finding::critical(Kind::Overdue, text));
    }
    let unproven = |node: &&NodeRecord| node.state == UNPROVEN;
    for node in group.nodes.iter().filter(unproven) {
        let who = host(&node.hostname, &node.id);
        let text = format!(
            "{name}: the boot of {who} is not proven: {}",
            node.waits_for
        );
        found.push(Finding::warning(Kind::Unproven, text));
    }
    let soak_failed = |node: &&NodeRecord| node.state == SOAK_FAILED;
    for node in group.nodes.iter().filter(soak_failed) {
        let who = host(&node.hostname, &node.id);
        let text = format!(
            "{name}: {who} keeps the reboot lock until a person decides: {}",
            node.waits_for
        );
        found.push(Finding::critical(Kind::Unproven, text));
    }
}

fn of_queue(
    group: &GroupStatus,
    queue_age: Duration,
    now: Timestamp,
    zone: &TimeZone,
) -> Option<Finding> {
    let (first, why) = stalled(group, queue_age, now, zone)?;
    let text = format!(
        "{}: the queue does not move: {} is the first since {}, {why}",
        node::named_group(&group.group),
        host(&first.hostname, &first.id),
        ago(first.since, now, zone)
    );
    Some(Finding::warning(Kind::Queue, text))
}

/// Whether it is released without a person.
fn ends_by_itself(holder: &HolderStatus) -> bool {
    !matches!(holder.phase.as_str(), "manual" | "foreign" | "leftover")
}

/// The first of a queue that does not move although nobody has stopped it, and why it could.
fn stalled<'a>(
    group: &'a GroupStatus,
    age: Duration,
    now: Timestamp,
    zone: &TimeZone,
) -> Option<(&'a Ticket, String)> {
    let first = group.queue.first()?;
    let waits = Duration::try_from(now.duration_since(first.since?)).ok()?;
    // A person has stopped it, or it is found above.
    let stopped = group.pause.is_some()
        || group.max == Some(0)
        || group.error.is_some()
        || group.policy_error.is_some();
    if waits < age || stopped || !is_open(group, first, now, zone) {
        return None;
    }
    let age = duration::print(age);
    if group.available? > 0 {
        return Some((
            first,
            format!("for more than {age}, although a place is free"),
        ));
    }
    let by_hand = group.holders.iter().all(|holder| !ends_by_itself(holder));
    by_hand.then(|| {
        (
            first,
            format!("for more than {age}, and nobody releases the lock but a person"),
        )
    })
}

/// Whether a reboot of the first may start now by the windows of the policy. By its own windows it may: it has a ticket.
fn is_open(group: &GroupStatus, first: &Ticket, now: Timestamp, zone: &TimeZone) -> bool {
    let specs = group
        .policy
        .as_ref()
        .map_or(&[][..], |policy| &policy.windows);
    let Ok(windows) = Windows::of(None, specs) else {
        return true;
    };
    let state = windows
        .on_node(&first.id)
        .state(&now.to_zoned(zone.clone()));
    specs.is_empty() || matches!(state, State::Open { .. })
}

fn host(hostname: &str, id: &str) -> String {
    names::named(hostname, id)
}

/// The findings as a monitoring system reads them: the worst on the first line.
#[must_use]
pub(super) fn render(findings: &[Finding], status: &Status) -> String {
    let word = |level| match level {
        Level::Warning => "WARNING",
        Level::Critical => "CRITICAL",
    };
    let Some((first, others)) = findings.split_first() else {
        return format!("OK - {}\n", summary(status));
    };
    let line = |text: &str| crate::cli::output::in_line(text);
    let mut out = format!("{} - {}", word(first.level), line(&first.text));
    match others.len() {
        0 => {}
        more => out += &format!(" (and {more} more)"),
    }
    out.push('\n');
    for finding in others {
        out += &format!("{} - {}\n", word(finding.level), line(&finding.text));
    }
    out
}

/// What there is where nothing is wrong.
fn summary(status: &Status) -> String {
    let count = |of: &dyn Fn(&GroupStatus) -> usize| status.groups.iter().map(of).sum::<usize>();
    let (nodes, out) = (
        count(&|group| group.nodes.len()),
        count(&|group| group.holders.len()),
    );
    let waiting = count(&|group| group.queue.len());
    let paused =
        status.pause_all.is_some() || status.groups.iter().any(|group| group.pause.is_some());
    let paused = if paused { ", paused" } else { "" };
    format!("nodes: {nodes}, out of service: {out}, in the queue: {waiting}{paused}")
}
