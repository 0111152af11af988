//! A reboot under way, as the journal has it.

use jiff::Timestamp;
use semaphore::{fleet_lock::Place, keys::Keys, records::ImageId};
use serde::{Deserialize, Serialize};

use crate::agent::situation::Intent;

/// A reboot under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredEntry", into = "StoredEntry")]
pub struct Entry {
    /// How far it has come: the step that was about to be taken.
    pub stage: Stage,
    /// The boot in which it began.
    pub boot_id: String,
    /// The reboot lock it asks for or holds; none where the strategy asks nobody.
    pub claim: Option<Claim>,
    /// Why, and into what.
    pub intent: Intent,
    /// What ran when it began.
    pub from: ImageId,
    /// When its drain began, on the wall clock.
    pub drain_began: Option<Timestamp>,
    /// Whether it is the way back of a node that soaks, under the hold that it has.
    pub way_back: bool,
}

/// What a reboot asks for or holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The reboot lock in etcd.
    Etcd(ClaimKey),
    /// A place at a FleetLock server.
    FleetLock(Place),
}

/// An [`Entry`] as it stands in the file.
#[derive(Serialize, Deserialize)]
struct StoredEntry {
    stage: Stage,
    boot_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claim: Option<ClaimKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fleet_lock: Option<Place>,
    intent: Intent,
    from: ImageId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drain_began: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    way_back: bool,
}

impl From<StoredEntry> for Entry {
    fn from(stored: StoredEntry) -> Self {
        let in_etcd = stored.claim.map(Claim::Etcd);
        Self {
            stage: stored.stage,
            boot_id: stored.boot_id,
            claim: in_etcd.or(stored.fleet_lock.map(Claim::FleetLock)),
            intent: stored.intent,
            from: stored.from,
            drain_began: stored.drain_began,
            way_back: stored.way_back,
        }
    }
}

impl From<Entry> for StoredEntry {
    fn from(entry: Entry) -> Self {
        let (claim, fleet_lock) = match entry.claim {
            Some(Claim::Etcd(key)) => (Some(key), None),
            Some(Claim::FleetLock(place)) => (None, Some(place)),
            None => (None, None),
        };
        Self {
            stage: entry.stage,
            boot_id: entry.boot_id,
            claim,
            fleet_lock,
            intent: entry.intent,
            from: entry.from,
            drain_began: entry.drain_began,
            way_back: entry.way_back,
        }
    }
}

impl Entry {
    /// The reboot lock in etcd, where it is that.
    #[must_use]
    pub fn in_etcd(&self) -> Option<&ClaimKey> {
        match &self.claim {
            Some(Claim::Etcd(key)) => Some(key),
            Some(Claim::FleetLock(_)) | None => None,
        }
    }

    /// The place at a FleetLock server, where it is that.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        match &self.claim {
            Some(Claim::FleetLock(place)) => Some(place),
            Some(Claim::Etcd(_)) | None => None,
        }
    }

    /// What a node tells a FleetLock server when its agent starts and its journal has no reboot: that it holds nothing. It is as
    /// if it had asked for a place in an earlier boot and not heard the answer. It is in no file.
    #[must_use]
    pub fn greeting(place: Place, runs: &ImageId) -> Self {
        Self {
            stage: Stage::Queued,
            boot_id: String::new(),
            claim: Some(Claim::FleetLock(place)),
            intent: Intent {
                reason: String::new(),
                to: runs.clone(),
                by_person: false,
                new_image: false,
                urgent: false,
            },
            from: runs.clone(),
            drain_began: None,
            way_back: false,
        }
    }

    /// Whether it is a [greeting](Self::greeting).
    #[must_use]
    pub fn is_greeting(&self) -> bool {
        self.boot_id.is_empty()
    }

    /// Whether the node may soak after this reboot, once it has proven the image that it went to: not where it stayed on its
    /// image, rebooted under a person's lock, or went back.
    #[must_use]
    pub fn may_soak(&self) -> bool {
        let in_etcd = self.in_etcd().is_some_and(|claim| !claim.by_hand);
        in_etcd && !self.way_back && !self.intent.to.is(&self.from)
    }
}

/// What finds a claim again in etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimKey {
    /// The nonce under which it takes.
    pub nonce: String,
    /// The id under which it takes.
    pub id: String,
    /// Where.
    pub keys: Keys,
    /// The id of the member of etcd that the node hosts, where it was taken as such a node; [`UNKNOWN_MEMBER`] where only that
    /// is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<u64>,
    /// Whether it was taken under a lock by hand: only a reboot that a person asks for goes under that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_hand: bool,
    /// Whether the group's policy had a node soak when it was taken, or that is not known. Only for who holds update_engine back:
    /// whether the node soaks is asked again with the release.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub soaks: bool,
    /// Whether it was taken under a lock by hand whose taker has drained the node: the hooks run with that lock alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drained: bool,
}

/// The id of a member of etcd of which it is not known which it is. No member has it (etcd draws them by a hash, and a proxy
/// answers with it).
pub const UNKNOWN_MEMBER: u64 = 0;

/// The steps before which the journal is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// A ticket, and perhaps the semaphore.
    Queued,
    /// The semaphore is held, the drain hooks may have run.
    Draining,
    /// The boot is proven; whether it soaks is asked with the release, or it soaks.
    Soaking,
    /// The boot is proven, or the reboot was given up: only the release is left.
    Releasing,
    /// The commit may have been made, the reboot may have been called. A newer program's step that this one does not
    /// know is taken for it: nothing is released before it is known that the system stays up, or is up again.
    #[serde(other)]
    Committing,
}
