//! The changes to a machine.

use std::collections::HashMap;

use super::put::Put;
use crate::plan::{NewUser, Step};

/// One change, or a thing that needs none.
#[derive(Debug)]
pub(super) enum Act<'a> {
    /// A path changes.
    Put(Put<'a>),
    /// The running kernel is told its name.
    Hostname { name: &'a str, before: String },
    /// A user is created, who cannot log in with a password yet.
    User(&'a NewUser),
    /// A user gets the password with this hash. `before` is none for a user that is created by this apply.
    Password {
        user: &'a str,
        hash: &'a str,
        before: Option<String>,
        due: bool,
    },
    /// The system's tool sets the keys of a user.
    Keys {
        user: &'a str,
        keys: Vec<&'a str>,
        before: Option<String>,
        due: bool,
    },
    /// A unit is enabled. Its links exist, and systemd adds what else is needed.
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
    /// systemd reloads its units.
    Reload,
    /// systemd-networkd restarts.
    RestartNetworkd,
    /// systemd runs a command for a unit.
    Command {
        unit: &'a str,
        command: &'a str,
        /// The unit is running.
        active: bool,
        due: bool,
    },
    /// systemd ends the boot, when everything is recorded.
    EndBoot {
        unit: &'a str,
        command: &'a str,
        due: bool,
    },
}

impl Act<'_> {
    /// Tells whether anything has to be done.
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

    /// Tells whether it is a request to systemd about a unit.
    pub(super) fn is_about_unit(&self) -> bool {
        matches!(
            self,
            Self::Enable { .. } | Self::RestartNetworkd | Self::Command { .. }
        )
    }

    /// Tells whether it may change what a later look finds.
    pub(super) fn disturbs(&self) -> bool {
        self.is_due() && matches!(self, Self::User(_) | Self::Script { .. })
    }
}

/// A step, or the keys of one user from all steps that name some: one file holds them.
#[derive(Debug)]
pub(super) enum Task<'a> {
    /// A step without its keys.
    Step(&'a Step),
    /// Who may log in.
    Keys {
        user: &'a str,
        keys: Vec<&'a str>,
        /// If the user does not exist, the keys are ignored.
        optional: bool,
    },
}

/// Converts steps to tasks. The keys of a user come after the last step about that user, which may create the user. Users who
/// had keys from an earlier document and have none in this one lose them.
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
    // When all units are written: one may be enabled with another that is written later.
    let enable = |step: &&Step| matches!(step, Step::Enable { .. });
    tasks.extend(steps.iter().filter(enable).map(Task::Step));
    tasks
}
