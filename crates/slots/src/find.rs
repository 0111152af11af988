//! Which disk has the slots, and which slot runs: from what is mounted on /usr or /, through device mapper and
//! partition to the disk.

use std::{io, path::PathBuf};

use host::node::{Root, RootPath};

/// The most a list of mounts holds, in bytes: a machine with containers has thousands.
const MOUNTS: u64 = 64 << 20;

/// A partition of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The disk's device.
    pub disk: PathBuf,
    /// The partition's number.
    pub partition: u32,
}

/// Why they were not found.
#[derive(Debug, thiserror::Error)]
#[error(
    "the disk with the slots was not found: {why}; give it with --disk DEVICE and --booted SLOT"
)]
pub struct FindError {
    why: String,
}

fn error(why: impl Into<String>) -> FindError {
    FindError { why: why.into() }
}

/// Finds the partition that the system was booted from.
///
/// # Errors
/// When what is mounted is no partition of one disk.
pub fn find(root: &Root) -> Result<Found, FindError> {
    let mounts = root.path("proc/self/mountinfo");
    let text = mounts
        .read_bounded(MOUNTS)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .map_err(|e| error(format!("{mounts}: {e}")))?;
    let (place, mut device) = ["/usr", "/"]
        .into_iter()
        .find_map(|place| mounted(&text, place).map(|device| (place, device)))
        .ok_or_else(|| error("nothing is mounted on /usr or /"))?;
    // A few layers at most: verity over a partition, LUKS over LVM over it.
    for _ in 0..16 {
        let folder = root.path(format!("sys/dev/block/{device}"));
        if device.starts_with("0:") || !folder.exists() {
            return Err(error(format!(
                "{place} is not on a block device (device {device})"
            )));
        }
        if let Ok(number) = folder.join("partition").read_text() {
            let number = number.trim();
            // A partition's folder lies in its disk's.
            let disk = folder
                .real()
                .ok()
                .and_then(|path| Some(path.parent()?.file_name()?.to_owned()))
                .ok_or_else(|| error(format!("{folder} has no disk")))?;
            let partition = number
                .parse()
                .map_err(|_| error(format!("partition: found {number:?}, expected a number")))?;
            // The kernel writes ! for / in names.
            let name = disk.to_string_lossy().replace('!', "/");
            let disk = root.path("dev").join(name);
            let disk = disk.resolved().map_err(|e| error(format!("{disk}: {e}")))?;
            return Ok(Found { disk, partition });
        }
        device = below(&folder)
            .map_err(|e| error(format!("{folder}: {e}")))?
            .ok_or_else(|| error(format!("{place} is on a whole disk, or on several")))?;
    }
    Err(error(format!("{place} is on too many layers of devices")))
}

/// The device (`major:minor`) mounted there; of several mounts on one place the last one is seen.
fn mounted(mounts: &str, place: &str) -> Option<String> {
    // proc_pid_mountinfo(5): id, parent, major:minor, root, mount point, …
    let mut found = None;
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').take(5).collect();
        if let [_, _, device, _, point] = fields[..]
            && point == place
        {
            found = Some(device.to_owned());
        }
    }
    found
}

/// The one device a mapped device lies on; none where it is no mapped device, or lies on several.
fn below(folder: &RootPath) -> io::Result<Option<String>> {
    let slaves = folder.join("slaves");
    let names = match slaves.names() {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut devices: Vec<String> = names
        .into_iter()
        .filter_map(|slave| slaves.join(slave).join("dev").read_text().ok())
        .map(|device| device.trim().to_owned())
        .collect();
    devices.dedup();
    Ok(match devices.as_slice() {
        [one] => Some(one.clone()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// A machine with /usr on verity over the fourth partition of its NVMe disk, and / in memory.
    fn machine(mounts: &str) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/self/mountinfo", mounts);
        write("sys/devices/pci/nvme0n1/dev", "259:0\n");
        write("sys/devices/pci/nvme0n1/nvme0n1p4/dev", "259:4\n");
        write("sys/devices/pci/nvme0n1/nvme0n1p4/partition", "4\n");
        write("sys/devices/pci/ida!c0d0/ida!c0d0p3/partition", "3\n");
        for dm in ["dm-0", "dm-1"] {
            fs::create_dir_all(dir.path().join(format!("sys/devices/virtual/{dm}/slaves")))
                .unwrap();
        }
        let link = |from: &str, to: &str| {
            let from = dir.path().join(from);
            fs::create_dir_all(from.parent().unwrap()).unwrap();
            symlink(format!("/{to}"), from).unwrap();
        };
        let disk = "sys/devices/pci/nvme0n1";
        link("sys/dev/block/259:0", disk);
        link("sys/dev/block/259:4", &format!("{disk}/nvme0n1p4"));
        link("sys/dev/block/72:3", "sys/devices/pci/ida!c0d0/ida!c0d0p3");
        for (dm, name) in [("254:0", "dm-0"), ("254:1", "dm-1")] {
            link(
                &format!("sys/dev/block/{dm}"),
                &format!("sys/devices/virtual/{name}"),
            );
        }
        link(
            "sys/devices/virtual/dm-0/slaves/nvme0n1p4",
            &format!("{disk}/nvme0n1p4"),
        );
        for slave in ["nvme0n1", "nvme0n1p4"] {
            let to = if slave == "nvme0n1" {
                disk.to_owned()
            } else {
                format!("{disk}/{slave}")
            };
            link(&format!("sys/devices/virtual/dm-1/slaves/{slave}"), &to);
        }
        (dir, root)
    }

    #[test]
    fn the_disk_is_found_through_what_lies_on_it() {
        for (mounts, disk, partition) in [
            (
                "1 0 0:2 / / rw - rootfs\n2 1 254:0 / /usr ro - ext4 /dev/mapper/usr",
                "nvme0n1",
                4,
            ),
            ("1 0 259:4 / / rw - ext4 x", "nvme0n1", 4),
            ("1 0 72:3 / / rw - ext4 x", "ida/c0d0", 3),
            // What is mounted over counts.
            (
                "1 0 72:3 / / rw - x x\n2 1 0:9 / /usr rw - x x\n3 1 259:4 / /usr rw - x x",
                "nvme0n1",
                4,
            ),
        ] {
            let (dir, root) = machine(mounts);
            let disk = dir.path().join("dev").join(disk);
            assert_eq!(find(&root).unwrap(), Found { disk, partition }, "{mounts}");
        }
    }

    #[test]
    fn path_that_is_no_partition_is_named() {
        for (mounts, words) in [
            ("", "nothing is mounted on /usr or /"),
            (
                "1 0 0:20 / / rw - overlay o",
                "/ is not on a block device (device 0:20)",
            ),
            (
                "1 0 8:77 / / rw - ext4 x",
                "not on a block device (device 8:77)",
            ),
            (
                "1 0 259:0 / / rw - ext4 x",
                "on a whole disk, or on several",
            ),
            (
                "1 0 254:1 / / rw - ext4 x",
                "on a whole disk, or on several",
            ),
        ] {
            let (_dir, root) = machine(mounts);
            let error = find(&root).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("--disk"), "{error}");
        }
        let error = find(&Root::new("/nowhere")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/proc/self/mountinfo"), "{error}");
    }
}
