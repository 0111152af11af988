//! The civil times that an expression matches, before and after a given one.

use jiff::{
    ToSpan,
    civil::{Date, DateTime, Time},
};

use super::{Calendar, component::Component};

const MINUTE: i64 = 60_000_000;

impl Calendar {
    /// The first match after this time, which is cut to microseconds.
    pub(super) fn civil_after(&self, time: DateTime) -> Option<DateTime> {
        let date = time.date();
        if self.has(date)
            && let Some(found) = self.clock_from(micros(time.time()) + 1)
        {
            return Some(date.to_datetime(found));
        }
        let date = self.date_from(date.tomorrow().ok()?)?;
        Some(date.to_datetime(self.clock_from(0)?))
    }

    /// The last match until this time, it included.
    pub(super) fn civil_until(&self, time: DateTime) -> Option<DateTime> {
        let date = time.date();
        if self.has(date)
            && let Some(found) = self.clock_to(micros(time.time()))
        {
            return Some(date.to_datetime(found));
        }
        let date = self.date_to(date.yesterday().ok()?)?;
        Some(date.to_datetime(self.clock_to(24 * 60 * MINUTE - 1)?))
    }

    fn has(&self, date: Date) -> bool {
        self.date_from(date) == Some(date)
    }

    /// The days of a month that may match.
    fn days(&self, year: i64, month: i64) -> Option<Component> {
        let length = i64::from(first_of(year, month)?.days_in_month());
        if self.from_month_end {
            return Some(self.day.counted_from_start(length));
        }
        Some(Component {
            most: length,
            ..self.day.clone()
        })
    }

    fn date_from(&self, from: Date) -> Option<Date> {
        let (mut year, mut month, mut day) = numbers(from);
        loop {
            let in_year = self.year.next(year)?;
            if in_year != year {
                (year, month, day) = (in_year, 1, 1);
            }
            let Some(in_month) = self.month.next(month) else {
                (year, month, day) = (year + 1, 1, 1);
                continue;
            };
            if in_month != month {
                (month, day) = (in_month, 1);
            }
            let Some(found) = self.days(year, month)?.next(day) else {
                (month, day) = (month + 1, 1);
                continue;
            };
            let date = first_of(year, month)?
                .checked_add((found - 1).days())
                .ok()?;
            if self.on(date.weekday()) {
                return Some(date);
            }
            day = found + 1;
        }
    }

    fn date_to(&self, to: Date) -> Option<Date> {
        let (mut year, mut month, mut day) = numbers(to);
        loop {
            let in_year = self.year.previous(year)?;
            if in_year != year {
                (year, month, day) = (in_year, 12, 31);
            }
            let Some(in_month) = self.month.previous(month) else {
                (year, month, day) = (year - 1, 12, 31);
                continue;
            };
            if in_month != month {
                (month, day) = (in_month, 31);
            }
            let Some(found) = self.days(year, month)?.previous(day) else {
                (month, day) = (month - 1, 31);
                continue;
            };
            let date = first_of(year, month)?
                .checked_add((found - 1).days())
                .ok()?;
            if self.on(date.weekday()) {
                return Some(date);
            }
            day = found - 1;
        }
    }

    /// The first time of the day that matches, from these microseconds on.
    fn clock_from(&self, from: i64) -> Option<Time> {
        let (mut hour, mut minute, mut second) = parts(from);
        loop {
            let in_hour = self.hour.next(hour)?;
            if in_hour != hour {
                (hour, minute, second) = (in_hour, 0, 0);
            }
            let Some(in_minute) = self.minute.next(minute) else {
                (hour, minute, second) = (hour + 1, 0, 0);
                continue;
            };
            if in_minute != minute {
                (minute, second) = (in_minute, 0);
            }
            if let Some(found) = self.second.next(second) {
                return clock(hour, minute, found);
            }
            (minute, second) = (minute + 1, 0);
        }
    }

    /// The last time of the day that matches, up to these microseconds.
    fn clock_to(&self, to: i64) -> Option<Time> {
        let (mut hour, mut minute, mut second) = parts(to);
        loop {
            let in_hour = self.hour.previous(hour)?;
            if in_hour != hour {
                (hour, minute, second) = (in_hour, 59, MINUTE - 1);
            }
            let Some(in_minute) = self.minute.previous(minute) else {
                (hour, minute, second) = (hour - 1, 59, MINUTE - 1);
                continue;
            };
            if in_minute != minute {
                (minute, second) = (in_minute, MINUTE - 1);
            }
            if let Some(found) = self.second.previous(second) {
                return clock(hour, minute, found);
            }
            (minute, second) = (minute - 1, MINUTE - 1);
        }
    }
}

fn numbers(date: Date) -> (i64, i64, i64) {
    (
        i64::from(date.year()),
        i64::from(date.month()),
        i64::from(date.day()),
    )
}

fn first_of(year: i64, month: i64) -> Option<Date> {
    Date::new(year.try_into().ok()?, month.try_into().ok()?, 1).ok()
}

/// Hour, minute, and microseconds within that.
fn parts(micros: i64) -> (i64, i64, i64) {
    (
        micros / (60 * MINUTE),
        micros / MINUTE % 60,
        micros % MINUTE,
    )
}

fn micros(time: Time) -> i64 {
    let minutes = i64::from(time.hour()) * 60 + i64::from(time.minute());
    let of_minute =
        i64::from(time.second()) * 1_000_000 + i64::from(time.subsec_nanosecond()) / 1000;
    minutes * MINUTE + of_minute
}

fn clock(hour: i64, minute: i64, micros: i64) -> Option<Time> {
    Time::new(
        hour.try_into().ok()?,
        minute.try_into().ok()?,
        (micros / 1_000_000).try_into().ok()?,
        (micros % 1_000_000 * 1000).try_into().ok()?,
    )
    .ok()
}
