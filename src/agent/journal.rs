//! What this node must not forget: `var/lib/pointsman/journal.json`.
//!
//! Written, synced and renamed before the step that needs it, so that a node killed at any instruction
//! knows what it may hold. The nonce, the keys and the images keep their format in every version.

mod entry;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use host::{
    kept::Kept,
    node::{ReadError, RootPath, SMALL},
    remedy::Remedy,
};
use jiff::Timestamp;
use semaphore::{records::ImageId, store::Remembered};
use serde::{Deserialize, Serialize};
use windows::{WindowSpec, Windows};

pub use entry::{Claim, ClaimKey, Entry, Stage, UNKNOWN_MEMBER};

use super::{
    baseline::Baseline,
    machine_mark::{MachineMark, Owner},
    situation::Request,
};

/// How many reboots tell how long a reboot takes.
const KEPT_DURATIONS: usize = 5;
const A_DAY: u64 = 24 * 3600;

/// The version this program writes and understands.
const VERSION: u32 = 1;

/// The journal's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// The version of the format.
    pub version: u32,
    /// The machine it belongs to; none where an older program wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineMark>,
    /// A reboot a person asked for, and in which boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Asked>,
    /// The reboot under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Entry>,
    /// The soak of this node: under way, or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<Soak>,
    /// The image that failed its soak on this node, where nobody has cleared it and no other one has run since: that it boots
    /// again proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_soak: Option<ImageId>,
    /// The image that was proven last on this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<ImageId>,
    /// The update that was staged last, as content and version: the slot itself tells only the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<ImageId>,
    /// The other images, by digest, that were open to the node's group when it last waited for a wave: what was staged since has
    /// been looked for with them in mind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open_waves: Vec<String>,
    /// The reboot windows of the group's policy, as the node was told them last: whether its usual duration counts is decided by
    /// them as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy_windows: Vec<WindowSpec>,
    /// How long an update has been staged, while it may grow too old (`updates.restage-after`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waits>,
    /// The image whose proving has begun and has no verdict yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<ImageId>,
    /// The image whose proving was cut off once already: the next time it counts as bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgiven: Option<ImageId>,
    /// The boot for which it has been decided whether it fell back, and to blame whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<String>,
    /// The boot that was proven last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<String>,
    /// What had failed before the reboot that was committed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    /// How long the last reboots took, from the drain to the proof, in seconds; the latest is the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reboot_seconds: Vec<u64>,
    /// What failed in the boot that was proven last, as it had before, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_before: Vec<String>,
    /// The images that this node has quarantined. The key in the file is of the first version of the format, and does not
    /// change: an older program must find them.
    #[serde(rename = "condemned", default, skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<OwnQuarantine>,
    /// What is remembered of etcd; filled in when the journal is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stores: Option<Stores>,
}

/// What is remembered of etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stores {
    /// The id of the machine that remembers: an image made of a machine has seen nothing.
    pub machine: String,
    /// By key prefix.
    pub prefixes: BTreeMap<String, Remembered>,
}

impl Stores {
    /// Nothing remembered yet, by this machine.
    #[must_use]
    pub fn of(machine: &str) -> Self {
        Self {
            machine: machine.to_owned(),
            prefixes: BTreeMap::new(),
        }
    }
}

/// A staged update that waits for its reboot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// The update.
    pub image: ImageId,
    /// Since when it is staged, or when update_engine was last told to look again; on the wall clock.
    pub since: Timestamp,
}

/// An image this node found to be bad.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnQuarantine {
    /// The image.
    pub what: ImageId,
    /// Why.
    pub reason: String,
    /// The boot in which it was found.
    pub boot_id: String,
    /// Whether etcd has it: from then on what is there counts, and a person may clear it.
    #[serde(default)]
    pub reported: bool,
}

