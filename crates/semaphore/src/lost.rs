//! Whom the first in the queue may pass over: a holder that does not come back. Pure.
//!
//! Without `lost` in the group's policy nobody is passed over, whatever time passes. With it, only a holder is that took under
//! it, as an agent, on a node without a member of etcd, and whose grace has passed. Everything else that is not understood is
//! kept.

use std::{fmt, time::Duration};

use host::{duration, time};

use crate::{
    document::Document,
    policy::Lost,
    records::{Holder, ImageId, LostNode, MemberOut, Phase, Quarantine},
    stored::Stored,
};

/// What the first in the queue sees at one revision of the store.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// The document, with the `max` that its percentage makes.
    pub document: &'a Document,
    /// The entries of the holders.
    pub holders: &'a [Entry],
    /// How many nodes of the group are lost already.
    pub lost: u64,
    /// What the group's policy says of lost nodes.
    pub policy: Lost,
    /// What else keeps a holder.
    pub keeps: Keeps<'a>,
}

/// What of the whole cluster keeps a holder in its place.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keeps<'a> {
    /// The node with a member of etcd that is out.
    pub member_out: Option<&'a MemberOut>,
    /// The revision at which a person last accepted the store; 0 for never.
    pub accepted: i64,
}

/// A holder's entry, as its key and the one of its grace tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The id, by the key.
    pub id: String,
    /// The entry.
    pub holder: Holder,
    /// As it was read.
    pub stored: Stored,
    /// Whether its grace has passed: the key on its lease is gone.
    pub expired: bool,
}

/// Whether a holder is passed over.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// This one.
    PassOver(PassOver),
    /// None, until the document, the policy or the grace of a holder changes.
    Wait(Wait),
}

/// A holder that is passed over.
#[derive(Debug, Clone, PartialEq)]
pub struct PassOver {
    /// Its entry.
    pub entry: Entry,
    /// The image that its going speaks against; none where it never went, or went to the one it had run.
    pub suspect: Option<ImageId>,
}

/// Why nobody is passed over now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// There is room, or the group is stopped.
    NoRoom,
    /// More nodes would be lost than the policy allows.
    OverBudget,
    /// The grace of none has passed that may be passed over, or of too few to make room.
    Nobody,
}

/// Why a holder is never passed over, whatever time passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Never {
    /// Only the document names it: another tool took it.
    Foreign,
    /// A person locked it by hand, and only `unlock` ends that.
    ByHand,
    /// It polls, and no agent of it says how far it is.
    Client(String),
    /// It was taken before the policy had `lost`, or by an older agent.
    NoGrace,
    /// Its phase is none in which a node can be lost: it is up, or the word is unknown.
    Phase(Phase),
    /// It hosts a member of etcd: etcd itself misses it.
    EtcdMember,
    /// It is older than the accept of this store, which may have forgotten that it came back.
    BeforeAccept,
}

/// How many seconds after its deadline this holder may be passed over; or why never.
///
/// # Errors
/// Why never.
pub fn grace(
    id: &str,
    holder: &Holder,
    stored_at: i64,
    keeps: Keeps<'_>,
) -> Result<Duration, Never> {
    if holder.phase == Phase::Manual || holder.by_hand.is_some() {
        return Err(Never::ByHand);
    }
    if let Some(via) = holder.via() {
        return Err(Never::Client(via));
    }
    if !matches!(
        holder.phase,
        Phase::Draining | Phase::Rebooting | Phase::Proving
    ) {
        return Err(Never::Phase(holder.phase.clone()));
    }
    let is_member =
        |out: &MemberOut| out.id == id || (!holder.nonce.is_empty() && out.nonce == holder.nonce);
    if keeps.member_out.is_some_and(is_member) {
        return Err(Never::EtcdMember);
    }
    if stored_at < keeps.accepted {
        return Err(Never::BeforeAccept);
    }
    match (holder.deadline, holder.grace) {
        (Some(_), Some(grace)) if grace > 0 => Ok(Duration::from_secs(grace)),
        _ => Err(Never::NoGrace),
    }
}

/// Decides whether the first in the queue, which sees the lock full, passes over a holder. Of several it is the one whose entry
/// has stood longest. Nobody is passed over in vain: where more hold the lock than may, as many must go as make room.
#[must_use]
pub fn decide(sight: Sight<'_>) -> Decision {
    let Sight {
        document, keeps, ..
    } = sight;
    let must_go = usize::try_from(1 - document.available()).unwrap_or_default();
    if document.max == 0 || must_go == 0 {
        return Decision::Wait(Wait::NoRoom);
    }
    let may = |entry: &&Entry| {
        let grace = grace(&entry.id, &entry.holder, entry.stored.modified, keeps);
        // A leftover takes no place.
        entry.expired && document.holds(&entry.id) && grace.is_ok()
    };
    let mut expired: Vec<&Entry> = sight.holders.iter().filter(may).collect();
    expired.sort_by_key(|entry| (entry.stored.modified, &entry.id));
    let Some(entry) = expired.first().filter(|_| expired.len() >= must_go) else {
        return Decision::Wait(Wait::Nobody);
    };
    if sight.lost.saturating_add(must_go as u64) > u64::from(sight.policy.budget) {
        return Decision::Wait(Wait::OverBudget);
    }
    Decision::PassOver(PassOver {
        suspect: suspect(&entry.holder),
        entry: Entry::clone(entry),
    })
}

/// The image that speaks for why this holder does not come back: the one it went to, where it went, and to another one than it
/// had run.
fn suspect(holder: &Holder) -> Option<ImageId> {
    let went = matches!(holder.phase, Phase::Rebooting | Phase::Proving);
    let known = holder.to.digest.is_some() || holder.to.version.is_some();
    (went && known && !holder.to.is(&holder.from)).then(|| holder.to.clone())
}

/// The quarantine of the image that a lost node went to.
#[must_use]
pub fn quarantine(image: ImageId, entry: &Entry, by: &str, now: jiff::Timestamp) -> Quarantine {
    let grace = Duration::from_secs(entry.holder.grace.unwrap_or_default());
    Quarantine {
        what: image,
        node: entry.id.clone(),
        hostname: entry.holder.hostname.clone(),
        reason: format!(
            "the node rebooted into it and did not come back within its deadline and a grace of {}; {by} passed over it by the \
             group's policy, and no member of any group has proven the image",
            duration::print(grace)
        ),
        since: Some(now),
    }
}

impl LostNode {
    /// That the node itself was passed over, as a sentence.
    #[must_use]
    pub fn of_itself(&self) -> String {
        let since = self
            .since
            .map(|since| format!(" at {}", time::shown_in_utc(since)));
        format!(
            "this node was thought lost{} and passed over by the group's policy",
            since.unwrap_or_default()
        )
    }
}

impl fmt::Display for Never {
    /// Why, as part of a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("another tool took the lock"),
            Self::ByHand => f.write_str("it is locked by hand"),
            Self::Client(via) => write!(f, "it took the lock by {via}"),
            Self::NoGrace => {
                f.write_str("it took the lock before the policy said so, or with an older agent")
            }
            Self::Phase(phase) => write!(f, "its phase is {phase}"),
            Self::EtcdMember => f.write_str("it hosts a member of etcd"),
            Self::BeforeAccept => f.write_str("its entry is older than `store accept`"),
        }
    }
}

#[cfg(test)]
mod tests;
