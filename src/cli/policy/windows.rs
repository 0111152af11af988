//! The reboot windows of a group's policy: as flags, and as they are shown.

use std::time::Duration;

use host::{duration, time};
use jiff::{Zoned, tz::TimeZone};
use semaphore::records::Ticket;
use windows::{State, WindowSpec, Windows};

use crate::cli::{Exit, Failure, names, output};

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct WindowArgs {
    /// A reboot window, by a calendar time such as 'Sat,Sun 02:00' and its length by --for. Both may be given several times, in
    /// the same order: the windows from now on, in place of those before. In braces with all keys of the configuration's list:
    /// '{at: "Sat 02:00", for: 4h, except: [2026-12-26], random-delay: 10m}'. Reboots start only while this window and the
    /// node's own are open.
    #[arg(long, value_name = "CALENDAR", group = "field")]
    window: Vec<String>,
    /// The length of a --window, such as 4h
    #[arg(long = "for", id = "length", value_name = "DURATION", requires = "window", group = "field", value_parser = duration::parse)]
    length: Vec<Duration>,
    /// The time zone of all --window that name none, such as Europe/Berlin [default: UTC, because nodes may be in several zones]
    #[arg(long, value_name = "ZONE", requires = "window", group = "field")]
    zone: Option<String>,
}

impl WindowArgs {
    /// The windows that they name; none where they name none.
    ///
    /// # Errors
    /// Where one is not valid, or a length is missing or left over.
    pub(super) fn windows(&self) -> Result<Option<Vec<WindowSpec>>, Failure> {
        let in_braces = |window: &str| window.trim_start().starts_with('{');
        let plain = self.window.iter().filter(|window| !in_braces(window));
        let (plain, lengths) = (plain.count(), self.length.len());
        if plain != lengths {
            return Err(Failure::value(
                "--for",
                format!("{lengths} for {plain} of --window"),
                "one for each --window that is not in braces, in the same order",
            ));
        }
        let mut lengths = self.length.iter();
        let zone = self.zone.as_deref().unwrap_or("UTC");
        let read = |window: &String| {
            let spec = if in_braces(window) {
                settings::window_of_flag("--window", window)
                    .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?
            } else {
                WindowSpec {
                    at: window.clone(),
                    length: lengths
                        .next()
                        .copied()
                        .map_or_else(String::new, duration::print),
                    ..WindowSpec::default()
                }
            };
            let spec = spec.or_in_zone(zone);
            match spec.check() {
                Ok(()) => Ok(spec),
                Err(error) => {
                    let flag = match error.key {
                        "for" => "--for",
                        "zone" => "--zone",
                        _ => "--window",
                    };
                    let problem = format!("{flag}: {}", error.problem);
                    Err(Failure::new(Exit::Usage, problem))
                }
            }
        };
        let windows: Vec<WindowSpec> = self.window.iter().map(read).collect::<Result<_, _>>()?;
        Ok((!windows.is_empty()).then_some(windows))
    }

    /// The flags as they are given to the command.
    pub(super) fn words(&self) -> String {
        let windows = self.window.iter();
        let windows = windows.map(|window| format!(" --window {}", output::word(window)));
        let lengths = self.length.iter();
        let lengths = lengths.map(|length| format!(" --for {}", duration::print(*length)));
        let zone = self.zone.iter();
        let zone = zone.map(|zone| format!(" --zone {}", output::word(zone)));
        windows.chain(lengths).chain(zone).collect()
    }
}

