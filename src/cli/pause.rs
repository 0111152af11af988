//! `pointsman pause` and `pointsman resume`.

use std::time::Duration;

use jiff::Timestamp;

use super::{Context, Exit, Failure, output};
use crate::{duration, node, semaphore::records::Pause};

/// The arguments of `pause`.
#[derive(Debug, clap::Args)]
pub struct PauseArgs {
    /// The whole cluster, not only the group.
    #[arg(long)]
    all: bool,
    /// Why; shown wherever a node waits for it.
    #[arg(long, value_parser = sentence)]
    reason: String,
    /// For how long, such as 2h; until `resume` when left out.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    length: Option<Duration>,
}

/// A reason: people act on it, so it says something.
pub(super) fn sentence(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() {
        Err("expected a reason, in words")
    } else {
        Ok(text.to_owned())
    }
}

/// The arguments of `resume`.
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// The whole cluster's pause, not the group's.
    #[arg(long)]
    all: bool,
}

fn which(context: &Context, all: bool) -> String {
    if all {
        "The whole cluster".into()
    } else if context.config.group.is_default() {
        "The default group".into()
    } else {
        format!("The group {}", context.config.group.as_str())
    }
}

/// Who runs this command: the user behind sudo, if any.
#[must_use]
pub fn person(context: &Context) -> String {
    let name = std::env::var("SUDO_USER").ok().or_else(|| {
        let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok()??;
        Some(user.name)
    });
    format!(
        "{}@{}",
        name.unwrap_or_else(|| "unknown".into()),
        node::hostname(&context.config.root)
    )
}

/// Pauses.
///
/// # Errors
/// When etcd cannot be reached, or the length is less than a second.
pub async fn pause(context: &Context, args: &PauseArgs) -> Result<(), Failure> {
    let now = Timestamp::now();
    let seconds = args.length.map(|length| length.as_secs());
    if seconds == Some(0) {
        return Err(Failure::new(Exit::Usage, "--for: expected at least 1s"));
    }
    let until = args.length.and_then(|length| now.checked_add(length).ok());
    let pause = Pause {
        by: person(context),
        reason: args.reason.clone(),
        since: Some(now),
        until,
        unknown: serde_json::Map::new(),
    };
    context
        .semaphore()?
        .pause(args.all, &pause, seconds)
        .await?;
    let length = args
        .length
        .map_or("until `pointsman resume`".into(), |length| {
            format!("for {}", duration::print(length))
        });
    output::say(format!(
        "{} is paused {length}. A node that has committed to its reboot still goes.",
        which(context, args.all)
    ))?;
    Ok(())
}

/// Resumes.
///
/// # Errors
/// When etcd cannot be reached.
pub async fn resume(context: &Context, args: &ResumeArgs) -> Result<(), Failure> {
    let which = which(context, args.all);
    match context.semaphore()?.resume(args.all).await? {
        Some(pause) => output::say(format!(
            "{which} is not paused any more (it was: {}).",
            pause.reason
        ))?,
        None => output::say(format!("{which} was not paused."))?,
    }
    Ok(())
}
