//! `pointsman forget`.

use host::node;
use semaphore::etcd::{Forgotten, NodeState};

use super::{
    Context, Exit, Failure,
    common::{DryRunArgs, ReasonArgs},
    names, output,
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Host name or machine id of the node.
    id: String,
    /// Forget the node although it holds the reboot lock. Another node may then go out of service as well.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    reason: ReasonArgs,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

/// Removes all that etcd has of a node.
///
/// # Errors
/// When etcd cannot be reached, nothing in the group has this name, or the node holds the reboot lock and `--force` is not given.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    context.because(&args.reason);
    let semaphore = context.semaphore()?;
    let group = names::group_of(&semaphore, &args.id).await?;
    let id = names::id(context, &group, &args.id, "forget")?;
    let shown = names::known(&group, &id);
    let dry = args.dry_run.dry_run;
    match semaphore.forget(&id, args.force, dry).await? {
        Forgotten::Nothing => Err(Failure::new(
            Exit::Nothing,
            format!(
                "{shown} is not known in the {}.",
                names::after_article(&context.config.group)
            ),
        )),
        Forgotten::Holds(state) => {
            output::note(told(context, &state));
            Err(Failure::new(
                Exit::Refused,
                format!(
                    "{shown} holds the reboot lock: it may come back at any moment, and another node could go out of service at \
                     the same time"
                ),
            )
            .remedy(
                "forget a node that is gone for good",
                context.command(&format!("forget --force {}", output::word(&id))),
            ))
        }
        Forgotten::Done(state) => {
            let said = told(context, &state);
            if !said.is_empty() {
                output::say(said)?;
            }
            output::say(if dry {
                format!("{shown} would be forgotten (--dry-run).")
            } else {
                format!("{shown} is forgotten.")
            })?;
            let own = node::machine_id(&context.config.root).is_ok_and(|own| own == id);
            if own && !dry {
                output::note(
                    "This is the node itself. Its agent registers again at its next start.",
                );
            }
            Ok(())
        }
    }
}

/// What etcd has of the node, a line each.
fn told(context: &Context, state: &NodeState) -> String {
    let since = |since: Option<jiff::Timestamp>| {
        since.map_or(String::new(), |since| {
            format!(", since {}", context.time(since))
        })
    };
    let mut lines = Vec::new();
    if let Some(record) = &state.record {
        lines.push(format!(
            "It said last: {}{}",
            output::in_line(&record.state),
            since(record.since)
        ));
    }
    match state.member.as_deref() {
        None => {}
        Some("") => lines.push("Member of the group; no image was proven on it.".into()),
        Some(digest) => lines.push(format!(
            "Member of the group; proven on it: {}",
            output::in_line(digest)
        )),
    }
    if let Some(ticket) = &state.ticket {
        lines.push(format!("It is in the queue{}", since(ticket.since)));
    }
    if let Some(lost) = &state.lost {
        lines.push(format!(
            "It was thought lost, and is counted as such{}",
            since(lost.since)
        ));
    }
    match &state.holder {
        Some(holder) => lines.push(format!(
            "It holds the reboot lock: {}{}",
            output::in_line(&holder.phase.to_string()),
            since(holder.since)
        )),
        None if state.holds => lines.push("The document names it as a holder.".into()),
        None => {}
    }
    lines.join("\n")
}
