//! The files of a machine, by paths that cannot leave its root.
//!
//! Every path is resolved by the kernel within the root (openat2(2)): a link leads where it would lead on the machine
//! itself. The last part of a path is never followed: it is what is replaced.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    rc::Rc,
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{self, AtFlags, OFlag, OpenHow, ResolveFlag},
    sys::stat::{self, FileStat, Mode, SFlag},
    unistd::{self, Gid, LinkatFlags, Uid, UnlinkatFlags},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::node::Root;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Entry {
    /// Nothing.
    Absent,
    /// A file.
    File(FileEntry),
    /// A symbolic link to this.
    Link(String),
    /// A folder.
    Folder,
    /// A device, a socket or a pipe.
    Special,
}

/// A file, but for its content, which is known by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileEntry {
    /// Permissions, setuid, setgid and sticky bit included.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The content's SHA-256 in hexadecimal.
    pub sha256: String,
}

/// The SHA-256 of bytes, in hexadecimal.
#[must_use]
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Where something is, or is to be. Below somebody's home no link at all is followed: it is theirs to turn.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Place {
    /// The absolute path.
    pub path: String,
    /// The home that it is in, where its owner may change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
}

impl From<&str> for Place {
    fn from(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            home: None,
        }
    }
}

impl Place {
    /// The folder that it is in, and its name there.
    pub(super) fn split(&self) -> (Self, &str) {
        let (folder, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let folder = Self {
            path: if folder.is_empty() { "/" } else { folder }.to_owned(),
            home: self.home.clone(),
        };
        (folder, name)
    }
}

/// The root of a machine.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    /// The folder that was looked up last: files come by folders.
    last: RefCell<Option<(Place, Rc<OwnedFd>)>>,
}

const FOLDER: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

