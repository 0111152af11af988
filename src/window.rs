//! stub
#![allow(missing_docs)]
use jiff::Zoned;
#[derive(Debug, Clone)]
pub struct Window;
pub enum WindowState {
    Open { until: Zoned },
    Closed { opens: Zoned },
}
impl Window {
    pub fn state(&self, now: &Zoned) -> WindowState {
        WindowState::Open { until: now.clone() }
    }
}
