//! What a record tells: the things that are about to be done, and what all applies so far amount to.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::{
    Machine,
    act::{Act, Task},
    entry::{Entry, Place},
    look::Earlier,
    put::Why,
};

/// Something that is about to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Will {
    /// What is at a place changes.
    Put {
        /// Numbers what was kept, and the name under which the new thing is made.
        n: u64,
        place: Place,
        before: Entry,
        after: Entry,
        /// Owner, group and mode of a folder that goes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        folder: Option<(u32, u32, u32)>,
    },
    /// The running kernel is told its name.
    Hostname { before: String, after: String },
    /// A user is made.
    User {
        name: String,
        /// Whether there was a home for them already.
        home: bool,
    },
    /// A user gets a password of another hash; `before` is none of one who was just made.
    Password {
        user: String,
        before: Option<String>,
    },
    /// A user's keys change, by the system's own tool.
    Keys {
        user: String,
        before: Option<String>,
    },
    /// A script runs.
    Script { sha256: String },
    /// systemd is told something about a unit, which ran or not.
    Command {
        unit: String,
        command: String,
        active: bool,
    },
}

impl Will {
    /// The place that changes, if it is one.
    pub(super) fn place(&self) -> Option<&Place> {
        match self {
            Self::Put { place, .. } => Some(place),
            _ => None,
        }
    }
}

/// What an earlier apply put somewhere, and what was there before the first one did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owned {
    pub(super) place: Place,
    /// What it put there.
    pub(super) put: Entry,
    /// What was there.
    pub(super) original: Entry,
    /// Where that is kept: the record and the number in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kept: Option<(u64, u64)>,
}

/// What all applies so far amount to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// By path.
    #[serde(default)]
    pub(super) owned: BTreeMap<String, Owned>,
    /// The keys of each user that a document let in.
    #[serde(default)]
    pub(super) keys: BTreeMap<String, Vec<String>>,
    /// The users that a document made.
    #[serde(default)]
    pub(super) users: BTreeSet<String>,
    /// What systemd was told.
    #[serde(default)]
    pub(super) commands: Commands,
    /// What was told that ended a boot, for each document: not to be told again, boot after boot.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) ended: BTreeSet<String>,
}

/// What systemd was told in one boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Commands {
    /// The boot's id.
    pub(super) boot: String,
    /// Unit and command.
    pub(super) done: Vec<(String, String)>,
}

impl State {
    /// What is remembered of a command that ends the boot.
    pub(super) fn end_of_boot(document: &str, unit: &str, command: &str) -> String {
        format!("{document} {command} {unit}")
    }

    /// Takes in what one look has found and this record has done, each thing under its number.
    pub(super) fn take(&mut self, acts: &[Act<'_>], numbers: &HashMap<usize, u64>, record: u64) {
        for (at, act) in acts.iter().enumerate() {
            if let Act::User(user) = act {
                self.users.insert(user.name.clone());
            }
            let Act::Put(put) = act else { continue };
            let path = &put.place.path;
            if put.why == Why::Gone || put.after == Entry::Absent {
                self.owned.remove(path);
                continue;
            }
            let anew = || {
                let kept = !matches!(put.before, Entry::Absent | Entry::Folder);
                Owned {
                    place: put.place.clone(),
                    put: put.after.clone(),
                    original: put.before.clone(),
                    kept: numbers.get(&at).filter(|_| kept).map(|n| (record, *n)),
                }
            };
            match self.owned.get_mut(path) {
                // Somebody has changed what was added to: all that is there is what is added to from now on.
                Some(earlier) if put.added && put.before != earlier.put => {
                    if put.is_due() {
                        *earlier = anew();
                    }
                }
                Some(earlier) => earlier.put = put.after.clone(),
                // It was so already, by somebody else.
                None if !put.is_due() => {}
                None => {
                    self.owned.insert(path.clone(), anew());
                }
            }
        }
    }

    /// What is left once all is done: what nobody speaks of any more and was not ours to take away is not ours any more.
    pub(super) fn finish(
        &mut self,
        earlier: &Earlier,
        tasks: &[Task<'_>],
        machine: &Machine,
        commands: Vec<(String, String)>,
        last: &[(String, String)],
    ) {
        let boot = &machine.boot;
        if !machine.adds {
            self.owned
                .retain(|path, owned| earlier.wanted.contains(path) || owned.put == Entry::Folder);
            self.keys.clear();
            self.ended
                .retain(|ended| ended.starts_with(&machine.document));
        }
        let keys = tasks.iter().filter_map(|task| match task {
            // What was left out is not ours.
            Task::Keys {
                user,
                optional: true,
                ..
            } if !machine.has_user(user) => None,
            Task::Keys { user, keys, .. }
                if !keys.is_empty() && !earlier.disabled.contains(*user) =>
            {
                let keys = keys.iter().map(|key| (*key).to_owned());
                Some(((*user).to_owned(), keys.collect()))
            }
            _ => None,
        });
        self.keys.extend(keys);
        let last = last.iter();
        self.ended.extend(
            last.map(|(unit, command)| Self::end_of_boot(&machine.document, unit, command)),
        );
        if self.commands.boot != *boot {
            self.commands = Commands {
                boot: boot.clone(),
                done: Vec::new(),
            };
        }
        if !machine.adds {
            self.commands.done.clear();
        }
        self.commands.done.extend(commands);
    }
}
