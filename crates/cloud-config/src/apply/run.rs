//! Making the changes that a look has found.

use std::{collections::HashMap, io};

use super::{
    act::{Act, Task},
    earlier::Earlier,
    entry::{TreeEntry, TreePath},
    error::ApplyError,
    follow::Stage,
    format::FOLDER,
    journal::{Journal, beside},
    keys,
    look::{Found, look},
    machine::Machine,
    manager::{self, CommandResult, Manager, NETWORKD},
    put::Put,
    record::Store,
    show::{self, PlannedChange},
    state::{Intent, State},
    tools::Tools,
    tree::{KeptFile, Tree},
};

/// A running apply.
pub(super) struct Run<'m> {
    pub(super) machine: &'m Machine,
    pub(super) store: &'m Store,
    pub(super) systemd: Option<&'m Manager>,
    pub(super) journal: Journal,
    /// The changes that are made, or were about to be.
    pub(super) done: Vec<Intent>,
    /// How many changes the first look found: some are found only when others are made.
    pub(super) changes: usize,
    /// Notes for people about the result.
    pub(super) notes: Vec<String>,
    /// The commands for systemd when everything is recorded: unit and command.
    pub(super) last: Vec<(String, String)>,
    /// Commands to units that failed without undoing the apply.
    pub(super) failed: Vec<ApplyError>,
}

