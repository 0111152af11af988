//! `pointsman update`: what `update_engine_client` does.

use std::time::Duration;

use host::{
    bus, duration,
    node::RootPath,
    node::{self, Root},
    systemd, time,
    update_engine::{Change, Operation, Status, UpdateEngine, conf},
};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    Context, Exit, Failure, common::JsonArgs, output, progress::Progress, rollback::by_hand,
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what update_engine does.
    Status {
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Let update_engine check for an update now, and wait until one is staged or there is none. Exit 5 if it is not known
    /// whether there is one.
    Check {
        /// Longest time for this, with the download, such as 30m
        #[arg(long, value_name = "DURATION", default_value = "1h")]
        timeout: String,
    },
    /// Let update_engine forget the staged update. Which slot boots next does not change.
    Reset,
    /// Show the channel, or change it: GROUP in update.conf. A change restarts update_engine.
    Channel {
        /// The new channel, such as stable, beta, alpha or lts-2024.
        name: Option<String>,
    },
}

/// Does it.
///
/// # Errors
/// When update_engine cannot be reached, or refuses.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    if let Command::Channel { name } = &args.command {
        return channel(context, name.as_deref()).await;
    }
    let bus = bus::connect(&context.config.root).await?;
    let engine = UpdateEngine::new(&bus);
    match &args.command {
        Command::Status { json } => status(&engine.get_status().await?, json.json),
        Command::Check { timeout } => {
            let limit = duration::parse(timeout)
                .map_err(|error| Failure::new(Exit::Usage, format!("--timeout: {error}")))?;
            check(context, &engine, limit).await
        }
        Command::Reset => {
            reset(&engine).await?;
            output::say(format!(
                "Reset. Which slot boots next has not changed. To see it: {}",
                context.command("slots")
            ))
        }
        Command::Channel { .. } => Ok(()),
    }
}

/// What update_engine says, with the names its own client gives the values.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    last_checked_time: i64,
    progress: f64,
    current_op: &'a str,
    new_version: Option<&'a str>,
    new_size: i64,
}

pub(super) fn status(status: &Status, json: bool) -> Result<(), Failure> {
    let operation = status.operation.to_string();
    if json {
        return output::json(&Shown {
            last_checked_time: status.last_checked,
            progress: status.progress,
            current_op: &operation,
            new_version: status.version.as_deref(),
            new_size: status.size,
        });
    }
    output::say(format!(
        "LAST_CHECKED_TIME={}\nPROGRESS={:.6}\nCURRENT_OP={}\nNEW_VERSION={}\nNEW_SIZE={}",
        status.last_checked,
        status.progress,
        // Scripts read these lines.
        output::in_line(&operation),
        output::in_line(status.version.as_deref().unwrap_or("0.0.0")),
        status.size
    ))
}

/// How often the status is read beside the signals: what somebody else has begun is told to nobody again.
const LOOK: Duration = Duration::from_secs(1);

/// How long update_engine may take to begin what it was asked for, and how old its last check may be at most to be the
/// answer: asked again within a second of another check, it does nothing.
const BEGIN: Duration = Duration::from_secs(10);

/// Asks for an update and says what comes of it, within this time.
async fn check(context: &Context, engine: &UpdateEngine, limit: Duration) -> Result<(), Failure> {
    let mut said = String::new();
    let followed = tokio::time::timeout(limit, follow(&context.config.root, engine, &mut said));
    followed.await.unwrap_or_else(|_| {
        let stands = match said.as_str() {
            "" => "update_engine has not answered".to_owned(),
            said => format!("update_engine continues ({said})"),
        };
        Err(Failure::new(
            Exit::CheckFailed,
            format!(
                "the check did not end within {}, and {stands}",
                duration::print(limit)
            ),
        )
        .remedy("see its progress", context.command("update status")))
    })
}

pub(super) async fn follow(
    root: &Root,
    engine: &UpdateEngine,
    said: &mut String,
) -> Result<(), Failure> {
    // Listens first: a short answer is not missed. What it says first is from before it was asked.
    let mut changes = engine.watch();
    let before = status_of(changes.next().await)?;
    if before.operation == Operation::UpdatedNeedReboot {
        return output::say(format!(
            "{} is already staged and waits for a reboot.",
            version(&before)
        ));
    }
    engine.attempt_update().await?;
    let asked = (Instant::now(), Timestamp::now());
    let mut began = before.operation != Operation::Idle;
    let progress = Progress::new();
    loop {
        let status = tokio::select! {
            change = changes.next() => status_of(change)?,
            () = tokio::time::sleep(LOOK) => engine.get_status().await?,
        };
        let line = match &status.operation {
            Operation::Downloading => format!(
                "downloading {}: {:.0} % of {:.1} MB",
                version(&status),
                status.progress * 100.0,
                status.size as f64 / 1e6
            ),
            Operation::UpdatedNeedReboot => {
                drop(progress);
                return output::say(format!(
                    "{} is staged and waits for a reboot.",
                    version(&status)
                ));
            }
            Operation::Idle => {
                // The server has answered: since it was asked, or to another who asked just before.
                let age = asked.1.as_second() - status.last_checked;
                // The clock may have been set back since.
                let just_before = (0..=BEGIN.as_secs() as i64).contains(&age);
                if status.last_checked != before.last_checked || just_before {
                    drop(progress);
                    return output::say("There is no update.");
                }
                if began || asked.0.elapsed() > BEGIN {
                    return Err(no_answer(root, &status, began));
                }
                continue;
            }
            Operation::ReportingErrorEvent => {
                return Err(Failure::new(Exit::Failed, "update_engine reports an error")
                    .remedy("see which one", "journalctl -u update-engine"));
            }
            other => output::in_line(&other.to_string()),
        };
        began = true;
        if line == *said {
            continue;
        }
        match status.operation {
            _ if !progress.is_on() => output::say(&line)?,
            Operation::Downloading => {
                let of = status.size.max(0).unsigned_abs();
                let done = (of as f64 * status.progress) as u64;
                progress.bytes(&format!("downloading {}", version(&status)), done, of);
            }
            _ => progress.doing(&line),
        }
        *said = line;
    }
}

