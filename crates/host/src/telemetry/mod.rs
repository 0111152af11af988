//! Logs, and what systemd is told.

pub mod notify;

use std::{io::Write as _, os::fd::AsFd as _};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::filter_fn,
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
/// `POINTSMAN_LOG` says what is logged (`debug`, `pointsman=debug,warn`, …); without it `default`. From then on a panic is
/// logged, with its message and its place, before the program ends.
pub fn init(default: &str) {
    let wanted = std::env::var("POINTSMAN_LOG").unwrap_or_default();
    let (filter, complaint) = match EnvFilter::try_new(of_all_crates(&wanted)) {
        _ if wanted.is_empty() => (EnvFilter::new(default), None),
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(default), Some(error)),
    };
    let in_journal = in_journal();
    let format = if in_journal {
        Format::Journal
    } else {
        Format::Terminal
    };
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .event_format(format)
        .with_filter(filter_fn(|event| event.target() != EVENTS));
    // Lines have no fields: entries with fields go to the journal's own socket.
    let entries = tracing_journald::layer().ok().filter(|_| in_journal);
    let entries = entries.map(|journal| {
        let events = filter_fn(|event| event.target() == EVENTS);
        journal
            .with_field_prefix(None)
            .with_syslog_identifier("pointsman".into())
            .with_filter(events)
    });
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .with(entries)
        .init();
    std::panic::set_hook(Box::new(|panic| {
        // The one level that no filter takes out.
        tracing::error!("{}", last_words(panic));
    }));
    if let Some(error) = complaint {
        tracing::warn!(
            "POINTSMAN_LOG={wanted}: {error}; expected a level or filters such as pointsman=debug"
        );
    }
}

/// The target of entries for programs: with a message id (systemd.journal-fields(7)) and fields, and only in the journal.
pub const EVENTS: &str = "pointsman::events";

/// The crates that the program is made of, which are one to who filters its log.
const CRATES: [&str; 7] = [
    "pointsman",
    "cloud_config",
    "host",
    "semaphore",
    "settings",
    "slots",
    "yaml",
];

/// The filter with each directive for `pointsman` made one for all crates of the program.
fn of_all_crates(wanted: &str) -> String {
    let directives =
        wanted.split(',').flat_map(
            |directive| match directive.trim().strip_prefix("pointsman=") {
                Some(level) => CRATES.map(|name| format!("{name}={level}")).to_vec(),
                None => vec![directive.to_owned()],
            },
        );
    directives.collect::<Vec<_>>().join(",")
}

/// What is logged of a panic: what was said, and where.
fn last_words(panic: &std::panic::PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let said = text.unwrap_or("no message");
    let place = panic.location().map(ToString::to_string);
    format!(
        "internal error, the program ends: {said} (at {}). Please report this",
        place.as_deref().unwrap_or("an unknown place")
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_of_the_program_is_one_of_all_its_crates() {
        let filter = of_all_crates("pointsman=debug,warn");
        for name in CRATES {
            assert!(filter.contains(&format!("{name}=debug")), "{filter}");
        }
        assert!(filter.ends_with(",warn"), "{filter}");
        for same in ["", "debug", "pointsman::agent=trace,zbus=info"] {
            assert_eq!(of_all_crates(same), same);
        }
    }
}
