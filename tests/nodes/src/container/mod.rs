//! One booted system. Around it its boot loader, which asks `slots next --boot` as an initramfs would: whenever the
//! system reboots (logind's reboot ends systemd-nspawn with exit code 133) it is started again on the slot that is next.
//!
//! Here is what it has: a disk, files, a port. `power` switches it on and off, `inside` runs commands on it, `said` shows
//! what it said.

mod inside;
mod power;
mod said;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use pointsman_testbed::{
    disk::{DiskImage, Slot},
    process::Child,
    scratch::random_hex,
};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    bed::{Bed, sh},
    network::Port,
};

/// How long anything that a system does may take.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A system. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Container(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    machine_id: String,
    root: PathBuf,
    log: PathBuf,
    cgroup: String,
    device: String,
    disk: DiskImage,
    port: Port,
    comes_back: AtomicBool,
    state: watch::Sender<State>,
    machine: Mutex<Option<JoinHandle<()>>>,
}

/// How the machine stands.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// What runs; none: it is off.
    running: Option<Arc<Child>>,
    /// The slots it was booted from so far, in order.
    pub boots: Vec<Slot>,
}

impl State {
    /// Whether it is switched on.
    pub fn on(&self) -> bool {
        self.running.is_some()
    }
}

impl Container {
    /// A system laid over this image, switched off: slot A holds version 1, B is empty.
    pub async fn new(bed: &Bed, image: &Path, name: &str, port: Port) -> Self {
        let root = bed.lay(&[image], name).await;
        let file = bed.path(&format!("{name}.disk"));
        DiskImage::new(&file, "1");
        // Through the devices alone from here on: the disk and each partition have a cache of their own.
        let device = sh(&format!("losetup --find --show {}", file.display())).await;
        let device = device.trim().to_owned();
        // A loop device may have kept its read-only flag, and the partitions of a test that was killed.
        sh(&format!(
            "blockdev --setrw {device}; partx --delete {device} 2>/dev/null || true; partx --add {device}"
        ))
        .await;
        let machine_id = random_hex();
        let inner = Inner {
            name: name.to_owned(),
            log: bed.path(&format!("{name}.console")),
            cgroup: format!("{}-{name}", bed.name()),
            disk: DiskImage::at(Path::new(&device)),
            machine_id,
            root,
            device,
            port,
            comes_back: AtomicBool::new(true),
            state: watch::Sender::default(),
            machine: Mutex::default(),
        };
        let this = Self(Arc::new(inner));
        this.write("etc/machine-id", &format!("{}\n", this.0.machine_id));
        this.write("etc/hostname", &format!("{name}\n"));
        this
    }

    /// Its host name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its machine id.
    pub fn id(&self) -> &str {
        &self.0.machine_id
    }

    /// Its disk.
    pub fn disk(&self) -> &DiskImage {
        &self.0.disk
    }

    /// Its end of the network.
    pub fn port(&self) -> &Port {
        &self.0.port
    }

    /// A path of its file system, from outside; not for what is below /run or /tmp.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.0.root.join(relative)
    }

    /// What a file of it holds; nothing where there is none.
    pub fn read(&self, relative: &str) -> String {
        fs::read_to_string(self.path(relative)).unwrap_or_default()
    }

    /// Writes a file, with the folders it needs.
    pub fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().expect("a file in the root"))
            .and_then(|()| fs::write(&path, text))
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// Writes a hook of the operator's, such as `health.d/10-x`.
    pub fn hook(&self, name: &str, script: &str) {
        let name = format!("etc/pointsman/hooks/{name}");
        self.write(&name, &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(self.path(&name), fs::Permissions::from_mode(0o755))
            .expect("it is there");
    }

    /// How it stands.
    pub fn state(&self) -> State {
        self.0.state.borrow().clone()
    }

    /// How often it has been booted.
    pub fn boots(&self) -> usize {
        self.0.state.borrow().boots.len()
    }

    /// The slot it was booted from last.
    pub fn slot(&self) -> Slot {
        let state = self.0.state.borrow();
        *state.boots.last().expect("it was switched on")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Ok(Some(task)) = self.machine.get_mut().map(Option::take) {
            task.abort();
        }
    }
}
