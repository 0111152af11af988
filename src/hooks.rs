//! Hooks: the operator's own programs, run at fixed moments of a reboot.
//!
//! Where systemd runs the machine (sd_booted(3)) each is a transient unit, outside the agent's sandbox and limits: it
//! is started by systemd-run(1), which passes its output and exit code on. Elsewhere they are plain children, each in a
//! process group of its own.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use futures_util::FutureExt as _;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    task::unconstrained,
    time::timeout,
};

use crate::{duration, node::Root};

/// How long a hook that ran out of time has to end by itself.
const TERM: Duration = Duration::from_secs(5);
/// The exit code by which a hook says no without being at fault (EX_TEMPFAIL, sysexits.h).
pub const NOT_NOW: i32 = 75;
/// The units that hooks are.
const UNITS: &str = "pointsman-hook-*.service";
/// How much of one hook's output is logged, in bytes.
const OUTPUT: usize = 64 * 1024;
/// How much a pipe holds, and the buffer that reads it (pipe(7)).
const PIPE: usize = 64 * 1024 + 8 * 1024;

/// Why a hook did not do what it is for.
#[derive(Debug, thiserror::Error)]
#[error("the hook {} {what}", short(hook))]
pub struct HookError {
    /// The file.
    pub hook: PathBuf,
    /// What it did instead, and its last line of output.
    pub what: String,
    /// Its exit code, where it ended with one.
    pub code: Option<i32>,
}

/// A hook by its folder and name, as its operator knows it.
fn short(hook: &Path) -> String {
    let name = hook.file_name().unwrap_or_default().to_string_lossy();
    match hook.parent().and_then(Path::file_name) {
        Some(folder) => format!("{}/{name}", folder.to_string_lossy()),
        None => name.into_owned(),
    }
}

/// The hooks of a machine.
#[derive(Debug)]
pub struct Hooks {
    folders: [PathBuf; 2],
    limit: Duration,
    /// Whether systemd starts them.
    as_units: bool,
}

impl Hooks {
    /// The hooks of the machine under `root`, each with so much time.
    #[must_use]
    pub fn new(root: &Root, limit: Duration) -> Self {
        let folder = |under: &str| root.path(format!("{under}/pointsman/hooks"));
        Self {
            folders: [folder("usr/lib"), folder("etc")],
            limit,
            as_units: root.is_host() && root.path("run/systemd/system").is_dir(),
        }
    }

