//! Calendar expressions against systemd's own reading of them.
//!
//! The one difference: a start that does not exist, because the clocks are set forward over it, is left out by systemd, often with
//! other starts of that day, and is the first instant after the gap here.

use std::{fmt::Write as _, process::Command};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use windows::calendar::{self, Calendar, CalendarError};

/// With half an hour, a day that never was, negative daylight saving, changes by month of the lunar calendar, and none.
const ZONES: [&str; 16] = [
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Africa/Casablanca",
    "Europe/Dublin",
    "America/New_York",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Asia/Tehran",
    "Africa/Cairo",
    "Pacific/Chatham",
    "America/St_Johns",
    "Antarctica/Troll",
    "America/Havana",
    "Asia/Gaza",
    "UTC",
];
const NANO: SignedDuration = SignedDuration::from_nanos(1);
/// Starts of each expression.
const STARTS: usize = 12;
/// Expressions of one call.
const BATCH: usize = 25;

fn numbers(least: u32, most: u32) -> impl Strategy<Value = String> {
    let number = least..=most;
    let one = prop_oneof![
        6 => number.clone().prop_map(|n| n.to_string()),
        2 => (number.clone(), number.clone()).prop_map(|(a, b)| format!("{}..{}", a.min(b), a.max(b))),
        // systemd 252 looks for the next number of a step without an end beyond the end of day and month, and goes on from
        // there: after the 31st at 20:39, 2/9:39 has 11:39 on the 1st. Months and years have no such fault.
        2 => (number.clone(), 1u32..12).prop_map(move |(a, step)| match most {
            28 | 22 | 4 | 23 | 59 => format!("{a}..{most}/{step}"),
            _ => format!("{a}/{step}"),
        }),
        1 => (number.clone(), number, 1u32..6).prop_map(|(a, b, step)| format!("{}..{}/{step}", a.min(b), a.max(b))),
    ];
    prop_oneof![
        2 => Just("*".to_owned()),
        5 => prop::collection::vec(one, 1..3).prop_map(|all| all.join(",")),
    ]
}

fn weekdays() -> impl Strategy<Value = String> {
    const DAYS: [&str; 7] = ["Mon", "tue", "Wednesday", "Thu", "FRI", "Saturday", "Sun"];
    let one = prop_oneof![
        3 => (0usize..7).prop_map(|day| DAYS[day].to_owned()),
        1 => (0usize..7, 0usize..7).prop_map(|(a, b)| format!("{}..{}", DAYS[a.min(b)], DAYS[a.max(b)])),
    ];
    prop_oneof![
        2 => Just(String::new()),
        1 => prop::collection::vec(one, 1..3).prop_map(|all| all.join(",") + " "),
    ]
}

fn expression() -> impl Strategy<Value = String> {
    let year = prop_oneof![8 => Just("*".to_owned()), 1 => numbers(1975, 2080)];
    // Days from the end: systemd 252 takes 3 from the greatest day that is allowed for every item of a list, not once, and so
    // refuses some lists that have a meaning.
    let day = prop_oneof![
        numbers(1, 28).prop_map(|day| format!("-{day}")),
        numbers(1, 22).prop_map(|day| format!("~{day}")),
    ];
    let date = (year, numbers(1, 12), day);
    let date = prop_oneof![
        2 => Just(String::new()),
        1 => Just("*-*-* ".to_owned()),
        2 => date.prop_map(|(year, month, day)| format!("{year}-{month}{day} ")),
        1 => (numbers(1, 12), numbers(1, 28)).prop_map(|(month, day)| format!("{month}-{day} ")),
    ];
    // Most changes of the clocks are in these hours.
    let hour = prop_oneof![3 => numbers(0, 4), 1 => numbers(0, 23)];
    let seconds = prop_oneof![
        3 => Just(String::new()),
        1 => numbers(0, 59).prop_map(|seconds| format!(":{seconds}")),
        1 => Just(":59".to_owned()),
    ];
    let clock = (hour, numbers(0, 59), seconds)
        .prop_map(|(hour, minute, seconds)| format!("{hour}:{minute}{seconds}"));
    (weekdays(), date, clock).prop_map(|(weekdays, date, clock)| format!("{weekdays}{date}{clock}"))
}

/// What systemd makes of an expression.
#[derive(Debug, Clone, PartialEq)]
enum Reading {
    Starts(Vec<Timestamp>),
    NotRead,
    /// It stops to look after 1000 steps.
    GivenUp,
}

/// What systemd makes of each of these expressions.
fn oracle(expressions: &[String], zone: &str, from: Timestamp) -> Vec<Reading> {
    let all = expressions.iter().map(|one| format!("{one} {zone}"));
    let output = Command::new("systemd-analyze")
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .arg("calendar")
        .arg(format!("--iterations={STARTS}"))
        .arg(format!(
            "--base-time={}",
            from.strftime("%Y-%m-%d %H:%M:%S UTC")
        ))
        .args(all)
        .output()
        .expect("systemd-analyze is installed (make setup)");
    let complaints = String::from_utf8(output.stderr).unwrap();
    let mut found: Vec<Reading> = expressions
        .iter()
        .map(|one| {
            let of = |what: &str| complaints.contains(&format!("{what} '{one} {zone}': "));
            if of("Failed to parse calendar specification") {
                Reading::NotRead
            } else if of("Failed to determine next elapse for") {
                Reading::GivenUp
            } else {
                Reading::Starts(Vec::new())
            }
        })
        .collect();
    let mut at: Option<usize> = None;
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let Some((key, value)) = line.split_once(": ") else {
            // Between two expressions.
            at = None;
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        if at.is_none() && (key == "Original form" || key == "Normalized form") {
            at = expressions
                .iter()
                .position(|one| format!("{one} {zone}") == value);
            assert!(at.is_some(), "{value:?} was not asked for");
        } else if (key == "Next elapse" && value != "never") || key.starts_with("Iter.") {
            let time = value.split_once(' ').unwrap().1;
            let time = time.strip_suffix(" UTC").unwrap().replace(' ', "T") + "Z";
            let Reading::Starts(starts) = &mut found[at.unwrap()] else {
                panic!("{value:?} of an expression that failed");
            };
            starts.push(time.parse().unwrap());
        }
    }
    found
}

