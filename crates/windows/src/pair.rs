//! A reboot window in locksmith's format. Pure. Whether it is open, [`crate::Windows`] tells.
//!
//! The start is civil time (the clock on the wall), the length is time that passes: a window of two hours lasts two
//! hours also in the night the clocks change.

use std::time::Duration;

use host::duration;
use jiff::{
    Span, Timestamp, Zoned,
    civil::{Time, Weekday},
    tz::TimeZone,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A time that comes every day or every week, and how long it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    day: Option<Weekday>,
    start: Time,
    length: Duration,
}

/// Why something is no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The start is none.
    #[error("found {0:?}, expected a time such as 04:00, or a day and a time such as Thu 04:00")]
    Start(String),
    /// The length is none.
    #[error("found {0:?}, expected a duration such as 1h30m")]
    Length(String),
    /// The length is zero, or longer than the time between two starts.
    #[error("found {found}, expected more than 0s and at most {most}, when the next window starts")]
    Span {
        /// The length.
        found: String,
        /// The most.
        most: &'static str,
    },
}

const DAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

impl Window {
    /// Reads a window: the start is `[Day ]HH:MM`, the day's name short or in full, in any case; the length a
    /// duration such as `1h30m`.
    ///
    /// # Errors
    /// When either is anything else, or the length is zero or longer than from one start to the next.
    pub fn parse(start: &str, length: &str) -> Result<Self, WindowError> {
        let bad = || WindowError::Start(start.to_owned());
        let mut words = start.split_whitespace();
        let (first, second) = (words.next().ok_or_else(bad)?, words.next());
        if words.next().is_some() {
            return Err(bad());
        }
        let (day, time) = match second {
            Some(time) => (Some(weekday(first).ok_or_else(bad)?), time),
            None => (None, first),
        };
        let time = clock(time).ok_or_else(bad)?;
        let found =
            duration::parse_go(length).map_err(|_| WindowError::Length(length.to_owned()))?;
        let (most, name) = if day.is_some() {
            (7 * DAY, "168h")
        } else {
            (DAY, "24h")
        };
        if found.is_zero() || found > most {
            return Err(WindowError::Span {
                found: duration::print(found),
                most: name,
            });
        }
        Ok(Self {
            day,
            start: time,
            length: found,
        })
    }

    /// The first start at or after an instant, in this zone.
    pub(crate) fn start_from(&self, from: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let near = from.to_zoned(zone.clone());
        let starts = (-2..=8).filter_map(|days| self.start_on(&near, days));
        starts
            .map(|start| start.timestamp())
            .find(|start| *start >= from)
    }

    /// The last start at or before an instant, in this zone.
    pub(crate) fn start_until(&self, to: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let near = to.to_zoned(zone.clone());
        let starts = (-8..=2).rev().filter_map(|days| self.start_on(&near, days));
        starts
            .map(|start| start.timestamp())
            .find(|start| *start <= to)
    }

    /// How long it is.
    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// The start on the day so many days from now's, if there is one.
    fn start_on(&self, now: &Zoned, days: i64) -> Option<Zoned> {
        let date = now.date().checked_add(Span::new().days(days)).ok()?;
        if self.day.is_some_and(|day| day != date.weekday()) {
            return None;
        }
        // A time the clocks jump over starts as much later; one they show twice starts the first time.
        date.to_datetime(self.start)
            .to_zoned(now.time_zone().clone())
            .ok()
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some((name, _)) = DAYS.iter().find(|(_, day)| Some(*day) == self.day) {
            let (first, rest) = name.split_at(1);
            write!(f, "{}{} ", first.to_uppercase(), &rest[..2])?;
        }
        write!(
            f,
            "{} for {}",
            self.start.strftime("%H:%M"),
            duration::print(self.length)
        )
    }
}

fn weekday(name: &str) -> Option<Weekday> {
    let name = name.to_ascii_lowercase();
    DAYS.iter()
        .find(|(full, _)| *full == name || full[..3] == name)
        .map(|(_, day)| *day)
}

fn clock(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str, digits: std::ops::RangeInclusive<usize>| {
        let plain = digits.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse().ok()).flatten()
    };
    Time::new(number(hour, 1..=2)?, number(minute, 2..=2)?, 0, 0).ok()
}

#[cfg(test)]
mod tests;
