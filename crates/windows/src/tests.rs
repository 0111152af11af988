use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

fn spec(at: &str, length: &str) -> WindowSpec {
    WindowSpec {
        at: at.into(),
        length: length.into(),
        zone: Some("Europe/Berlin".into()),
        ..WindowSpec::default()
    }
}

fn windows(specs: &[WindowSpec]) -> Windows {
    Windows::of(None, specs).unwrap()
}

fn utc(text: &str) -> Zoned {
    text.parse::<Timestamp>().unwrap().to_zoned(TimeZone::UTC)
}

/// The state in words, with times in the zones in which they are told.
fn told(windows: &Windows, now: &str) -> String {
    let shown = |at: Option<Zoned>| {
        at.map_or("-".to_owned(), |at| {
            at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
        })
    };
    match windows.state(&utc(now)) {
        State::Open { since, until } => format!("open {} to {}", shown(since), shown(until)),
        State::Closed { opens } => format!("closed until {}", shown(opens)),
    }
}

#[test]
fn a_window_is_open_from_its_start_until_just_before_its_end() {
    let weekend = windows(&[spec("Sat,Sun 02:00", "4h")]);
    let open = "open 2026-12-05T02:00:00+01:00 to 2026-12-05T06:00:00+01:00";
    for (now, says) in [
        (
            "2026-12-05T00:59:59Z",
            "closed until 2026-12-05T02:00:00+01:00",
        ),
        ("2026-12-05T01:00:00Z", open),
        ("2026-12-05T04:59:59.9Z", open),
        (
            "2026-12-05T05:00:00Z",
            "closed until 2026-12-06T02:00:00+01:00",
        ),
        (
            "2026-12-06T05:00:00Z",
            "closed until 2026-12-12T02:00:00+01:00",
        ),
    ] {
        assert_eq!(told(&weekend, now), says, "{now}");
    }
}

#[test]
fn lengths_are_real_time_across_a_change_of_the_clocks() {
    let nightly = windows(&[spec("01:00", "3h")]);
    assert_eq!(
        told(&nightly, "2026-03-29T00:30:00Z"),
        "open 2026-03-29T01:00:00+01:00 to 2026-03-29T05:00:00+02:00"
    );
    assert_eq!(
        told(&nightly, "2026-10-25T00:30:00Z"),
        "open 2026-10-25T01:00:00+02:00 to 2026-10-25T03:00:00+01:00"
    );
    // A start that does not exist is taken at the first instant after the gap.
    assert_eq!(
        told(&windows(&[spec("02:30", "1h")]), "2026-03-29T01:59:59Z"),
        "open 2026-03-29T03:00:00+02:00 to 2026-03-29T04:00:00+02:00"
    );
}

#[test]
fn windows_that_touch_or_overlap_are_one() {
    let pair = Window::parse("Sat 00:00", "2h").unwrap();
    let other = WindowSpec {
        zone: Some("UTC".into()),
        ..spec("Sat *-*-* 02:00", "2h")
    };
    let longer = WindowSpec {
        zone: None,
        ..spec("Sat 03:00", "6h")
    };
    let all = Windows::of(Some(pair), &[other, longer]).unwrap();
    for now in ["2026-12-05T00:00:00Z", "2026-12-05T08:59:59Z"] {
        assert_eq!(
            told(&all, now),
            "open 2026-12-05T00:00:00+00:00 to 2026-12-05T09:00:00+00:00"
        );
    }
    assert_eq!(
        told(&all, "2026-12-05T09:00:00Z"),
        "closed until 2026-12-12T00:00:00+00:00"
    );
    assert_eq!(
        told(&windows(&[spec("00:00", "25h")]), "2026-12-05T09:30:00Z"),
        "open - to -"
    );
}

#[test]
fn without_windows_reboots_may_always_start() {
    let none = windows(&[]);
    assert!(none.is_empty());
    assert_eq!(told(&none, "2026-12-05T09:30:00Z"), "open - to -");
    assert_eq!(none.periods(&utc("2026-12-05T09:30:00Z")).count(), 0);
}

