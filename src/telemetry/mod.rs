//! Logs, and what systemd is told.

pub mod notify;

use std::{io::Write as _, os::fd::AsFd as _};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Starts the log: to the journal where standard error is connected to it, else to standard error.
/// `POINTSMAN_LOG` says what is logged (`debug`, `pointsman=trace,warn`, …); without it `default`.
pub fn init(default: &str) {
    let wanted = std::env::var("POINTSMAN_LOG").unwrap_or_default();
    let (filter, complaint) = match EnvFilter::try_new(&wanted) {
        _ if wanted.is_empty() => (EnvFilter::new(default), None),
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(default), Some(error)),
    };
    let journal = in_journal()
        .then(tracing_journald::layer)
        .and_then(Result::ok);
    let registry = tracing_subscriber::registry().with(filter);
    match journal {
        Some(journal) => registry
            .with(journal.with_syslog_identifier("pointsman".into()))
            .init(),
        None => registry
            .with(
                fmt::layer()
                    .with_writer(std::io::stderr)
                    .with_target(false)
                    .with_ansi(false),
            )
            .init(),
    }
    if let Some(error) = complaint {
        tracing::warn!(
            "POINTSMAN_LOG={wanted}: {error}; expected a level or filters such as pointsman=debug"
        );
    }
}

/// Tells whoever runs the program in the foreground, where the log is mostly not shown.
pub fn say(line: &str) {
    // Whoever closed it does not want to know.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether standard error is the journal's stream (systemd.exec(5), `$JOURNAL_STREAM`).
fn in_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    nix::sys::stat::fstat(std::io::stderr().as_fd())
        .is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}
