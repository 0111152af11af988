//! A disk image as a block device, with a device for each partition, as a real disk has them: the page cache of the disk
//! and those of its partitions are not the same.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use nix::sys::stat;
use tempfile::TempDir;

use crate::scratch;

/// Of each file system: images of one version are the same on all nodes.
const UUID: &str = "b4d1c0de-0000-4000-8000-000000000001";

/// A loop device over an image. Dropping it unmounts and detaches it.
#[derive(Debug)]
pub struct BlockDevice {
    path: PathBuf,
    mount: TempDir,
    mounted: Mutex<bool>,
}

impl BlockDevice {
    /// Attaches the image, and has the kernel make the devices of its partitions.
    pub(super) fn attach(image: &Path) -> Self {
        sweep();
        let path = run(Command::new("losetup")
            .args(["--find", "--show"])
            .arg(image));
        let path = PathBuf::from(path.trim());
        // A loop device that was made read-only stays so when it is detached.
        run(Command::new("blockdev").arg("--setrw").arg(&path));
        // One of a killed test may have left partitions as well.
        let _ = Command::new("partx").arg("--delete").arg(&path).output();
        // Kernels without GPT support make no partition devices by themselves.
        run(Command::new("partx").arg("--add").arg(&path));
        Self {
            path,
            mount: scratch::dir("slot"),
            mounted: Mutex::new(false),
        }
    }

    /// The device of the disk.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The device of a partition.
    pub fn partition(&self, number: u32) -> PathBuf {
        format!("{}p{number}", self.path.display()).into()
    }

    /// The device's name, such as `loop3`, or that of a partition, such as `loop3p4`.
    pub fn name(&self, partition: Option<u32>) -> String {
        let name = self.path.file_name().expect("a device has a name");
        let name = name.to_string_lossy();
        partition.map_or(name.to_string(), |number| format!("{name}p{number}"))
    }

    /// The folder of the disk in the kernel's sysfs, or of one of its partitions.
    pub fn sysfs(&self, partition: Option<u32>) -> PathBuf {
        let disk = Path::new("/sys/block").join(self.name(None));
        partition.map_or(disk.clone(), |_| disk.join(self.name(partition)))
    }

    /// The numbers of the device, or of one of its partitions: `major:minor`.
    pub fn number(&self, partition: Option<u32>) -> String {
        let path = self.sysfs(partition).join("dev");
        let text = fs::read_to_string(&path);
        let text = text.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        text.trim().to_owned()
    }

    /// Makes a file system on a partition, the same each time; the first KiB is left to the caller.
    pub(super) fn format(&self, number: u32) {
        let device = self.partition(number);
        run(Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-O", "^has_journal"])
            .args(["-U", UUID, "-E", &format!("hash_seed={UUID}")])
            .arg(device)
            .env("E2FSPROGS_FAKE_TIME", "1700000000"));
    }

    /// Mounts a partition read-only, in place of the one mounted before.
    pub(super) fn mount(&self, number: u32) {
        self.unmount();
        run(Command::new("mount")
            .args(["-t", "ext4", "-o", "ro"])
            .arg(self.partition(number))
            .arg(self.mount.path()));
        *self.mounted.lock().expect("not poisoned") = true;
    }

    fn unmount(&self) {
        if std::mem::take(&mut *self.mounted.lock().expect("not poisoned")) {
            run(Command::new("umount").arg(self.mount.path()));
        }
    }
}

impl Drop for BlockDevice {
    fn drop(&mut self) {
        self.unmount();
        let _ = Command::new("partx")
            .arg("--delete")
            .arg(&self.path)
            .output();
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.path)
            .output();
    }
}

/// The device of a disk's partition, where the disk is a block device and the kernel has one.
pub(super) fn partition(disk: &Path, number: u32) -> Option<PathBuf> {
    let disk = fs::metadata(disk).ok()?;
    if !disk.file_type().is_block_device() {
        return None;
    }
    let (major, minor) = (stat::major(disk.rdev()), stat::minor(disk.rdev()));
    let folder = fs::read_dir(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let is_it = |path: &Path| {
        let found = fs::read_to_string(path.join("partition"));
        found.is_ok_and(|text| text.trim() == number.to_string())
    };
    let mut entries = folder.flatten();
    let found = entries.find(|entry| is_it(&entry.path()))?;
    let device = Path::new("/dev").join(found.file_name());
    device.exists().then_some(device)
}

/// Detaches what test processes that were killed have left: their images are gone.
fn sweep() {
    for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let backing =
            fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        if backing.contains("pointsman-testbed-") && backing.trim_end().ends_with("(deleted)") {
            let device = Path::new("/dev").join(entry.file_name());
            let _ = Command::new("partx").arg("--delete").arg(&device).output();
            let _ = Command::new("losetup")
                .arg("--detach")
                .arg(&device)
                .output();
        }
    }
}

/// Runs a tool to its end; what it printed.
fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?} (as root): {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
