//! `pointsman unlock`.

use super::{Context, Exit, Failure, output};
use crate::semaphore::etcd::Unlocked;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's machine id, or the name given to `lock`; this node's when left out.
    id: Option<String>,
    /// Also where the node is rebooting or proving its new boot: another node may then go out beside it.
    #[arg(long)]
    force: bool,
}

/// Gives it back.
///
/// # Errors
/// When etcd cannot be reached, the document cannot be used, or the node is rebooting and `--force` is not given.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let id = context.id(args.id.as_deref())?;
    match context.semaphore()?.unlock(&id, args.force).await? {
        Unlocked::Unlocked(_) => {
            output::say(format!("{id} does not hold the semaphore any more."))?
        }
        Unlocked::NotHeld => output::say(format!("{id} did not hold the semaphore."))?,
        Unlocked::InUse(holder) => {
            return Err(Failure::new(
                Exit::Refused,
                format!(
                    "{id} ({}) is {}: it may come back at any moment, and another node would go out beside it. \
                     If it is gone for good: pointsman unlock --force {id}",
                    holder.hostname, holder.phase
                ),
            ));
        }
    }
    Ok(())
}
