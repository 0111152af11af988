//! One booted system. Around it its boot loader, which asks `slots next --boot` as an initramfs would: whenever the
//! system reboots (logind's reboot ends systemd-nspawn with exit code 133) it is started again on the slot that is next.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pointsman_testbed::{
    disk::{DiskImage, Slot},
    process::{Child, Output, Signal, Spec, run},
    scratch::random_hex,
};
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use crate::{
    bed::{Bed, built, sh},
    network::Port,
};

/// How long anything that a system does may take.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// systemd-nspawn's exit code when the system inside wants to be started again.
const REBOOT: i32 = 133;

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
        // Through the device alone from here on: it has a cache of its own.
        let device = sh(&format!("losetup --find --show {}", file.display())).await;
        let device = device.trim().to_owned();
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

    /// Switches it on.
    pub fn start(&self) {
        assert!(!self.state().on(), "{} is on already", self.name());
        self.0.comes_back.store(true, Ordering::SeqCst);
        let this = self.clone();
        let task = tokio::spawn(async move {
            loop {
                let child = this.boot().await;
                let status = child.wait().await;
                this.emptied().await;
                let again = status.code() == Some(REBOOT);
                if !again || !this.0.comes_back.load(Ordering::SeqCst) {
                    this.0.state.send_modify(|state| state.running = None);
                    return;
                }
            }
        });
        *self.0.machine.lock().expect("nothing panics with it") = Some(task);
    }

    /// What boot loader and initramfs do.
    async fn boot(&self) -> Arc<Child> {
        let program = built().join("pointsman").display().to_string();
        let args = ["slots", "next", "--boot", "--disk", &self.0.device];
        let said = run(program, args, &[], PATIENCE).await;
        let label = said.stdout.trim().to_owned();
        let slot = Slot::of_label(&label).unwrap_or_else(|| panic!("no slot boots: {said:?}"));
        let version = self.disk().version(slot).expect("an image");
        self.write("etc/booted-slot", &format!("{label}\n"));
        self.write(
            "etc/pointsman/config.d/90-booted.yaml",
            &format!("slots: {{booted: {label}}}\n"),
        );
        self.write(
            "usr/lib/os-release",
            &format!("ID=test\nNAME=test\nPRETTY_NAME=\"test {version}\"\nVERSION_ID={version}\n"),
        );
        // nspawn makes its group of processes where it is: each system needs one of its own.
        let script = format!(
            r#"for tree in /sys/fs/cgroup/unified /sys/fs/cgroup/systemd /sys/fs/cgroup; do
                   [ -e $tree/cgroup.procs ] || continue
                   mkdir -p $tree/{cgroup} && echo $$ >$tree/{cgroup}/cgroup.procs
               done
               exec systemd-nspawn --quiet --directory={root} --machine={name} --register=no --keep-unit \
                   --capability=CAP_NET_ADMIN --link-journal=no --resolv-conf=off --timezone=off --network-namespace-path=/run/netns/{namespace} \
                   --bind={device}:/dev/disk-ab --console=read-only --boot"#,
            cgroup = self.0.cgroup,
            root = self.0.root.display(),
            name = self.0.name,
            namespace = self.0.port.namespace,
            device = self.0.device,
        );
        let child = Spec::new("sh", &self.0.log).args(["-euc", &script]).spawn();
        let child = Arc::new(child);
        self.0.state.send_modify(|state| {
            state.running = Some(child.clone());
            state.boots.push(slot);
        });
        child
    }

    /// Waits until no process of it is left.
    async fn emptied(&self) {
        let script = format!(
            "for i in $(seq 100); do
                 left=$(find /sys/fs/cgroup/{0} /sys/fs/cgroup/*/{0} -name cgroup.procs -exec cat {{}} + 2>/dev/null || true)
                 [ -n \"$left\" ] || exit 0
                 kill -9 $left 2>/dev/null || true
                 sleep 0.1
             done; exit 1",
            self.0.cgroup
        );
        sh(&script).await;
    }

    /// From now on a reboot ends in the machine being off.
    pub fn stays_away(&self) {
        self.0.comes_back.store(false, Ordering::SeqCst);
    }

    /// Pulls its plug.
    pub async fn cut_power(&self) {
        self.stays_away();
        if let Some(child) = self.state().running {
            child.kill().await;
        }
        self.off().await;
    }

    /// Waits until it is off.
    pub async fn off(&self) {
        self.await_state("it is off", |state| !state.on()).await;
    }

    /// Waits until it has been booted so often.
    pub async fn booted(&self, times: usize) {
        self.await_state("a boot", |state| state.boots.len() >= times)
            .await;
    }

    async fn await_state(&self, what: &str, is: impl FnMut(&State) -> bool) {
        let mut state = self.0.state.subscribe();
        let waited = tokio::time::timeout(PATIENCE, state.wait_for(is)).await;
        if waited.is_err() {
            panic!(
                "{}: not in time: {what}; it {:?}\n{}",
                self.name(),
                self.state(),
                self.tail()
            );
        }
    }

    /// Runs a command inside, when there is an inside.
    pub async fn try_exec(&self, args: &[&str]) -> Option<Output> {
        let child = self.state().running?;
        let nspawn = child.pid();
        let leader = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
        let leader = leader.split_whitespace().next()?;
        let dir = pointsman_testbed::scratch::dir("exec");
        let (out, err) = (dir.path().join("out"), dir.path().join("err"));
        let entering = Spec::new("nsenter", &out)
            .stderr(&err)
            .args(["-t", leader, "-m", "-u", "-i", "-n", "-p", "-r", "-w", "--"])
            .args(args)
            .spawn();
        let until = Instant::now() + PATIENCE;
        loop {
            tokio::select! {
                status = entering.wait() => {
                    let text = |path: &Path| fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned());
                    return Some(Output {
                        code: status.code(),
                        stdout: text(&out).unwrap_or_default(),
                        stderr: text(&err).unwrap_or_default(),
                    });
                }
                // A shutdown stops all processes for a moment, and nsenter with the one it waits for; it would never go on.
                () = tokio::time::sleep(Duration::from_millis(200)) => entering.signal(Signal::SIGCONT),
            }
            assert!(
                Instant::now() < until,
                "{}: {args:?} does not end",
                self.name()
            );
        }
    }

    /// Runs a command inside.
    pub async fn exec(&self, args: &[&str]) -> Output {
        let said = self.try_exec(args).await;
        said.unwrap_or_else(|| panic!("{} is not there to run {args:?}", self.name()))
    }

    /// Runs a script inside, for its output; panics where it fails.
    pub async fn sh(&self, script: &str) -> String {
        let said = self.exec(&["sh", "-euc", script]).await;
        assert_eq!(said.code, Some(0), "{}: {script}\n{said:?}", self.name());
        said.stdout
    }

    /// Waits until a script inside succeeds.
    pub async fn until(&self, script: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let said = self.try_exec(&["sh", "-euc", script]).await;
            if said.as_ref().is_some_and(|said| said.code == Some(0)) {
                return;
            }
            assert!(
                Instant::now() < until,
                "{}: not in time: {script}\n{said:?}\n{}",
                self.name(),
                self.tail()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until systemd has started what it was told to, and the agent is there.
    pub async fn up(&self) {
        self.until("systemctl is-active --quiet multi-user.target pointsman.service")
            .await;
    }

    /// What the agent says: `State` or another of its properties; nothing where there is no agent.
    pub async fn agent(&self, property: &str) -> String {
        let name = "org.pointsman.Agent1";
        let path = "/org/pointsman/Agent1";
        let args = ["busctl", "get-property", name, path, name, property];
        let said = self.try_exec(&args).await;
        let said = said.map(|said| said.stdout).unwrap_or_default();
        let value = said.trim().split_once(' ').map_or("", |(_, value)| value);
        value.trim_matches('"').to_owned()
    }

    /// Waits until the agent is in this state.
    pub async fn agent_is(&self, state: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.agent("State").await;
            if found == state {
                return;
            }
            assert!(
                Instant::now() < until,
                "{} is not {state} but {found:?}: {}\n{}",
                self.name(),
                self.agent("Reason").await,
                self.tail()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// update_engine stages an update, once it is there.
    pub async fn stage(&self, version: &str) {
        let name = "com.coreos.update1";
        self.until(&format!("busctl status {name} >/dev/null"))
            .await;
        let call = format!("busctl call {name} /com/coreos/update1 {name}.Test Stage s {version}");
        self.sh(&call).await;
    }

    /// The journal of a unit, over all boots.
    pub async fn journal(&self, unit: &str) -> String {
        let folder = self.path("var/log/journal").display().to_string();
        let args = [
            "--no-pager",
            "--output=short-iso",
            "--directory",
            &folder,
            "--unit",
            unit,
        ];
        run("journalctl", args, &[], PATIENCE).await.stdout
    }

    /// The last that was said on it.
    fn tail(&self) -> String {
        let end = |text: String, lines: usize| {
            let all: Vec<&str> = text.lines().collect();
            all[all.len().saturating_sub(lines)..].join("\n")
        };
        let journal = std::process::Command::new("journalctl")
            .args([
                "--no-pager",
                "--lines=60",
                "--unit=pointsman",
                "--unit=update-engine",
            ])
            .arg("--directory")
            .arg(self.path("var/log/journal"))
            .output()
            .map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
        let console = fs::read(&self.0.log).unwrap_or_default();
        let console = String::from_utf8_lossy(&console).into_owned();
        format!(
            "--- console of {}\n{}\n--- journal\n{}",
            self.name(),
            end(console, 15),
            journal.unwrap_or_default()
        )
    }

    /// Shows what was said on it last, when the test fails.
    pub(crate) fn tell(&self) {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "{}", self.tail());
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Ok(Some(task)) = self.machine.get_mut().map(Option::take) {
            task.abort();
        }
    }
}
