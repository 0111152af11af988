//! The flags that several commands have: where the machine, etcd and the slots are. Those that are settings of the
//! configuration as well stand in one table, `SETTING_FLAGS`.

use std::{
    borrow::Cow,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use host::node::Root;
use settings::{ConfigError, Environment, Origin, Partial, Sources};

/// The flags that several commands have, in the groups that mean something together; `flags` says for which commands.
/// Except for `--config` and `--root`, each is a setting of the configuration file as well; the environment is read with
/// the configuration, so that an error can say where a value came from.
#[derive(Debug, Clone, Default, Args)]
pub struct CommonArgs {
    /// Where the machine is.
    #[command(flatten)]
    pub machine: MachineArgs,
    /// Where etcd is, and which reboot lock in it.
    #[command(flatten)]
    pub etcd: EtcdArgs,
    /// Where the slots are.
    #[command(flatten)]
    pub slots: SlotsArgs,
}

/// Where the machine is.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Machine options")]
pub struct MachineArgs {
    /// Configuration file, instead of etc/pointsman/config.yaml below --root. It must exist
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "POINTSMAN_CONFIG",
        hide_env_values = true
    )]
    pub config: Option<PathBuf>,

    /// Folder to take for /: all files of the machine are read and written below it [default: /]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "POINTSMAN_ROOT",
        hide_env_values = true,
        value_parser = folder
    )]
    pub root: Option<PathBuf>,
}

/// Where etcd is, and which reboot lock in it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "etcd options")]
pub struct EtcdArgs {
    /// URL of etcd, such as https://host:2379 or host:2379. For several, use commas or repeat the flag
    /// [env: POINTSMAN_ENDPOINT] [default: http://127.0.0.1:2379,http://127.0.0.1:4001]
    #[arg(long, global = true, value_name = "URL")]
    pub endpoint: Vec<String>,

    /// Group of nodes that share one reboot lock; "" is the default group [env: POINTSMAN_GROUP]
    #[arg(long, global = true, value_name = "NAME")]
    pub group: Option<String>,

    /// Prefix of all keys in etcd [env: POINTSMAN_KEY_PREFIX] [default: coreos.com/updateengine/rebootlock]
    #[arg(long, global = true, value_name = "PREFIX")]
    pub key_prefix: Option<String>,

    /// CA certificates (PEM) that etcd's certificate is checked with. Without it: those of the system
    /// [env: POINTSMAN_ETCD_CAFILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub etcd_cafile: Option<String>,

    /// Client certificate (PEM) for etcd. It needs --etcd-keyfile [env: POINTSMAN_ETCD_CERTFILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub etcd_certfile: Option<String>,

    /// Key (PEM) of the client certificate [env: POINTSMAN_ETCD_KEYFILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub etcd_keyfile: Option<String>,

    /// User name for etcd, if authentication is enabled there [env: POINTSMAN_ETCD_USERNAME]
    #[arg(long, global = true, value_name = "NAME")]
    pub etcd_username: Option<String>,

    /// File with the password of that user. Only its owner may have access to it [env: POINTSMAN_ETCD_PASSWORD_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub etcd_password_file: Option<String>,

    /// Longest time for one request to etcd, all endpoints together [env: POINTSMAN_TIMEOUT] [default: 5s]
    #[arg(long, global = true, value_name = "DURATION")]
    pub timeout: Option<String>,
}

/// Where the slots are.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Slot options")]
pub struct SlotsArgs {
    /// Disk with the slots, or an image of such a disk. Without it: the disk that this system booted from
    /// [env: POINTSMAN_DISK]
    #[arg(long, global = true, value_name = "DEVICE|IMAGE")]
    pub disk: Option<String>,

    /// Slot that is running: its letter, label or partition number. Without it: the slot that is mounted
    /// [env: POINTSMAN_BOOTED]
    #[arg(long, global = true, value_name = "SLOT")]
    pub booted: Option<String>,
}

/// Whether to print JSON.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct JsonArgs {
    /// Print JSON, in the format that docs/reference/commands.md describes
    #[arg(long)]
    pub json: bool,
}

/// Why a person does what they do.
#[derive(Debug, Clone, Default, Args)]
pub struct ReasonArgs {
    /// The reason, which `acts` shows
    #[arg(long, value_parser = super::pause::sentence)]
    pub reason: Option<String>,
}

/// Whether only to show what would change.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct DryRunArgs {
    /// Show what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What a flag that is a setting is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// How etcd is reached.
    Etcd,
    /// Where the reboot locks are in etcd.
    RebootLock,
    /// Which of them is meant.
    Group,
    /// Where the slots are.
    Slots,
}

