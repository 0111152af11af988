//! The values beside the document: holders, tickets, pauses, quarantines, nodes.
//!
//! Each keeps the fields it does not know (`unknown`), so that a newer program's values survive being
//! rewritten by an older one. Times are RFC 3339 in UTC and for people: nothing is decided by comparing
//! them, since clocks of different nodes differ.

mod last_reboot;
mod store;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use last_reboot::{LastReboot, Outcome};
pub use store::{Accepted, Known, OtherStore};

/// How far a holder has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Taken, the node is being drained; it may still step back.
    Draining,
    /// Committed: the node goes down, or is down.
    Rebooting,
    /// Up again, the new boot is being checked.
    Proving,
    /// The new image is proven, carries load, and stays under observation for the time that the group's policy gives.
    Soaking,
    /// Taken by hand; only `unlock` ends it.
    Manual,
    /// A word of a newer program.
    #[serde(untagged)]
    Other(String),
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Draining => "draining",
            Self::Rebooting => "rebooting",
            Self::Proving => "proving",
            Self::Soaking => "soaking",
            Self::Manual => "manual",
            Self::Other(word) => word,
        })
    }
}

/// What is known of the image a node leaves or goes to. An unknown part is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageId {
    /// `sha256:` and 64 hex digits, of the slot's first MiB.
    #[serde(rename = "image", default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The version, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl ImageId {
    /// Whether both are the same image: by content where both are known by it, else by version.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        match (&self.digest, &other.digest) {
            (Some(own), Some(other)) => own == other,
            _ => self.version == other.version,
        }
    }

    /// Whether a quarantine of `bad` means this image: by content or by version.
    #[must_use]
    pub fn is_meant_by(&self, bad: &Self) -> bool {
        let same = |a: &Option<String>, b: &Option<String>| a.is_some() && a == b;
        same(&self.digest, &bad.digest) || same(&self.version, &bad.version)
    }

    /// Whether it cannot be told that a quarantine of `bad` does not mean this image: of this one only the content is
    /// known, and of the bad one only the version.
    #[must_use]
    pub fn may_be_meant_by(&self, bad: &Self) -> bool {
        let nameless = self.digest.is_some() && self.version.is_none();
        self.is_meant_by(bad) || (nameless && bad.digest.is_none() && bad.version.is_some())
    }
}

impl ImageId {
    /// The name by which a person gives it to a command: the version, else the whole digest; empty where nothing is known.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.version.as_ref().or(self.digest.as_ref());
        name.cloned().unwrap_or_default()
    }
}

impl std::fmt::Display for ImageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.version, &self.digest) {
            (Some(version), _) => f.write_str(version),
            (None, Some(image)) => f.write_str(image.get(..19).unwrap_or(image)),
            (None, None) => f.write_str("an unknown version"),
        }
    }
}

/// A node that has taken the semaphore: `G/holders/<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The node's machine id, or the name a person gave to `lock`.
    pub id: String,
    /// Its host name.
    #[serde(default)]
    pub hostname: String,
    /// Random, known to the taker only by its own journal: who holds by this entry.
    #[serde(default)]
    pub nonce: String,
    /// The boot in which it was taken.
    #[serde(default)]
    pub boot_id: String,
    /// When it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What the node ran.
    #[serde(default)]
    pub from: ImageId,
    /// What the node reboots into.
    #[serde(default)]
    pub to: ImageId,
    /// How far it has come.
    pub phase: Phase,
    /// Within how many seconds of the take it means to release it; none for one taken by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u64>,
    /// How many seconds after its deadline others may pass over it, by the policy at the take; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<u64>,
    /// Until when it soaks, by the clock of its node, for people; only in that phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soaks_until: Option<Timestamp>,
    /// Why it was taken, in a person's or the agent's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The program and version that took it.
    #[serde(default)]
    pub agent: String,
    /// The entry of the person who had locked the node by hand, where it reboots under that lock: the release puts it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_hand: Option<Box<Holder>>,
    /// Fields of newer programs.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// The field of the entry of `lock --drain`: false while the hooks run, true when they have drained the node.
const DRAINED: &str = "drained";

/// The field of the entry of a holder that no agent of ours keeps: the protocol by which it was taken.
const VIA: &str = "via";

