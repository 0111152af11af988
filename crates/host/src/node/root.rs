//! The root of a machine, and the one way to what is below it.
//!
//! The kernel resolves every path within the root (openat2(2), `RESOLVE_IN_ROOT`): a leading `/`, a `..` or a link leads
//! where it would lead if the root were `/`. What is done to a path is done to what was opened, so that a link that somebody
//! puts in the way meanwhile leads nowhere else. Where the root is `/` a path is opened as it is.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    fs::{self, File, Metadata},
    io,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    path::{Component, Path, PathBuf},
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{self, OFlag, OpenHow, ResolveFlag},
    sys::stat::Mode,
};

/// The folder under which everything lies that the program reads or writes on the machine; `/` but for
/// tests and for preparing images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Default for Root {
    fn default() -> Self {
        Self::new("/")
    }
}

impl Root {
    /// The machine under this folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// A path of the machine.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> RootPath {
        let path = path.as_ref();
        let below = path.strip_prefix("/").unwrap_or(path);
        RootPath {
            path: match self.is_host() {
                true => Path::new("/").join(below),
                false => below.to_owned(),
            },
            root: self.clone(),
        }
    }

    /// The folder itself.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Whether this is the machine that runs the program.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// The folder, opened to resolve paths in it.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn open(&self) -> io::Result<OwnedFd> {
        Ok(fcntl::open(&self.0, FOLDER, Mode::empty())?)
    }
}

/// How a folder is opened to resolve paths in it.
pub const FOLDER: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

