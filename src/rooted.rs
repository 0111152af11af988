//! Files of a machine below its root, by paths that cannot leave it: a link leads where it would lead on the machine
//! itself (openat2(2), `RESOLVE_IN_ROOT`).

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{self, OFlag, OpenHow, ResolveFlag},
    sys::stat::{self, Mode},
    unistd::{self, UnlinkatFlags},
};

use crate::node::Root;

/// A folder, to be named in further calls only.
const FOLDER: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);

impl Root {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// When it is not there or cannot be opened.
    pub fn open_inside(&self, path: &str) -> io::Result<File> {
        Ok(self.inside(path, OFlag::O_RDONLY)?.into())
    }

    /// What a file holds.
    ///
    /// # Errors
    /// When it cannot be read, or holds more than so many bytes.
    pub fn read_inside(&self, path: &str, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_inside(path)?
            .take(most + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            let text = format!("found more than {most} bytes, expected at most that");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        Ok(bytes)
    }

    /// Whether there is something at a path.
    #[must_use]
    pub fn exists_inside(&self, path: &str) -> bool {
        self.inside(path, OFlag::O_PATH).is_ok()
    }

    /// Writes a file as [`crate::node::write_atomic`] does, and makes the folders on the way.
    ///
    /// # Errors
    /// When the system refuses a step; the file is then as it was.
    pub fn write_inside(&self, path: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = self.make_inside(folder)?;
        let beside = format!("{name}.{}.new", std::process::id());
        let remove = || unistd::unlinkat(&folder, beside.as_str(), UnlinkatFlags::NoRemoveDir);
        let write = || {
            // One that a killed process of the same number left.
            match remove() {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = OFlag::O_WRONLY
                | OFlag::O_CREAT
                | OFlag::O_EXCL
                | OFlag::O_NOFOLLOW
                | OFlag::O_CLOEXEC;
            let file = fcntl::openat(&folder, beside.as_str(), flags, Mode::S_IRUSR)?;
            // Whatever the umask takes away.
            stat::fchmod(&file, Mode::from_bits_truncate(mode))?;
            let mut file = File::from(file);
            file.write_all(bytes)?;
            file.sync_all()?;
            fcntl::renameat(&folder, beside.as_str(), &folder, name)?;
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            unistd::fsync(fcntl::openat(&folder, ".", flags, Mode::empty())?)?;
            io::Result::Ok(())
        };
        write().inspect_err(|_| {
            let _ = remove();
        })
    }

    /// Takes a file away. Nothing there is no error.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn remove_inside(&self, path: &str) -> io::Result<()> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = match self.inside(folder, FOLDER) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        match unistd::unlinkat(&folder, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The folder of this path, made as needed.
    fn make_inside(&self, path: &str) -> io::Result<OwnedFd> {
        let mut whole = String::new();
        let mut folder = self.inside("", FOLDER)?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            whole = format!("{whole}/{part}");
            folder = match self.inside(&whole, FOLDER) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let mode = Mode::from_bits_truncate(0o755);
                    match stat::mkdirat(&folder, part, mode) {
                        Ok(()) | Err(Errno::EEXIST) => self.inside(&whole, FOLDER)?,
                        Err(error) => return Err(error.into()),
                    }
                }
                other => other?,
            };
        }
        Ok(folder)
    }

    fn inside(&self, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
        let flags = flags | OFlag::O_CLOEXEC;
        let root = fcntl::open(self.folder(), FOLDER | OFlag::O_CLOEXEC, Mode::empty())?;
        let path = match path.trim_start_matches('/') {
            "" => Path::new("."),
            path => Path::new(path),
        };
        let how = OpenHow::new()
            .flags(flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        // Somebody renames folders meanwhile: the kernel cannot say that `..` stayed inside.
        for _ in 0..32 {
            match fcntl::openat2(&root, path, how) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                other => return Ok(other?),
            }
        }
        Err(Errno::EAGAIN.into())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn no_link_leads_out_of_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir_all(dir.path().join("root/etc")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "no").unwrap();
        let root = Root::new(dir.path().join("root"));
        symlink(&outside, dir.path().join("root/var")).unwrap();
        symlink("../../../outside", dir.path().join("root/run")).unwrap();
        symlink(outside.join("secret"), dir.path().join("root/etc/file")).unwrap();
        for path in ["/var/secret", "run/secret", "etc/file"] {
            let error = root.read_inside(path, 10).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{path}");
            assert!(!root.exists_inside(path));
        }
        // A link to nowhere is no folder.
        assert!(root.write_inside("/var/lib/x", b"a", 0o600).is_err());
        root.write_inside("/etc/file", b"ours", 0o600).unwrap();
        assert_eq!(root.read_inside("/etc/file", 4).unwrap(), b"ours");
        assert_eq!(fs::read(outside.join("secret")).unwrap(), b"no");
        let error = root.read_inside("etc/file", 3).unwrap_err().to_string();
        assert!(error.contains("more than 3 bytes"), "{error}");
        root.write_inside("srv/deep/er", b"x", 0o640).unwrap();
        root.remove_inside("/srv/deep/er").unwrap();
        root.remove_inside("/srv/deep/er").unwrap();
        root.remove_inside("/none/x").unwrap();
        assert!(!root.exists_inside("srv/deep/er") && root.exists_inside("srv/deep"));
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }
}