/// What it says of a client of FleetLock, which polls.
pub const FLEET_LOCK: &str = "fleet-lock";

/// How far the drain by `lock --drain` has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// None has begun, or it was undone.
    None,
    /// Its hooks run, or were killed.
    Begun,
    /// The node is drained.
    Done,
}

impl Holder {
    /// Notes how far the drain with this entry has come.
    pub fn set_drain(&mut self, drain: Drain) {
        match drain {
            Drain::None => drop(self.unknown.remove(DRAINED)),
            Drain::Begun => drop(self.unknown.insert(DRAINED.into(), false.into())),
            Drain::Done => drop(self.unknown.insert(DRAINED.into(), true.into())),
        }
    }

    /// The protocol by which it was taken, where no agent of ours keeps it.
    #[must_use]
    pub fn via(&self) -> Option<String> {
        let via = self.unknown.get(VIA).filter(|via| !via.is_null())?;
        Some(via.as_str().map_or_else(|| via.to_string(), str::to_owned))
    }

    /// Notes that it was taken by this protocol.
    pub fn set_via(&mut self, via: &str) {
        self.unknown.insert(VIA.into(), via.into());
    }

    /// Whether it is the entry of a client of FleetLock: only such a client takes and releases it by polling.
    #[must_use]
    pub fn is_pollers(&self) -> bool {
        self.unknown.get(VIA).and_then(Value::as_str) == Some(FLEET_LOCK)
    }

    /// Whether it may be the entry of the node with this host name: an entry made elsewhere for a node names none.
    #[must_use]
    pub fn is_of_host(&self, hostname: &str) -> bool {
        self.hostname.is_empty() || self.hostname == hostname
    }

    /// Whether a person's lock, under which no reboot is under way, may be drained now.
    #[must_use]
    pub fn may_be_drained(&self) -> bool {
        self.phase == Phase::Manual && !self.drain_has_begun()
    }

    /// Whether `lock --drain` drained the node, or began to: with this entry, or with the one under which the node reboots.
    #[must_use]
    pub fn drain_has_begun(&self) -> bool {
        let own = self.unknown.contains_key(DRAINED);
        own || self
            .by_hand
            .as_ref()
            .is_some_and(|held| held.drain_has_begun())
    }

    /// Whether `lock --drain` drained the node: with this entry, or with the one under which the node reboots.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let own = self.unknown.get(DRAINED) == Some(&true.into());
        own || self.by_hand.as_ref().is_some_and(|held| held.is_drained())
    }

    /// Whether `lock --drain` began to drain the node and has not ended: its hooks run, or it was killed.
    #[must_use]
    pub fn is_half_drained(&self) -> bool {
        self.drain_has_begun() && !self.is_drained()
    }
}

/// A node's place in the queue: `G/queue/<id>`, ordered by the key's create revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The node's machine id.
    pub id: String,
    /// Its host name.
    #[serde(default)]
    pub hostname: String,
    /// When the node began to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What it wants to reboot into.
    #[serde(default)]
    pub to: ImageId,
    /// Fields of newer programs.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// A person's stop sign: `G/pause` or `P/pause-all`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who paused, as `user@host`.
    #[serde(default)]
    pub by: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Until when, for people; the key is then on a lease of that length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Set by an agent that found that etcd is not the one it was: ended only by `store accept`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<OtherStore>,
    /// Fields of newer programs.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl Pause {
    /// Who paused, for people; a value that cannot be read says nobody.
    #[must_use]
    pub fn author(&self) -> &str {
        match self.by.trim() {
            "" => "someone unknown",
            by => by,
        }
    }
}

/// An image or version no node may reboot into: `P/quarantine/…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// The image and version that are quarantined.
    #[serde(flatten)]
    pub what: ImageId,
    /// The node that found it bad.
    #[serde(default)]
    pub node: String,
    /// That node's host name.
    #[serde(default)]
    pub hostname: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// The node with a member of etcd that is out: `P/member-out`, put and deleted with its holder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberOut {
    /// The node's machine id.
    #[serde(default)]
    pub id: String,
    /// Its host name.
    #[serde(default)]
    pub hostname: String,
    /// The group whose semaphore it holds.
    #[serde(default)]
    pub group: String,
    /// The nonce it holds it under.
    #[serde(default)]
    pub nonce: String,
}

