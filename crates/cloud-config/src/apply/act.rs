//! What is done to a machine.

use std::collections::HashMap;

use super::put::Put;
use crate::plan::{NewUser, Step};

/// One thing that is done, or is as it should be.
#[derive(Debug)]
pub(super) enum Act<'a> {
    /// What is at a place changes.
    Put(Put<'a>),
    /// The running kernel is told its name.
    Hostname { name: &'a str, before: String },
    /// A user is made, who can log in with no password.
    User(&'a NewUser),
    /// A user gets the password of this hash; `before` is none of one who is only made here.
    Password {
        user: &'a str,
        hash: &'a str,
        before: Option<String>,
        due: bool,
    },
    /// The system's own tool lets these keys log in as a user.
    Keys {
        user: &'a str,
        keys: Vec<&'a str>,
        before: Option<String>,
        due: bool,
    },
    /// A unit is enabled: its links are there, and systemd is asked whether that is all.
    Enable {
        unit: &'a str,
        runtime: bool,
        due: bool,
    },
    /// A script runs.
    Script {
        bytes: &'a [u8],
        sha256: String,
        due: bool,
    },
    /// systemd reads its units again.
    Reload,
    /// systemd-networkd starts again.
    RestartNetworkd,
    /// systemd is told to do something with a unit.
    Command {
        unit: &'a str,
        command: &'a str,
        /// Whether the unit runs.
        active: bool,
        due: bool,
    },
    /// systemd is told to end the boot, once all is on record.
    EndBoot {
        unit: &'a str,
        command: &'a str,
        due: bool,
    },
}

impl Act<'_> {
    /// Whether anything is to be done.
    pub(super) fn is_due(&self) -> bool {
        match self {
            Self::Put(put) => put.is_due(),
            Self::Hostname { name, before } => name != before,
            Self::User(_) | Self::Reload | Self::RestartNetworkd => true,
            Self::Password { due, .. }
            | Self::Keys { due, .. }
            | Self::Enable { due, .. }
            | Self::Script { due, .. }
            | Self::Command { due, .. }
            | Self::EndBoot { due, .. } => *due,
        }
    }

    /// Whether systemd is asked for something about a unit.
    pub(super) fn is_about_unit(&self) -> bool {
        matches!(
            self,
            Self::Enable { .. } | Self::RestartNetworkd | Self::Command { .. }
        )
    }

    /// Whether what is looked at afterwards may be another than was looked at before.
    pub(super) fn disturbs(&self) -> bool {
        self.is_due() && matches!(self, Self::User(_) | Self::Script { .. })
    }
}

/// A step, or the keys of one user from all steps that name some: they stand in one file.
#[derive(Debug)]
pub(super) enum Task<'a> {
    /// A step, but for its keys.
    Step(&'a Step),
    /// Who may log in.
    Keys {
        user: &'a str,
        keys: Vec<&'a str>,
        /// Where there is no such user, it goes without.
        optional: bool,
    },
}

/// The tasks of steps. The keys of a user come after the last step about that user, who may be made by it; those who
/// had keys from an earlier document and are not spoken of any more lose them.
pub(super) fn tasks<'a>(
    steps: &'a [Step],
    earlier: impl Iterator<Item = &'a str>,
) -> Vec<Task<'a>> {
    let about = |step: &'a Step| match step {
        Step::Keys {
            user,
            keys,
            optional,
        } => Some((user.as_str(), keys, *optional)),
        Step::User(user) => Some((user.name.as_str(), &user.keys, false)),
        _ => None,
    };
    let mut tasks = Vec::with_capacity(steps.len());
    let mut of: HashMap<&str, (usize, Vec<&str>, bool)> = HashMap::new();
    for (at, step) in steps.iter().enumerate() {
        if let Some((user, keys, optional)) = about(step) {
            let (last, all, all_optional) = of.entry(user).or_insert((at, Vec::new(), true));
            *last = at;
            *all_optional &= optional;
            for key in keys.iter().map(String::as_str) {
                if !all.contains(&key) {
                    all.push(key);
                }
            }
        }
    }
    for user in earlier.filter(|user| !of.contains_key(user)) {
        tasks.push(Task::Keys {
            user,
            keys: Vec::new(),
            optional: true,
        });
    }
    for (at, step) in steps.iter().enumerate() {
        if !matches!(step, Step::Keys { .. } | Step::Enable { .. }) {
            tasks.push(Task::Step(step));
        }
        let Some((user, ..)) = about(step) else {
            continue;
        };
        if of.get(user).is_some_and(|(last, ..)| *last == at)
            && let Some((_, keys, optional)) = of.remove(user)
        {
            tasks.push(Task::Keys {
                user,
                keys,
                optional,
            });
        }
    }
    // Once all units are there: one may be enabled with another that is written later.
    let enable = |step: &&Step| matches!(step, Step::Enable { .. });
    tasks.extend(steps.iter().filter(enable).map(Task::Step));
    tasks
}
