//! What the machine has to have, the system that all nodes are laid over, and what is left behind: nothing.
//!
//! All that a test makes outside of processes (namespaces, mounts, loop devices, cgroups, files) has the bed's name, and
//! is taken away when the bed is dropped, or by the next one when its process was killed.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use pointsman_testbed::process::{Output, run};
use tokio::sync::OnceCell;

const PREFIX: &str = "pmnodes";
const BASE: &str = "/dev/shm";
/// Making the tree downloads a system.
const LIMIT: Duration = Duration::from_secs(600);

/// The place of one test's nodes.
#[derive(Debug)]
pub struct Bed {
    name: String,
    /// Locked as long as the process lives.
    _lock: File,
}

/// Why there can be no nodes on this machine; none where there can.
pub fn lacks() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("booting containers needs root".into());
    }
    let tools = [
        "systemd-nspawn",
        "mmdebstrap",
        "ip",
        "losetup",
        "nsenter",
        "dpkg-deb",
    ];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |tool: &&str| std::env::split_paths(&path).any(|dir| dir.join(tool).exists());
    let missing: Vec<_> = tools.iter().filter(|tool| !has(tool)).copied().collect();
    (!missing.is_empty()).then(|| format!("not installed: {}", missing.join(", ")))
}

/// Whether the test is to be left out, said loudly; under CI nothing is.
pub fn skipped(test: &str) -> bool {
    let Some(why) = lacks() else { return false };
    assert!(
        std::env::var_os("CI").is_none(),
        "{test} cannot run, and under CI nothing is skipped: {why}"
    );
    // Past what captures a test's output.
    let _ = writeln!(std::io::stderr(), "{test}: skipped: {why}");
    true
}

/// Runs a script for its output; panics where it fails.
pub async fn sh(script: &str) -> String {
    let said = run("sh", ["-euc", script], &[], LIMIT).await;
    assert_eq!(said.code, Some(0), "{script}\n{said:?}");
    said.stdout
}

/// The repository.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("tests/nodes is two folders down")
        .to_owned()
}

/// Where the programs under test are built.
pub fn built() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its file");
    test.ancestors()
        .nth(2)
        .expect("target/PROFILE/deps/test")
        .to_owned()
}