    /// The files of one moment, such as `pre-reboot.d`, in the order they run in: by name; of one name under both
    /// `/etc` and `/usr/lib` the one under `/etc`, which disables it when it is a link to `/dev/null`.
    ///
    /// # Errors
    /// When a folder is there and cannot be read, or is a link to nothing: what would have run is not known.
    pub fn list(&self, moment: &str) -> Result<Vec<PathBuf>, HookError> {
        let mut hooks: BTreeMap<OsString, PathBuf> = BTreeMap::new();
        for folder in &self.folders {
            let folder = folder.join(moment);
            let unreadable = |error: io::Error| HookError {
                what: format!("cannot be looked for: {}: {error}", folder.display()),
                hook: folder.clone(),
                code: None,
            };
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if is_absent(&folder, &error) => continue,
                Err(error) => return Err(unreadable(error)),
            };
            for entry in entries {
                let entry = entry.map_err(unreadable)?;
                let name = entry.file_name();
                let text = name.to_string_lossy();
                // What editors and package managers leave behind is no hook.
                if !text.starts_with('.') && !text.ends_with('~') && !text.contains(".dpkg-") {
                    hooks.insert(name.clone(), entry.path());
                }
            }
        }
        Ok(hooks
            .into_values()
            .filter(|path| fs::canonicalize(path).ok().as_deref() != Some(Path::new("/dev/null")))
            .collect())
    }

    /// Whether all hooks of one moment could be run.
    ///
    /// # Errors
    /// The first that could not, with its reason.
    pub fn check(&self, moment: &str) -> Result<(), HookError> {
        self.list(moment)?.iter().try_for_each(|hook| usable(hook))
    }

    /// Runs the hooks of one moment until one fails.
    ///
    /// # Errors
    /// The first that fails, with its reason.
    pub async fn run(&self, moment: &str, variables: &[(String, String)]) -> Result<(), HookError> {
        let hooks = self.list(moment)?;
        self.end_others(&hooks).await;
        for hook in hooks {
            self.run_one(hook, variables).await?;
        }
        Ok(())
    }

    /// Runs all hooks of one moment, also after one that fails; those that did.
    pub async fn run_all(&self, moment: &str, variables: &[(String, String)]) -> Vec<HookError> {
        let hooks = match self.list(moment) {
            Ok(hooks) => hooks,
            Err(error) => return vec![error],
        };
        self.end_others(&hooks).await;
        let mut failed = Vec::new();
        for hook in hooks {
            failed.extend(self.run_one(hook, variables).await.err());
        }
        failed
    }

    /// Ends what an agent that died, or a moment that was given up, has left running: a drain that goes on beside the
    /// undrain would be the last word.
    async fn end_others(&self, hooks: &[PathBuf]) {
        if self.as_units && !hooks.is_empty() {
            // One that cannot be ended ends by itself; the moment at hand does not wait for that.
            drop(timeout(2 * TERM, stop(UNITS).status()).await);
        }
    }

    async fn run_one(
        &self,
        hook: PathBuf,
        variables: &[(String, String)],
    ) -> Result<(), HookError> {
        tracing::info!("running the hook {}", short(&hook));
        let fail = |what: String| HookError {
            hook: hook.clone(),
            what,
            code: None,
        };
        usable(&hook)?;
        let name = hook
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let unit = self.as_units.then(|| unit_name(&name));
        let child = match &unit {
            Some(unit) => as_unit(&hook, unit, self.limit, variables),
            None => {
                let mut command = Command::new(&hook);
                // What only the agent is told stays with it; a unit starts without it.
                for secret in ["LOCKSMITHD_ETCD_PASSWORD", "LOCKSMITH_PASSWORD_OF_FLAG"] {
                    command.env_remove(secret);
                }
                command.envs(variables.iter().cloned());
                command
            }
        }
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| fail(format!("cannot be started: {error}")))?;
        let mut group = Group::of(child, unit);
        let (out, err) = (group.child.stdout.take(), group.child.stderr.take());
        // A grandchild may hold the pipes for ever: the hook is done when it ends, and what it said until then counts.
        let mut last = Lines::default();
        let ended = timeout(self.limit, group.wait(&name, out, err, &mut last)).await;
        let said = |what: String| match last.text.as_str() {
            "" => what,
            line => format!("{what}; it said last: {line}"),
        };
        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(HookError {
                code: status.code(),
                ..fail(said(describe(status)))
            }),
            Ok(Err(error)) => Err(fail(format!("cannot be waited for: {error}"))),
            Err(_) => {
                group.end().await;
                Err(fail(said(format!(
                    "did not end within {}",
                    duration::print(self.limit)
                ))))
            }
        }
    }
}

/// Whether a hook is a program.
fn usable(hook: &Path) -> Result<(), HookError> {
    let what = match fs::metadata(hook) {
        Ok(m) if m.is_file() && m.permissions().mode() & 0o111 != 0 => return Ok(()),
        Ok(_) => "is not executable; chmod +x it, or take it away".into(),
        Err(error) => format!("cannot be read: {error}"),
    };
    Err(HookError {
        hook: hook.to_owned(),
        what,
        code: None,
    })
}

/// Whether there is no such folder, and no link above it that leads to nothing.
fn is_absent(folder: &Path, error: &io::Error) -> bool {
    let dangles = |path: &Path| path.is_symlink() && !path.exists();
    error.kind() == io::ErrorKind::NotFound && !folder.ancestors().take(3).any(dangles)
}

/// A unit's name for one run of the hook of this name.
fn unit_name(hook: &str) -> String {
    let plain: String = hook
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .take(64)
        .collect();
    let mut random = [0u8; 8];
    // Without randomness a second run while the first one still ends is refused, and said.
    let _ = getrandom::fill(&mut random);
    format!(
        "pointsman-hook-{plain}-{:016x}.service",
        u64::from_le_bytes(random)
    )
}

/// The hook as a transient unit that ends with systemd-run's own word on how. An agent that is gone is not waited for:
/// systemd ends the hook a little after the agent would have.
fn as_unit(hook: &Path, unit: &str, limit: Duration, variables: &[(String, String)]) -> Command {
    let mut command = Command::new("systemd-run");
    command
        .args(["--quiet", "--collect", "--wait", "--pipe"])
        .arg(format!("--unit={unit}"))
        .arg(format!("--description=pointsman hook {}", hook.display()))
        .arg(format!("--property=RuntimeMaxSec={}", limit.as_secs() + 60))
        .arg(format!("--property=TimeoutStopSec={}", TERM.as_secs()))
        .args(
            variables
                .iter()
                .map(|(name, value)| format!("--setenv={name}={value}")),
        )
        .arg("--")
        .arg(hook);
    command
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) if code == NOT_NOW => format!("says not now (exit code {code})"),
        (Some(code), _) => format!("failed with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "failed".into(),
    }
}