/// What other reboot windows would mean, a line each: when they open, for whom, and who would leave the queue. Nothing where they
/// stay as they are. Pure.
pub(super) fn effects(
    before: &[WindowSpec],
    after: &[WindowSpec],
    queue: &[Ticket],
    now: &Zoned,
) -> Vec<String> {
    const OWN: &str = "The windows of each node's own configuration, which are not known here, hold beside them (on the node: pointsman \
                       windows).";
    if before == after {
        return Vec::new();
    }
    let Ok(windows) = Windows::of(None, after) else {
        return Vec::new();
    };
    if windows.is_empty() {
        let line = "Only the windows of each node's own configuration would count (on the node: pointsman windows).";
        return vec![line.into()];
    }
    let shown = |at: &Zoned| time::shown(at.timestamp(), now.time_zone());
    let next = windows.periods(now).next();
    let opens = next.map(|next| match &next.end {
        Some(end) => format!("from {} to {}", shown(&next.start), shown(end)),
        None => format!("from {}", shown(&next.start)),
    });
    let state = windows.state(now);
    let mut lines = vec![match (&state, opens) {
        (State::Open { until: None, .. }, _) => "Reboots might start at any time.".into(),
        (
            State::Open {
                until: Some(until), ..
            },
            None,
        ) => {
            format!("Reboots might start until {}, and not again.", shown(until))
        }
        (
            State::Open {
                until: Some(until), ..
            },
            Some(opens),
        ) => {
            format!(
                "Reboots might start until {}, and then {opens}.",
                shown(until)
            )
        }
        (State::Closed { .. }, Some(opens)) => format!("Reboots might start {opens}."),
        (State::Closed { .. }, None) => "No reboot might ever start: no window is to come.".into(),
    }];
    lines.push(OWN.into());
    if let State::Closed { .. } = state {
        let leaves = |ticket: &Ticket| {
            let name = names::named(&ticket.hostname, &ticket.id);
            format!("{name} would leave the queue until a window opens")
        };
        lines.extend(queue.iter().map(leaves));
    }
    lines
}

/// The windows of a policy and whether they are open, as a line; empty where it has none.
pub(in crate::cli) fn line(list: &[WindowSpec], now: &Zoned, zone: &TimeZone) -> String {
    let Ok(windows) = Windows::of(None, list) else {
        return String::new();
    };
    if windows.is_empty() {
        return String::new();
    }
    let shown = |at: Zoned| time::shown(at.timestamp(), zone);
    let state = match windows.state(now) {
        State::Open { until: None, .. } => "open".to_owned(),
        State::Open {
            until: Some(until), ..
        } => format!("open until {}", shown(until)),
        State::Closed { opens: None } => "closed, and none is to come".to_owned(),
        State::Closed { opens: Some(opens) } => format!("closed until {}", shown(opens)),
    };
    let list: Vec<String> = list.iter().map(ToString::to_string).collect();
    format!("Reboot windows: {} ({state})\n", list.join("; or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(at: &str) -> WindowSpec {
        WindowSpec {
            at: at.into(),
            length: "2h".into(),
            zone: Some("UTC".into()),
            ..WindowSpec::default()
        }
    }

    #[test]
    fn other_windows_are_told_by_their_next_opening() {
        let queue: [Ticket; 1] =
            [serde_json::from_str(r#"{"id":"a","hostname":"web-1"}"#).unwrap()];
        let now: Zoned = "2026-12-05T03:00[UTC]".parse().unwrap();
        let says = |list: &[WindowSpec]| effects(&[], list, &queue, &now);
        let first = |list: &[WindowSpec]| says(list)[0].clone();
        let saturday = [window("Sat 02:00")];
        assert_eq!(
            first(&saturday),
            "Reboots might start until 2026-12-05 04:00:00 UTC, and then from 2026-12-12 02:00:00 UTC to 2026-12-12 04:00:00 UTC."
        );
        assert_eq!(says(&saturday).len(), 2, "nobody leaves the queue");
        let sunday = says(&[window("Sun 02:00")]);
        assert_eq!(
            sunday,
            [
                "Reboots might start from 2026-12-06 02:00:00 UTC to 2026-12-06 04:00:00 UTC.",
                "The windows of each node's own configuration, which are not known here, hold beside them (on the node: pointsman \
                 windows).",
                "web-1 (a) would leave the queue until a window opens",
            ]
        );
        let past = window("2020-01-01 02:00");
        assert_eq!(
            first(&[past]),
            "No reboot might ever start: no window is to come."
        );
        let once = window("2026-12-05 02:00");
        assert_eq!(
            first(&[once]),
            "Reboots might start until 2026-12-05 04:00:00 UTC, and not again."
        );
        assert!(effects(&saturday, &saturday, &queue, &now).is_empty());
        let none = effects(&saturday, &[], &queue, &now);
        assert_eq!(
            none,
            [
                "Only the windows of each node's own configuration would count (on the node: pointsman windows)."
            ]
        );
    }
}
