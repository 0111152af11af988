//! `pointsman set-max`.

use host::text;
use semaphore::etcd::{Before, Group};

use super::{Context, Exit, Failure, common::ReasonArgs, names, output, policy};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many nodes may be out of service at the same time: a number, where 0 stops the group, or a percentage of the
    /// group's members such as 20%.
    #[arg(value_name = "N", allow_negative_numbers = true, value_parser = max, required_unless_present = "remove")]
    max: Option<Max>,
    /// Allow a group given by --group that no node is in yet.
    #[arg(long)]
    new: bool,
    /// Rebuild the semaphore document in etcd from the holders' own entries, if it is missing or damaged.
    #[arg(long)]
    rebuild: bool,
    /// Remove a group that nobody uses: it has no holder, no ticket and no node.
    #[arg(long, conflicts_with_all = ["max", "rebuild", "new"])]
    remove: bool,
    #[command(flatten)]
    reason: ReasonArgs,
}

/// Who is in the group, as a sentence; none where nobody is.
fn in_use(group: &Group) -> Option<String> {
    let holders = group.holders.iter().map(names::shown);
    let waiting = group
        .queue
        .iter()
        .map(|ticket| who(&ticket.hostname, &ticket.id));
    let nodes = group.nodes.iter().map(|node| who(&node.hostname, &node.id));
    let mut nodes: Vec<String> = nodes.collect();
    nodes.sort();
    let ways = [
        ("its reboot lock is held by", holders.collect::<Vec<_>>()),
        ("in its queue:", waiting.collect()),
        ("its nodes are", nodes),
    ];
    let (how, who) = ways.into_iter().find(|(_, who)| !who.is_empty())?;
    Some(format!("{how} {}", text::few(&who)))
}

fn who(hostname: &str, id: &str) -> String {
    output::in_line(if hostname.is_empty() { id } else { hostname })
}

/// Refuses a group that comes to be by a typing error: one that a flag names, and that nobody is in.
/// `command` is the one that creates it all the same.
pub(super) async fn known_or_new(context: &Context, command: &str) -> Result<(), Failure> {
    let group = &context.config.group;
    if group.is_default() || !context.names_the_group() {
        return Ok(());
    }
    let semaphore = context.semaphore()?;
    if semaphore.read_holders().await?.document.is_some()
        || in_use(&semaphore.read().await?).is_some()
    {
        return Ok(());
    }
    let groups = semaphore.groups().await?;
    let named = groups.iter().filter(|group| !group.is_default());
    let named: Vec<String> = named.map(|group| output::in_line(group.as_str())).collect();
    let there = match named.as_slice() {
        [] => "the only group is the default one".to_owned(),
        named => format!("the groups are {}", named.join(", ")),
    };
    Err(Failure::new(
        Exit::Usage,
        format!(
            "no node is in the group {:?}; {there}",
            output::in_line(group.as_str())
        ),
    )
    .remedy("create the group anyway", context.command(command)))
}

async fn remove(context: &Context) -> Result<(), Failure> {
    let name = names::after_article(&context.config.group);
    let unused = |group: &Group| match in_use(group) {
        None => Ok(()),
        Some(why) => Err(Failure::new(
            Exit::Refused,
            format!("the {name} is not removed: {why}"),
        )),
    };
    match context.semaphore()?.remove_group(unused).await? {
        true => output::say(format!("The {name} is removed.")),
        false => Err(Failure::new(
            Exit::Nothing,
            format!("the {name} does not exist: it has no semaphore document in etcd"),
        )),
    }
}

/// What a person gives.
#[derive(Debug, Clone, Copy)]
enum Max {
    /// A number of nodes.
    Number(u32),
    /// A percentage of the members.
    Percent(u32),
}

impl std::fmt::Display for Max {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

fn max(text: &str) -> Result<Max, String> {
    if text.ends_with('%') {
        return policy::percent(text).map(Max::Percent);
    }
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits).map(Max::Number);
    number.ok_or_else(|| "expected a whole number from 0 to 4294967295, or a percentage".into())
}

/// Sets it.
///
/// # Errors
/// When etcd cannot be reached, or the document cannot be used and is not to be rebuilt.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    context.because(&args.reason);
    let max = match args.max {
        Some(max) if !args.remove => max,
        _ => return remove(context).await,
    };
    if !args.new && !args.rebuild {
        known_or_new(context, &format!("set-max {max} --new")).await?;
    }
    let max = match max {
        Max::Number(max) => max,
        Max::Percent(percent) => return policy::set_percentage(context, percent).await,
    };
    let set = context.semaphore()?.set_max(max, args.rebuild).await?;
    match (&set.before, set.old) {
        (_, Some(old)) => output::say(format!("Old-Max: {old}"))?,
        (Before::Unused, None) => output::say(format!(
            "The {} is new.",
            names::after_article(&context.config.group)
        ))?,
        (Before::Rebuilt, None) => {
            let kept = match set.document.holders.as_slice() {
                [] => "Nobody holds the reboot lock.".into(),
                ids => format!("It is held by {}.", output::in_line(&ids.join(", "))),
            };
            output::say(format!(
                "Rebuilt. {kept} Holders without an entry of their own were dropped."
            ))?;
        }
        (Before::Used, None) => {}
    }
    output::say(format!("Max: {}", set.document.max))?;
    let holders = set.document.holders.len();
    if max == 0 {
        output::say("The group is stopped: no node takes the reboot lock until max is raised.")?;
    } else if holders > max as usize {
        output::say(format!(
            "{holders} nodes hold the reboot lock now. No other node takes it until fewer than {max} hold it."
        ))?;
    }
    Ok(())
}
