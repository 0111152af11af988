//! What earlier documents put somewhere and this one does not.

use std::collections::HashSet;

use super::{
    super::{
        act::Act,
        entry::Entry,
        put::{Put, Why},
    },
    Look,
};

impl Look<'_, '_> {
    /// What earlier documents put somewhere and this one does not: what was there before them comes back.
    pub(super) fn gone(&mut self) {
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
}
