//! Lengths of time as people write them: `90m`, `1h 30m`, `10 minutes`, `1d`, `2w`, `1.5h`, `250ms`.

use std::time::Duration;

use jiff::SignedDuration;

/// Why a text is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("found {found:?}, expected {}", self.expected())]
pub struct DurationError {
    /// The text.
    pub found: String,
}

impl DurationError {
    /// What may be there; of a number without a unit, the number with the units it may have.
    #[must_use]
    pub fn expected(&self) -> String {
        let number = self.found.trim();
        if is_number(number) {
            format!("a unit after the number: {number}s, {number}m, {number}h or {number}d")
        } else {
            "a duration such as 30s or 1h30m".to_owned()
        }
    }
}

/// The units that systemd's time spans have (`systemd.time(7)`), with their lengths in nanoseconds. A month is 30.44 days and a
/// year 365.25 days there.
const UNITS: &[(&[&str], u128)] = &[
    (&["ns", "nsec", "nsecs"], 1),
    (&["us", "\u{b5}s", "\u{3bc}s", "usec", "usecs"], 1_000),
    (&["ms", "msec", "msecs"], 1_000_000),
    (&["s", "sec", "secs", "second", "seconds"], SECOND),
    (&["m", "min", "mins", "minute", "minutes"], 60 * SECOND),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600 * SECOND),
    (&["d", "day", "days"], 86_400 * SECOND),
    (&["w", "wk", "wks", "week", "weeks"], 604_800 * SECOND),
    (&["M", "month", "months"], 2_629_800 * SECOND),
    (&["y", "yr", "yrs", "year", "years"], 31_557_600 * SECOND),
];
const SECOND: u128 = 1_000_000_000;

/// Reads a length of time: numbers with units, with or without spaces, as [`parse_go`] or systemd reads them. Where they
/// differ (`1M`), Go's reading counts. A day is 24 hours.
///
/// # Errors
/// When it is anything else, negative, or a number without a unit that is not 0.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    parse_go(text).or_else(|error| {
        let length = spans(text).and_then(|nanos| {
            let seconds = u64::try_from(nanos / SECOND).ok()?;
            let rest = u32::try_from(nanos % SECOND).ok()?;
            // What can be added to a time.
            i64::try_from(seconds).ok()?;
            Some(Duration::new(seconds, rest))
        });
        length.ok_or(error)
    })
}

/// Reads a length of time in locksmith's grammar, which is that of Go's `time.ParseDuration`: numbers with units from `h` to
/// `ns`, without spaces.
///
/// # Errors
/// When it is anything else, negative, or in units whose length varies (days).
pub fn parse_go(text: &str) -> Result<Duration, DurationError> {
    let bad = || DurationError {
        found: text.to_owned(),
    };
    // Go's zero has no unit.
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    // Neither spaces nor ISO 8601 (PT1H), which the library reads as well.
    if text.contains(char::is_whitespace) || text.contains(['P', 'p']) {
        return Err(bad());
    }
    let length: SignedDuration = text.parse().map_err(|_| bad())?;
    length.try_into().map_err(|_| bad())
}

/// A sum of numbers with units, in nanoseconds.
fn spans(text: &str) -> Option<u128> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut sum: u128 = 0;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split(after.trim_start(), char::is_alphabetic);
        let (_, length) = UNITS.iter().find(|(names, _)| names.contains(&unit))?;
        sum = sum.checked_add(times(number, *length)?)?;
        rest = after.trim_start();
    }
    Some(sum)
}

