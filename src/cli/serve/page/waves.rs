//! Waves on the page: how far each image has come in each group, who has not proven it, and why.

use std::time::Duration;

use host::duration;

use super::{Look, html::Html};
use crate::cli::{
    names,
    waves::{
        SHOWN,
        gather::{GroupShown, ImageShown},
    },
};

/// The section; nothing where no group comes after another one.
pub(super) fn section(html: &mut Html, look: Look<'_>) {
    let says_something = |group: &&GroupShown| opens(group) || !group.warnings.is_empty();
    let mut groups = look.waves.iter().filter(says_something).peekable();
    if groups.peek().is_none() {
        return;
    }
    html.raw("<section aria-labelledby=\"waves-title\">\n<h2 id=\"waves-title\">Waves</h2>\n");
    for group in groups {
        of_group(html, look, group);
    }
    html.raw("</section>\n");
}

/// Whether there is an image that this group may open to later ones.
fn opens(group: &GroupShown) -> bool {
    group.wave_soak_seconds.is_some() && !group.images.is_empty()
}

fn of_group(html: &mut Html, look: Look<'_>, group: &GroupShown) {
    html.raw("<h3>")
        .text(super::group::name(&group.group))
        .raw("</h3>\n");
    for warning in &group.warnings {
        html.raw("<p class=\"warn\">").text(warning).raw("</p>\n");
    }
    if !opens(group) {
        return;
    }
    let title = format!("Images in {}", names::group(&group.group));
    html.table(title, &["Image", "To later groups", "Since", "Proven by"]);
    for image in &group.images {
        html.row().text(&image.image).cell();
        html.text(opening(image)).cell();
        html.time(image.since, look.now, look.zone).cell();
        // Where all had proven it, some may have gone on to a newer one since.
        html.text(match image.wave {
            "shut" => format!("{} of {}", image.proven, group.members),
            _ if image.by.is_empty() => "all".to_owned(),
            _ => format!("{} of {}", image.proven, group.members),
        });
        html.end_row();
    }
    html.end_table();
    for image in group
        .images
        .iter()
        .filter(|image| !image.missing.is_empty())
    {
        missing(html, look, group, image);
    }
}

/// Whether the groups after this one may go to the image.
fn opening(image: &ImageShown) -> String {
    let opened = match (image.wave, image.soak_left_seconds) {
        (_, Some(left)) => {
            format!("open in {}", duration::print(Duration::from_secs(left)))
        }
        ("open", None) => match image.by.as_str() {
            "" => "open".to_owned(),
            by => format!("opened by {by}: {}", image.reason),
        },
        _ => "not open".to_owned(),
    };
    match &image.quarantined {
        None => opened,
        Some(reason) => format!("quarantined: {reason}"),
    }
}

fn missing(html: &mut Html, look: Look<'_>, group: &GroupShown, image: &ImageShown) {
    let of = names::group(&group.group);
    let title = format!("Nodes of {of} that have not proven {}", image.image);
    html.raw("<p>Nodes that have not proven ")
        .text(&image.image)
        .raw(":</p>\n");
    html.table(title, &["Node", "Why", "Since", "If it is gone for good"]);
    for node in image.missing.iter().take(SHOWN) {
        html.row().name(match node.hostname.as_str() {
            "" => &node.id,
            hostname => hostname,
        });
        html.cell().text(&node.why).cell();
        html.time(node.since, look.now, look.zone).cell();
        if let Some(command) = &node.command {
            html.command(command);
        }
        html.end_row();
    }
    html.end_table();
    if let Some(more) = image.missing.len().checked_sub(SHOWN).filter(|n| *n > 0) {
        let all = super::group::command(&group.group, "waves --all");
        html.raw("<p>")
            .text(format!("{more} more: "))
            .command(all)
            .raw("</p>\n");
    }
}
