//! `pointsman unlock`.

use super::{Context, Exit, Failure, names, output};
use crate::semaphore::{etcd::Unlocked, records::Phase};

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
}

/// Gives it back.
///
/// # Errors
/// When etcd cannot be reached, the document cannot be used, or the node is rebooting and `--force` is not given.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let semaphore = context.semaphore()?;
    let id = match &args.id {
        Some(given) => names::id(context, &semaphore.read().await?, given, "unlock")?,
        None => context.id(None)?,
    };
    if args.ticket {
        return output::say(if semaphore.delete_ticket(&id).await? {
            format!("The ticket of {id} is deleted.")
        } else {
            format!("{id} had no ticket.")
        });
    }
    match semaphore.unlock(&id, args.force).await? {
        Unlocked::Unlocked(Some(holder)) if holder.phase == Phase::Draining => {
            output::say(format!(
                "{id} does not hold the semaphore any more. It was draining for its reboot, and steps back."
            ))?;
        }
        Unlocked::Unlocked(_) => {
            output::say(format!("{id} does not hold the semaphore any more."))?
        }
        Unlocked::NotHeld => {
            let holders = semaphore.read().await?.holders;
            let held = match holders.as_slice() {
                [] => "Nobody holds it.".into(),
                all => {
                    let ids: Vec<&str> = all.iter().map(|held| held.id.as_str()).collect();
                    format!("It is held by {}.", ids.join(", "))
                }
            };
            output::say(format!("{id} did not hold the semaphore. {held}"))?;
        }
        Unlocked::InUse(holder) => {
            return Err(Failure::new(
                Exit::Refused,
                format!(
                    "{id} ({}) is {}: it may come back at any moment, and another node would go out beside it. \
                     If it is gone for good: {}",
                    holder.hostname,
                    holder.phase,
                    context.command(&format!("unlock --force {}", output::word(&id)))
                ),
            ));
        }
    }
    Ok(())
}
