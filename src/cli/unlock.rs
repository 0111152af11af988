//! `pointsman unlock`.

use host::node;
use semaphore::{
    etcd::Unlocked,
    fleet_lock::{Call, Caller, Place},
    records::{Holder, Phase},
};

use super::{Context, Exit, Failure, common::ReasonArgs, drain, names, output};
use crate::agent::{
    journal::{Claim, Journal},
    machine_mark::MachineMark,
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Host name or machine id of the node, or any other name that holds a place. Without it: this node.
    id: Option<String>,
    /// Unlock the node although it is rebooting or proving its new boot. Another node may then go out of service as well.
    #[arg(long)]
    force: bool,
    /// Remove the node from the queue instead. A running agent joins again by itself.
    #[arg(long, conflicts_with = "force")]
    ticket: bool,
    #[command(flatten)]
    reason: ReasonArgs,
    /// Release only what this node's agent holds by its own journal. A lock by hand stays. The package uses this after it has
    /// stopped the agent.
    #[arg(long, hide = true, conflicts_with_all = ["id", "force", "ticket"])]
    journalled: bool,
}

/// Releases it.
///
/// # Errors
/// When etcd cannot be reached, the document cannot be used, or the node is rebooting and `--force` is not given.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    if args.journalled {
        return journalled(context).await;
    }
    context.because(&args.reason);
    let semaphore = context.semaphore()?;
    let own = args.id.is_none().then(|| context.id(None)).transpose()?;
    let group = match own.as_ref().or(args.id.as_ref()) {
        Some(given) => names::group_of(&semaphore, given).await?,
        None => semaphore.read_holders().await?,
    };
    let (id, known) = match (own, &args.id) {
        (None, Some(given)) => {
            let id = names::id(context, &group, given, "unlock")?;
            let own = node::machine_id(&context.config.root).is_ok_and(|own| own == id);
            (id.clone(), own || names::is_known(&group, &id))
        }
        (own, _) => (own.unwrap_or_default(), true),
    };
    // If the node exists, it is no failure that there was nothing to do. A name that nothing has is a typing error.
    let nothing = |said: String| match known {
        true => output::say(said),
        false => Err(Failure::new(
            Exit::Nothing,
            format!(
                "{said} Nothing in the {} has this name.",
                names::after_article(&context.config.group)
            ),
        )),
    };
    let shown = names::known(&group, &id);
    if args.ticket {
        return if semaphore.delete_ticket(&id).await? {
            output::say(format!("{shown} is removed from the queue."))
        } else {
            nothing(format!("{shown} was not in the queue."))
        };
    }
    let lost = group.lost.contains_key(&id);
    let held = group.holders.into_iter().find(|held| held.id == id);
    if let Some(entry) = held.and_then(|held| held.entry) {
        give_up(context, args, &entry).await?;
    }
    match semaphore.unlock(&id, args.force).await? {
        Unlocked::Unlocked(Some(holder)) if holder.phase == Phase::Draining => {
            output::say(format!(
                "{shown} does not hold the reboot lock any more. It was draining before its reboot, and now undoes the drain."
            ))?;
        }
        Unlocked::Unlocked(_) => {
            output::say(format!("{shown} does not hold the reboot lock any more."))?
        }
        Unlocked::NotHeld => {
            let holders = semaphore.read_holders().await?.holders;
            let held = match holders.as_slice() {
                [] => "Nobody holds it.".into(),
                all => {
                    let all = all.iter().map(names::shown);
                    format!("It is held by {}.", all.collect::<Vec<_>>().join(", "))
                }
            };
            let forget = format!("pointsman forget {}", output::word(&id));
            let lost = match lost {
                true => format!(" It counts as lost; if it is gone for good: {forget}"),
                false => String::new(),
            };
            let own = node::machine_id(&context.config.root).is_ok_and(|own| own == id);
            let client = context.fleet_lock_client().filter(|_| own);
            let client = client.map_or_else(String::new, |(client, server)| {
                format!(
                    " This node asks the FleetLock server {} as {client} (strategy fleet-lock).",
                    server.url
                )
            });
            nothing(format!(
                "{shown} did not hold the reboot lock. {held}{lost}{client}"
            ))?;
        }
        Unlocked::InUse(holder) => {
            return Err(Failure::new(
                Exit::Refused,
                format!(
                    "{shown} is {}: it may come back at any moment, and another node could go out of service at the same time",
                    output::in_line(&holder.phase.to_string()),
                ),
            )
            .remedy(
                "unlock a node that is gone for good",
                context.command(&format!("unlock --force {}", output::word(&id))),
            ));
        }
    }
    Ok(())
}

