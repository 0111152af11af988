//! May a reboot start now, by the windows and by how long this node's reboots take? Pure.

use std::time::Duration;

use jiff::{SignedDuration, Zoned};

use crate::{Period, State, Windows};

/// How many windows ahead one is looked for that is long enough.
const AHEAD: usize = 400;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Now.
    Open {
        /// The last moment for it; none: for a year or more.
        until: Option<Zoned>,
    },
    /// Not now: no window is open.
    Closed {
        /// When to start; none: no window is to come.
        opens: Option<Zoned>,
    },
    /// Not now: too little is left of the window.
    TooShort {
        /// When the window closes.
        closes: Zoned,
        /// When one opens that is long enough.
        opens: Zoned,
    },
}

/// Decides whether a reboot may start now that usually takes this long; none: not known, or it is under way.
///
/// A window with less left than that is not used, and no window that is shorter, unless no window to come is long enough:
/// otherwise the node would never reboot.
#[must_use]
pub fn decide(windows: &Windows, usual: Option<Duration>, now: &Zoned) -> Start {
    let state = windows.state(now);
    let Some(usual) = usual else {
        return match state {
            State::Open { until, .. } => Start::Open { until },
            State::Closed { opens } => Start::Closed { opens },
        };
    };
    match state {
        State::Open { until: None, .. } => Start::Open { until: None },
        State::Open {
            until: Some(closes),
            ..
        } => {
            let usual_time = SignedDuration::try_from(usual).unwrap_or(SignedDuration::MAX);
            if let Ok(last) = closes.checked_sub(usual_time)
                && last >= *now
            {
                return Start::Open { until: Some(last) };
            }
            match long_enough(windows, usual, now) {
                Some(period) => Start::TooShort {
                    closes,
                    opens: period.start,
                },
                None => Start::Open {
                    until: Some(closes),
                },
            }
        }
        State::Closed { opens } => Start::Closed {
            opens: long_enough(windows, usual, now)
                .map(|period| period.start)
                .or(opens),
        },
    }
}

/// Whether reboots that usually take this long are longer than every window to come, and than the one that is open: then
/// their usual time does not count.
#[must_use]
pub fn outlasts_all(windows: &Windows, usual: Duration, now: &Zoned) -> bool {
    if let State::Open { since, until } = windows.state(now) {
        let (Some(since), Some(until)) = (since, until) else {
            return false;
        };
        let period = Period {
            start: since,
            end: Some(until),
        };
        if fits(&period, usual) {
            return false;
        }
    }
    long_enough(windows, usual, now).is_none()
}

fn long_enough(windows: &Windows, usual: Duration, now: &Zoned) -> Option<Period> {
    windows
        .periods(now)
        .take(AHEAD)
        .find(|period| fits(period, usual))
}

fn fits(period: &Period, usual: Duration) -> bool {
    period.length().is_none_or(|length| length >= usual)
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, tz::TimeZone};

    use super::*;
    use crate::WindowSpec;

    fn windows(list: &[(&str, &str)]) -> Windows {
        let spec = |(at, length): &(&str, &str)| WindowSpec {
            at: (*at).into(),
            length: (*length).into(),
            ..WindowSpec::default()
        };
        let specs: Vec<WindowSpec> = list.iter().map(spec).collect();
        Windows::of(None, &specs).unwrap()
    }

    fn at(text: &str) -> Zoned {
        text.parse::<Timestamp>().unwrap().to_zoned(TimeZone::UTC)
    }

    #[test]
    fn usual_duration_counts_against_what_is_left_of_the_window() {
        // Every night one hour; every Saturday four.
        let both = [("02:00", "1h"), ("Sat 02:00", "4h")];
        let nightly = [("02:00", "1h")];
        let open = |until: &str| Start::Open {
            until: Some(at(until)),
        };
        let closed = |opens: &str| Start::Closed {
            opens: Some(at(opens)),
        };
        let short = |closes: &str, opens: &str| Start::TooShort {
            closes: at(closes),
            opens: at(opens),
        };
        // 2026-12-02 is a Wednesday.
        for (list, minutes, now, expected) in [
            (
                &nightly[..],
                None,
                "2026-12-02T02:59:59Z",
                open("2026-12-02T03:00:00Z"),
            ),
            (
                &nightly[..],
                Some(20),
                "2026-12-02T02:40:00Z",
                open("2026-12-02T02:40:00Z"),
            ),
            (
                &nightly[..],
                Some(20),
                "2026-12-02T02:40:01Z",
                short("2026-12-02T03:00:00Z", "2026-12-03T02:00:00Z"),
            ),
            (
                &nightly[..],
                Some(60),
                "2026-12-02T02:00:00Z",
                open("2026-12-02T02:00:00Z"),
            ),
            // Longer than every window: it does not count.
            (
                &nightly[..],
                Some(61),
                "2026-12-02T02:59:59Z",
                open("2026-12-02T03:00:00Z"),
            ),
            (
                &nightly[..],
                Some(61),
                "2026-12-02T03:00:00Z",
                closed("2026-12-03T02:00:00Z"),
            ),
            // The windows between are passed over.
            (
                &both[..],
                Some(90),
                "2026-12-02T02:00:00Z",
                short("2026-12-02T03:00:00Z", "2026-12-05T02:00:00Z"),
            ),
            (
                &both[..],
                Some(90),
                "2026-12-02T12:00:00Z",
                closed("2026-12-05T02:00:00Z"),
            ),
            (
                &both[..],
                Some(90),
                "2026-12-05T04:30:00Z",
                open("2026-12-05T04:30:00Z"),
            ),
        ] {
            let usual = minutes.map(|minutes| Duration::from_secs(minutes * 60));
            assert_eq!(
                decide(&windows(list), usual, &at(now)),
                expected,
                "{usual:?} at {now}"
            );
        }
        // The last window there is.
        let last = windows(&[("2026-12-02 02:00", "1h")]);
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(
            decide(&last, hour, &at("2026-12-02T02:30:00Z")),
            open("2026-12-02T03:00:00Z")
        );
        assert_eq!(
            decide(&last, hour, &at("2026-12-02T03:30:00Z")),
            Start::Closed { opens: None }
        );
        assert_eq!(
            decide(&Windows::default(), hour, &at("2026-12-02T03:30:00Z")),
            Start::Open { until: None }
        );
    }

    #[test]
    fn what_outlasts_all_windows_is_known() {
        let both = windows(&[("02:00", "1h"), ("Sat 02:00", "4h")]);
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        for now in [
            "2026-12-02T02:30:00Z",
            "2026-12-02T12:00:00Z",
            "2026-12-05T03:00:00Z",
        ] {
            assert!(!outlasts_all(&both, hours(4), &at(now)), "{now}");
            assert!(outlasts_all(&both, hours(5), &at(now)), "{now}");
            assert!(!outlasts_all(&Windows::default(), hours(5), &at(now)));
        }
    }
}
