//! Files: their future content and owner; and removing masks of units.

use std::{borrow::Cow, io};

use super::{
    super::{
        entry::{FileEntry, TreeEntry, TreePath, sha256},
        put::{Put, Why, appended},
    },
    acts::Look,
};
use crate::{
    LARGEST,
    plan::{NewContent, NewFile, NewGroup, NewOwner},
    problem::{Fault, Problem},
};

impl<'a> Look<'a, '_> {
    pub(super) fn file(&mut self, file: &'a NewFile) -> io::Result<()> {
        let (place, before) = self.before(&file.path)?;
        let mut mode = file.mode;
        let (mut uid, mut gid, owner) = self.owner(file)?;
        let bytes = match &file.content {
            NewContent::Bytes(bytes) => Cow::Borrowed(bytes.as_slice()),
            NewContent::Append(more) => {
                // A file that is appended to keeps its owner and mode.
                if let TreeEntry::File(was) = &before {
                    (mode, uid, gid) = (was.mode, was.uid, was.gid);
                }
                let base = self.base(&place, &before)?;
                // If several documents append to a file, each finds what the others have added.
                let is_there = self.machine.adds
                    && !more.is_empty()
                    && base.windows(more.len()).any(|part| part == more.as_slice());
                Cow::Owned(match is_there {
                    true => base,
                    false => appended(base, more),
                })
            }
            NewContent::Fetch { url, .. } => {
                return Err(io::Error::other(format!("{url} was not fetched")));
            }
        };
        let sha256 = sha256(&bytes);
        let after = TreeEntry::File(FileEntry {
            mode,
            uid,
            gid,
            sha256,
        });
        self.put(Put {
            owner,
            added: matches!(file.content, NewContent::Append(_)),
            ..Put::new(place, before, after).with(bytes)
        });
        Ok(())
    }

    /// Finds the future owner of a file: user and group, and the name of one that does not exist yet.
    fn owner(&mut self, file: &'a NewFile) -> io::Result<(u32, u32, Option<String>)> {
        let NewOwner { user, group } = &file.owner;
        let (mut uid, mut gid, mut to_come) = (0, 0, None);
        if let Some(user) = user {
            match self.id(user, false)? {
                Some(found) => uid = found,
                None => {
                    let made = self.made.contains_key(user.as_str());
                    self.unknown(&file.path, "user", user, made);
                    to_come = Some(user.clone());
                }
            }
        }
        match (group, user) {
            (NewGroup::Named(group), _) => match self.id(group, true)? {
                Some(found) => gid = found,
                None => {
                    let made = self.made_groups.contains(group.as_str());
                    self.unknown(&file.path, "group", group, made);
                    to_come = Some(group.clone());
                }
            },
            (NewGroup::Login, Some(user)) if to_come.is_none() => {
                match self.machine.accounts().login_group(user)? {
                    Some(found) => gid = found,
                    None => self.refused.push(
                        Problem::from(Fault::Missing(format!("the user {user}")))
                            .of(&file.path)
                            .remedy("the owner `user:` takes the group from /etc/passwd"),
                    ),
                }
            }
            _ => {}
        }
        Ok((uid, gid, to_come))
    }

    /// Reads what is appended to: the content of the file without what an earlier apply added.
    fn base(&self, place: &TreePath, before: &TreeEntry) -> io::Result<Vec<u8>> {
        if let Some(put) = self.planned(place) {
            return Ok(put.bytes.to_vec());
        }
        let owned = self.owned.get(&self.key(place)).filter(|owned| {
            !self.machine.adds
                && owned.put == *before
                && !self.earlier.wanted.contains(&owned.place.path)
        });
        let original = owned.map_or(before, |owned| &owned.original);
        let bytes = match (owned.and_then(|owned| owned.kept), original) {
            (Some(kept), TreeEntry::File(_)) => self.machine.kept(kept)?,
            (None, TreeEntry::File(_)) => {
                let bytes = self.machine.tree.read_at(place, LARGEST + 1)?;
                bytes.unwrap_or_default()
            }
            // The target is another file, which may change on its own.
            (_, TreeEntry::Link(target)) => {
                return Err(io::Error::other(format!(
                    "found a link to {target}, expected a file to append to; append to the target, or write this file without append"
                )));
            }
            // A missing file counts as empty.
            _ => Vec::new(),
        };
        if bytes.len() as u64 > LARGEST {
            return Err(io::Error::other(format!(
                "found more than {LARGEST} bytes to append to, expected at most that"
            )));
        }
        Ok(bytes)
    }

    /// Removes the mask that an earlier document put on a unit that is to be enabled now, before the unit is looked at.
    pub(super) fn lift(&mut self, unit: &str) -> io::Result<()> {
        for top in ["/etc", "/run"] {
            let (place, before) = self.before(&format!("{top}/systemd/system/{unit}"))?;
            let key = self.key(&place);
            let mask = TreeEntry::Link("/dev/null".to_owned());
            let ours = self.owned.get(&key).filter(|owned| owned.put == mask);
            if let Some(owned) = ours.filter(|_| before == mask && !self.at.contains_key(&key)) {
                self.put(Put {
                    why: Why::Gone,
                    kept: owned.kept,
                    ..Put::new(place, before, owned.original.clone())
                });
            }
        }
        Ok(())
    }

    pub(super) fn unmask(&mut self, path: &str) -> io::Result<()> {
        let (place, before) = self.before(path)?;
        let now = self.planned(&place).map_or(&before, |put| &put.after);
        let masks = match now {
            TreeEntry::Link(target) => target == "/dev/null",
            TreeEntry::File(file) => file.sha256 == sha256(&[]),
            _ => false,
        };
        // A mask of an earlier apply is removed like everything that the document does not have now: what it hid is restored.
        let ours = self
            .owned
            .get(&self.key(&place))
            .is_some_and(|owned| owned.put == before);
        if masks && (!ours || self.machine.adds || self.planned(&place).is_some()) {
            self.put(Put::new(place, before, TreeEntry::Absent));
        }
        Ok(())
    }

    pub(super) fn id(&mut self, name: &str, group: bool) -> io::Result<Option<u32>> {
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
}
