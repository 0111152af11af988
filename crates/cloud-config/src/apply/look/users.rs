//! Users: creation, passwords, and public keys.

use std::io;

use super::{
    super::{
        accounts::Account,
        act::Act,
        entry::{FileEntry, TreeEntry, TreePath, sha256},
        put::Put,
        tools::{KEYS, TOOL},
    },
    acts::Look,
};
use crate::{
    plan::NewUser,
    problem::{Fault, Problem},
};

/// The largest list of keys that is read, in bytes.
const MOST: u64 = 4 << 20;

impl<'a> Look<'a, '_> {
    pub(super) fn user(&mut self, user: &'a NewUser) -> io::Result<()> {
        let name = user.name.as_str();
        let exists = self.machine.accounts().user(name)?.is_some();
        // Every user is created with this option, so it was not asked for.
        let asked = |argument: &&str| argument.starts_with("--") && *argument != "--create-home";
        let passed: Vec<&str> = user
            .arguments
            .iter()
            .map(String::as_str)
            .filter(asked)
            .collect();
        if exists && !passed.is_empty() && !self.state.users.contains(name) {
            self.notes.push(format!(
                "users: {name} exists already: only passwd and keys are applied, not what useradd would set ({})",
                passed.join(", ")
            ));
        }
        if !exists {
            self.groups(user)?;
            self.made.insert(name, user);
            self.acts.push(Act::User(user));
        }
        let Some(hash) = user.passwd.as_deref() else {
            return Ok(());
        };
        let before = match exists {
            true => self.machine.accounts().password(name)?,
            false => None,
        };
        self.acts.push(Act::Password {
            due: before.as_deref() != Some(hash),
            user: name,
            hash,
            before,
        });
        Ok(())
    }

    /// Checks that the groups of a new user exist; `useradd` would refuse only after other changes are made.
    fn groups(&mut self, user: &'a NewUser) -> io::Result<()> {
        let name = user.name.as_str();
        let primary = user.option("--gid");
        let further = user.option("--groups").unwrap_or_default();
        for group in primary.into_iter().chain(further.split(',')) {
            if !group.is_empty() && self.id(group, true)?.is_none() {
                let made = self.made_groups.contains(group);
                self.unknown(&format!("users: {name}"), "group", group, made);
            }
        }
        if primary.is_none() && !user.arguments.iter().any(|one| one == "--no-user-group") {
            if self.id(name, true)?.is_some() {
                let problem = Problem::from(Fault::Exists(format!("the group {name}")))
                    .of(format!("users: {name}"))
                    .remedy("give it as primary_group, or set no_user_group");
                self.refused.push(problem);
            }
            self.made_groups.insert(name);
        }
        Ok(())
    }

    /// Refuses a user or group that does not exist, unless this apply creates it, or a script that runs before may create it.
    pub(super) fn unknown(&mut self, whose: &str, what: &str, name: &str, made: bool) {
        let script = |act: &Act<'_>| matches!(act, Act::Script { due: true, .. });
        if made {
            return;
        }
        let problem = Problem::from(Fault::Missing(format!("the {what} {name}"))).of(whose);
        if self.acts.iter().any(script) {
            let note = problem.remedy("the script before it has to create it");
            self.notes.push(note.to_string());
        } else {
            self.refused.push(problem);
        }
    }

    /// Sets the keys of a user: these, and those that others have added.
    pub(super) fn keys(
        &mut self,
        user: &'a str,
        keys: Vec<&'a str>,
        optional: bool,
    ) -> io::Result<()> {
        let earlier = self.state.keys.get(user);
        // A user without keys in this document keeps those of another document.
        if keys.is_empty() && (earlier.is_none() || self.machine.adds) {
            return Ok(());
        }
        let account = match self.machine.accounts().user(user)? {
            Some(account) => account,
            None if self.made.contains_key(user) => Account {
                uid: 0,
                gid: 0,
                home: self.made[user].home(),
            },
            None if keys.is_empty() => return Ok(()),
            None if optional => {
                self.notes.push(format!(
                    "the platform's keys let nobody in: there is no user {user} here; a document with a user of that name, \
                     or with keys under users, does"
                ));
                return Ok(());
            }
            None => {
                let problem = Problem::from(Fault::Missing(format!("the user {user}")))
                    .of("ssh_authorized_keys")
                    .remedy(format!("add {user} to users to create it"));
                self.refused.push(problem);
                return Ok(());
            }
        };
        let folder = format!("{}/.ssh", account.home);
        if self.machine.live && self.machine.tree.read(TOOL, 1)?.is_some() {
            return self.keys_by_tool(user, keys, &account);
        }
        if !self.made.contains_key(user) && self.machine.tree.open_folder(&account.home).is_err() {
            if !keys.is_empty() {
                let home = format!("{}, the home of {user},", account.home);
                let problem = Problem::from(Fault::Missing(home))
                    .of("ssh_authorized_keys")
                    .remedy("create it, or remove the keys");
                self.refused.push(problem);
            }
            return Ok(());
        }
        let lines = || keys.iter().map(|key| format!("{key}\n"));
        // If the tool has been used, it builds the file from these.
        let parts = format!("{folder}/authorized_keys.d");
        if !self.machine.tree.names(&parts)?.is_empty() {
            let path = format!("{parts}/{KEYS}");
            self.key_file(user, &account, &path, lines().collect())?;
        }
        let path = format!("{folder}/authorized_keys");
        let place = TreePath {
            path: path.clone(),
            home: Some(account.home.clone()),
        };
        let before = match self.made.contains_key(user) {
            true => Vec::new(),
            false => self.machine.tree.read_at(&place, MOST)?.unwrap_or_default(),
        };
        let before = String::from_utf8_lossy(&before).into_owned();
        let ours = |line: &str| {
            let ours = earlier.is_some_and(|earlier| earlier.iter().any(|key| key == line));
            ours && !keys.contains(&line)
        };
        let mut text: String = before
            .lines()
            .filter(|line| !ours(line.trim()))
            .map(|line| format!("{line}\n"))
            .collect();
        for line in lines() {
            if !text.lines().any(|known| known.trim() == line.trim_end()) {
                text += &line;
            }
        }
        self.key_file(user, &account, &path, text)
    }

    fn keys_by_tool(
        &mut self,
        user: &'a str,
        keys: Vec<&'a str>,
        account: &Account,
    ) -> io::Result<()> {
        let place = TreePath {
            path: format!("{}/.ssh/authorized_keys.d/{KEYS}", account.home),
            home: Some(account.home.clone()),
        };
        let before = match self.made.contains_key(user) {
            true => None,
            false => self.machine.tree.read_at(&place, MOST)?,
        };
        let before = before.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        // Somebody has disabled a set that has no key (`update-ssh-keys -D`): the tool adds nothing to it.
        if before.as_ref().is_some_and(|set| set.trim().is_empty()) {
            if !keys.is_empty() {
                self.notes.push(format!(
                    "the keys of {user} let nobody in: somebody has disabled them; `update-ssh-keys -u {user} -A {KEYS}` takes \
                     them in again"
                ));
                self.disabled.push(user.to_owned());
            }
            return Ok(());
        }
        // The tool reformats keys, so the keys of the last apply are compared, as long as the file exists.
        let given = self
            .state
            .keys
            .get(user)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let due = given != keys || before.is_some() == keys.is_empty();
        self.acts.push(Act::Keys {
            user,
            keys,
            before,
            due,
        });
        Ok(())
    }

    fn key_file(
        &mut self,
        user: &str,
        account: &Account,
        path: &str,
        text: String,
    ) -> io::Result<()> {
        let place = TreePath {
            path: path.to_owned(),
            home: Some(account.home.clone()),
        };
        let made = self.made.contains_key(user);
        let before = if made {
            TreeEntry::Absent
        } else {
            self.machine.tree.look(&place)?
        };
        let original = self
            .owned
            .get(&self.key(&place))
            .map(|owned| &owned.original);
        let after = if text.is_empty()
            && (before == TreeEntry::Absent || original == Some(&TreeEntry::Absent))
        {
            TreeEntry::Absent
        } else {
            let mode = match &before {
                TreeEntry::File(file) => file.mode,
                _ => 0o600,
            };
            TreeEntry::File(FileEntry {
                mode,
                uid: account.uid,
                gid: account.gid,
                sha256: sha256(text.as_bytes()),
            })
        };
        self.put(Put {
            owner: made.then(|| user.to_owned()),
            folder: (account.uid, account.gid, 0o700),
            ..Put::new(place, before, after).with(text.into_bytes().into())
        });
        Ok(())
    }
}
