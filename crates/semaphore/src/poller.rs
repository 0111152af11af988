//! May a client that only polls take the reboot lock? Pure.
//!
//! A client of FleetLock has no ticket and no agent: it asks, is answered at once, and asks again some minutes later. So it is
//! let in only where no agent waits, and nothing that needs an agent on its node (images, waves, soaks) can hold for it.

use std::fmt;

use host::{
    fleet_lock::hashed,
    node::{Group, check_id},
    text, time,
};

use jiff::{Timestamp, Zoned};

use crate::{
    document::{Document, DocumentError, Refusal as DocumentRefusal},
    gates::{Closed, ClosedBy, Gates},
    policy::after_in,
    records::{FLEET_LOCK, Holder, ImageId, Phase, Ticket},
};

/// What the id under which a client stands in etcd begins with, where its own cannot stand there.
const HASHED: &str = "fleet-lock:";
/// The most bytes of an id that stands there as it is.
const LONGEST: usize = 128;
/// How many holders a refusal names.
const NAMED: usize = 10;

/// The id under which a client stands in etcd: its own where that can stand in a key, else a hash of it. Two clients never have the
/// same one.
#[must_use]
pub fn key_id(client: &str) -> String {
    let fits = client.len() <= LONGEST && !client.starts_with(HASHED);
    if fits && check_id(client).is_ok() {
        client.to_owned()
    } else {
        format!("{HASHED}{}", hashed(client))
    }
}

/// A client that polls.
#[derive(Debug, Clone)]
pub struct Poller {
    /// The id that it gave, of any length and characters.
    pub client: String,
    /// Within how many seconds it is expected to release the place; then its hold is shown as overdue, and stands.
    pub deadline: u64,
    /// Where it asked from, for people.
    pub from: Option<String>,
    /// The program that serves it.
    pub agent: String,
    /// The time, in the zone of windows that have none.
    pub now: Zoned,
}

impl Poller {
    /// The entry of this client, where it takes a place under this nonce.
    #[must_use]
    pub fn entry(&self, nonce: String, hostname: String) -> Holder {
        let mut holder = Holder {
            id: key_id(&self.client),
            hostname,
            nonce,
            boot_id: String::new(),
            since: Some(self.now.timestamp()),
            from: ImageId::default(),
            to: ImageId::default(),
            phase: Phase::Rebooting,
            deadline: Some(self.deadline),
            grace: None,
            soaks_until: None,
            reason: self.from.clone(),
            agent: self.agent.clone(),
            by_hand: None,
            unknown: serde_json::Map::new(),
        };
        holder.set_via(FLEET_LOCK);
        holder
    }
}

/// What became of a client that asked for a place.
#[derive(Debug, Clone, PartialEq)]
pub enum PollerTaken {
    /// It has one, since now or before.
    Taken,
    /// It has none.
    Refused(Refusal),
}

/// What a client that polls sees at one revision of the store.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// The id under which it stands there.
    pub id: &'a str,
    /// The group that it asks for.
    pub group: &'a Group,
    /// The group's document; none where nobody has created it.
    pub document: Option<&'a Result<Document, DocumentError>>,
    /// The entry under that id.
    pub entry: Option<&'a Holder>,
    /// The entries of the group's holders.
    pub holders: &'a [Holder],
    /// The first ticket of the queue.
    pub first: Option<&'a Ticket>,
    /// The gates that hold for it: pauses, and the policy with its windows.
    pub gates: &'a Gates,
    /// The policy as it stands in the store.
    pub policy: Option<&'a [u8]>,
    /// How many members the group has, and which percentage of them may be out; none where a number decides.
    pub percentage: Option<(u32, u64)>,
}

/// What becomes of a client that asks for a place.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// It has one: nothing is written.
    Held,
    /// Write this document, and the client's entry.
    Take(Document),
    /// Nothing.
    Refuse(Refusal),
}

