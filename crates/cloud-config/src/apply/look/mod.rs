//! From steps to what each of them changes: the machine is looked at, and nothing is done.

mod files;
mod gone;
mod units;
pub(super) mod users;

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap, HashSet},
    io,
};

use nix::errno::Errno;

use super::{
    Machine,
    act::{Act, Task},
    entry::{Entry, FileEntry, Place, sha256},
    put::Put,
    state::{Owned, State},
};
use crate::plan::{NewUser, Step};

/// A place, however it is spelled: the folder by device and number where it is there, and the name in it.
type Key = (Option<(u64, u64)>, String);

/// What the looks before this one in the same apply have done.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    /// The paths that were spoken of.
    pub(super) wanted: BTreeSet<String>,
    /// Which files and links were changed: any, those of units, those of networkd.
    pub(super) files: bool,
    pub(super) units: bool,
    pub(super) network: bool,
    /// A script has run.
    pub(super) script: bool,
    /// Users whose keys somebody has disabled.
    pub(super) disabled: BTreeSet<String>,
}

impl Earlier {
    /// Takes in what was done.
    pub(super) fn take(&mut self, acts: &[Act<'_>]) {
        for act in acts.iter().filter(|act| act.is_due()) {
            match act {
                Act::Put(put) => {
                    // Who may log in is nothing to any unit.
                    self.files |= !put.place.path.contains("/.ssh/authorized_keys");
                    self.units |= is_systemds(&put.place.path, "system");
                    self.network |= is_systemds(&put.place.path, "network");
                }
                Act::Script { .. } => self.script = true,
                _ => {}
            }
        }
    }
}

/// Whether a path is one of systemd's, of this kind.
pub(super) fn is_systemds(path: &str, kind: &str) -> bool {
    let tops = ["/etc/systemd/", "/run/systemd/"];
    let rest = tops.into_iter().find_map(|top| path.strip_prefix(top));
    let rest = rest.and_then(|rest| rest.strip_prefix(kind));
    rest.is_some_and(|rest| rest.starts_with('/'))
}

/// Where a new user's home will be.
pub(super) fn home(user: &NewUser) -> String {
    given(user, "--home-dir").map_or_else(|| format!("/home/{}", user.name), str::to_owned)
}

/// What an option of `useradd` is given for a user.
fn given<'a>(user: &'a NewUser, option: &str) -> Option<&'a str> {
    let mut arguments = user.arguments.iter();
    arguments.find(|argument| *argument == option)?;
    arguments.next().map(String::as_str)
}

/// What a document changes on a machine.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// In the order in which they are done.
    pub(super) acts: Vec<Act<'a>>,
    /// Why they cannot be done.
    pub(super) refused: Vec<String>,
    /// What else is worth knowing.
    pub(super) notes: Vec<String>,
    /// How many tasks were looked at: those after a disturbance are for another look, if that was asked for.
    pub(super) tasks: usize,
    /// The paths that the document speaks of.
    pub(super) wanted: BTreeSet<String>,
    /// Users whose keys somebody has disabled: they let nobody in, whatever the document says.
    pub(super) disabled: Vec<String>,
}

/// A look at a machine.
struct Look<'a, 'm> {
    machine: &'m Machine,
    /// What the applies so far amount to, this one as far as it has come included.
    state: &'m State,
    earlier: &'m Earlier,
    acts: Vec<Act<'a>>,
    refused: Vec<String>,
    notes: Vec<String>,
    tasks: usize,
    /// Which act is at a place.
    at: HashMap<Key, usize>,
    /// What the keys of all places in a folder begin with.
    keys: RefCell<HashMap<String, Key>>,
    /// What earlier applies put where.
    owned: HashMap<Key, &'m Owned>,
    wanted: BTreeSet<String>,
    /// Folders that are there, or are made by an act.
    folders: HashSet<String>,
    ids: HashMap<(bool, String), Option<u32>>,
    /// Users who are made by an act.
    made: HashMap<&'a str, &'a NewUser>,
    /// Homes that are there and whose owners, not root, may turn what is in them.
    homes: Vec<String>,
    /// Groups that are made with them.
    made_groups: HashSet<&'a str>,
    commands: Vec<(&'a str, &'a str)>,
    /// Those that end the boot.
    last: Vec<(&'a str, &'a str)>,
    /// A script runs before what is looked at: what is not there may be then.
    after_script: bool,
    /// Users whose keys somebody has disabled.
    disabled: Vec<String>,
}

