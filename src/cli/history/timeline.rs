//! The past of a cluster as a picture (SVG 1.1): a row for each node, a bar for each time that it was out of service, and a mark for
//! what people did and what was found. Pure.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::{Timestamp, tz::TimeZone};

use super::cluster::Event;
use crate::cli::status::{HolderStatus, Status};

/// What the picture shows.
pub(in crate::cli) struct Timeline {
    bars: Vec<Bar>,
    marks: Vec<Mark>,
    from: Timestamp,
    to: Timestamp,
}

/// A node was out of service.
#[derive(Debug, Clone, PartialEq)]
struct Bar {
    /// The node's id; rows are by it.
    id: String,
    host: String,
    from: Timestamp,
    to: Timestamp,
    /// How it ended, or how far it is: the class of the bar.
    what: String,
    title: String,
}

/// Something that concerns a group or the cluster.
#[derive(Debug, Clone, PartialEq)]
struct Mark {
    at: Timestamp,
    title: String,
    is_trouble: bool,
}

const WIDTH: f64 = 1000.0;
/// Where the names of the nodes end.
const LEFT: f64 = 180.0;
const ROW: f64 = 22.0;
/// The axis above the rows.
const TOP: f64 = 40.0;
/// So narrow that it can still be seen.
const NARROWEST: f64 = 2.0;

/// The colours where the picture stands alone; a page has its own.
const STYLE: &str = "\
svg{background:#fff;color:#222;font:12px sans-serif}text{fill:currentColor}.grid{stroke:currentColor;stroke-opacity:.15}\
.bar{fill:#4a78b5}.proven{fill:#3c8c4e}.bad{fill:#c0392b}.stepped-back{fill:#999}.soaking{fill:#8e6bbf}.mark{stroke:#b8860b;stroke-width:2}\
.mark.bad{stroke:#c0392b}@media(prefers-color-scheme:dark){svg{background:#1c1c1c;color:#ddd}}";

impl Timeline {
    /// The past from these events, and the present from the holders of the status. `from` is where the picture begins; without it, it
    /// begins with the first event.
    #[must_use]
    pub(in crate::cli) fn new(
        events: &[Event],
        status: &Status,
        from: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let mut bars: Vec<Bar> = events.iter().filter_map(Bar::of).collect();
        let holders = status.groups.iter().flat_map(|group| &group.holders);
        bars.extend(holders.filter_map(|holder| Bar::now(holder, now)));
        bars.retain(|bar| from.is_none_or(|from| bar.to >= from));
        bars.sort_by(|a, b| (a.from, &a.host).cmp(&(b.from, &b.host)));
        let marks: Vec<Mark> = events.iter().filter_map(Mark::of).collect();
        let first = bars
            .iter()
            .map(|bar| bar.from)
            .chain(marks.iter().map(|mark| mark.at))
            .min();
        // A clock that is ahead must not push all else out of the picture, nor one that is behind.
        let from = from.or(first).unwrap_or(now).min(now);
        Self {
            bars,
            marks,
            from,
            to: now,
        }
    }

