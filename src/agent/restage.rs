//! When does update_engine look again, although it has staged an update? Pure.
//!
//! While an update is staged, update_engine looks for no newer one. A node that waits long would reboot twice: into what
//! was staged, and soon after into what is newest by then.

use std::time::Duration;

use jiff::{Timestamp, Zoned};
use semaphore::records::ImageId;
use windows::{Start, Windows};

/// How long before its window a node keeps what is staged: a download takes its time, and the check may fail.
const BEFORE_WINDOW: Duration = Duration::from_secs(3600);

/// Why update_engine forgets a staged update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// It is quarantined: update_engine looks again when its time comes.
    Quarantined,
    /// It has grown old: update_engine looks again at once.
    Old,
    /// Another image is open to the node's group: update_engine looks again at once.
    NewerWave,
}

/// A staged update that update_engine is to forget, so that it looks for a newer one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restaged {
    /// The update.
    pub image: ImageId,
    /// Why.
    pub why: Reset,
    /// Until when it is waited for, on the monotonic clock.
    pub until: Duration,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Now.
    Now,
    /// Not before so long; what keeps it may be there still.
    In(Duration),
}

/// Decides whether update_engine is to look again now. What is staged has been there, or has been looked at again, since
/// `since`, and may be `after` old. `usual` is how long a reboot of this node takes, where that is known.
///
/// The hour before a window that the node can use, and the window itself, are for the reboot. Where the node may go at any
/// time, what is newest is still worth the wait for a download.
#[must_use]
pub fn decide(
    after: Duration,
    since: Timestamp,
    windows: &Windows,
    usual: Option<Duration>,
    now: &Zoned,
) -> Look {
    let until = |then: Timestamp| Duration::try_from(then.duration_since(now.timestamp()));
    let due = since.saturating_add(after).unwrap_or(Timestamp::MAX);
    if due > now.timestamp() {
        return Look::In(until(due).unwrap_or_default());
    }
    let kept = match windows::decide(windows, usual, now) {
        Start::Open { until: None } | Start::Closed { opens: None } => return Look::Now,
        Start::Open {
            until: Some(closes),
        } => closes,
        Start::Closed { opens: Some(opens) } | Start::TooShort { opens, .. } => {
            if until(opens.timestamp()).is_ok_and(|left| left > BEFORE_WINDOW) {
                return Look::Now;
            }
            opens
        }
    };
    Look::In(until(kept.timestamp()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use windows::{Window, Windows};

    use super::*;

    const HOUR: u64 = 3600;

    #[test]
    fn what_grew_old_is_looked_at_again_but_not_in_its_window_or_the_hour_before() {
        let always = Windows::default();
        // 02:00 to 04:00, every day.
        let night = Windows::of(Some(Window::parse("02:00", "2h").unwrap()), &[]).unwrap();
        let hours = |hours: u64| Duration::from_secs(hours * HOUR);
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        for (what, windows, staged, now, usual, expected) in [
            ("young", &always, 10, hours(12), None, Look::In(hours(22))),
            ("old, at any time", &always, 10, hours(34), None, Look::Now),
            (
                "staged just now",
                &always,
                10,
                hours(10),
                None,
                Look::In(hours(24)),
            ),
            // A clock that was set back: it is not old.
            (
                "of the future",
                &always,
                10,
                hours(8),
                None,
                Look::In(hours(26)),
            ),
            (
                "young, in the window",
                &night,
                10,
                hours(26),
                None,
                Look::In(hours(8)),
            ),
            (
                "old, long before the window",
                &night,
                10,
                hours(34),
                None,
                Look::Now,
            ),
            (
                "old, an hour and a bit before it",
                &night,
                1,
                minutes(48 * 60 + 59),
                None,
                Look::Now,
            ),
            (
                "old, an hour before it",
                &night,
                1,
                hours(49),
                None,
                Look::In(hours(1)),
            ),
            (
                "old, a minute before it",
                &night,
                1,
                minutes(49 * 60 + 59),
                None,
                Look::In(minutes(1)),
            ),
            (
                "old, in the window",
                &night,
                1,
                hours(51),
                None,
                Look::In(hours(1)),
            ),
            (
                "old, when it has closed",
                &night,
                1,
                hours(52),
                None,
                Look::Now,
            ),
            // What is left of the window is too short for this node: it waits for the next one.
            (
                "old, too late in it",
                &night,
                1,
                hours(51),
                Some(minutes(90)),
                Look::Now,
            ),
            (
                "old, early in it",
                &night,
                1,
                minutes(50 * 60 + 10),
                Some(minutes(90)),
                Look::In(minutes(20)),
            ),
        ] {
            let at = |since: Duration| Timestamp::UNIX_EPOCH.saturating_add(since).unwrap();
            let now = at(now).to_zoned(TimeZone::UTC);
            let since = at(hours(staged));
            let found = decide(hours(24), since, windows, usual, &now);
            assert_eq!(found, expected, "{what}");
        }
    }
}
