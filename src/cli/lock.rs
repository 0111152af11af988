//! `pointsman lock`.

use std::time::Duration;

use host::{duration, node};
use jiff::Timestamp;
use semaphore::{
    etcd::{Claim, Left, Locked},
    records::{Drain, Holder, Image, Phase, new_nonce},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Context, Exit, Failure, drain, names, output, pause::person};
use crate::agent::effects::AGENT;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's machine id, or the host name of a known node; this node when left out.
    id: Option<String>,
    /// Take a place under a name that is no node's, instead.
    #[arg(long = "as", value_name = "NAME", conflicts_with = "id")]
    name: Option<String>,
    /// Take a place in the queue and wait for at most this long, such as 30m; otherwise at once or not at all.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    wait: Option<Duration>,
    /// Run this node's pre-reboot.d hooks as well, once it is locked; `unlock` on this node then runs its post-boot.d hooks.
    #[arg(long, conflicts_with = "name")]
    drain: bool,
    /// Why; shown by `status`.
    #[arg(long, value_parser = super::pause::sentence)]
    reason: Option<String>,
}

/// Takes it.
///
/// # Errors
/// When nothing is left or the group is paused (now, or with `--wait` in time), or etcd cannot be reached.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    // A name is checked before anything is asked of etcd.
    let mut id = context.id(args.name.as_deref().or(args.id.as_deref()))?;
    let semaphore = context.semaphore()?;
    if let Some(given) = &args.id {
        id = names::to_lock(context, &semaphore.read().await?, given)?;
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
                "--drain runs hooks on this node, and is for this node alone; run it on the node that is to be drained",
            ));
        }
        drain::possible(context).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        holder.set_drain(Drain::Begun);
    }
    let mut taken = holder.clone();
    let mut is_new = true;
    let refused = |why: String| {
        Err(Failure::new(
            Exit::Refused,
            format!("{} is not locked: {why}", output::in_line(&id)),
        ))
    };
    match semaphore.lock(&holder).await? {
        Locked::Taken => {}
        Locked::AlreadyHeld(Some(entry)) if args.drain && entry.may_be_drained() => {
            if !semaphore.set_drain(&entry, Drain::Begun).await? {
                return refused("somebody has just unlocked it; try again".into());
            }
            (taken, is_new) = (entry, false);
        }
        Locked::AlreadyHeld(Some(entry)) if args.drain && entry.is_half_drained() => {
            return refused(format!(
                "`lock --drain` has begun to drain it and has not ended: its hooks run, or it was killed. To begin again: \
                 {}, then lock it",
                context.command("unlock")
            ));
        }
        Locked::AlreadyHeld(entry) => {
            return already(&id, entry, args.reason.is_some());
        }
        Locked::Full(_) | Locked::Paused(..) if args.wait.is_some() => {
            wait(context, &semaphore, holder, args.wait.unwrap_or_default()).await?;
        }
        Locked::Full(document) if document.max == 0 => {
            return refused("the group is stopped (max is 0)".into());
        }
        Locked::Full(document) => {
            let group = semaphore.read().await?;
            let holders: Vec<String> = group.holders.iter().map(names::shown).collect();
            return refused(format!(
                "{} held by {}; see {}",
                match document.max {
                    1 => "the only place is".to_owned(),
                    max => format!("all {max} places are"),
                },
                holders.join(", "),
                context.command("status")
            ));
        }
        Locked::Paused(all, pause) => {
            return refused(format!(
                "{} is paused by {}: {}",
                if all {
                    "the whole cluster"
                } else {
                    "the group"
                },
                output::in_line(pause.author()),
                output::in_line(&pause.reason)
            ));
        }
    }
    if args.drain {
        drain_with(context, &semaphore, &taken, is_new).await?;
    }
    output::say(format!(
        "{} holds the semaphore until: {}",
        output::in_line(&id),
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
    let id = output::in_line(&entry.id);
    let stands = if is_new {
        // Only what was taken here: somebody else may hold under this id by now.
        semaphore
            .release(&entry.id, &entry.nonce, None, None)
            .await?;
        "is not locked"
    } else {
        semaphore.set_drain(entry, Drain::None).await?;
        "is locked as it was, and not drained"
    };
    Err(Failure::new(
        exit,
        format!("{id} {stands}: {why}; what was drained is undone"),
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
        from: Image::default(),
        to: Image::default(),
        phase: Phase::Manual,
        deadline: None,
        reason: Some(reason),
        agent: AGENT.into(),
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
    // The ticket would be the same key, and be taken from under the agent that waits with it.
    if semaphore
        .read()
        .await?
        .queue
        .iter()
        .any(|ticket| ticket.id == id)
    {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "{id} waits in the queue already; see {}",
                context.command("status")
            ),
        ));
    }
    let claim = Claim {
        holder,
        ticket_lease: context.config.timings.ticket_lease.as_secs(),
        member: false,
        by_person: false,
        node: None,
    };
    let mut ends = Ends::listen()?;
    let (exit, why) = tokio::select! {
        () = semaphore.acquire(&claim, |wait| output::note(&wait.why)) => return Ok(()),
        () = tokio::time::sleep(length) => (
            Exit::Refused,
            format!("its turn did not come within {}", duration::print(length)),
        ),
        (exit, why) = ends.told() => (exit, why.to_owned()),
    };
    if semaphore.leave(&id, &nonce, None).await? == Left::Held {
        return Ok(());
    }
    Err(Failure::new(
        exit,
        format!("{id} is not locked, and its ticket is given up: {why}"),
    ))
}

/// Of somebody who holds it already.
fn already(id: &str, entry: Option<Holder>, reason_given: bool) -> Result<(), Failure> {
    let Some(entry) = entry else {
        return output::say(format!(
            "{id} held the semaphore already (another tool took it)."
        ));
    };
    let since = entry
        .since
        .map_or(String::new(), |since| format!(" since {since:.0}"));
    let why = output::in_line(entry.reason.as_deref().unwrap_or_default());
    let id = &output::in_line(id);
    if entry.phase != Phase::Manual {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "{id} is not locked by hand: its own agent holds the semaphore{since} ({}: {why}), and will give it back",
                output::in_line(&entry.phase.to_string())
            ),
        ));
    }
    let kept = if reason_given {
        " The reason given now is not kept; to change it: unlock it first."
    } else {
        ""
    };
    output::say(format!(
        "{id} held the semaphore already, by hand{since} ({why}).{kept}"
    ))
}
