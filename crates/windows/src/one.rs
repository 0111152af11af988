//! One window: its occurrences around an instant.

use std::{fmt, time::Duration};

use host::duration;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use crate::{
    Window,
    calendar::{self, Calendar},
};

const NANO: SignedDuration = SignedDuration::from_nanos(1);

/// One window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum One {
    /// locksmith's pair, in the zone of the node.
    Pair(Window),
    /// A calendar expression.
    Calendar(Box<CalendarWindow>),
}

/// A window by a calendar expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CalendarWindow {
    /// The expression as it was written, without its zone.
    pub(super) at: String,
    pub(super) calendar: Calendar,
    pub(super) length: Duration,
    /// None: the node's.
    pub(super) zone: Option<TimeZone>,
    /// On these days, first and last, it is closed.
    pub(super) except: Vec<(Date, Date)>,
    /// It opens later by a part of this.
    pub(super) delay: Duration,
}

/// A window that comes: open from `begin` until just before `end`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Occurrence {
    pub(super) begin: Timestamp,
    pub(super) end: Timestamp,
}

impl One {
    pub(super) fn pair(window: Window) -> Self {
        Self::Pair(window)
    }

    pub(super) fn calendar(window: CalendarWindow) -> Self {
        Self::Calendar(Box::new(window))
    }

    pub(super) fn zone<'a>(&'a self, local: &'a TimeZone) -> &'a TimeZone {
        match self {
            Self::Pair(_) => local,
            Self::Calendar(window) => window.zone.as_ref().unwrap_or(local),
        }
    }

    /// The occurrence that is open at an instant and ends last.
    pub(super) fn open_at(
        &self,
        at: Timestamp,
        local: &TimeZone,
        node: &str,
    ) -> Option<Occurrence> {
        let mut start = self.start_until(at, local)?;
        loop {
            if plus(start, self.length()) <= at {
                return None;
            }
            let found = self.occurrence(start, local, node);
            if let Some(found) = found.filter(|found| found.begin <= at && at < found.end) {
                return Some(found);
            }
            // An earlier one has begun, where this one is delayed.
            start = self.start_until(start.checked_sub(NANO).ok()?, local)?;
        }
    }

    /// A start of an occurrence that is open at an instant: the earliest that is found at once.
    pub(super) fn begin_at(
        &self,
        at: Timestamp,
        local: &TimeZone,
        node: &str,
    ) -> Option<Timestamp> {
        let open = |found: &Occurrence| found.begin <= at && at < found.end;
        let length = SignedDuration::try_from(self.length()).ok()?;
        let first = at
            .checked_sub(length)
            .and_then(|from| from.checked_add(NANO))
            .ok()
            .and_then(|from| self.start_from(from, local))
            .filter(|start| *start <= at)
            .and_then(|start| self.occurrence(start, local, node))
            .filter(open);
        let found = first.or_else(|| self.open_at(at, local, node))?;
        Some(found.begin)
    }

    /// When the first occurrence after an instant begins.
    pub(super) fn opens_after(
        &self,
        at: Timestamp,
        local: &TimeZone,
        node: &str,
    ) -> Option<Timestamp> {
        let delay = SignedDuration::try_from(self.delay()).ok()?;
        let mut start = self.start_from(at.checked_sub(delay).ok()?, local);
        let mut first: Option<Timestamp> = None;
        while let Some(one) = start {
            // Those after it begin later.
            if first.is_some_and(|first| one >= first) {
                break;
            }
            let begin = self.occurrence(one, local, node).map(|found| found.begin);
            first = first
                .into_iter()
                .chain(begin.filter(|begin| *begin > at))
                .min();
            let next = self.excepted_until(one, local).unwrap_or(one);
            start = self.start_from(next.max(plus(one, Duration::from_nanos(1))), local);
        }
        first
    }

    /// The occurrence with this start, unless it is on a day on which the window is closed.
    fn occurrence(&self, start: Timestamp, local: &TimeZone, node: &str) -> Option<Occurrence> {
        let mut found = Occurrence {
            begin: start,
            end: plus(start, self.length()),
        };
        let Self::Calendar(window) = self else {
            return Some(found);
        };
        if self.excepted_until(start, local).is_some() {
            return None;
        }
        let zone = self.zone(local);
        for (first, _) in &window.except {
            let midnight =
                calendar::instant(zone, first.to_datetime(jiff::civil::Time::midnight()))?;
            if midnight > start {
                found.end = found.end.min(midnight);
            }
        }
        found.begin = plus(start, window.delay_of(start, node));
        (found.begin < found.end).then_some(found)
    }

    /// The end of the days on which the window is closed, where a start is on one.
    fn excepted_until(&self, start: Timestamp, local: &TimeZone) -> Option<Timestamp> {
        let Self::Calendar(window) = self else {
            return None;
        };
        let zone = self.zone(local);
        let date = zone.to_datetime(start).date();
        let closed = |(first, last): &&(Date, Date)| (*first..=*last).contains(&date);
        let (_, last) = window.except.iter().find(closed)?;
        let after = last.tomorrow().ok()?;
        calendar::instant(zone, after.to_datetime(jiff::civil::Time::midnight()))
    }

    fn start_from(&self, from: Timestamp, local: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Pair(window) => window.start_from(from, local),
            Self::Calendar(window) => calendar::after(&window.calendar, self.zone(local), from),
        }
    }

    fn start_until(&self, to: Timestamp, local: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Pair(window) => window.start_until(to, local),
            Self::Calendar(window) => calendar::until(&window.calendar, self.zone(local), to),
        }
    }

    fn length(&self) -> Duration {
        match self {
            Self::Pair(window) => window.length(),
            Self::Calendar(window) => window.length,
        }
    }

    fn delay(&self) -> Duration {
        match self {
            Self::Pair(_) => Duration::ZERO,
            Self::Calendar(window) => window.delay,
        }
    }
}

impl CalendarWindow {
    /// How much later the occurrence with this start opens on this node: always the same, and as good as random.
    fn delay_of(&self, start: Timestamp, node: &str) -> Duration {
        let most = u64::try_from(self.delay.as_millis()).unwrap_or(u64::MAX - 1);
        if most == 0 {
            return Duration::ZERO;
        }
        let start = start.as_millisecond().to_be_bytes();
        let bytes = node.bytes().chain(self.at.bytes()).chain(start);
        Duration::from_millis(hash(bytes) % (most + 1))
    }
}

/// FNV-1a, and the last step of splitmix64, by which every bit depends on every bit.
fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    let fnv = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn plus(at: Timestamp, length: Duration) -> Timestamp {
    SignedDuration::try_from(length)
        .ok()
        .and_then(|length| at.checked_add(length).ok())
        .unwrap_or(Timestamp::MAX)
}

impl fmt::Display for One {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pair(window) => window.fmt(f),
            Self::Calendar(window) => {
                write!(f, "{} for {}", window.at, duration::print(window.length))?;
                match window.zone.as_ref().and_then(TimeZone::iana_name) {
                    Some(name) => write!(f, " in {name}"),
                    None => Ok(()),
                }
            }
        }
    }
}
