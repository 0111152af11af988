//! Plans, applies and records, as people and programs see them.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;
use similar::TextDiff;

use super::{
    act::Act,
    entry::TreeEntry,
    error::ApplyError,
    format::End,
    look::Found,
    machine::Machine,
    put::{Put, Why},
    record::Record,
};

/// The largest file that is compared line by line, in bytes.
const MOST: u64 = 256 << 10;

/// One change, or a thing that needs none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedChange {
    /// What it is: `file`, `link`, `folder`, `hostname`, `user`, `password`, `keys`, `unit`, `script`, `systemd`,
    /// `command`.
    pub kind: &'static str,
    /// Its path or name.
    pub name: String,
    /// What happens: `new`, `changed`, `same`, `removed`, `restored`; `enabled` for a unit, `run` for a command or script.
    pub change: &'static str,
    /// What changes, in words.
    pub details: Vec<String>,
    /// The difference, line by line; null if there is nothing to compare, or the content is secret.
    pub diff: Option<String>,
}

/// What a document changes on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// In the order in which they are made.
    pub changes: Vec<PlannedChange>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
    /// An earlier apply was interrupted, and is undone first.
    #[serde(skip)]
    pub interrupted: bool,
    /// The commands for systemd when everything else is done and recorded: unit and command ([`Machine::end_boot`]).
    #[serde(skip)]
    pub last: Vec<(String, String)>,
    /// Commands to units that failed without undoing the apply.
    #[serde(skip)]
    pub failed: Vec<String>,
    /// systemd refused one of these commands without trying it, where coreos-cloudinit ended with an error.
    #[serde(skip)]
    pub fatal: bool,
}

impl Outline {
    /// Tells whether there is anything to do.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.interrupted || self.due() > 0
    }

    /// How many changes have to be made.
    pub(super) fn due(&self) -> usize {
        let due = |change: &&PlannedChange| change.change != "same";
        self.changes.iter().filter(due).count()
    }
}

/// An earlier apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Past {
    /// Its number.
    pub number: u64,
    /// When it began.
    pub at: Timestamp,
    /// Which document it was.
    pub source: String,
    /// How it ended; null if it was interrupted.
    pub end: Option<End>,
    /// How many changes it made.
    pub steps: usize,
    /// What was not undone, if it was undone or reverted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    /// A step of the revert failed: the apply stays in force, and can be reverted again.
    #[serde(skip)]
    pub failed: bool,
}

pub(super) fn past(record: &Record) -> Past {
    Past {
        number: record.number,
        at: record.begin.at,
        source: record.begin.source.clone(),
        end: record.end.map(|(end, _)| end),
        steps: record.will.len(),
        left: record.left.clone(),
        failed: false,
    }
}

/// Converts what a look has found, unless something cannot be done.
pub(super) fn outline(
    machine: &Machine,
    found: &Found<'_>,
    diffs: bool,
) -> Result<Outline, ApplyError> {
    if !found.refused.is_empty() {
        return Err(ApplyError::Refused(found.refused.clone()));
    }
    let mut changes: Vec<PlannedChange> = found.acts.iter().map(of).collect();
    if diffs {
        for (change, act) in changes.iter_mut().zip(&found.acts) {
            if let (Act::Put(put), "changed") = (act, change.change) {
                change.diff = diff(machine, put);
            }
        }
    }
    Ok(Outline {
        changes,
        notes: found.notes.clone(),
        interrupted: false,
        last: Vec::new(),
        failed: Vec::new(),
        fatal: false,
    })
}

pub(super) fn of(act: &Act<'_>) -> PlannedChange {
    let (kind, name, change, details) = match act {
        Act::Put(put) => return of_put(put),
        Act::Hostname { name, before } => (
            "hostname",
            (*name).to_owned(),
            "changed",
            vec![format!("was {before}")],
        ),
        Act::User(user) => ("user", user.name.clone(), "new", user.arguments.clone()),
        Act::Password { user, .. } => ("password", (*user).to_owned(), "changed", Vec::new()),
        Act::Keys { user, keys, .. } => {
            let details = vec![format!("{} in all", keys.len())];
            ("keys", (*user).to_owned(), "changed", details)
        }
        Act::Enable { unit, .. } => ("unit", (*unit).to_owned(), "enabled", Vec::new()),
        Act::Script { bytes, sha256, .. } => {
            let details = vec![format!("{} bytes, once for each content", bytes.len())];
            ("script", sha256[..12].to_owned(), "run", details)
        }
        Act::Reload => ("systemd", "daemon-reload".to_owned(), "run", Vec::new()),
        Act::RestartNetworkd => (
            "command",
            "restart systemd-networkd.service".to_owned(),
            "run",
            Vec::new(),
        ),
        Act::Command { unit, command, .. } | Act::EndBoot { unit, command, .. } => {
            ("command", format!("{command} {unit}"), "run", Vec::new())
        }
    };
    let due = act.is_due();
    PlannedChange {
        kind,
        name,
        change: if due { change } else { "same" },
        details: if due { details } else { Vec::new() },
        diff: None,
    }
}

fn of_put(put: &Put<'_>) -> PlannedChange {
    let kind = |entry: &TreeEntry| match entry {
        TreeEntry::Absent => None,
        TreeEntry::File(_) => Some("file"),
        TreeEntry::Link(_) => Some("link"),
        TreeEntry::Folder => Some("folder"),
        TreeEntry::Special => Some("special"),
    };
    let change = match (put.is_due(), put.why, &put.before, &put.after) {
        (false, ..) => "same",
        (_, _, _, TreeEntry::Absent) => "removed",
        (_, Why::Gone, ..) => "restored",
        (_, _, TreeEntry::Absent, _) => "new",
        _ => "changed",
    };
    PlannedChange {
        kind: kind(&put.after).or(kind(&put.before)).unwrap_or("file"),
        name: put.place.path.clone(),
        change,
        details: if put.is_due() {
            put.details()
        } else {
            Vec::new()
        },
        diff: None,
    }
}

fn diff(machine: &Machine, put: &Put<'_>) -> Option<String> {
    let (TreeEntry::File(before), TreeEntry::File(after)) = (&put.before, &put.after) else {
        return None;
    };
    if before.sha256 == after.sha256 || !put.is_open() || put.bytes.len() as u64 > MOST {
        return None;
    }
    let before = machine.tree.read_at(&put.place, MOST + 1).ok()??;
    if before.len() as u64 > MOST {
        return None;
    }
    let (before, after) = (
        std::str::from_utf8(&before).ok()?,
        std::str::from_utf8(&put.bytes).ok()?,
    );
    let diff = TextDiff::from_lines(before, after);
    Some(diff.unified_diff().context_radius(2).to_string())
}

/// Prints an outline as lines, without what needs no change; with differences, if asked.
#[must_use]
pub fn print(outline: &Outline, diffs: bool) -> String {
    let mut text = String::new();
    for change in outline
        .changes
        .iter()
        .filter(|change| change.change != "same")
    {
        let sign = match change.change {
            "new" | "enabled" => '+',
            "run" => '>',
            "removed" => '-',
            _ => '~',
        };
        let _ = write!(
            text,
            "{sign} {} {}: {}",
            change.kind, change.name, change.change
        );
        if !change.details.is_empty() {
            let _ = write!(text, " ({})", change.details.join(", "));
        }
        text.push('\n');
        for line in change
            .diff
            .iter()
            .filter(|_| diffs)
            .flat_map(|diff| diff.lines())
        {
            let _ = writeln!(text, "    {line}");
        }
    }
    for note in &outline.notes {
        let _ = writeln!(text, "! {note}");
    }
    text
}
