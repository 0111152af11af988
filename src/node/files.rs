//! Files of the machine: where they are, and how they are read and written.

use std::{
    ffi::OsString,
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
};

use nix::fcntl::OFlag;

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

    /// Where a file of the machine is. Nothing leads out of the root: neither a leading `/` or a `..` of the path, nor a link
    /// in the tree, which leads where it would on the machine itself. That is looked up now: a tree in which somebody
    /// exchanges folders for links at the same time is not the machine of this program's user.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        if self.is_host() {
            // The kernel follows links, and there is nothing outside.
            return self.0.join(path.strip_prefix("/").unwrap_or(path));
        }
        let inside = within(&self.0, path);
        // What disables a file or hook, and is in no tree.
        if inside == Path::new("dev/null") {
            return "/dev/null".into();
        }
        self.0.join(inside)
    }

    /// The same file where the path was made of one of this root's, and may lead through links since.
    #[must_use]
    pub fn again(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.0) {
            Ok(inside) => self.path(inside),
            Err(_) => path.to_owned(),
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
}

/// The most links on the way to a file, as the kernel has it (path_resolution(7)).
const LINKS: usize = 40;

/// A path below the root, without links and `..`: as the kernel would find it if the root were `/`.
fn within(root: &Path, path: &Path) -> PathBuf {
    let mut at = PathBuf::new();
    let mut left: Vec<OsString> = Vec::new();
    let push = |left: &mut Vec<OsString>, path: &Path| {
        let parts = path.components().rev();
        left.extend(parts.map(|part| part.as_os_str().to_owned()));
    };
    push(&mut left, path);
    let mut links = 0;
    while let Some(part) = left.pop() {
        match Path::new(&part).components().next() {
            Some(Component::RootDir | Component::Prefix(_)) => at.clear(),
            Some(Component::ParentDir) => drop(at.pop()),
            Some(Component::Normal(name)) => match fs::read_link(root.join(&at).join(name)) {
                Ok(target) if links < LINKS => {
                    links += 1;
                    // Made from outside, with the root in its target: it means the same file.
                    match target.strip_prefix(root) {
                        Ok(inside) => {
                            at.clear();
                            push(&mut left, inside);
                        }
                        Err(_) => push(&mut left, &target),
                    }
                }
                // Beyond the limit what would be opened is a link again, which is refused as a loop.
                _ => at.push(name),
            },
            Some(Component::CurDir) | None => {}
        }
    }
    at
}

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

/// What a file holds, `most` bytes at most. Everything that is read from a disk goes through this: a file that somebody
/// spoilt must not fill the memory or keep the program from ending.
///
/// # Errors
/// When it cannot be read, is a folder, pipe, socket or block device, or holds more. `/dev/null` is welcome as empty.
pub fn read_bounded(path: &Path, most: u64) -> Result<Vec<u8>, ReadError> {
    // Looked at before it is opened: opening a pipe may wait for ever.
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(ReadError::Kind("a directory"));
    }
    if !kind.is_file() && !kind.is_char_device() {
        return Err(ReadError::Kind("a pipe, socket or device"));
    }
    let mut bytes = Vec::new();
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(path)?;
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(ReadError::Larger(most));
    }
    Ok(bytes)
}

/// The text of a small file of the machine.
///
/// # Errors
/// As [`read_bounded`], and when it is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let bytes = read_bounded(path, SMALL)?;
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "found bytes that are not UTF-8"))
}

/// Writes a file so that it holds either what it held or `bytes`, whatever happens, and survives a power cut
/// once this returns: written beside, synced, renamed, and the folder synced. The file gets `mode`.
///
/// # Errors
/// When the system refuses a step; the file is then as it was.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|f| !f.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = folder.join(name);
    let write = || {
        // One that a killed process of the same number left.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&beside)?;
        // Whatever the umask takes away.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_leads_out_of_a_root() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("etc/real")).unwrap();
        fs::create_dir_all(root.join(outside.strip_prefix("/").unwrap())).unwrap();
        fs::create_dir(&outside).unwrap();
        for (link, target) in [
            ("etc/abs", outside.as_path()),
            ("etc/up", Path::new("../../../outside")),
            ("etc/in", Path::new("/etc/real")),
            ("etc/rel", Path::new("real/../real")),
            ("etc/loop", Path::new("loop")),
            ("etc/null", Path::new("/dev/null")),
            ("etc/outer", &root.join("etc/real")),
            ("etc/dangling", Path::new("/etc/none/x")),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let machine = Root::new(&root);
        let inside = outside.strip_prefix("/").unwrap();
        for (path, found) in [
            ("/etc/x", Path::new("etc/x")),
            ("../../etc/x", Path::new("etc/x")),
            ("etc/abs/f", &inside.join("f")),
            ("etc/up/f", Path::new("outside/f")),
            ("etc/in/f", Path::new("etc/real/f")),
            ("etc/rel/f", Path::new("etc/real/f")),
            ("etc/dangling", Path::new("etc/none/x")),
            ("etc/outer/f", Path::new("etc/real/f")),
            ("", Path::new("")),
        ] {
            assert_eq!(machine.path(path), root.join(found), "{path}");
        }
        assert_eq!(machine.path("etc/null"), Path::new("/dev/null"));
        assert!(fs::read(machine.path("etc/loop")).is_err());
        let made_before = root.join("etc/in");
        assert_eq!(machine.again(&made_before), root.join("etc/real"));
        assert_eq!(Root::default().path("etc/x"), Path::new("/etc/x"));
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
        assert!(read_text(&dir.path().join("large")).is_err());
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
