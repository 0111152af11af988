//! Hooks: the operator's own programs, run at fixed moments of a reboot.
//!
//! Where systemd runs the machine (sd_booted(3)) each is a transient unit, outside the agent's sandbox and limits: it
//! is started by systemd-run(1), which passes its output and exit code on. Elsewhere each is run by a keeper, a process of
//! this program that ends the hook and all it started when the agent is gone. Both ways a hook has the same few variables.

pub mod available;
mod configuration;
mod files;
pub mod keeper;
mod output;

use std::{
    cell::Cell,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use jiff::Timestamp;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, Command},
    time::{Instant, timeout},
};

pub use files::MOMENTS;

use output::{Lines, read};

use crate::{
    duration,
    node::{self, Root, RootPath},
    time,
};

/// How long a hook that ran out of time has to end by itself.
const TERM: Duration = Duration::from_secs(5);
/// The exit code by which a hook says no without being at fault (EX_TEMPFAIL, sysexits.h).
pub const NOT_NOW: i32 = 75;

/// For whom hooks run. Whoever runs some ends those that one before it has left running, and never another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// The agent, or a reboot in the foreground.
    Agent,
    /// A person who locks or unlocks this node.
    Lock,
    /// A person who asks for the node's health. Several may at once.
    Health,
}

impl For {
    /// How the names of its units begin.
    fn units(self) -> &'static str {
        match self {
            Self::Agent => "pointsman-hook-",
            Self::Lock => "pointsman-lock-hook-",
            Self::Health => "pointsman-health-hook-",
        }
    }
}

/// What a hook's unit runs, with the hook as arguments: of a unit that somebody stops, and whose process ends by SIGTERM for
/// that, systemd-run says that it has succeeded ("clean" signals, systemd.service(5)). A drain would count as done.
const IN_UNIT: [&str; 4] = [
    "/bin/sh",
    "-c",
    "trap 'exit 143' TERM HUP INT; \"$@\"; exit $?",
    "hook",
];

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
pub struct Hooks {
    root: Root,
    folders: [RootPath; 2],
    /// How the names of hooks end; empty: as they like.
    ending: &'static str,
    /// What runs them; none: they are programs themselves.
    interpreter: Option<&'static str>,
    limit: Duration,
    /// When all of them have to have ended, whatever time each has.
    end_by: Cell<Option<Instant>>,
    /// For whom.
    whose: For,
    /// Whether systemd starts them.
    as_units: bool,
    /// The program whose `hook-keeper` runs them where systemd does not.
    keeper: PathBuf,
    /// Where it is said which hook runs.
    note: Option<Note>,
}

/// Who is told which hook runs.
type Note = Box<dyn Fn(String)>;

/// What every hook has besides the `POINTSMAN_…` variables. A service of systemd's has as much.
const VARIABLES: [(&str, &str); 3] = [
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    ("HOME", "/root"),
    ("LANG", "C.UTF-8"),
];

impl Hooks {
    /// The hooks of the machine under `root`, each with so much time.
    #[must_use]
    pub fn new(root: &Root, limit: Duration) -> Self {
        let folder = |under: &str| root.path(format!("{under}/pointsman/hooks"));
        Self {
            folders: [folder("usr/lib"), folder("etc")],
            ending: "",
            interpreter: None,
            root: root.clone(),
            limit,
            end_by: Cell::default(),
            whose: For::Agent,
            keeper: "/proc/self/exe".into(),
            note: None,
            as_units: root.is_host() && root.path("run/systemd/system").is_folder(),
        }
    }

    /// Greenboot's checks on the machine under `root`: of its moments there are `required.d` and `wanted.d`. Greenboot runs
    /// the files called `*.sh` there with bash, executable or not (fedora-iot/greenboot, src/handler).
    #[must_use]
    pub fn of_greenboot(root: &Root, limit: Duration) -> Self {
        let folder = |under: &str| root.path(format!("{under}/greenboot/check"));
        Self {
            folders: [folder("usr/lib"), folder("etc")],
            ending: ".sh",
            interpreter: Some("/bin/bash"),
            ..Self::new(root, limit)
        }
    }

    /// These hooks, run by another file of this program where systemd does not run them.
    #[must_use]
    pub fn kept_by(self, keeper: PathBuf) -> Self {
        Self { keeper, ..self }
    }

    /// These hooks, run for somebody else than the agent.
    #[must_use]
    pub fn run_for(self, whose: For) -> Self {
        Self { whose, ..self }
    }

    /// These hooks; which of them runs, since when and until when at the latest, is said here.
    #[must_use]
    pub fn telling(self, note: impl Fn(String) + 'static) -> Self {
        Self {
            note: Some(Box::new(note)),
            ..self
        }
    }

    /// From now on none of them runs beyond this time, however many there are.
    pub fn end_by(&self, at: Instant) {
        self.end_by.set(Some(at));
    }

    /// How long a hook that is started now may take.
    fn limit(&self) -> Duration {
        let left = self.end_by.get().map(|at| at - Instant::now());
        left.map_or(self.limit, |left| self.limit.min(left))
    }