#[test]
fn exceptions_close_whole_days_in_the_zone_of_the_window() {
    let mut nightly = spec("22:00", "4h");
    nightly.except = vec!["2026-12-24..2026-12-26".into(), "2026-12-29".into()];
    let nightly = windows(&[nightly]);
    // What begins the day before ends at midnight; what begins on the last day does not come.
    assert_eq!(
        told(&nightly, "2026-12-23T22:30:00Z"),
        "open 2026-12-23T22:00:00+01:00 to 2026-12-24T00:00:00+01:00"
    );
    assert_eq!(
        told(&nightly, "2026-12-23T23:00:00Z"),
        "closed until 2026-12-27T22:00:00+01:00"
    );
    let starts: Vec<String> = nightly
        .periods(&utc("2026-12-22T12:00:00Z"))
        .take(5)
        .map(|period| period.start.date().to_string())
        .collect();
    assert_eq!(
        starts,
        [
            "2026-12-22",
            "2026-12-23",
            "2026-12-27",
            "2026-12-28",
            "2026-12-30"
        ]
    );
}

#[test]
fn a_random_delay_is_the_nodes_own_and_keeps_the_end() {
    let mut delayed = spec("Sat 02:00", "4h");
    delayed.random_delay = Some("30m".into());
    let windows = windows(&[delayed]);
    let first = |node: &str, from: &str| {
        let windows = windows.clone().on_node(node);
        let period = windows.periods(&utc(from)).next().unwrap();
        (period.start.timestamp(), period.end.unwrap().timestamp())
    };
    let nominal = utc("2026-12-05T01:00:00Z").timestamp();
    let mut starts = std::collections::BTreeSet::new();
    for node in 0..50 {
        let (start, end) = first(&format!("node-{node}"), "2026-12-01T00:00:00Z");
        let delay = start.duration_since(nominal).as_secs();
        assert!((0..=1800).contains(&delay), "{delay}");
        assert_eq!(end, utc("2026-12-05T05:00:00Z").timestamp());
        starts.insert(delay / 300);
    }
    // All of half an hour is used.
    assert_eq!(
        starts.iter().filter(|part| **part < 6).count(),
        6,
        "{starts:?}"
    );
    let (this, next) = (
        first("a", "2026-12-01T00:00:00Z"),
        first("a", "2026-12-06T00:00:00Z"),
    );
    assert_eq!(this, first("a", "2026-12-02T00:00:00Z"), "asked again");
    assert_ne!(
        next.0.duration_since(this.0).as_secs(),
        7 * 24 * 3600,
        "every time another"
    );
}

#[test]
fn with_two_lists_both_must_be_open() {
    let nightly = windows(&[spec("02:00", "3h")]);
    let weekend = windows(&[spec("Sat 00:00", "48h")]);
    let both = nightly.clone().and(weekend).and(windows(&[]));
    for (now, says) in [
        (
            "2026-12-04T01:30:00Z",
            "closed until 2026-12-05T02:00:00+01:00",
        ),
        (
            "2026-12-04T23:30:00Z",
            "closed until 2026-12-05T02:00:00+01:00",
        ),
        (
            "2026-12-05T01:30:00Z",
            "open 2026-12-05T02:00:00+01:00 to 2026-12-05T05:00:00+01:00",
        ),
        (
            "2026-12-06T04:00:00Z",
            "closed until 2026-12-12T02:00:00+01:00",
        ),
    ] {
        assert_eq!(told(&both, now), says, "{now}");
    }
    // These never meet.
    let never = nightly.and(windows(&[spec("06:00", "1h")]));
    assert_eq!(told(&never, "2026-12-04T01:30:00Z"), "closed until -");
    let past = windows(&[spec("2020-01-01", "1h")]);
    assert_eq!(told(&past, "2026-12-04T01:30:00Z"), "closed until -");
}

