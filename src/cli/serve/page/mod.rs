//! The page: what `status` and `history --cluster` show, as HTML that is complete without JavaScript. Pure.

mod group;
mod html;
mod nodes;
mod query;
mod waves;

use jiff::{Timestamp, tz::TimeZone};
use semaphore::acts::Act;

pub(super) use group::command;
pub(super) use query::Query;

use crate::cli::{
    history::{cluster, timeline::Timeline},
    status::{HolderStatus, Status},
    waves::gather::GroupShown,
};
use html::Html;

/// How many of the latest results are shown.
const RECENT: usize = 20;
/// How many of them are drawn.
const DRAWN: usize = 40;

/// What is shown, and when that was so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) status: &'a Status,
    /// What is to be said of the file with the places, where they are in one.
    pub(super) file_note: Option<&'a str>,
    /// Why it could not be read again since; what is shown may have changed.
    pub(super) away: Option<&'a str>,
    /// How far images have come in the groups that come after others, or before.
    pub(super) waves: &'a [GroupShown],
    /// What people did, the latest last.
    pub(super) acts: &'a [Act],
    /// When it was read.
    pub(super) read: Timestamp,
    pub(super) now: Timestamp,
    /// The zone in which times are shown.
    pub(super) zone: &'a TimeZone,
}

/// The page for this look, with the nodes that are asked for.
pub(super) fn page(look: Look<'_>, query: &Query) -> String {
    let mut html = Html::default();
    html.raw(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
    );
    html.text(title(look));
    html.raw(
        "</title>\n<link rel=\"stylesheet\" href=\"assets/page.css\">\n\
         <script src=\"assets/page.js\" defer></script>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#cluster\">To the status</a>\n\
         <header><h1>pointsman</h1><p id=\"live\" role=\"status\">Reload the page to see what has changed.</p></header>\n\
         <main>\n<div id=\"cluster\" data-part>\n",
    );
    cluster(&mut html, look);
    html.raw(
        "</div>\n<section aria-labelledby=\"nodes-title\">\n<h2 id=\"nodes-title\">Nodes</h2>\n",
    );
    nodes::form(&mut html, look.status, query);
    html.raw("<div id=\"nodes\" data-part>\n");
    nodes::table(&mut html, look, query);
    html.raw("</div>\n</section>\n<div id=\"recent\" data-part>\n");
    recent(&mut html, look);
    html.raw("</div>\n</main>\n</body>\n</html>\n");
    html.finish()
}

/// How many nodes are out, and how many wait; that something needs a person comes first.
fn title(look: Look<'_>) -> String {
    let holders = || look.status.groups.iter().flat_map(|group| &group.holders);
    let locked = holders().filter(|holder| holder.phase == "manual").count();
    let out = holders().count() - locked;
    let waiting: usize = look
        .status
        .groups
        .iter()
        .map(|group| group.queue.len())
        .sum();
    let mark = if troubles(look).is_empty() {
        ""
    } else {
        "(!) "
    };
    let locked = match locked {
        0 => String::new(),
        locked => format!(", {locked} locked by hand"),
    };
    format!("{mark}{out} out, {waiting} waiting{locked} - pointsman")
}

/// What needs a person: a sentence, and the command that shows more or ends it.
fn troubles(look: Look<'_>) -> Vec<(String, Option<String>)> {
    let status = look.status;
    let mut found = Vec::new();
    if let Some(error) = look.away {
        let said = format!(
            "Not live: what is shown may have changed since. {}",
            host::text::in_a_sentence(error)
        );
        found.push((said, None));
    }
    if let Some(stopped) = status
        .pause_all
        .as_ref()
        .and_then(|pause| pause.store.as_ref())
    {
        let said = format!(
            "All nodes are stopped until a person decides: {}",
            stopped.reason
        );
        found.push((said, Some("pointsman store".to_owned())));
    }
    for bad in &status.quarantine {
        let said = format!("{} is quarantined: {}", bad.what, bad.reason);
        found.push((said, None));
    }
    for group in &status.groups {
        let name = group::name(&group.group);
        if let Some(error) = &group.error {
            let said = format!("{name}: the semaphore document cannot be used: {error}");
            let repair = group::command(&group.group, "set-max N --rebuild");
            found.push((said, Some(repair)));
        }
        if let Some(error) = &group.policy_error {
            let said = format!("{name}: the policy cannot be used, which stops the group: {error}");
            found.push((said, Some(group::command(&group.group, "policy"))));
        }
        let overdue = |holder: &&HolderStatus| holder.overdue;
        for holder in group.holders.iter().filter(overdue) {
            let host = holder.hostname.as_ref().unwrap_or(&holder.id);
            let said =
                format!("{name}: {host} has not come back in time. It still holds the reboot lock");
            found.push((said, None));
        }
        for node in group.nodes.iter().filter(|node| node.state == "unproven") {
            let host = if node.hostname.is_empty() {
                &node.id
            } else {
                &node.hostname
            };
            let why = match node.waits_for.as_str() {
                "" => String::new(),
                why => format!(": {why}"),
            };
            let said = format!("{name}: {host} has not passed its checks{why}");
            found.push((said, None));
        }
    }
    found
}

