//! What a waiting node says: each step and each block as a sentence for people.

use super::{Block, Step};
use crate::records::{Holder, Phase};

impl std::fmt::Display for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Foreign(holder) if holder.phase == Phase::Manual => {
                f.write_str("this node is locked by hand")?;
                if let Some(since) = holder.since {
                    write!(f, " since {since:.0}")?;
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
                write!(f, "; to end that: {}", unlock(holder))
            }
            Self::Foreign(holder) => {
                write!(
                    f,
                    "the reboot lock is held under this node's id, but not by this node: {} took it, phase {}",
                    who(&holder.hostname, "another machine with the same id"),
                    holder.phase
                )?;
                if let Some(since) = holder.since {
                    write!(f, ", since {since:.0}")?;
                }
                if let Some(reason) = &holder.reason {
                    write!(f, " ({reason})")?;
                }
                write!(f, "; end it with: {}", unlock(holder))
            }
            Self::Listed => f.write_str(
                "the reboot lock names this node as a holder, but this node did not take it; \
                 end it with: pointsman unlock",
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
                "first in the queue; the reboot lock's document is gone, and stood here before: only a person creates it \
                 again, N being how many may be out: pointsman set-max N",
            ),
            Self::WaitCreated { seen: false } => f.write_str(
                "first in the queue; the group has no document yet: it is created with max 1 once this ticket has stood for \
                 as long as its lease (timings.ticket-lease), or by: pointsman set-max N",
            ),
            Self::WaitRepaired(error) => write!(
                f,
                "the reboot lock's document cannot be used: {error}; \
                 to repair it, N being how many may be out: pointsman set-max N --rebuild"
            ),
            Self::WaitFull { document } if document.max == 0 => {
                f.write_str("first in the queue; the group is stopped (max is 0)")
            }
            Self::WaitFull { document } => {
                let holders = document.holders.join(", ");
                match document.max {
                    1 => write!(f, "first in the queue; the only place is taken by {holders}"),
                    max => write!(f, "first in the queue; all {max} places are taken by {holders}"),
                }
            }
            Self::WaitGate(closed) => write!(f, "first in the queue; {closed}"),
        }
    }
}
