//! Undoing what an apply has done, from its record.

use std::{
    collections::{HashMap, HashSet},
    io,
};

use super::{
    earlier::is_systemds,
    entry::{TreeEntry, TreePath},
    error::ApplyError,
    journal::{Journal, beside},
    keys,
    machine::Machine,
    manager::{self, Manager},
    record::Record,
    state::Intent,
    tools::Tools,
};

/// Lists what somebody has changed since an apply wrote it.
///
/// # Errors
/// When a path cannot be read.
pub(super) fn changed(machine: &Machine, record: &Record) -> Result<Vec<String>, ApplyError> {
    // One apply may write a path twice, one after the other.
    let mut places: HashMap<&TreePath, (&TreeEntry, &TreeEntry)> = HashMap::new();
    for will in &record.will {
        if let Intent::Put {
            place,
            before,
            after,
            ..
        } = will
        {
            places.entry(place).or_insert((before, after)).1 = after;
        }
    }
    let mut changed = Vec::new();
    for (place, (before, after)) in places {
        let now = machine.tree.look(place);
        let now = now.map_err(|error| ApplyError::step(&place.path, error))?;
        if *after != TreeEntry::Folder && now != *after && now != *before {
            changed.push(format!(
                "{} has been changed since it was applied",
                place.path
            ));
        }
    }
    changed.sort_unstable();
    Ok(changed)
}

/// What an undo did not undo.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// What was not undone, and why.
    pub(super) texts: Vec<String>,
    /// A step failed, and may succeed another time.
    pub(super) failed: bool,
}

/// Undoes as much as possible, the last change first, and returns what could not be undone. With `force`, also what somebody has changed.
pub(super) async fn undo(
    machine: &Machine,
    systemd: Option<&Manager>,
    journal: &Journal,
    will: &[Intent],
    force: bool,
) -> Left {
    machine.tree.forget();
    let mut undo = Undo {
        machine,
        systemd,
        journal,
        force,
        left: Left::default(),
        units: false,
    };
    // A unit that did not run before is stopped while its files exist; one that ran is started when its own files are restored.
    for will in will.iter().rev() {
        if let Intent::Command {
            unit,
            command,
            active: false,
        } = will
            && command != "stop"
        {
            undo.tell(unit, "stop").await;
            if let Some(systemd) = systemd {
                systemd.reset(unit).await;
            }
        }
    }
    for will in will.iter().rev() {
        undo.one(will);
    }
    if let Some(systemd) = systemd
        && undo.units
    {
        undo.said("the reload of systemd", systemd.reload().await);
    }
    for will in will {
        if let Intent::Command {
            unit,
            command,
            active: true,
        } = will
        {
            undo.tell(
                unit,
                if command == "stop" {
                    "start"
                } else {
                    "try-restart"
                },
            )
            .await;
        }
    }
    undo.left
}

struct Undo<'a> {
    machine: &'a Machine,
    systemd: Option<&'a Manager>,
    journal: &'a Journal,
    force: bool,
    left: Left,
    units: bool,
}

impl Undo<'_> {
    fn said<E: std::fmt::Display>(&mut self, what: &str, done: Result<(), E>) {
        if let Err(error) = done {
            self.fail(format!("{what}: {error}"));
        }
    }

    /// Records what failed.
    fn fail(&mut self, text: String) {
        self.left.texts.push(text);
        self.left.failed = true;
    }

    /// Records what stays.
    fn stays(&mut self, text: String) {
        self.left.texts.push(text);
    }

    async fn tell(&mut self, unit: &str, command: &str) {
        let done = match self.systemd {
            Some(systemd) => {
                // A unit that does not run, or does not exist now, need not stop.
                let running = systemd.active(&HashSet::from([unit])).await;
                let running = running.map(|running| !running.is_empty());
                match (command, running) {
                    ("stop", Ok(false)) => Ok(()),
                    _ => systemd.command(unit, command).await.map(|_| ()),
                }
                .map_err(|error| error.to_string())
            }
            None => Err("systemd cannot be reached".to_owned()),
        };
        self.said(&format!("{command} {unit}"), done);
    }

    fn one(&mut self, will: &Intent) {
        let machine = self.machine;
        let tools = Tools(&machine.root);
        match will {
            Intent::Put {
                n,
                place,
                before,
                after,
                folder,
            } => self.put(*n, place, before, after, *folder),
            Intent::Hostname { before, after } => {
                let now = nix::unistd::gethostname();
                if now.is_ok_and(|now| now.to_str() == Some(after)) {
                    self.said(
                        "the name of the running system",
                        manager::set_hostname(before),
                    );
                }
            }
            Intent::User { name, home } => match machine.accounts().user(name) {
                Ok(None) => {}
                Ok(Some(account)) => match tools.remove(name) {
                    Ok(()) if *home => {}
                    Ok(()) => self.home(&account.home),
                    Err(error) => self.fail(format!("the user {name}: {error}")),
                },
                Err(error) => self.fail(format!("the user {name}: {error}")),
            },
            Intent::Password { user, before } => {
                if let Some(before) = before {
                    self.said(
                        &format!("the password of {user}"),
                        tools.password(user, before),
                    );
                }
            }
            Intent::Keys { user, before } => {
                if matches!(machine.accounts().user(user), Ok(Some(_))) {
                    let done = keys::set(machine, user, before.as_deref());
                    self.said(&format!("the keys of {user}"), done.map(drop));
                }
            }
            Intent::Script { sha256 } => self.stays(format!(
                "the script {} has run, or begun to run: what it did is not undone",
                &sha256[..12]
            )),
            Intent::Command { .. } => {}
        }
    }

    /// Removes a home that holds only what every new home does.
    fn home(&mut self, home: &str) {
        match self.machine.tree.remove_skeleton(home) {
            Ok(true) => {}
            Ok(false) => self.stays(format!("{home} stays: it holds more than a new home does")),
            Err(error) => self.fail(format!("{home}: {error}")),
        }
    }

    fn put(
        &mut self,
        n: u64,
        place: &TreePath,
        before: &TreeEntry,
        after: &TreeEntry,
        folder: Option<(u32, u32, u32)>,
    ) {
        let tree = &self.machine.tree;
        tree.sweep(place, &beside(self.journal.number, n));
        let now = match tree.look(place) {
            Ok(now) => now,
            // Its parent folder does not exist, so it does not either.
            Err(error)
                if *before == TreeEntry::Absent && error.kind() == io::ErrorKind::NotADirectory =>
            {
                return;
            }
            Err(error) => return self.fail(format!("{}: {error}", place.path)),
        };
        if now == *before {
            return;
        }
        if now != *after && !self.force {
            let text = format!("{} stays: somebody has changed it since", place.path);
            return self.stays(text);
        }
        let undone = match before {
            TreeEntry::Absent => match tree.remove(place) {
                // Somebody uses the folder.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
                other => other,
            },
            TreeEntry::Folder => {
                let (uid, gid, mode) = folder.unwrap_or((0, 0, 0o755));
                tree.make_folder(place, (uid, gid), mode)
            }
            before => self
                .missing(place)
                .and_then(|()| self.journal.put_back(tree, place, before, n)),
        };
        self.units |= is_systemds(&place.path, "system");
        self.said(&place.path, undone);
    }

    /// Creates the folders that somebody has removed since.
    fn missing(&self, place: &TreePath) -> io::Result<()> {
        for folder in self.machine.tree.missing(place)? {
            self.machine.tree.make_folder(&folder, (0, 0), 0o755)?;
        }
        Ok(())
    }
}
