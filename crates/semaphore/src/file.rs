//! Places in a file, for one machine that serves clients which only poll, without etcd.
//!
//! Each change reads the file, decides, and replaces it, under an exclusive lock of the file beside it (`PATH.lock`, flock(2)): so several
//! servers and people may use one file. What was answered is on the disk. People write the file as well: it has the size of each group.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use host::node::{Group, ReadError, RootPath};
use jiff::Timestamp;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg, OFlag},
    sys::stat::Mode,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    document::Document,
    etcd::HolderState,
    gates::Gates,
    lost::Never,
    poller::{Decision, Poller, PollerTaken, Refusal, Sight, decide, key_id, may_release},
    records::{Holder, new_nonce},
};

/// The most bytes of the file.
const LARGEST: u64 = 16 << 20;
/// The most that a lock is waited for: a change takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is tried.
const TRY: Duration = Duration::from_millis(5);
/// The name of the group that has none.
const DEFAULT: &str = "default";

/// Why the file does not serve.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is none.
    #[error("{0}: found no such file")]
    Missing(PathBuf),
    /// It cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        error: ReadError,
    },
    /// It has something else than places.
    #[error("{path}: {error}; expected {{\"groups\":{{\"default\":{{\"max\":1}}}}}}")]
    Content {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// It, or the file beside it, cannot be written or locked.
    #[error("{path}: {error}")]
    System {
        /// The path.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Somebody else has locked it all the time.
    #[error("{0}: somebody else has locked it for more than 5 seconds")]
    Locked(PathBuf),
}

/// The file with the places.
#[derive(Debug, Clone)]
pub struct FileStore {
    path: RootPath,
}

#[derive(Serialize, Deserialize)]
struct Content {
    groups: BTreeMap<String, Places>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct Places {
    max: u32,
    #[serde(default)]
    holders: BTreeMap<String, Holder>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl Places {
    fn document(&self) -> Document {
        Document::held_by(self.max, self.holders.keys().cloned())
    }
}

/// A group as the file has it.
#[derive(Debug, Clone)]
pub struct FileGroup {
    /// Its name.
    pub group: Group,
    /// How many may be out, and who is.
    pub document: Document,
    /// The holders.
    pub holders: Vec<HolderState>,
}

impl FileStore {
    /// The file at this path; nothing is read yet.
    #[must_use]
    pub fn new(path: RootPath) -> Self {
        Self { path }
    }

    /// Takes a place for a client, or not; what it took is on the disk when this returns. It waits for the disk.
    ///
    /// # Errors
    /// When the file cannot be read, locked or written.
    pub fn take(&self, group: &Group, poller: &Poller) -> Result<PollerTaken, FileError> {
        let _lock = self.lock()?;
        let mut content = self.read()?;
        let Some(places) = content.groups.get_mut(name(group)) else {
            return Ok(PollerTaken::Refused(Refusal::NoDocument(group.clone())));
        };
        let id = key_id(&poller.client);
        let document = Ok(places.document());
        // By the ids of their keys: the values may say anything.
        let entries = places.holders.iter();
        let holders: Vec<Holder> = entries
            .map(|(id, entry)| Holder {
                id: id.clone(),
                ..entry.clone()
            })
            .collect();
        let decision = decide(Sight {
            id: &id,
            group,
            document: Some(&document),
            entry: places.holders.get(&id),
            holders: &holders,
            first: None,
            gates: &Gates::default(),
            policy: None,
            percentage: None,
        });
        match decision {
            Decision::Held => Ok(PollerTaken::Taken),
            Decision::Refuse(refusal) => Ok(PollerTaken::Refused(refusal)),
            Decision::Take(_) => {
                let nonce = new_nonce().map_err(|error| self.system(error))?;
                places
                    .holders
                    .insert(id, poller.entry(nonce, String::new()));
                self.write(&content)?;
                Ok(PollerTaken::Taken)
            }
        }
    }

    /// Releases the place of a client, where it has one that is its own. It waits for the disk.
    ///
    /// # Errors
    /// When the file cannot be read, locked or written.
    pub fn release(&self, group: &Group, client: &str) -> Result<(), FileError> {
        let _lock = self.lock()?;
        let mut content = self.read()?;
        let id = key_id(client);
        let Some(places) = content.groups.get_mut(name(group)) else {
            return Ok(());
        };
        if may_release(places.holders.get(&id)) {
            places.holders.remove(&id);
            self.write(&content)?;
        }
        Ok(())
    }

    /// All groups, the one without a name first. It waits for the disk.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn groups(&self) -> Result<Vec<FileGroup>, FileError> {
        let now = Timestamp::now();
        let group = |(name, places): (String, Places)| {
            let group = match name.as_str() {
                DEFAULT => Group::default(),
                name => Group::new(name).ok()?,
            };
            Some(FileGroup {
                group,
                document: places.document(),
                holders: places
                    .holders
                    .into_iter()
                    .map(|(id, entry)| state(id, entry, now))
                    .collect(),
            })
        };
        let mut groups: Vec<FileGroup> =
            self.read()?.groups.into_iter().filter_map(group).collect();
        groups.sort_by(|a, b| a.group.cmp(&b.group));
        Ok(groups)
    }

    /// When the file was changed last; none where that cannot be told.
    #[must_use]
    pub fn changed(&self) -> Option<std::time::SystemTime> {
        self.path.metadata().ok()?.modified().ok()
    }

    fn read(&self) -> Result<Content, FileError> {
        let path = || self.path.shown();
        let bytes = self
            .path
            .read_bounded(LARGEST)
            .map_err(|error| match error {
                ReadError::System(error) if error.kind() == io::ErrorKind::NotFound => {
                    FileError::Missing(path())
                }
                error => FileError::Read {
                    path: path(),
                    error,
                },
            })?;
        serde_json::from_slice(&bytes).map_err(|error| FileError::Content {
            path: path(),
            error,
        })
    }

    fn write(&self, content: &Content) -> Result<(), FileError> {
        let mut text =
            serde_json::to_string_pretty(content).expect("keys are text, and values plain");
        text.push('\n');
        self.path
            .write_atomic(text.as_bytes(), 0o644)
            .map_err(|error| self.system(error))
    }

    /// Locks the file beside the one with the places, which is replaced at each change and so cannot be locked itself.
    fn lock(&self) -> Result<Flock<File>, FileError> {
        let path = self.lock_path();
        let failed = |error: io::Error| FileError::System {
            path: path.shown(),
            error,
        };
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o644);
        let mut file = File::from(path.open(flags, mode).map_err(failed)?);
        let begun = Instant::now();
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if begun.elapsed() < PATIENCE => {
                    file = back;
                    thread::sleep(TRY);
                }
                Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => {
                    return Err(FileError::Locked(path.shown()));
                }
                Err((_, error)) => return Err(failed(error.into())),
            }
        }
    }

    fn lock_path(&self) -> RootPath {
        let mut name = self.path.name().to_owned();
        name.push(".lock");
        self.path.parent().join(name)
    }

    fn system(&self, error: io::Error) -> FileError {
        FileError::System {
            path: self.path.shown(),
            error,
        }
    }
}

