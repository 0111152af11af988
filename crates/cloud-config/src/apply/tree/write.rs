//! Writing: under a temporary name, with owner and mode, then renamed.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd as _, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{self, AtFlags, OFlag, ResolveFlag},
    sys::stat::{self, Mode},
    unistd::{self, Gid, LinkatFlags, Uid, UnlinkatFlags},
};

use super::{
    super::entry::{FileEntry, TreeEntry, TreePath},
    Tree,
};

impl Tree {
    /// Writes a file under the name `beside`, sets owner and mode, and renames it.
    ///
    /// # Errors
    /// When the system refuses a step; what was there is then unchanged.
    pub(in crate::apply) fn put_file(
        &self,
        place: &TreePath,
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

    /// Creates a symbolic link.
    ///
    /// # Errors
    /// As [`Self::put_file`].
    pub(in crate::apply) fn put_link(
        &self,
        place: &TreePath,
        beside: &str,
        target: &str,
    ) -> io::Result<()> {
        let (folder, name) = self.parent(place)?;
        self.beside(&folder, name, beside, || {
            Ok(unistd::symlinkat(target, &*folder, beside)?)
        })
    }

    /// Restores what [`Self::keep`] has kept.
    ///
    /// # Errors
    /// As [`Self::put_file`].
    pub(in crate::apply) fn put_kept(
        &self,
        place: &TreePath,
        beside: &str,
        entry: &TreeEntry,
        kept: &KeptFile<'_>,
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
                TreeEntry::File(file) => {
                    let mut from = self.open_file(kept.folder, kept.name)?;
                    copy(&mut from, &folder, beside, file)
                }
                TreeEntry::Link(target) => {
                    Ok(unistd::symlinkat(target.as_str(), &*folder, beside)?)
                }
                _ => Err(Errno::EXDEV.into()),
            }
        })?;
        // rename(2) does nothing if both names are the same file, so the second name is removed.
        match unistd::unlinkat(&*folder, beside, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates something under a temporary name and renames it.
    fn beside(
        &self,
        folder: &OwnedFd,
        name: &str,
        beside: &str,
        make: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        make()
            .and_then(|()| Ok(fcntl::renameat(folder, beside, folder, name)?))
            .inspect_err(|_| {
                let _ = unistd::unlinkat(folder, beside, UnlinkatFlags::NoRemoveDir);
            })
    }

    /// Keeps what is at a path under another name: by a second link on the same file system, else by a copy.
    ///
    /// # Errors
    /// When the disk is full, or the path cannot be read.
    pub(in crate::apply) fn keep(
        &self,
        place: &TreePath,
        entry: &TreeEntry,
        kept: &KeptFile<'_>,
    ) -> io::Result<()> {
        let (folder, name) = self.parent(place)?;
        match unistd::linkat(&*folder, name, kept.folder, kept.name, LinkatFlags::empty()) {
            Err(Errno::EXDEV | Errno::EPERM | Errno::EMLINK) => {}
            other => return Ok(other?),
        }
        match entry {
            TreeEntry::File(file) => {
                let mut from = self.open_file(&folder, name)?;
                copy(&mut from, kept.folder, kept.name, file)
            }
            TreeEntry::Link(target) => {
                Ok(unistd::symlinkat(target.as_str(), kept.folder, kept.name)?)
            }
            _ => Ok(()),
        }
    }

    /// Removes what is at a path, unless it is a folder with content.
    ///
    /// # Errors
    /// When the system refuses. A missing path is no error.
    pub(in crate::apply) fn remove(&self, place: &TreePath) -> io::Result<()> {
        let (folder, name) = match self.parent(place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        self.forget();
        match unistd::unlinkat(&*folder, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(Errno::EISDIR) => Ok(unistd::unlinkat(&*folder, name, UnlinkatFlags::RemoveDir)?),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the temporary file that an interrupted write left beside a path.
    pub(in crate::apply) fn sweep(&self, place: &TreePath, beside: &str) {
        if let Ok((folder, _)) = self.parent(place) {
            let _ = unistd::unlinkat(&*folder, beside, UnlinkatFlags::NoRemoveDir);
        }
    }

    /// Creates a folder.
    ///
    /// # Errors
    /// When the system refuses. A folder that exists is no error.
    pub(in crate::apply) fn make_folder(
        &self,
        place: &TreePath,
        owner: (u32, u32),
        mode: u32,
    ) -> io::Result<()> {
        let (folder, name) = self.parent(place)?;
        self.forget();
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

    /// Syncs the file system of the folder of a path.
    ///
    /// # Errors
    /// When that fails.
    pub(in crate::apply) fn sync(&self, place: &TreePath) -> io::Result<()> {
        let (folder, _) = self.parent(place)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let open = self.resolve(&folder, ".", flags, ResolveFlag::RESOLVE_BENEATH)?;
        Ok(unistd::syncfs(open.as_fd())?)
    }
}

/// Where a file is kept: a name in a folder.
#[derive(Debug)]
pub(in crate::apply) struct KeptFile<'a> {
    pub(in crate::apply) folder: &'a OwnedFd,
    pub(in crate::apply) name: &'a str,
}

/// Owner first: a change of owner clears setuid and setgid.
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
