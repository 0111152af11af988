//! One group on the page: its places, who is out and why, who is next.

use host::{duration, text::shell_word};
use semaphore::records::{ImageId, Pause};

use super::{Look, html::Html};
use crate::cli::{
    names, policy,
    status::{GroupStatus, HolderStatus, PassedOver},
};

/// The group as a heading has it.
pub(super) fn name(group: &str) -> String {
    match group {
        "" => "Default group".to_owned(),
        group => format!("Group {}", names::group(group)),
    }
}

/// A command in this group. The default one is named as well: the command may be typed on a node of another group.
pub(in crate::cli::serve) fn command(group: &str, words: &str) -> String {
    format!("pointsman {words} --group {}", shell_word(group))
}

/// That somebody paused this.
pub(super) fn paused(
    html: &mut Html,
    look: Look<'_>,
    what: &'static str,
    pause: &Pause,
    resume: &str,
) {
    html.raw("<p class=\"warn\">")
        .raw(what)
        .raw(" is paused by ")
        .text(pause.author());
    html.raw(" since ").time(pause.since, look.now, look.zone);
    if let Some(until) = pause.until {
        html.raw(", until ")
            .text(host::time::shown(until, look.zone));
    }
    html.raw(": ")
        .text(&pause.reason)
        .raw(" ")
        .command(resume)
        .raw("</p>\n");
}

/// The group.
pub(super) fn section(html: &mut Html, look: Look<'_>, group: &GroupStatus) {
    html.raw("<section aria-label=\"")
        .text(name(&group.group))
        .raw("\">\n<h2>");
    html.text(name(&group.group)).raw("</h2>\n");
    let taken = group
        .max
        .zip(group.available)
        .map(|(max, available)| (i64::from(max) - available, max));
    match taken {
        Some((taken, max)) => {
            html.raw("<p>").text(format!(
                "{taken} of {max} places taken, {} waiting",
                group.queue.len()
            ));
            if let Some(percentage) = &group.percentage {
                html.text(format!(" ({percentage})"));
            }
            if max == 0 {
                html.raw(" <span class=\"warn\">stopped: max is 0</span>");
            }
            html.raw("</p>\n");
        }
        None if group.error.is_none() => {
            html.raw("<p>Not used yet: ")
                .command(command(&group.group, "set-max N"));
            html.raw(" creates the reboot lock, or the first agent that waits.</p>\n");
        }
        None => {}
    }
    if let Some(progress) = &group.rollout {
        html.raw("<p><progress aria-label=\"Nodes that run the new image\" max=\"")
            .text(progress.nodes);
        html.raw("\" value=\"")
            .text(progress.done)
            .raw("\"></progress> ");
        html.text(progress.sentence()).raw("</p>\n");
    }
    if let Some(rules) = &group.policy {
        for line in policy::pace_lines(rules, group.members, group.max) {
            html.raw("<p class=\"quiet\">").text(line).raw("</p>\n");
        }
        let lines = policy::windows_line(
            &rules.windows,
            &look.now.to_zoned(look.zone.clone()),
            look.zone,
        );
        for line in lines.lines() {
            html.raw("<p class=\"quiet\">").text(line).raw("</p>\n");
        }
    }
    if let Some(pause) = &group.pause {
        paused(
            html,
            look,
            "The group",
            pause,
            &command(&group.group, "resume"),
        );
    }
    holders(html, look, group);
    queue(html, look, group);
    lost(html, look, group);
    html.raw("</section>\n");
}

fn image(image: &ImageId) -> String {
    match image.name().is_empty() {
        true => "-".to_owned(),
        false => image.to_string(),
    }
}

/// What the node's own agent last said; empty where it has said nothing.
fn says(group: &GroupStatus, id: &str) -> String {
    let record = group.nodes.iter().find(|node| node.id == id);
    record.map_or_else(String::new, |node| match node.waits_for.as_str() {
        "" => node.state.clone(),
        waits_for => format!("{}: {waits_for}", node.state),
    })
}

