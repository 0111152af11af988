//! `pointsman pause` and `pointsman resume`.

use std::time::Duration;

use host::duration;
use jiff::Timestamp;
use semaphore::{
    acts::Person,
    etcd::{Paused, Resumed},
    records::{self, Pause},
};

use super::{Context, Exit, Failure, common::ReasonArgs, output, set_max::known_or_new};

/// The longest lease etcd grants, in seconds (`MaxLeaseTTL` in its lessor).
const LONGEST: u64 = 9_000_000_000;

/// The arguments of `pause`.
#[derive(Debug, clap::Args)]
pub struct PauseArgs {
    /// Pause the whole cluster, not only the group.
    #[arg(long, conflicts_with = "group")]
    pub(super) all: bool,
    /// The reason, which is shown wherever a node waits because of the pause.
    #[arg(long, value_parser = sentence)]
    reason: String,
    /// How long, such as 2h. Without it: until `resume`.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    length: Option<Duration>,
    /// Replace a pause of somebody else.
    #[arg(long)]
    replace: bool,
    /// Also a group that no node is in. Without it, its name counts as a typing error.
    #[arg(long, conflicts_with = "all")]
    new: bool,
}

/// A reason: people act on it, so it says something.
pub(super) fn sentence(text: &str) -> Result<String, String> {
    records::reason(text).map(|()| text.to_owned())
}

/// The arguments of `resume`.
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// End the pause of the whole cluster, not that of the group.
    #[arg(long, conflicts_with = "group")]
    pub(super) all: bool,
    #[command(flatten)]
    reason: ReasonArgs,
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

/// Who paused, since when and why, as part of a sentence.
fn said(context: &Context, pause: &Pause) -> String {
    let since = pause.since.map_or(String::new(), |since| {
        format!(" since {}", context.time(since))
    });
    let by = output::in_line(pause.author());
    format!("by {by}{since} ({})", output::in_line(&pause.reason))
}

/// A pause that an agent made, because etcd was restored or exchanged.
fn stopped(context: &Context, pause: &Pause) -> Failure {
    let (id, reason) = pause.store.as_ref().map_or_else(Default::default, |found| {
        (output::in_line(&found.id), output::in_line(&found.reason))
    });
    Failure::new(
        Exit::Refused,
        format!("the whole cluster is stopped: {reason}"),
    )
    .remedy("see what is known", context.command("store"))
    .remedy(
        "continue with the present content of etcd",
        context.command(&format!("store accept {}", output::word(&id))),
    )
}

/// Who runs this command: the user behind sudo, if any, as `user@host`.
#[must_use]
pub fn person(context: &Context) -> String {
    let Person { name, host, .. } = context.person();
    format!("{name}@{host}")
}

/// Pauses.
///
/// # Errors
/// When etcd cannot be reached, or the length is less than a second.
pub async fn pause(context: &Context, args: &PauseArgs) -> Result<(), Failure> {
    let now = Timestamp::now();
    let all = if args.all { " --all" } else { "" };
    let seconds = args.length.map(|length| length.as_secs());
    if seconds.is_some_and(|seconds| !(1..=LONGEST).contains(&seconds)) {
        return Err(Failure::value(
            "--for",
            args.length.map(duration::print).unwrap_or_default(),
            format!(
                "from 1s to {}, the longest time that etcd keeps a key. Without --for, the pause lasts until `{}`",
                duration::print(Duration::from_secs(LONGEST)),
                context.command(&format!("resume{all}")),
            ),
        ));
    }
    let until = args.length.and_then(|length| now.checked_add(length).ok());
    let pause = Pause {
        by: person(context),
        reason: args.reason.clone(),
        since: Some(now),
        until,
        store: None,
        unknown: serde_json::Map::new(),
    };
    if !args.all && !args.new {
        known_or_new(context, "pause --new --reason …").await?;
    }
    let which = which(context, args.all);
    let semaphore = context.semaphore()?;
    match semaphore
        .pause(args.all, &pause, seconds, args.replace)
        .await?
    {
        Paused::Done(None) => {}
        Paused::Done(Some(before)) => output::say(format!(
            "This replaces the pause {}.",
            said(context, &before)
        ))?,
        Paused::ByAnother(before) if before.store.is_some() => {
            return Err(stopped(context, &before));
        }
        Paused::ByAnother(before) => {
            return Err(Failure::new(
                Exit::Refused,
                format!("{which} is already paused {}", said(context, &before)),
            )
            .remedy(
                "replace that pause",
                context.command(&format!("pause{all} --replace --reason …")),
            ));
        }
    }
    let length = args.length.map_or_else(
        || format!("until `{}`", context.command(&format!("resume{all}"))),
        |length| format!("for {}", duration::print(length)),
    );
    output::say(format!(
        "{which} is paused {length}. A node that is already rebooting is not stopped."
    ))?;
    Ok(())
}

/// Resumes.
///
/// # Errors
/// When etcd cannot be reached.
pub async fn resume(context: &Context, args: &ResumeArgs) -> Result<(), Failure> {
    context.because(&args.reason);
    let which = which(context, args.all);
    let semaphore = context.semaphore()?;
    match semaphore.resume(args.all).await? {
        Resumed::Store(pause) => {
            return Err(stopped(context, &pause));
        }
        Resumed::Done(Some(pause)) => output::say(format!(
            "{which} is not paused any more (it was: {}).",
            output::in_line(&pause.reason)
        ))?,
        Resumed::Done(None) => output::say(format!("{which} was not paused."))?,
    }
    let left = semaphore.read_holders().await?;
    if let (false, Some(pause)) = (args.all, &left.pause_all) {
        output::say(format!(
            "The whole cluster is still paused {}. To end that pause: {}",
            said(context, pause),
            context.command("resume --all")
        ))?;
    }
    if let (true, Some(pause)) = (args.all, &left.pause) {
        let own = self::which(context, false);
        output::say(format!(
            "{own} is still paused {}. To end that pause: {}",
            said(context, pause),
            context.command("resume")
        ))?;
    }
    Ok(())
}
