//! A machine's disk with two slots, as the kernel shows it, and its boot loader: `slots next --boot`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Node;
use crate::disk::{DiskImage, Slot};

/// Of an image that stands for a disk; its partitions are numbered from here.
const MAJOR: u32 = 252;

/// The slots' partitions.
const PARTITIONS: [u32; 2] = [3, 4];

impl Node {
    /// Gives the machine a disk whose slot A holds this version, good and running, and whose slot B is empty.
    pub fn add_disk(&self, version: &str) -> DiskImage {
        let disk = DiskImage::new(&self.path("disk.img"), version);
        for number in PARTITIONS {
            let name = format!("vda{number}");
            self.write(
                &format!("sys/devices/vda/{name}/partition"),
                &format!("{number}\n"),
            );
            self.link(
                &format!("sys/dev/block/{MAJOR}:{number}"),
                &format!("../../devices/vda/{name}"),
            );
        }
        self.link("dev/vda", "../disk.img");
        self.runs_on(disk)
    }

    /// Like [`Self::add_disk`], with a real block device (as root): the kernel has devices for its partitions, and the slot
    /// that runs is mounted.
    pub fn add_block_disk(&self, version: &str) -> DiskImage {
        let image = DiskImage::new(&self.path("disk.img"), version);
        let disk = image.attached();
        let block = disk.block().expect("it was attached");
        // What the agent sees of sysfs and of /dev lies below its root, under the kernel's own numbers.
        let dev = DevFolder::mount(&self.path("dev"));
        for partition in [None, Some(3), Some(4)] {
            let name = block.name(partition);
            let folder = match partition {
                None => format!("sys/devices/{name}"),
                Some(_) => format!("sys/devices/{}/{name}", block.name(None)),
            };
            let files: &[&str] = match partition {
                None => &["dev", "queue/logical_block_size"],
                Some(_) => &["dev", "partition", "start", "size"],
            };
            for file in files {
                let path = block.sysfs(partition).join(file);
                let text = fs::read_to_string(&path);
                let text = text.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                self.write(&format!("{folder}/{file}"), &text);
            }
            let number = block.number(partition);
            let to = folder.strip_prefix("sys/").expect("it begins so");
            self.link(&format!("sys/dev/block/{number}"), &format!("../../{to}"));
            dev.node(&name, &number);
        }
        *self
            .inner
            .dev
            .lock()
            .expect("nothing panics while it is locked") = Some(dev);
        self.runs_on(disk)
    }

    fn runs_on(&self, disk: DiskImage) -> DiskImage {
        *self
            .inner
            .disk
            .lock()
            .expect("nothing panics while it is locked") = Some(disk.clone());
        self.run_from(Slot::A);
        disk
    }

    /// Its disk, if it has one.
    pub fn disk(&self) -> Option<DiskImage> {
        self.inner
            .disk
            .lock()
            .expect("nothing panics while it is locked")
            .clone()
    }

    fn link(&self, from: &str, to: &str) {
        let from = self.path(from);
        let folder = from.parent().expect("within the root");
        fs::create_dir_all(folder)
            .and_then(|()| symlink(to, &from))
            .unwrap_or_else(|e| panic!("cannot link {} to {to}: {e}", from.display()));
    }

    /// The name of the disk's device, and the number of a slot's partition's.
    fn device(&self, slot: Slot) -> (String, String) {
        let number = PARTITIONS[usize::from(slot == Slot::B)];
        match self.disk().as_ref().and_then(DiskImage::block) {
            Some(block) => (block.name(None), block.number(Some(number))),
            None => ("vda".into(), format!("{MAJOR}:{number}")),
        }
    }

    /// What update_engine does with an update: writes it to the slot that does not run, makes that the next to boot,
    /// and says so.
    pub async fn stage(&self, version: &str) {
        let disk = self.disk().expect("a machine with a disk");
        disk.post_install(self.booted().other(), version);
        self.update_engine().ready(version).await;
    }

    /// The slot that runs.
    pub fn booted(&self) -> Slot {
        let mounts = fs::read_to_string(self.path("proc/self/mountinfo")).unwrap_or_default();
        if mounts.contains(&format!(" {} ", self.device(Slot::B).1)) {
            Slot::B
        } else {
            Slot::A
        }
    }

    fn run_from(&self, slot: Slot) {
        let disk = self.disk().expect("a machine with a disk");
        let (_, number) = self.device(slot);
        let mounts =
            format!("1 0 0:2 / / rw - rootfs x\n2 1 {number} / /usr ro - squashfs /dev/usr\n");
        self.write("proc/self/mountinfo", &mounts);
        disk.mount(slot);
        let version = disk.version(slot);
        self.set_version(&version.unwrap_or_else(|| panic!("{} holds no image", slot.label())));
    }

    /// What the boot loader does: takes the next slot, and boots it.
    pub(super) async fn load(&self) {
        let command = self
            .inner
            .command
            .lock()
            .expect("nothing panics while it is locked")
            .clone();
        let bin = command
            .expect("an agent was started, and so it is known where the program is")
            .bin;
        let root = self.root().display().to_string();
        let device = format!("/dev/{}", self.device(Slot::A).0);
        let args = [
            "slots", "next", "--boot", "--root", &root, "--disk", &device,
        ];
        let next = self.run_plain(&bin, &args, &[]).await;
        let slot = Slot::of_label(next.stdout.trim_end());
        self.run_from(
            slot.unwrap_or_else(|| panic!("the boot loader finds nothing to boot: {next:?}")),
        );
    }
}

/// A machine's /dev, where device nodes work: the file system that tests use may not allow them.
#[derive(Debug)]
pub(super) struct DevFolder {
    path: PathBuf,
}

impl DevFolder {
    fn mount(path: &Path) -> Self {
        let mut mount = Command::new("mount");
        succeed(
            mount
                .args(["-t", "tmpfs", "-o", "mode=755,size=1m", "dev"])
                .arg(path),
        );
        fs::create_dir(path.join("pts")).expect("a folder in a new file system");
        Self {
            path: path.to_owned(),
        }
    }

    /// Makes a block device's node; `number` is `major:minor`.
    fn node(&self, name: &str, number: &str) {
        let (major, minor) = number.split_once(':').expect("major:minor");
        let mut mknod = Command::new("mknod");
        succeed(mknod.arg(self.path.join(name)).args(["b", major, minor]));
    }
}

impl Drop for DevFolder {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(&self.path)
            .output();
    }
}

fn succeed(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?} (as root): {output:?}");
}
