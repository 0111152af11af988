//! `pointsman update`: what `update_engine_client` does.

use serde::Serialize;

use super::{Context, Exit, Failure, output, rollback::by_hand};
use crate::{
    bus, systemd,
    update_engine::{Change, Operation, Status, UpdateEngine, conf},
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
        /// Print JSON; its shape is in docs/commands.md and stays.
        #[arg(long)]
        json: bool,
    },
    /// Have it look for an update now, and follow it until an update is staged or there is none.
    Check,
    /// Have it forget the staged update; which slot boots next stays.
    Reset,
    /// Show the channel, or go to another one: GROUP in update.conf; update_engine is restarted.
    Channel {
        /// Such as stable, beta, alpha, lts-2024.
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
        Command::Status { json } => status(&engine.get_status().await?, *json),
        Command::Check => check(&engine).await,
        Command::Reset => {
            engine.reset_status().await?;
            output::say(format!(
                "Reset. Which slot boots next is as it was; to see it: {}",
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

fn status(status: &Status, json: bool) -> Result<(), Failure> {
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
        "LAST_CHECKED_TIME={}\nPROGRESS={:.6}\nCURRENT_OP={operation}\nNEW_VERSION={}\nNEW_SIZE={}",
        status.last_checked,
        status.progress,
        status.version.as_deref().unwrap_or("0.0.0"),
        status.size
    ))
}

/// Asks for an update and says what comes of it.
async fn check(engine: &UpdateEngine) -> Result<(), Failure> {
    // Listens first: a short answer is not missed. What it says first is from before it was asked.
    let mut changes = engine.watch();
    let before = match changes.next().await {
        Some(Change::Status(status)) => status,
        Some(Change::Failed(why)) => return Err(Failure::new(Exit::Unreachable, why)),
        Some(Change::Gone) | None => {
            return Err(Failure::new(
                Exit::Unreachable,
                "update_engine does not run",
            ));
        }
    };
    if before.operation == Operation::UpdatedNeedReboot {
        return output::say(format!(
            "{} is staged already and waits for a reboot.",
            version(&before)
        ));
    }
    engine.attempt_update().await?;
    let mut said = String::new();
    let mut began = false;
    loop {
        let status = match changes.next().await {
            Some(Change::Status(status)) => status,
            Some(Change::Failed(why)) => return Err(Failure::new(Exit::Unreachable, why)),
            Some(Change::Gone) | None => {
                return Err(Failure::new(Exit::Unreachable, "update_engine went away"));
            }
        };
        let line = match &status.operation {
            Operation::Downloading => format!(
                "downloading {}: {:.0} % of {:.1} MB",
                version(&status),
                status.progress * 100.0,
                status.size as f64 / 1e6
            ),
            Operation::UpdatedNeedReboot => {
                return output::say(format!(
                    "{} is staged and waits for a reboot.",
                    version(&status)
                ));
            }
            Operation::Idle if began || status.last_checked != before.last_checked => {
                return output::say("There is no update.");
            }
            // Not begun yet.
            Operation::Idle => continue,
            Operation::ReportingErrorEvent => {
                return Err(Failure::new(
                    Exit::Failed,
                    "update_engine reports an error; its journal says which: journalctl -u update-engine",
                ));
            }
            other => other.to_string(),
        };
        began = true;
        if line != said {
            output::say(&line)?;
            said = line;
        }
    }
}

fn version(status: &Status) -> &str {
    status.version.as_deref().unwrap_or("an update")
}

async fn channel(context: &Context, name: Option<&str>) -> Result<(), Failure> {
    let root = &context.config.root;
    let path = conf::path(root);
    let failed = |path: &std::path::Path, error| {
        Failure::new(Exit::Failed, format!("{}: {error}", path.display()))
    };
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
                format!("no channel is set: found no GROUP in {}", path.display()),
            )),
        };
    };
    if name.is_empty()
        || !name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    {
        return Err(Failure::new(
            Exit::Usage,
            format!("channel: found {name:?}, expected a name such as stable, beta or lts-2024"),
        ));
    }
    conf::change(&path, &[("GROUP", Some(name))]).map_err(|error| failed(&path, error))?;
    output::say(format!(
        "{}: GROUP={} → {name}",
        path.display(),
        now.as_deref().unwrap_or("(none)")
    ))?;
    match bus::connect(root).await {
        Ok(bus) => Ok(systemd::unit(&bus, "RestartUnit", "update-engine.service").await?),
        Err(error) => output::say(format!(
            "update-engine.service: not restarted here, {}",
            by_hand("restart", &error)
        )),
    }
}