/// Why a client gets no place.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// An agent, a person or another tool holds the lock under the client's id; its entry, where it has one.
    InUse(Option<Box<Holder>>),
    /// A gate is closed: a pause, the policy or its windows.
    Closed(Closed),
    /// The group comes after others, and nobody tells to which image the client goes.
    After(Vec<Group>),
    /// Nobody has created the document of this group.
    NoDocument(Group),
    /// The document of this group cannot be used.
    Unusable(Group, DocumentError),
    /// All places are taken.
    Full {
        /// The document.
        document: Document,
        /// The entries of its holders.
        holders: Vec<Holder>,
    },
    /// An agent waits, which came first.
    Behind(Ticket),
}

/// Decides what becomes of a client that asks for a place. It may ask for one that it has: then nothing can refuse it any more, for
/// it may be on its way down.
#[must_use]
pub fn decide(sight: Sight<'_>) -> Decision {
    let Sight {
        id,
        entry,
        holders,
        gates,
        ..
    } = sight;
    let refuse = Decision::Refuse;
    if let Some(entry) = entry.filter(|entry| !entry.is_pollers()) {
        return refuse(Refusal::InUse(Some(Box::new(entry.clone()))));
    }
    let named = |document: &Document| document.holds(id);
    match (sight.document, entry) {
        (Some(Ok(document)), Some(_)) if named(document) => return Decision::Held,
        (Some(Ok(document)), None) if named(document) => return refuse(Refusal::InUse(None)),
        _ => {}
    }
    // What a person did says more than what holds every day.
    let pause = |closed: &&Closed| matches!(closed.by, ClosedBy::Pause { .. });
    let closed = gates.closed.iter().find(pause);
    if let Some(closed) = closed.or_else(|| gates.closed.first()) {
        return refuse(Refusal::Closed(closed.clone()));
    }
    let after = sight.policy.map(after_in).unwrap_or_default();
    if !after.is_empty() {
        return refuse(Refusal::After(after));
    }
    let document = match sight.document {
        None => return refuse(Refusal::NoDocument(sight.group.clone())),
        Some(Err(error)) => {
            return refuse(Refusal::Unusable(sight.group.clone(), error.clone()));
        }
        Some(Ok(document)) => match sight.percentage {
            Some((percent, members)) => document.with_percentage(percent, members),
            None => document.clone(),
        },
    };
    match (document.with(id), sight.first) {
        (Err(DocumentRefusal::Held), _) => Decision::Held,
        (Err(DocumentRefusal::Full), _) => refuse(Refusal::Full {
            holders: holders
                .iter()
                .filter(|held| document.holds(&held.id))
                .cloned()
                .collect(),
            document,
        }),
        (Ok(_), Some(first)) => refuse(Refusal::Behind(first.clone())),
        (Ok(next), None) => Decision::Take(next),
    }
}

/// Whether what holds the lock under a client's id is the client's own, so that it may release it. All else is left alone.
#[must_use]
pub fn may_release(entry: Option<&Holder>) -> bool {
    entry.is_some_and(Holder::is_pollers)
}

impl Refusal {
    /// Its kind, for programs: one word of a list that docs/reference/fleet-lock.md has.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InUse(_) => "id_in_use",
            Self::Closed(closed) => match closed.by {
                ClosedBy::Pause { .. } => "paused",
                ClosedBy::Window(_) => "window_closed",
                ClosedBy::Policy(_) => "policy_unusable",
                ClosedBy::Quarantine { .. } => "quarantined",
                ClosedBy::Wave(_) => "wave_closed",
                ClosedBy::Member { .. } => "etcd_member_out",
            },
            Self::After(_) => "needs_agent",
            Self::NoDocument(_) => "semaphore_missing",
            Self::Unusable(..) => "semaphore_unusable",
            Self::Full { document, holders } if all_soak(document, holders) => "soaking",
            Self::Full { .. } => "semaphore_full",
            Self::Behind(_) => "queue_ahead",
        }
    }
}

/// Whether every place is taken by a node that soaks: a place becomes free by time alone.
fn all_soak(document: &Document, holders: &[Holder]) -> bool {
    let soaks = |id: &String| {
        let entry = holders.iter().find(|held| held.id == *id);
        entry.is_some_and(|entry| entry.phase == Phase::Soaking)
    };
    !document.holders.is_empty() && document.holders.iter().all(soaks)
}

/// A holder or a waiting node for people: host and id.
fn named(hostname: &str, id: &str) -> String {
    match hostname {
        "" => id.to_owned(),
        host if host == id => id.to_owned(),
        host => format!("{host} ({id})"),
    }
}

