//! Where tables lie: a disk or an image file, and what stands for one in tests.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use host::{node::Root, remedy::Remedy};
use nix::{
    fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg},
    unistd::{AccessFlags, faccessat},
};

use super::{
    partition::{self, Extent},
    write::Step,
};

/// Sectors to read, write and sync.
pub trait Storage {
    /// The size of a sector in bytes.
    fn sector(&self) -> u64;
    /// The size of it all in bytes.
    fn size(&self) -> u64;
    /// Reads from this offset, all or nothing.
    ///
    /// # Errors
    /// When the disk does not give the bytes.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()>;
    /// Reads what a partition holds now, from this offset within it, all or nothing: never from a cache that others bypass.
    ///
    /// # Errors
    /// When the disk does not give the bytes, or it is not known through which device others write them.
    fn read_partition(&mut self, partition: &Extent, from: u64, into: &mut [u8]) -> io::Result<()> {
        self.read(partition.offset + from, into)
    }
    /// The device of a partition; none where the storage is an image, or the kernel has none.
    fn device(&self, _partition: &Extent) -> Option<PathBuf> {
        None
    }
    /// Whether it could be written, as far as that is known without writing.
    ///
    /// # Errors
    /// When it could not: why.
    fn writable(&self) -> io::Result<()> {
        Ok(())
    }
    /// Writes at this offset; the bytes may reach the disk at any time until [`Self::sync`] returns.
    ///
    /// # Errors
    /// When the disk does not take the bytes.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Waits until all that was written is on the disk.
    ///
    /// # Errors
    /// When it is not.
    fn sync(&mut self) -> io::Result<()>;
}

/// Writes the steps, each on the disk before the next one begins.
///
/// # Errors
/// At the first write or sync the disk refuses; the steps before it are on the disk.
pub fn apply(storage: &mut dyn Storage, steps: &[Step]) -> io::Result<()> {
    for step in steps {
        for write in step {
            storage.write(write.offset, &write.bytes)?;
        }
        storage.sync()?;
    }
    Ok(())
}

/// Why a disk cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The system refuses.
    #[error("{}: {error}", path.display())]
    Open {
        /// The disk.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// It is no disk.
    #[error("{}: found {found}, expected a disk or an image file", path.display())]
    NoDisk {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Another program holds it.
    #[error("{}: another program has held its lock for {} s", path.display(), PATIENCE.as_secs())]
    Locked {
        /// The disk.
        path: PathBuf,
    },
}

impl DiskError {
    /// What a person can do about it, where that is known.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Locked { path } => Some(Remedy::new(
                "see which one",
                format!("fuser -v {}", path.display()),
            )),
            Self::Open { .. } | Self::NoDisk { .. } => None,
        }
    }
}

/// How long another program may hold the lock: udev and partitioning tools do, for moments.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is to be done with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read its table.
    Read,
    /// Change it.
    Write,
}

/// A disk or image file, locked as long as this lives: the whole disk, as systemd's "Locking Block Device Access" asks
/// of programs, shared for reading and alone for writing.
#[derive(Debug)]
pub struct Disk {
    file: Flock<File>,
    path: PathBuf,
    sector: u64,
    size: u64,
    device: Option<Device>,
}

/// The block device that a disk is, where it is no image file.
#[derive(Debug)]
struct Device {
    root: Root,
    number: u64,
}

impl Disk {
    /// Opens and locks it.
    ///
    /// # Errors
    /// When it cannot be opened, is no disk, or another program holds it for long.
    pub fn open(root: &Root, path: &Path, access: Access) -> Result<Self, DiskError> {
        let failed = |error: io::Error| DiskError::Open {
            path: path.to_owned(),
            error,
        };
        // Looked at first: opening a pipe may wait for ever.
        let metadata = path.metadata().map_err(failed)?;
        let kind = metadata.file_type();
        let device = kind.is_block_device().then(|| Device {
            root: root.clone(),
            number: metadata.rdev(),
        });
        if device.is_none() && !kind.is_file() {
            return Err(DiskError::NoDisk {
                path: path.to_owned(),
                found: if kind.is_dir() {
                    "a directory"
                } else {
                    "a pipe, socket or other device"
                },
            });
        }
        let file = OpenOptions::new()
            .read(true)
            .write(access == Access::Write)
            .open(path)
            .map_err(failed)?;
        let mut file = lock(file, access, path)?;
        let size = io::Seek::seek(&mut *file, io::SeekFrom::End(0)).map_err(failed)?;
        let sector = match &device {
            Some(device) => sector_of_device(root, device.number).map_err(failed)?,
            None => sector_of_image(&file, size),
        };
        Ok(Self {
            file,
            path: path.to_owned(),
            sector,
            size,
            device,
        })
    }
}

