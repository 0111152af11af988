use jiff::{Timestamp, tz::TimeZone};

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The first starts from an instant on, and the same starts found backwards.
fn starts(expression: &str, name: &str, from: &str, count: usize) -> Vec<String> {
    let calendar = Calendar::parse(expression).unwrap().0;
    let zone = TimeZone::get(name).unwrap();
    let mut found = Vec::new();
    let mut next = at(from);
    while found.len() < count {
        let Some(start) = after(&calendar, &zone, next) else {
            break;
        };
        assert_eq!(until(&calendar, &zone, start), Some(start), "{expression}");
        let nano = jiff::SignedDuration::from_nanos(1);
        assert_eq!(
            until(&calendar, &zone, start - nano),
            found
                .last()
                .copied()
                .or(until(&calendar, &zone, at(from) - nano)),
            "{expression}"
        );
        found.push(start);
        next = start + nano;
    }
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn expressions_have_the_starts_that_systemd_gives_them() {
    for (expression, expected) in [
        (
            "Sat *-*-1..7 02:00",
            ["2026-11-07T02:00:00Z", "2026-12-05T02:00:00Z"],
        ),
        (
            "*-*~1 03:00",
            ["2026-10-31T03:00:00Z", "2026-11-30T03:00:00Z"],
        ),
        ("*-02~1", ["2027-02-28T00:00:00Z", "2028-02-29T00:00:00Z"]),
        ("*-*~3..1", ["", ""]),
        (
            "*-02~1..3 04:00",
            ["2027-02-26T04:00:00Z", "2027-02-27T04:00:00Z"],
        ),
        (
            "Mon *-05~07/1",
            ["2027-05-31T00:00:00Z", "2028-05-29T00:00:00Z"],
        ),
        (
            "Mon *:0/15",
            ["2026-10-26T00:00:00Z", "2026-10-26T00:15:00Z"],
        ),
        ("monday", ["2026-10-26T00:00:00Z", "2026-11-02T00:00:00Z"]),
        (
            "Sat,Sun 02:00",
            ["2026-10-24T02:00:00Z", "2026-10-25T02:00:00Z"],
        ),
        (
            "mon-fri 22:30",
            ["2026-10-26T22:30:00Z", "2026-10-27T22:30:00Z"],
        ),
        (
            "Wed..Fri,Sun *-*-* 4:5:6",
            ["2026-10-25T04:05:06Z", "2026-10-28T04:05:06Z"],
        ),
        (
            "quarterly",
            ["2027-01-01T00:00:00Z", "2027-04-01T00:00:00Z"],
        ),
        (
            "27/2-2-1/14",
            ["2027-02-01T00:00:00Z", "2027-02-15T00:00:00Z"],
        ),
        ("5..5:00", ["2026-10-24T05:00:00Z", "2026-10-25T05:00:00Z"]),
        (
            "Fri *-*-13",
            ["2026-11-13T00:00:00Z", "2027-08-13T00:00:00Z"],
        ),
        (
            "*-2-29 1:2",
            ["2028-02-29T01:02:00Z", "2032-02-29T01:02:00Z"],
        ),
        (
            "8..18/4:59:59.5",
            ["2026-10-24T08:59:59.5Z", "2026-10-24T12:59:59.5Z"],
        ),
    ] {
        if expected[0].is_empty() {
            assert!(Calendar::parse(expression).is_err(), "{expression}");
            continue;
        }
        let found = starts(expression, "UTC", "2026-10-24T00:00:00Z", 2);
        assert_eq!(found, expected, "{expression}");
    }
}

#[test]
fn days_that_a_month_does_not_have_hide_none_of_the_next_month() {
    assert_eq!(
        starts("*-5/11", "UTC", "2034-12-17T00:00:00Z", 3),
        [
            "2034-12-27T00:00:00Z",
            "2035-01-05T00:00:00Z",
            "2035-01-16T00:00:00Z"
        ]
    );
    assert_eq!(
        starts("*-31,1", "UTC", "2026-05-31T00:00:00Z", 4),
        [
            "2026-05-31T00:00:00Z",
            "2026-06-01T00:00:00Z",
            "2026-07-01T00:00:00Z",
            "2026-07-31T00:00:00Z"
        ]
    );
}

#[test]
fn starts_across_a_change_of_the_clocks() {
    for (expression, zone, from, expected) in [
        // 02:30 does not exist on 2026-03-29: the first instant after the gap is 03:00, which is 01:00 UTC.
        (
            "02:30",
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
        ),
        // Every start in the gap, and the one at its end, are one.
        (
            "*:0/30",
            "Europe/Berlin",
            "2026-03-29T00:30:00Z",
            ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z"],
        ),
        // 02:30 exists twice on 2026-10-25.
        (
            "02:30",
            "Europe/Berlin",
            "2026-10-24T23:00:00Z",
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        ),
        // Within the hour that comes a second time.
        (
            "*:0/15",
            "Europe/Berlin",
            "2026-10-25T00:45:00Z",
            ["2026-10-25T00:45:00Z", "2026-10-25T02:00:00Z"],
        ),
        (
            "*:0/15",
            "Europe/Berlin",
            "2026-10-25T01:10:00Z",
            ["2026-10-25T02:00:00Z", "2026-10-25T02:15:00Z"],
        ),
        // The last second before the change.
        (
            "01:59:59",
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            ["2026-03-29T00:59:59Z", "2026-03-29T23:59:59Z"],
        ),
        // Half an hour, from 2:00 to 2:30.
        (
            "02:15",
            "Australia/Lord_Howe",
            "2026-10-03T12:00:00Z",
            ["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"],
        ),
        // The 30th of December 2011 never was.
        (
            "2011-12-30 12:00",
            "Pacific/Apia",
            "2011-01-01T00:00:00Z",
            ["2011-12-30T10:00:00Z", ""],
        ),
    ] {
        let expected: Vec<&str> = expected.into_iter().filter(|one| !one.is_empty()).collect();
        assert_eq!(
            starts(expression, zone, from, 2),
            expected,
            "{expression} in {zone}"
        );
    }
}

#[test]
fn last_start_before_an_hour_that_comes_twice_is_in_its_first_pass() {
    let quarters = Calendar::parse("*:0/15").unwrap().0;
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let found = until(&quarters, &berlin, at("2026-10-25T01:10:00Z"));
    assert_eq!(found, Some(at("2026-10-25T00:45:00Z")));
}

#[test]
fn a_zone_may_stand_at_the_end() {
    let zone = |text| Calendar::parse(text).unwrap().1;
    assert_eq!(
        zone("Sat 02:00 Europe/Berlin").as_deref(),
        Some("Europe/Berlin")
    );
    assert_eq!(zone("daily utc").as_deref(), Some("UTC"));
    assert_eq!(zone("Sat 02:00"), None);
}

#[test]
fn a_range_over_the_end_of_the_week_shows_the_spelling_that_works() {
    for (text, found, write) in [
        ("Fri..Mon 02:00", "Fri..Mon", "Fri..Sun,Mon"),
        ("sat..tuesday 02:00", "Sat..Tue", "Sat,Sun,Mon,Tue"),
        ("Sun..Wed", "Sun..Wed", "Sun,Mon..Wed"),
    ] {
        let error = Calendar::parse(text).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "found {found}, a range over the end of the week (weeks start on Monday); write {write}"
            )
        );
        assert!(Calendar::parse(write).is_ok(), "{write}");
    }
}

