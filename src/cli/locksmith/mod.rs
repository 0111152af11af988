//! Locksmith's names: called `locksmithctl` or `locksmithd`, the program takes that program's flags and environment,
//! prints its outputs and exits with its codes (docs/how-to/locksmith.md). Measured on locksmith 0.6.2.

mod commands;
mod flags;

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use flags::{Flags, NAMES, PASSWORD};
use host::node::Root;
use settings::{ConfigError, Environment, Origin, Partial, Sources};

use super::{
    Context, Exit, Words,
    common::CommonArgs,
    go_flags::{self, Wrong},
    output,
};
use crate::agent::{
    bus::{AgentClient, ClientError},
    situation::Request,
};

/// By which of locksmith's names the program was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompatMode {
    /// `locksmithctl`.
    Commands,
    /// `locksmithd`.
    Daemon,
}

/// What a run was told, ready to be done.
pub struct Call {
    mode: CompatMode,
    flags: Flags,
}

/// The variable by which a password given as a flag comes to the restarted program. It counts as that flag, so it is
/// none of the configuration's own.
const PASSWORD_OF_FLAG: &str = "LOCKSMITH_PASSWORD_OF_FLAG";

impl CompatMode {
    /// The mode for the name in the first argument of the process; none for any other name.
    #[must_use]
    pub fn called(program: &str) -> Option<Self> {
        match Path::new(program).file_name()?.to_str()? {
            "locksmithctl" => Some(Self::Commands),
            "locksmithd" => Some(Self::Daemon),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Commands => "locksmithctl",
            Self::Daemon => "locksmithd",
        }
    }

    fn variable_prefix(self) -> &'static str {
        match self {
            Self::Commands => "LOCKSMITHCTL_",
            Self::Daemon => "LOCKSMITHD_",
        }
    }

    /// Reads the words after the program's name.
    #[must_use]
    pub fn read(self, args: Vec<String>) -> Words<Call> {
        let flags = match flags::parse(args) {
            Ok(flags) => flags,
            Err(Wrong::Help) => {
                output::note(commands::flags_help(self.name()));
                return Words::Said(0);
            }
            Err(Wrong::Usage(why)) => {
                output::note(format!("{why}\n{}", commands::flags_help(self.name())));
                return Words::Said(2);
            }
        };
        if flags.version {
            let version = env!("CARGO_PKG_VERSION");
            return Words::Said(said(output::say(format!(
                "{} version {version}",
                self.name()
            ))));
        }
        if flags.values.iter().any(|(name, _)| *name == PASSWORD) {
            return Words::Said(self.again_without_the_password(flags));
        }
        Words::Do(Call { mode: self, flags })
    }

    /// Restarts the program with the password in its environment, which only this user and root can read: the
    /// arguments of a process everybody can. Returns only where that fails.
    fn again_without_the_password(self, flags: Flags) -> u8 {
        let mut command = Command::new("/proc/self/exe");
        command.arg0(self.name());
        for (name, value) in &flags.values {
            if *name == PASSWORD {
                command.env(PASSWORD_OF_FLAG, value);
            } else {
                command.arg(format!("-{name}={value}"));
            }
        }
        if let Some(debug) = flags.debug {
            command.arg(format!("-debug={debug}"));
        }
        let error = command.arg("--").args(flags.words).exec();
        output::note(format!("{}: cannot restart itself: {error}", self.name()));
        1
    }
}

/// The exit code of what only prints.
fn said(printed: Result<(), super::Failure>) -> u8 {
    match printed {
        Ok(()) => 0,
        Err(failure) => {
            output::note(failure);
            1
        }
    }
}

