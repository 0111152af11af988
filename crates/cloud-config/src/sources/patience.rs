//! How long what gives nothing is asked again, less and less often.

use std::time::Duration;

use backon::BackoffBuilder as _;
use tokio::time::Instant;

use super::Retry;

/// How long who has the trouble of a moment is asked again where nobody said how long to wait.
const UNSAID: Duration = Duration::from_secs(10);

/// The patience with one source, or with one file that is elsewhere.
#[derive(Debug)]
pub(crate) struct Patience {
    started: Instant,
    wait: Option<Duration>,
    pauses: backon::ExponentialBackoff,
}

impl Patience {
    /// From now on: for so long, where that was said.
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

    /// The pause until it is to be asked again; none where that is not worth it, or the time is up.
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