/// A common flag that is a setting of the configuration as well.
pub(super) struct SettingFlag {
    /// The flag, with its dashes.
    pub(super) flag: &'static str,
    /// The key of its setting.
    pub(super) key: &'static str,
    /// What it is about.
    pub(super) about: About,
    /// The text given on this command line.
    pub(super) given: fn(&CommonArgs) -> Option<Cow<'_, str>>,
}

const fn setting(
    flag: &'static str,
    key: &'static str,
    about: About,
    given: fn(&CommonArgs) -> Option<Cow<'_, str>>,
) -> SettingFlag {
    SettingFlag {
        flag,
        key,
        about,
        given,
    }
}

fn text(given: &Option<String>) -> Option<Cow<'_, str>> {
    given.as_deref().map(Cow::Borrowed)
}

/// The common flags that are settings: the only list of them. The first three say which reboot lock is meant.
pub(super) const SETTING_FLAGS: [SettingFlag; 11] = [
    setting("--endpoint", "etcd.endpoints", About::Etcd, |args| {
        let given = &args.etcd.endpoint;
        (!given.is_empty()).then(|| Cow::Owned(given.join(",")))
    }),
    setting("--group", "group", About::Group, |args| {
        text(&args.etcd.group)
    }),
    setting("--key-prefix", "key-prefix", About::RebootLock, |args| {
        text(&args.etcd.key_prefix)
    }),
    setting("--etcd-cafile", "etcd.cafile", About::Etcd, |args| {
        text(&args.etcd.etcd_cafile)
    }),
    setting("--etcd-certfile", "etcd.certfile", About::Etcd, |args| {
        text(&args.etcd.etcd_certfile)
    }),
    setting("--etcd-keyfile", "etcd.keyfile", About::Etcd, |args| {
        text(&args.etcd.etcd_keyfile)
    }),
    setting("--etcd-username", "etcd.username", About::Etcd, |args| {
        text(&args.etcd.etcd_username)
    }),
    setting(
        "--etcd-password-file",
        "etcd.password-file",
        About::Etcd,
        |args| text(&args.etcd.etcd_password_file),
    ),
    setting("--timeout", "etcd.timeout", About::Etcd, |args| {
        text(&args.etcd.timeout)
    }),
    setting("--disk", "slots.disk", About::Slots, |args| {
        text(&args.slots.disk)
    }),
    setting("--booted", "slots.booted", About::Slots, |args| {
        text(&args.slots.booted)
    }),
];

/// A folder that is there: below a mistyped one there is no configuration, and all would be as by default.
pub(super) fn folder(text: &str) -> Result<PathBuf, String> {
    match fs::metadata(text) {
        Ok(found) if found.is_dir() => Ok(text.into()),
        Ok(_) => Err("found a file, expected a folder".into()),
        Err(error) => Err(format!("expected a folder: {error}")),
    }
}

impl CommonArgs {
    /// No flag but this root, where there is one.
    #[must_use]
    pub fn below(root: Option<PathBuf>) -> Self {
        Self {
            machine: MachineArgs { config: None, root },
            ..Self::default()
        }
    }

    /// Where the machine's files lie.
    #[must_use]
    pub fn root(&self) -> Root {
        self.machine
            .root
            .clone()
            .map_or_else(Root::default, Root::new)
    }

    /// What these flags, the environment and the files of the machine say; for the agent itself, or for a command.
    ///
    /// # Errors
    /// When a flag is wrong.
    pub fn sources(&self, agent: bool) -> Result<Sources, ConfigError> {
        Ok(Sources {
            root: self.root(),
            file: self.machine.config.clone(),
            flags: self.flags()?,
            environment: Environment::of_process(),
            defaults: Partial::default(),
            as_the_agent: !agent,
        })
    }