impl Call {
    /// Whether it runs the agent.
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.mode == CompatMode::Daemon
    }

    /// Whether everything is to be logged. A variable that says neither yes nor no is passed over, as by locksmith.
    #[must_use]
    pub fn debug(&self) -> bool {
        self.flags.debug.unwrap_or_else(|| {
            let variable = std::env::var(format!("{}DEBUG", self.mode.variable_prefix()));
            variable.is_ok_and(|text| go_flags::boolean(&text) == Some(true))
        })
    }

    /// Does it; the exit code.
    pub async fn run(self) -> u8 {
        match self.mode {
            CompatMode::Commands => commands::run(&self.flags).await,
            CompatMode::Daemon => daemon(&self.flags).await,
        }
    }
}

/// The sources of the configuration behind this mode.
fn sources(mode: CompatMode, flags: &Flags) -> Result<Sources, ConfigError> {
    let environment = Environment::of_process();
    let mut layer = Partial::default();
    for (name, key) in NAMES {
        let Some((_, text)) = flags.values.iter().find(|(given, _)| *given == name) else {
            continue;
        };
        // As with locksmith's flags an empty one is none.
        if text.is_empty() && name != "group" {
            continue;
        }
        // A person names a file from where they stand.
        let path = name
            .ends_with("file")
            .then(|| std::path::absolute(text).ok());
        let path = path
            .flatten()
            .and_then(|path| path.to_str().map(str::to_owned));
        layer.set(
            key,
            path.as_deref().unwrap_or(text),
            Origin::Flag(dashed(name)),
        )?;
    }
    let password = std::env::var(PASSWORD_OF_FLAG).unwrap_or_default();
    if !password.is_empty() {
        layer.set_password(&password, Origin::Flag("-etcd-password"))?;
    }
    let mut defaults = Partial::default();
    match mode {
        CompatMode::Commands => layer = layer.over(environment.of_commands()?),
        CompatMode::Daemon => defaults.set("strategy", "reboot", Origin::Default)?,
    }
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let root = path("POINTSMAN_ROOT").map_or_else(Root::default, Root::new);
    if !root.folder().is_dir() {
        return Err(ConfigError::File {
            path: root.folder().to_owned(),
            found: "no folder in POINTSMAN_ROOT".into(),
            expected: "the folder that has the machine's files".into(),
            remedy: None,
        });
    }
    Ok(Sources {
        root,
        file: path("POINTSMAN_CONFIG"),
        flags: layer,
        environment,
        defaults,
        as_the_agent: mode == CompatMode::Commands,
    })
}

fn dashed(name: &'static str) -> &'static str {
    match name {
        "endpoint" => "-endpoint",
        "etcd-cafile" => "-etcd-cafile",
        "etcd-certfile" => "-etcd-certfile",
        "etcd-keyfile" => "-etcd-keyfile",
        "etcd-username" => "-etcd-username",
        _ => "-group",
    }
}

/// Runs the agent, as `pointsman agent` does, with locksmith's default strategy.
async fn daemon(flags: &Flags) -> u8 {
    let run = async {
        let sources = sources(CompatMode::Daemon, flags)?;
        super::agent::run(Context::strict(sources, CommonArgs::default())?).await
    };
    match run.await {
        Ok(()) => 0,
        Err(failure) => {
            output::note(format!("locksmithd: {failure}"));
            failure.exit as u8
        }
    }
}

/// The words of a process; those that are no text are shown as they can be.
#[must_use]
pub fn words(args: impl IntoIterator<Item = OsString>) -> Vec<String> {
    args.into_iter()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect()
}

/// Reboots through the agent, or as it would.
async fn reboot(context: Context, reason: &str) -> Result<(), super::Failure> {
    let client = AgentClient::connect(&context.config.root).await?;
    match client.request_reboot(reason).await {
        Err(ClientError::NotRunning) => {
            let done = super::reboot::here(context, Request::new(reason), true).await;
            match done {
                // Locksmith's ended well when it was told to end.
                Err(failure) if matches!(failure.exit, Exit::Interrupted | Exit::Terminated) => {
                    Ok(())
                }
                done => done,
            }
        }
        asked => Ok(asked?),
    }
}
