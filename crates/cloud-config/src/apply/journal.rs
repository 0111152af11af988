//! The journal of one apply, while it is written.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::fd::{AsFd as _, OwnedFd},
};

use jiff::Timestamp;
use nix::{
    fcntl::{self, OFlag},
    sys::stat::Mode,
    unistd,
};

use super::{
    entry::{TreeEntry, TreePath},
    error::ApplyError,
    format::{End, FOLDER, Line},
    state::{Intent, State},
    tree::{KeptFile, Tree},
};

/// How many bytes of a journal wait to be written, to within a line.
const PENDING: usize = 64 << 10;

/// The record that is being written.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) number: u64,
    folder: OwnedFd,
    file: File,
    /// The length of the file up to its last complete line.
    written: u64,
    pending: Vec<u8>,
    next: u64,
    kept: bool,
}

impl Journal {
    pub(super) fn open(records: &OwnedFd, number: u64, flags: OFlag) -> io::Result<Self> {
        let name = format!("{number:06}");
        let open = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let folder = fcntl::openat(records, name.as_str(), open, Mode::empty())?;
        let flags = flags | OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let mut file = File::from(fcntl::openat(
            &folder,
            "journal",
            flags,
            Mode::S_IRUSR | Mode::S_IWUSR,
        )?);
        // An incomplete last line is removed, so that the next one is complete.
        let whole = last_line(&mut file)?;
        file.set_len(whole)?;
        Ok(Self {
            number,
            folder,
            file,
            written: whole,
            pending: Vec::new(),
            next: 0,
            kept: false,
        })
    }

    /// Records a line. With many lines, earlier ones are written out.
    ///
    /// # Errors
    /// When the disk is full.
    pub(super) fn line(&mut self, line: &Line) -> Result<(), ApplyError> {
        serde_json::to_writer(&mut self.pending, line)
            .expect("strings and numbers always serialize");
        self.pending.push(b'\n');
        if self.pending.len() < PENDING {
            return Ok(());
        }
        self.tried(Self::write)
    }

    /// Writes what is pending.
    fn write(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.file.write_all(&pending)?;
        self.written += pending.len() as u64;
        Ok(())
    }

    fn tried(&mut self, act: impl FnOnce(&mut Self) -> io::Result<()>) -> Result<(), ApplyError> {
        act(self).map_err(|error| {
            // An incomplete line would damage the next one.
            let _ = self.file.set_len(self.written);
            ApplyError::record(error)
        })
    }

    /// Returns the number of the next change.
    pub(super) fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Keeps what is at a path under a number.
    ///
    /// # Errors
    /// When the disk is full.
    pub(super) fn keep(
        &mut self,
        tree: &Tree,
        place: &TreePath,
        entry: &TreeEntry,
        n: u64,
    ) -> io::Result<()> {
        self.kept = true;
        tree.keep(
            place,
            entry,
            &KeptFile {
                folder: &self.folder,
                name: &n.to_string(),
            },
        )
    }

    /// Restores what was kept under a number.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn put_back(
        &self,
        tree: &Tree,
        place: &TreePath,
        entry: &TreeEntry,
        n: u64,
    ) -> io::Result<()> {
        let name = n.to_string();
        let kept = KeptFile {
            folder: &self.folder,
            name: &name,
        };
        tree.put_kept(place, &beside(self.number, n), entry, &kept)
    }

    /// Writes a script beside the journal and returns its path under the root.
    ///
    /// # Errors
    /// When the disk is full.
    pub(super) fn script(&self, bytes: &[u8]) -> io::Result<String> {
        let flags = OFlag::O_WRONLY
            | OFlag::O_CREAT
            | OFlag::O_TRUNC
            | OFlag::O_CLOEXEC
            | OFlag::O_NOFOLLOW;
        let mut file = File::from(fcntl::openat(&self.folder, "script", flags, Mode::S_IRWXU)?);
        file.write_all(bytes)?;
        Ok(format!("{FOLDER}/{:06}/script", self.number))
    }

    /// Records what is about to be done. It may be done after [`Self::sync`].
    ///
    /// # Errors
    /// As [`Self::line`].
    pub(super) fn will(&mut self, will: &Intent) -> Result<(), ApplyError> {
        self.line(&Line::Will(will.clone()))
    }

    /// Waits until all that was recorded and kept is on the disk.
    ///
    /// # Errors
    /// When that fails: nothing of it may be done.
    pub(super) fn sync(&mut self) -> Result<(), ApplyError> {
        self.tried(|journal| {
            journal.write()?;
            if std::mem::take(&mut journal.kept) {
                unistd::syncfs(journal.folder.as_fd())?;
            } else {
                journal.file.sync_data()?;
                unistd::fsync(&journal.folder)?;
            }
            Ok(())
        })
    }

    /// Ends the record.
    ///
    /// # Errors
    /// When that cannot be written: the apply then counts as interrupted.
    pub(super) fn end(&mut self, how: End, state: Option<State>) -> Result<(), ApplyError> {
        self.end_with(how, state, Vec::new())
    }

    /// Ends the record and lists what could not be undone.
    ///
    /// # Errors
    /// As [`Self::end`].
    pub(super) fn end_with(
        &mut self,
        how: End,
        state: Option<State>,
        left: Vec<String>,
    ) -> Result<(), ApplyError> {
        let at = Timestamp::now();
        self.line(&Line::End {
            how,
            at,
            state,
            left,
        })?;
        self.sync()
    }
}

/// Finds the end of the last complete line of a file.
fn last_line(file: &mut File) -> io::Result<u64> {
    const CHUNK: u64 = 64 << 10;
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(CHUNK);
        let mut chunk = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        (&*file).take(end - start).read_to_end(&mut chunk)?;
        if let Some(at) = chunk.iter().rposition(|b| *b == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Names the temporary file beside the path that it is for.
pub(super) fn beside(record: u64, n: u64) -> String {
    format!(".pointsman-{record}-{n}")
}
