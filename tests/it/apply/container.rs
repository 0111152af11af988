//! A container that is booted by the real systemd: systemd-nspawn on a tree that is made once.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use nix::fcntl::{Flock, FlockArg};
use pointsman_testbed::process::{Child, Output, Spec, call};

/// What the tree holds besides Debian's essentials. Another list is another tree.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,passwd,procps";

/// The tree, made when it is wanted first and never changed.
fn tree() -> PathBuf {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let tree = cache.join("booted-2");
    // One makes it, the others wait.
    let lock = File::create(cache.join("booted.lock")).unwrap();
    let _lock = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, e)| e)
        .unwrap();
    if !tree.exists() {
        let beside = cache.join("booted.new");
        let _ = fs::remove_dir_all(&beside);
        let output = Command::new("mmdebstrap")
            .args(["--quiet", "--variant=minbase"])
            .arg(format!("--include={PACKAGES}"))
            .arg("bookworm")
            .arg(&beside)
            .output()
            .expect("mmdebstrap can be run (Debian package mmdebstrap)");
        assert!(
            output.status.success(),
            "mmdebstrap could not make the tree: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        fs::rename(&beside, &tree).unwrap();
    }
    tree
}

/// Moves itself into a cgroup of its own, mounts the tree under one that can be written, for itself only, and boots it.
const BOOT: &str = r#"
for h in /sys/fs/cgroup/unified /sys/fs/cgroup/systemd /sys/fs/cgroup; do
    if [ -e $h/cgroup.procs ]; then mkdir -p $h/$NAME; echo $$ >$h/$NAME/cgroup.procs; fi
done
mount -t overlay overlay -o lowerdir=$TREE,upperdir=$DIR/upper,workdir=$DIR/work $DIR/root
exec systemd-nspawn --quiet -D $DIR/root --machine=$NAME --register=no --keep-unit --private-network \
    --console=read-only --bind-ro=$PROGRAM:/usr/bin/pointsman -b </dev/null
"#;

fn spawn(name: &str, dir: &Path) -> Child {
    Spec::new("unshare", dir.join("log"))
        // With a space of processes of its own: nspawn's end, however it comes, is the end of all that it started.
        .args([
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
        ])
        .args(["--mount-proc", "sh", "-euc", BOOT])
        .env("NAME", name)
        .env("TREE", tree())
        .env("DIR", dir)
        .env("PROGRAM", env!("CARGO_BIN_EXE_pointsman"))
        .spawn()
}

/// A machine of its own. Dropping it ends it.
pub(crate) struct Container {
    name: String,
    dir: tempfile::TempDir,
    nspawn: Child,
    leader: u32,
}

impl Container {
    /// Boots one with these files in place, and waits until it is up and all is well.
    pub(crate) async fn boot(files: &[(&str, &str, u32)]) -> Self {
        Self::boot_until(files, "running").await
    }

    /// Boots one with these files in place, and waits until systemd says this of it: `running`, or `degraded` where a
    /// unit has failed.
    pub(crate) async fn boot_until(files: &[(&str, &str, u32)], state: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("pointsman-it-{}-{number}", std::process::id());
        // On the disk that the tree is on: an overlay on an overlay is refused.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for folder in ["upper", "work", "root"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        for (path, text, mode) in files {
            use std::os::unix::fs::PermissionsExt as _;
            let path = dir.path().join("upper").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        let mut container = Self {
            nspawn: spawn(&name, dir.path()),
            name,
            dir,
            leader: 0,
        };
        container.until(state).await;
        container
    }

    /// Boots it once more, as it is, and waits as [`Self::boot_until`] does.
    pub(crate) async fn reboot(&mut self, state: &str) {
        // A program that enters the container would keep it from ending: systemd runs this one.
        self.run(&[
            "systemd-run",
            "--quiet",
            "--no-block",
            "systemctl",
            "reboot",
        ])
        .must(0);
        self.boots_again(state).await;
    }

    /// Waits until the container, which was told to, reboots, and is up once more as [`Self::boot_until`] says.
    pub(crate) async fn boots_again(&mut self, state: &str) {
        let ended = tokio::time::timeout(Duration::from_secs(60), self.nspawn.wait()).await;
        assert!(
            ended.is_ok(),
            "the container does not reboot: {}",
            self.nspawn.log_tail(30)
        );
        self.leader = 0;
        self.nspawn = spawn(&self.name, self.dir.path());
        self.until(state).await;
    }

    async fn until(&mut self, state: &str) {
        let began = Instant::now();
        let up = |container: &Self| {
            // As soon as its bus answers, it waits for the rest itself.
            container.leader > 0
                && container
                    .run(&["systemctl", "is-system-running", "--wait"])
                    .stdout
                    .trim()
                    == state
        };
        while !up(self) {
            assert!(
                self.nspawn.is_running() && began.elapsed() < Duration::from_secs(60),
                "the container did not come up: {}\n{}\n{}",
                self.nspawn.log_tail(30),
                self.run(&["systemctl", "--failed", "--no-pager"]).stdout,
                self.run(&["journalctl", "--boot", "--no-pager", "-t", "pointsman"])
                    .stdout,
            );
            self.leader = self.find_leader().unwrap_or_default();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Gives a file of the running machine another text.
    pub(crate) fn write(&self, path: &str, text: &str) {
        call(&mut self.command(&["tee", path]), text.as_bytes()).must(0);
    }

    /// The container's first process: of all below nspawn the one that is called so.
    fn find_leader(&self) -> Option<u32> {
        let mut open = vec![self.nspawn.pid()];
        while let Some(pid) = open.pop() {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            for child in children.unwrap_or_default().split_whitespace() {
                let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
                let child = child.parse().ok()?;
                if name.trim() == "systemd" {
                    return Some(child);
                }
                open.push(child);
            }
        }
        None
    }

    /// A program in the container.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.leader))
            .args([
                "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", "--",
            ])
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        call(&mut self.command(arguments), b"")
    }

    /// `pointsman cloud-config` in the container.
    pub(crate) fn cloud_config(&self, arguments: &[&str], document: &str) -> Output {
        let all = [&["pointsman", "cloud-config"], arguments].concat();
        call(&mut self.command(&all), document.as_bytes())
    }

    pub(crate) fn apply(&self, document: &str) -> Output {
        self.cloud_config(&["apply", "-"], document)
    }

    /// A property of a unit.
    pub(crate) fn show(&self, unit: &str, property: &str) -> String {
        let property = format!("--property={property}");
        let shown = self.run(&["systemctl", "show", "--value", &property, unit]);
        shown.stdout.trim().to_owned()
    }

    /// What a file holds; nothing where there is none.
    pub(crate) fn text(&self, path: &str) -> String {
        self.run(&["cat", path]).stdout
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.nspawn
            .signal(pointsman_testbed::process::Signal::SIGKILL);
        let _ = self.dir.path();
        // Its cgroups go when its processes have.
        for top in [
            "/sys/fs/cgroup/unified",
            "/sys/fs/cgroup/systemd",
            "/sys/fs/cgroup",
        ] {
            let folder = Path::new(top).join(&self.name);
            let began = Instant::now();
            while folder.exists() && began.elapsed() < Duration::from_secs(5) {
                let mut find = Command::new("find");
                find.arg(&folder)
                    .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
                let _ = find.output();
            }
        }
    }
}
