//! Which of the common flags mean something for which command. One table: from it follow what `--help` of a command lists,
//! what is completed, and which flags are refused.

use std::{borrow::Cow, path::PathBuf};

use clap::{
    Arg, ArgMatches, Args as _, Command, CommandFactory as _, error::ErrorKind, parser::ValueSource,
};

use super::{
    Cli,
    common::{About, CommonArgs, EtcdArgs, MachineArgs, SETTING_FLAGS, SettingFlag, SlotsArgs},
    output,
};

/// Flags that mean something together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    /// `--root`.
    Root,
    /// `--config`.
    Config,
    /// `--endpoint` and what else leads to etcd.
    Etcd,
    /// `--key-prefix`: where the reboot locks are there.
    RebootLock,
    /// `--group`: which of them it is.
    Which,
    /// `--disk`, `--booted`.
    Slots,
}
use Group::{Config, Etcd, RebootLock, Root, Slots, Which};

const ALL: [Group; 6] = [Root, Config, Etcd, RebootLock, Which, Slots];
/// Of a command that asks etcd about a reboot lock.
const ASKS: &[Group] = &[Root, Config, Etcd, RebootLock, Which];

/// Of a command about all groups.
const OF_ALL_GROUPS: &[Group] = &[Root, Config, Etcd, RebootLock];

/// The groups of a command, by its words; the longest line that fits counts. For a command that is not here all of them
/// mean something.
const OF_COMMANDS: [(&[&str], &[Group]); 29] = [
    (&["status"], ASKS),
    (&["lock"], ASKS),
    (&["unlock"], ASKS),
    (&["set-max"], ASKS),
    (&["policy"], ASKS),
    // All groups are shown.
    (&["waves"], OF_ALL_GROUPS),
    (&["waves", "open"], ASKS),
    (&["soak"], &[Root, Config]),
    (&["forget"], ASKS),
    (&["quarantine"], OF_ALL_GROUPS),
    (&["acts"], ASKS),
    // With --cluster.
    (&["history"], ASKS),
    // Its clients name their groups.
    (&["serve"], OF_ALL_GROUPS),
    (&["import-locksmith"], ASKS),
    (&["pause"], ASKS),
    (&["resume"], ASKS),
    // Where such a command is suggested.
    (&["pause", "--all"], OF_ALL_GROUPS),
    (&["resume", "--all"], OF_ALL_GROUPS),
    (&["store"], OF_ALL_GROUPS),
    (&["slots"], &[Root, Config, Slots]),
    (&["update"], &[Root, Config]),
    (&["windows"], &[Root, Config]),
    (&["hooks"], &[Root]),
    // Which slot boots after it.
    (&["cancel"], &[Root, Config, Slots]),
    // A document may stand in etcd.
    (&["cloud-config"], &[Root, Config, Etcd]),
    (&["cloud-config", "revert"], &[Root]),
    (&["cloud-config", "history"], &[Root]),
    (&["cloud-config", "schema"], &[]),
    (&["help"], &[]),
];

fn groups(path: &[&str]) -> &'static [Group] {
    let fitting = OF_COMMANDS
        .iter()
        .filter(|(words, _)| path.starts_with(words));
    let longest = fitting.max_by_key(|(words, _)| words.len());
    longest.map_or(&ALL, |(_, groups)| groups)
}

impl Group {
    fn flags(self) -> Vec<Arg> {
        let none = Command::new("flags");
        let command = match self {
            Root | Config => MachineArgs::augment_args(none),
            Etcd | RebootLock | Which => EtcdArgs::augment_args(none),
            Slots => SlotsArgs::augment_args(none),
        };
        let own = |arg: &&Arg| arg.get_long().is_some_and(|long| self.has(long));
        command.get_arguments().filter(own).cloned().collect()
    }

    /// Whether the flag of this long name is one of these.
    fn has(self, long: &str) -> bool {
        let about = match self {
            Root => return long == "root",
            Config => return long == "config",
            Etcd => About::Etcd,
            RebootLock => About::RebootLock,
            Which => About::Group,
            Slots => About::Slots,
        };
        let own = |one: &&SettingFlag| one.about == about;
        let mut own = SETTING_FLAGS.iter().filter(own);
        own.any(|one| one.flag.trim_start_matches('-') == long)
    }

    /// Why its flags mean nothing for a command.
    fn unused(self) -> &'static str {
        match self {
            Root => "it reads no files of the machine",
            Config => "it reads no configuration",
            Etcd => "it does not use etcd",
            RebootLock => "it does not use the reboot lock",
            Which => "it is of no single group",
            Slots => "it does not use the slots",
        }
    }
}

/// Whether the common flag of this long name means something for a command. The path is the command's words, such as
/// `slots next`.
fn means_something(path: &[&str], flag: &str) -> bool {
    groups(path).iter().any(|group| group.has(flag))
}

impl CommonArgs {
    /// These flags once more, as far as they mean something for the command of these words, as a shell reads them and with a
    /// blank before each: a command that is suggested without them would act on something else. What the environment says
    /// it says to that command as well.
    #[must_use]
    pub fn again(&self, words: &str) -> String {
        let command: Vec<&str> = words.split_whitespace().collect();
        let path = |path: &Option<PathBuf>, variable| {
            let given = path.as_ref().filter(|path| {
                std::env::var_os(variable).is_none_or(|value| value != path.as_os_str())
            });
            given.map(|path| Cow::Owned(path.display().to_string()))
        };
        let machine = [
            ("--config", path(&self.machine.config, "POINTSMAN_CONFIG")),
            ("--root", path(&self.machine.root, "POINTSMAN_ROOT")),
        ];
        let settings = SETTING_FLAGS.iter();
        settings
            .map(|one| (one.flag, (one.given)(self)))
            .chain(machine)
            .filter(|(flag, _)| means_something(&command, flag.trim_start_matches('-')))
            .filter_map(|(flag, text)| Some(format!(" {flag} {}", output::word(text.as_deref()?))))
            .collect()
    }
}

