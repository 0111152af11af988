//! One look at a machine, and the acts that it collects.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap, HashSet},
    io,
};

use nix::errno::Errno;

use super::super::{
    act::Act,
    earlier::Earlier,
    entry::{TreeEntry, TreePath},
    machine::Machine,
    put::Put,
    state::{Owned, State},
};
use crate::{plan::NewUser, problem::Problem};

/// Identifies a path however it is spelled: the folder by device and inode, if it exists, and the name in it.
pub(super) type Key = (Option<(u64, u64)>, String);

/// What a document changes on a machine.
#[derive(Debug)]
pub(in crate::apply) struct Found<'a> {
    /// In the order in which they are done.
    pub(in crate::apply) acts: Vec<Act<'a>>,
    /// Why they cannot be done.
    pub(in crate::apply) refused: Vec<Problem>,
    /// What else is worth knowing.
    pub(in crate::apply) notes: Vec<String>,
    /// How many tasks were looked at. Tasks after an act that disturbs are left to another look, if the caller asks for it.
    pub(in crate::apply) tasks: usize,
    /// The paths that the document names.
    pub(in crate::apply) wanted: BTreeSet<String>,
    /// Users whose keys somebody has disabled: these keys cannot log in, whatever the document says.
    pub(in crate::apply) disabled: Vec<String>,
}

/// A look at a machine.
pub(super) struct Look<'a, 'm> {
    pub(super) machine: &'m Machine,
    /// The state after the applies so far, including this one up to now.
    pub(super) state: &'m State,
    pub(super) earlier: &'m Earlier,
    pub(super) acts: Vec<Act<'a>>,
    pub(super) refused: Vec<Problem>,
    pub(super) notes: Vec<String>,
    pub(super) tasks: usize,
    /// The act for each path.
    pub(super) at: HashMap<Key, usize>,
    /// The beginning of the keys of all paths in a folder.
    pub(super) keys: RefCell<HashMap<String, Key>>,
    /// What earlier applies wrote.
    pub(super) owned: HashMap<Key, &'m Owned>,
    pub(super) wanted: BTreeSet<String>,
    /// Folders that exist or are created by an act.
    pub(super) folders: HashSet<String>,
    pub(super) ids: HashMap<(bool, String), Option<u32>>,
    /// Users who are created by an act.
    pub(super) made: HashMap<&'a str, &'a NewUser>,
    /// Homes that exist and whose owner, not root, can change what is in them.
    pub(super) homes: Vec<String>,
    /// Groups that are created with them.
    pub(super) made_groups: HashSet<&'a str>,
    pub(super) commands: Vec<(&'a str, &'a str)>,
    /// Commands that end the boot.
    pub(super) last: Vec<(&'a str, &'a str)>,
    /// A script runs before: it may create what does not exist now.
    pub(super) after_script: bool,
    /// Users whose keys somebody has disabled.
    pub(super) disabled: Vec<String>,
}

impl<'a, 'm> Look<'a, 'm> {
    pub(super) fn new(
        machine: &'m Machine,
        state: &'m State,
        earlier: &'m Earlier,
        tasks: usize,
    ) -> Self {
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
    pub(super) fn found(self) -> Found<'a> {
        Found {
            acts: self.acts,
            refused: self.refused,
            notes: self.notes,
            tasks: self.tasks,
            wanted: self.wanted,
            disabled: self.disabled,
        }
    }

    /// Runs a look at a path. A path that cannot be read cannot be planned.
    pub(super) fn tried(&mut self, path: &str, look: impl FnOnce(&mut Self) -> io::Result<()>) {
        let Err(error) = look(self) else { return };
        self.refused
            .push(match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ELOOP) => Problem::found("a link on the way to it")
                    .of(path)
                    .expected("a folder")
                    .remedy("links in a home are not followed"),
                _ => Problem::said(path, error),
            });
    }

    pub(super) fn homes(&mut self) -> io::Result<()> {
        let tree = &self.machine.tree;
        let theirs = |home: &String| {
            let folder = tree.of_folder(&TreePath::from(home.as_str()));
            folder.is_ok_and(|(owner, ..)| owner != 0)
        };
        self.homes = self.machine.accounts().homes()?;
        self.homes.retain(theirs);
        Ok(())
    }

    pub(super) fn key(&self, place: &TreePath) -> Key {
        let (folder, name) = place.split();
        if let Some((there, below)) = self.keys.borrow().get(&folder.path) {
            return (*there, format!("{below}{name}"));
        }
        // If the folder does not exist yet, the innermost parent that does identifies it.
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

    /// Reads the state of a path before any act.
    pub(super) fn before(&self, path: &str) -> io::Result<(TreePath, TreeEntry)> {
        let inside = |home: &&String| {
            let below = path.strip_prefix(home.as_str());
            below.is_some_and(|below| below.starts_with('/'))
        };
        let homes = self.homes.iter().filter(inside);
        let place = TreePath {
            path: path.to_owned(),
            home: homes.max_by_key(|home| home.len()).cloned(),
        };
        let entry = self.machine.tree.look(&place)?;
        Ok((place, entry))
    }

    /// Returns what an act of this plan writes to a path.
    pub(super) fn planned(&self, place: &TreePath) -> Option<&Put<'a>> {
        match self.acts.get(*self.at.get(&self.key(place))?) {
            Some(Act::Put(put)) => Some(put),
            _ => None,
        }
    }

    /// Adds the wanted state of a path. A second one for the same path replaces the first.
    pub(super) fn put(&mut self, mut put: Put<'a>) {
        self.refused.extend(put.refusal());
        let key = self.key(&put.place);
        // A path that is spelled differently from last time is the same path.
        if let Some(owned) = self.owned.get(&key) {
            put.place = owned.place.clone();
        }
        if put.after != TreeEntry::Absent {
            self.wanted.insert(put.place.path.clone());
        }
        if let Some(at) = self.at.get(&key) {
            if let Act::Put(earlier) = &self.acts[*at]
                && earlier.after == TreeEntry::Folder
            {
                let path = &put.place.path;
                let problem = Problem::found("both a file and a folder").of(path);
                self.refused.push(problem.expected("one of them"));
            }
            if let Act::Put(earlier) = &self.acts[*at] {
                put.place = earlier.place.clone();
            }
            self.acts[*at] = Act::Put(put);
            return;
        }
        // The home of a user who does not exist yet is created with the user.
        let home_to_come = put.place.home.is_some() && put.owner.is_some();
        if put.is_due() && put.after != TreeEntry::Absent && !home_to_come {
            self.parents(&put);
        }
        self.at.insert(key, self.acts.len());
        self.acts.push(Act::Put(put));
    }

    /// Adds the folders that have to be created first.
    pub(super) fn parents(&mut self, put: &Put<'_>) {
        let (folder, _) = put.place.split();
        if !self.folders.insert(folder.path) {
            return;
        }
        match self.machine.tree.missing(&put.place) {
            Err(error) => self.refused.push(Problem::said(&put.place.path, error)),
            Ok(missing) => {
                for place in missing {
                    self.folders.insert(place.path.clone());
                    self.wanted.insert(place.path.clone());
                    let key = self.key(&place);
                    // A folder that is created already may be spelled differently here.
                    if !self.at.contains_key(&key) {
                        self.at.insert(key, self.acts.len());
                        self.acts.push(Act::Put(Put {
                            folder: put.folder,
                            ..Put::new(place, TreeEntry::Absent, TreeEntry::Folder)
                        }));
                    }
                }
            }
        }
    }
}
