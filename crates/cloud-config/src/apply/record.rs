//! The record that each apply keeps, so that it can be undone, also after a crash.
//!
//! `var/lib/pointsman/cloud-config/` has a numbered folder for each apply. Its `journal` has a line for each change, which
//! is on the disk before the change is made, and one line at the end. Beside it is what was replaced. The last line of a
//! complete apply says what it owns, so that no second file can disagree with it.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::fd::OwnedFd,
};

use jiff::Timestamp;
use nix::{
    errno::Errno,
    fcntl::{self, Flock, FlockArg, OFlag},
    sys::stat::{self, Mode},
    unistd::{self, UnlinkatFlags},
};

use super::{
    entry::TreePath,
    error::{ApplyError, RecordDamage},
    format::{Begin, End, FOLDER, Line},
    journal::Journal,
    state::{Intent, State},
    tree::Tree,
};

/// The format that this program writes, and the newest that it reads.
const VERSION: u32 = 1;

/// The largest journal that is read, in bytes: far more than that of the largest document.
const MOST_BYTES: u64 = 512 << 20;

/// The longest line of it, in bytes.
const MOST_LINE: u64 = 128 << 20;

/// The largest list of scripts that is read, in bytes.
const MOST_SCRIPTS: u64 = 64 << 20;

/// How many applies can be reverted, and how many reverted ones are kept.
const MOST: usize = 20;

/// One apply, as read from its record.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) number: u64,
    pub(super) begin: Begin,
    pub(super) will: Vec<Intent>,
    /// None if it was interrupted.
    pub(super) end: Option<(End, Timestamp)>,
    state: Option<State>,
    /// What was not undone, if it was undone or reverted.
    pub(super) left: Vec<String>,
}

/// What decides how long a record is kept.
#[derive(Debug)]
pub(super) struct RecordSummary {
    number: u64,
    /// It can be reverted.
    in_force: bool,
    /// The records that keep what would be restored if this were the last apply in force.
    wants: HashSet<u64>,
}

impl RecordSummary {
    /// Creates it for a record, with the state after that apply if it is in force.
    pub(super) fn new(number: u64, state: Option<&State>) -> Self {
        let owned = state.into_iter().flat_map(|state| state.owned.values());
        Self {
            number,
            in_force: state.is_some(),
            wants: owned.filter_map(|owned| Some(owned.kept?.0)).collect(),
        }
    }
}

impl Record {
    /// Tells whether it was completed and not reverted.
    pub(super) fn is_applied(&self) -> bool {
        matches!(self.end, Some((End::Applied, _)))
    }

    /// Returns what decides how long it is kept.
    fn old(&self) -> RecordSummary {
        RecordSummary::new(
            self.number,
            self.state.as_ref().filter(|_| self.is_applied()),
        )
    }
}

/// The sum of all records of a machine.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The state after the last apply in force.
    pub(super) state: State,
    /// All records that are complete, oldest first.
    pub(super) old: Vec<RecordSummary>,
    /// The last record, if it was interrupted.
    pub(super) interrupted: Option<Record>,
}

/// All records of a machine, locked against other writers while this exists.
#[derive(Debug)]
pub(super) struct Store {
    folder: OwnedFd,
    /// Held as long as this exists.
    _lock: Option<Flock<File>>,
}

