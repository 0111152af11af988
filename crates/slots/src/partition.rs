//! What a slot holds now, read from the device and not from a cache.
//!
//! The page cache of a disk and those of its partitions are not the same. update_engine writes an image through the
//! partition's device. A cached read through the whole disk then returns what was there before, as long as anything, such
//! as a mounted partition of that disk, keeps the disk open (measured on Linux 6.18, docs/explanation/slots.md). So contents are read
//! through the partition's own device where the kernel has one, and always with `O_DIRECT`: that writes back what this
//! device's cache holds, and reads from the disk.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use host::node::{Root, RootPath};
use nix::{
    fcntl::OFlag,
    sys::stat::{major, makedev, minor},
};

/// What every device accepts for `O_DIRECT`: offset, length and memory are multiples of it, in bytes.
const ALIGNMENT: usize = 4096;

/// sysfs counts in these, whatever the device's own sectors are, in bytes.
const SYSFS_SECTOR: u64 = 512;

/// Where a partition lies on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The partition's number, from 1.
    pub number: u32,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
}

/// The device of a partition, where the kernel has one; `disk` is the number of the disk's device.
///
/// # Errors
/// When the kernel has this partition elsewhere on the disk than the table says, or has no device node for it: its
/// content cannot be told then.
pub fn device(root: &Root, disk: u64, extent: &Extent) -> io::Result<Option<PathBuf>> {
    let folder = root.path(format!("sys/dev/block/{}:{}", major(disk), minor(disk)));
    let names = match folder.names() {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(named(&folder.shown(), &error)),
    };
    for name in names {
        let folder = folder.join(name);
        if attribute(&folder, "partition").as_deref() != Some(&*extent.number.to_string()) {
            continue;
        }
        let bytes = |name| {
            let sectors: Option<u64> = attribute(&folder, name)?.parse().ok();
            sectors?.checked_mul(SYSFS_SECTOR)
        };
        let (start, size) = (bytes("start"), bytes("size"));
        if (start, size) != (Some(extent.offset), Some(extent.length)) {
            let shown = |bytes: Option<u64>| bytes.map_or("?".into(), |bytes| bytes.to_string());
            return Err(io::Error::other(format!(
                "the kernel has partition {} at byte {} with {} bytes, and the table has it at byte {} with {} bytes: \
                 the kernel has not read the table again (partprobe makes it)",
                extent.number,
                shown(start),
                shown(size),
                extent.offset,
                extent.length
            )));
        }
        return node(root, &folder).map(Some);
    }
    Ok(None)
}

/// The device node of the device whose folder in sysfs this is.
fn node(root: &Root, folder: &RootPath) -> io::Result<PathBuf> {
    let number = attribute(folder, "dev").unwrap_or_default();
    let expected = number
        .split_once(':')
        .and_then(|(major, minor)| Some(makedev(major.parse().ok()?, minor.parse().ok()?)));
    let name = folder.name().to_string_lossy();
    let candidates = [
        // The kernel writes ! for / in names.
        format!("dev/{}", name.replace('!', "/")),
        format!("dev/block/{number}"),
    ];
    let is_it = |path: &RootPath| {
        let found = path.metadata();
        found.is_ok_and(|m| m.file_type().is_block_device() && Some(m.rdev()) == expected)
    };
    let mut paths = candidates.iter().map(|path| root.path(path));
    match paths.find(is_it) {
        Some(path) => path.resolved(),
        None => Err(io::Error::other(format!(
            "the partition {name} has no device node: expected block device {number} at {}",
            root.path(&candidates[0])
        ))),
    }
}

fn attribute(folder: &RootPath, name: &str) -> Option<String> {
    let text = folder.join(name).read_text().ok()?;
    Some(text.trim().to_owned())
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Reads from a device past all caches, all or nothing.
///
/// # Errors
/// When the device does not give the bytes, or ends before.
pub fn read_uncached(device: &Path, offset: u64, into: &mut [u8]) -> io::Result<()> {
    let error = |error: io::Error| named(device, &error);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_DIRECT.bits())
        .open(device)
        .map_err(error)?;
    let align = ALIGNMENT as u64;
    let start = offset / align * align;
    let skip = usize::try_from(offset - start).expect("less than the alignment");
    let length = (skip + into.len()).next_multiple_of(ALIGNMENT);
    let mut memory = vec![0; length + ALIGNMENT];
    let shift = memory.as_ptr().align_offset(ALIGNMENT);
    let aligned = &mut memory[shift..shift + length];
    // The device may end within the last block.
    let read = fill(&file, start, aligned).map_err(error)?;
    if read < skip + into.len() {
        return Err(error(io::ErrorKind::UnexpectedEof.into()));
    }
    into.copy_from_slice(&aligned[skip..skip + into.len()]);
    Ok(())
}

/// Reads until all is read or the device ends; how much was read.
fn fill(file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < into.len() {
        match file.read_at(&mut into[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        // A short read is the end of the device: what follows would not be aligned any more.
        if read % ALIGNMENT != 0 {
            break;
        }
    }
    Ok(read)
}
