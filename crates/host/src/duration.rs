//! Lengths of time as people write them: `1h30m`, `90s`, `1.5h`, `250ms`.

use std::time::Duration;

use jiff::SignedDuration;

/// Why a text is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("found {found:?}, expected a duration such as 30s or 1h30m")]
pub struct DurationError {
    /// The text.
    pub found: String,
}

/// Reads a length of time: numbers with units from `h` to `ns`, as Go's `time.ParseDuration` does.
///
/// # Errors
/// When it is anything else, negative, or in units whose length varies (days).
pub fn parse(text: &str) -> Result<Duration, DurationError> {
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
    fn invalid_duration_is_named() {
        for text in [
            "",
            "5",
            "1d",
            "-1h",
            "1h 30m",
            "soon",
            "5 parsecs",
            "h",
            "PT1H",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.contains(&format!("{text:?}")) && error.contains("1h30m"),
                "{error}"
            );
        }
    }
}