/// The description of the command line: every command with the flags that mean something for it.
#[must_use]
pub fn command() -> Command {
    let mut path = Vec::new();
    hide(Cli::command(), &mut path)
}

/// Hides from a command, and from those below it, the common flags that mean nothing there. They are read all the same, to
/// be refused with a reason.
fn hide(mut command: Command, path: &mut Vec<String>) -> Command {
    if !path.is_empty() {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let shown = groups(&words);
        for flag in ALL
            .iter()
            .filter(|group| !shown.contains(group))
            .flat_map(|group| group.flags())
        {
            // One that the command has itself is another flag.
            if command
                .get_arguments()
                .all(|own| own.get_long() != flag.get_long())
            {
                command = command.arg(flag.hide(true));
            }
        }
    }
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for name in names {
        path.push(name.clone());
        command = command.mut_subcommand(name, |sub| hide(sub, path));
        path.pop();
    }
    command
}

/// Refuses a flag of the command line that means nothing for the command it was given to.
///
/// # Errors
/// With the flag, the command, and why it means nothing.
pub fn check(command: &mut Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let (mut path, mut leaf, mut below) = (Vec::new(), &*command, matches);
    while let Some((name, matches)) = below.subcommand() {
        path.push(name);
        below = matches;
        match leaf.find_subcommand(name) {
            Some(sub) => leaf = sub,
            None => break,
        }
    }
    let shown = groups(&path);
    for group in ALL.iter().filter(|group| !shown.contains(group)) {
        for flag in group.flags() {
            let id = flag.get_id().as_str();
            let own = leaf
                .get_arguments()
                .any(|arg| arg.get_id() == id && !arg.is_hide_set());
            if own || matches.value_source(id) != Some(ValueSource::CommandLine) {
                continue;
            }
            let words = path.join(" ");
            let why = format!(
                "--{} cannot be used with `pointsman {words}`: {}",
                flag.get_long().unwrap_or(id),
                group.unused()
            );
            return Err(command.error(ErrorKind::ArgumentConflict, why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(words: &[&str]) -> String {
        let mut command = command();
        command.build();
        let mut at = &mut command;
        for word in words {
            at = at.find_subcommand_mut(word).unwrap();
        }
        at.render_long_help().to_string()
    }

    #[test]
    fn the_table_names_commands_that_are_there() {
        let command = Cli::command();
        for (words, _) in OF_COMMANDS {
            let mut at = Some(&command);
            for word in words {
                let flag = word.strip_prefix("--");
                at = at.and_then(|at| match flag {
                    Some(flag) => at
                        .get_arguments()
                        .any(|arg| arg.get_long() == Some(flag))
                        .then_some(at),
                    None => at.find_subcommand(word),
                });
            }
            assert!(
                at.is_some() || ["help", "store"].contains(&words[0]),
                "{words:?}"
            );
        }
    }

    #[test]
    fn the_help_of_a_command_lists_what_means_something_for_it() {
        for (words, has, has_not) in [
            (
                &["slots"][..],
                &["--disk", "--booted", "--root", "--config"][..],
                &["--endpoint", "--group", "--timeout"][..],
            ),
            (
                &["slots", "next"],
                &["--disk", "--boot"],
                &["--endpoint", "--etcd-cafile"],
            ),
            (
                &["status"],
                &["--endpoint", "--group", "--root"],
                &["--disk", "--booted"],
            ),
            (
                &["update", "status"],
                &["--root"],
                &["--endpoint", "--disk", "--timeout"],
            ),
            (&["agent"], &["--endpoint", "--disk", "--root"], &[]),
            (
                &["cloud-config", "plan"],
                &["--endpoint", "--root", "--config"],
                &["--disk", "--group", "--key-prefix"],
            ),
            (
                &["cloud-config", "revert"],
                &["--root"],
                &["--config", "--endpoint"],
            ),
            (
                &["cloud-config", "schema"],
                &[],
                &["--endpoint", "--disk", "--root"],
            ),
        ] {
            let help = help(words);
            for flag in has {
                assert!(
                    help.split_whitespace().any(|word| word == *flag),
                    "{words:?} {flag}: {help}"
                );
            }
            for flag in has_not {
                assert!(!help.contains(flag), "{words:?} {flag}: {help}");
            }
        }
    }

    #[test]
    fn a_flag_that_means_nothing_is_refused_wherever_it_stands() {
        let refused = |line: &str| {
            let mut command = command();
            let matches = command
                .try_get_matches_from_mut(line.split_whitespace())
                .unwrap();
            check(&mut command, &matches)
                .err()
                .map(|error| error.to_string())
        };
        for line in [
            "pointsman slots --endpoint h:1",
            "pointsman --endpoint h:1 slots",
            "pointsman slots next --endpoint h:1",
            "pointsman slots --endpoint h:1 next",
        ] {
            let error = refused(line).unwrap();
            let says = "--endpoint cannot be used with `pointsman slots";
            assert!(
                error.contains(says) && error.contains("it does not use etcd"),
                "{line}: {error}"
            );
        }
        for line in [
            "pointsman --group g status",
            "pointsman status --group g",
            "pointsman --root /usr slots --disk /x next --booted A",
            "pointsman update --root /usr status",
        ] {
            assert_eq!(refused(line), None, "{line}");
        }
    }
}
