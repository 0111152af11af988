//! A machine's disk with two slots, as the kernel shows it, and its boot loader: `slots next --boot`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::Node;
use crate::disk::{DiskImage, Slot};

/// Of the disk; its partitions are numbered from here.
const MAJOR: u32 = 252;

impl Node {
    /// Gives the machine a disk whose slot A holds this version, good and running, and whose slot B is empty.
    pub fn add_disk(&self, version: &str) -> DiskImage {
        let disk = DiskImage::new(&self.path("disk.img"), version);
        for (number, name) in [(3, "vda3"), (4, "vda4")] {
            let folder = format!("sys/devices/vda/{name}");
            self.write(&format!("{folder}/partition"), &format!("{number}\n"));
            self.link(
                &format!("sys/dev/block/{MAJOR}:{number}"),
                self.path(&folder),
            );
        }
        self.link("dev/vda", disk.path().to_owned());
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

    fn link(&self, from: &str, to: PathBuf) {
        let from = self.path(from);
        let folder = from.parent().expect("within the root");
        fs::create_dir_all(folder)
            .and_then(|()| symlink(&to, &from))
            .unwrap_or_else(|e| panic!("cannot link {} to {}: {e}", from.display(), to.display()));
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
        if mounts.contains(&format!("{MAJOR}:4")) {
            Slot::B
        } else {
            Slot::A
        }
    }

    fn run_from(&self, slot: Slot) {
        let disk = self.disk().expect("a machine with a disk");
        let number = if slot == Slot::A { 3 } else { 4 };
        let mounts = format!(
            "1 0 0:2 / / rw - rootfs x\n2 1 {MAJOR}:{number} / /usr ro - squashfs /dev/vda{number}\n"
        );
        self.write("proc/self/mountinfo", &mounts);
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
        let args = [
            "slots", "next", "--boot", "--root", &root, "--disk", "/dev/vda",
        ];
        let next = self.run_plain(&bin, &args, &[]).await;
        let slot = Slot::of_label(next.stdout.trim_end());
        self.run_from(
            slot.unwrap_or_else(|| panic!("the boot loader finds nothing to boot: {next:?}")),
        );
    }
}
