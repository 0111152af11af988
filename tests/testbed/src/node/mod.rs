//! One agent under test on a machine of its own: root directory, system bus, update_engine, logind, and reboots that
//! are real deaths of the process.

mod history;
mod notify;
mod reboot;
mod slots;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;

pub use history::{Event, History, Kind};
pub use notify::Notified;
use notify::Notify;
pub use reboot::{AutoReboot, Death};

use crate::{
    bus::Bus,
    disk::DiskImage,
    fakes::{Logind, PATIENCE, UpdateEngine},
    process::{Child, Output, Signal, Spec, run},
    scratch::{random_hex, random_uuid},
};

/// A machine. Clones are the same one; the last to go ends the agent and removes the files.
#[derive(Clone, Debug)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    machine_id: String,
    agent: Mutex<Option<Agent>>,
    command: Mutex<Option<Command>>,
    runs: AtomicUsize,
    reboots: AtomicUsize,
    auto_reboot: Mutex<Option<JoinHandle<()>>>,
    disk: Mutex<Option<DiskImage>>,
    dev: Mutex<Option<slots::DevFolder>>,
    has_update_engine: bool,
    update_engine: UpdateEngine,
    logind: Logind,
    bus: Bus,
    dir: TempDir,
}

/// What [`Node::start`] was told, to start it again.
#[derive(Clone, Debug)]
struct Command {
    bin: PathBuf,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
}

#[derive(Debug)]
struct Agent {
    child: Arc<Child>,
    notify: Notify,
}

impl Node {
    /// A machine with a random machine id, a bus, an idle update_engine and a logind; no agent runs yet.
    pub async fn new(name: &str) -> Self {
        Self::with_machine_id(name, &random_hex()).await
    }

    /// Like [`Self::new`] with a given machine id (32 hex digits): a clone of another machine.
    pub async fn with_machine_id(name: &str, machine_id: &str) -> Self {
        Self::made(name, machine_id, true).await
    }

    /// Like [`Self::new`], on a system that has no update_engine: it never comes on the bus.
    pub async fn without_update_engine(name: &str) -> Self {
        Self::made(name, &random_hex(), false).await
    }

    async fn made(name: &str, machine_id: &str, has_update_engine: bool) -> Self {
        let bus = Bus::start().await;
        let update_engine = if has_update_engine {
            UpdateEngine::start(&bus).await
        } else {
            UpdateEngine::absent(&bus)
        };
        let inner = Inner {
            name: name.to_owned(),
            machine_id: machine_id.to_owned(),
            agent: Mutex::default(),
            command: Mutex::default(),
            runs: AtomicUsize::new(0),
            reboots: AtomicUsize::new(0),
            auto_reboot: Mutex::default(),
            disk: Mutex::default(),
            dev: Mutex::default(),
            has_update_engine,
            update_engine,
            logind: Logind::start(&bus).await,
            bus,
            dir: crate::scratch::dir("node"),
        };
        let node = Self {
            inner: Arc::new(inner),
        };
        for dir in ["var/lib/pointsman", "run", "dev/pts"] {
            let path = node.path(dir);
            fs::create_dir_all(&path)
                .unwrap_or_else(|e| panic!("cannot make {}: {e}", path.display()));
        }
        node.write("etc/machine-id", &format!("{machine_id}\n"));
        node.write("etc/hostname", &format!("{name}\n"));
        node.new_boot_id();
        node
    }

    /// The host name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The machine id.
    pub fn machine_id(&self) -> &str {
        &self.inner.machine_id
    }

    /// The boot id as the kernel shows it: a UUID with dashes.
    pub fn boot_id(&self) -> String {
        let path = self.path("proc/sys/kernel/random/boot_id");
        let id = fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
        id.trim().to_owned()
    }

    fn new_boot_id(&self) {
        self.write(
            "proc/sys/kernel/random/boot_id",
            &format!("{}\n", random_uuid()),
        );
    }

    /// The root directory.
    pub fn root(&self) -> PathBuf {
        self.inner.dir.path().join("root")
    }

