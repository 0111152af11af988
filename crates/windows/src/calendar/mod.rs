//! systemd's calendar expressions (`systemd.time(7)`): read, and asked for the starts before and after an instant. Pure.
//!
//! The start is civil time in a zone. One that does not exist, because the clocks are set forward over it, is taken at the first
//! instant after the gap (systemd leaves it out). One that exists twice is taken once, at the first.

mod component;
mod instants;
mod parse;
mod search;

use component::Component;
use jiff::{
    civil::{DateTime, Weekday},
    tz::TimeZone,
};

pub use instants::{after, instant, until};

/// A calendar expression: the civil times that it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    /// By weekday, from Monday.
    weekdays: [bool; 7],
    year: Component,
    month: Component,
    /// Days of the month, counted from its end where `from_month_end`.
    day: Component,
    from_month_end: bool,
    hour: Component,
    minute: Component,
    /// In microseconds.
    second: Component,
}

/// Why a text is no calendar expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// It has another form.
    #[error(
        "found {found:?}, expected a calendar time such as Sat 02:00, Mon..Fri 22:30 or *-*-1..7 04:00{hint}"
    )]
    Form {
        /// The expression.
        found: String,
        /// What is known of the mistake, with a semicolon before it.
        hint: String,
    },
    /// A range of weekdays goes over the end of the week.
    #[error(
        "found {found}, a range over the end of the week (weeks start on Monday); write {write}"
    )]
    Wraps {
        /// The range.
        found: String,
        /// The same days, as they can be written.
        write: String,
    },
    /// A number that its part cannot have, or a range or step that matches nothing more than its start.
    #[error("found {found} for the {part}, expected {expected}")]
    Part {
        /// What is there.
        found: String,
        /// The part: `hour`, `month` and so on.
        part: &'static str,
        /// What may be there.
        expected: String,
    },
    /// It matches no time at all.
    #[error("found {0:?}, which never comes: no month has such a day")]
    Never(String),
}

impl Calendar {
    /// Reads an expression, and the name of the zone at its end where it has one.
    ///
    /// # Errors
    /// When systemd would not read it either, or no day is as it says.
    pub fn parse(text: &str) -> Result<(Self, Option<String>), CalendarError> {
        parse::expression(text)
    }

    /// Whether it matches this civil time.
    #[must_use]
    pub fn matches(&self, time: DateTime) -> bool {
        self.civil_until(time) == Some(time)
    }

    fn on(&self, day: Weekday) -> bool {
        self.weekdays[usize::try_from(day.to_monday_zero_offset()).unwrap_or_default()]
    }
}

/// The zone of this name in the system's data.
///
/// # Errors
/// When it has none, with a sentence.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| {
        format!("found {name:?}, expected a time zone of this system such as Europe/Berlin or UTC")
    })
}

#[cfg(test)]
mod tests;