/// What is due before this entry is removed. While it still holds, no other node goes out of service before this one carries
/// load again.
async fn give_up(context: &Context, args: &Args, entry: &Holder) -> Result<(), Failure> {
    let root = &context.config.root;
    let here = node::machine_id(root).is_ok_and(|own| own == entry.id);
    let shown = names::named(&entry.hostname, &entry.id);
    let by_force = || context.command(&format!("unlock --force {}", output::word(&entry.id)));
    if here && !entry.is_of_host(&node::hostname(root)) && !args.force {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "{shown} holds the reboot lock, and this machine, {}, has the same machine id",
                node::hostname(root),
            ),
        )
        .remedy("unlock the other machine anyway", by_force()));
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
                "{shown} was drained by `lock --drain`. Unlock it on that node, because its post-boot.d hooks undo the drain"
            ),
        )
        .remedy("unlock it without the hooks", by_force()));
    }
    if here && !drain::undo(context, entry, "proving").await && !args.force {
        return Err(Failure::new(
            Exit::Failed,
            format!("{shown} stays locked, because a post-boot.d hook failed: perhaps it carries no load yet"),
        )
        .remedy("run the hooks again", context.command("unlock"))
        .remedy("unlock it without the hooks", by_force()));
    }
    if !here {
        output::note(format!(
            "warning: {shown} was drained by `lock --drain`, and its post-boot.d hooks did not run"
        ));
    }
    Ok(())
}

/// Does for an agent that is gone what it would do when it is told to end.
async fn journalled(context: &Context) -> Result<(), Failure> {
    let root = &context.config.root;
    let own = node::machine_id(root)?;
    let mark = MachineMark::of(root, &own, None);
    let journal = Journal::of_this_machine(&Journal::path(root), mark);
    let journal = journal.map_err(|error| Failure::of_journal(Exit::Failed, &error))?;
    let Some(claim) = journal.entry.and_then(|entry| entry.claim) else {
        return output::say("This node holds nothing, according to its journal.");
    };
    let claim = match claim {
        Claim::Etcd(claim) => claim,
        Claim::FleetLock(place) => return release_place(context, &place).await,
    };
    let semaphore = context.semaphore_at(claim.keys)?;
    semaphore.leave(&claim.id, &claim.nonce, None).await?;
    semaphore
        .release(&claim.id, &claim.nonce, None, None)
        .await?;
    output::say("The reboot lock that this node's agent held is released.")
}

/// Releases what the agent asked of a FleetLock server.
async fn release_place(context: &Context, place: &Place) -> Result<(), Failure> {
    let config = &context.config;
    let server = config.fleet_lock.as_ref();
    let server = server.filter(|server| server.url == place.url);
    let tls = match server {
        Some(_) => config.fleet_lock_tls()?,
        None => None,
    };
    let timeout = server.map_or(config.etcd.timeout, |server| server.timeout);
    let caller = Caller::default();
    let released = caller.call(Call::SteadyState, place, tls, timeout);
    released.await.map_err(|refusal| {
        Failure::new(
            Exit::Unreachable,
            format!(
                "the FleetLock server {} {refusal}. Perhaps this node still has a place there, in group {} as {}",
                place.url, place.group, place.id
            ),
        )
    })?;
    output::say(format!(
        "Nothing is held at the FleetLock server {} any more.",
        place.url
    ))
}
