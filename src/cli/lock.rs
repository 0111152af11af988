//! `pointsman lock`.

use std::time::Duration;

use host::{duration, node};
use jiff::Timestamp;
use semaphore::{
    etcd::{Claim, Left, Locked, WaveWait},
    records::{Drain, Holder, ImageId, Phase, new_nonce},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Context, Exit, Failure, drain, names, output, pause::person};
use crate::agent::effects::AGENT;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Host name or machine id of the node. Without it: this node.
    id: Option<String>,
    /// Take a place under a name that is not a node's.
    #[arg(long = "as", value_name = "NAME", conflicts_with = "id")]
    name: Option<String>,
    /// Wait in the queue for at most this long, such as 30m. Without it: fail if no place is free now.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    wait: Option<Duration>,
    /// Also run the pre-reboot.d hooks of this node, after it is locked. `unlock` then runs its post-boot.d hooks.
    #[arg(long, conflicts_with = "name")]
    drain: bool,
    /// The reason, which `status` shows.
    #[arg(long, value_parser = super::pause::sentence)]
    reason: Option<String>,
}

/// Takes it.
///
/// # Errors
/// When nothing is left or the group is paused (now, or with `--wait` in time), or etcd cannot be reached.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    // A name is checked before etcd is asked.
    let mut id = context.id(args.name.as_deref().or(args.id.as_deref()))?;
    let semaphore = context.semaphore()?;
    if let Some(given) = &args.id {
        id = names::to_lock(context, &names::group_of(&semaphore, given).await?, given)?;
    }
    // By no other name does this node ask, and by its machine id it does not.
    let own = node::machine_id(&context.config.root);
    if let Some((client, server)) = context.fleet_lock_client()
        && own.is_ok_and(|own| own == id)
    {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "this node asks the FleetLock server {} (strategy fleet-lock), as {client}: a lock under its machine id does not keep it \
                 from rebooting",
                server.url
            ),
        )
        .remedy(
            "if that server uses this etcd, keep the node from rebooting",
            context.command(&format!("lock --as {client}")),
        )
        .remedy("take it back", context.command(&format!("unlock {client}"))));
    }
    let reason = args.reason.clone();
    let reason = reason.unwrap_or_else(|| format!("locked by {}", person(context)));
    let mut holder = by_hand(context, &id, reason)?;
    if let Some(host) = args.id.as_ref().filter(|given| **given != id) {
        holder.hostname.clone_from(host);
    }
    if args.drain {
        let own = node::machine_id(&context.config.root);
        if !own.is_ok_and(|own| own == id) {
            return Err(Failure::new(
                Exit::Usage,
                "--drain runs the hooks of this node, and cannot be used for another node. Run the command on that node",
            ));
        }
        drain::possible(context).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        holder.set_drain(Drain::Begun);
    }
    let mut taken = holder.clone();
    let mut is_new = true;
    let shown = names::named(&holder.hostname, &id);
    let refused = |why: &str| Failure::new(Exit::Refused, format!("{shown} is not locked: {why}"));
    match semaphore.lock(&holder).await? {
        Locked::Taken => {}
        Locked::AlreadyHeld(Some(entry)) if args.drain && entry.may_be_drained() => {
            if !semaphore.set_drain(&entry, Drain::Begun).await? {
                return Err(refused("somebody has just unlocked it; try again"));
            }
            (taken, is_new) = (entry, false);
        }
        Locked::AlreadyHeld(Some(entry)) if args.drain && entry.is_half_drained() => {
            let why = "another `lock --drain` has begun to drain it, and has not ended: its hooks are still running, or it was \
                       killed";
            return Err(refused(why).remedy(
                "start again, unlock the node first and then lock it",
                context.command("unlock"),
            ));
        }
        Locked::AlreadyHeld(entry) => {
            return already(context, &shown, entry, args.reason.is_some());
        }
        Locked::Full(_) | Locked::Paused(..) if args.wait.is_some() => {
            wait(context, &semaphore, holder, args.wait.unwrap_or_default()).await?;
        }
        Locked::Full(document) if document.max == 0 => {
            return Err(refused("the group is stopped (max is 0)"));
        }
        Locked::Full(document) => {
            let group = semaphore.read_holders().await?;
            let holders: Vec<String> = group.holders.iter().map(names::shown).collect();
            let taken = match document.max {
                1 => "the only place is".to_owned(),
                max => format!("all {max} places are"),
            };
            return Err(refused(&format!("{taken} taken by {}", holders.join(", ")))
                .remedy("see more", context.command("status")));
        }
        Locked::Paused(all, pause) => {
            let which = match all {
                true => "the whole cluster",
                false => "the group",
            };
            return Err(refused(&format!(
                "{which} is paused by {}: {}",
                output::in_line(pause.author()),
                output::in_line(&pause.reason)
            )));
        }
    }
    if args.drain {
        drain_with(context, &semaphore, &taken, is_new).await?;
    }
    output::say(format!(
        "{shown} holds the reboot lock. To release it: {}",
        context.command(&format!("unlock {}", output::word(&id)))
    ))?;
    Ok(())
}