/// The time that a node stays under observation after it has proven another image, still holding the reboot lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Soak {
    /// The boot in which it soaks.
    pub boot_id: String,
    /// How long, in milliseconds.
    pub length_ms: u64,
    /// When it is over: milliseconds on the clock that counts from the boot, also while the machine sleeps (clock_gettime(2),
    /// `CLOCK_BOOTTIME`). The wall clock may be set meanwhile.
    pub over_at_ms: u64,
    /// The reboot that it is the end of: on a way back that does not come about, the node goes on with it.
    pub entry: Entry,
    /// Why it failed, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Whether a person has ended it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

impl Soak {
    /// How long it lasts.
    #[must_use]
    pub fn length(&self) -> Duration {
        Duration::from_millis(self.length_ms)
    }

    /// When it is over, on the clock that counts from the boot.
    #[must_use]
    pub fn over_at(&self) -> Duration {
        Duration::from_millis(self.over_at_ms)
    }
}

/// A reboot a person asked for. The next boot has fulfilled it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// What they said.
    #[serde(flatten)]
    pub request: Request,
    /// The boot in which it was asked for.
    pub boot_id: String,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            version: VERSION,
            machine: None,
            request: None,
            entry: None,
            soak: None,
            failed_soak: None,
            good: None,
            staged: None,
            open_waves: Vec::new(),
            policy_windows: Vec::new(),
            waits: None,
            trial: None,
            forgiven: None,
            judged: None,
            proven: None,
            baseline: None,
            reboot_seconds: Vec::new(),
            failed_before: Vec::new(),
            quarantined: Vec::new(),
            stores: None,
        }
    }
}

impl Journal {
    /// Whether a newer program wrote it: then what it holds is released, and nothing new is begun.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        self.version > VERSION
    }

    /// Whether update_engine must not run in this boot, although its image is proven: the node may soak, and then needs the
    /// other slot as it is.
    #[must_use]
    pub fn holds_updates_back(&self, boot_id: &str) -> bool {
        self.entry.as_ref().is_some_and(|entry| {
            let here = entry.boot_id == boot_id;
            let soaks = entry.in_etcd().is_some_and(|claim| claim.soaks);
            let proven = !here && soaks && entry.may_soak() && entry.stage != Stage::Queued;
            // Also in the next boot: perhaps that is one of the same image again.
            proven || entry.way_back
        })
    }

    /// How long reboots of this node take: the slowest of the last ones. None where it is not known.
    #[must_use]
    pub fn usual_duration(&self) -> Option<Duration> {
        let slowest = self.reboot_seconds.iter().max()?;
        Some(Duration::from_secs(*slowest))
    }

    /// The windows of the group's policy, as far as this node knows them; none where it knows of none, or cannot use one.
    #[must_use]
    pub fn windows_of_policy(&self) -> Windows {
        Windows::of(None, &self.policy_windows).unwrap_or_default()
    }

    /// Keeps how long the reboot took that is proven now. The wall clock may have been set meanwhile: what is no time, or more
    /// than a day, is not kept.
    pub fn remember_duration(&mut self, drain_began: Timestamp, proven: Timestamp) {
        let seconds = u64::try_from(proven.duration_since(drain_began).as_secs());
        let Some(seconds) = seconds.ok().filter(|seconds| *seconds <= A_DAY) else {
            return;
        };
        self.reboot_seconds.push(seconds);
        let more = self.reboot_seconds.len().saturating_sub(KEPT_DURATIONS);
        self.reboot_seconds.drain(..more);
    }

    /// Where the journal of the machine under `root` is.
    #[must_use]
    pub fn path(root: &host::node::Root) -> RootPath {
        root.path("var/lib/pointsman/journal.json")
    }

    /// Reads the journal; an absent one is empty.
    ///
    /// # Errors
    /// When it is there and cannot be read or understood: then what this node holds is unknown.
    pub fn load(path: &RootPath) -> Result<Self, JournalError> {
        let error = |fault| JournalError::new(path, fault);
        match path.read_bounded(SMALL) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|reason| error(JournalFault::Format(reason.into()))),
            Err(ReadError::System(e)) if e.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(reason) => Err(error(JournalFault::Unreadable(reason.into()))),
        }
    }

    /// Reads the journal of the machine `here`. One of another node, which an image of that node brought along, is set aside,
    /// and an empty one begun.
    ///
    /// # Errors
    /// As [`Self::load`]; also when a machine with the same id and other hardware wrote it: its disk was copied, and what
    /// it holds may be the other one's.
    pub fn of_this_machine(path: &RootPath, here: MachineMark) -> Result<Self, JournalError> {
        let mut journal = Self::load(path)?;
        let holds = journal.entry.is_some();
        let owner = |there: &MachineMark| there.owner(&here, holds);
        match journal.machine.as_ref().map(owner) {
            None | Some(Owner::Own) => {}
            Some(Owner::Node(id)) => {
                let aside = Path::new(path.name()).with_extension(format!("of-{id}.json"));
                tracing::warn!(
                    "the journal {path} belongs to the node {id}, not to this one. It is kept as {}, and a new journal begins",
                    path.parent().join(&aside)
                );
                path.rename(aside.as_os_str()).map_err(|reason| {
                    JournalError::new(path, JournalFault::AnotherNode(reason.into()))
                })?;
                journal = Self::default();
            }
            Some(Owner::Copy(what)) => {
                return Err(JournalError::new(path, JournalFault::Copy(what)));
            }
        }
        journal.machine = Some(here);
        Ok(journal)
    }

    /// Writes the journal so that it survives a power cut right afterwards.
    ///
    /// # Errors
    /// When it could not be written: the step it was for must not be taken.
    pub fn save(&self, path: &RootPath) -> Result<(), JournalError> {
        let text = serde_json::to_vec_pretty(self).expect("strings and numbers always serialize");
        path.parent()
            .make_folder()
            .and_then(|()| path.write_atomic(&text, 0o600))
            .map_err(|reason| JournalError::new(path, JournalFault::Unwritable(reason.into())))
    }
}