/// A decimal number of units, in nanoseconds; what is smaller is cut off.
fn times(number: &str, length: u128) -> Option<u128> {
    if !is_number(number) {
        return None;
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // Below a nanosecond of the longest unit, digits change nothing.
    let fraction = &fraction[..fraction.len().min(18)];
    let power = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let of = |digits: &str| match digits {
        "" => Some(0),
        _ => digits.parse::<u64>().ok().map(u128::from),
    };
    Some(of(whole)? * length + of(fraction)? * length / power)
}

/// Whether it is a decimal number.
fn is_number(text: &str) -> bool {
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    text.contains(|c: char| c.is_ascii_digit())
        && text.chars().all(digits)
        && text.matches('.').count() <= 1
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// Prints a length of time as [`parse`] reads it, in the largest units that fit.
#[must_use]
pub fn print(length: Duration) -> String {
    let (seconds, nanos) = (length.as_secs(), length.subsec_nanos());
    if seconds == 0 && nanos > 0 {
        return format!("{}ms", f64::from(nanos) / 1e6);
    }
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = String::new();
    for (number, unit) in [(hours, "h"), (minutes, "m")] {
        if number > 0 {
            text += &format!("{number}{unit}");
        }
    }
    if nanos > 0 {
        #[allow(clippy::cast_precision_loss, reason = "below sixty")]
        let fraction = seconds as f64 + f64::from(nanos) / 1e9;
        text += &format!("{fraction}s");
    } else if seconds > 0 || text.is_empty() {
        text += &format!("{seconds}s");
    }
    text
}

/// A length of time in a document that people write and read, as the text that [`print()`] makes and [`parse`] reads. For serde's
/// `with`.
pub mod text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes it.
    ///
    /// # Errors
    /// As the serializer.
    pub fn serialize<S: Serializer>(length: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::print(*length))
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is no length of time.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        super::parse(&text).map_err(D::Error::custom)
    }
}

/// As [`text`], for a field that may be absent.
pub mod optional_text {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    /// Writes it; of none, null.
    ///
    /// # Errors
    /// As the serializer.
    pub fn serialize<S: Serializer>(length: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match length {
            Some(length) => super::text::serialize(length, to),
            None => to.serialize_none(),
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is no length of time.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        super::text::deserialize(from).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed_in_short_form() {
        for (text, milliseconds, printed) in [
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("250ms", 250, "250ms"),
            ("90s", 90_000, "1m30s"),
            ("1.5h", 5_400_000, "1h30m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("60m", 3_600_000, "1h"),
            ("1h0m5s", 3_605_000, "1h5s"),
            ("1.5s", 1_500, "1.5s"),
            ("36h", 129_600_000, "36h"),
        ] {
            let length = parse(text).unwrap();
            assert_eq!(length, Duration::from_millis(milliseconds), "{text}");
            assert_eq!(print(length), printed);
            assert_eq!(parse(printed).unwrap(), length);
        }
    }

    #[test]
    fn spaces_words_days_and_weeks_are_read() {
        for (text, seconds) in [
            ("90m", 5_400),
            ("1h 30m", 5_400),
            (" 10 minutes ", 600),
            ("1d", 86_400),
            ("2w", 1_209_600),
            ("1d12h", 129_600),
            ("0.5d", 43_200),
            // systemd.time(7)'s own examples.
            ("2 h", 7_200),
            ("2hours", 7_200),
            ("48hr", 172_800),
            ("5day 20s", 432_020),
            ("20s 5day", 432_020),
            ("1y 12month", 63_115_200),
            ("5min 1s", 301),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("55s500ms"), Ok(Duration::from_millis(55_500)));
        assert_eq!(parse("3 usec"), Ok(Duration::from_micros(3)));
    }

    #[test]
    fn locksmiths_grammar_has_no_days_and_no_spaces() {
        for text in ["1d", "1h 30m", "10 minutes", "2w", "5"] {
            assert!(parse_go(text).is_err(), "{text}");
        }
        assert_eq!(parse_go("1h30m"), Ok(Duration::from_secs(5_400)));
    }

    #[test]
    fn a_number_without_a_unit_says_which_units_there_are() {
        assert_eq!(
            parse("90").unwrap_err().to_string(),
            "found \"90\", expected a unit after the number: 90s, 90m, 90h or 90d"
        );
    }

    #[test]
    fn invalid_duration_is_named() {
        for text in [
            "",
            " ",
            "-1h",
            "1h 30",
            "1h -30m",
            "1..5h",
            ". h",
            "soon",
            "5 parsecs",
            "h",
            "PT1H",
            "99999999999999999999h",
            "999999999999999999y",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.contains(&format!("{text:?}")) && error.contains("1h30m"),
                "{error}"
            );
        }
    }
}
