//! When the end of a certificate's validity is worth a warning: the one rule for all of them. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::time;

/// How long before a certificate expires that is said.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// How a certificate stands to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expiry {
    /// It is valid for more than fourteen days.
    Valid,
    /// It expires within fourteen days.
    Soon,
    /// It has expired.
    Expired,
}

impl Expiry {
    /// How a certificate that is valid until then stands now.
    #[must_use]
    pub fn of(until: Timestamp, now: Timestamp) -> Self {
        let left = until.duration_since(now);
        if !left.is_positive() {
            Self::Expired
        } else if left <= SOON {
            Self::Soon
        } else {
            Self::Valid
        }
    }
}

/// What is said of a certificate that is valid until then: the predicate of a sentence.
#[must_use]
pub fn told(until: Timestamp, now: Timestamp) -> String {
    let shown = time::shown_in_utc(until);
    match Expiry::of(until, now) {
        Expiry::Expired => format!("expired {shown}, or this machine's clock is wrong"),
        Expiry::Soon => format!(
            "expires {shown}, in {} days",
            until.duration_since(now).as_hours() / 24
        ),
        Expiry::Valid => format!("is valid until {shown}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_soon_at_its_end_from_fourteen_days_on() {
        let until: Timestamp = "2026-12-15T12:00:00Z".parse().unwrap();
        for (now, expected) in [
            ("2026-12-01T11:59:59Z", Expiry::Valid),
            ("2026-12-01T12:00:00Z", Expiry::Soon),
            ("2026-12-15T11:59:59Z", Expiry::Soon),
            ("2026-12-15T12:00:00Z", Expiry::Expired),
        ] {
            assert_eq!(Expiry::of(until, now.parse().unwrap()), expected, "{now}");
        }
    }
}
