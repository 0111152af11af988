//! From civil time to instants in a zone.

use jiff::{
    SignedDuration, Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};

use super::Calendar;

const NANO: SignedDuration = SignedDuration::from_nanos(1);

/// The first start at or after an instant.
#[must_use]
pub fn after(calendar: &Calendar, zone: &TimeZone, from: Timestamp) -> Option<Timestamp> {
    let before = from.checked_sub(NANO).ok()?;
    let found = calendar.civil_after(furthest(zone, before))?;
    instant(zone, found)
}

/// The last start at or before an instant.
#[must_use]
pub fn until(calendar: &Calendar, zone: &TimeZone, to: Timestamp) -> Option<Timestamp> {
    let found = calendar.civil_until(furthest(zone, to))?;
    instant(zone, found)
}

/// The latest civil time that the clocks of the zone have shown up to an instant: where they were set back shortly before, they
/// have shown a later time than they show now. [`instant`] keeps the order of these.
fn furthest(zone: &TimeZone, at: Timestamp) -> DateTime {
    let now = zone.to_datetime(at);
    // `preceding` leaves the instant itself out.
    let next = at.checked_add(NANO).unwrap_or(at);
    let change = zone.preceding(next).next();
    let before = change.and_then(|change| change.timestamp().checked_sub(NANO).ok());
    before.map_or(now, |before| now.max(zone.to_datetime(before)))
}

/// The instant at which the clocks of a zone show a time: the first where they do twice, and the first after the gap where they
/// never do.
#[must_use]
pub fn instant(zone: &TimeZone, time: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(time).offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
            offset.to_timestamp(time).ok()
        }
        AmbiguousOffset::Gap { after, .. } => {
            // By the offset of after the gap, the time is shortly before it.
            let before = after.to_timestamp(time).ok()?;
            let mut changes = zone.following(before);
            changes
                .find(|change| change.offset() == after)
                .map(|change| change.timestamp())
        }
    }
}
