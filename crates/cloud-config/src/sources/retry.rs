//! How long, and how often, an unavailable source is asked again.

use std::time::Duration;

use backon::BackoffBuilder as _;
use tokio::time::Instant;

use super::Retry;

/// How long to wait for a problem that may pass soon, without another limit.
const UNSAID: Duration = Duration::from_secs(10);

/// The schedule for asking one source, or one file's server, again.
#[derive(Debug)]
pub(crate) struct RetrySchedule {
    started: Instant,
    wait: Option<Duration>,
    pauses: backon::ExponentialBackoff,
}

impl RetrySchedule {
    /// Starts now, with this limit.
    pub(crate) fn new(wait: Option<Duration>) -> Self {
        let pauses = backon::ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(250))
            .with_max_delay(Duration::from_secs(5))
            .with_jitter()
            .without_max_times()
            .build();
        Self {
            started: Instant::now(),
            wait,
            pauses,
        }
    }

    /// Returns the pause before the next request; none if there is to be none.
    pub(crate) fn again(&mut self, retry: Retry) -> Option<Duration> {
        let most = match (retry, self.wait) {
            (Retry::Never, _) | (Retry::Later, None) => return None,
            (Retry::Soon, None) => UNSAID,
            (_, Some(wait)) => wait,
        };
        let pause = self.pauses.next()?;
        (self.started.elapsed() + pause < most).then_some(pause)
    }
}