/// Looks at a machine for these tasks: all, or those up to the first that may change what the next ones find.
pub(super) fn look<'a>(
    machine: &Machine,
    state: &State,
    earlier: &Earlier,
    tasks: &[Task<'a>],
    all: bool,
) -> Found<'a> {
    machine.tree.forget();
    let mut look = Look::new(machine, state, earlier, tasks.len());
    look.tried("the list of users", Look::homes);
    let owned = state.owned.values();
    look.owned = owned.map(|owned| (look.key(&owned.place), owned)).collect();
    for task in tasks {
        match task {
            Task::Step(step) => look.step(step),
            Task::Keys {
                user,
                keys,
                optional,
            } => {
                look.tried(user, |look| look.keys(user, keys.clone(), *optional));
            }
        }
        look.tasks += 1;
        if !all && look.acts.iter().rev().take(2).any(Act::disturbs) {
            return look.found();
        }
    }
    if !machine.adds {
        look.gone();
    }
    look.tell();
    look.found()
}

impl<'a, 'm> Look<'a, 'm> {
    fn new(machine: &'m Machine, state: &'m State, earlier: &'m Earlier, tasks: usize) -> Self {
        Self {
            machine,
            state,
            earlier,
            acts: Vec::with_capacity(tasks),
            refused: Vec::new(),
            notes: Vec::new(),
            tasks: 0,
            at: HashMap::new(),
            keys: RefCell::default(),
            owned: HashMap::new(),
            wanted: earlier.wanted.clone(),
            folders: HashSet::new(),
            ids: HashMap::new(),
            made: HashMap::new(),
            homes: Vec::new(),
            made_groups: HashSet::new(),
            commands: Vec::new(),
            last: Vec::new(),
            after_script: earlier.script,
            disabled: Vec::new(),
        }
    }

