//! `status --nodes`: every node with what it last said of itself.

use jiff::{Timestamp, tz::TimeZone};
use semaphore::records::NodeRecord;

use super::Status;
use crate::cli::{
    names,
    table::{cells, table, trimmed},
};
use host::{node, time};

/// Which nodes are shown.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Filter {
    /// With --nodes: only nodes that run this version (or image, sha256:…); may be repeated
    #[arg(long, value_name = "VERSION", requires = "nodes")]
    version: Vec<String>,
    /// With --nodes: only nodes that do not run this version (or image); may be repeated
    #[arg(long, value_name = "VERSION", requires = "nodes")]
    not_version: Vec<String>,
    /// With --nodes: only nodes whose agent is in this state, (idle, waiting, queued, draining, committing, rebooting, proving, unproven, soaking, …); may be repeated
    #[arg(long, value_name = "STATE", requires = "nodes")]
    state: Vec<String>,
}

impl Filter {
    fn shows(&self, node: &NodeRecord) -> bool {
        let runs = |wanted: &String| {
            let (version, digest) = (node.runs.version.as_ref(), node.runs.digest.as_ref());
            version == Some(wanted) || digest == Some(wanted)
        };
        let asked_for = |wanted: &[String], is: &dyn Fn(&String) -> bool| {
            wanted.is_empty() || wanted.iter().any(is)
        };
        asked_for(&self.version, &runs)
            && !self.not_version.iter().any(runs)
            && asked_for(&self.state, &|state| *state == node.state)
    }

    /// The nodes of these groups that are asked for, by group and host name.
    #[must_use]
    pub(super) fn nodes<'a>(&self, status: &'a Status) -> Vec<&'a NodeRecord> {
        let all = status.groups.iter().flat_map(|group| &group.nodes);
        let mut nodes: Vec<&NodeRecord> = all.filter(|node| self.shows(node)).collect();
        nodes.sort_by_key(|node| (&node.group, &node.hostname, &node.id));
        nodes
    }
}

/// The nodes as a table for people; how many there are, and how many run which version.
#[must_use]
pub(super) fn render(
    nodes: &[&NodeRecord],
    status: &Status,
    now: &Timestamp,
    zone: &TimeZone,
) -> String {
    let all: usize = status.groups.iter().map(|group| group.nodes.len()).sum();
    if all == 0 {
        let groups: Vec<String> = status
            .groups
            .iter()
            .map(|group| node::named_group(&group.group))
            .collect();
        return format!(
            "No node is in {}. To see the others: status --nodes --all-groups\n",
            groups.join(", ")
        );
    }
    if nodes.is_empty() {
        return format!("No node is shown, of {all} that are known.\n");
    }
    let or_dash = |text: &str| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            text.to_owned()
        }
    };
    let mut shown = table(&[
        "HOST",
        "GROUP",
        "VERSION",
        "KERNEL",
        "STATE",
        "SINCE",
        "AGENT",
        "WAITS FOR",
        "ID",
    ]);
    for node in nodes {
        shown.add_row(cells(vec![
            or_dash(&node.hostname),
            names::group(&node.group),
            or_dash(&node.runs.name()),
            or_dash(node.kernel.as_deref().unwrap_or_default()),
            or_dash(&node.state),
            node.since
                .map_or("-".into(), |since| time::ago(since, *now, zone)),
            or_dash(&node.agent),
            or_dash(&node.waits_for),
            node.id.clone(),
        ]));
    }
    let mut versions: Vec<(String, usize)> = Vec::new();
    for node in nodes {
        let name = node.runs.to_string();
        match versions.iter_mut().find(|(version, _)| *version == name) {
            Some((_, count)) => *count += 1,
            None => versions.push((name, 1)),
        }
    }
    versions.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let versions: Vec<String> = versions
        .iter()
        .map(|(version, count)| format!("{count} run {version}"))
        .collect();
    format!(
        "{}\n\n{} of {all} nodes: {}\n",
        trimmed(&shown),
        nodes.len(),
        crate::cli::output::in_line(&versions.join(", "))
    )
}
