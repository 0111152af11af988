//! A claim that waits for a wave.

use std::time::Duration;

use tokio::time::Instant;

use super::Run;
use crate::{
    etcd::{Error, Wait},
    gates::{Closed, ClosedBy, ShutWave},
    queue::{Block, Step},
};

/// What a run does about a wave that it waits for.
#[derive(Debug, Default)]
pub(super) struct WaveTries {
    /// When it sees again to it that the wave opens, if that is due.
    pub(super) again: Option<Instant>,
    /// Whether it has waited for one since it last spread.
    waited: bool,
}

impl WaveTries {
    /// How long to wait before the ticket, once: all who waited for a wave see it open at the same instant.
    pub(super) fn spread(&mut self, over: Duration) -> Option<Duration> {
        self.again = None;
        let waited = std::mem::take(&mut self.waited) && !over.is_zero();
        waited.then(|| over.mul_f64(fraction()))
    }
}

impl Run<'_> {
    /// Opens the wave that the node waits for, where that is due and nobody has done so: who proved the image last may be gone.
    /// At once, and then every so often, not all nodes at the same time. Whether something has changed.
    pub(super) async fn see_to_wave(&mut self, shut: &ShutWave) -> Result<bool, Error> {
        self.wave.waited = true;
        let now = Instant::now();
        if shut.soaks || self.wave.again.is_some_and(|again| now < again) {
            return Ok(false);
        }
        let retry = self.claim.waves.retry;
        self.wave.again = Some(now + retry.mul_f64(0.75 + fraction() / 2.0));
        let Some(digest) = &shut.to.digest else {
            return Ok(false);
        };
        let before = self.semaphore.keys.of_group(shut.group.clone());
        let version = shut.to.version.as_deref();
        self.semaphore.open_wave(&before, digest, version).await
    }
}

/// The wave that keeps the claim from its ticket, if one does.
pub(super) fn shut_wave(step: &Step) -> Option<&ShutWave> {
    match step {
        Step::Blocked(Block::Gate(Closed {
            by: ClosedBy::Wave(shut),
            ..
        })) => Some(shut),
        _ => None,
    }
}

pub(super) fn spread_out(wait: Duration) -> Wait {
    Wait {
        waits_for: format!(
            "the image is open to this group; the nodes that waited for that join the queue one after another, this one in {}",
            host::duration::print(Duration::from_secs(wait.as_secs()))
        ),
        ..Wait::default()
    }
}

/// A random number from 0 to 1.
fn fraction() -> f64 {
    let mut bytes = [0u8; 4];
    // Without randomness all go at once, which is only a load.
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}
