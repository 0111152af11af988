//! The grammar of systemd's calendar expressions.

use jiff::{Timestamp, tz::TimeZone};

use super::{
    Calendar, CalendarError,
    component::{Component, Item},
    instants, zone,
};

/// From Monday, as systemd's week.
const DAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

/// systemd's names for expressions.
const NAMES: &[(&[&str], &str)] = &[
    (&["minutely"], "*-*-* *:*:00"),
    (&["hourly"], "*-*-* *:00:00"),
    (&["daily"], "*-*-* 00:00:00"),
    (&["weekly"], "Mon *-*-* 00:00:00"),
    (&["monthly"], "*-*-01 00:00:00"),
    (&["quarterly"], "*-01,04,07,10-01 00:00:00"),
    (
        &["biannually", "bi-annually", "semiannually", "semi-annually"],
        "*-01,07-01 00:00:00",
    ),
    (&["yearly", "annually", "anually"], "*-01-01 00:00:00"),
];

const SECOND: i64 = 1_000_000;
/// What no number of an expression exceeds.
const LARGEST: i64 = i32::MAX as i64;

struct Part {
    name: &'static str,
    least: i64,
    most: i64,
}

const YEAR: Part = part("year", 1970, 2199);
const MONTH: Part = part("month", 1, 12);
const DAY: Part = part("day", 1, 31);
const HOUR: Part = part("hour", 0, 23);
const MINUTE: Part = part("minute", 0, 59);
const SECONDS: Part = part("second", 0, 60 * SECOND - 1);

const fn part(name: &'static str, least: i64, most: i64) -> Part {
    Part { name, least, most }
}

/// A part as it was read, before it is known which part it is.
struct Chain {
    text: String,
    /// Empty: all.
    items: Vec<Item>,
}

pub(super) fn expression(text: &str) -> Result<(Calendar, Option<String>), CalendarError> {
    let (rest, zone) = split_zone(text);
    let named = NAMES
        .iter()
        .find(|(names, _)| names.iter().any(|name| name.eq_ignore_ascii_case(rest)));
    let rest = named.map_or(rest, |(_, means)| means);
    let form = |hint: &str| CalendarError::Form {
        found: text.to_owned(),
        hint: hint.to_owned(),
    };
    if rest.is_empty() {
        return Err(form(""));
    }
    let (weekdays, rest) = weekdays(rest).map_err(|error| error.unwrap_or_else(|| form("")))?;
    let (date, rest) = date(rest).ok_or_else(|| form(hint(text)))?;
    let clock = clock(rest).ok_or_else(|| form(hint(text)))?;
    let [year, month, day] = date.chains;
    let calendar = Calendar {
        weekdays,
        year: component(year.map(full_years), &YEAR, false)?,
        month: component(month, &MONTH, false)?,
        from_month_end: date.from_month_end
            && day.as_ref().is_some_and(|day| !day.items.is_empty()),
        day: component(day, &DAY, date.from_month_end)?,
        hour: component(Some(clock.0), &HOUR, false)?,
        minute: component(Some(clock.1), &MINUTE, false)?,
        second: component(Some(clock.2), &SECONDS, false)?,
    };
    if instants::after(&calendar, &TimeZone::UTC, Timestamp::UNIX_EPOCH).is_none() {
        return Err(CalendarError::Never(text.to_owned()));
    }
    Ok((calendar, zone))
}

/// What is probably meant instead.
fn hint(text: &str) -> &'static str {
    if text.contains("*/") {
        "; a step has a start: write 0/2 instead of */2"
    } else {
        ""
    }
}

/// The expression without the zone that it ends in.
fn split_zone(text: &str) -> (&str, Option<String>) {
    let Some((rest, last)) = text.rsplit_once(' ') else {
        return (text, None);
    };
    // A word that can be part of an expression is no zone.
    let is_zone = last.starts_with(|c: char| c.is_ascii_alphabetic())
        && !last.contains(':')
        && zone(last).is_ok();
    if is_zone {
        let name = if last.eq_ignore_ascii_case("utc") {
            "UTC"
        } else {
            last
        };
        (rest, Some(name.to_owned()))
    } else {
        (text, None)
    }
}