    /// The picture. `alone`: with its colours, for a file of its own.
    #[must_use]
    pub(in crate::cli) fn svg(&self, zone: &TimeZone, alone: bool) -> String {
        let rows = self.rows();
        let height = TOP + ROW * f64::from(u32::try_from(rows.len()).unwrap_or(u32::MAX)) + 10.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"timeline-title\">\n\
             <title id=\"timeline-title\">Which nodes were out of service, {} to {}</title>\n",
            escaped(&host::time::shown(self.from, zone)),
            escaped(&host::time::shown(self.to, zone)),
        );
        if alone {
            let _ = writeln!(svg, "<style>{STYLE}</style>");
        }
        let (step, ticks) = self.ticks();
        let within_a_day = self.to.duration_since(self.from).as_secs() < 86400;
        let format = match step {
            ..60 => "%H:%M:%S",
            60..86400 if within_a_day => "%H:%M",
            60..86400 => "%m-%d %H:%M",
            _ => "%Y-%m-%d",
        };
        for at in ticks {
            let x = self.x(at);
            let label = at.to_zoned(zone.clone()).strftime(format).to_string();
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{:.0}\" x2=\"{x:.1}\" y2=\"{height:.0}\"/><text x=\"{x:.1}\" y=\"16\" text-anchor=\"middle\">{label}</text>",
                TOP - 16.0
            );
        }
        for (id, (row, host)) in &rows {
            let y = TOP + ROW * f64::from(*row);
            let _ = writeln!(
                svg,
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 15.0,
                escaped(&shortened(host))
            );
            for bar in self.bars.iter().filter(|bar| bar.id == **id) {
                let (from, to) = (self.x(bar.from), self.x(bar.to));
                let width = (to - from).max(NARROWEST);
                let _ = writeln!(
                    svg,
                    "<rect class=\"bar {}\" x=\"{from:.1}\" y=\"{:.0}\" width=\"{width:.1}\" height=\"{:.0}\"><title>{}</title></rect>",
                    bar.what,
                    y + 3.0,
                    ROW - 6.0,
                    escaped(&bar.title)
                );
            }
        }
        for mark in self
            .marks
            .iter()
            .filter(|mark| mark.at >= self.from && mark.at <= self.to)
        {
            let x = self.x(mark.at);
            let class = if mark.is_trouble { "mark bad" } else { "mark" };
            let _ = writeln!(
                svg,
                "<line class=\"{class}\" x1=\"{x:.1}\" y1=\"{:.0}\" x2=\"{x:.1}\" y2=\"{height:.0}\"><title>{}</title></line>",
                TOP - 12.0,
                escaped(&mark.title)
            );
        }
        svg += "</svg>\n";
        svg
    }

    /// The row of each node, and its host name, in the order in which they went first.
    fn rows(&self) -> BTreeMap<&str, (u32, &str)> {
        let mut rows = BTreeMap::new();
        let mut next = 0;
        for bar in &self.bars {
            rows.entry(bar.id.as_str()).or_insert_with(|| {
                next += 1;
                (next - 1, bar.host.as_str())
            });
        }
        rows
    }

    /// Where an instant is, within the picture.
    fn x(&self, at: Timestamp) -> f64 {
        let whole = self.to.duration_since(self.from).as_secs_f64().max(1.0);
        let part = at.duration_since(self.from).as_secs_f64() / whole;
        LEFT + (WIDTH - LEFT - 10.0) * part.clamp(0.0, 1.0)
    }

    /// The seconds between two labels, and the instants with one: nine or fewer.
    fn ticks(&self) -> (i64, Vec<Timestamp>) {
        const STEPS: [i64; 14] = [
            1,
            5,
            15,
            30,
            60,
            300,
            900,
            1800,
            3600,
            3 * 3600,
            6 * 3600,
            86400,
            7 * 86400,
            30 * 86400,
        ];
        let whole = self.to.duration_since(self.from).as_secs().max(1);
        let step = STEPS
            .into_iter()
            .find(|step| whole / step <= 8)
            .unwrap_or(365 * 86400);
        let first = self.from.as_second().div_euclid(step) * step + step;
        let ticks = (0..=8)
            .filter_map(|n| Timestamp::from_second(first + n * step).ok())
            .filter(|at| *at <= self.to)
            .collect();
        (step, ticks)
    }
}

impl Bar {
    /// The end of a reboot.
    fn of(event: &Event) -> Option<Self> {
        let (from, id) = (event.began?, event.id.clone()?);
        let what = match event.event.as_str() {
            "proven" => "proven".to_owned(),
            "stepped back" => "stepped-back".to_owned(),
            _ => "bad".to_owned(),
        };
        Some(Self {
            title: format!("{}: {}", event.who, event.sentence()),
            id,
            host: event.who.clone(),
            from,
            to: event.time,
            what,
        })
    }

    /// A node that is out of service now.
    fn now(holder: &HolderStatus, now: Timestamp) -> Option<Self> {
        let host = holder.hostname.clone().unwrap_or_else(|| holder.id.clone());
        let overdue = if holder.overdue { ", overdue" } else { "" };
        let what = match (holder.phase.as_str(), holder.overdue) {
            (_, true) => "bad",
            ("soaking", _) => "soaking",
            _ => "now",
        };
        Some(Self {
            title: format!("{host}: {} now{overdue}", holder.phase),
            id: holder.id.clone(),
            host,
            from: holder.since?,
            to: now,
            what: what.to_owned(),
        })
    }
}

impl Mark {
    /// What people did, what was quarantined, who is lost.
    fn of(event: &Event) -> Option<Self> {
        if event.began.is_some() || event.from.is_some() {
            return None;
        }
        Some(Self {
            at: event.time,
            title: format!("{}: {}", event.who, event.sentence()),
            is_trouble: matches!(event.event.as_str(), "quarantined" | "lost"),
        })
    }
}

fn shortened(host: &str) -> String {
    const MOST: usize = 24;
    match host.chars().count() {
        0..=MOST => host.to_owned(),
        _ => host.chars().take(MOST - 1).chain(['…']).collect(),
    }
}

