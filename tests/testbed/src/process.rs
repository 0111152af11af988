//! Children that die with the test process.
//!
//! They run under `setpriv --pdeathsig KILL`. That signal comes when the *thread* that spawned the child ends
//! (prctl(2), PR_SET_PDEATHSIG), and a test's thread ends with its test; so one thread that never ends spawns all.
//! Each child has a thread of its own that reaps it: no runtime is needed, and there are no zombies.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

pub use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::sync::watch;

/// Variables that would change what etcd, the agent or the commands do; a child gets them only when told.
const NOT_INHERITED: [&str; 9] = [
    "ETCD",
    "POINTSMAN",
    "LOCKSMITH",
    "REBOOT_",
    "DBUS_",
    "NOTIFY_",
    "WATCHDOG_",
    "GROUP",
    "RUST_LOG",
];

/// What to run.
#[derive(Clone, Debug)]
pub struct Spec {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Spec {
    /// `program` (found in PATH when it has no slash), whose output is appended to the file `log`.
    pub fn new(program: impl AsRef<OsStr>, log: impl AsRef<Path>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            stdout: log.as_ref().to_owned(),
            stderr: log.as_ref().to_owned(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args
            .extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sends stderr to another file than stdout.
    #[must_use]
    pub fn stderr(mut self, file: impl AsRef<Path>) -> Self {
        self.stderr = file.as_ref().to_owned();
        self
    }

    /// Starts it.
    pub fn spawn(&self) -> Child {
        let open = |path: &Path| {
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .unwrap_or_else(|e| panic!("cannot open the log {}: {e}", path.display()))
        };
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.program)
            .args(&self.args);
        for (name, _) in std::env::vars_os() {
            if NOT_INHERITED
                .iter()
                .any(|p| name.as_encoded_bytes().starts_with(p.as_bytes()))
            {
                command.env_remove(name);
            }
        }
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        command
            .stdin(Stdio::null())
            .stdout(open(&self.stdout))
            .stderr(open(&self.stderr));
        let (reply, answer) = mpsc::channel();
        spawner()
            .send((command, reply))
            .expect("the spawner thread never ends");
        let child = answer
            .recv()
            .expect("the spawner thread answers")
            .unwrap_or_else(|e| {
                panic!(
                    "cannot run setpriv (Debian package util-linux) for {:?}: {e}",
                    self.program
                )
            });
        Child::watch(self, child)
    }
}

type Order = (Command, mpsc::Sender<std::io::Result<std::process::Child>>);

fn spawner() -> &'static mpsc::Sender<Order> {
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for (mut command, reply) in inbox {
                    let _ = reply.send(command.spawn());
                }
            })
            .expect("a thread can be started");
        orders
    })
}

/// A running (or ended) child. Dropping it kills it; its own thread reaps it.
#[derive(Debug)]
pub struct Child {
    name: String,
    pid: u32,
    log: PathBuf,
    /// Held while signalling and while reaping, so that no signal goes to a pid that has a new owner.
    alive: Arc<Mutex<bool>>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl Child {
    fn watch(spec: &Spec, mut child: std::process::Child) -> Self {
        let pid = child.id();
        let alive = Arc::new(Mutex::new(true));
        let (tell, ended) = watch::channel(None);
        let alive_there = alive.clone();
        std::thread::Builder::new()
            .name(format!("wait-{pid}"))
            .spawn(move || {
                let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
                while waitid(Id::Pid(as_pid(pid)), flags) == Err(nix::errno::Errno::EINTR) {}
                let mut alive = alive_there
                    .lock()
                    .expect("nothing panics while it is locked");
                *alive = false;
                let _ = tell.send(child.wait().ok());
            })
            .expect("a thread can be started");
        let name = Path::new(&spec.program)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Self {
            name,
            pid,
            log: spec.stdout.clone(),
            alive,
            ended,
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal; nothing happens when the child has ended.
    pub fn signal(&self, signal: Signal) {
        let alive = self
            .alive
            .lock()
            .expect("nothing panics while it is locked");
        if *alive {
            nix::sys::signal::kill(as_pid(self.pid), signal).unwrap_or_else(|e| {
                panic!("cannot send {signal} to {} ({}): {e}", self.name, self.pid)
            });
        }
    }

    /// Whether it still runs (or is stopped).
    pub fn is_running(&self) -> bool {
        self.ended.borrow().is_none()
    }

    /// Waits for its end.
    pub async fn wait(&self) -> ExitStatus {
        let mut ended = self.ended.clone();
        ended
            .wait_for(Option::is_some)
            .await
            .expect("the waiting thread always reports")
            .expect("waited until there is a status")
    }

    /// Waits for its end, at most `limit`. The error shows the end of its log.
    pub async fn wait_timeout(&self, limit: Duration) -> Result<ExitStatus, String> {
        tokio::time::timeout(limit, self.wait()).await.map_err(|_| {
            format!(
                "{} ({}) still runs after {limit:?}; its log ends:\n{}",
                self.name,
                self.pid,
                self.log_tail(20)
            )
        })
    }

    /// Kills it and waits until it is reaped.
    pub async fn kill(&self) -> ExitStatus {
        self.signal(Signal::SIGKILL);
        self.wait().await
    }

    /// All it has written to its log.
    pub fn log(&self) -> String {
        read_lossy(&self.log)
    }

    /// The last `lines` of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A panic in a drop during a panic would abort the whole test binary: errors do not matter here.
        if let Ok(alive) = self.alive.lock()
            && *alive
        {
            let _ = nix::sys::signal::kill(as_pid(self.pid), Signal::SIGKILL);
        }
    }
}

fn as_pid(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("Linux pids fit into i32"))
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Output {
    /// It must have ended so; its standard output.
    #[track_caller]
    pub fn must(self, code: i32) -> String {
        let Self { stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "{stdout}\n{stderr}");
        self.stdout
    }
}

/// Gives a command this input and waits for its end.
pub fn call(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("cannot run {:?}: {e}", command.get_program()));
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read is not our failure.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().expect("a child can be waited for");
    let text = |bytes| String::from_utf8(bytes).expect("programs print text");
    Output {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Runs a command to its end, at most `limit`, then panics showing what it had printed.
pub async fn run(
    program: impl AsRef<OsStr>,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    env: &[(&str, &str)],
    limit: Duration,
) -> Output {
    let dir = crate::scratch::dir("run");
    let (stdout, stderr) = (dir.path().join("stdout"), dir.path().join("stderr"));
    let mut spec = Spec::new(program, &stdout).stderr(&stderr).args(args);
    for (name, value) in env {
        spec = spec.env(name, value);
    }
    let child = spec.spawn();
    let status = tokio::time::timeout(limit, child.wait()).await;
    let (stdout, stderr) = (read_lossy(&stdout), read_lossy(&stderr));
    let Ok(status) = status else {
        panic!(
            "{:?} {:?} did not end within {limit:?}\nstdout: {stdout}\nstderr: {stderr}",
            spec.program, spec.args
        );
    };
    Output {
        code: status.code(),
        stdout,
        stderr,
    }
}

#[cfg(test)]
mod tests;