/// The weekdays at the start of a text, and the rest. All of them where there are none. The error is none where the form is
/// another.
fn weekdays(text: &str) -> Result<([bool; 7], &str), Option<CalendarError>> {
    if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Ok(([true; 7], text));
    }
    let (list, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut found = [false; 7];
    // systemd allows a comma at the end.
    for one in list.strip_suffix(',').unwrap_or(list).split(',') {
        let range = one.split_once("..").or_else(|| one.split_once('-'));
        let (from, to) = range.unwrap_or((one, one));
        let (from, to) = (weekday(from).ok_or(None)?, weekday(to).ok_or(None)?);
        if from > to {
            return Err(Some(wraps(from, to)));
        }
        found[from..=to].fill(true);
    }
    Ok((found, rest.trim_start_matches(' ')))
}

/// The weekday of this name, short or in full.
fn weekday(name: &str) -> Option<usize> {
    let name = name.to_ascii_lowercase();
    DAYS.iter().position(|day| *day == name || day[..3] == name)
}

fn short(day: usize) -> String {
    let name = DAYS[day];
    format!("{}{}", name[..1].to_ascii_uppercase(), &name[1..3])
}

fn wraps(from: usize, to: usize) -> CalendarError {
    let range = |from: usize, to: usize| match to - from {
        0 => short(from),
        1 => format!("{},{}", short(from), short(to)),
        _ => format!("{}..{}", short(from), short(to)),
    };
    CalendarError::Wraps {
        found: format!("{}..{}", short(from), short(to)),
        write: format!("{},{}", range(from, 6), range(0, to)),
    }
}

/// A date as it was read: year, month and day, where they are given.
struct DateText {
    chains: [Option<Chain>; 3],
    from_month_end: bool,
}

/// The date at the start of a text, if there is one, and the rest.
fn date(text: &str) -> Option<(DateText, &str)> {
    let none = DateText {
        chains: [None, None, None],
        from_month_end: false,
    };
    if text.is_empty() {
        return Some((none, text));
    }
    let (first, rest) = chain(text, false)?;
    if rest.is_empty() || rest.starts_with(':') {
        return Some((none, text));
    }
    let (from_month_end, rest) = separator(rest)?;
    let (second, rest) = chain(rest, false)?;
    if rest.is_empty() || rest.starts_with(' ') {
        let date = DateText {
            chains: [None, Some(first), Some(second)],
            from_month_end,
        };
        return Some((date, rest.trim_start_matches(' ')));
    }
    if from_month_end {
        return None;
    }
    let (from_month_end, rest) = separator(rest)?;
    let (third, rest) = chain(rest, false)?;
    let date = DateText {
        chains: [Some(first), Some(second), Some(third)],
        from_month_end,
    };
    (rest.is_empty() || rest.starts_with(' ')).then_some((date, rest.trim_start_matches(' ')))
}

/// What stands between two parts of a date, and whether it counts from the end of the month.
fn separator(text: &str) -> Option<(bool, &str)> {
    match text.strip_prefix('~') {
        Some(rest) => Some((true, rest)),
        None => Some((false, text.strip_prefix('-')?)),
    }
}

/// Hour, minute and second; midnight of a text that is empty.
fn clock(text: &str) -> Option<(Chain, Chain, Chain)> {
    let zero = || Chain {
        text: "0".into(),
        items: vec![single(0)],
    };
    if text.is_empty() {
        return Some((zero(), zero(), zero()));
    }
    let (hour, rest) = chain(text, false)?;
    let (minute, rest) = chain(rest.strip_prefix(':')?, false)?;
    if rest.is_empty() {
        return Some((hour, minute, zero()));
    }
    let (second, rest) = chain(rest.strip_prefix(':')?, true)?;
    rest.is_empty().then_some((hour, minute, second))
}

fn single(start: i64) -> Item {
    Item {
        start,
        stop: None,
        step: 0,
    }
}

