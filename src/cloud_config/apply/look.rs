//! From steps to what each of them changes: the machine is looked at, and nothing is done.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
    io,
};

use super::{
    Machine,
    act::Act,
    put::{Put, Why, appended},
    record::State,
    tree::{Entry, FileEntry, Place, sha256},
};
use crate::cloud_config::{
    LARGEST,
    plan::{NewContent, NewFile, Step},
};

/// A place, however it is spelled: the folder by device and number where it is there, and the name in it.
type Key = (Option<(u64, u64)>, String);

/// What a document changes on a machine.
pub(super) struct Look<'a, 'm> {
    machine: &'m Machine,
    state: &'m State,
    /// In the order in which they are done.
    pub(super) acts: Vec<Act<'a>>,
    /// Why they cannot be done.
    pub(super) refused: Vec<String>,
    /// What else is worth knowing.
    pub(super) notes: Vec<String>,
    /// Which act is at a place.
    at: HashMap<Key, usize>,
    /// The paths that the document speaks of.
    wanted: BTreeSet<String>,
    /// Folders that are there, or are made by an act.
    folders: HashSet<String>,
    ids: HashMap<(bool, String), Option<u32>>,
}

impl<'a, 'm> Look<'a, 'm> {
    /// Looks at a machine for these steps.
    pub(super) fn new(machine: &'m Machine, state: &'m State, steps: &'a [Step]) -> Self {
        let mut look = Self {
            machine,
            state,
            acts: Vec::with_capacity(steps.len()),
            refused: Vec::new(),
            notes: Vec::new(),
            at: HashMap::new(),
            wanted: BTreeSet::new(),
            folders: HashSet::new(),
            ids: HashMap::new(),
        };
        for step in steps {
            look.step(step);
        }
        look.gone();
        look
    }

    fn step(&mut self, step: &'a Step) {
        match step {
            Step::File(file) => self.tried(&file.path, |look| look.file(file)),
            Step::Link { path, target } => self.tried(path, |look| {
                let (place, before) = look.before(path)?;
                look.put(Put::new(place, before, Entry::Link((*target).to_owned())));
                Ok(())
            }),
            Step::Unmask { path } => self.tried(path, |look| look.unmask(path)),
            Step::Reload | Step::RestartNetworkd => {}
            other => self
                .refused
                .push(format!("{other:?} cannot be applied yet")),
        }
    }

    /// Does something that looks at a path; what cannot be looked at cannot be planned.
    fn tried(&mut self, path: &str, look: impl FnOnce(&mut Self) -> io::Result<()>) {
        if let Err(error) = look(self) {
            self.refused.push(format!("{path}: {error}"));
        }
    }

    fn key(&self, place: &Place) -> Key {
        match self.machine.tree.identity(place) {
            Some(folder) => (Some(folder), place.split().1.to_owned()),
            None => (None, place.path.clone()),
        }
    }

    /// What is at a path before any act.
    fn before(&self, path: &str) -> io::Result<(Place, Entry)> {
        let place = Place::from(path);
        let entry = self.machine.tree.look(&place)?;
        Ok((place, entry))
    }