/// Drains this node with the entry by which it is locked. What fails, or is told to end, leaves things as they were.
async fn drain_with(
    context: &Context,
    semaphore: &semaphore::etcd::Semaphore,
    entry: &Holder,
    is_new: bool,
) -> Result<(), Failure> {
    let mut ends = Ends::listen()?;
    let drained = tokio::select! {
        drained = drain::drain(context, entry) => {
            drained.map_err(|error| (Exit::Failed, error.to_string()))
        }
        (exit, why) = ends.told() => Err((exit, why.to_owned())),
    };
    let (exit, why) = match drained {
        Ok(()) if semaphore.set_drain(entry, Drain::Done).await? => return Ok(()),
        Ok(()) => (
            Exit::Failed,
            "somebody has unlocked it during the drain".to_owned(),
        ),
        Err(failed) => failed,
    };
    drain::undo(context, entry, "stepping-back").await;
    let shown = names::named(&entry.hostname, &entry.id);
    let stands = if is_new {
        // Only what was taken here: somebody else may hold under this id by now.
        semaphore
            .release(&entry.id, &entry.nonce, None, None)
            .await?;
        "is not locked"
    } else {
        semaphore.set_drain(entry, Drain::None).await?;
        "is still locked, but not drained"
    };
    Err(Failure::new(
        exit,
        format!("{shown} {stands}: {why}; the drain was undone"),
    ))
}

/// What tells a command to end.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Ends {
    fn listen() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::new(Exit::Failed, error.to_string()));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn told(&mut self) -> (Exit, &'static str) {
        tokio::select! {
            _ = self.interrupt.recv() => (Exit::Interrupted, "interrupted"),
            _ = self.terminate.recv() => (Exit::Terminated, "told to end"),
            _ = self.hang_up.recv() => (Exit::Terminated, "its terminal was closed"),
        }
    }
}

/// The entry of a holder who takes by hand. Of another id than this node's, the host is not known here.
///
/// # Errors
/// When the system gives no randomness.
pub(super) fn by_hand(context: &Context, id: &str, reason: String) -> Result<Holder, Failure> {
    let root = &context.config.root;
    let here = node::machine_id(root).is_ok_and(|own| own == id);
    Ok(Holder {
        id: id.to_owned(),
        hostname: if here {
            node::hostname(root)
        } else {
            String::new()
        },
        nonce: new_nonce().map_err(|e| Failure::new(Exit::Failed, e.to_string()))?,
        boot_id: String::new(),
        since: Some(Timestamp::now()),
        from: ImageId::default(),
        to: ImageId::default(),
        phase: Phase::Manual,
        deadline: None,
        reason: Some(reason),
        agent: AGENT.into(),
        grace: None,
        soaks_until: None,
        by_hand: None,
        unknown: serde_json::Map::new(),
    })
}

async fn wait(
    context: &Context,
    semaphore: &semaphore::etcd::Semaphore,
    holder: Holder,
    length: Duration,
) -> Result<(), Failure> {
    let id = holder.id.clone();
    let nonce = holder.nonce.clone();
    let shown = names::named(&holder.hostname, &id);
    // The ticket would be the same key, and be taken from under the agent that waits with it.
    if semaphore
        .read_about(&id)
        .await?
        .queue
        .iter()
        .any(|ticket| ticket.id == id)
    {
        return Err(
            Failure::new(Exit::Refused, format!("{shown} is already in the queue"))
                .remedy("see more", context.command("status")),
        );
    }
    let claim = Claim {
        holder,
        ticket_lease: context.config.timings.ticket_lease.as_secs(),
        member: false,
        by_person: false,
        new_image: false,
        waves: WaveWait::default(),
        windows: None,
        node: None,
    };
    let mut ends = Ends::listen()?;
    let (exit, why) = tokio::select! {
        () = semaphore.acquire(&claim, |wait| output::note(&wait.waits_for)) => return Ok(()),
        () = tokio::time::sleep(length) => (
            Exit::Refused,
            format!("it did not get a place within {}", duration::print(length)),
        ),
        (exit, why) = ends.told() => (exit, why.to_owned()),
    };
    if semaphore.leave(&id, &nonce, None).await? == Left::Held {
        return Ok(());
    }
    Err(Failure::new(
        exit,
        format!("{shown} is not locked, and its ticket is cancelled: {why}"),
    ))
}

/// Of somebody who holds it already.
fn already(
    context: &Context,
    shown: &str,
    entry: Option<Holder>,
    reason_given: bool,
) -> Result<(), Failure> {
    let Some(entry) = entry else {
        return output::say(format!(
            "{shown} already holds the reboot lock (another tool took it)."
        ));
    };
    let since = entry.since.map_or(String::new(), |since| {
        format!(" since {}", context.time(since))
    });
    let why = output::in_line(entry.reason.as_deref().unwrap_or_default());
    if entry.phase != Phase::Manual {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "{shown} is not locked by hand: its own agent holds the reboot lock{since} ({}: {why}), and will release it",
                output::in_line(&entry.phase.to_string())
            ),
        ));
    }
    let kept = if reason_given {
        " The new reason is not kept. To change the reason, unlock the node first."
    } else {
        ""
    };
    output::say(format!(
        "{shown} is already locked by hand{since} ({why}).{kept}"
    ))
}