/// Numbers, ranges and steps with commas between them, or `*`; and the rest. Seconds have fractions, and are in microseconds.
fn chain(text: &str, seconds: bool) -> Option<(Chain, &str)> {
    if let Some(rest) = text.strip_prefix('*') {
        let every_second = Item {
            step: SECOND,
            ..single(0)
        };
        let items = if seconds {
            vec![every_second]
        } else {
            Vec::new()
        };
        let chain = Chain {
            text: "*".into(),
            items,
        };
        return Some((chain, rest));
    }
    let mut items = Vec::new();
    let mut rest = text;
    loop {
        let (start, after) = number(rest, seconds)?;
        let mut item = single(start);
        rest = after;
        if let Some(after) = rest.strip_prefix("..") {
            let (stop, after) = number(after, seconds)?;
            item.stop = Some(stop);
            item.step = if seconds { SECOND } else { 1 };
            rest = after;
        }
        if let Some(after) = rest.strip_prefix('/') {
            let (step, after) = number(after, seconds)?;
            item.step = Some(step).filter(|step| *step > 0)?;
            rest = after;
        } else if seconds && item.stop.is_some_and(|stop| item.start + SECOND > stop) {
            // systemd refuses such a range of seconds, as it would of fractions.
            return None;
        }
        items.push(item);
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => break,
        }
    }
    let ends = rest.is_empty() || rest.starts_with([' ', '-', '~', ':']);
    let chain = Chain {
        text: text[..text.len() - rest.len()].to_owned(),
        items,
    };
    ends.then_some((chain, rest))
}

fn number(text: &str, seconds: bool) -> Option<(i64, &str)> {
    let digits = |text: &str| {
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len())
    };
    let (whole, mut rest) = text.split_at(digits(text));
    let mut value: i64 = whole.parse().ok().filter(|value| *value <= LARGEST)?;
    if seconds {
        value *= SECOND;
        // Two dots are a range.
        if let Some(after) = rest
            .strip_prefix('.')
            .filter(|after| !after.starts_with('.'))
        {
            let (fraction, after) = after.split_at(digits(after));
            let six = fraction.chars().chain("000000".chars()).take(6);
            value += six.collect::<String>().parse::<i64>().ok()?;
            rest = after;
        }
    }
    (value <= LARGEST).then_some((value, rest))
}

/// Years of two digits are of 1970 to 2069.
fn full_years(mut chain: Chain) -> Chain {
    let full = |year: i64| match year {
        0..70 => year + 2000,
        70..100 => year + 1900,
        _ => year,
    };
    for item in &mut chain.items {
        item.start = full(item.start);
        item.stop = item.stop.map(full);
    }
    chain
}

/// A chain as that part of the expression: every number in it is one that the part may have, and every step is taken once at
/// least. Days from the end of the month are those that every month has.
fn component(
    chain: Option<Chain>,
    part: &Part,
    from_end: bool,
) -> Result<Component, CalendarError> {
    let Part { least, most, .. } = *part;
    let Chain { text, mut items } = chain.unwrap_or(Chain {
        text: String::new(),
        items: Vec::new(),
    });
    let last = if from_end { most - 3 } else { most };
    for item in &mut items {
        // The end of a range is one that its steps reach.
        if let Some(stop) = item.stop.as_mut().filter(|stop| **stop > item.start) {
            *stop -= (*stop - item.start) % item.step.max(1);
        }
        if item.stop == Some(item.start) {
            *item = single(item.start);
        }
        let within = |number: i64| (least..=last).contains(&number);
        let reached = match item.stop {
            Some(stop) => within(stop) && item.start + item.step <= stop,
            None if from_end => item.start - item.step >= least,
            None => item.start + item.step <= last,
        };
        if !within(item.start) || !reached || item.step > last - least {
            let what = if part.name == SECONDS.name {
                "0 to 59".to_owned()
            } else {
                format!("{least} to {last}")
            };
            let expected = if within(item.start) && item.stop.is_none_or(within) {
                format!("a range or step that has more than one of {what}")
            } else {
                what
            };
            return Err(CalendarError::Part {
                found: text,
                part: part.name,
                expected,
            });
        }
    }
    Ok(Component { items, least, most })
}