fn name(group: &Group) -> &str {
    match group.as_str() {
        "" => DEFAULT,
        name => name,
    }
}

/// A holder. All that reads and writes the file is on one machine, so that its clock tells what is overdue.
fn state(id: String, entry: Holder, now: Timestamp) -> HolderState {
    let deadline = entry
        .deadline
        .and_then(|seconds| i64::try_from(seconds).ok());
    let ends = entry.since.zip(deadline);
    let overdue =
        ends.is_some_and(|(since, seconds)| now.duration_since(since).as_secs() > seconds);
    HolderState {
        grace: Err(entry.via().map_or(Never::ByHand, Never::Client)),
        id,
        listed: true,
        overdue,
        before_accept: false,
        grace_lease: None,
        entry: Some(entry),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn poller(client: &str) -> Poller {
        Poller {
            client: client.into(),
            deadline: 60,
            from: None,
            agent: "test".into(),
            now: "2026-11-30T12:00:00[UTC]".parse().unwrap(),
        }
    }

    fn store(text: &str) -> (tempfile::TempDir, FileStore) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("places.json");
        if !text.is_empty() {
            fs::write(&path, text).unwrap();
        }
        (dir, FileStore::new(RootPath::named(path)))
    }

    #[test]
    fn a_place_is_taken_kept_and_given_back() {
        let group = Group::default();
        let (dir, store) = store(r#"{"groups":{"default":{"max":1,"note":"mine"}},"more":7}"#);
        let taken = |client: &str| store.take(&group, &poller(client)).unwrap();
        assert_eq!(taken("a/b"), PollerTaken::Taken);
        assert_eq!(taken("a/b"), PollerTaken::Taken);
        let again = FileStore::new(store.path.clone());
        let PollerTaken::Refused(refusal) = again.take(&group, &poller("c")).unwrap() else {
            panic!("it is full");
        };
        assert_eq!(refusal.kind(), "semaphore_full");
        store.release(&group, "c").unwrap();
        store.release(&group, "a/b").unwrap();
        assert_eq!(taken("c"), PollerTaken::Taken);
        // Its deadline is long past.
        let groups = store.groups().unwrap();
        assert!(groups[0].holders[0].overdue);
        // What a person has written beside it stays.
        let text = fs::read_to_string(dir.path().join("places.json")).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["groups"]["default"]["note"], "mine");
        assert_eq!(json["more"], 7);
    }

    #[test]
    fn what_a_person_wrote_is_not_the_clients() {
        let group = Group::new("web").unwrap();
        let (_dir, store) = store(
            r#"{"groups":{"web":{"max":2,"holders":{"disk":{"id":"disk","phase":"manual"}}}}}"#,
        );
        let PollerTaken::Refused(refusal) = store.take(&group, &poller("disk")).unwrap() else {
            panic!("it is a person's");
        };
        assert_eq!(refusal.kind(), "id_in_use");
        store.release(&group, "disk").unwrap();
        assert_eq!(store.groups().unwrap()[0].document.holders, ["disk"]);
        assert_eq!(
            store.take(&group, &poller("a")).unwrap(),
            PollerTaken::Taken
        );
    }

    #[test]
    fn a_file_that_does_not_serve_is_named_and_left() {
        let group = Group::default();
        for (text, says) in [
            ("", "found no such file"),
            ("{", "EOF while parsing"),
            ("{}", "missing field `groups`"),
            (r#"{"groups":{"default":{}}}"#, "missing field `max`"),
            (r#"{"groups":{"default":{"max":-1}}}"#, "expected u32"),
        ] {
            let (dir, store) = store(text);
            let error = store.take(&group, &poller("a")).unwrap_err().to_string();
            assert!(
                error.contains(says) && error.contains("places.json: "),
                "{error}"
            );
            assert!(store.release(&group, "a").is_err());
            let found = fs::read_to_string(dir.path().join("places.json")).unwrap_or_default();
            assert_eq!(found, text);
        }
        let (_dir, store) = store(r#"{"groups":{"web":{"max":1}}}"#);
        assert_eq!(
            store.take(&group, &poller("a")).unwrap(),
            PollerTaken::Refused(Refusal::NoDocument(group.clone()))
        );
    }

    #[test]
    fn changes_from_many_threads_are_one_after_the_other() {
        let group = Group::default();
        let (_dir, store) = store(r#"{"groups":{"default":{"max":3}}}"#);
        let taken: usize = thread::scope(|scope| {
            let each: Vec<_> = (0..16)
                .map(|n| {
                    let (store, group) = (store.clone(), group.clone());
                    scope.spawn(move || {
                        let taken = store.take(&group, &poller(&n.to_string())).unwrap();
                        usize::from(taken == PollerTaken::Taken)
                    })
                })
                .collect();
            each.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert_eq!((taken, store.groups().unwrap()[0].holders.len()), (3, 3));
    }
}
