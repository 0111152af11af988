//! Directories for one test process, on tmpfs where there is one (etcd syncs each write), removed at the latest by
//! the next test process: a killed one, or a static that is never dropped, leaves nothing for long.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;

const PREFIX: &str = "pointsman-testbed-";
const LOCK: &str = "lock";

/// A fresh directory whose name starts with `name`; removed on drop.
///
/// The path stays well under the 108 bytes that a unix socket's path may have.
pub fn dir(name: &str) -> TempDir {
    let base = base();
    tempfile::Builder::new()
        .prefix(&format!("{name}-"))
        .rand_bytes(6)
        .tempdir_in(base)
        .unwrap_or_else(|e| panic!("no directory for `{name}` under {}: {e}", base.display()))
}

/// The directory of this test process. Its lock file stays locked as long as the process lives, so that another
/// one can tell it from a leftover.
fn base() -> &'static Path {
    static BASE: OnceLock<(PathBuf, File)> = OnceLock::new();
    let (path, _lock) = BASE.get_or_init(|| {
        let parent = match Path::new("/dev/shm") {
            shm if shm.is_dir() => shm.to_path_buf(),
            _ => std::env::temp_dir(),
        };
        sweep(&parent);
        loop {
            let path = tempfile::Builder::new()
                .prefix(PREFIX)
                .tempdir_in(&parent)
                .unwrap_or_else(|e| panic!("no directory under {}: {e}", parent.display()))
                .keep();
            let lock = File::create(path.join(LOCK));
            // Somebody's sweep between the two steps took it for a leftover: make another.
            if let Ok(lock) = lock
                && lock.lock().is_ok()
                && path.join(LOCK).exists()
            {
                return (path, lock);
            }
        }
    });
    path
}

/// Removes the directories of processes that are gone: those whose lock can be taken.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        if let Ok(lock) = File::open(entry.path().join(LOCK))
            && lock.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// 32 random hex digits: a machine id, or a word that is nowhere else.
pub fn random_hex() -> String {
    random_uuid().replace('-', "")
}

/// A random UUID with its dashes: a boot id.
pub fn random_uuid() -> String {
    fs::read_to_string("/proc/sys/kernel/random/uuid")
        .expect("the kernel gives random UUIDs at /proc/sys/kernel/random/uuid")
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_goes_with_its_handle_and_a_leftover_with_the_next_process() {
        let one = dir("one");
        let path = one.path().to_path_buf();
        assert!(path.is_dir());
        drop(one);
        assert!(!path.exists());

        let parent = dir("parent");
        let dead = parent.path().join(format!("{PREFIX}dead"));
        let alive = parent.path().join(format!("{PREFIX}alive"));
        let other = parent.path().join("other");
        for d in [&dead, &alive, &other] {
            fs::create_dir(d).unwrap();
            File::create(d.join(LOCK)).unwrap();
        }
        let held = File::open(alive.join(LOCK)).unwrap();
        held.lock().unwrap();
        sweep(parent.path());
        assert!(!dead.exists());
        assert!(alive.exists() && other.exists());
    }
}