    /// A path under the root; `relative` has no leading slash.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root().join(relative)
    }

    /// Writes a file under the root, with the directories it needs.
    pub fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        let parent = path
            .parent()
            .expect("a file under the root has a directory");
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, text))
            .unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    }

    /// Its system bus.
    pub fn bus(&self) -> &Bus {
        &self.inner.bus
    }

    /// Its update_engine.
    pub fn update_engine(&self) -> &UpdateEngine {
        &self.inner.update_engine
    }

    /// Its logind.
    pub fn logind(&self) -> &Logind {
        &self.inner.logind
    }

    fn agent(&self) -> MutexGuard<'_, Option<Agent>> {
        self.inner
            .agent
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Starts `BIN agent --root ROOT ARGS…` with these variables besides the bus and the notify socket. It is
    /// remembered for [`Self::start_again`] and reboots. Panics when an agent runs already.
    pub async fn start(&self, bin: &Path, args: &[impl AsRef<OsStr>], env: &[(&str, &str)]) {
        let command = Command {
            bin: bin.to_owned(),
            args: args.iter().map(|a| a.as_ref().to_owned()).collect(),
            env: env
                .iter()
                .map(|&(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
        };
        *self
            .inner
            .command
            .lock()
            .expect("nothing panics while it is locked") = Some(command);
        self.start_again();
    }

    /// Starts the agent as it was started last, on the same boot.
    pub fn start_again(&self) {
        let command = self
            .inner
            .command
            .lock()
            .expect("nothing panics while it is locked")
            .clone();
        let command =
            command.unwrap_or_else(|| panic!("the agent of {} was never started", self.name()));
        let run = self.inner.runs.fetch_add(1, Ordering::SeqCst);
        let notify = Notify::bind(&self.inner.dir.path().join(format!("notify-{run}")));
        let mut spec = Spec::new(&command.bin, self.inner.dir.path().join("agent.log"))
            .args([
                OsStr::new("agent"),
                OsStr::new("--root"),
                self.root().as_os_str(),
            ])
            .args(&command.args)
            .env("DBUS_SYSTEM_BUS_ADDRESS", self.inner.bus.address())
            .env("NOTIFY_SOCKET", &notify.path);
        for (name, value) in &command.env {
            spec = spec.env(name, value);
        }
        let mut agent = self.agent();
        let running = agent.as_ref().is_some_and(|a| a.child.is_running());
        assert!(!running, "an agent of {} runs already", self.name());
        *agent = Some(Agent {
            child: Arc::new(spec.spawn()),
            notify,
        });
    }

    /// The agent's process; panics before the first start.
    pub fn child(&self) -> Arc<Child> {
        let agent = self.agent();
        agent
            .as_ref()
            .unwrap_or_else(|| panic!("the agent of {} was never started", self.name()))
            .child
            .clone()
    }

    /// Everything the agents of this machine have written to stdout and stderr.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(
            &fs::read(self.inner.dir.path().join("agent.log")).unwrap_or_default(),
        )
        .into_owned()
    }

    /// What the agent has told its service manager since it was started.
    pub fn notified(&self) -> Notified {
        self.agent()
            .as_ref()
            .map(|a| a.notify.told.borrow().clone())
            .unwrap_or_default()
    }

    /// Its last `STATUS=`.
    pub fn status(&self) -> String {
        self.notified().status
    }

    /// Waits for `READY=1`; panics with the agent's log when it ends before or after [`PATIENCE`].
    pub async fn wait_ready(&self) {
        self.wait_notified("READY=1", |n| n.ready).await;
    }

    /// Waits for a `STATUS=` for which `wanted` is true, and gives it; panics as [`Self::wait_ready`] does.
    pub async fn wait_status(&self, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_notified("the wanted STATUS=", |n| wanted(&n.status))
            .await
            .status
    }

    /// Waits for any state of what the *running* agent has told; a reboot meanwhile goes on with the next agent.
    pub async fn wait_notified(&self, what: &str, wanted: impl Fn(&Notified) -> bool) -> Notified {
        let waiting = async {
            loop {
                let (mut told, child) = {
                    let agent = self.agent();
                    let agent = agent
                        .as_ref()
                        .unwrap_or_else(|| panic!("no agent of {} runs", self.name()));
                    (agent.notify.told.clone(), agent.child.clone())
                };
                tokio::select! {
                    biased;
                    Ok(notified) = told.wait_for(&wanted) => return notified.clone(),
                    status = child.wait() => {
                        let rebooting = self.inner.auto_reboot.lock().expect("not poisoned").is_some();
                        assert!(rebooting, "the agent of {} ended ({status}); its log:\n{}", self.name(), self.log());
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            }
        };
        let result = tokio::time::timeout(PATIENCE, waiting).await;
        result.unwrap_or_else(|_| {
            panic!(
                "{} waits for {what} since {PATIENCE:?}; it has told {:?}; its log:\n{}",
                self.name(),
                self.notified(),
                self.log()
            )
        })
    }

    /// Kills the agent (SIGKILL) and waits for its end. The machine lives on.
    pub async fn kill(&self) {
        self.child().kill().await;
    }

    /// Ends the agent as the service manager does: SIGTERM, and panics when it still runs after [`PATIENCE`].
    pub async fn stop(&self) -> ExitStatus {
        let child = self.child();
        child.signal(Signal::SIGTERM);
        child
            .wait_timeout(PATIENCE)
            .await
            .unwrap_or_else(|e| panic!("SIGTERM does not end it: {e}"))
    }

    /// Runs a command on this machine to its end: `BIN COMMAND --root ROOT ARGS…`, `args` being the command and what
    /// follows it. Panics after [`PATIENCE`].
    pub async fn run(&self, bin: &Path, args: &[&str]) -> Output {
        let root = self.root().display().to_string();
        let (command, rest) = args.split_first().expect("a command");
        let args = [&[*command, "--root", &root], rest].concat();
        self.run_plain(bin, &args, &[]).await
    }

    /// Runs a program with exactly these arguments, on this machine's bus. Panics after [`PATIENCE`].
    pub async fn run_plain(&self, bin: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
        let address = self.inner.bus.address();
        let env = [&[("DBUS_SYSTEM_BUS_ADDRESS", address.as_str())], env].concat();
        run(bin, args, &env, PATIENCE).await
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Ok(Some(task)) = self.auto_reboot.get_mut().map(Option::take) {
            task.abort();
        }
        if std::thread::panicking() {
            let log = fs::read(self.dir.path().join("agent.log")).unwrap_or_default();
            let log = String::from_utf8_lossy(&log).into_owned();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("--- the agent of {} wrote last:\n{end}\n---", self.name);
        }
    }
}