#[test]
fn what_is_no_expression_is_named() {
    for (text, says) in [
        ("", "found \"\", expected a calendar time such as Sat 02:00"),
        ("soon", "found \"soon\", expected a calendar time"),
        ("25:00", "found 25 for the hour, expected 0 to 23"),
        ("2:60", "found 60 for the minute, expected 0 to 59"),
        ("2:00:60", "found 60 for the second, expected 0 to 59"),
        ("*-13-1", "found 13 for the month, expected 1 to 12"),
        ("*-*-0", "found 0 for the day, expected 1 to 31"),
        ("*-*~31", "found 31 for the day, expected 1 to 28"),
        ("2300-1-1", "found 2300 for the year, expected 1970 to 2199"),
        (
            "5..3:00",
            "found 5..3 for the hour, expected a range or step that has more than one of 0 to 23",
        ),
        (
            "20/5:00",
            "found 20/5 for the hour, expected a range or step that has more than one of 0 to 23",
        ),
        ("*/2:00", "; a step has a start: write 0/2 instead of */2"),
        ("*-2-30", "found \"*-2-30\", which never comes"),
        ("Mon,Foo 02:00", "found \"Mon,Foo 02:00\""),
        ("Mon..", "found \"Mon..\""),
        ("Mon..Tue..Wed", "found"),
        (
            "Sat 02:00 Europe/Nowhere",
            "found \"Sat 02:00 Europe/Nowhere\"",
        ),
        ("0/0:00", "found \"0/0:00\""),
        ("99999999999999999999:00", "found"),
    ] {
        let error = Calendar::parse(text).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
}