fn holders(html: &mut Html, look: Look<'_>, group: &GroupStatus) {
    if group.holders.is_empty() {
        return;
    }
    let title = format!("Out of service in {}", names::group(&group.group));
    html.raw("<h3>Out of service</h3>\n");
    html.table(
        title,
        &[
            "Node",
            "Phase",
            "Since",
            "To",
            "Why",
            "Its agent says",
            "To release the lock",
        ],
    );
    for holder in &group.holders {
        html.row()
            .name(holder.hostname.as_ref().unwrap_or(&holder.id));
        html.cell();
        phase(html, look, holder);
        html.cell().time(holder.since, look.now, look.zone);
        html.cell().text(image(&holder.to));
        html.cell().text(holder.reason.as_deref().unwrap_or("-"));
        html.cell().text(says(group, &holder.id)).cell();
        let words = format!(
            "unlock {}{}",
            shell_word(&holder.id),
            if is_forced(holder) { " --force" } else { "" }
        );
        match look.file_note {
            None => html.command(command(&group.group, &words)),
            Some(_) => html.text("remove it from the file"),
        };
        html.end_row();
    }
    html.end_table();
    if look.file_note.is_none() && group.holders.iter().any(is_forced) {
        html.raw(
            "<p class=\"quiet\">With --force another node may go while this one is still out of service.</p>\n",
        );
    }
}

/// Whether its lock is released only by force: it may be rebooting.
fn is_forced(holder: &HolderStatus) -> bool {
    matches!(holder.phase.as_str(), "rebooting" | "proving")
}

fn phase(html: &mut Html, look: Look<'_>, holder: &HolderStatus) {
    html.text(&holder.phase);
    if let Some(via) = &holder.via {
        html.text(format!(" by {via}"));
    }
    if let Some(until) = holder.soaks_until {
        html.raw(" until ")
            .text(host::time::shown(until, look.zone));
    }
    if holder.overdue {
        html.raw(" <span class=\"bad\">overdue</span>");
    }
    if holder.before_accept {
        html.raw(" <span class=\"warn\">older than store accept</span>");
    }
    match &holder.passed_over {
        Some(PassedOver::Never(why)) => drop(html.text(format!(" (never passed over: {why})"))),
        Some(PassedOver::InSeconds(Some(seconds))) if *seconds > 0 => {
            let left = duration::print(std::time::Duration::from_secs(*seconds));
            html.text(format!(" (passed over in {left})"));
        }
        _ => {}
    }
}

fn queue(html: &mut Html, look: Look<'_>, group: &GroupStatus) {
    if group.queue.is_empty() {
        return;
    }
    html.raw("<h3>Waiting, the next first</h3>\n");
    let title = format!("Waiting in {}", names::group(&group.group));
    html.table(
        title,
        &[
            "Place",
            "Node",
            "Since",
            "To",
            "Its agent says",
            "To remove it from the queue",
        ],
    );
    for (place, ticket) in group.queue.iter().enumerate() {
        let host = if ticket.hostname.is_empty() {
            &ticket.id
        } else {
            &ticket.hostname
        };
        html.row().text(place + 1).cell().name(host);
        html.cell().time(ticket.since, look.now, look.zone);
        html.cell().text(image(&ticket.to));
        html.cell().text(says(group, &ticket.id)).cell();
        let words = format!("unlock {} --ticket", shell_word(&ticket.id));
        html.command(command(&group.group, &words)).end_row();
    }
    html.end_table();
}

fn lost(html: &mut Html, look: Look<'_>, group: &GroupStatus) {
    if group.lost.is_empty() {
        return;
    }
    html.raw("<h3>Lost</h3>\n");
    let title = format!("Lost in {}", names::group(&group.group));
    html.table(title, &["Node", "Since", "To", "If it is gone for good"]);
    for lost in &group.lost {
        let host = if lost.node.hostname.is_empty() {
            &lost.id
        } else {
            &lost.node.hostname
        };
        html.row().name(host);
        html.raw(" <span class=\"bad\">lost</span>").cell().time(
            lost.node.since,
            look.now,
            look.zone,
        );
        html.cell().text(image(&lost.node.to)).cell();
        let words = format!("forget {}", shell_word(&lost.id));
        html.command(command(&group.group, &words)).end_row();
    }
    html.end_table();
}
