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

/// As [`decide`] by a node's own windows alone, where others (those of its group's policy) must be open as well: whether the
/// usual time counts is decided by both together. Else a node whose own windows are long, and in which both are open only
/// for a short time, would never reboot.
#[must_use]
pub fn decide_own(own: &Windows, others: &Windows, usual: Option<Duration>, now: &Zoned) -> Start {
    let both = own.clone().and(others.clone());
    decide(own, usual.filter(|usual| counts(&both, *usual, now)), now)
}

/// Whether a window with room for a reboot that usually takes this long is open or to come.
fn counts(windows: &Windows, usual: Duration, now: &Zoned) -> bool {
    let enough = |until: &Zoned| {
        let left = until.timestamp().duration_since(now.timestamp());
        Duration::try_from(left).is_ok_and(|left| left >= usual)
    };
    match windows.state(now) {
        State::Open { until, .. } if until.as_ref().is_none_or(enough) => true,
        _ => long_enough(windows, usual, now).is_some(),
    }
}

/// How long windows are left unlooked at. They follow the wall clock, which may be set meanwhile; and while a machine sleeps
/// the monotonic clock stands still.
const LOOK: Duration = Duration::from_secs(60);

impl Start {
    /// The moment at which the answer becomes another one; none where it stays, or has no end that is known.
    #[must_use]
    pub fn changes(&self) -> Option<&Zoned> {
        match self {
            Self::Open { until } => until.as_ref(),
            Self::Closed { opens } => opens.as_ref(),
            Self::TooShort { opens, .. } => Some(opens),
        }
    }
}

/// How long to wait before it is looked whether that moment has come: at most a minute.
#[must_use]
pub fn look_in(moment: Option<&Zoned>, now: &Zoned) -> Duration {
    let left = moment.map(|at| at.timestamp().duration_since(now.timestamp()));
    left.map_or(LOOK, |left| left.try_into().unwrap_or_default())
        .min(LOOK)
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
    fn usual_duration_counts_by_both_lists_and_the_rest_by_the_own() {
        let long = [("02:00", "4h")];
        let open = |until: &str| Start::Open {
            until: Some(at(until)),
        };
        let short = |closes: &str, opens: &str| Start::TooShort {
            closes: at(closes),
            opens: at(opens),
        };
        let closed = |opens: &str| Start::Closed {
            opens: Some(at(opens)),
        };
        for (what, others, now, expected) in [
            (
                "no others",
                &[][..],
                "2026-12-02T05:00:00Z",
                short("2026-12-02T06:00:00Z", "2026-12-03T02:00:00Z"),
            ),
            // Both are open for an hour only, each night: a reboot of 90 minutes starts all the same.
            (
                "both short",
                &[("05:00", "4h")][..],
                "2026-12-02T05:00:00Z",
                open("2026-12-02T06:00:00Z"),
            ),
            (
                "both long",
                &[("03:00", "2h")],
                "2026-12-02T05:00:00Z",
                short("2026-12-02T06:00:00Z", "2026-12-03T02:00:00Z"),
            ),
            (
                "both long, and early",
                &[("03:00", "2h")],
                "2026-12-02T04:00:00Z",
                open("2026-12-02T04:30:00Z"),
            ),
            // Both long once a week: the short ones are passed over.
            (
                "both long on Saturdays",
                &[("05:00", "1h"), ("Sat 02:00", "4h")],
                "2026-12-02T05:00:00Z",
                short("2026-12-02T06:00:00Z", "2026-12-03T02:00:00Z"),
            ),
            // The last time that both are open.
            (
                "both once",
                &[("2026-12-02 02:00", "4h")],
                "2026-12-02T05:00:00Z",
                open("2026-12-02T06:00:00Z"),
            ),
            // What the others say of open and closed is not this one's.
            (
                "others closed",
                &[("12:00", "4h")],
                "2026-12-02T02:00:00Z",
                open("2026-12-02T06:00:00Z"),
            ),
            (
                "own closed",
                &[("12:00", "4h")],
                "2026-12-02T12:00:00Z",
                closed("2026-12-03T02:00:00Z"),
            ),
        ] {
            let usual = Some(Duration::from_secs(90 * 60));
            let found = decide_own(&windows(&long), &windows(others), usual, &at(now));
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn windows_are_looked_at_when_they_change_and_every_minute() {
        let now = at("2026-12-02T02:00:00Z");
        for (moment, seconds) in [
            (None, 60),
            (Some("2026-12-02T02:00:30Z"), 30),
            (Some("2026-12-03T02:00:00Z"), 60),
            (Some("2026-12-02T01:00:00Z"), 0),
        ] {
            let moment = moment.map(at);
            let found = look_in(moment.as_ref(), &now);
            assert_eq!(found, Duration::from_secs(seconds), "{moment:?}");
        }
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