impl Run<'_> {
    /// Carries out all tasks, the first ones as they were found just now, and returns the state after all applies.
    ///
    /// # Errors
    /// When one fails.
    pub(super) async fn all(
        &mut self,
        mut state: State,
        tasks: &[Task<'_>],
        mut first: Option<Found<'_>>,
    ) -> Result<State, ApplyError> {
        let mut earlier = Earlier::default();
        let mut from = 0;
        let (mut commands, mut made) = (Vec::new(), 0);
        loop {
            let found = match first.take() {
                Some(found) => found,
                None => look(self.machine, &state, &earlier, &tasks[from..], false),
            };
            if !found.refused.is_empty() {
                return Err(ApplyError::Refused(found.refused));
            }
            let numbers = self.note(&found.acts)?;
            for (at, act) in found.acts.iter().enumerate() {
                if act.is_due() {
                    self.tell(act, made);
                    made += 1;
                }
                match act {
                    act if !act.is_due() => {}
                    Act::Put(put) => {
                        self.put(put, numbers.get(&at).copied().unwrap_or_default())?;
                    }
                    act => match self.act(act).await {
                        // coreos-cloudinit did not undo anything, and continued.
                        Err(error) if self.machine.adds && act.is_about_unit() => {
                            self.failed.push(error);
                            continue;
                        }
                        done => done?,
                    },
                }
                if let Act::Command { unit, command, .. } = act {
                    commands.push(((*unit).to_owned(), (*command).to_owned()));
                }
            }
            from += found.tasks;
            earlier.wanted = found.wanted;
            earlier.disabled.extend(found.disabled);
            earlier.take(&found.acts);
            state.take(&found.acts, &numbers, self.journal.number);
            if from >= tasks.len() {
                break;
            }
        }
        sync(&self.machine.tree, &self.done)?;
        if let Some(systemd) = self.systemd {
            for (unit, command) in commands.clone() {
                match systemd.check(&unit, &command).await {
                    Err(error) if self.machine.adds => {
                        commands.retain(|(known, _)| *known != unit);
                        self.failed.push(error);
                    }
                    checked => checked?,
                }
            }
        }
        state.finish(&earlier, tasks, self.machine, commands, &self.last);
        Ok(state)
    }

    /// Tells who follows that this change is made now.
    fn tell(&self, act: &Act<'_>, done: usize) {
        self.machine.follower.tell(|| {
            let PlannedChange { kind, name, .. } = show::of(act);
            Stage::Changing {
                what: format!("{kind} {name}"),
                done,
                of: self.changes.max(done + 1),
            }
        });
    }

    /// Records the changes that this look has found, keeps what is replaced, and returns the number of each change.
    fn note(&mut self, acts: &[Act<'_>]) -> Result<HashMap<usize, u64>, ApplyError> {
        let mut numbers = HashMap::new();
        let due = acts.iter().filter(|act| act.is_due()).count();
        self.done.reserve_exact(due);
        for (at, act) in acts.iter().enumerate().filter(|(_, act)| act.is_due()) {
            let will = match act {
                Act::Put(put) => {
                    let n = self.journal.next();
                    numbers.insert(at, n);
                    if !matches!(put.before, TreeEntry::Absent | TreeEntry::Folder) {
                        self.journal
                            .keep(&self.machine.tree, &put.place, &put.before, n)
                            .map_err(ApplyError::record)?;
                    }
                    Intent::Put {
                        n,
                        place: put.place.clone(),
                        before: put.before.clone(),
                        after: put.after.clone(),
                        folder: (put.before == TreeEntry::Folder).then_some(put.folder),
                    }
                }
                Act::Hostname { name, before } => Intent::Hostname {
                    before: before.clone(),
                    after: (*name).to_owned(),
                },
                Act::User(user) => Intent::User {
                    name: user.name.clone(),
                    home: self.machine.tree.open_folder(&user.home()).is_ok(),
                },
                Act::Password { user, before, .. } => Intent::Password {
                    user: (*user).to_owned(),
                    before: before.clone(),
                },
                Act::Keys { user, before, .. } => Intent::Keys {
                    user: (*user).to_owned(),
                    before: before.clone(),
                },
                Act::Script { sha256, .. } => Intent::Script {
                    sha256: sha256.clone(),
                },
                // Recorded right before it runs: the state of a unit counts at that moment.
                Act::Command { .. } | Act::EndBoot { .. } => continue,
                Act::Enable { .. } | Act::Reload | Act::RestartNetworkd => continue,
            };
            self.journal.will(&will)?;
            self.done.push(will);
        }
        self.journal.sync()?;
        Ok(numbers)
    }

    fn put(&self, put: &Put<'_>, n: u64) -> Result<(), ApplyError> {
        let tree = &self.machine.tree;
        let beside = beside(self.journal.number, n);
        let done = match (&put.after, put.kept) {
            (TreeEntry::Absent, _) => tree.remove(&put.place),
            (TreeEntry::Folder, _) => {
                let (uid, gid, mode) = put.folder;
                tree.make_folder(&put.place, (uid, gid), mode)
            }
            (after, Some((record, n))) => tree
                .open_folder(&format!("{FOLDER}/{record:06}"))
                .and_then(|folder| {
                    let kept = KeptFile {
                        folder: &folder,
                        name: &n.to_string(),
                    };
                    tree.put_kept(&put.place, &beside, after, &kept)
                }),
            (TreeEntry::File(file), None) => tree.put_file(&put.place, &beside, file, &put.bytes),
            (TreeEntry::Link(target), None) => tree.put_link(&put.place, &beside, target),
            (TreeEntry::Special, None) => Err(io::Error::other("a device cannot be made")),
        };
        done.map_err(|error| ApplyError::step(&put.place.path, error))
    }

    /// Carries out an act other than a file, a link or a folder.
    async fn act(&mut self, act: &Act<'_>) -> Result<(), ApplyError> {
        let tools = Tools(&self.machine.root);
        let tried = |what: String, done: io::Result<()>| {
            done.map_err(|error| ApplyError::step(what, error))
        };
        match act {
            Act::Put(_) => Ok(()),
            Act::Hostname { name, .. } => tried(
                "the name of the running system".into(),
                manager::set_hostname(name),
            ),
            Act::User(user) => tried(format!("the user {}", user.name), tools.make(user)),
            Act::Password { user, hash, .. } => tried(
                format!("the password of {user}"),
                tools.password(user, hash),
            ),
            Act::Keys { user, keys, .. } => {
                let text: String = keys.iter().map(|key| format!("{key}\n")).collect();
                let strange = keys::set(self.machine, user, Some(&text))
                    .map_err(|error| ApplyError::step(format!("the keys of {user}"), error))?;
                let note = |key: &String| {
                    format!(
                        "the keys of {user}: update-ssh-keys does not accept this key, so it cannot log in: {key}"
                    )
                };
                self.notes.extend(strange.iter().map(note));
                Ok(())
            }
            Act::Enable { unit, runtime, .. } => self.enable(unit, *runtime).await,
            Act::Script { bytes, sha256, .. } => {
                let path = self.journal.script(bytes).map_err(ApplyError::record)?;
                manager::script(&path, sha256).await?;
                self.store.ran(sha256)
            }
            Act::Reload => match self.systemd {
                Some(systemd) => systemd.reload().await,
                None => Ok(()),
            },
            Act::RestartNetworkd => {
                let active = self.machine.active.contains(NETWORKD);
                self.command(NETWORKD, "restart", active).await
            }
            Act::EndBoot { unit, command, .. } => {
                self.last.push(((*unit).to_owned(), (*command).to_owned()));
                Ok(())
            }
            Act::Command {
                unit,
                command,
                active,
                ..
            } => self.command(unit, command, *active).await,
        }
    }

    async fn command(&mut self, unit: &str, command: &str, active: bool) -> Result<(), ApplyError> {
        let Some(systemd) = self.systemd else {
            return Ok(());
        };
        let will = Intent::Command {
            unit: unit.to_owned(),
            command: command.to_owned(),
            active,
        };
        self.journal.will(&will)?;
        self.done.push(will);
        self.journal.sync()?;
        if systemd.command(unit, command).await? == CommandResult::Queued {
            self.notes.push(format!(
                "{command} of {unit} waits for other jobs; systemd runs it when they are done"
            ));
        }
        Ok(())
    }

    /// Asks systemd to enable a unit after its links are created, and records what it adds, so that it can be undone too.
    async fn enable(&mut self, unit: &str, runtime: bool) -> Result<(), ApplyError> {
        let Some(systemd) = self.systemd else {
            return Ok(());
        };
        for (what, path, target) in systemd.enable(unit, runtime).await? {
            if what != "symlink" {
                continue;
            }
            let will = Intent::Put {
                n: self.journal.next(),
                place: TreePath::from(path.as_str()),
                before: TreeEntry::Absent,
                after: TreeEntry::Link(target),
                folder: None,
            };
            self.journal.will(&will)?;
            self.done.push(will);
        }
        self.journal.sync()
    }
}

/// Syncs each file system that was written to, once.
///
/// # Errors
/// When one cannot be synced.
pub(super) fn sync(tree: &Tree, done: &[Intent]) -> Result<(), ApplyError> {
    let mut synced = Vec::new();
    for place in done.iter().filter_map(Intent::place) {
        let Some((device, _)) = tree.identity(place) else {
            continue;
        };
        if !synced.contains(&device) {
            tree.sync(place)
                .map_err(|error| ApplyError::step(&place.path, error))?;
            synced.push(device);
        }
    }
    Ok(())
}
