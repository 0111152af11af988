//! A user's keys set by the system's tool, update-ssh-keys: sets of keys in a folder, and one file that it builds
//! from them.
//!
//! The tool succeeds where it has done nothing (a set that somebody disabled), and fails where it has done half
//! (the last set: it is removed from the folder, and its keys can still log in). So the result is checked.

use std::{collections::HashSet, io};

use super::{
    accounts::Account,
    entry::{FileEntry, TreeEntry, TreePath, sha256},
    machine::Machine,
    tools::{KEYS, Tools},
};

/// The largest list of keys that is read, in bytes.
const MOST: u64 = 4 << 20;

/// The temporary name of the file that replaces another.
const BESIDE: &str = ".authorized_keys.pointsman";

/// The files of one user's keys.
struct Files {
    folder: TreePath,
    set: TreePath,
    all: TreePath,
}

impl Files {
    fn new(account: &Account) -> Self {
        let place = |name: &str| TreePath {
            path: format!("{}/.ssh/{name}", account.home),
            home: Some(account.home.clone()),
        };
        Self {
            folder: place("authorized_keys.d"),
            set: place(&format!("authorized_keys.d/{KEYS}")),
            all: place("authorized_keys"),
        }
    }
}

/// Replaces our set of a user's keys, or removes it if there are none. Returns the keys that the tool did
/// not accept, which cannot log in.
///
/// # Errors
/// When the result is another.
pub(super) fn set(machine: &Machine, user: &str, keys: Option<&str>) -> io::Result<Vec<String>> {
    let Some(account) = machine.accounts().user(user)? else {
        return Err(io::Error::other(format!("the user {user} does not exist")));
    };
    let files = Files::new(&account);
    let keys = keys.filter(|keys| !keys.trim().is_empty());
    machine.tree.forget();
    let done = match keys {
        Some(keys) => add(machine, user, &files, keys),
        None => remove(machine, user, &files, &account).map(|()| Vec::new()),
    };
    machine.tree.forget();
    done
}

fn text(machine: &Machine, place: &TreePath) -> io::Result<Option<String>> {
    let bytes = machine.tree.read_at(place, MOST)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn add(machine: &Machine, user: &str, files: &Files, keys: &str) -> io::Result<Vec<String>> {
    Tools(&machine.root).add_keys(user, keys)?;
    machine.tree.forget();
    if text(machine, &files.set)?.is_none_or(|set| set.trim().is_empty()) {
        return Err(io::Error::other(format!(
            "update-ssh-keys let none of them in: found nothing in {}, expected the keys; where somebody has disabled \
             them, `update-ssh-keys -u {user} -A {KEYS}` takes them in again",
            files.set.path
        )));
    }
    let all = text(machine, &files.all)?.unwrap_or_default();
    let known: HashSet<&str> = all.lines().filter_map(key).collect();
    let lines = keys.lines().filter(|line| !line.trim().is_empty());
    let missing = lines.filter(|line| key(line).is_none_or(|key| !known.contains(key)));
    Ok(missing.map(str::to_owned).collect())
}

fn remove(machine: &Machine, user: &str, files: &Files, account: &Account) -> io::Result<()> {
    let gone = text(machine, &files.set)?.unwrap_or_default();
    if let Err(error) = Tools(&machine.root).remove_keys(user) {
        machine.tree.forget();
        // The tool refuses to leave no set at all, after it has removed the last one.
        if !machine.tree.names_at(&files.folder)?.is_empty() {
            return Err(error);
        }
        strip(machine, files, account, &gone)?;
    }
    machine.tree.forget();
    if machine.tree.look(&files.set)? != TreeEntry::Absent {
        return Err(io::Error::other(format!(
            "update-ssh-keys did not remove them: {} still exists",
            files.set.path
        )));
    }
    Ok(())
}

/// Removes the keys of the last set from the file of all keys, which the tool leaves as it was. Lines that somebody else wrote
/// stay.
fn strip(machine: &Machine, files: &Files, account: &Account, gone: &str) -> io::Result<()> {
    let tree = &machine.tree;
    let gone: HashSet<&str> = gone.lines().filter_map(key).collect();
    let all = text(machine, &files.all)?.unwrap_or_default();
    let ours = |line: &str| key(line).is_some_and(|key| gone.contains(key));
    let stays: Vec<&str> = all.lines().filter(|line| !ours(line)).collect();
    let is_key = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with('#');
    if !stays.iter().any(is_key) {
        tree.remove(&files.all)?;
    } else if let TreeEntry::File(was) = tree.look(&files.all)? {
        let text = stays.join("\n") + "\n";
        let file = FileEntry {
            uid: account.uid,
            gid: account.gid,
            sha256: sha256(text.as_bytes()),
            ..was
        };
        tree.sweep(&files.all, BESIDE);
        tree.put_file(&files.all, BESIDE, &file, text.as_bytes())?;
    }
    // Without the folder, the tool later takes what is in the file as a set of its own, instead of losing it.
    tree.remove(&files.folder)?;
    tree.sync(&files.all)
}

/// Identifies a key: its bytes as base64. The tool may reformat comment and options.
fn key(line: &str) -> Option<&str> {
    if line.trim_start().starts_with('#') {
        return None;
    }
    let mut words = line.split_whitespace();
    words.find(|word| word.starts_with("AAAA"))
}