/// The cluster as a whole, then each group.
fn cluster(html: &mut Html, look: Look<'_>) {
    let Look {
        status, now, zone, ..
    } = look;
    html.raw("<p class=\"quiet\">As of ")
        .time(Some(look.read), now, zone)
        .raw("</p>\n");
    if let Some(note) = look.file_note {
        html.raw("<p class=\"quiet\">").text(note).raw("</p>\n");
    }
    if look.away.is_some() {
        // The script looks for it.
        html.raw("<span hidden data-away></span>");
    }
    for (said, command) in troubles(look) {
        html.raw("<p class=\"bad\" role=\"alert\">").text(said);
        if let Some(command) = command {
            html.raw(" ").command(command);
        }
        html.raw("</p>\n");
    }
    if let Some(pause) = status
        .pause_all
        .as_ref()
        .filter(|pause| pause.store.is_none())
    {
        group::paused(
            html,
            look,
            "The whole cluster",
            pause,
            "pointsman resume --all",
        );
    }
    if let Some(out) = &status.member_out {
        html.raw("<p>Out of service with a member of etcd: ")
            .text(out)
            .raw("</p>\n");
    }
    for group in &status.groups {
        group::section(html, look, group);
    }
    if status.groups.is_empty() && look.away.is_none() {
        html.raw("<p>No group is used yet. To create the default one, where N nodes may be out of service at the same time: ");
        html.command("pointsman set-max N --group ''").raw("</p>\n");
    }
    waves::section(html, look);
    if !status.quarantine.is_empty() {
        html.raw("<section aria-labelledby=\"quarantine-title\">\n<h2 id=\"quarantine-title\">Quarantined images</h2>\n");
        html.table(
            "Quarantined images",
            &["What", "Found by", "Since", "Reason", "To clear it"],
        );
        for one in &status.quarantine {
            html.row().text(&one.what).cell().name(&one.hostname);
            html.cell().time(one.since, now, zone);
            html.cell().text(&one.reason).cell();
            let what = host::text::shell_word(&one.what.name());
            html.command(format!("pointsman quarantine clear {what}"))
                .end_row();
        }
        html.end_table().raw("</section>\n");
    }
}

/// What happened last, the latest first, and a picture of who was out when.
fn recent(html: &mut Html, look: Look<'_>) {
    let mut events = cluster::of_nodes(look.status);
    events.extend(cluster::of_acts(look.acts.to_vec()));
    if events.is_empty() {
        return;
    }
    events.sort_by_key(|event| std::cmp::Reverse(event.time));
    html.raw("<section aria-labelledby=\"recent-title\">\n<h2 id=\"recent-title\">What happened last</h2>\n");
    let drawn = &events[..events.len().min(DRAWN)];
    let timeline = Timeline::new(drawn, look.status, None, look.now);
    html.raw("<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Picture\" data-key=\"picture\">");
    html.drawn(&timeline.svg(look.zone, false)).raw("</div>\n");
    html.table(
        "What happened last",
        &["When", "Who", "Group", "Event", "From", "To", "Reason"],
    );
    let or_dash = |image: Option<&semaphore::records::ImageId>| {
        let known = image.filter(|image| !image.name().is_empty());
        known.map_or("-".to_owned(), ToString::to_string)
    };
    for event in events.iter().take(RECENT) {
        html.row().time(Some(event.time), look.now, look.zone);
        html.cell().name(&event.who).cell();
        html.text(
            event
                .group
                .as_deref()
                .map_or("(all)".to_owned(), crate::cli::names::group),
        );
        html.cell().text(&event.event);
        html.cell().text(or_dash(event.from.as_ref()));
        let to = or_dash(event.to.as_ref());
        html.cell().text(event.target.as_ref().unwrap_or(&to));
        html.cell().text(&event.reason).end_row();
    }
    html.end_table().raw("</section>\n");
}

#[cfg(test)]
mod tests;