impl std::fmt::Display for MemberOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.hostname.as_str(), self.id.as_str()) {
            ("", "") => f.write_str("a node that does not say which"),
            ("", id) => f.write_str(id),
            (hostname, id) => write!(f, "{hostname} ({id})"),
        }
    }
}

/// A node that did not come back, and that others passed over by the group's policy: `G/lost/<id>`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostNode {
    /// Its host name.
    #[serde(default)]
    pub hostname: String,
    /// When it was passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What it rebooted into, or was to.
    #[serde(default)]
    pub to: ImageId,
    /// Whether that image was quarantined for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quarantined: bool,
}

/// What a node says of itself as a member of its group: `G/members/<id>`, whose value is the digest alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// The digest of the image that was proven here last; none where none was, or the node is on its way to another.
    pub proven: Option<String>,
}

impl Member {
    /// The value of its key.
    #[must_use]
    pub fn value(&self) -> &str {
        self.proven.as_deref().unwrap_or_default()
    }
}

/// What a node last said of itself: `P/nodes/<id>`; rewritten when its state changes, never on a timer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The node's machine id.
    pub id: String,
    /// Its host name.
    #[serde(default)]
    pub hostname: String,
    /// Its group.
    #[serde(default)]
    pub group: String,
    /// What it runs.
    #[serde(flatten)]
    pub runs: ImageId,
    /// The release of the kernel it runs (`uname -r`): on a machine without images, what an update changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The slot it runs from, where it has slots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// The boot in which it says so (proc(5), `random/boot_id`); empty where an older program wrote it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
    /// The state of its agent, one word.
    #[serde(default)]
    pub state: String,
    /// What it waits for, a sentence; empty where it waits for nothing.
    #[serde(rename = "reason", default)]
    pub waits_for: String,
    /// The program and version.
    #[serde(default)]
    pub agent: String,
    /// Since when it is in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// How its last reboot ended; none where an older program wrote it, or it has not rebooted yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastReboot>,
    /// What it says of itself as a member of its group: not in the record, but under a key of its own.
    #[serde(skip)]
    pub member: Option<Member>,
    /// What it had read before it found that etcd is not the one it was; only until that is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knew: Option<Known>,
}

/// The most bytes of a reason: it stands in etcd, in logs and on people's terminals.
const LONGEST_REASON: usize = 1000;

/// Checks the reason a person gives.
///
/// # Errors
/// When it is blank, or longer than 1000 bytes.
pub fn reason(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        Err("found nothing but blanks, expected a reason, in words".into())
    } else if text.len() > LONGEST_REASON {
        Err(format!(
            "found {} bytes, expected a reason of at most {LONGEST_REASON}",
            text.len()
        ))
    } else {
        Ok(())
    }
}

/// A random name of one taking of the semaphore: 32 hex digits.
///
/// # Errors
/// When the kernel gives no randomness.
pub fn new_nonce() -> std::io::Result<String> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_phases_of_newer_programs_survive() {
        let text = r#"{"id":"a","hostname":"h","nonce":"n","boot_id":"b","from":{},"to":{"version":"2"},"phase":"levitating","agent":"x","height":3}"#;
        let holder: Holder = serde_json::from_str(text).unwrap();
        assert_eq!(holder.phase, Phase::Other("levitating".into()));
        assert_eq!(serde_json::to_string(&holder).unwrap(), text);
    }

    #[test]
    fn only_the_essential_fields_are_required() {
        serde_json::from_str::<Holder>(r#"{"id":"a","phase":"manual"}"#).unwrap();
        serde_json::from_str::<Ticket>(r#"{"id":"a"}"#).unwrap();
        serde_json::from_str::<Pause>("{}").unwrap();
        serde_json::from_str::<Quarantine>("{}").unwrap();
        serde_json::from_str::<NodeRecord>(r#"{"id":"a"}"#).unwrap();
    }

    #[test]
    fn nonces_differ() {
        let (a, b) = (new_nonce().unwrap(), new_nonce().unwrap());
        assert!(a != b && a.len() == 32);
    }
}