impl Store {
    /// Opens the records for reading; none if there are none yet.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn look(tree: &Tree) -> Result<Option<Self>, ApplyError> {
        match tree.open_folder(FOLDER) {
            Ok(folder) => Ok(Some(Self {
                folder,
                _lock: None,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ApplyError::record(error)),
        }
    }

    /// Opens and locks the records for writing.
    ///
    /// # Errors
    /// When they cannot be written, or somebody else holds the lock.
    pub(super) fn open(tree: &Tree) -> Result<Self, ApplyError> {
        let make = || {
            let own = (unistd::geteuid().as_raw(), unistd::getegid().as_raw());
            let folder = TreePath::from(FOLDER);
            for parent in tree.missing(&TreePath::from(format!("{FOLDER}/x").as_str()))? {
                let mode = if parent == folder { 0o700 } else { 0o755 };
                tree.make_folder(&parent, own, mode)?;
            }
            let folder = tree.open_folder(FOLDER)?;
            let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
            let mode = Mode::S_IRUSR | Mode::S_IWUSR;
            let lock = File::from(fcntl::openat(&folder, "lock", flags, mode)?);
            io::Result::Ok((folder, lock))
        };
        let (folder, lock) = make().map_err(ApplyError::record)?;
        match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self {
                folder,
                _lock: Some(lock),
            }),
            Err((_, Errno::EWOULDBLOCK)) => Err(ApplyError::Busy),
            Err((_, error)) => Err(ApplyError::record(error.into())),
        }
    }

    /// Lists the numbers of the records, oldest first.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let open = fcntl::openat(
            &self.folder,
            ".",
            OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        let mut numbers = Vec::new();
        for entry in nix::dir::Dir::from_fd(open)?.iter() {
            let number = entry?
                .file_name()
                .to_str()
                .ok()
                .and_then(|name| name.parse().ok());
            numbers.extend::<Option<u64>>(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Reads all records, oldest first, one at a time: each may be as large as its document.
    ///
    /// # Errors
    /// When one cannot be read or understood.
    pub(super) fn records(
        &self,
    ) -> Result<impl Iterator<Item = Result<Record, ApplyError>>, ApplyError> {
        let numbers = self.numbers().map_err(ApplyError::record)?;
        let records = numbers.into_iter().map(|number| self.record(number));
        Ok(records.filter_map(Result::transpose))
    }

    /// Finds the last apply that is in force or was interrupted.
    ///
    /// # Errors
    /// As [`Self::records`]; when there is none, or what was before it is not known.
    pub(super) fn last(&self) -> Result<Record, ApplyError> {
        let (mut numbers, mut last) = (HashSet::new(), None);
        for record in self.records()? {
            let record = record?;
            numbers.insert(record.number);
            if record.end.is_none() || record.is_applied() {
                last = Some(record);
            }
        }
        let record = last.ok_or(ApplyError::Nothing)?;
        let after = record.begin.after.filter(|_| record.is_applied());
        match after.is_none_or(|after| numbers.contains(&after)) {
            true => Ok(record),
            false => Err(ApplyError::Oldest {
                at: record.begin.at,
            }),
        }
    }

    /// Returns the state after the applies so far.
    ///
    /// # Errors
    /// As [`Self::records`].
    pub(super) fn history(&self) -> Result<History, ApplyError> {
        let mut history = History::default();
        for record in self.records()? {
            let mut record = record?;
            history.old.extend(
                history
                    .interrupted
                    .take()
                    .map(|interrupted| interrupted.old()),
            );
            if record.end.is_none() {
                history.interrupted = Some(record);
                continue;
            }
            history.old.push(record.old());
            if record.is_applied() {
                history.state = record.state.take().unwrap_or_default();
            }
        }
        Ok(history)
    }

    fn record(&self, number: u64) -> Result<Option<Record>, ApplyError> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let path = format!("{number:06}/journal");
        let mut journal = match fcntl::openat(&self.folder, path.as_str(), flags, Mode::empty()) {
            // The apply began, and had nothing to do yet.
            Err(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(ApplyError::record(error.into())),
            Ok(file) => BufReader::new(File::from(file).take(MOST_BYTES)),
        };
        let mut record: Option<Record> = None;
        let mut line = Vec::new();
        loop {
            line.clear();
            (&mut journal)
                .take(MOST_LINE)
                .read_until(b'\n', &mut line)
                .map_err(ApplyError::record)?;
            // A line without an end was interrupted while it was written, before the change was made.
            if !line.ends_with(b"\n") {
                if journal.get_ref().limit() == 0 || line.len() as u64 == MOST_LINE {
                    let (most, line) = (MOST_BYTES, MOST_LINE);
                    let damage = RecordDamage::TooLarge { most, line };
                    return Err(ApplyError::Damaged { number, damage });
                }
                return Ok(record);
            }
            if line == b"\n" {
                continue;
            }
            let damaged = |damage: RecordDamage| ApplyError::Damaged { number, damage };
            let line: Line =
                serde_json::from_slice(&line).map_err(|error| damaged(error.into()))?;
            match (line, &mut record) {
                (Line::Begin(begin), None) if begin.version > VERSION => {
                    return Err(damaged(RecordDamage::Newer {
                        found: begin.version,
                        newest: VERSION,
                    }));
                }
                (Line::Begin(begin), None) => {
                    record = Some(Record {
                        number,
                        begin,
                        will: Vec::new(),
                        end: None,
                        state: None,
                        left: Vec::new(),
                    });
                }
                (Line::Will(will), Some(record)) => record.will.push(will),
                (
                    Line::End {
                        how,
                        at,
                        state,
                        left,
                    },
                    Some(record),
                ) => {
                    record.end = Some((how, at));
                    record.state = state;
                    record.left = left;
                }
                _ => return Err(damaged(RecordDamage::Order)),
            }
        }
    }

    /// Begins a new record.
    ///
    /// # Errors
    /// When the disk is full.
    pub(super) fn begin(
        &self,
        source: &str,
        boot: &str,
        old: &[RecordSummary],
    ) -> Result<Journal, ApplyError> {
        let make = || {
            let number = self.numbers()?.last().copied().unwrap_or_default() + 1;
            let name = format!("{number:06}");
            stat::mkdirat(&self.folder, name.as_str(), Mode::S_IRWXU)?;
            let journal = Journal::open(&self.folder, number, OFlag::O_CREAT | OFlag::O_EXCL)?;
            unistd::fsync(self.open_self()?)?;
            io::Result::Ok(journal)
        };
        let mut journal = make().map_err(ApplyError::record)?;
        journal.line(&Line::Begin(Begin {
            version: VERSION,
            at: Timestamp::now(),
            source: source.to_owned(),
            boot: boot.to_owned(),
            after: old.iter().rfind(|old| old.in_force).map(|old| old.number),
        }))?;
        Ok(journal)
    }

    fn open_self(&self) -> io::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(fcntl::openat(&self.folder, ".", flags, Mode::empty())?)
    }

    /// Opens the journal of a record to continue it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn resume(&self, number: u64) -> Result<Journal, ApplyError> {
        Journal::open(&self.folder, number, OFlag::empty()).map_err(ApplyError::record)
    }

    /// Reads the SHA-256 of each script that has run to its end. A revert does not remove them.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub(super) fn scripts(&self) -> Result<HashSet<String>, ApplyError> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let mut text = String::new();
        match fcntl::openat(&self.folder, "scripts", flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(HashSet::new()),
            Err(error) => return Err(ApplyError::record(error.into())),
            Ok(file) => File::from(file)
                .take(MOST_SCRIPTS)
                .read_to_string(&mut text)
                .map_err(ApplyError::record)?,
        };
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Records that a script has run to its end.
    ///
    /// # Errors
    /// When that cannot be written: then it would run once more.
    pub(super) fn ran(&self, sha256: &str) -> Result<(), ApplyError> {
        let write = || {
            let flags = OFlag::O_WRONLY
                | OFlag::O_APPEND
                | OFlag::O_CREAT
                | OFlag::O_CLOEXEC
                | OFlag::O_NOFOLLOW;
            let mode = Mode::S_IRUSR | Mode::S_IWUSR;
            let mut file = File::from(fcntl::openat(&self.folder, "scripts", flags, mode)?);
            file.write_all(format!("{sha256}\n").as_bytes())?;
            file.sync_all()
        };
        write().map_err(ApplyError::record)
    }

    /// Removes records that are not needed: the oldest that can be reverted, and the oldest that are only history,
    /// unless something that they keep is still needed.
    pub(super) fn prune(&self, old: &[RecordSummary]) {
        let too_old = |in_force: bool, most: usize| {
            let of_kind = old.iter().filter(move |old| old.in_force == in_force);
            let few = of_kind.clone().count().saturating_sub(most);
            of_kind.take(few).map(|old| old.number)
        };
        // One more than can be reverted: it says what is owned when all those are reverted.
        let gone: HashSet<u64> = too_old(true, MOST + 1)
            .chain(too_old(false, MOST))
            .collect();
        let stay = old.iter().filter(|old| !gone.contains(&old.number));
        let wanted: HashSet<u64> = stay.flat_map(|old| &old.wants).copied().collect();
        for number in gone.difference(&wanted) {
            // Disk space that is not freed is no reason to fail.
            let _ = self.forget(*number);
        }
    }

    fn forget(&self, number: u64) -> io::Result<()> {
        let name = format!("{number:06}");
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let folder = fcntl::openat(&self.folder, name.as_str(), flags, Mode::empty())?;
        let open = fcntl::openat(&folder, ".", flags, Mode::empty())?;
        // The journal first: without it the record does not exist.
        let _ = unistd::unlinkat(&folder, "journal", UnlinkatFlags::NoRemoveDir);
        for entry in nix::dir::Dir::from_fd(open)?.iter() {
            let _ = unistd::unlinkat(&folder, entry?.file_name(), UnlinkatFlags::NoRemoveDir);
        }
        Ok(unistd::unlinkat(
            &self.folder,
            name.as_str(),
            UnlinkatFlags::RemoveDir,
        )?)
    }
}