/// Why the journal cannot be used, and what a person can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}. {remedy}", self.what())]
pub struct JournalError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: JournalFault,
    /// What a person can do about it.
    pub remedy: Remedy,
}

impl JournalError {
    /// The journal at this path has this fault.
    #[must_use]
    pub fn new(path: &RootPath, fault: JournalFault) -> Self {
        Self {
            path: path.shown(),
            remedy: Remedy::Advice(fault.advice().into()),
            fault,
        }
    }

    /// What is wrong, without what a person can do about it.
    #[must_use]
    pub fn what(&self) -> String {
        format!(
            "the journal {} cannot be used: {}; this node does not reboot until it can be used",
            self.path.display(),
            self.fault
        )
    }
}

/// What is wrong with a journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalFault {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(Kept<ReadError>),
    /// It is no journal.
    #[error("{0}")]
    Format(Kept<serde_json::Error>),
    /// It belongs to another node, and could not be set aside.
    #[error("it belongs to another node, and cannot be renamed: {0}")]
    AnotherNode(Kept<io::Error>),
    /// It came with a copy of another machine's disk: what it says is held may be held by that machine.
    #[error(
        "the machine that wrote it has {0}: this disk is a copy, or the machine has new hardware"
    )]
    Copy(String),
    /// It cannot be written.
    #[error("{0}")]
    Unwritable(Kept<io::Error>),
}

impl JournalFault {
    fn advice(&self) -> &'static str {
        match self {
            Self::Copy(_) => {
                "A copy: give it its own machine id, remove the file, and restart pointsman. The machine itself: if `pointsman \
                 status` shows that it holds, run `pointsman unlock --force`; then remove the file, and restart pointsman"
            }
            _ => {
                "`pointsman status` shows what this node holds, and `pointsman unlock --force` releases it. Then remove the file"
            }
        }
    }
}
