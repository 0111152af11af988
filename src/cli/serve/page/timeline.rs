//! A picture of who was out of service from when to when.

use jiff::Timestamp;

use super::{Look, html::Html};
use crate::cli::history::cluster::Event;

/// How many nodes the picture has at most: those that were out last.
const ROWS: usize = 30;
/// Its measures, in its own units.
const WIDTH: f64 = 720.0;
const LEFT: f64 = 160.0;
const ROW: f64 = 18.0;

/// Draws the last time out of each of the nodes, `events` having the latest first. Nothing where no node was out.
pub(super) fn draw(html: &mut Html, look: Look<'_>, events: &[Event]) {
    let outs = events
        .iter()
        .filter_map(|event| Some((event, event.began?)));
    let outs: Vec<(&Event, Timestamp)> = outs.take(ROWS).collect();
    let Some(first) = outs.iter().map(|(_, began)| *began).min() else {
        return;
    };
    let seconds = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64().max(0.0);
    let whole = seconds(first, look.now).max(1.0);
    let x = |at: Timestamp| LEFT + (WIDTH - LEFT) * (seconds(first, at) / whole).min(1.0);
    let rows = u32::try_from(outs.len()).unwrap_or_default();
    let height = ROW * (f64::from(rows) + 1.0);
    html.raw("<figure><svg role=\"img\" aria-label=\"Who was out of service from when to when; the table below has the same\" viewBox=\"0 0 ");
    html.number(WIDTH).raw(" ").number(height).raw("\">\n");
    html.raw("<text x=\"")
        .number(LEFT)
        .raw("\" y=\"12\">")
        .text(host::time::shown(first, look.zone));
    html.raw("</text><text x=\"")
        .number(WIDTH)
        .raw("\" y=\"12\" text-anchor=\"end\">now</text>\n");
    for (row, (event, began)) in outs.into_iter().enumerate() {
        let y = ROW * (f64::from(u32::try_from(row).unwrap_or_default()) + 1.0);
        html.raw("<text x=\"0\" y=\"")
            .number(y + 13.0)
            .raw("\">")
            .text(host::text::cut(&event.who, 24))
            .raw("</text>");
        html.raw("<line class=\"grid\" x1=\"")
            .number(LEFT)
            .raw("\" x2=\"")
            .number(WIDTH);
        html.raw("\" y1=\"")
            .number(y + 9.0)
            .raw("\" y2=\"")
            .number(y + 9.0)
            .raw("\"/>");
        let (from, to) = (x(began), x(event.time));
        html.raw("<rect class=\"").raw(if event.event == "proven" {
            "bar"
        } else {
            "fell"
        });
        html.raw("\" x=\"")
            .number(from)
            .raw("\" y=\"")
            .number(y + 4.0)
            .raw("\" height=\"10\" width=\"");
        html.number((to - from).max(2.0)).raw("\"><title>");
        html.text(format!(
            "{}: {}, out from {} to {}",
            event.who,
            event.event,
            host::time::shown(began, look.zone),
            host::time::shown(event.time, look.zone)
        ));
        html.raw("</title></rect>\n");
    }
    html.raw("</svg></figure>\n");
}
