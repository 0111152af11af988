//! stub
#![allow(missing_docs)]
use jiff::Zoned;
#[derive(Debug, Clone)]
pub struct Window;
pub enum WindowState {
    Open { until: Zoned },
    Closed { opens: Zoned },
}
#[derive(Debug, thiserror::Error)]
#[error("window start {0:?}")]
pub struct WindowError(String);
impl Window {
    pub fn parse(start: &str, _length: &str) -> Result<Self, WindowError> {
        if start.contains(':') {
            Ok(Self)
        } else {
            Err(WindowError(start.into()))
        }
    }
    pub fn state(&self, now: &Zoned) -> WindowState {
        WindowState::Open { until: now.clone() }
    }
}