#[test]
fn a_list_is_the_same_in_json() {
    let text = r#"[{"at":"Sat,Sun 02:00","for":"4h","zone":"Europe/Berlin","except":["2026-12-24..2027-01-02"],"random-delay":"30m"},{"at":"Thu 04:00","for":"2h"}]"#;
    let list: Vec<WindowSpec> = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&list).unwrap(), text);
    assert_eq!(
        windows(&list).to_string(),
        "Sat,Sun 02:00 for 4h in Europe/Berlin; or Thu 04:00 for 2h"
    );
    for (text, says) in [
        (r#"[{"at":"Sat 02:00"}]"#, "missing field `for`"),
        (
            r#"[{"at":"Sat 02:00","for":"4h","zones":"UTC"}]"#,
            "unknown field `zones`",
        ),
    ] {
        let error = serde_json::from_str::<Vec<WindowSpec>>(text)
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn what_is_wrong_with_a_window_is_named() {
    let with = |change: fn(&mut WindowSpec)| {
        let mut spec = spec("Sat 02:00", "4h");
        change(&mut spec);
        Windows::of(None, &[self::spec("Sun 02:00", "1h"), spec])
            .unwrap_err()
            .to_string()
    };
    for (found, says) in [
        (
            with(|spec| spec.at = "Fri..Mon 02:00".into()),
            "window 2: at: found Fri..Mon, a range over the end of the week (weeks start on Monday); write Fri..Sun,Mon",
        ),
        (
            with(|spec| spec.length = "4".into()),
            "window 2: for: found \"4\", expected a unit after the number: 4s, 4m, 4h or 4d",
        ),
        (
            with(|spec| spec.length = "0s".into()),
            "window 2: for: found 0s, expected more than 0s and at most 31d",
        ),
        (
            with(|spec| spec.length = "5w".into()),
            "window 2: for: found 840h, expected more than 0s and at most 31d",
        ),
        (
            with(|spec| spec.zone = Some("Europe/Berlim".into())),
            "window 2: zone: found \"Europe/Berlim\", expected a time zone of this system such as Europe/Berlin or UTC",
        ),
        (
            with(|spec| spec.at = "Sat 02:00 UTC".into()),
            "window 2: zone: found \"Europe/Berlin\" beside UTC in `at`, expected one zone",
        ),
        (
            with(|spec| spec.except = vec!["24.12.2026".into()]),
            "window 2: except: found \"24.12.2026\", expected a date such as 2026-12-24 or a range such as 2026-12-24..2027-01-02",
        ),
        (
            with(|spec| spec.except = vec!["2026-12-24..2026-12-23".into()]),
            "window 2: except: found \"2026-12-24..2026-12-23\", which ends before it starts",
        ),
        (
            with(|spec| spec.random_delay = Some("4h".into())),
            "window 2: random-delay: found 4h, expected less than the window's length of 4h",
        ),
    ] {
        assert_eq!(found, says);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// The same by looking at every minute of two weeks around.
    #[test]
    fn open_is_exactly_where_some_window_is(
        some in prop::collection::vec((0usize..6, 1u32..1500, 0u32..3), 1..4),
        // Around a change of the clocks, in minutes.
        minute in -5_000i64..5_000,
        node in 0u8..4,
    ) {
        const AT: [&str; 6] = ["Sat,Sun 02:00", "*:00", "02:30", "Mon..Fri 0/5:10", "*-*~3/1 23:00", "Thu 04:00"];
        let specs: Vec<WindowSpec> = some
            .iter()
            .map(|(at, length, delay)| {
                let mut spec = spec(AT[*at], &format!("{length}m"));
                if *delay > 0 {
                    spec.random_delay = Some(format!("{}s", delay * length * 59 / 3));
                    spec.except = vec!["2026-10-27".into()];
                }
                spec
            })
            .collect();
        let windows = windows(&specs).on_node(&node.to_string());
        let change = utc("2026-10-25T01:00:00Z").timestamp();
        let now = change + SignedDuration::from_mins(minute);
        let is_open = |at: Timestamp| {
            matches!(windows.state(&at.to_zoned(TimeZone::UTC)), State::Open { .. })
        };
        // By the definition: some occurrence that began before.
        let by_hand = |at: Timestamp| specs.iter().any(|spec| {
            let one = One::calendar(spec.read().unwrap());
            let mut from = at - SignedDuration::from_hours(40);
            while let Some(begin) = one.opens_after(from, &TimeZone::UTC, &node.to_string()) {
                if begin > at {
                    return false;
                }
                if one.open_at(begin, &TimeZone::UTC, &node.to_string()).is_some_and(|found| at < found.end) {
                    return true;
                }
                from = begin;
            }
            false
        });
        let open = is_open(now);
        prop_assert_eq!(open, by_hand(now));
        let nano = SignedDuration::from_nanos(1);
        match windows.state(&now.to_zoned(TimeZone::UTC)) {
            State::Open { since, until } => {
                if let Some(since) = since {
                    prop_assert!(since.timestamp() <= now && is_open(since.timestamp()));
                }
                if let Some(until) = until {
                    prop_assert!(until.timestamp() > now && is_open(until.timestamp() - nano));
                }
            }
            State::Closed { opens } => {
                let opens = opens.unwrap().timestamp();
                prop_assert!(opens > now && is_open(opens) && !is_open(opens - nano));
            }
        }
    }
}