    /// What was found.
    fn found(self) -> Found<'a> {
        Found {
            acts: self.acts,
            refused: self.refused,
            notes: self.notes,
            tasks: self.tasks,
            wanted: self.wanted,
            disabled: self.disabled,
        }
    }

    fn step(&mut self, step: &'a Step) {
        match step {
            Step::Hostname(name) => self.tried("hostname", |look| look.hostname(name)),
            Step::File(file) => self.tried(&file.path, |look| look.file(file)),
            Step::Link { path, target } => self.tried(path, |look| {
                let (place, before) = look.before(path)?;
                look.put(Put::new(place, before, Entry::Link((*target).to_owned())));
                Ok(())
            }),
            Step::Unmask { path } => self.tried(path, |look| look.unmask(path)),
            Step::User(user) => self.tried(&user.name, |look| look.user(user)),
            Step::Enable { unit, runtime } => {
                self.tried(unit, |look| {
                    look.lift(unit)?;
                    look.enable(unit, *runtime)
                });
            }
            Step::Script(bytes) => self.script(bytes),
            Step::Command { unit, command } => self.commands.push((unit, command)),
            Step::EndBoot { unit, command } => self.last.push((unit, command)),
            // The keys of all steps come together; what systemd has to read again shows in what changes.
            Step::Keys { .. } | Step::Reload | Step::RestartNetworkd => {}
        }
    }

    fn hostname(&mut self, name: &'a str) -> io::Result<()> {
        let (place, before) = self.before("/etc/hostname")?;
        let text = format!("{name}\n");
        let after = Entry::File(FileEntry {
            mode: 0o644,
            uid: 0,
            gid: 0,
            sha256: sha256(text.as_bytes()),
        });
        self.put(Put::new(place, before, after).with(text.into_bytes().into()));
        if self.machine.live {
            let before = nix::unistd::gethostname()?.to_string_lossy().into_owned();
            self.acts.push(Act::Hostname { name, before });
        }
        Ok(())
    }

    fn script(&mut self, bytes: &'a [u8]) {
        let sha256 = sha256(bytes);
        if !self.machine.systemd {
            self.notes.push(format!(
                "the script {} is left: systemd does not run here",
                &sha256[..12]
            ));
            return;
        }
        // coreos-cloudinit ran it each time.
        let due = self.machine.adds || !self.machine.scripts.contains(&sha256);
        self.after_script |= due;
        self.acts.push(Act::Script { bytes, sha256, due });
    }

    /// Does something that looks at a path; what cannot be looked at cannot be planned.
    fn tried(&mut self, path: &str, look: impl FnOnce(&mut Self) -> io::Result<()>) {
        let Err(error) = look(self) else { return };
        self.refused
            .push(match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ELOOP) => format!(
                    "{path}: a link is on the way to it, and in a home none is followed; expected a folder"
                ),
                _ => format!("{path}: {error}"),
            });
    }

    fn homes(&mut self) -> io::Result<()> {
        let tree = &self.machine.tree;
        let theirs = |home: &String| {
            let folder = tree.of_folder(&Place::from(home.as_str()));
            folder.is_ok_and(|(owner, ..)| owner != 0)
        };
        self.homes = self.machine.accounts().homes()?;
        self.homes.retain(theirs);
        Ok(())
    }

    fn key(&self, place: &Place) -> Key {
        let (folder, name) = place.split();
        if let Some((there, below)) = self.keys.borrow().get(&folder.path) {
            return (*there, format!("{below}{name}"));
        }
        // Where the folder is not there yet, the innermost one that is tells two spellings apart.
        let (mut there, mut below) = (place.clone(), String::new());
        let found = loop {
            if let Some(found) = self.machine.tree.identity(&there) {
                break Some(found);
            }
            let (next, name) = there.split();
            if next.path == "/" || name.is_empty() {
                break None;
            }
            let outer = next.split().1.to_owned();
            below = format!("{outer}/{below}");
            there = next;
        };
        let key = (found, format!("{below}{name}"));
        self.keys.borrow_mut().insert(folder.path, (found, below));
        key
    }

    /// What is at a path before any act.
    fn before(&self, path: &str) -> io::Result<(Place, Entry)> {
        let inside = |home: &&String| {
            let below = path.strip_prefix(home.as_str());
            below.is_some_and(|below| below.starts_with('/'))
        };
        let homes = self.homes.iter().filter(inside);
        let place = Place {
            path: path.to_owned(),
            home: homes.max_by_key(|home| home.len()).cloned(),
        };
        let entry = self.machine.tree.look(&place)?;
        Ok((place, entry))
    }

    /// What an act of this plan puts at a place.
    fn planned(&self, place: &Place) -> Option<&Put<'a>> {
        match self.acts.get(*self.at.get(&self.key(place))?) {
            Some(Act::Put(put)) => Some(put),
            _ => None,
        }
    }

    /// Adds what is to be at a place. A second word on one place takes the place of the first.
    fn put(&mut self, mut put: Put<'a>) {
        self.refused.extend(put.refusal());
        let key = self.key(&put.place);
        // What is spelled otherwise than last time is still the same.
        if let Some(owned) = self.owned.get(&key) {
            put.place = owned.place.clone();
        }
        if put.after != Entry::Absent {
            self.wanted.insert(put.place.path.clone());
        }
        if let Some(at) = self.at.get(&key) {
            if let Act::Put(earlier) = &self.acts[*at]
                && earlier.after == Entry::Folder
            {
                let path = &put.place.path;
                self.refused
                    .push(format!("{path} would have to be a file and a folder"));
            }
            if let Act::Put(earlier) = &self.acts[*at] {
                put.place = earlier.place.clone();
            }
            self.acts[*at] = Act::Put(put);
            return;
        }
        // The home of a user who does not exist yet is made with them.
        let home_to_come = put.place.home.is_some() && put.owner.is_some();
        if put.is_due() && put.after != Entry::Absent && !home_to_come {
            self.parents(&put);
        }
        self.at.insert(key, self.acts.len());
        self.acts.push(Act::Put(put));
    }

    /// The folders that have to be made first.
    fn parents(&mut self, put: &Put<'_>) {
        let (folder, _) = put.place.split();
        if !self.folders.insert(folder.path) {
            return;
        }
        match self.machine.tree.missing(&put.place) {
            Err(error) => self.refused.push(format!("{}: {error}", put.place.path)),
            Ok(missing) => {
                for place in missing {
                    self.folders.insert(place.path.clone());
                    self.wanted.insert(place.path.clone());
                    let key = self.key(&place);
                    // One that is made already goes by another spelling, too.
                    if !self.at.contains_key(&key) {
                        self.at.insert(key, self.acts.len());
                        self.acts.push(Act::Put(Put {
                            folder: put.folder,
                            ..Put::new(place, Entry::Absent, Entry::Folder)
                        }));
                    }
                }
            }
        }
    }
}