    /// What an act of this plan puts at a place.
    fn planned(&self, place: &Place) -> Option<&Put<'a>> {
        match self.acts.get(*self.at.get(&self.key(place))?) {
            Some(Act::Put(put)) => Some(put),
            None => None,
        }
    }

    /// Adds what is to be at a place. A second word on one place takes the place of the first.
    fn put(&mut self, put: Put<'a>) {
        self.refused.extend(put.refusal());
        self.wanted.insert(put.place.path.clone());
        let key = self.key(&put.place);
        if let Some(at) = self.at.get(&key) {
            self.acts[*at] = Act::Put(put);
            return;
        }
        if put.is_due() && put.after != Entry::Absent {
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
                    // The last one is in the set as the folder of this file.
                    let innermost = place == put.place.split().0;
                    if self.folders.insert(place.path.clone()) || innermost {
                        self.wanted.insert(place.path.clone());
                        self.acts.push(Act::Put(Put {
                            folder: put.folder,
                            ..Put::new(place, Entry::Absent, Entry::Folder)
                        }));
                    }
                }
            }
        }
    }

    fn file(&mut self, file: &'a NewFile) -> io::Result<()> {
        let (place, before) = self.before(&file.path)?;
        let (mut mode, mut owner) = (file.mode, None);
        let (mut uid, mut gid) = (0, 0);
        if let Some((user, group)) = &file.owner {
            for (name, is_group, id) in [
                (Some(user), false, &mut uid),
                (group.as_ref(), true, &mut gid),
            ] {
                let Some(name) = name else { continue };
                match self.id(name, is_group)? {
                    Some(found) => *id = found,
                    None => owner = Some(name.clone()),
                }
            }
        }
        if let Some(name) = &owner {
            self.refused
                .push(format!("{}: its owner {name} does not exist", file.path));
        }
        let bytes = match &file.content {
            NewContent::Bytes(bytes) => Cow::Borrowed(bytes.as_slice()),
            NewContent::Append(more) => {
                // What is added to keeps its owner and mode.
                if let Entry::File(was) = &before {
                    (mode, uid, gid) = (was.mode, was.uid, was.gid);
                }
                Cow::Owned(appended(self.base(&place, &before)?, more))
            }
            NewContent::Fetch { url, .. } => {
                return Err(io::Error::other(format!("{url} was not fetched")));
            }
        };
        let sha256 = sha256(&bytes);
        let after = Entry::File(FileEntry {
            mode,
            uid,
            gid,
            sha256,
        });
        self.put(Put {
            owner,
            ..Put::new(place, before, after).with(bytes)
        });
        Ok(())
    }

    /// What is appended to: what the file holds, without what an earlier apply put there.
    fn base(&self, place: &Place, before: &Entry) -> io::Result<Vec<u8>> {
        if let Some(put) = self.planned(place) {
            return Ok(put.bytes.to_vec());
        }
        let owned = self
            .state
            .owned
            .get(&place.path)
            .filter(|owned| owned.put == *before);
        let bytes = match owned {
            Some(owned) => match owned.kept {
                Some(kept) => self.machine.kept(kept)?,
                None => Vec::new(),
            },
            None if matches!(before, Entry::File(_)) => self
                .machine
                .tree
                .read(&place.path, LARGEST + 1)?
                .unwrap_or_default(),
            None => Vec::new(),
        };
        if bytes.len() as u64 > LARGEST {
            return Err(io::Error::other(format!(
                "found more than {LARGEST} bytes to append to, expected at most that"
            )));
        }
        Ok(bytes)
    }

    fn unmask(&mut self, path: &str) -> io::Result<()> {
        let (place, before) = self.before(path)?;
        let now = self.planned(&place).map_or(&before, |put| &put.after);
        let masks = match now {
            Entry::Link(target) => target == "/dev/null",
            Entry::File(file) => file.sha256 == sha256(&[]),
            _ => false,
        };
        // A mask of an earlier apply goes as all that a document does not say any more: what it hid comes back.
        let ours = self
            .state
            .owned
            .get(path)
            .is_some_and(|owned| owned.put == before);
        if masks && (!ours || self.planned(&place).is_some()) {
            self.put(Put::new(place, before, Entry::Absent));
        }
        Ok(())
    }

    fn id(&mut self, name: &str, group: bool) -> io::Result<Option<u32>> {
        if let Some(known) = self.ids.get(&(group, name.to_owned())) {
            return Ok(*known);
        }
        let accounts = self.machine.accounts();
        let id = if group {
            accounts.gid(name)
        } else {
            accounts.uid(name)
        }?;
        self.ids.insert((group, name.to_owned()), id);
        Ok(id)
    }

    /// What earlier documents put somewhere and this one does not: what was there before them comes back.
    fn gone(&mut self) {
        let mut removed = HashSet::new();
        let mut folders = Vec::new();
        for (path, owned) in &self.state.owned {
            let mentioned =
                self.wanted.contains(path) || self.at.contains_key(&self.key(&owned.place));
            if mentioned {
                continue;
            }
            if owned.put == Entry::Folder {
                folders.push(owned);
                continue;
            }
            match self.machine.tree.look(&owned.place) {
                Err(error) => self.notes.push(format!("{path}: {error}; it stays")),
                Ok(Entry::Absent) => {}
                Ok(before) if before == owned.put => {
                    if owned.original == Entry::Absent {
                        removed.insert(path.as_str());
                    }
                    self.acts.push(Act::Put(Put {
                        why: Why::Gone,
                        kept: owned.kept,
                        ..Put::new(owned.place.clone(), before, owned.original.clone())
                    }));
                }
                Ok(_) => self.notes.push(format!(
                    "{path} stays: the document does not write it any more, and somebody has changed it since"
                )),
            }
        }
        // The innermost first, so that those that hold only folders go as well.
        for owned in folders.into_iter().rev() {
            let path = &owned.place.path;
            let inside = format!("{path}/");
            let holds_wanted = |look: &Self| {
                let next = look.wanted.range(inside.clone()..).next();
                next.is_some_and(|path| path.starts_with(&inside))
            };
            let emptied = |look: &Self| {
                let names = look.machine.tree.names(path).unwrap_or_default();
                let mut names = names.into_iter();
                look.machine
                    .tree
                    .look(&owned.place)
                    .is_ok_and(|entry| entry == Entry::Folder)
                    && names.all(|name| removed.contains(format!("{inside}{name}").as_str()))
            };
            if !holds_wanted(self) && emptied(self) {
                removed.insert(path);
                self.acts.push(Act::Put(Put {
                    why: Why::Gone,
                    ..Put::new(owned.place.clone(), Entry::Folder, Entry::Absent)
                }));
            }
        }
    }

    /// What the machine's owner would find that the applies so far have put, once all this is done by this record.
    pub(super) fn state_after(&self, numbers: &HashMap<usize, u64>, record: u64) -> State {
        let mut state = State::default();
        for (at, act) in self.acts.iter().enumerate() {
            let Act::Put(put) = act;
            if put.why == Why::Gone || put.after == Entry::Absent {
                continue;
            }
            let earlier = self.state.owned.get(&put.place.path);
            let owned = match (put.is_due(), earlier) {
                (_, Some(earlier)) => super::record::Owned {
                    put: put.after.clone(),
                    ..earlier.clone()
                },
                (true, None) => super::record::Owned {
                    place: put.place.clone(),
                    put: put.after.clone(),
                    original: put.before.clone(),
                    kept: numbers
                        .get(&at)
                        .filter(|_| !matches!(put.before, Entry::Absent | Entry::Folder))
                        .map(|n| (record, *n)),
                },
                // It was so already, by somebody else.
                (false, None) => continue,
            };
            state.owned.insert(put.place.path.clone(), owned);
        }
        // Folders that still hold something.
        let removed: HashSet<&str> = self
            .acts
            .iter()
            .map(|act| match act {
                Act::Put(put) => put.place.path.as_str(),
            })
            .collect();
        for (path, owned) in &self.state.owned {
            if owned.put == Entry::Folder && !removed.contains(path.as_str()) {
                state.owned.insert(path.clone(), owned.clone());
            }
        }
        state
    }
}