    /// The layer of the flags.
    fn flags(&self) -> Result<Partial, ConfigError> {
        let mut layer = Partial::default();
        for SettingFlag {
            flag, key, given, ..
        } in &SETTING_FLAGS
        {
            let Some(text) = given(self) else { continue };
            // A person names a file from where they stand.
            let file = flag.ends_with("file") || *flag == "--disk";
            let here = file && !text.is_empty() && self.root().is_host();
            let path = here.then(|| std::path::absolute(&*text).ok()).flatten();
            let path = path.as_deref().and_then(Path::to_str);
            let set = layer.set(key, path.unwrap_or(&text), Origin::Flag(flag));
            set.map_err(|error| match error {
                ConfigError::Value {
                    at,
                    found,
                    expected,
                } if file && !here => ConfigError::Value {
                    at,
                    found,
                    expected: format!(
                        "{expected}: with --root (or POINTSMAN_ROOT) it is one below {}",
                        self.root().folder().display()
                    ),
                },
                other => other,
            })?;
        }
        Ok(layer)
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};
    use settings::{Config, Password, SETTINGS};

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        common: CommonArgs,
        #[command(subcommand)]
        command: Option<Command>,
    }

    #[derive(clap::Subcommand)]
    enum Command {
        Status,
    }

    fn layer(line: &str) -> Result<Partial, ConfigError> {
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        assert!(matches!(cli.command, Some(Command::Status)));
        cli.common.flags()
    }

    #[test]
    fn flags_stand_before_and_after_the_command() {
        let given = layer(
            "x --endpoint a:1,b:2 --group g --etcd-username u --etcd-password-file /p status \
             --key-prefix p --etcd-cafile /ca --etcd-certfile /c --etcd-keyfile /k --timeout 7s",
        )
        .unwrap();
        let config = Config::resolve(&Root::default(), given).unwrap();
        assert_eq!(config.etcd.endpoints, ["https://a:1", "https://b:2"]);
        assert_eq!((config.group.as_str(), config.prefix.as_str()), ("g", "p"));
        assert_eq!(config.etcd.timeout.as_secs(), 7);
        assert_eq!(config.etcd.cafile, Some("/ca".into()));
        assert_eq!(config.etcd.identity, Some(("/c".into(), "/k".into())));
        assert_eq!(
            config.etcd.user,
            Some(("u".into(), Password::File("/p".into())))
        );
        let given = layer("x status --endpoint a:1 --endpoint b:2").unwrap();
        let config = Config::resolve(&Root::default(), given).unwrap();
        assert_eq!(config.etcd.endpoints, ["http://a:1", "http://b:2"]);
    }

    #[test]
    fn files_are_named_from_here_on_this_machine() {
        let given = layer("x status --etcd-cafile ca.pem").unwrap();
        let config = Config::resolve(&Root::default(), given).unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(config.etcd.cafile, Some(here.join("ca.pem")));
    }

    #[test]
    fn the_flags_are_repeated_as_a_shell_reads_them() {
        let line = [
            "x",
            "status",
            "--root",
            "/usr",
            "--group",
            "a b's",
            "--endpoint",
            "h:1",
            "--endpoint",
            "[::1]:2",
            "--booted",
            "",
        ];
        let cli = Cli::try_parse_from(line).unwrap();
        assert_eq!(
            cli.common.again("agent"),
            r" --endpoint 'h:1,[::1]:2' --group 'a b'\''s' --booted '' --root /usr"
        );
    }

    /// A flag that is forgotten here is missing in every command that is suggested.
    #[test]
    fn every_flag_is_repeated() {
        let command = Cli::command();
        let arguments = command.get_arguments().filter(|a| a.get_id() != "help");
        let flags: Vec<String> = arguments
            .map(|a| format!("--{}", a.get_long().unwrap()))
            .collect();
        let mut line = vec!["x", "status"];
        for flag in &flags {
            line.extend([flag.as_str(), "/usr"]);
        }
        let again = Cli::try_parse_from(line).unwrap().common.again("agent");
        let mut repeated: Vec<&str> = again.split(" /usr").map(str::trim).collect();
        repeated.retain(|flag| !flag.is_empty());
        repeated.sort_unstable();
        let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        flags.sort_unstable();
        assert_eq!(repeated, flags);
    }

    #[test]
    fn an_error_names_the_flag() {
        for (line, message) in [
            (
                "x status --timeout soon",
                "--timeout: found \"soon\", expected a duration",
            ),
            (
                "x status --endpoint a:b",
                "--endpoint: found \"a:b\", expected http(s)://",
            ),
            (
                "x status --root /usr --etcd-cafile ca",
                "--etcd-cafile: found \"ca\", expected an absolute path: with --root (or POINTSMAN_ROOT) it is one below /usr",
            ),
            (
                "x status --root /usr --disk d.img",
                "--disk: found \"d.img\", expected an absolute path: with --root (or POINTSMAN_ROOT) it is one below /usr",
            ),
        ] {
            let error = layer(line).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn the_help_names_the_variable_that_is_read() {
        let command = Cli::command();
        for argument in command.get_arguments().filter(|a| a.get_id() != "help") {
            let flag = argument.get_long().unwrap();
            let name = format!("POINTSMAN_{}", flag.to_uppercase().replace('-', "_"));
            let help = argument.get_help().unwrap().to_string();
            let read = SETTINGS.iter().any(|s| s.variable == Some(&name));
            let claps = argument.get_env().is_some_and(|env| env == name.as_str());
            assert!(
                claps || read && help.contains(&format!("[env: {name}]")),
                "{flag}: {help}"
            );
        }
    }
}
