//! update_engine as a node's system service: under its real name and path on the system bus, with its habit of marking
//! every boot good some time after it started, and with one method more: `Stage`, an update that is there at once.

use std::{fs, path::Path, sync::Arc, time::Duration};

use pointsman_testbed::disk::{Bits, DiskImage, Slot};
use tokio::sync::Mutex;
use zbus::{fdo, interface, object_server::SignalEmitter};

const PATH: &str = "/com/coreos/update1";
const DISK: &str = "/dev/disk-ab";
/// Says over a restart of the daemon, and not over one of the machine, that an update is staged.
const MARKER: &str = "/run/fake-update-engine-staged";
/// The boot ids in which it was started.
const STARTS: &str = "/var/log/fake-update-engine";

type Wire = (i64, f64, String, String, i64);

fn wire(staged: Option<&str>) -> Wire {
    let (operation, version) = match staged {
        Some(version) => ("UPDATE_STATUS_UPDATED_NEED_REBOOT", version),
        None => ("UPDATE_STATUS_IDLE", "0.0.0"),
    };
    (1_700_000_000, 0.0, operation.into(), version.into(), 0)
}

/// The staged update's version, while there is one.
type Staged = Arc<Mutex<Option<String>>>;

struct Manager(Staged);

#[interface(name = "com.coreos.update1.Manager")]
impl Manager {
    async fn get_status(&self) -> Wire {
        wire(self.0.lock().await.as_deref())
    }

    async fn attempt_update(&self) {}

    async fn reset_status(&self) {
        *self.0.lock().await = None;
        let _ = fs::remove_file(MARKER);
    }

    #[zbus(signal)]
    async fn status_update(
        emitter: &SignalEmitter<'_>,
        last_checked_time: i64,
        progress: f64,
        operation: &str,
        version: &str,
        size: i64,
    ) -> zbus::Result<()>;
}

struct Test(Staged);

#[interface(name = "com.coreos.update1.Test")]
impl Test {
    /// Writes an image of this version to the slot that does not run, makes that the next to boot, and says so.
    async fn stage(
        &self,
        version: String,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> fdo::Result<()> {
        DiskImage::at(Path::new(DISK)).post_install(booted().other(), &version);
        fs::write(MARKER, &version).map_err(|e| fdo::Error::Failed(e.to_string()))?;
        *self.0.lock().await = Some(version.clone());
        let (time, progress, operation, version, size) = wire(Some(&version));
        Manager::status_update(&emitter, time, progress, &operation, &version, size).await?;
        Ok(())
    }
}

/// The slot that runs, as the boot loader has left word.
fn booted() -> Slot {
    let label = fs::read_to_string("/etc/booted-slot").unwrap_or_default();
    Slot::of_label(label.trim()).unwrap_or_else(|| panic!("/etc/booted-slot says {label:?}"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let starts = fs::read_to_string(STARTS).unwrap_or_default();
    fs::write(STARTS, starts + &boot)?;

    // What it was called is forgotten over a restart of the daemon.
    let staged = Path::new(MARKER).exists().then(|| "0.0.0".to_owned());
    let staged = Staged::new(Mutex::new(staged));
    let _connection = zbus::connection::Builder::system()
        .serve_at(PATH, Manager(staged.clone()))
        .serve_at(PATH, Test(staged))
        .name("com.coreos.update1")
        .build()
        .await?;

    let after = std::env::var("MARK_GOOD_AFTER")?.parse()?;
    tokio::time::sleep(Duration::from_secs(after)).await;
    let disk = DiskImage::at(Path::new(DISK));
    let bits = disk.bits(booted());
    disk.set(
        booted(),
        Bits {
            tries: 0,
            successful: true,
            ..bits
        },
    );
    std::future::pending().await
}
