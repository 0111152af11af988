//! One machine: switched on, cut off its power, asked things over its second serial line.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use pointsman_nodes::bed::sh;
use pointsman_testbed::{
    disk::{Bits, DiskImage, Slot},
    process::{Child, Spec},
    scratch,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{Instant, sleep, timeout},
};

use crate::parts;

/// How long a boot may take, the watchdog's patience before it included: emulated, on a machine that does other work.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// The kernel's command line.
const APPEND: &str = "console=ttyS0 quiet panic=10 no_timer_check net.ifnames=0 mitigations=off nokaslr cryptomgr.notests \
                      tsc=reliable systemd.getty_auto=no";

/// What a machine is switched on with.
#[derive(Debug, Default, Clone, Copy)]
pub struct Outfit<'a> {
    /// What its clock shows (`2026-01-31T12:00:00`); else the time.
    pub clock: Option<&'a str>,
    /// At the end of the kernel's command line.
    pub words: &'a str,
    /// A second drive, read-only.
    pub drive: Option<&'a Path>,
    /// Its network's cable is pulled out.
    pub unplugged: bool,
}

/// A machine. Dropped, it is gone.
pub struct Machine {
    name: String,
    id: String,
    dir: TempDir,
    process: Mutex<Option<Arc<Child>>>,
}

impl Machine {
    /// Switched off, with image 1 in A, proven, and nothing that boots in B. `config` is its agent's.
    pub async fn new(name: &str, config: &str) -> Self {
        let dir = scratch::dir(name);
        let this = Self {
            name: name.to_owned(),
            id: scratch::random_hex(),
            dir,
            process: Mutex::default(),
        };
        let state = this.path("state");
        let put = |path: &str, text: &str| {
            let path = state.join("upper").join(path);
            fs::create_dir_all(path.parent().expect("a file in a folder"))
                .and_then(|()| fs::write(&path, text))
                .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        };
        put("etc/machine-id", &format!("{}\n", this.id));
        put("etc/hostname", &format!("{name}\n"));
        put("etc/pointsman/config.yaml", config);
        // A test has not the time that a server has.
        put("etc/environment", "CLOUD_CONFIG_WAIT=2s\n");
        sh(&format!(
            "cp --sparse=always {parts}/disk {disk}
             first=$(sgdisk --info 9 {disk} | sed -n 's/^First sector: \\([0-9]*\\).*/\\1/p')
             mke2fs -q -t ext4 -d {state} -E offset=$((first * 512)) {disk} 90M 2>/dev/null",
            parts = parts().await.display(),
            disk = this.path("disk").display(),
            state = state.display(),
        ))
        .await;
        let disk = this.disk();
        for (slot, version, bits) in [
            (
                Slot::A,
                "1",
                Bits {
                    priority: 1,
                    tries: 0,
                    successful: true,
                },
            ),
            (
                Slot::B,
                "0",
                Bits {
                    priority: 0,
                    tries: 0,
                    successful: false,
                },
            ),
        ] {
            disk.write_image(slot, version);
            disk.set(slot, bits);
        }
        this
    }

    /// Its host name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its machine id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its disk, as it lies here.
    pub fn disk(&self) -> DiskImage {
        DiskImage::at(&self.path("disk"))
    }

