//! The nodes on the page, as far as they are asked for.

use std::collections::BTreeSet;

use semaphore::records::NodeRecord;

use super::{Look, Query, html::Html};
use crate::cli::{names, status::Status};

/// How many are shown, unless all are asked for.
const SHOWN: usize = 100;

fn all(status: &Status) -> impl Iterator<Item = &NodeRecord> {
    status.groups.iter().flat_map(|group| &group.nodes)
}

/// The form that asks for some of them: it works without JavaScript.
pub(super) fn form(html: &mut Html, status: &Status, query: &Query) {
    html.raw("<form id=\"filter\" method=\"get\" role=\"search\" aria-label=\"Filter the nodes\">\n<div><label for=\"q\">Host, id, version or group</label>");
    html.raw("<input id=\"q\" name=\"q\" type=\"search\" value=\"")
        .text(&query.text)
        .raw("\"></div>\n");
    let states: BTreeSet<&str> = all(status).map(|node| node.state.as_str()).collect();
    choice(html, "state", "State", states, &query.state);
    let versions: BTreeSet<&str> = all(status)
        .filter_map(|node| node.runs.version.as_deref())
        .collect();
    choice(html, "version", "Version", versions, &query.version);
    html.raw("<button type=\"submit\">Filter</button>\n</form>\n");
}

fn choice<'a>(
    html: &mut Html,
    name: &'static str,
    label: &'static str,
    mut values: BTreeSet<&'a str>,
    chosen: &'a str,
) {
    // One that no node has any more is still what was asked for.
    values.insert(chosen);
    html.raw("<div><label for=\"")
        .raw(name)
        .raw("\">")
        .raw(label)
        .raw("</label><select id=\"")
        .raw(name);
    html.raw("\" name=\"")
        .raw(name)
        .raw("\"><option value=\"\">any</option>");
    for value in values.into_iter().filter(|value| !value.is_empty()) {
        html.raw("<option");
        if value == chosen {
            html.raw(" selected");
        }
        html.raw(">").text(value).raw("</option>");
    }
    html.raw("</select></div>\n");
}

/// The nodes that are asked for, by group and host name.
pub(super) fn table(html: &mut Html, look: Look<'_>, query: &Query) {
    let known = all(look.status).count();
    let mut nodes: Vec<&NodeRecord> = all(look.status).filter(|node| query.wants(node)).collect();
    nodes.sort_by_key(|node| (&node.group, &node.hostname, &node.id));
    let shown = if query.all {
        nodes.len()
    } else {
        nodes.len().min(SHOWN)
    };
    html.raw("<p role=\"status\">").text(format!(
        "{shown} shown of {} that match; {known} nodes are known.",
        nodes.len()
    ));
    if shown < nodes.len() {
        html.raw(" <a data-key=\"all\" href=\"?")
            .text(query.with_all())
            .raw("\">Show all</a>");
    }
    html.raw("</p>\n");
    if nodes.is_empty() {
        return;
    }
    html.table(
        "Nodes",
        &[
            "Host",
            "Group",
            "Version",
            "Kernel",
            "State",
            "Since",
            "What it waits for",
            "Id",
        ],
    );
    for node in nodes.into_iter().take(shown) {
        let host = if node.hostname.is_empty() {
            &node.id
        } else {
            &node.hostname
        };
        html.row().name(host).cell().text(names::group(&node.group));
        html.cell().name(&node.runs.name());
        html.cell()
            .text(node.kernel.as_deref().unwrap_or("-"))
            .cell();
        // A node that waits for its turn is well.
        match node.state.as_str() {
            "unproven" => html
                .raw("<span class=\"bad\">")
                .text(&node.state)
                .raw("</span>"),
            state => html.text(state),
        };
        html.cell().time(node.since, look.now, look.zone);
        html.cell()
            .text(&node.waits_for)
            .cell()
            .text(&node.id)
            .end_row();
    }
    html.end_table();
}
