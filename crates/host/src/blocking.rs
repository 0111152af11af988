//! Work that may wait for a disk, off the reactor's thread: the program runs on one thread, and while that waits neither
//! the watchdog is fed, nor D-Bus answered, nor a lease in etcd kept.

use std::panic;

/// Runs `work` on a thread of its own. It goes on to its end also where nobody waits for it any more.
///
/// # Panics
/// When `work` does.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // It cannot be cancelled once it has begun, and the runtime ends after all who wait.
        Err(error) => panic::resume_unwind(error.into_panic()),
    }
}
