//! Times as people are shown them: one form everywhere, with its zone. JSON, D-Bus and etcd have RFC 3339 instead.

use jiff::{Timestamp, Zoned, tz::TimeZone};

/// A time in this zone, to the second: `2026-11-30 02:34:33 UTC`.
#[must_use]
pub fn shown(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone())
        .strftime("%Y-%m-%d %H:%M:%S %Z")
        .to_string()
}

/// A time of a calendar in its zone, with the day of the week and the offset from UTC: `Sat 2026-12-05 02:00:00 +01:00`.
#[must_use]
pub fn with_offset(at: &Zoned) -> String {
    at.strftime("%a %Y-%m-%d %H:%M:%S %:z").to_string()
}

/// A time in UTC, for a text that is read on other machines as well.
#[must_use]
pub fn shown_in_utc(at: Timestamp) -> String {
    shown(at, &TimeZone::UTC)
}

/// A time, and how long ago it was: `2026-11-30 02:34:33 UTC (2m ago)`. A time in the future, by another machine's clock, is
/// `0s ago`.
#[must_use]
pub fn ago(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let seconds = now.duration_since(at).as_secs().max(0);
    let ago = match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d", seconds / 86_400),
    };
    format!("{} ({ago} ago)", shown(at, zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_time_is_shown_with_its_zone() {
        let winter = at("2026-11-30T02:34:33.7Z");
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(shown(winter, &berlin), "2026-11-30 03:34:33 CET");
        assert_eq!(shown_in_utc(winter), "2026-11-30 02:34:33 UTC");
        assert_eq!(
            with_offset(&winter.to_zoned(berlin)),
            "Mon 2026-11-30 03:34:33 +01:00"
        );
    }

    #[test]
    fn time_since_is_shown_in_suitable_units() {
        let then = at("2026-11-30T00:00:00Z");
        for (now, says) in [
            ("2026-11-29T23:59:00Z", "0s"),
            ("2026-11-30T00:00:59Z", "59s"),
            ("2026-11-30T00:01:59Z", "1m"),
            ("2026-11-30T02:03:00Z", "2h3m"),
            ("2026-12-02T23:00:00Z", "2d"),
        ] {
            let expected = format!("2026-11-30 00:00:00 UTC ({says} ago)");
            assert_eq!(ago(then, at(now), &TimeZone::UTC), expected);
        }
    }
}
