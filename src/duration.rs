//! stub
#![allow(missing_docs)]
use std::time::Duration;
pub fn parse(text: &str) -> Result<Duration, String> {
    let d: jiff::SignedDuration = text.parse().map_err(|e: jiff::Error| e.to_string())?;
    Duration::try_from(d).map_err(|e| e.to_string())
}
pub fn print(d: Duration) -> String {
    format!("{d:?}")
}
