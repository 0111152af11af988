//! `pointsman lock`.

use std::time::Duration;

use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use super::{Context, Exit, Failure, names, output, pause::person};
use crate::{
    agent::world::AGENT,
    duration, node,
    semaphore::{
        etcd::{Claim, Left, Locked},
        records::{Holder, Image, Phase, new_nonce},
    },
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's machine id, or its host name; or any other name, to take a place that is no node's; this node's id when
    /// left out.
    id: Option<String>,
    /// Take a place in the queue and wait for at most this long, such as 30m; otherwise at once or not at all.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    wait: Option<Duration>,
    /// Why; shown by `status`.
    #[arg(long, value_parser = super::pause::sentence)]
    reason: Option<String>,
}

/// Takes it.
///
/// # Errors
/// When nothing is left or the group is paused (now, or with `--wait` in time), or etcd cannot be reached.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let mut id = context.id(args.id.as_deref())?;
    let semaphore = context.semaphore()?;
    if let Some(given) = &args.id {
        id = names::id(context, &semaphore.read().await?, given, "lock")?;
    }
    let reason = args.reason.clone();
    let reason = reason.unwrap_or_else(|| format!("locked by {}", person(context)));
    let mut holder = by_hand(context, &id, reason)?;
    if let Some(host) = args.id.as_ref().filter(|given| **given != id) {
        holder.hostname.clone_from(host);
    }
    let refused = |why: String| {
        Err(Failure::new(
            Exit::Refused,
            format!("{id} is not locked: {why}"),
        ))
    };
    match semaphore.lock(&holder).await? {
        Locked::Taken => {}
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
            return refused(format!(
                "all {} of the semaphore is held by {}; see {}",
                document.max,
                document.holders.join(", "),
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
                pause.by,
                pause.reason
            ));
        }
    }
    output::say(format!(
        "{id} holds the semaphore until: {}",
        context.command(&format!("unlock {id}"))
    ))?;
    Ok(())
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
        unknown: serde_json::Map::new(),
    })
}

async fn wait(
    context: &Context,
    semaphore: &crate::semaphore::etcd::Semaphore,
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
        node: None,
    };
    let system = |error: std::io::Error| Failure::new(Exit::Failed, error.to_string());
    let mut terminated = signal(SignalKind::terminate()).map_err(system)?;
    let (exit, why) = tokio::select! {
        () = semaphore.acquire(&claim, |wait| output::note(&wait.why)) => return Ok(()),
        () = tokio::time::sleep(length) => (
            Exit::Refused,
            format!("its turn did not come within {}", duration::print(length)),
        ),
        _ = tokio::signal::ctrl_c() => (Exit::Interrupted, "interrupted".into()),
        _ = terminated.recv() => (Exit::Terminated, "told to end".into()),
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
    let why = entry.reason.clone().unwrap_or_default();
    if entry.phase != Phase::Manual {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "{id} is not locked by hand: its own agent holds the semaphore{since} ({}: {why}), and will give it back",
                entry.phase
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