/// Opens a path from a folder on, by openat2(2). The mode is that of a file that is made.
///
/// # Errors
/// As openat2(2).
pub fn open_from(
    folder: impl AsFd,
    path: &Path,
    flags: OFlag,
    mode: Mode,
    resolve: ResolveFlag,
) -> io::Result<OwnedFd> {
    let path = match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .mode(mode)
        .resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    // Somebody renames folders meanwhile: the kernel cannot say that `..` stayed inside.
    for _ in 0..32 {
        match fcntl::openat2(&folder, path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
    Err(Errno::EAGAIN.into())
}

/// A path of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootPath {
    pub(super) root: Root,
    /// From the root on; of this machine, as it is opened.
    pub(super) path: PathBuf,
}

impl RootPath {
    /// A path as somebody on this machine names it, from the current folder on.
    #[must_use]
    pub fn named(path: impl Into<PathBuf>) -> Self {
        Self {
            root: Root::default(),
            path: path.into(),
        }
    }

    fn at(&self, path: PathBuf) -> Self {
        Self {
            root: self.root.clone(),
            path,
        }
    }

    /// What is at this path from here; an absolute one is one of the same root.
    #[must_use]
    pub fn join(&self, path: impl AsRef<Path>) -> Self {
        self.at(self.path.join(path))
    }

    /// What it lies in, by its name; the root lies in itself.
    #[must_use]
    pub fn parent(&self) -> Self {
        let parent = self.path.parent().unwrap_or(&self.path);
        let here = self.root.is_host() && parent.as_os_str().is_empty();
        self.at(if here { ".".into() } else { parent.to_owned() })
    }

    /// The last part of the path; empty where it has no name, as the root and `..`.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    /// The path for people, as they know it: the root and the path, through whatever links. Nothing must be opened by it.
    #[must_use]
    pub fn shown(&self) -> PathBuf {
        match self.root.is_host() {
            true => self.path.clone(),
            false => self.root.0.join(&self.path),
        }
    }

    /// Opens it. The mode is that of a file that is made, and empty where none is to be.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(&self, flags: OFlag, mode: Mode) -> io::Result<OwnedFd> {
        if self.root.is_host() {
            return loop {
                match fcntl::open(&self.path, flags | OFlag::O_CLOEXEC, mode) {
                    Err(Errno::EINTR) => {}
                    other => break Ok(other?),
                }
            };
        }
        let root = self.root.open()?;
        let within = ResolveFlag::RESOLVE_IN_ROOT;
        match open_from(&root, &self.path, flags, mode, within) {
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && !flags.contains(OFlag::O_NOFOLLOW)
                    && self.masks() =>
            {
                Ok(fcntl::open(NULL, flags | OFlag::O_CLOEXEC, mode)?)
            }
            other => other,
        }
    }

    /// Opens it to be read.
    ///
    /// # Errors
    /// As open(2).
    pub fn open_to_read(&self) -> io::Result<File> {
        Ok(self.open(OFlag::O_RDONLY, Mode::empty())?.into())
    }

    /// Whether a link here leads to `/dev/null`, which disables a file or hook: a tree of files has no such device.
    fn masks(&self) -> bool {
        let target = || {
            let link = self.open(OFlag::O_PATH | OFlag::O_NOFOLLOW, Mode::empty())?;
            io::Result::Ok(fcntl::readlinkat(link, "")?)
        };
        let Ok(target) = target() else { return false };
        let mut at = PathBuf::from("/");
        for part in self.parent().path.join(target).components() {
            match part {
                Component::ParentDir => drop(at.pop()),
                part => at.push(part),
            }
        }
        at == Path::new(NULL)
    }

    /// Whether it is `/dev/null`, or a link to it.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.real()
            .is_ok_and(|path| path == Path::new(NULL) || path == self.root.0.join("dev/null"))
    }

    /// What is there, where a link leads.
    ///
    /// # Errors
    /// As stat(2).
    pub fn metadata(&self) -> io::Result<Metadata> {
        match self.root.is_host() {
            true => fs::metadata(&self.path),
            false => File::from(self.open(OFlag::O_PATH, Mode::empty())?).metadata(),
        }
    }

    /// What is there; a link is one.
    fn own_metadata(&self) -> io::Result<Metadata> {
        match self.root.is_host() {
            true => fs::symlink_metadata(&self.path),
            false => {
                let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
                File::from(self.open(flags, Mode::empty())?).metadata()
            }
        }
    }

    /// Whether something is there, where a link leads. What cannot be looked at counts as not there.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.metadata().is_ok()
    }

    /// Whether something is there, be it a link to nothing.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.own_metadata().is_ok()
    }

    /// Whether it is a link to nothing, or to what cannot be looked at.
    #[must_use]
    pub fn dangles(&self) -> bool {
        self.own_metadata().is_ok_and(|found| found.is_symlink()) && !self.exists()
    }

    /// Whether it is a folder, or a link to one.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.metadata().is_ok_and(|found| found.is_dir())
    }

    /// Where it really is now, as the kernel tells of what it opened: without links.
    ///
    /// # Errors
    /// When there is nothing, or a link leads to nothing.
    pub fn real(&self) -> io::Result<PathBuf> {
        match self.root.is_host() {
            true => fs::canonicalize(&self.path),
            false => real(&self.open(OFlag::O_PATH, Mode::empty())?),
        }
    }

    /// The path of the same file without links.
    ///
    /// # Errors
    /// As [`Self::real`].
    pub fn without_links(&self) -> io::Result<Self> {
        let path = self.real()?;
        if self.root.is_host() {
            return Ok(self.at(path));
        }
        let root = real(&self.root.open()?)?;
        let below = path.strip_prefix(root).map_err(|_| Errno::EXDEV)?;
        Ok(self.root.path(below))
    }

    /// The path for what takes nothing but a path: the address of a socket, a program to run, a device, a watch. It is looked
    /// up now, without links where the root is not `/`, and who uses it finds what is there then. What is not there yet is
    /// named in the nearest folder that is.
    ///
    /// # Errors
    /// When a link leads to nothing or in a circle, or a folder on the way cannot be looked at.
    pub fn resolved(&self) -> io::Result<PathBuf> {
        if self.root.is_host() {
            return Ok(self.path.clone());
        }
        for above in self.path.ancestors() {
            let above = self.at(above.to_owned());
            let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
            let at = match above.real() {
                Err(error) if missing(&error) && !above.is_there() => continue,
                other => other?,
            };
            let rest = self.path.strip_prefix(&above.path).unwrap_or(&self.path);
            let named = |part| matches!(part, Component::Normal(_));
            if !rest.components().all(named) {
                break;
            }
            return Ok(match rest.as_os_str().is_empty() {
                true => at,
                false => at.join(rest),
            });
        }
        Err(Errno::ENOENT.into())
    }

    /// The names in a folder.
    ///
    /// # Errors
    /// When it is no folder, or cannot be read.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        use std::os::unix::ffi::OsStrExt as _;
        let folder = self.open(OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())?;
        let mut names = Vec::new();
        for entry in Dir::from_fd(folder)?.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }
}

/// What masks a file.
const NULL: &str = "/dev/null";

/// Where the kernel has what is open.
fn real(open: &OwnedFd) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", open.as_raw_fd()))
}

impl fmt::Display for RootPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown().display().fmt(f)
    }
}

#[cfg(test)]
mod tests;