/// A group for people.
fn named_group(group: &Group) -> String {
    match group.is_default() {
        true => "the default group".to_owned(),
        false => format!("the group {}", group.as_str()),
    }
}

/// What a command needs to act on this group.
fn flag(group: &Group) -> String {
    match group.is_default() {
        true => String::new(),
        false => format!(" --group {}", text::shell_word(group.as_str())),
    }
}

/// A holder with what it does and since when.
fn standing(id: &str, entry: Option<&Holder>) -> String {
    let Some(entry) = entry else {
        return format!("{id} (taken by another tool)");
    };
    let mut said = format!("{}, {}", named(&entry.hostname, id), entry.phase);
    if let Some(via) = entry.via() {
        said += &format!(" by {via}");
    }
    if let Some(since) = entry.since {
        said += &format!(" since {}", time::shown_in_utc(since));
    }
    if let Some(until) = entry.soaks_until {
        said += &format!(" until {}", time::shown_in_utc(until));
    }
    // A person's; an agent's names versions, and a client's where it asked from.
    if let Some(reason) = entry
        .reason
        .as_ref()
        .filter(|_| entry.phase == Phase::Manual)
    {
        said += &format!(" ({reason})");
    }
    said
}

impl fmt::Display for Refusal {
    /// As a sentence for people: who is in the way, on which host, and since when.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(None) => f.write_str(
                "the semaphore document lists this id as a holder, but no client of FleetLock took it: another tool did",
            ),
            Self::InUse(Some(entry)) => write!(
                f,
                "the reboot lock is held with this id, but not by a client of FleetLock: {}",
                standing(&entry.id, Some(entry))
            ),
            Self::Closed(closed) => {
                write!(f, "{closed}")?;
                match &closed.by {
                    ClosedBy::Pause { pause, .. } => {
                        let shown = |word, at: Option<Timestamp>| {
                            at.map(|at| format!("{word} {}", time::shown_in_utc(at)))
                        };
                        let times = [shown("since", pause.since), shown("until", pause.until)];
                        let times: Vec<String> = times.into_iter().flatten().collect();
                        match times.is_empty() {
                            true => Ok(()),
                            false => write!(f, " ({})", times.join(", ")),
                        }
                    }
                    _ => Ok(()),
                }
            }
            Self::After(groups) => {
                let groups: Vec<&str> = groups.iter().map(Group::as_str).collect();
                write!(
                    f,
                    "nodes of this group reboot only into images that the groups before it have proven ({}), and a client of \
                     FleetLock does not say its image: such a node needs an agent, or another group",
                    groups.join(", ")
                )
            }
            Self::NoDocument(group) => write!(
                f,
                "{} has no semaphore document; to create it, where N nodes may be out of service at the same time: \
                 pointsman set-max N{}",
                named_group(group),
                flag(group)
            ),
            Self::Unusable(group, error) => write!(
                f,
                "the semaphore document of {} cannot be used: {error}; to repair it, where N nodes may be out of service at the \
                 same time: pointsman set-max N --rebuild{}",
                named_group(group),
                flag(group)
            ),
            Self::Full { document, .. } if document.max == 0 => {
                f.write_str("the group is stopped (max is 0)")
            }
            Self::Full { document, holders } => {
                match document.max {
                    1 => f.write_str("the only place is taken by ")?,
                    max => write!(f, "all {max} places are taken by ")?,
                }
                let entry = |id: &String| holders.iter().find(|held| held.id == *id);
                let shown = document.holders.iter().take(NAMED);
                let shown: Vec<String> = shown.map(|id| standing(id, entry(id))).collect();
                f.write_str(&shown.join("; "))?;
                match document.holders.len().saturating_sub(NAMED) {
                    0 => Ok(()),
                    more => write!(f, "; and {more} more"),
                }
            }
            Self::Behind(ticket) => {
                write!(
                    f,
                    "an agent waits for the reboot lock: {}",
                    named(&ticket.hostname, &ticket.id)
                )?;
                match ticket.since {
                    Some(since) => write!(f, " since {}", time::shown_in_utc(since)),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
