//! `pointsman windows`.

use std::{fs, path::Path, time::Duration};

use host::{duration, node, time};
use jiff::{Timestamp, Zoned, civil::DateTime, tz::TimeZone};
use serde::Serialize;
use settings::Strategy;
use windows::{Period, State, Window, WindowSpec, Windows};

use super::{
    Context, Exit, Failure,
    common::JsonArgs,
    output,
    table::{cells, table, trimmed},
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many of the next windows to show
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(..=1000))]
    next: u16,

    /// The time to look at, such as 2026-12-05T02:00:00Z, or 2026-12-05T02:00 in the zone of the window [default: now]
    #[arg(long, value_name = "INSTANT")]
    at: Option<String>,

    /// A window in place of those of the configuration: a calendar time such as 'Sat 02:00'. Without --zone, a time such as
    /// 04:00 or 'Thu 04:00' is read as window.start is
    #[arg(long, value_name = "CALENDAR", requires = "length")]
    window: Option<String>,

    /// The length of that window, such as 4h
    #[arg(long = "for", id = "length", value_name = "DURATION", requires = "window", value_parser = duration::parse)]
    length: Option<Duration>,

    /// The time zone of that window, such as Europe/Berlin [default: that of this machine]
    #[arg(long, value_name = "ZONE", requires = "window")]
    zone: Option<String>,

    #[command(flatten)]
    json: JsonArgs,
}

/// What `--json` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Shown {
    /// Whether reboots may start.
    inside: bool,
    /// Since when, with its offset; null outside, and where it is a year ago or more.
    since: Option<String>,
    /// Until when; null outside, and where it is a year ahead or more.
    until: Option<String>,
    /// The next windows; the one that is open is not among them.
    next: Vec<Next>,
    /// The version of the time zone data; null where it is not known.
    tzdata: Option<String>,
}

/// A window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Next {
    /// When it opens.
    start: String,
    /// When it closes; null where that is a year later or more.
    end: Option<String>,
    /// The zone of both.
    zone: String,
}

impl Args {
    /// Whether no configuration is needed.
    pub(super) fn names_a_window(&self) -> bool {
        self.window.is_some()
    }

    /// The window of the flags.
    fn window(&self) -> Result<Option<Windows>, Failure> {
        let (Some(at), Some(length)) = (&self.window, self.length) else {
            return Ok(None);
        };
        let length = duration::print(length);
        let is_pair = self.zone.is_none() && Window::parse(at, "1h").is_ok();
        if is_pair {
            let pair = Window::parse(at, &length)
                .map_err(|error| Failure::new(Exit::Usage, format!("--for: {error}")))?;
            return Ok(Some(one(Some(pair), &[])?));
        }
        let spec = WindowSpec {
            at: at.clone(),
            length,
            zone: self.zone.clone(),
            ..WindowSpec::default()
        };
        Ok(Some(one(None, &[spec])?))
    }

    /// The time to look at.
    fn now(&self, local: &TimeZone) -> Result<Zoned, Failure> {
        let Some(text) = &self.at else {
            return Ok(Timestamp::now().to_zoned(local.clone()));
        };
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(at.to_zoned(local.clone()));
        }
        let named = self.zone.as_deref().map(TimeZone::get);
        let zone = named.and_then(Result::ok).unwrap_or_else(|| local.clone());
        let civil = text.parse::<DateTime>().ok();
        civil
            .and_then(|civil| civil.to_zoned(zone).ok())
            .map(|at| at.with_time_zone(local.clone()))
            .ok_or_else(|| {
                Failure::value(
                    "--at",
                    format!("{text:?}"),
                    "a time such as 2026-12-05T02:00:00Z or 2026-12-05T02:00",
                )
            })
    }
}

fn one(pair: Option<Window>, specs: &[WindowSpec]) -> Result<Windows, Failure> {
    Windows::of(pair, specs).map_err(|error| {
        let flag = match error.key {
            "at" => "--window",
            "for" => "--for",
            _ => "--zone",
        };
        Failure::new(Exit::Usage, format!("{flag}: {}", error.problem))
    })
}