impl Tree {
    /// The machine under this root.
    ///
    /// # Errors
    /// When there is no such folder.
    pub(super) fn open(root: &Root) -> io::Result<Self> {
        let root = fcntl::open(root.folder(), FOLDER, Mode::empty())?;
        Ok(Self {
            root,
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
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(how | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        // Somebody renames folders meanwhile: the kernel cannot say that `..` stayed inside.
        for _ in 0..32 {
            match fcntl::openat2(from, if path.is_empty() { "." } else { path }, how) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                other => return Ok(other?),
            }
        }
        Err(Errno::EAGAIN.into())
    }

    fn folder(&self, place: &Place) -> io::Result<Rc<OwnedFd>> {
        if let Some((known, fd)) = &*self.last.borrow()
            && known == place
        {
            return Ok(Rc::clone(fd));
        }
        let fd = match &place.home {
            None => self.resolve(
                &self.root,
                &place.path,
                FOLDER,
                ResolveFlag::RESOLVE_IN_ROOT,
            )?,
            Some(home) => {
                let below = place.path.strip_prefix(home.as_str()).ok_or(Errno::EXDEV)?;
                let home = self.resolve(&self.root, home, FOLDER, ResolveFlag::RESOLVE_IN_ROOT)?;
                let how = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
                self.resolve(&home, below.trim_start_matches('/'), FOLDER, how)?
            }
        };
        let fd = Rc::new(fd);
        *self.last.borrow_mut() = Some((place.clone(), Rc::clone(&fd)));
        Ok(fd)
    }

    /// The folder that a place is in, and its name there.
    fn parent<'a>(&self, place: &'a Place) -> io::Result<(Rc<OwnedFd>, &'a str)> {
        let (folder, name) = place.split();
        Ok((self.folder(&folder)?, name))
    }

    /// Which folder a place is in, by device and number, so that two paths to one file are known as such.
    pub(super) fn identity(&self, place: &Place) -> Option<(u64, u64)> {
        let (folder, _) = self.parent(place).ok()?;
        let stat = stat::fstat(&*folder).ok()?;
        Some((stat.st_dev, stat.st_ino))
    }

    /// What is at a place.
    ///
    /// # Errors
    /// When it cannot be read, or what should be a folder on the way is none.
    pub(super) fn look(&self, place: &Place) -> io::Result<Entry> {
        let (folder, name) = match self.parent(place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entry::Absent),
            other => other?,
        };
        let stat = match stat::fstatat(&*folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(Entry::Absent),
            other => other?,
        };
        Ok(
            match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
                SFlag::S_IFREG => {
                    let file = self.open_file(&folder, name)?;
                    let stat = stat::fstat(&file)?;
                    Entry::File(file_entry(&stat, hash(file)?))
                }
                SFlag::S_IFLNK => {
                    let target = fcntl::readlinkat(&*folder, name)?;
                    Entry::Link(target.to_string_lossy().into_owned())
                }
                SFlag::S_IFDIR => Entry::Folder,
                _ => Entry::Special,
            },
        )
    }

    fn open_file(&self, folder: &OwnedFd, name: &str) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        Ok(fcntl::openat(folder, name, flags, Mode::empty())?.into())
    }

    /// The bytes of a file, this many at most; none where there is no file. Links are followed, within the root.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read(&self, path: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
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

    /// The bytes of the file at a place itself, this many at most; none where there is no file. No link is followed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read_at(&self, place: &Place, most: u64) -> io::Result<Option<Vec<u8>>> {
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

    /// A folder, by its path.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn open_folder(&self, path: &str) -> io::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        self.resolve(&self.root, path, flags, ResolveFlag::RESOLVE_IN_ROOT)
    }

    /// The names in a folder; none where there is no folder.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        match self.resolve(&self.root, path, flags, ResolveFlag::RESOLVE_IN_ROOT) {
            Err(error) if is_nothing(&error) => Ok(Vec::new()),
            other => names(other?),
        }
    }

    /// The names in the folder at a place; none where there is no folder.
    fn names_at(&self, place: &Place) -> io::Result<Vec<String>> {
        let folder = match self.folder(place) {
            Err(error) if is_nothing(&error) => return Ok(Vec::new()),
            other => other?,
        };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        names(self.resolve(&folder, ".", flags, ResolveFlag::RESOLVE_BENEATH)?)
    }

    /// The folders on the way to a place that are not there, the outermost first.
    ///
    /// # Errors
    /// When something on the way is no folder.
    pub(super) fn missing(&self, place: &Place) -> io::Result<Vec<Place>> {
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
        // A link to nowhere stands where a folder would have to be made.
        if let Some(outermost) = missing.last()
            && self.look(outermost)? != Entry::Absent
        {
            let text = format!("{} is a link that leads nowhere", outermost.path);
            return Err(io::Error::other(text));
        }
        missing.reverse();
        Ok(missing)
    }

    /// Puts a file in place: written beside under `beside`, with owner and mode before it has its name.
    ///
    /// # Errors
    /// When the system refuses a step; what was there is then as it was.
    pub(super) fn put_file(
        &self,
        place: &Place,
        beside: &str,
        entry: &FileEntry,
        bytes: &[u8],
    ) -> io::Result<()> {
        let (folder, name) = self.parent(place)?;
        self.beside(&folder, name, beside, || {
            let flags = OFlag::O_WRONLY
                | OFlag::O_CREAT
                | OFlag::O_EXCL
                | OFlag::O_NOFOLLOW
                | OFlag::O_CLOEXEC;
            let mut file = File::from(fcntl::openat(&*folder, beside, flags, Mode::S_IRUSR)?);
            file.write_all(bytes)?;
            own(&file, entry)
        })
    }

    /// Puts a symbolic link in place.
    ///
    /// # Errors
    /// As [`Self::put_file`].
    pub(super) fn put_link(&self, place: &Place, beside: &str, target: &str) -> io::Result<()> {
        let (folder, name) = self.parent(place)?;
        self.beside(&folder, name, beside, || {
            Ok(unistd::symlinkat(target, &*folder, beside)?)
        })
    }

    /// Puts back what [`Self::keep`] has kept.
    ///
    /// # Errors
    /// As [`Self::put_file`].
    pub(super) fn put_kept(
        &self,
        place: &Place,
        beside: &str,
        entry: &Entry,
        kept: &Kept<'_>,
    ) -> io::Result<()> {
        let (folder, name) = self.parent(place)?;
        self.beside(&folder, name, beside, || {
            match unistd::linkat(
                kept.folder,
                kept.name,
                &*folder,
                beside,
                LinkatFlags::empty(),
            ) {
                Err(Errno::EXDEV) => {}
                other => return Ok(other?),
            }
            match entry {
                Entry::File(file) => {
                    let mut from = self.open_file(kept.folder, kept.name)?;
                    copy(&mut from, &folder, beside, file)
                }
                Entry::Link(target) => Ok(unistd::symlinkat(target.as_str(), &*folder, beside)?),
                _ => Err(Errno::EXDEV.into()),
            }
        })
    }

    /// Makes something under another name and renames it.
    fn beside(
        &self,
        folder: &OwnedFd,
        name: &str,
        beside: &str,
        make: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        make()
            .and_then(|()| {
                fcntl::renameat(folder, beside, folder, name)?;
                // Two names of one file are not renamed onto one another: the second one stays.
                match unistd::unlinkat(folder, beside, UnlinkatFlags::NoRemoveDir) {
                    Ok(()) | Err(Errno::ENOENT) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            })
            .inspect_err(|_| {
                let _ = unistd::unlinkat(folder, beside, UnlinkatFlags::NoRemoveDir);
            })
    }

    /// Keeps what is at a place under another name: the thing itself where both are on one file system, else a copy.
    ///
    /// # Errors
    /// When there is no room, or the place cannot be read.
    pub(super) fn keep(&self, place: &Place, entry: &Entry, kept: &Kept<'_>) -> io::Result<()> {
        let (folder, name) = self.parent(place)?;
        match unistd::linkat(&*folder, name, kept.folder, kept.name, LinkatFlags::empty()) {
            Err(Errno::EXDEV | Errno::EPERM | Errno::EMLINK) => {}
            other => return Ok(other?),
        }
        match entry {
            Entry::File(file) => {
                let mut from = self.open_file(&folder, name)?;
                copy(&mut from, kept.folder, kept.name, file)
            }
            Entry::Link(target) => Ok(unistd::symlinkat(target.as_str(), kept.folder, kept.name)?),
            _ => Ok(()),
        }
    }

    /// Takes away what is at a place: anything but a folder that holds something.
    ///
    /// # Errors
    /// When the system refuses. Nothing there is no error.
    pub(super) fn remove(&self, place: &Place) -> io::Result<()> {
        let (folder, name) = match self.parent(place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        self.last.borrow_mut().take();
        match unistd::unlinkat(&*folder, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(Errno::EISDIR) => Ok(unistd::unlinkat(&*folder, name, UnlinkatFlags::RemoveDir)?),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a home away if all that it holds is as in /etc/skel; whether it is gone.
    ///
    /// # Errors
    /// When it cannot be looked at or taken away.
    pub(super) fn remove_skeleton(&self, home: &str) -> io::Result<bool> {
        let at = |path: String| Place {
            path,
            home: Some(home.to_owned()),
        };
        let mut found = vec![String::new()];
        let mut next = 0;
        // The folders come before what is in them.
        while let Some(folder) = found.get(next).cloned() {
            next += 1;
            let inside = at(format!("{home}{folder}/x")).split().0;
            if !folder.is_empty() && self.look(&at(format!("{home}{folder}")))? != Entry::Folder {
                continue;
            }
            for name in self.names_at(&inside)? {
                let below = format!("{folder}/{name}");
                let here = self.look(&at(format!("{home}{below}")))?;
                let skeleton = self.look(&Place::from(format!("/etc/skel{below}").as_str()))?;
                let alike = match (&here, &skeleton) {
                    (Entry::File(here), Entry::File(there)) => here.sha256 == there.sha256,
                    (here, there) => here == there,
                };
                let alike =
                    alike || self.holds_no_keys(&at(format!("{home}{below}")), &below, &here)?;
                if !alike {
                    return Ok(false);
                }
                found.push(below);
            }
        }
        for below in found.into_iter().skip(1).rev() {
            self.remove(&at(format!("{home}{below}")))?;
        }
        self.remove(&Place::from(home))?;
        Ok(true)
    }

    /// Whether this, in a home, is what is left where keys were and are no more.
    fn holds_no_keys(&self, place: &Place, below: &str, here: &Entry) -> io::Result<bool> {
        Ok(match (below, here) {
            ("/.ssh" | "/.ssh/authorized_keys.d", Entry::Folder) => true,
            ("/.ssh/authorized_keys", Entry::File(_)) => {
                let bytes = self.read_at(place, 1 << 16)?.unwrap_or_default();
                let mut lines = bytes.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
                lines.all(|line| line.is_empty() || line.starts_with(b"#"))
            }
            _ => false,
        })
    }

    /// Takes away what was being written beside a place when it ended.
    pub(super) fn sweep(&self, place: &Place, beside: &str) {
        if let Ok((folder, _)) = self.parent(place) {
            let _ = unistd::unlinkat(&*folder, beside, UnlinkatFlags::NoRemoveDir);
        }
    }

    /// Makes a folder.
    ///
    /// # Errors
    /// When the system refuses. One that is there is no error.
    pub(super) fn make_folder(
        &self,
        place: &Place,
        owner: (u32, u32),
        mode: u32,
    ) -> io::Result<()> {
        let (folder, name) = self.parent(place)?;
        match stat::mkdirat(&*folder, name, Mode::S_IRWXU) {
            Err(Errno::EEXIST) => return Ok(()),
            other => other?,
        }
        let made = self.folder(place)?;
        let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
        unistd::fchownat(
            &folder,
            name,
            Some(uid),
            Some(gid),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )?;
        let open = self.resolve(
            &made,
            ".",
            OFlag::O_RDONLY | OFlag::O_DIRECTORY,
            ResolveFlag::RESOLVE_BENEATH,
        )?;
        Ok(stat::fchmod(open, Mode::from_bits_truncate(mode))?)
    }

    /// Waits until the file system of the folder of a place is on the disk.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn sync(&self, place: &Place) -> io::Result<()> {
        let (folder, _) = self.parent(place)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let open = self.resolve(&folder, ".", flags, ResolveFlag::RESOLVE_BENEATH)?;
        Ok(unistd::syncfs(open.as_fd())?)
    }
}

/// Where something is kept: a name in a folder.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    pub(super) folder: &'a OwnedFd,
    pub(super) name: &'a str,
}

fn file_entry(stat: &FileStat, sha256: String) -> FileEntry {
    FileEntry {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        sha256,
    }
}

/// Nothing there, or what is on the way is no folder: then there is nothing either.
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

/// Owner first: a change of owner takes setuid and setgid away.
fn own(file: &File, entry: &FileEntry) -> io::Result<()> {
    unistd::fchown(
        file,
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
    )?;
    Ok(stat::fchmod(file, Mode::from_bits_truncate(entry.mode))?)
}

fn copy(from: &mut File, folder: &OwnedFd, name: &str, entry: &FileEntry) -> io::Result<()> {
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut to = File::from(fcntl::openat(folder, name, flags, Mode::S_IRUSR)?);
    io::copy(from, &mut to)?;
    own(&to, entry)
}
