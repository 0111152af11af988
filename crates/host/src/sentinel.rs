//! Files whose existence means that a reboot is wanted, such as `/run/reboot-required`, for nodes without update_engine.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd, RawFd},
    path::{Path, PathBuf, absolute},
};

use futures_util::{FutureExt as _, future::select_all};
use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor},
};
use tokio::io::unix::AsyncFd;

use crate::node::RootPath;

/// The file cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch whether {} exists: {error}", path.display())]
pub struct SentinelError {
    path: PathBuf,
    error: io::Error,
}

/// Watches whether a file exists, by inotify(7). Neither the file nor its folder need exist.
#[derive(Debug)]
pub struct Sentinel {
    path: PathBuf,
    /// Whether it existed when this was last told.
    told: bool,
    inotify: AsyncFd<Fd>,
    /// The nearest folder above that exists.
    watched: Option<WatchDescriptor>,
}

#[derive(Debug)]
struct Fd(Inotify);

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Sentinel {
    /// Watches this file. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses, such as for too many inotify instances.
    pub fn new(path: &RootPath) -> Result<Self, SentinelError> {
        let start = || {
            // Of the file itself a link counts, wherever it leads.
            let path = absolute(path.parent().resolved()?.join(path.name()))?;
            let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
            #[expect(
                deprecated,
                reason = "its successor is unsafe; `Fd` keeps the same descriptor open as long as it lives"
            )]
            let inotify = AsyncFd::new(Fd(inotify))?;
            let mut sentinel = Self {
                told: false,
                inotify,
                watched: None,
                path,
            };
            sentinel.arm()?;
            sentinel.told = sentinel.exists();
            Ok(sentinel)
        };
        start().map_err(|error| SentinelError {
            path: path.shown(),
            error,
        })
    }

    /// Whether it exists now; a link counts, wherever it leads. What cannot be looked at counts as not existing.
    #[must_use]
    pub fn exists(&self) -> bool {
        there(&self.path)
    }

    /// Waits until it exists, or no longer exists, other than when this last returned (or the watch began), and
    /// returns whether it does. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// When the system refuses to watch any more.
    pub async fn changed(&mut self) -> Result<bool, SentinelError> {
        let path = self.path.clone();
        self.next()
            .await
            .map_err(|error| SentinelError { path, error })
    }

    async fn next(&mut self) -> io::Result<bool> {
        loop {
            self.arm()?;
            let exists = self.exists();
            if exists != self.told {
                self.told = exists;
                return Ok(exists);
            }
            let mut ready = self.inotify.readable().await?;
            // What happened does not matter: the look above, after this, sees all of it.
            loop {
                match ready.get_inner().0.read_events() {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => break ready.clear_ready(),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    /// Watches the nearest folder above the file that exists.
    fn arm(&mut self) -> io::Result<()> {
        let inotify = &self.inotify.get_ref().0;
        let flags = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        'again: loop {
            let mut below: Option<&Path> = None;
            for folder in self.path.ancestors().skip(1) {
                let watch = match inotify.add_watch(folder, flags) {
                    Err(Errno::ENOENT | Errno::ENOTDIR) => {
                        below = Some(folder);
                        continue;
                    }
                    watch => watch?,
                };
                if let Some(old) = self.watched.replace(watch)
                    && old != watch
                {
                    // The kernel has already dropped it where the folder is gone.
                    let _ = inotify.rm_watch(old);
                }
                // Made before the watch began: nothing would tell.
                if below.is_some_and(Path::is_dir) {
                    continue 'again;
                }
                return Ok(());
            }
            return Err(Errno::ENOENT.into());
        }
    }
}

/// Watches whether any of some files exists.
#[derive(Debug)]
pub struct Sentinels {
    files: Vec<Sentinel>,
    /// Whether one existed when this was last told.
    told: bool,
}

impl Sentinels {
    /// Watches these files. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// As [`Sentinel::new`].
    pub fn new(paths: &[RootPath]) -> Result<Self, SentinelError> {
        let files: Vec<Sentinel> = paths.iter().map(Sentinel::new).collect::<Result<_, _>>()?;
        let told = files.iter().any(Sentinel::exists);
        Ok(Self { files, told })
    }

    /// Whether one of them exists now.
    #[must_use]
    pub fn exist(&self) -> bool {
        self.files.iter().any(Sentinel::exists)
    }

    /// Waits until one exists, or none exists any more, other than when this last returned (or the watch began), and
    /// returns whether one does. Nothing is lost when the future is dropped. There must be at least one file.
    ///
    /// # Errors
    /// As [`Sentinel::changed`].
    pub async fn changed(&mut self) -> Result<bool, SentinelError> {
        loop {
            let each = self.files.iter_mut().map(|file| file.changed().boxed());
            select_all(each).await.0?;
            let exist = self.exist();
            if std::mem::replace(&mut self.told, exist) != exist {
                return Ok(exist);
            }
        }
    }
}

fn there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    /// What `changed` tells of what happens while it waits.
    async fn told(sentinel: &mut Sentinel, happens: impl FnOnce()) -> bool {
        let waiting = async {
            let changed = sentinel.changed();
            tokio::pin!(changed);
            // Waits before it happens.
            assert!((&mut changed).now_or_never().is_none());
            happens();
            changed.await.unwrap()
        };
        tokio::time::timeout(Duration::from_secs(20), waiting)
            .await
            .expect("a change is told")
    }

    #[tokio::test]
    async fn sentinel_file_is_seen_when_created_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reboot-required");
        let mut sentinel = Sentinel::new(&RootPath::named(&path)).unwrap();
        assert!(!sentinel.exists());
        for _ in 0..2 {
            assert!(told(&mut sentinel, || fs::write(&path, "").unwrap()).await);
            assert!(sentinel.exists());
            assert!(!told(&mut sentinel, || fs::remove_file(&path).unwrap()).await);
        }
        let beside = dir.path().join("beside");
        fs::write(&beside, "").unwrap();
        assert!(told(&mut sentinel, || fs::rename(&beside, &path).unwrap()).await);
        assert!(!told(&mut sentinel, || fs::rename(&path, &beside).unwrap()).await);
    }

    #[tokio::test]
    async fn sentinel_file_is_seen_in_folders_created_later() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("a/b"));
        let path = b.join("reboot-required");
        let mut sentinel = Sentinel::new(&RootPath::named(&path)).unwrap();
        let make = || {
            fs::create_dir_all(&b).unwrap();
            fs::write(&path, "").unwrap();
        };
        for _ in 0..2 {
            assert!(told(&mut sentinel, make).await);
            assert!(!told(&mut sentinel, || fs::remove_dir_all(&a).unwrap()).await);
        }
        // One folder after the other, each seen on its own.
        for folder in [&a, &b] {
            let waiting = sentinel.changed();
            tokio::pin!(waiting);
            assert!((&mut waiting).now_or_never().is_none());
            fs::create_dir(folder).unwrap();
        }
        assert!(told(&mut sentinel, || fs::write(&path, "").unwrap()).await);
        // The folder makes way for another.
        let aside = dir.path().join("aside");
        assert!(!told(&mut sentinel, || fs::rename(&b, &aside).unwrap()).await);
        assert!(told(&mut sentinel, make).await);
    }

    #[tokio::test]
    async fn several_sentinels_signal_the_first_that_appears_and_the_last_that_goes() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| dir.path().join(name));
        let mut sentinels = Sentinels::new(&paths.each_ref().map(RootPath::named)).unwrap();
        assert!(!sentinels.exist());
        fs::write(&paths[1], "").unwrap();
        assert!(sentinels.changed().await.unwrap());
        // A second that comes, and the first that goes, change nothing.
        fs::write(&paths[0], "").unwrap();
        assert!(sentinels.changed().now_or_never().is_none());
        fs::remove_file(&paths[1]).unwrap();
        assert!(sentinels.changed().now_or_never().is_none());
        assert!(sentinels.exist());
        fs::remove_file(&paths[0]).unwrap();
        assert!(!sentinels.changed().await.unwrap());
        // One that was there from the beginning.
        fs::write(&paths[0], "").unwrap();
        let mut sentinels = Sentinels::new(&paths.each_ref().map(RootPath::named)).unwrap();
        fs::remove_file(&paths[0]).unwrap();
        assert!(!sentinels.changed().await.unwrap());
    }

    #[tokio::test]
    async fn sentinel_signals_only_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reboot-required");
        fs::write(&path, "").unwrap();
        let mut sentinel = Sentinel::new(&RootPath::named(&path)).unwrap();
        let gone = told(&mut sentinel, || {
            // Gone and back is no change.
            fs::remove_file(&path).unwrap();
            fs::write(&path, "again").unwrap();
            fs::write(dir.path().join("other"), "").unwrap();
            fs::remove_file(&path).unwrap();
        });
        assert!(!gone.await);
        // What happened between two waits is told by the second.
        fs::write(&path, "").unwrap();
        assert!(sentinel.changed().await.unwrap());
    }
}