/// The last line a hook said, and how much it has said.
#[derive(Default)]
struct Lines {
    text: String,
    logged: usize,
}

impl Lines {
    fn take(&mut self, hook: &str, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        if self.logged < OUTPUT {
            tracing::info!("{hook}: {line}");
            if self.logged + line.len() >= OUTPUT {
                tracing::warn!("{hook} says more than {OUTPUT} bytes; the rest is not logged");
            }
        }
        self.logged += line.len();
        self.text = line.chars().take(500).collect();
    }
}

impl Lines {
    /// What stands in a pipe of a hook that has ended: all it has said by then, and no more than a pipe holds.
    fn take_rest(
        &mut self,
        hook: &str,
        from: &mut Option<BufReader<impl AsyncRead + Unpin>>,
        mut line: Vec<u8>,
    ) {
        let mut left = PIPE;
        while left > 0
            && let Some(true) = unconstrained(read(from, &mut line)).now_or_never()
        {
            left = left.saturating_sub(line.len().max(1));
            self.take(hook, &line);
            line.clear();
        }
        self.take(hook, &line);
    }
}

/// A hook and all it has started, unless that left its process group. Dropping it ends them.
struct Group {
    child: Child,
    id: Option<Pid>,
    /// The unit it is, where it is one.
    unit: Option<String>,
}

impl Group {
    fn of(child: Child, unit: Option<String>) -> Self {
        let id = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw);
        Self { child, id, unit }
    }

    async fn wait(
        &mut self,
        name: &str,
        out: Option<impl AsyncRead + Unpin>,
        err: Option<impl AsyncRead + Unpin>,
        last: &mut Lines,
    ) -> io::Result<ExitStatus> {
        let mut out = out.map(BufReader::new);
        let mut err = err.map(BufReader::new);
        let (mut line, mut error) = (Vec::new(), Vec::new());
        let status = loop {
            tokio::select! {
                biased;
                // First of all: what it left behind may talk without end.
                status = self.child.wait() => break status,
                more = read(&mut out, &mut line) => if !more { out = None } else { last.take(name, &line); line.clear() },
                more = read(&mut err, &mut error) => if !more { err = None } else { last.take(name, &error); error.clear() },
            }
        };
        last.take_rest(name, &mut out, line);
        last.take_rest(name, &mut err, error);
        // What it left running goes on; a service it started, for example.
        self.id = None;
        self.unit = None;
        status
    }

    async fn end(&mut self) {
        match self.unit.take() {
            // systemd-run ends when its unit has.
            Some(unit) => drop(stop(&unit).status().await),
            None => self.signal(Signal::SIGTERM),
        }
        if timeout(TERM, self.child.wait()).await.is_err() {
            self.signal(Signal::SIGKILL);
            let _ = self.child.wait().await;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = self.id {
            // Gone already is what is wanted.
            let _ = killpg(id, signal);
        }
    }
}

/// Stops a unit, and all its processes with it.
fn stop(unit: &str) -> Command {
    let mut command = Command::new("systemctl");
    command
        .args(["stop", "--quiet", unit])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        if let Some(unit) = &self.unit {
            // Not waited for; the runtime reaps it.
            drop(stop(unit).arg("--no-block").spawn());
        }
    }
}

/// Reads one line, or 8 KiB of a longer one; false at the end.
async fn read(from: &mut Option<BufReader<impl AsyncRead + Unpin>>, line: &mut Vec<u8>) -> bool {
    let Some(from) = from else {
        return std::future::pending().await;
    };
    loop {
        let Ok(buffer) = from.fill_buf().await else {
            return false;
        };
        if buffer.is_empty() {
            return !line.is_empty();
        }
        let end = buffer.iter().position(|b| *b == b'\n');
        let taken = end.map_or(buffer.len(), |end| end + 1);
        line.extend_from_slice(&buffer[..taken]);
        from.consume(taken);
        if end.is_some() || line.len() > 8192 {
            return true;
        }
    }
}

#[cfg(test)]
mod tests;
