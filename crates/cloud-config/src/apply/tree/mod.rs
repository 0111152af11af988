//! The files of a machine, by paths that cannot leave its root.
//!
//! Every path is resolved by the kernel within the root (openat2(2)): a link leads where it would lead on the machine
//! itself. The last part of a path is never followed: it is what is replaced.

mod skeleton;
mod write;

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Read as _},
    os::fd::OwnedFd,
    path::Path,
    rc::Rc,
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{self, AtFlags, OFlag, ResolveFlag},
    sys::stat::{self, FileStat, Mode, SFlag},
};
use sha2::{Digest as _, Sha256};

pub(super) use self::write::KeptFile;
use host::node::{
    Root,
    root::{FOLDER, open_from},
};

use super::entry::{FileEntry, TreeEntry, TreePath, hex};

/// The root of a machine.
#[derive(Debug)]
pub(in crate::apply) struct Tree {
    root: OwnedFd,
    /// The folder that was looked up last, if it exists: files are handled folder by folder.
    last: RefCell<Option<(TreePath, Option<Rc<OwnedFd>>)>>,
}

/// The largest file whose content is read to compare it, in bytes.
const MOST: i64 = 1 << 30;

impl Tree {
    /// Opens the tree under a root.
    ///
    /// # Errors
    /// When the folder does not exist.
    pub(in crate::apply) fn open(root: &Root) -> io::Result<Self> {
        Ok(Self {
            root: root.open()?,
            last: RefCell::default(),
        })
    }

    fn resolve(
        &self,
        from: &OwnedFd,
        path: &str,
        flags: OFlag,
        how: ResolveFlag,
    ) -> io::Result<OwnedFd> {
        open_from(from, Path::new(path), flags, Mode::empty(), how)
    }

    fn folder(&self, place: &TreePath) -> io::Result<Rc<OwnedFd>> {
        if let Some((known, fd)) = &*self.last.borrow()
            && known == place
        {
            let absent = || io::Error::from(Errno::ENOENT);
            return fd.as_ref().map(Rc::clone).ok_or_else(absent);
        }
        let fd = match self.open_parent(place) {
            Ok(fd) => Some(Rc::new(fd)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        *self.last.borrow_mut() = Some((place.clone(), fd.clone()));
        fd.ok_or_else(|| Errno::ENOENT.into())
    }

    /// Forgets cached folders: somebody else may have changed them.
    pub(in crate::apply) fn forget(&self) {
        self.last.borrow_mut().take();
    }

    fn open_parent(&self, place: &TreePath) -> io::Result<OwnedFd> {
        match &place.home {
            None => self.resolve(
                &self.root,
                &place.path,
                FOLDER,
                ResolveFlag::RESOLVE_IN_ROOT,
            ),
            Some(home) => {
                let below = place.path.strip_prefix(home.as_str()).ok_or(Errno::EXDEV)?;
                let home = self.resolve(&self.root, home, FOLDER, ResolveFlag::RESOLVE_IN_ROOT)?;
                let how = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
                self.resolve(&home, below.trim_start_matches('/'), FOLDER, how)
            }
        }
    }

    /// Opens the folder of a path, and returns the name in it.
    fn parent<'a>(&self, place: &'a TreePath) -> io::Result<(Rc<OwnedFd>, &'a str)> {
        let (folder, name) = place.split();
        Ok((self.folder(&folder)?, name))
    }

    /// Identifies the folder of a path by device and inode, so that two paths to one file are recognized.
    pub(in crate::apply) fn identity(&self, place: &TreePath) -> Option<(u64, u64)> {
        let (folder, _) = self.parent(place).ok()?;
        let stat = stat::fstat(&*folder).ok()?;
        Some((stat.st_dev, stat.st_ino))
    }

    /// Owner, group and mode, if it is a folder.
    pub(in crate::apply) fn of_folder(&self, place: &TreePath) -> io::Result<(u32, u32, u32)> {
        let stat = stat::fstat(&*self.folder(place)?)?;
        Ok((stat.st_uid, stat.st_gid, stat.st_mode & 0o7777))
    }

    /// Reads the state of a path.
    ///
    /// # Errors
    /// When it cannot be read, or a part of the path is not a folder.
    pub(in crate::apply) fn look(&self, place: &TreePath) -> io::Result<TreeEntry> {
        let (folder, name) = match self.parent(place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(TreeEntry::Absent),
            other => other?,
        };
        let stat = match stat::fstatat(&*folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(TreeEntry::Absent),
            other => other?,
        };
        Ok(
            match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
                SFlag::S_IFREG => {
                    let file = self.open_file(&folder, name)?;
                    let stat = stat::fstat(&file)?;
                    // No document writes a file that large: size and time tell whether it has changed.
                    let content = match stat.st_size > MOST {
                        true => format!(
                            "{} bytes of {}.{:09}",
                            stat.st_size, stat.st_mtime, stat.st_mtime_nsec
                        ),
                        false => hash(file)?,
                    };
                    TreeEntry::File(file_entry(&stat, content))
                }
                SFlag::S_IFLNK => {
                    let target = fcntl::readlinkat(&*folder, name)?;
                    TreeEntry::Link(target.to_string_lossy().into_owned())
                }
                SFlag::S_IFDIR => TreeEntry::Folder,
                _ => TreeEntry::Special,
            },
        )
    }

