//! `pointsman set-max`.

use super::{Context, Failure, output};
use crate::semaphore::etcd::Before;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many nodes of the group may be out at a time; 0 stops the group.
    #[arg(value_name = "N", allow_negative_numbers = true, value_parser = number)]
    max: u32,
    /// Where the semaphore's document is missing or damaged: write it anew from the holders' own entries.
    #[arg(long)]
    rebuild: bool,
}

fn number(text: &str) -> Result<u32, &'static str> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.ok_or("expected a whole number from 0 to 4294967295")
}

/// Sets it.
///
/// # Errors
/// When etcd cannot be reached, or the document cannot be used and is not to be rebuilt.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let set = context.semaphore()?.set_max(args.max, args.rebuild).await?;
    match (&set.before, set.old) {
        (_, Some(old)) => output::say(format!("Old-Max: {old}"))?,
        (Before::Unused, None) => output::say(format!(
            "The group {:?} is new: nobody has used it before.",
            context.config.group.as_str()
        ))?,
        (Before::Rebuilt, None) => {
            let kept = match set.document.holders.as_slice() {
                [] => "nobody holds it".into(),
                ids => format!("held by {}", output::in_line(&ids.join(", "))),
            };
            output::say(format!(
                "Written anew from the holders' own entries: {kept}. Whom only the document named is not kept."
            ))?;
        }
        (Before::Used, None) => {}
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