pub(super) fn status_of(change: Option<Change>) -> Result<Status, Failure> {
    let unreachable = |why: &str| Err(Failure::new(Exit::Unreachable, why));
    match change {
        Some(Change::Status(status)) => Ok(status),
        Some(Change::Failed(why)) => unreachable(&why.to_string()),
        Some(Change::Gone) | None => unreachable("update_engine does not run"),
    }
}

/// Of a check that ended like one without an update, though the server has not answered: only the time of the last answer
/// tells them apart.
fn no_answer(root: &Root, status: &Status, began: bool) -> Failure {
    let path = conf::path(root);
    let disabled =
        conf::read(&path).is_ok_and(|text| conf::get(&text, "SERVER") == Some("disabled"));
    let why = match (disabled, began) {
        (true, _) => format!("updates are disabled: SERVER=disabled in {}", path),
        (false, true) => "the update server has not answered".to_owned(),
        (false, false) => format!(
            "update_engine has not started the check within {}",
            duration::print(BEGIN)
        ),
    };
    let last = match Timestamp::from_second(status.last_checked) {
        Ok(last) if status.last_checked > 0 => {
            let last = time::shown(last, &node::time_zone(root));
            format!("the server answered last at {last}")
        }
        _ => "the server has never answered".to_owned(),
    };
    Failure::new(
        Exit::CheckFailed,
        format!("it is not known whether there is an update: {why} ({last})"),
    )
    .remedy("see more", "journalctl -u update-engine")
}

/// Has update_engine forget the staged update; refused in words where it is at work.
pub(super) async fn reset(engine: &UpdateEngine) -> Result<(), Failure> {
    let Err(error) = engine.reset_status().await else {
        return Ok(());
    };
    // It fails without a reason then (measured: dbus-glib's own sentence).
    let doing = match engine.get_status().await {
        Ok(status) => match status.operation {
            Operation::Idle | Operation::UpdatedNeedReboot => return Err(error.into()),
            Operation::CheckingForUpdate => "is checking for an update".to_owned(),
            Operation::UpdateAvailable | Operation::Downloading => format!(
                "is downloading {} ({:.0} %)",
                version(&status),
                status.progress * 100.0
            ),
            Operation::Verifying => "is verifying an update".to_owned(),
            Operation::Finalizing => "is activating an update".to_owned(),
            other => format!("is busy ({})", output::in_line(&other.to_string())),
        },
        Err(_) => return Err(error.into()),
    };
    Err(Failure::new(
        Exit::Refused,
        format!(
            "not reset: update_engine {doing}. It can be reset only when it is idle or an update is staged"
        ),
    ))
}

fn version(status: &Status) -> String {
    output::in_line(status.version.as_deref().unwrap_or("an update"))
}

async fn channel(context: &Context, name: Option<&str>) -> Result<(), Failure> {
    let root = &context.config.root;
    let path = conf::path(root);
    let failed = |path: &RootPath, error| Failure::new(Exit::Failed, format!("{}: {error}", path));
    let own = conf::read(&path).map_err(|error| failed(&path, error))?;
    let vendors = [
        "usr/share/flatcar/update.conf",
        "usr/share/coreos/update.conf",
    ];
    let mut now = conf::get(&own, "GROUP").map(str::to_owned);
    for vendor in vendors {
        if now.is_none() {
            let path = root.path(vendor);
            let text = conf::read(&path).map_err(|error| failed(&path, error))?;
            now = conf::get(&text, "GROUP").map(str::to_owned);
        }
    }
    let Some(name) = name else {
        return match now {
            Some(channel) => output::say(channel),
            None => Err(Failure::new(
                Exit::Failed,
                format!("no channel is set: GROUP is missing in {}", path),
            )),
        };
    };
    if name.is_empty()
        || !name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    {
        return Err(Failure::value(
            "channel",
            format!("{name:?}"),
            "a name such as stable, beta or lts-2024",
        ));
    }
    conf::change(&path, &[("GROUP", Some(name))]).map_err(|error| failed(&path, error))?;
    output::say(format!(
        "{}: GROUP={} → {name}",
        path,
        now.as_deref().unwrap_or("(none)")
    ))?;
    match bus::connect(root).await {
        Ok(bus) => {
            systemd::unit(&bus, "RestartUnit", "update-engine.service").await?;
            Ok(())
        }
        Err(error) => output::say(format!(
            "update-engine.service: not restarted here, {}",
            by_hand("restart", &error)
        )),
    }
}
