//! Logs, and what systemd is told.

pub mod notify;

use std::{io::Write as _, os::fd::AsFd as _};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        self, FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::text;

/// Starts the log: to the journal where standard error is connected to it, else to standard error.
/// `POINTSMAN_LOG` says what is logged (`debug`, `pointsman=trace,warn`, …); without it `default`.
pub fn init(default: &str) {
    let wanted = std::env::var("POINTSMAN_LOG").unwrap_or_default();
    let (filter, complaint) = match EnvFilter::try_new(&wanted) {
        _ if wanted.is_empty() => (EnvFilter::new(default), None),
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(default), Some(error)),
    };
    let format = if in_journal() {
        Format::Journal
    } else {
        Format::Terminal
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(
            fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(false)
                .event_format(format),
        )
        .init();
    if let Some(error) = complaint {
        tracing::warn!(
            "POINTSMAN_LOG={wanted}: {error}; expected a level or filters such as pointsman=debug"
        );
    }
}

/// How an event becomes a line. What others wrote is in many of them: each stays on its line, and none acts on the
/// terminal of who reads it.
enum Format {
    /// With its level as systemd reads it from a service's standard error (sd-daemon(3)); the journal has the time.
    Journal,
    /// With time and level, for people.
    Terminal,
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut said = String::new();
        context.format_fields(Writer::new(&mut said), event)?;
        let said = text::one_line(&said);
        let level = *event.metadata().level();
        match self {
            Self::Journal => writeln!(out, "<{}>{said}", priority(level)),
            Self::Terminal => {
                SystemTime.format_time(&mut out)?;
                writeln!(out, " {level:>5} {said}")
            }
        }
    }
}

/// The level as syslog(3) numbers it, as `journalctl -p` takes it: trouble is `warning` and above.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// Tells whoever runs the program in the foreground, where the log is mostly not shown.
pub fn say(line: &str) {
    // Whoever closed it does not want to know.
    let _ = writeln!(std::io::stderr(), "{}", text::one_line(line));
}

/// Whether standard error is the journal's stream (systemd.exec(5), `$JOURNAL_STREAM`).
fn in_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    nix::sys::stat::fstat(std::io::stderr().as_fd())
        .is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}
