//! `pointsman set-max`.

use super::{Context, Failure, output};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many nodes of the group may be out at a time; 0 stops the group.
    #[arg(value_name = "N", allow_negative_numbers = true)]
    max: u32,
    /// Where the semaphore's document is missing or damaged: write it anew from the holders' own entries.
    #[arg(long)]
    rebuild: bool,
}

/// Sets it.
///
/// # Errors
/// When etcd cannot be reached, or the document cannot be used and is not to be rebuilt.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let set = context.semaphore()?.set_max(args.max, args.rebuild).await?;
    if let Some(old) = set.old {
        output::say(format!("Old-Max: {old}"))?;
    }
    output::say(format!("Max: {}", set.document.max))?;
    let (holders, max) = (set.document.holders.len(), args.max);
    if max == 0 {
        output::say("The group is stopped: no node takes the semaphore until max is raised.")?;
    } else if holders > max as usize {
        output::say(format!(
            "{holders} nodes hold it now; none is let in until fewer than {max} do."
        ))?;
    }
    Ok(())
}