/// Shows the windows of the configuration.
///
/// # Errors
/// Outside of them, by the exit code alone; and when they cannot be printed.
pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let config = &context.config;
    // Without an id there is no agent either, nor its delay.
    let id = node::machine_id(&config.root).unwrap_or_default();
    let windows = config.windows.clone().on_node(&id);
    let shown = show(&windows, args, &node::time_zone(&config.root));
    if !args.json.json && config.strategy == Strategy::EtcdLock {
        output::say(
            "These are the windows of this node's configuration. The group's policy may have windows as well, and both must be open: \
             pointsman policy",
        )?;
    }
    shown
}

/// Shows the window that the flags name.
///
/// # Errors
/// As [`run`]; also where the flags name none.
pub fn of_flags(args: &Args, root: &node::Root) -> Result<(), Failure> {
    let windows = args.window()?.unwrap_or_default();
    show(&windows, args, &node::time_zone(root))
}

fn show(windows: &Windows, args: &Args, local: &TimeZone) -> Result<(), Failure> {
    let now = args.now(local)?;
    let state = windows.state(&now);
    let next: Vec<Period> = windows.periods(&now).take(args.next.into()).collect();
    let tzdata = zone_data_version();
    let inside = matches!(state, State::Open { .. });
    if args.json.json {
        let (since, until) = match state {
            State::Open { since, until } => (since, until),
            State::Closed { .. } => (None, None),
        };
        output::json(&Shown {
            inside,
            since: since.as_ref().map(rfc3339),
            until: until.as_ref().map(rfc3339),
            next: next.iter().map(Next::of).collect(),
            tzdata,
        })?;
    } else {
        output::say(sentence(windows, &state, &now))?;
        if !next.is_empty() {
            let mut shown = table(&["START", "END", "ZONE"]);
            for period in &next {
                let end = period.end.as_ref().map_or("-".into(), time::with_offset);
                let start = time::with_offset(&period.start);
                shown.add_row(cells(vec![start, end, zone_name(&period.start)]));
            }
            output::say(trimmed(&shown))?;
        }
        let version = tzdata.unwrap_or_else(|| "of unknown version".into());
        output::say(format!("time zone data: {version}"))?;
    }
    if inside {
        Ok(())
    } else {
        Err(Failure::new(
            Exit::Refused,
            "outside the reboot window".to_owned(),
        ))
    }
}

fn sentence(windows: &Windows, state: &State, now: &Zoned) -> String {
    let now = time::with_offset(now);
    match state {
        _ if windows.is_empty() => {
            "no reboot window is configured: reboots may start at any time".into()
        }
        State::Open { since, until } => {
            let since = since.as_ref().map_or("for a year or more".into(), |since| {
                format!("since {}", time::with_offset(since))
            });
            let until = until.as_ref().map_or("for a year or more".into(), |until| {
                format!("until {}", time::with_offset(until))
            });
            format!("{now}: inside the reboot window ({windows}), open {since}, {until}")
        }
        State::Closed { opens: None } => {
            format!("{now}: outside the reboot window ({windows}), and none is to come")
        }
        State::Closed { opens: Some(opens) } => format!(
            "{now}: outside the reboot window ({windows}); it opens {}",
            time::with_offset(opens)
        ),
    }
}

impl Next {
    fn of(period: &Period) -> Self {
        Self {
            start: rfc3339(&period.start),
            end: period.end.as_ref().map(rfc3339),
            zone: zone_name(&period.start),
        }
    }
}

fn rfc3339(at: &Zoned) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string()
}

/// The zone's name, or its offset where it has none.
fn zone_name(at: &Zoned) -> String {
    // What is read from a machine's own file has no name.
    let name = at.time_zone().iana_name().filter(|name| *name != "local");
    name.map_or_else(|| at.strftime("%:z").to_string(), str::to_owned)
}

/// The version of the system's time zone data, such as `2025b`; none where the data do not say it.
fn zone_data_version() -> Option<String> {
    let folder = std::env::var_os("TZDIR").unwrap_or_else(|| "/usr/share/zoneinfo".into());
    let folder = Path::new(&folder);
    let first_line = |name: &str| {
        let text = fs::read_to_string(folder.join(name)).ok()?;
        text.lines().next().map(str::to_owned)
    };
    let source = first_line("tzdata.zi").and_then(|line| {
        let version = line.strip_prefix("# version ")?;
        Some(version.trim().to_owned())
    });
    source
        .or_else(|| first_line("+VERSION"))
        .or_else(|| first_line("version"))
        .filter(|version| !version.is_empty())
}
