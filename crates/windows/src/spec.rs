//! A calendar window as it is written, in the configuration and in a group's policy.

use std::{fmt, time::Duration};

use host::duration;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::one::CalendarWindow;
use crate::calendar::{self, Calendar, CalendarError};

/// The longest window: what lasts longer is no window.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);

/// A calendar window as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowSpec {
    /// When it starts: one of systemd's calendar expressions.
    pub at: String,
    /// How long it is: a duration such as `4h`, real time.
    #[serde(rename = "for")]
    pub length: String,
    /// The zone of `at` and `except`, such as `Europe/Berlin`; none: that of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Days on which it is closed: `2026-12-24`, or `2026-12-24..2027-01-02` with both ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
    /// It opens later by a part of this duration, which differs from node to node and from time to time. Its end stays.
    #[serde(
        rename = "random-delay",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub random_delay: Option<String>,
}

/// Why a window is not valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowSpecError {
    /// Which of the list it is, from 0; none where there is no list.
    pub index: Option<usize>,
    /// The key whose value it is: `at`, `for`, `zone`, `except` or `random-delay`.
    pub key: &'static str,
    /// What was found, and what was expected.
    pub problem: String,
}

impl fmt::Display for WindowSpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(index) = self.index {
            write!(f, "window {}: ", index + 1)?;
        }
        write!(f, "{}: {}", self.key, self.problem)
    }
}

impl std::error::Error for WindowSpecError {}

impl WindowSpecError {
    pub(super) fn of(self, index: usize) -> Self {
        Self {
            index: Some(index),
            ..self
        }
    }
}

impl fmt::Display for WindowSpec {
    /// As in `Sat 02:00 for 4h in Europe/Berlin, except 2026-12-26, random delay 30m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.at, self.length)?;
        if let Some(zone) = &self.zone {
            write!(f, " in {zone}")?;
        }
        if !self.except.is_empty() {
            write!(f, ", except {}", self.except.join(" "))?;
        }
        match &self.random_delay {
            Some(delay) => write!(f, ", random delay {delay}"),
            None => Ok(()),
        }
    }
}

impl WindowSpec {
    /// Checks it as a whole.
    ///
    /// # Errors
    /// Where a value is not what its key takes, or the values do not go together.
    pub fn check(&self) -> Result<(), WindowSpecError> {
        self.read().map(drop)
    }

    /// The same window in this zone, unless it names one, also at the end of `at`.
    #[must_use]
    pub fn or_in_zone(mut self, zone: &str) -> Self {
        let named = Calendar::parse(&self.at).is_ok_and(|(_, zone)| zone.is_some());
        if self.zone.is_none() && !named {
            self.zone = Some(zone.to_owned());
        }
        self
    }

    pub(super) fn read(&self) -> Result<CalendarWindow, WindowSpecError> {
        let wrong = |key, problem: String| WindowSpecError {
            index: None,
            key,
            problem,
        };
        let (calendar, in_expression) = Calendar::parse(&self.at)
            .map_err(|error: CalendarError| wrong("at", error.to_string()))?;
        let zone = match (&self.zone, &in_expression) {
            (Some(zone), Some(other)) => {
                let problem = format!("found {zone:?} beside {other} in `at`, expected one zone");
                return Err(wrong("zone", problem));
            }
            (Some(name), None) | (None, Some(name)) => {
                Some(calendar::zone(name).map_err(|problem| wrong("zone", problem))?)
            }
            (None, None) => None,
        };
        let length = time("for", &self.length)?;
        if length.is_zero() || length > LONGEST {
            let found = duration::print(length);
            return Err(wrong(
                "for",
                format!("found {found}, expected more than 0s and at most 31d"),
            ));
        }
        let delay = match &self.random_delay {
            Some(text) => time("random-delay", text)?,
            None => Duration::ZERO,
        };
        if delay >= length {
            let (found, most) = (duration::print(delay), duration::print(length));
            return Err(wrong(
                "random-delay",
                format!("found {found}, expected less than the window's length of {most}"),
            ));
        }
        let except = self.except.iter().map(|text| days(text));
        let except = except
            .collect::<Result<_, _>>()
            .map_err(|problem| wrong("except", problem))?;
        let at = match &in_expression {
            Some(_) => self.at.rsplit_once(' ').map_or("", |(at, _)| at),
            None => &self.at,
        };
        Ok(CalendarWindow {
            at: at.to_owned(),
            calendar,
            length,
            zone,
            except,
            delay,
        })
    }
}

fn time(key: &'static str, text: &str) -> Result<Duration, WindowSpecError> {
    duration::parse(text).map_err(|error| WindowSpecError {
        index: None,
        key,
        problem: error.to_string(),
    })
}

/// A day, or the first and the last of several.
fn days(text: &str) -> Result<(Date, Date), String> {
    let wrong = || {
        format!(
            "found {text:?}, expected a date such as 2026-12-24 or a range such as 2026-12-24..2027-01-02"
        )
    };
    let day = |text: &str| {
        let text = text.trim();
        // Neither ISO 8601's other forms, nor a time of the day.
        let plain = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        plain.then(|| text.parse::<Date>().ok()).flatten()
    };
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let (first, last) = (day(first).ok_or_else(wrong)?, day(last).ok_or_else(wrong)?);
    if first > last {
        return Err(format!("found {text:?}, which ends before it starts"));
    }
    Ok((first, last))
}