    /// What a slot holds, as the cluster names it: the digest of its first MiB.
    pub async fn image(&self, slot: Slot) -> String {
        let shown = self.sh("pointsman slots --json").await;
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap_or_default();
        let slots = shown["slots"].as_array().cloned().unwrap_or_default();
        let found = slots
            .iter()
            .find(|one| one["label"] == slot.label())
            .and_then(|one| one["image"].as_str());
        found
            .unwrap_or_else(|| panic!("no image of {slot:?} in {shown}"))
            .to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What it has written to its console.
    pub fn console(&self) -> String {
        let bytes = fs::read(self.path("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How often its boot loader has chosen a slot.
    pub fn boots(&self) -> usize {
        self.console().matches("boot loader: USR-").count()
    }

    /// Switches it on.
    pub async fn start(&self) {
        self.start_with(&Outfit::default()).await;
    }

    /// Switches it on, with this.
    pub async fn start_with(&self, outfit: &Outfit<'_>) {
        let parts = parts().await;
        let _ = fs::remove_file(self.path("shell"));
        let file = |path: &Path| path.display().to_string();
        let network = match outfit.unplugged {
            false => "user,id=n0",
            true => "hubport,id=n0,hubid=0",
        };
        let drive = outfit.drive.map(|path| {
            let path = file(path);
            [
                "-drive".into(),
                format!("file={path},if=virtio,format=raw,readonly=on"),
            ]
        });
        let child = Spec::new("qemu-system-x86_64", self.path("qemu.log"))
            .args(["-M", "q35", "-accel", "tcg,tb-size=128", "-cpu", "Nehalem"])
            .args(["-m", "512", "-smp", "2", "-nodefaults", "-display", "none"])
            .args(["-kernel", &file(&parts.join("kernel"))])
            .args(["-initrd", &file(&parts.join("initrd"))])
            .args(["-append", &format!("{APPEND} {}", outfit.words)])
            .args([
                "-drive",
                &format!("file={},if=none,id=d0,format=raw", file(&self.path("disk"))),
            ])
            .args(["-device", "virtio-blk-pci,drive=d0", "-netdev", network])
            .args(drive.iter().flatten())
            .args(["-device", "virtio-net-pci,netdev=n0,romfile="])
            .args(["-device", "i6300esb", "-watchdog-action", "reset"])
            .args(["-rtc", &format!("base={}", outfit.clock.unwrap_or("utc"))])
            .args([
                "-chardev",
                &format!("file,id=c0,path={},append=on", file(&self.path("console"))),
            ])
            .args(["-serial", "chardev:c0"])
            .args([
                "-serial",
                &format!("unix:{},server=on,wait=off", file(&self.path("shell"))),
            ])
            .spawn();
        let before = self.process().replace(Arc::new(child));
        assert!(
            before.is_none_or(|before| !before.is_running()),
            "it is on already"
        );
    }

    /// Cuts its power: what has not reached the disk is lost.
    pub async fn cut(&self) {
        let child = self.process().take();
        if let Some(child) = child {
            child.kill().await;
        }
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Arc<Child>>> {
        self.process
            .lock()
            .expect("nothing panics while it is locked")
    }

    /// Runs a command in the machine, once it is up and once only, for its output; panics where it fails. Of a command
    /// that takes the machine down the answer may be lost.
    pub async fn sh(&self, command: &str) -> String {
        let until = Instant::now() + PATIENCE;
        let mut line = loop {
            // While it boots nobody listens at the other end.
            if let Ok(Ok(line)) = timeout(Duration::from_secs(5), self.line()).await {
                break line;
            }
            assert!(
                Instant::now() < until,
                "{} does not answer; its console:\n{}",
                self.name,
                self.console()
            );
            sleep(Duration::from_millis(300)).await;
        };
        match timeout(PATIENCE, line.ask(command)).await {
            Ok(Ok((0, said))) => said,
            Ok(Ok((code, said))) => panic!("{}: `{command}` failed with {code}: {said}", self.name),
            Ok(Err(_)) | Err(_) => String::new(),
        }
    }

    /// The shell there, which has just answered.
    async fn line(&self) -> std::io::Result<Line> {
        let (read, write) = UnixStream::connect(self.path("shell")).await?.into_split();
        let mut line = Line {
            read: BufReader::new(read).lines(),
            write,
        };
        line.ask("true").await?;
        Ok(line)
    }

    /// update_engine stages an image of this version in the slot that does not run.
    pub async fn stage(&self, version: &str) {
        self.sh(&format!(
            "until systemctl --quiet is-active update-engine; do sleep 0.3; done; \
             busctl call com.coreos.update1 /com/coreos/update1 com.coreos.update1.Test Stage s {version}"
        ))
        .await;
    }
}

/// The line to a machine's shell.
struct Line {
    read: Lines<BufReader<OwnedReadHalf>>,
    write: OwnedWriteHalf,
}

impl Line {
    /// The exit code of a command, and what it said.
    async fn ask(&mut self, command: &str) -> std::io::Result<(i32, String)> {
        let mark = scratch::random_hex();
        // The first line end ends what an earlier, given-up question has left; what a command says need not end in one.
        let line = format!("\n{{ {command}; }}; printf '\\n%s %s\\n' {mark} $?\n");
        self.write.write_all(line.as_bytes()).await?;
        let mut said = String::new();
        while let Some(line) = self.read.next_line().await? {
            if let Some(code) = line.trim().strip_prefix(&mark) {
                return Ok((code.trim().parse().unwrap_or(-1), said));
            }
            said += &line;
            said.push('\n');
        }
        Err(std::io::ErrorKind::UnexpectedEof.into())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let console = self.console();
            let lines: Vec<&str> = console.lines().collect();
            let end = lines[lines.len().saturating_sub(60)..].join("\n");
            eprintln!("--- {} wrote last:\n{end}\n---", self.name);
        }
    }
}
