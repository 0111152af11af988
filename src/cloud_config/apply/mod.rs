//! Steps carried out on a machine, and taken back.
//!
//! - `tree`: the files under a root, by paths that cannot leave it
//! - `look`: what each step changes (nothing is done); `put`: what is to be at a place, compared with what is there
//! - `record`: what every apply leaves behind; `undo`: taking back from it
//! - `show`: what a person or a program sees of it

mod accounts;
mod act;
mod error;
mod look;
mod put;
mod record;
mod show;
mod tree;
mod undo;

use std::{collections::HashMap, io};

pub use error::ApplyError;
pub use record::{End, FOLDER};
pub use show::{Change, Outline, Past, print};

use self::{
    accounts::Accounts,
    act::Act,
    look::Look,
    record::{Journal, Record, Store, Will, beside},
    tree::{Entry, Place, Tree},
};
use super::plan::Step;
use crate::node::{self, Root};

/// A machine, or the tree of one.
#[derive(Debug)]
pub struct Machine {
    root: Root,
    tree: Tree,
}

impl Machine {
    /// The machine under a root.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn open(root: &Root) -> Result<Self, ApplyError> {
        let tree = Tree::open(root).map_err(|error| ApplyError::Root {
            root: root.folder().display().to_string(),
            error,
        })?;
        Ok(Self {
            root: root.clone(),
            tree,
        })
    }

    /// The text of a file, where it is there and is text.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        let bytes = self.tree.read(path, super::LARGEST).ok()??;
        String::from_utf8(bytes).ok()
    }

    fn accounts(&self) -> Accounts<'_> {
        Accounts {
            tree: &self.tree,
            live: self.root.is_host(),
        }
    }

    /// The bytes that a record has kept.
    fn kept(&self, (record, n): (u64, u64)) -> io::Result<Vec<u8>> {
        let path = format!("{FOLDER}/{record:06}/{n}");
        let bytes = self.tree.read(&path, super::LARGEST + 1)?;
        bytes.ok_or_else(|| io::Error::other(format!("{path}, which was kept, is gone")))
    }

    /// What the steps would change.
    ///
    /// # Errors
    /// When the records cannot be read, or the steps cannot be done here.
    pub fn outline(&self, steps: &[Step]) -> Result<Outline, ApplyError> {
        let records = match Store::look(&self.tree)? {
            Some(store) => store.records()?,
            None => Vec::new(),
        };
        let state = record::state(&records);
        let look = Look::new(self, &state, steps);
        let mut outline = show::outline(self, &look)?;
        if let Some(cut) = records.last().filter(|record| record.end.is_none()) {
            outline.notes.push(format!(
                "the apply of {} was cut off; it is undone first",
                cut.begin.at
            ));
        }
        Ok(outline)
    }

    /// Carries the steps out. The text says which document it is.
    ///
    /// # Errors
    /// When a step fails: what was done before it is then undone.
    pub fn apply(&self, steps: &[Step], source: &str) -> Result<Outline, ApplyError> {
        let store = Store::open(&self.tree)?;
        let mut records = store.records()?;
        let mut notes = Vec::new();
        if let Some(cut) = records.pop_if(|record| record.end.is_none()) {
            let at = cut.begin.at;
            let left = self.mend(&store, &cut)?;
            notes.push(format!("the apply of {at} was cut off and is undone"));
            notes.extend(left);
        }
        let state = record::state(&records);
        let look = Look::new(self, &state, steps);
        let mut outline = show::outline(self, &look)?;
        outline.notes.splice(0..0, notes);
        if !outline.is_due() {
            return Ok(outline);
        }
        let mut journal = store.begin(source, &node::boot_id(&self.root).unwrap_or_default())?;
        let mut done = Vec::new();
        let state = self
            .carry_out(&look, &mut journal, &mut done)
            .and_then(|numbers| {
                let state = look.state_after(&numbers, journal.number);
                journal.end(End::Applied, Some(state.clone()))?;
                Ok(state)
            });
        match state {
            Ok(state) => {
                store.prune(&state);
                Ok(outline)
            }
            Err(failure) => {
                let mut left = undo::undo(self, &journal, &done, false);
                if let Err(error) = journal.end(End::Undone, None) {
                    left.push(error.to_string());
                }
                Err(ApplyError::Undone {
                    failure: Box::new(failure),
                    left,
                })
            }
        }
    }

    /// Undoes an apply that never came to its end.
    fn mend(&self, store: &Store, cut: &Record) -> Result<Vec<String>, ApplyError> {
        let mut journal = store.resume(cut.number)?;
        let left = undo::undo(self, &journal, &cut.will, false);
        journal.end(End::Undone, None)?;
        Ok(left)
    }

    /// Does what is due; under which number each thing was noted.
    fn carry_out(
        &self,
        look: &Look<'_, '_>,
        journal: &mut Journal,
        done: &mut Vec<Will>,
    ) -> Result<HashMap<usize, u64>, ApplyError> {
        let mut numbers = HashMap::new();
        for (at, act) in look.acts.iter().enumerate().filter(|(_, act)| act.is_due()) {
            let Act::Put(put) = act;
            let n = journal.next();
            numbers.insert(at, n);
            if !matches!(put.before, Entry::Absent | Entry::Folder) {
                journal
                    .keep(&self.tree, &put.place, &put.before, n)
                    .map_err(ApplyError::record)?;
            }
            let will = Will::Put {
                n,
                place: put.place.clone(),
                before: put.before.clone(),
                after: put.after.clone(),
            };
            journal.will(will.clone());
            done.push(will);
        }
        journal.sync()?;
        let mut touched: Vec<&Place> = Vec::new();
        for (at, act) in look.acts.iter().enumerate() {
            let (Act::Put(put), Some(n)) = (act, numbers.get(&at)) else {
                continue;
            };
            self.put(put, &beside(journal.number, *n))
                .map_err(|error| ApplyError::step(&put.place.path, error))?;
            if put.after != Entry::Absent {
                touched.push(&put.place);
            }
        }
        self.sync(&touched)?;
        Ok(numbers)
    }

    fn put(&self, put: &put::Put<'_>, beside: &str) -> io::Result<()> {
        let tree = &self.tree;
        match (&put.after, put.kept) {
            (Entry::Absent, _) => tree.remove(&put.place),
            (Entry::Folder, _) => {
                let (uid, gid, mode) = put.folder;
                tree.make_folder(&put.place, (uid, gid), mode)
            }
            (after, Some((record, n))) => {
                let folder = tree.open_folder(&format!("{FOLDER}/{record:06}"))?;
                let name = n.to_string();
                let kept = tree::Kept {
                    folder: &folder,
                    name: &name,
                };
                tree.put_kept(&put.place, beside, after, &kept)
            }
            (Entry::File(file), None) => tree.put_file(&put.place, beside, file, &put.bytes),
            (Entry::Link(target), None) => tree.put_link(&put.place, beside, target),
            (Entry::Special, None) => Err(io::Error::other("a device cannot be made")),
        }
    }

    /// Waits until all file systems that were written to are on the disk: each once.
    fn sync(&self, touched: &[&Place]) -> Result<(), ApplyError> {
        let mut synced = Vec::new();
        for place in touched {
            let Some((device, _)) = self.tree.identity(place) else {
                continue;
            };
            if !synced.contains(&device) {
                self.tree
                    .sync(place)
                    .map_err(|error| ApplyError::step(&place.path, error))?;
                synced.push(device);
            }
        }
        Ok(())
    }

    /// Takes the last apply back.
    ///
    /// # Errors
    /// When there is none, somebody has changed what it wrote (unless `force`), or a step fails.
    pub fn revert(&self, force: bool) -> Result<Past, ApplyError> {
        let store = Store::open(&self.tree)?;
        let records = store.records()?;
        let standing = |record: &&Record| matches!(record.end, None | Some((End::Applied, _)));
        let record = records
            .iter()
            .rev()
            .find(standing)
            .ok_or(ApplyError::Nothing)?;
        // One that was cut off is not somebody's: it is undone as far as it can be.
        let whole = record.end.is_some();
        if whole && !force {
            let changed = undo::changed(self, record)?;
            if !changed.is_empty() {
                return Err(ApplyError::Changed(changed));
            }
        }
        let mut journal = store.resume(record.number)?;
        let left = undo::undo(self, &journal, &record.will, force);
        let places: Vec<&Place> = record
            .will
            .iter()
            .map(|Will::Put { place, .. }| place)
            .collect();
        self.sync(&places)?;
        let how = if whole { End::Reverted } else { End::Undone };
        if left.is_empty() || !whole {
            journal.end(how, None)?;
        }
        if !left.is_empty() {
            return Err(ApplyError::Left(left));
        }
        Ok(show::past(record))
    }

    /// The applies so far, oldest first.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn history(&self) -> Result<Vec<Past>, ApplyError> {
        let records = match Store::look(&self.tree)? {
            Some(store) => store.records()?,
            None => Vec::new(),
        };
        Ok(records.iter().map(show::past).collect())
    }
}