    fn open_file(&self, folder: &OwnedFd, name: &str) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        Ok(fcntl::openat(folder, name, flags, Mode::empty())?.into())
    }

    /// Reads a file, up to this many bytes; none if there is no file. Links are followed within the root.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(in crate::apply) fn read(&self, path: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let file = match self.resolve(&self.root, path, flags, ResolveFlag::RESOLVE_IN_ROOT) {
            Err(error) if is_nothing(&error) => return Ok(None),
            other => File::from(other?),
        };
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Reads the file at a path itself, up to this many bytes; none if there is no file. No link is followed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(in crate::apply) fn read_at(
        &self,
        place: &TreePath,
        most: u64,
    ) -> io::Result<Option<Vec<u8>>> {
        let file = match self
            .parent(place)
            .and_then(|(folder, name)| self.open_file(&folder, name))
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Opens a folder by its path.
    ///
    /// # Errors
    /// When it does not exist.
    pub(in crate::apply) fn open_folder(&self, path: &str) -> io::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        self.resolve(&self.root, path, flags, ResolveFlag::RESOLVE_IN_ROOT)
    }

    /// Lists the names in a folder; none if there is no folder.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(in crate::apply) fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        match self.resolve(&self.root, path, flags, ResolveFlag::RESOLVE_IN_ROOT) {
            Err(error) if is_nothing(&error) => Ok(Vec::new()),
            other => names(other?),
        }
    }

    /// Lists the names in the folder at a path; none if there is no folder.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(in crate::apply) fn names_at(&self, place: &TreePath) -> io::Result<Vec<String>> {
        let folder = match self.folder(place) {
            Err(error) if is_nothing(&error) => return Ok(Vec::new()),
            other => other?,
        };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        names(self.resolve(&folder, ".", flags, ResolveFlag::RESOLVE_BENEATH)?)
    }

    /// Lists the parent folders that do not exist, the outermost first.
    ///
    /// # Errors
    /// When a part of the path is not a folder.
    pub(in crate::apply) fn missing(&self, place: &TreePath) -> io::Result<Vec<TreePath>> {
        let mut missing = Vec::new();
        let (mut folder, _) = place.split();
        loop {
            match self.folder(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => {
                    other?;
                    break;
                }
            }
            let next = folder.split().0;
            missing.push(folder);
            folder = next;
        }
        // A link to nothing is where a folder would have to be created.
        if let Some(outermost) = missing.last()
            && self.look(outermost)? != TreeEntry::Absent
        {
            let text = format!("{} is a link to nothing", outermost.path);
            return Err(io::Error::other(text));
        }
        missing.reverse();
        Ok(missing)
    }
}

fn file_entry(stat: &FileStat, sha256: String) -> FileEntry {
    FileEntry {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        sha256,
    }
}

/// Tells whether an error means that there is nothing, also because a part of the path is not a folder.
fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    ) || error.raw_os_error() == Some(Errno::ELOOP as i32)
}

fn names(folder: OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::from_fd(folder)?.iter() {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn hash(mut file: File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = [0u8; 16 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}