/// The starts by this program, without those of days on which some start does not exist; more than systemd is asked for.
fn ours(expression: &str, zone: &TimeZone, from: Timestamp) -> Reading {
    let calendar = match Calendar::parse(expression) {
        Ok((calendar, _)) => calendar,
        Err(CalendarError::Never(_)) => return Reading::Starts(Vec::new()),
        Err(_) => return Reading::NotRead,
    };
    let mut found = Vec::new();
    let mut next = from + NANO;
    while found.len() < STARTS {
        let Some(start) = calendar::after(&calendar, zone, next) else {
            break;
        };
        next = start + NANO;
        if lacks_a_start(&calendar, zone, start) {
            continue;
        }
        // The clocks show a time that is meant.
        assert!(
            calendar.matches(zone.to_datetime(start)),
            "{expression}: {start}"
        );
        found.push(start);
    }
    Reading::Starts(found)
}

/// Whether some start does not exist on the day of this instant: then systemd leaves out others of that day as well.
fn lacks_a_start(calendar: &Calendar, zone: &TimeZone, at: Timestamp) -> bool {
    let date = zone.to_datetime(at).date();
    let around = at - SignedDuration::from_hours(50);
    let changes = zone.following(around).map(|change| change.timestamp());
    changes
        .take_while(|change| *change < at + SignedDuration::from_hours(50))
        .filter(|change| zone.to_datetime(*change).date() == date)
        .any(|change| {
            let [before, after] = [change - NANO, change].map(|at| zone.to_datetime(at));
            if after <= before + NANO {
                return false;
            }
            let [before, after_gap] = [before, after].map(|civil| {
                // Civil time is that of UTC.
                let shown = civil.to_zoned(TimeZone::UTC);
                shown.unwrap().timestamp()
            });
            let first = calendar::after(calendar, &TimeZone::UTC, before + NANO);
            // Where it looks through a day or an hour that begins in the gap, it leaves out the day as well.
            after.minute() != 0
                || (before + NANO).to_zoned(TimeZone::UTC).hour() == 0
                || first.is_some_and(|first| first < after_gap)
        })
}

/// Whether both have the same starts, as far as both go.
fn agree(
    systemd: &Reading,
    found: &Reading,
    expression: &str,
    zone: &TimeZone,
    from: Timestamp,
) -> bool {
    let (Reading::Starts(all), Reading::Starts(found)) = (systemd, found) else {
        return systemd == found;
    };
    let calendar = Calendar::parse(expression).map(|(calendar, _)| calendar);
    let kept = all.iter().filter(|start| {
        let lacks = |calendar: &Calendar| lacks_a_start(calendar, zone, **start);
        !calendar.as_ref().is_ok_and(lacks)
    });
    // Which of two instants with the same civil time it takes is up to the C library, which remembers the offset that it worked out
    // last: mostly the first.
    let first = |start: &Timestamp| calendar::instant(zone, zone.to_datetime(*start)).unwrap();
    let mut kept: Vec<Timestamp> = kept.map(first).filter(|start| *start > from).collect();
    kept.dedup();
    // It shows no more than it was asked for.
    let ends = all.len() < STARTS;
    kept.len() <= found.len() && kept == found[..kept.len()] && (!ends || kept.len() == found.len())
}

fn draw<S: Strategy>(runner: &mut TestRunner, from: S) -> S::Value {
    from.new_tree(runner).unwrap().current()
}

#[test]
fn starts_are_those_of_systemd_in_every_zone_over_years() {
    // The same expressions every time; others by PROPTEST_RNG_SEED=1.
    let mut runner = match std::env::var_os("PROPTEST_RNG_SEED") {
        Some(_) => TestRunner::new(Config::default()),
        None => TestRunner::deterministic(),
    };
    let mut differences = String::new();
    let (mut compared, mut unread) = (0, 0);
    for name in ZONES {
        let zone = TimeZone::get(name).unwrap();
        for near in [false, true] {
            // 1971 to 2086, at any second; or up to three days before the clocks of the zone are changed.
            let from = draw(&mut runner, 31_536_000i64..3_660_000_000);
            let from = Timestamp::from_second(from).unwrap();
            let change = zone.following(from).next().filter(|_| near);
            let before = SignedDuration::from_secs(draw(&mut runner, 0i64..260_000));
            let from = change.map_or(from, |change| change.timestamp() - before);
            let mut some: Vec<String> = (0..BATCH)
                .map(|_| draw(&mut runner, expression()))
                .collect();
            some.sort_unstable();
            some.dedup();
            for (one, expected) in some.iter().zip(oracle(&some, name, from)) {
                match &expected {
                    Reading::Starts(_) => compared += 1,
                    Reading::NotRead => unread += 1,
                    Reading::GivenUp => continue,
                }
                let found = ours(one, &zone, from);
                if !agree(&expected, &found, one, &zone, from) {
                    let _ = writeln!(
                        differences,
                        "{one:?} in {name} from {from}:\n  systemd {expected:?}\n  found   {found:?}"
                    );
                }
            }
        }
    }
    assert!(
        compared > 400 && unread > 20,
        "{compared} compared, {unread} not read"
    );
    assert!(differences.is_empty(), "{differences}");
}
