//! What systemd is told of the agent (sd_notify(3)). Without systemd these do nothing.

use std::{pin::pin, time::Duration};

use sd_notify::NotifyState;
use tokio::time::{Instant, sleep_until};

use crate::text;

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("the service manager cannot be told: {error}");
    }
}

/// The agent has started.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// What `systemctl status` shows.
pub fn status(said: &str) {
    // One line: the protocol's own separator would begin another field.
    tell(&[NotifyState::Status(&text::one_line(said))]);
}

/// The agent ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Within what time the watchdog wants to be fed; none where there is none.
#[must_use]
pub fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Waits for something, and feeds the watchdog meanwhile.
pub async fn watched<T>(doing: impl Future<Output = T>) -> T {
    let Some(period) = watchdog_period() else {
        return doing.await;
    };
    let mut doing = pin!(doing);
    loop {
        let next = Instant::now() + period / 2;
        tokio::select! {
            biased;
            done = &mut doing => return done,
            () = sleep_until(next) => watchdog(),
        }
    }
}

/// Feeds the watchdog.
pub fn watchdog() {
    tell(&[NotifyState::Watchdog]);
}
