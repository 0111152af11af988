//! `pointsman unlock`.

use host::node;
use semaphore::{
    etcd::Unlocked,
    records::{Holder, Phase},
};

use super::{Context, Exit, Failure, drain, names, output};
use crate::agent::{journal::Journal, machine_mark::MachineMark};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's machine id, its host name, or whatever else holds; this node's id when left out.
    id: Option<String>,
    /// Also where the node is rebooting or proving its new boot: another node may then go out beside it.
    #[arg(long)]
    force: bool,
    /// Delete its place in the queue instead, such as one that no agent keeps; a living agent takes a new one when its turn comes.
    #[arg(long, conflicts_with = "force")]
    ticket: bool,
    /// Release what this node's agent holds by its own journal, and nothing else: a person's lock of the node stays. For the
    /// package, whose agent is gone by then.
    #[arg(long, hide = true, conflicts_with_all = ["id", "force", "ticket"])]
    journalled: bool,
}

/// Gives it back.
///
/// # Errors
/// When etcd cannot be reached, the document cannot be used, or the node is rebooting and `--force` is not given.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    if args.journalled {
        return journalled(context).await;
    }
    let semaphore = context.semaphore()?;
    let (id, known) = match &args.id {
        Some(given) => {
            let group = semaphore.read().await?;
            let id = names::id(context, &group, given, "unlock")?;
            let own = node::machine_id(&context.config.root).is_ok_and(|own| own == id);
            (id.clone(), own || names::is_known(&group, &id))
        }
        None => (context.id(None)?, true),
    };
    // Of a node that is there it is no failure that there was nothing to do; a name that nothing has is a typing error.
    let nothing = |said: String| match known {
        true => output::say(said),
        false => Err(Failure::new(
            Exit::Nothing,
            format!("{said} Nothing in the group has this name."),
        )),
    };
    let shown = output::in_line(&id);
    if args.ticket {
        return if semaphore.delete_ticket(&id).await? {
            output::say(format!("The ticket of {shown} is deleted."))
        } else {
            nothing(format!("{shown} had no ticket."))
        };
    }
    let group = semaphore.read().await?;
    let held = group.holders.into_iter().find(|held| held.id == id);
    if let Some(entry) = held.and_then(|held| held.entry) {
        give_up(context, args, &entry).await?;
    }
    match semaphore.unlock(&id, args.force).await? {
        Unlocked::Unlocked(Some(holder)) if holder.phase == Phase::Draining => {
            output::say(format!(
                "{shown} does not hold the semaphore any more. It was draining for its reboot, and steps back."
            ))?;
        }
        Unlocked::Unlocked(_) => {
            output::say(format!("{shown} does not hold the semaphore any more."))?
        }
        Unlocked::NotHeld => {
            let holders = semaphore.read().await?.holders;
            let held = match holders.as_slice() {
                [] => "Nobody holds it.".into(),
                all => {
                    let all = all.iter().map(names::shown);
                    format!("It is held by {}.", all.collect::<Vec<_>>().join(", "))
                }
            };
            nothing(format!("{shown} did not hold the semaphore. {held}"))?;
        }
        Unlocked::InUse(holder) => {
            return Err(Failure::new(
                Exit::Refused,
                format!(
                    "{shown} ({}) is {}: it may come back at any moment, and another node would go out beside it. \
                     If it is gone for good: {}",
                    output::in_line(&holder.hostname),
                    output::in_line(&holder.phase.to_string()),
                    context.command(&format!("unlock --force {}", output::word(&id)))
                ),
            ));
        }
    }
    Ok(())
}

/// What is due before this entry is removed. While it still holds, nobody goes out beside the node before it carries load again.
async fn give_up(context: &Context, args: &Args, entry: &Holder) -> Result<(), Failure> {
    let root = &context.config.root;
    let here = node::machine_id(root).is_ok_and(|own| own == entry.id);
    let id = output::in_line(&entry.id);
    let by_force = |id: &str| context.command(&format!("unlock --force {}", output::word(id)));
    if here && !entry.is_of_host(&node::hostname(root)) && !args.force {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "{id} is held by {}, and this machine, {}, has the same machine id. To unlock that one all the same: {}",
                output::in_line(&entry.hostname),
                node::hostname(root),
                by_force(&entry.id)
            ),
        ));
    }
    // One that is refused stays drained.
    let away = matches!(entry.phase, Phase::Rebooting | Phase::Proving);
    if !entry.drain_has_begun() || (away && !args.force) {
        return Ok(());
    }
    if !here && !args.force {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "{id} was drained by `lock --drain`, and only there its post-boot.d hooks can undo that: unlock it on the node \
                 itself. To unlock it without them: {}",
                by_force(&entry.id)
            ),
        ));
    }
    if here && !drain::undo(context, entry, "proving").await && !args.force {
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "{id} stays locked: it may not carry load yet. To run the hooks again: {}; to unlock it without them: {}",
                context.command("unlock"),
                by_force(&entry.id)
            ),
        ));
    }
    if !here {
        output::note(format!(
            "warning: {id} was drained by `lock --drain`, and its post-boot.d hooks did not run"
        ));
    }
    Ok(())
}

/// Does for an agent that is gone what it would do when it is told to end.
async fn journalled(context: &Context) -> Result<(), Failure> {
    let root = &context.config.root;
    let failed = |error: String| Failure::new(Exit::Failed, error);
    let own = node::machine_id(root).map_err(|error| failed(error.to_string()))?;
    let mark = MachineMark::of(root, &own, None);
    let journal = Journal::of_this_machine(&Journal::path(root), mark);
    let entry = journal.map_err(|error| failed(error.to_string()))?.entry;
    let Some(claim) = entry.and_then(|entry| entry.claim) else {
        return output::say("This node's journal knows of nothing that it holds.");
    };
    let semaphore = context.semaphore_at(claim.keys)?;
    semaphore.leave(&claim.id, &claim.nonce, None).await?;
    semaphore
        .release(&claim.id, &claim.nonce, None, None)
        .await?;
    output::say("What this node's agent held is released.")
}
