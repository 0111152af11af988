//! How files of a machine are read, written, made and taken away.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::{fd::OwnedFd, unix::fs::FileTypeExt as _},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{self, OFlag},
    sys::stat::{self, Mode},
    unistd::{self, UnlinkatFlags},
};

use super::root::{FOLDER, RootPath};

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system's reason.
    #[error("{0}")]
    System(#[from] io::Error),
    /// It is no file: what it is.
    #[error("found {0}, expected a file")]
    Kind(&'static str),
    /// It holds more than it may: the most, in bytes.
    #[error("found more than {0} bytes, expected at most that")]
    Larger(u64),
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::System(error) => error,
            other => Self::other(other.to_string()),
        }
    }
}

/// The most that a small file of the machine holds, in bytes: far more than any of those the program reads.
pub const SMALL: u64 = 1 << 20;

/// The most links on the way to a folder that is made, as the kernel has it (path_resolution(7)).
const LINKS: usize = 40;

impl RootPath {
    /// What a file holds, `most` bytes at most. Everything that is read from a disk goes through this: a file that somebody
    /// spoilt must not fill the memory or keep the program from ending.
    ///
    /// # Errors
    /// When it cannot be read, is a folder, pipe, socket or block device, or holds more. `/dev/null` is welcome as empty.
    pub fn read_bounded(&self, most: u64) -> Result<Vec<u8>, ReadError> {
        // Looked at before it is opened: opening a pipe may wait for ever.
        let kind = self.metadata()?.file_type();
        if kind.is_dir() {
            return Err(ReadError::Kind("a directory"));
        }
        if !kind.is_file() && !kind.is_char_device() {
            return Err(ReadError::Kind("a pipe, socket or device"));
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = File::from(self.open(flags, Mode::empty())?);
        let mut bytes = Vec::new();
        file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(ReadError::Larger(most));
        }
        Ok(bytes)
    }

    /// The text of a small file of the machine.
    ///
    /// # Errors
    /// As [`Self::read_bounded`], and when it is not UTF-8.
    pub fn read_text(&self) -> io::Result<String> {
        let bytes = self.read_bounded(SMALL)?;
        String::from_utf8(bytes).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, "found bytes that are not UTF-8")
        })
    }

    /// Writes a file so that it holds either what it held or `bytes`, whatever happens, and survives a power cut
    /// once this returns: written beside, synced, renamed, and the folder synced. The file gets `mode`. A link is replaced,
    /// and what it leads to stays.
    ///
    /// # Errors
    /// When the system refuses a step; the file is then as it was.
    pub fn write_atomic(&self, bytes: &[u8], mode: u32) -> io::Result<()> {
        let (folder, name) = self.split()?;
        let mut beside = name.to_owned();
        beside.push(format!(".{}.new", std::process::id()));
        let remove = || unistd::unlinkat(&folder, &*beside, UnlinkatFlags::NoRemoveDir);
        let mode = Mode::from_bits_truncate(mode);
        let write = || {
            // One that a killed process of the same number left.
            match remove() {
                Err(Errno::ENOENT) | Ok(()) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            let mut file = File::from(fcntl::openat(&folder, &*beside, flags, mode)?);
            // Whatever the umask takes away.
            stat::fchmod(&file, mode)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fcntl::renameat(&folder, &*beside, &folder, name)?;
            Ok(unistd::fsync(&folder)?)
        };
        write().inspect_err(|_| {
            let _ = remove();
        })
    }

    /// The folder it is in, opened, and its name there: the last part is not followed.
    ///
    /// # Errors
    /// When there is no such folder, or the path has no name.
    fn split(&self) -> io::Result<(OwnedFd, &OsStr)> {
        let name = self.path.file_name().ok_or(Errno::EISDIR)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        Ok((self.parent().open(flags, Mode::empty())?, name))
    }

    /// Makes the folder, with those on the way, where it is not there. A link to nothing leads to where it is made.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn make_folder(&self) -> io::Result<()> {
        match self.root.is_host() {
            true => fs::create_dir_all(&self.path),
            false => self.make_within(LINKS),
        }
    }

    fn make_within(&self, links: usize) -> io::Result<()> {
        match self.open(FOLDER, Mode::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other.map(drop),
        }
        // The root itself, or one that `..` leads out of, cannot be made.
        let name = self.path.file_name().ok_or(Errno::ENOENT)?;
        let parent = self.parent();
        parent.make_within(links)?;
        let folder = parent.open(FOLDER, Mode::empty())?;
        match stat::mkdirat(&folder, name, Mode::from_bits_truncate(0o777)) {
            Err(Errno::EEXIST) => {
                let left = links.checked_sub(1).ok_or(Errno::ELOOP)?;
                match fcntl::readlinkat(&folder, name) {
                    Ok(target) => parent.join(target).make_within(left),
                    // Somebody else has made it.
                    Err(_) => self.make_within(left),
                }
            }
            other => Ok(other?),
        }
    }

    /// Takes a file away; a link itself, and not what it leads to.
    ///
    /// # Errors
    /// When the system refuses, or there is nothing.
    pub fn remove(&self) -> io::Result<()> {
        let (folder, name) = self.split()?;
        Ok(unistd::unlinkat(folder, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Makes a link here that leads to `target`, a path as the machine has it. What is here already stays.
    ///
    /// # Errors
    /// When something is here, or the system refuses.
    pub fn link_to(&self, target: &Path) -> io::Result<()> {
        let (folder, name) = self.split()?;
        unistd::symlinkat(target, &folder, name)?;
        Ok(unistd::fsync(&folder)?)
    }

    /// Where the link here leads, as it says itself; none if there is no link here.
    #[must_use]
    pub fn link(&self) -> Option<PathBuf> {
        let (folder, name) = self.split().ok()?;
        fcntl::readlinkat(&folder, name).ok().map(PathBuf::from)
    }

    /// Gives a file another name in its folder.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn rename(&self, to: &OsStr) -> io::Result<()> {
        let (folder, name) = self.split()?;
        Ok(fcntl::renameat(&folder, name, &folder, to)?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn read_bounded(path: &Path, most: u64) -> Result<Vec<u8>, ReadError> {
        RootPath::named(path).read_bounded(most)
    }

    fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        RootPath::named(path).write_atomic(bytes, mode)
    }

    #[test]
    fn a_file_is_read_up_to_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "1234").unwrap();
        assert_eq!(read_bounded(&path, 4).unwrap(), b"1234");
        let error = read_bounded(&path, 3).unwrap_err().to_string();
        assert_eq!(error, "found more than 3 bytes, expected at most that");
        // A hole of twenty gigabytes is not read into the memory.
        let large = fs::File::create(dir.path().join("large")).unwrap();
        large.set_len(20 << 30).unwrap();
        assert!(
            RootPath::named(dir.path().join("large"))
                .read_text()
                .is_err()
        );
        let error = read_bounded(dir.path(), 3).unwrap_err().to_string();
        assert_eq!(error, "found a directory, expected a file");
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = read_bounded(&pipe, 3).unwrap_err().to_string();
        assert!(error.starts_with("found a pipe"), "{error}");
        assert_eq!(read_bounded(Path::new("/dev/null"), 3).unwrap(), b"");
        assert!(read_bounded(Path::new("/dev/zero"), 3).is_err());
    }

    #[test]
    fn an_atomic_write_leaves_one_file_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write_atomic(&path, b"one", 0o600).unwrap();
        write_atomic(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write_atomic(&dir.path().join("no/f"), b"", 0o600).is_err());
    }
}
