//! What the pages in docs/ must name.

use std::collections::BTreeSet;

use serde_json::Value;

/// The JSON of `status` as docs/reference/commands.md shows it: the paths of its keys.
pub(super) fn documented_status() -> BTreeSet<String> {
    documented(include_str!("../../../docs/reference/commands.md"))
}

/// The first JSON a page shows: the paths of its keys.
pub(crate) fn documented(page: &str) -> BTreeSet<String> {
    let (_, block) = page.split_once("```json\n").unwrap();
    let (json, _) = block.split_once("```").unwrap();
    paths(&serde_json::from_str(json).unwrap())
}

/// The paths of all keys in a value, such as `groups.holders.id`.
pub(crate) fn paths(value: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, at: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let at = format!("{at}{key}");
                    walk(value, &format!("{at}."), found);
                    found.insert(at);
                }
            }
            Value::Array(all) => all.iter().for_each(|one| walk(one, at, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    walk(value, "", &mut found);
    found
}

#[test]
fn the_documents_name_every_command_flag_and_setting() {
    let commands = include_str!("../../../docs/reference/commands.md");
    let configuration = include_str!("../../../docs/reference/configuration.md");
    for command in pointsman::cli::command().get_subcommands() {
        let name = command.get_name();
        let below: Vec<_> = command.get_subcommands().collect();
        // A command that only gathers others has no row of its own.
        if below.is_empty() || !command.is_subcommand_required_set() {
            check_row(commands, name, command);
        }
        for command in below {
            check_row(commands, &format!("{name} {}", command.get_name()), command);
        }
    }
    for setting in settings::SETTINGS {
        let key = setting.key;
        assert!(configuration.contains(&format!("| `{key}` |")), "{key}");
        if let Some(variable) = setting.variable {
            assert!(
                configuration.contains(&format!("`{variable}`")),
                "{variable}"
            );
        }
    }
    for flag in pointsman::cli::command()
        .get_arguments()
        .filter_map(clap::Arg::get_long)
    {
        assert!(
            configuration.contains(&format!("`--{flag}`")) || ["help", "version"].contains(&flag),
            "--{flag}"
        );
    }
}

/// The command's usage stands in a row (of one or several commands), with the very flags it has.
fn check_row(page: &str, name: &str, command: &clap::Command) {
    let usages = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let of_name = |usage: &&str| {
        let rest = usage.strip_prefix(name);
        rest.is_some_and(|rest| {
            rest.is_empty() || rest.starts_with(" [") || rest.starts_with(" -") || {
                let argument = rest.trim_start().chars().next();
                rest.starts_with(' ') && argument.is_some_and(char::is_uppercase)
            }
        })
    };
    let usage = usages
        .clone()
        .find(of_name)
        .unwrap_or_else(|| panic!("no row of {name}"));
    let flags = command
        .get_arguments()
        .filter(|a| !a.is_global_set() && !a.is_hide_set());
    let named: Vec<&str> = flags.filter_map(clap::Arg::get_long).collect();
    for flag in &named {
        assert!(usage.contains(&format!("--{flag}")), "--{flag} of {name}");
    }
    assert_eq!(
        usage.matches("--").count(),
        named.len(),
        "{usage}: {named:?}"
    );
}
