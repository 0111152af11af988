//! What a waiting node says: each step and each block as a sentence for people.

use std::collections::BTreeMap;

use host::{node::is_machine_id, time};

use super::{Block, Step};
use crate::records::{Holder, Phase};

impl std::fmt::Display for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Foreign(holder) if holder.phase == Phase::Manual => {
                f.write_str("this node is locked by hand")?;
                if let Some(since) = holder.since {
                    write!(f, " since {}", time::shown_in_utc(since))?;
                }
                if let Some(reason) = &holder.reason {
                    write!(f, ": {reason}")?;
                }
                if holder.is_half_drained() {
                    f.write_str("; the drain has not ended")?;
                }
                if !holder.hostname.is_empty() {
                    write!(f, " (on {})", holder.hostname)?;
                }
                write!(f, "; to unlock it: {}", unlock(holder))
            }
            Self::Foreign(holder) => {
                write!(
                    f,
                    "the reboot lock is held with this node's id, but not by this node: by {}, phase {}",
                    who(&holder.hostname, "another machine with the same id"),
                    holder.phase
                )?;
                if let Some(since) = holder.since {
                    write!(f, ", since {}", time::shown_in_utc(since))?;
                }
                if let Some(reason) = &holder.reason {
                    write!(f, " ({reason})")?;
                }
                write!(f, "; to release it: {}", unlock(holder))
            }
            Self::Listed => f.write_str(
                "the semaphore document lists this node as a holder, but this node did not take the reboot lock; \
                 to release it: pointsman unlock",
            ),
            Self::Gate(closed) => closed.fmt(f),
        }
    }
}

/// The command that ends this hold: a node that may come back at any moment is unlocked only by force.
#[must_use]
pub fn unlock(holder: &Holder) -> String {
    let force = match holder.phase {
        Phase::Rebooting | Phase::Proving => " --force",
        _ => "",
    };
    format!(
        "pointsman unlock {}{force}",
        host::text::shell_word(&holder.id)
    )
}

/// A holder by its host name and id. A name that a person chose instead of a machine id stands for itself.
fn named(id: &str, host_names: &BTreeMap<String, String>) -> String {
    match host_names.get(id) {
        Some(host) if !host.is_empty() && is_machine_id(id) => format!("{host} ({id})"),
        _ => id.to_owned(),
    }
}

fn who<'a>(name: &'a str, otherwise: &'a str) -> &'a str {
    if name.is_empty() { otherwise } else { name }
}

impl std::fmt::Display for Step {
    /// What the node waits for, as a sentence for people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Held
            | Self::Enqueue
            | Self::Create
            | Self::Take { .. }
            | Self::TakeOver { .. } => {
                f.write_str("taking the reboot lock")
            }
            Self::Blocked(block) => block.fmt(f),
            Self::WaitBehind { key, hostname } => {
                let id = key.rsplit('/').next().unwrap_or(key);
                write!(f, "in the queue behind {}", who(hostname, id))?;
                if hostname.is_empty() {
                    Ok(())
                } else {
                    write!(f, " ({id})")
                }
            }
            Self::WaitCreated { seen: true } => f.write_str(
                "first in the queue; the semaphore document existed before, and is gone: only a person creates it again, where N \
                 nodes may be out of service at the same time: pointsman set-max N",
            ),
            Self::WaitCreated { seen: false } => f.write_str(
                "first in the queue; the group has no semaphore document yet: it is created with max 1 after this ticket has \
                 existed for its lease (timings.ticket-lease), or now by: pointsman set-max N",
            ),
            Self::WaitRepaired(error) => write!(
                f,
                "the semaphore document cannot be used: {error}; \
                 to repair it, where N nodes may be out of service at the same time: pointsman set-max N --rebuild"
            ),
            Self::WaitFull { document, .. } if document.max == 0 => {
                f.write_str("first in the queue; the group is stopped (max is 0)")
            }
            Self::WaitFull {
                document,
                host_names,
            } => {
                let holders = document.holders.iter();
                let holders: Vec<String> = holders.map(|id| named(id, host_names)).collect();
                let holders = holders.join(", ");
                match document.max {
                    1 => write!(f, "first in the queue; the only place is taken by {holders}"),
                    max => write!(f, "first in the queue; all {max} places are taken by {holders}"),
                }
            }
            Self::WaitGate(closed) => write!(f, "first in the queue; {closed}"),
        }
    }
}
