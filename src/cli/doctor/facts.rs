//! What `doctor` looks at, as it was found: values only.

use std::time::Duration;

use jiff::Timestamp;
use settings::Strategy;

use super::finding::Trouble;
use crate::cli::config::InForce;

/// All of it.
#[derive(Debug)]
pub(super) struct Facts {
    /// When it was looked.
    pub(super) now: Timestamp,
    /// The same in the machine's time zone, as people are shown it.
    pub(super) shown_now: String,
    /// The configuration.
    pub(super) configuration: Configuration,
    /// The files of certificates that the configuration names.
    pub(super) certificates: Vec<Certificates>,
    /// etcd, where this node asks one.
    pub(super) etcd: Option<Result<Vec<Endpoint>, Trouble>>,
    /// The FleetLock server, where this node asks one and it speaks TLS: its URL, and until when its certificates are valid.
    pub(super) lock_server: Option<(String, Vec<Timestamp>)>,
    /// The group, where etcd could be read.
    pub(super) fleet: Option<Result<Fleet, Trouble>>,
    /// This node's agent.
    pub(super) agent: Agent,
    /// The slots.
    pub(super) slots: Slots,
    /// Why the system bus cannot be asked, where it cannot.
    pub(super) bus: Option<Trouble>,
    /// update_engine; none where the bus cannot be asked.
    pub(super) update_engine: Option<UpdateEngine>,
    /// This machine's clock.
    pub(super) clock: Clock,
    /// What else reboots the node.
    pub(super) coordinators: Vec<Coordinator>,
    /// The hooks, and the programs of `notify`.
    pub(super) hooks: HookFacts,
}

/// The configuration.
#[derive(Debug)]
pub(super) struct Configuration {
    /// What is wrong with it.
    pub(super) faults: Vec<String>,
    /// What is not wrong, and is worth a word.
    pub(super) warnings: Vec<String>,
    /// Whether nobody has configured anything.
    pub(super) is_missing: bool,
    /// What is asked before a reboot.
    pub(super) strategy: Strategy,
    /// Every setting, with its value and where that is from.
    pub(super) settings: Vec<InForce>,
}

/// A file of certificates that a setting names.
#[derive(Debug)]
pub(super) struct Certificates {
    /// The setting and where it was given, with the file: the subject of a sentence.
    pub(super) named: String,
    /// Whether they are authorities', of which another one may be in use.
    pub(super) are_authorities: bool,
    /// Until when each is valid; why that cannot be told.
    pub(super) valid_until: Result<Vec<Timestamp>, Unread>,
}

/// Why a file was not read.
#[derive(Debug)]
pub(super) enum Unread {
    /// This user may not; the agent may.
    Denied(String),
    /// It cannot be used.
    Wrong(Trouble),
}

/// An endpoint of etcd.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Its URL.
    pub(super) url: String,
    /// Whether it serves a read; why not.
    pub(super) answers: Result<(), String>,
    /// The id of its cluster, where it told one.
    pub(super) cluster: Option<u64>,
    /// Until when the certificates are valid that it shows, its own first; empty without TLS.
    pub(super) valid_until: Vec<Timestamp>,
}

/// What is of interest in the group.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    /// What is wrong with the document.
    pub(super) document: Option<String>,
    /// The holders that have not come back in time.
    pub(super) overdue: Vec<String>,
    /// What the nodes said of themselves: the program and version of the agent, and the image.
    pub(super) nodes: Vec<(String, String)>,
}

/// This node's agent.
#[derive(Debug)]
pub(super) enum Agent {
    /// It does not run.
    Absent,
    /// It could not be asked.
    Silent(Trouble),
    /// It runs.
    Runs {
        /// Its version.
        version: String,
        /// Its state's word.
        state: String,
        /// What it waits for, or empty.
        waits_for: String,
        /// Why the configuration on disk is not in force, or empty.
        config_error: String,
        /// Why etcd cannot be asked, or empty.
        etcd_error: String,
    },
}

/// The slots.
#[derive(Debug)]
pub(super) enum Slots {
    /// The machine has none.
    None,
    /// There are some, and they cannot be read.
    Unusable(Trouble),
    /// They are read.
    Read {
        /// What is wrong with the table.
        faults: Vec<String>,
        /// Each slot and its attributes.
        each: Vec<String>,
        /// What a reboot would boot.
        next: Option<String>,
    },
}

/// update_engine.
#[derive(Debug)]
pub(super) enum UpdateEngine {
    /// There is none: this file asks for reboots.
    None(String),
    /// It does not answer.
    Silent(Trouble),
    /// What it does, and when it last looked for an update.
    Does(String, Option<String>),
}

/// Whether the clock is right.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// A time server sets it.
    Synchronised,
    /// None does.
    Adrift,
    /// It cannot be told: why.
    Unknown(String),
}

/// What else reboots the node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Coordinator {
    /// What it is, and how that is seen: a sentence.
    pub(super) found: String,
    /// What to do about it.
    pub(super) to_do: String,
}

/// The hooks.
#[derive(Debug, Default)]
pub(super) struct HookFacts {
    /// The most time that one has.
    pub(super) limit: Duration,
    /// Why some cannot be run, a sentence each.
    pub(super) faults: Vec<String>,
    /// How long enabled ones give their own work: the hook's name, its time, the file that says so.
    pub(super) own_limits: Vec<(String, Duration, String)>,
}
