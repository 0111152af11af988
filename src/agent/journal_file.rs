//! The journal's file: what the machine writes, and what is remembered of etcd, which is written with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use host::node::{Root, RootPath};
use semaphore::{etcd::Memory, store::Remembered};

use super::{
    journal::{Journal, JournalError, Stores},
    machine_mark::MachineMark,
};

/// The file, and the memories that go into it.
pub struct JournalFile {
    path: RootPath,
    machine: String,
    /// As it was loaded or saved last; none while it cannot be read. Locked for as long as the file is written.
    journal: Mutex<Option<Journal>>,
    memories: Mutex<BTreeMap<String, Arc<Memory>>>,
    /// What the journal had of each prefix when it was loaded.
    journalled: Mutex<BTreeMap<String, Remembered>>,
}

/// Why what is remembered cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// What is in the journal is not known, and is not written over.
    #[error("the journal cannot be read")]
    Unread,
    /// It cannot be written.
    #[error(transparent)]
    Unwritten(#[from] JournalError),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl JournalFile {
    /// The one of the machine under `root`, which has this id; nothing is read yet.
    #[must_use]
    pub fn new(root: &Root, machine: &str) -> Self {
        Self {
            path: Journal::path(root),
            machine: machine.to_owned(),
            journal: Mutex::default(),
            memories: Mutex::default(),
            journalled: Mutex::default(),
        }
    }

    /// Reads that of the machine `here`. What another machine's journal remembers of etcd does not count: a copied disk has
    /// not seen what it says.
    ///
    /// # Errors
    /// As [`Journal::of_this_machine`].
    pub fn load(&self, here: MachineMark) -> Result<Journal, JournalError> {
        let mut journal = lock(&self.journal);
        let loaded = Journal::of_this_machine(&self.path, here);
        *journal = loaded.as_ref().ok().cloned();
        let stores = journal.as_ref().and_then(|journal| journal.stores.as_ref());
        if let Some(stores) = stores.filter(|stores| stores.machine == self.machine) {
            lock(&self.journalled).clone_from(&stores.prefixes);
        }
        loaded
    }

    /// Whether it could be read.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        lock(&self.journal).is_some()
    }

    /// What is remembered of the store under this key prefix; at first, what the journal that was loaded had of it.
    #[must_use]
    pub fn memory(&self, prefix: &str) -> Arc<Memory> {
        let journalled = lock(&self.journalled).get(prefix).cloned();
        let new = || Arc::new(Memory::new(journalled.unwrap_or_default()));
        lock(&self.memories)
            .entry(prefix.to_owned())
            .or_insert_with(new)
            .clone()
    }

    /// The key prefixes under which a store is remembered.
    #[must_use]
    pub fn prefixes(&self) -> BTreeSet<String> {
        let mut prefixes: BTreeSet<String> = lock(&self.journalled).keys().cloned().collect();
        prefixes.extend(lock(&self.memories).keys().cloned());
        prefixes
    }

    /// Writes the journal, with what is remembered.
    ///
    /// # Errors
    /// As [`Journal::save`].
    pub fn save(&self, journal: &Journal) -> Result<(), JournalError> {
        self.write(&mut lock(&self.journal), journal.clone())
    }

    /// Writes it again with what is remembered by now.
    ///
    /// # Errors
    /// When it could not be read, or cannot be written.
    pub fn keep(&self) -> Result<(), KeepError> {
        let mut last = lock(&self.journal);
        match last.clone() {
            Some(journal) => Ok(self.write(&mut last, journal)?),
            None => Err(KeepError::Unread),
        }
    }

    fn write(&self, last: &mut Option<Journal>, journal: Journal) -> Result<(), JournalError> {
        let remembered: Vec<_> = lock(&self.memories)
            .iter()
            .map(|(prefix, memory)| (prefix.clone(), memory.clone(), memory.remembered()))
            .collect();
        let mut stores = Stores::of(&self.machine);
        stores.prefixes.clone_from(&lock(&self.journalled));
        for (prefix, _, remembered) in &remembered {
            if *remembered != Remembered::default() {
                stores.prefixes.insert(prefix.clone(), remembered.clone());
            }
        }
        let journal = Journal {
            stores: (!stores.prefixes.is_empty()).then_some(stores),
            ..journal
        };
        let saved = journal.save(&self.path);
        if saved.is_ok() {
            *last = Some(journal);
            for (_, memory, remembered) in remembered {
                memory.kept(remembered);
            }
        }
        saved
    }
}

