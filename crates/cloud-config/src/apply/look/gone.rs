//! What earlier documents wrote and this one does not.

use std::collections::HashSet;

use super::{
    super::{
        act::Act,
        entry::{TreeEntry, TreePath},
        put::{Put, Why},
    },
    acts::{Key, Look},
};

impl Look<'_, '_> {
    /// Restores what was there before earlier documents wrote something that this one does not.
    pub(super) fn gone(&mut self) {
        let absent = self.acts.iter().filter_map(|act| match act {
            Act::Put(put) if put.after == TreeEntry::Absent => Some(self.key(&put.place)),
            _ => None,
        });
        let mut removed: HashSet<Key> = absent.collect();
        let mut folders = Vec::new();
        for (path, owned) in &self.state.owned {
            let mentioned =
                self.wanted.contains(path) || self.at.contains_key(&self.key(&owned.place));
            if mentioned {
                continue;
            }
            if owned.put == TreeEntry::Folder {
                folders.push(owned);
                continue;
            }
            match self.machine.tree.look(&owned.place) {
                Err(error) => self.notes.push(format!("{path}: {error}; it stays")),
                Ok(TreeEntry::Absent) => {}
                Ok(before) if before == owned.put => {
                    if owned.original == TreeEntry::Absent {
                        removed.insert(self.key(&owned.place));
                    }
                    self.acts.push(Act::Put(Put {
                        why: Why::Gone,
                        kept: owned.kept,
                        ..Put::new(owned.place.clone(), before, owned.original.clone())
                    }));
                }
                Ok(_) => self.notes.push(format!(
                    "{path} stays: the document does not write it now, and somebody has changed it since"
                )),
            }
        }
        // Folders that have content, or will have.
        let filled: HashSet<(u64, u64)> = self
            .at
            .iter()
            .filter_map(|((folder, _), at)| match &self.acts[*at] {
                Act::Put(put) if put.after != TreeEntry::Absent => *folder,
                _ => None,
            })
            .collect();
        // The innermost first, so that folders that hold only folders are removed as well.
        for owned in folders.into_iter().rev() {
            let path = &owned.place.path;
            let inside = format!("{path}/");
            let place = TreePath {
                path: format!("{inside}x"),
                ..owned.place.clone()
            };
            // However it is spelled.
            let folder = self.key(&place).0;
            let is_filled = folder.is_none_or(|folder| filled.contains(&folder));
            let emptied = |look: &Self| {
                let names = look.machine.tree.names(path).unwrap_or_default();
                let mut names = names.into_iter();
                look.machine
                    .tree
                    .look(&owned.place)
                    .is_ok_and(|entry| entry == TreeEntry::Folder)
                    && names.all(|name| removed.contains(&(folder, name)))
            };
            if !is_filled && emptied(self) {
                removed.insert(self.key(&owned.place));
                self.acts.push(Act::Put(Put {
                    why: Why::Gone,
                    folder: self
                        .machine
                        .tree
                        .of_folder(&owned.place)
                        .unwrap_or((0, 0, 0o755)),
                    ..Put::new(owned.place.clone(), TreeEntry::Folder, TreeEntry::Absent)
                }));
            }
        }
    }
}