impl Bed {
    /// A new one, after what earlier processes left has been taken away.
    pub async fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        if NUMBER.load(Ordering::SeqCst) == 0 {
            sweep().await;
        }
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let dir = Path::new(BASE).join(&name);
        fs::create_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let lock = File::create(dir.join("lock")).expect("a lock can be made");
        lock.lock().expect("a new file is not locked");
        Self { name, _lock: lock }
    }

    /// What all that it makes begins with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(BASE).join(&self.name).join(name)
    }

    /// The package, of this version.
    pub async fn package(&self, version: &str) -> PathBuf {
        self.package_of(&built().join("pointsman"), version).await
    }

    /// The package of this version, with another program in it.
    pub async fn package_of(&self, program: &Path, version: &str) -> PathBuf {
        let script = repository().join("packaging/deb.sh");
        let from = self.path("programs");
        let pages = built().join("pointsman-pages");
        let _ = fs::remove_dir_all(&from);
        fs::create_dir(&from).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
        for (path, name) in [(program, "pointsman"), (&pages, "pointsman-pages")] {
            assert!(
                path.exists(),
                "{} is not there: make deb PROFILE=dev",
                path.display()
            );
            symlink(path, from.join(name)).expect("a folder of its own");
        }
        let out = self.path("deb");
        let env = [("DEB_VERSION", version), ("DEB_COMPRESS", "none")];
        let said = run(script, [from, out], &env, LIMIT).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        PathBuf::from(said.stdout.trim())
    }

    /// The image for systemd-sysext, of this version.
    pub async fn sysext(&self, version: &str) -> PathBuf {
        let script = repository().join("packaging/sysext.sh");
        let env = [("SYSEXT_VERSION", version)];
        let said = run(script, [built(), self.path("sysext")], &env, LIMIT).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        PathBuf::from(said.stdout.trim())
    }

    /// A folder laid over the plain system: what installing the package in an image, and preparing a node, adds to it.
    pub async fn image(&self) -> PathBuf {
        let package = self.package("0.1.0").await;
        let root = self.lay(&[], "image").await;
        let put = |from: &Path, to: &str| {
            let to = root.join(to);
            fs::create_dir_all(to.parent().expect("a file in the root"))
                .and_then(|()| fs::copy(from, &to))
                .unwrap_or_else(|e| panic!("{} to {}: {e}", from.display(), to.display()));
        };
        put(&package, "root/pointsman.deb");
        put(
            &built().join("fake-update-engine"),
            "usr/lib/fake-update-engine",
        );
        let files = repository().join("tests/nodes/files");
        let units = "usr/lib/systemd/system";
        for unit in ["update-engine.service", "node-network.service"] {
            put(&files.join(unit), &format!("{units}/{unit}"));
        }
        put(
            &files.join("com.coreos.update1.conf"),
            "usr/share/dbus-1/system.d/com.coreos.update1.conf",
        );
        sh(&format!(
            "export DEBIAN_FRONTEND=noninteractive LC_ALL=C
             chroot {root} dpkg -i /root/pointsman.deb
             chroot {root} systemctl --quiet enable update-engine.service node-network.service etcd.service
             install -m 755 {files}/10-image {root}/etc/pointsman/hooks/health.d/10-image
             umount {root}",
            root = root.display(),
            files = files.display()
        ))
        .await;
        self.path("image.upper")
    }

    /// A root of this name: its own layer over these, over the plain system.
    pub async fn lay(&self, layers: &[&Path], name: &str) -> PathBuf {
        static TREE: OnceCell<PathBuf> = OnceCell::const_new();
        let tree = TREE.get_or_init(|| async {
            let tree = repository().join("target/nodes/tree");
            let script = repository().join("tests/nodes/tree.sh");
            sh(&format!(
                "mkdir -p \"$(dirname {tree})\"; flock {tree}.lock {script} {tree}",
                tree = tree.display(),
                script = script.display()
            ))
            .await;
            tree
        });
        let tree = tree.await;
        let path = |part: &str| self.path(&format!("{name}{part}"));
        let root = path("");
        let mut lower: Vec<String> = layers.iter().map(|l| l.display().to_string()).collect();
        lower.push(tree.display().to_string());
        sh(&format!(
            "mkdir {root} {upper} {work}
             mount -t overlay -o lowerdir={lower},upperdir={upper},workdir={work} {name} {root}",
            root = root.display(),
            upper = path(".upper").display(),
            work = path(".work").display(),
            lower = lower.join(":"),
        ))
        .await;
        root
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let said = std::process::Command::new("sh")
            .args(["-uc", &clean(&self.name)])
            .output();
        if let Ok(said) = said
            && !said.stderr.is_empty()
        {
            let _ = std::io::stderr().write_all(&said.stderr);
        }
    }
}

/// Takes away what the processes that are gone have left.
async fn sweep() {
    for entry in fs::read_dir(BASE).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(PREFIX)
            && File::open(entry.path().join("lock")).is_ok_and(|lock| lock.try_lock().is_ok())
        {
            let _: Output = run("sh", ["-uc", &clean(&name)], &[], LIMIT).await;
        }
    }
}

/// Ends and removes what has this name: processes by their cgroup, mounts, loop devices, namespaces, files.
fn clean(name: &str) -> String {
    format!(
        r#"
        for cgroup in /sys/fs/cgroup/*/{name}-* /sys/fs/cgroup/{name}-*; do
            [ -d "$cgroup" ] || continue
            find "$cgroup" -name cgroup.procs -exec cat {{}} + 2>/dev/null | xargs -r kill -9 2>/dev/null
        done
        for mount in $(awk '$2 ~ "^{BASE}/{name}/" {{ print $2 }}' /proc/mounts | sort -r); do
            umount -l "$mount"
        done
        for disk in {BASE}/{name}/*.disk; do
            [ -e "$disk" ] || continue
            for device in $(losetup -j "$disk" | cut -d: -f1); do
                partx --delete "$device"
                losetup -d "$device"
            done
        done
        for namespace in $(ip netns | awk '$1 ~ "^{name}-" {{ print $1 }}'); do
            ip netns delete "$namespace"
        done
        for cgroup in /sys/fs/cgroup/*/{name}-* /sys/fs/cgroup/{name}-*; do
            for try in 1 2 3 4 5 6 7 8 9 10; do
                [ -d "$cgroup" ] || break
                find "$cgroup" -depth -type d -exec rmdir {{}} + 2>/dev/null || sleep 0.1
            done
        done
        rm -rf {BASE}/{name}
        "#
    )
}