#[cfg(test)]
mod tests {
    use semaphore::store::Marks;

    use super::*;

    fn mark(id: &str) -> MachineMark {
        MachineMark {
            id: id.into(),
            ..MachineMark::default()
        }
    }

    fn remembered() -> Remembered {
        Remembered {
            marks: Some(Marks {
                cluster: 7,
                revision: 9,
                difference: None,
            }),
            ..Remembered::default()
        }
    }

    #[test]
    fn memory_is_written_with_the_journal_and_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let file = JournalFile::new(&root, "me");
        file.load(mark("me")).unwrap();
        file.memory("p").recall(remembered());
        file.keep().unwrap();
        file.save(&Journal::default()).unwrap();
        let loaded = |machine: &str| {
            let file = JournalFile::new(&root, machine);
            file.load(mark(machine)).unwrap();
            file
        };
        let again = loaded("me");
        assert_eq!(again.memory("p").remembered(), remembered());
        assert_eq!(again.memory("q").remembered(), Remembered::default());
        // What this agent never asked under stays.
        again.save(&Journal::default()).unwrap();
        assert_eq!(loaded("me").memory("p").remembered(), remembered());
        let clone = loaded("another");
        assert_eq!(clone.memory("p").remembered(), Remembered::default());
    }

    #[test]
    fn unreadable_journal_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let path = Journal::path(&root);
        path.parent().make_folder().unwrap();
        path.write_atomic(b"oops", 0o600).unwrap();
        let file = JournalFile::new(&root, "me");
        assert!(file.load(mark("me")).is_err());
        file.memory("p").recall(remembered());
        assert!(file.keep().is_err());
        assert_eq!(path.read_text().unwrap(), "oops");
    }

    #[test]
    fn unsaved_memory_is_not_written_later() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let file = JournalFile::new(&root, "me");
        let before = file.load(mark("me")).unwrap();
        file.save(&before).unwrap();
        let state = dir.path().join("var/lib/pointsman");
        let aside = dir.path().join("aside");
        std::fs::rename(&state, &aside).unwrap();
        std::fs::write(&state, "").unwrap();
        let refused = Journal {
            proven: Some("refused".into()),
            ..before
        };
        assert!(file.save(&refused).is_err());
        std::fs::remove_file(&state).unwrap();
        std::fs::rename(&aside, &state).unwrap();
        file.memory("p").recall(remembered());
        file.keep().unwrap();
        let kept = Journal::load(&Journal::path(&root)).unwrap();
        assert_eq!(kept.proven, None);
        assert!(kept.stores.is_some());
    }

    #[test]
    fn journal_stays_inside_the_root() {
        use std::{fs, os::unix::fs::symlink};
        let outside = tempfile::tempdir().unwrap();
        let elsewhere = outside.path().join("journal.json");
        fs::write(&elsewhere, "another's").unwrap();
        for target in [
            outside.path().to_owned(),
            std::path::Path::new("../../../../../..")
                .join(outside.path().strip_prefix("/").unwrap()),
        ] {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("var/lib")).unwrap();
            symlink(&target, dir.path().join("var/lib/pointsman")).unwrap();
            let root = Root::new(dir.path());
            // Of another node: it would be set aside.
            let before = JournalFile::new(&root, "other");
            before.load(mark("other")).unwrap();
            before.memory("p").recall(remembered());
            before.keep().unwrap();
            let file = JournalFile::new(&root, "me");
            let journal = file.load(mark("me")).unwrap();
            file.save(&journal).unwrap();
            let inside = dir.path().join(outside.path().strip_prefix("/").unwrap());
            for name in ["journal.json", "journal.of-other.json"] {
                assert!(inside.join(name).exists(), "{name}, {target:?}");
            }
            assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "another's");
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        }
        let dir = tempfile::tempdir().unwrap();
        let lib = dir.path().join("var/lib");
        fs::create_dir_all(&lib).unwrap();
        symlink("/var/lib/other", lib.join("pointsman")).unwrap();
        symlink("/var/lib/pointsman", lib.join("other")).unwrap();
        let file = JournalFile::new(&Root::new(dir.path()), "me");
        let error = file.load(mark("me")).unwrap_err().to_string();
        assert!(
            error.contains("var/lib/pointsman/journal.json") && error.contains("symbolic links"),
            "{error}"
        );
        assert!(file.save(&Journal::default()).is_err());
    }
}