    /// Says that this hook runs from now on.
    fn say(&self, hook: &Path, limit: Duration) {
        let Some(note) = &self.note else { return };
        let zone = node::time_zone(&self.root);
        let now = Timestamp::now();
        let until = now.saturating_add(limit).unwrap_or(now);
        note(format!(
            "the hook {} runs since {}, until {} at the latest",
            short(hook),
            time::shown(now, &zone),
            time::shown(until, &zone)
        ));
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
    async fn end_others(&self, hooks: &[RootPath]) {
        if self.as_units && !hooks.is_empty() && self.whose != For::Health {
            let all = format!("{}*.service", self.whose.units());
            // One that cannot be ended ends by itself; the moment at hand does not wait for that.
            drop(timeout(2 * TERM, stop(&all).status()).await);
        }
    }

    async fn run_one(
        &self,
        hook: RootPath,
        variables: &[(String, String)],
    ) -> Result<(), HookError> {
        tracing::info!("running the hook {}", short(&hook.shown()));
        let fail = |what: String| HookError {
            hook: hook.shown(),
            what,
            code: None,
        };
        self.usable(&hook)?;
        let limit = self.limit();
        if limit.is_zero() {
            return Err(fail("did not run, because no time was left for it".into()));
        }
        let file = hook
            .resolved()
            .map_err(|error| fail(format!("cannot be read: {error}")))?;
        let program: Vec<&Path> = self
            .interpreter
            .map(Path::new)
            .into_iter()
            .chain([&*file])
            .collect();
        let name = hook.name().to_string_lossy().into_owned();
        let unit = self.as_units.then(|| unit_name(self.whose, &name));
        // A hook that several stages link to has to know which of them it is in; the path it is called by may have no links.
        let folder = hook.parent().name().to_string_lossy().into_owned();
        let stage = ("POINTSMAN_STAGE", folder.trim_end_matches(".d"));
        let variables: Vec<(String, String)> = VARIABLES
            .into_iter()
            .chain([stage])
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .chain(variables.iter().cloned())
            .collect();
        self.say(&hook.shown(), limit);
        let child = match &unit {
            Some(unit) => as_unit(&program, unit, limit, &variables),
            None => as_child(&self.keeper, &program, &variables),
        }
        // What keeps a keeper's hook alive: the agent's end of it closes with the agent, however that ends.
        .stdin(if unit.is_some() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| fail(format!("cannot be started: {error}")))?;
        let mut group = Group::of(child, unit);
        let (out, err) = (group.child.stdout.take(), group.child.stderr.take());
        // A grandchild may hold the pipes for ever: the hook is done when it ends, and what it said until then counts.
        let mut last = Lines::default();
        let ended = timeout(limit, group.wait(&name, out, err, &mut last)).await;
        let said = |what: String| match last.text.as_str() {
            "" => what,
            line => format!("{what}; its last output: {line}"),
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
                Err(fail(said(if limit < self.limit {
                    "did not end in the time that all hooks have together".to_owned()
                } else {
                    format!("did not end within {}", duration::print(limit))
                })))
            }
        }
    }
}

/// The hook run by a keeper.
fn as_child(keeper: &Path, program: &[&Path], variables: &[(String, String)]) -> Command {
    let mut command = Command::new(keeper);
    command
        .arg(keeper::WORD)
        .args(program)
        .env_clear()
        .envs(variables.iter().cloned())
        .current_dir("/");
    command
}

/// A unit's name for one run of the hook of this name.
fn unit_name(whose: For, hook: &str) -> String {
    let plain: String = hook
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .take(64)
        .collect();
    let mut random = [0u8; 8];
    // Without randomness a second run while the first one still ends is refused, and said.
    let _ = getrandom::fill(&mut random);
    format!(
        "{}{plain}-{:016x}.service",
        whose.units(),
        u64::from_le_bytes(random)
    )
}

/// The hook as a transient unit that ends with systemd-run's own word on how. An agent that is gone is not waited for:
/// systemd ends the hook a little after the agent would have.
fn as_unit(
    program: &[&Path],
    unit: &str,
    limit: Duration,
    variables: &[(String, String)],
) -> Command {
    let hook = program.last().copied().unwrap_or(Path::new(""));
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
        .args(IN_UNIT)
        .args(program);
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

/// A hook and all it has started. Dropping it ends them.
struct Group {
    child: Child,
    id: Option<Pid>,
    /// The unit it is, where it is one.
    unit: Option<String>,
    /// What its keeper listens to, where it has one: closed, all of it is killed.
    lifeline: Option<ChildStdin>,
}

impl Group {
    fn of(mut child: Child, unit: Option<String>) -> Self {
        let id = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw);
        // Taken away from the child: waiting for it would close it.
        let lifeline = child.stdin.take();
        Self {
            child,
            id,
            unit,
            lifeline,
        }
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
        if let Some(lifeline) = &mut self.lifeline {
            // A keeper that is gone has nothing left to end.
            let _ = lifeline.write_all(&[keeper::TERMINATE]).await;
            let _ = lifeline.flush().await;
        } else if let Some(unit) = self.unit.take() {
            // systemd-run ends when its unit has.
            drop(stop(&unit).status().await);
        }
        if timeout(TERM, self.child.wait()).await.is_err() {
            self.kill();
            let _ = self.child.wait().await;
        }
    }

    fn kill(&mut self) {
        // The keeper kills all it keeps, and ends.
        if self.lifeline.take().is_none()
            && let Some(id) = self.id
        {
            // Gone already is what is wanted.
            let _ = kill(id, Signal::SIGKILL);
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
        self.kill();
        if let Some(unit) = &self.unit {
            // Not waited for; the runtime reaps it.
            drop(stop(unit).arg("--no-block").spawn());
        }
    }
}

#[cfg(test)]
mod tests;