fn lock(mut file: File, access: Access, path: &Path) -> Result<Flock<File>, DiskError> {
    let how = match access {
        Access::Read => FlockArg::LockSharedNonblock,
        Access::Write => FlockArg::LockExclusiveNonblock,
    };
    let until = Instant::now() + PATIENCE;
    loop {
        match Flock::lock(file, how) {
            Ok(locked) => return Ok(locked),
            Err((again, nix::errno::Errno::EWOULDBLOCK)) if Instant::now() < until => file = again,
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                let path = path.to_owned();
                return Err(DiskError::Locked { path });
            }
            Err((_, errno)) => {
                let (path, error) = (path.to_owned(), errno.into());
                return Err(DiskError::Open { path, error });
            }
        }
        // There is no event for a lock that becomes free, but to wait for it without end.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the kernel takes no writes to the device.
fn read_only(root: &Root, device: u64) -> bool {
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let path = root.path(format!("sys/dev/block/{major}:{minor}/ro"));
    path.read_text().is_ok_and(|text| text.trim() == "1")
}

/// The logical size, as the kernel has it in sysfs.
fn sector_of_device(root: &Root, device: u64) -> io::Result<u64> {
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let path = root.path(format!(
        "sys/dev/block/{major}:{minor}/queue/logical_block_size"
    ));
    let text = path
        .read_text()
        .map_err(|error| io::Error::other(format!("{path}: {error}")))?;
    match text.trim().parse() {
        Ok(sector @ 512..=65536) => Ok(sector),
        _ => Err(io::Error::other(format!(
            "{path}: found {text:?}, expected a size"
        ))),
    }
}

/// An image does not say it: the header is in the second sector of whatever size, or at its end.
fn sector_of_image(file: &File, size: u64) -> u64 {
    let has_header = |offset: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, offset).is_ok() && &bytes == b"EFI PART"
    };
    [512, 4096]
        .into_iter()
        .find(|sector| has_header(*sector))
        .or_else(|| {
            // Of a larger sector's last one the beginning is further from the end.
            [512, 4096]
                .into_iter()
                .find(|sector| size >= *sector && has_header(size / sector * sector - sector))
        })
        .unwrap_or(512)
}

impl Storage for Disk {
    fn sector(&self) -> u64 {
        self.sector
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }

    fn read_partition(&mut self, partition: &Extent, from: u64, into: &mut [u8]) -> io::Result<()> {
        let offset = partition.offset + from;
        let Some(disk) = &self.device else {
            // All who open a file share one cache.
            return self.read(offset, into);
        };
        match partition::device(&disk.root, disk.number, partition)? {
            Some(device) => partition::read_uncached(&device, from, into),
            None => partition::read_uncached(&self.path, offset, into),
        }
    }

    fn writable(&self) -> io::Result<()> {
        // Opening it to write would have udev look at all of the disk again.
        if let Some(disk) = &self.device
            && read_only(&disk.root, disk.number)
        {
            return Err(io::Error::new(
                io::ErrorKind::ReadOnlyFilesystem,
                "the device is read-only",
            ));
        }
        faccessat(
            AT_FDCWD,
            &*self.path,
            AccessFlags::W_OK,
            AtFlags::AT_EACCESS,
        )?;
        Ok(())
    }

    fn device(&self, partition: &Extent) -> Option<PathBuf> {
        let disk = self.device.as_ref()?;
        partition::device(&disk.root, disk.number, partition).ok()?
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}
