use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::{State, Windows};

fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

fn at(text: &str) -> Zoned {
    text.parse::<Timestamp>().unwrap().to_zoned(berlin())
}

/// The window, and no other.
fn alone(window: Window) -> Windows {
    Windows::of(Some(window), &[]).unwrap()
}

/// Open until, or closed and opening at, in UTC.
fn state(start: &str, length: &str, now: &str) -> (bool, String) {
    let shown = |at: Option<Zoned>| at.map_or("-".into(), |at| at.timestamp().to_string());
    match alone(Window::parse(start, length).unwrap()).state(&at(now)) {
        State::Open { until, .. } => (true, shown(until)),
        State::Closed { opens } => (false, shown(opens)),
    }
}

#[test]
fn daily_and_weekly_windows_open_at_their_times() {
    // Berlin is one hour ahead of UTC in winter, two in summer; 2026-01-01 is a Thursday.
    for (start, length, now, open, then) in [
        (
            "04:00",
            "1h",
            "2026-01-01T03:00:00Z",
            true,
            "2026-01-01T04:00:00Z",
        ),
        (
            "04:00",
            "1h",
            "2026-01-01T02:59:59Z",
            false,
            "2026-01-01T03:00:00Z",
        ),
        (
            "04:00",
            "1h",
            "2026-01-01T03:59:59Z",
            true,
            "2026-01-01T04:00:00Z",
        ),
        (
            "04:00",
            "1h",
            "2026-01-01T04:00:00Z",
            false,
            "2026-01-02T03:00:00Z",
        ),
        // Over midnight.
        (
            "23:30",
            "1h",
            "2026-01-01T23:15:00Z",
            true,
            "2026-01-01T23:30:00Z",
        ),
        // A day's name, in any case, short or full; over the end of the week.
        (
            "thu 04:00",
            "1h",
            "2026-01-02T00:00:00Z",
            false,
            "2026-01-08T03:00:00Z",
        ),
        (
            "Sunday 23:00",
            "3h",
            "2026-01-05T00:30:00Z",
            true,
            "2026-01-05T01:00:00Z",
        ),
        // A week's window that lasts days.
        (
            "FRI 18:00",
            "60h",
            "2026-01-04T12:00:00Z",
            true,
            "2026-01-05T05:00:00Z",
        ),
        // The clocks go from 2:00 to 3:00 on 2026-03-29 (at 1:00 UTC): two hours stay two hours.
        (
            "01:00",
            "2h",
            "2026-03-29T01:30:00Z",
            true,
            "2026-03-29T02:00:00Z",
        ),
        // 2:30 does not come that night; it starts at 3:30.
        (
            "02:30",
            "1h",
            "2026-03-29T01:29:59Z",
            false,
            "2026-03-29T01:30:00Z",
        ),
        (
            "02:30",
            "1h",
            "2026-03-29T01:30:00Z",
            true,
            "2026-03-29T02:30:00Z",
        ),
        // And from 3:00 to 2:00 on 2026-10-25 (at 1:00 UTC): 2:30 comes twice, the first time counts.
        (
            "02:30",
            "1h",
            "2026-10-25T00:30:00Z",
            true,
            "2026-10-25T01:30:00Z",
        ),
        (
            "02:30",
            "1h",
            "2026-10-25T01:30:00Z",
            false,
            "2026-10-26T01:30:00Z",
        ),
    ] {
        assert_eq!(
            state(start, length, now),
            (open, then.into()),
            "{start} {length} at {now}"
        );
    }
}

#[test]
fn a_window_without_gaps_is_always_open() {
    for now in [
        "2026-01-01T02:59:59Z",
        "2026-01-01T03:00:00Z",
        "2026-03-29T01:30:00Z",
    ] {
        assert!(state("04:00", "24h", now).0, "{now}");
        assert!(state("Thu 04:00", "168h", now).0, "{now}");
    }
}

#[test]
fn invalid_window_is_named() {
    for (start, length, says) in [
        ("", "1h", "\"\", expected a time such as 04:00"),
        ("25:00", "1h", "25:00"),
        ("4", "1h", "Thu 04:00"),
        ("04:0", "1h", "04:0"),
        ("+4:00", "1h", "+4:00"),
        ("Foo 04:00", "1h", "Foo 04:00"),
        ("Thu Fri 04:00", "1h", "Thu Fri"),
        ("Thu", "1h", "Thu"),
        ("04:00", "", "found \"\", expected a duration"),
        ("04:00", "-1h", "-1h"),
        ("04:00", "0s", "found"),
        (
            "04:00",
            "25h",
            "found 25h, expected more than 0s and at most 24h",
        ),
        ("Thu 04:00", "169h", "at most 168h"),
    ] {
        let error = Window::parse(start, length).unwrap_err().to_string();
        let says = if says == "found" {
            "found 0s, expected more than 0s"
        } else {
            says
        };
        assert!(error.contains(says), "{start} {length}: {error}");
    }
    assert_eq!(
        Window::parse("THURSDAY 4:05", "90m").unwrap().to_string(),
        "Thu 04:05 for 1h30m"
    );
}

proptest! {
    #[test]
    fn window_is_open_exactly_within_its_length(
        day in prop::option::of(0usize..7),
        minute in 0i64..1440,
        length in 1i64..10080,
        // Two years of seconds from 2026 on.
        second in 1_767_225_600i64..1_830_297_600,
    ) {
        let length = if day.is_some() { length } else { 1 + length % 1440 };
        let start = format!(
            "{}{:02}:{:02}",
            day.map_or(String::new(), |day| format!("{} ", DAYS[day].0)),
            minute / 60,
            minute % 60
        );
        let window = Window::parse(&start, &format!("{length}m")).unwrap();
        let now = Timestamp::from_second(second).unwrap().to_zoned(berlin());
        let starts: Vec<Zoned> = (-9..=9).filter_map(|days| window.start_on(&now, days)).collect();
        let length = SignedDuration::from_mins(length);
        let end = |start: &Zoned| start + length;
        let open = starts.iter().any(|s| *s <= now && now < end(s));
        let windows = alone(window);
        match windows.state(&now) {
            State::Open { until, .. } => {
                // Windows that touch are one; then it may last for longer than is looked at here.
                let until = until.unwrap_or_else(|| end(starts.last().unwrap()));
                prop_assert!(open && until > now);
                let last = starts.iter().all(|s| end(s) <= until);
                prop_assert!(last || starts.iter().any(|s| end(s) == until));
            }
            State::Closed { opens } => {
                let opens = opens.unwrap();
                prop_assert!(!open && opens > now);
                prop_assert_eq!(starts.iter().find(|s| **s > now), Some(&opens));
                let is_open = matches!(windows.state(&opens), State::Open { .. });
                prop_assert!(is_open, "opens when it says");
            }
        }
    }
}
