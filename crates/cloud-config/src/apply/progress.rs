//! How an apply changes the state of a machine.

use std::collections::HashMap;

use super::{
    act::{Act, Task},
    earlier::Earlier,
    entry::TreeEntry,
    machine::Machine,
    put::Why,
    state::{Commands, Owned, State},
};

impl State {
    /// Adds what one look has found and this record has done, each change under its number.
    pub(super) fn take(&mut self, acts: &[Act<'_>], numbers: &HashMap<usize, u64>, record: u64) {
        for (at, act) in acts.iter().enumerate() {
            if let Act::User(user) = act {
                self.users.insert(user.name.clone());
            }
            let Act::Put(put) = act else { continue };
            let path = &put.place.path;
            if put.why == Why::Gone || put.after == TreeEntry::Absent {
                self.owned.remove(path);
                continue;
            }
            let owned_now = || {
                let kept = !matches!(put.before, TreeEntry::Absent | TreeEntry::Folder);
                Owned {
                    place: put.place.clone(),
                    put: put.after.clone(),
                    original: put.before.clone(),
                    kept: numbers.get(&at).filter(|_| kept).map(|n| (record, *n)),
                }
            };
            match self.owned.get_mut(path) {
                // Somebody has changed the file that was appended to: its present content counts as the original from now on.
                Some(earlier) if put.added && put.before != earlier.put => {
                    if put.is_due() {
                        *earlier = owned_now();
                    }
                }
                Some(earlier) => earlier.put = put.after.clone(),
                // Somebody else had written it so already.
                None if !put.is_due() => {}
                None => {
                    self.owned.insert(path.clone(), owned_now());
                }
            }
        }
    }

    /// Completes the state when everything is done: what no document names now, and could not be removed, is not owned from now on.
    pub(super) fn finish(
        &mut self,
        earlier: &Earlier,
        tasks: &[Task<'_>],
        machine: &Machine,
        commands: Vec<(String, String)>,
        last: &[(String, String)],
    ) {
        let boot = &machine.boot;
        if !machine.adds {
            self.owned.retain(|path, owned| {
                earlier.wanted.contains(path) || owned.put == TreeEntry::Folder
            });
            self.keys.clear();
            self.ended
                .retain(|ended| ended.starts_with(&machine.document));
        }
        let keys = tasks.iter().filter_map(|task| match task {
            // Keys that were ignored are not owned.
            Task::Keys {
                user,
                optional: true,
                ..
            } if !machine.has_user(user) => None,
            Task::Keys { user, keys, .. }
                if !keys.is_empty() && !earlier.disabled.contains(*user) =>
            {
                let keys = keys.iter().map(|key| (*key).to_owned());
                Some(((*user).to_owned(), keys.collect()))
            }
            _ => None,
        });
        self.keys.extend(keys);
        let last = last.iter();
        self.ended.extend(
            last.map(|(unit, command)| Self::end_of_boot(&machine.document, unit, command)),
        );
        if self.commands.boot != *boot {
            self.commands = Commands {
                boot: boot.clone(),
                done: Vec::new(),
            };
        }
        if !machine.adds {
            self.commands.done.clear();
        }
        self.commands.done.extend(commands);
    }
}