/// A text within XML: names are text, never markup, and a character that XML does not have is shown as a replacement.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_780_000_000 + minute * 60).unwrap()
    }

    fn reboot(who: &str, began: i64, ended: i64, event: &str) -> Event {
        Event {
            time: at(ended),
            event: event.into(),
            group: Some(String::new()),
            who: who.into(),
            id: Some(format!("id-of-{who}")),
            began: Some(at(began)),
            from: Some(semaphore::records::ImageId::default()),
            to: None,
            target: None,
            reason: String::new(),
        }
    }

    fn act(minute: i64) -> Event {
        Event {
            began: None,
            from: None,
            id: None,
            target: Some("web".into()),
            ..reboot("ann@desk", 0, minute, "pause")
        }
    }

    fn drawn(events: &[Event], status: &Status) -> String {
        Timeline::new(events, status, None, at(100)).svg(&TimeZone::UTC, true)
    }

    #[test]
    fn bars_lie_where_their_times_are() {
        let svg = drawn(
            &[
                reboot("a", 0, 50, "proven"),
                reboot("b", 50, 100, "rolled back"),
                act(25),
            ],
            &Status::default(),
        );
        // 180 to 990 for 100 minutes.
        for part in [
            "<rect class=\"bar proven\" x=\"180.0\" y=\"43\" width=\"405.0\"",
            "<rect class=\"bar bad\" x=\"585.0\" y=\"65\" width=\"405.0\"",
            "<line class=\"mark\" x1=\"382.5\"",
            "<title>ann@desk: pause web</title>",
        ] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
        let read = roxmltree::Document::parse(&svg).unwrap();
        assert_eq!(read.root_element().tag_name().name(), "svg");
    }

    #[test]
    fn who_is_out_now_has_a_bar_up_to_now() {
        let holder: semaphore::records::Holder =
            serde_json::from_value(serde_json::json!({"id": "a", "hostname": "web-1", "phase": "soaking", "since": at(80)})).unwrap();
        let mut status = Status::default();
        let holder = HolderStatus {
            since: holder.since,
            ..HolderStatus::from(semaphore::etcd::HolderState {
                id: "a".into(),
                entry: Some(holder),
                listed: true,
                overdue: false,
                before_accept: false,
                grace: Err(semaphore::lost::Never::ByHand),
                grace_lease: None,
            })
        };
        status.groups.push(crate::cli::status::GroupStatus {
            holders: vec![holder],
            ..Default::default()
        });
        let svg = drawn(&[], &status);
        assert!(
            svg.contains("<rect class=\"bar soaking\" x=\"180.0\" y=\"43\" width=\"810.0\""),
            "{svg}"
        );
        assert!(svg.contains("<title>web-1: soaking now</title>"), "{svg}");
    }

    #[test]
    fn names_are_text_and_never_markup() {
        let svg = drawn(
            &[reboot(
                "</text><script>alert(1)</script>\u{1b}",
                0,
                50,
                "proven",
            )],
            &Status::default(),
        );
        assert!(
            !svg.contains("<script>") && !svg.contains('\u{1b}'),
            "{svg}"
        );
        let read = roxmltree::Document::parse(&svg).unwrap();
        assert!(
            read.descendants()
                .all(|node| node.tag_name().name() != "script")
        );
    }

    #[test]
    fn nothing_and_a_wrong_clock_are_still_pictures() {
        for events in [
            vec![],
            vec![reboot("a", 5000, 9000, "proven")],
            vec![reboot("a", 50, 10, "proven")],
        ] {
            let svg = drawn(&events, &Status::default());
            roxmltree::Document::parse(&svg).unwrap();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn a_picture_has_a_few_labels_whatever_its_length() {
        for minutes in [0, 1, 7, 60, 600, 10_000, 1_000_000] {
            let events = [reboot("a", 100 - minutes, 100, "proven")];
            let svg = Timeline::new(&events, &Status::default(), None, at(100))
                .svg(&TimeZone::UTC, false);
            let texts = svg.split("text-anchor=\"middle\">").skip(1);
            let texts: Vec<&str> = texts.filter_map(|text| text.split('<').next()).collect();
            let different: std::collections::BTreeSet<&str> = texts.iter().copied().collect();
            assert_eq!(different.len(), texts.len(), "{texts:?}");
            let labels = texts.len();
            assert!(
                labels <= 9 && (minutes < 1 || labels > 0),
                "{minutes}: {labels}"
            );
        }
    }
}
