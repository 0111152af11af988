//! What the pages in docs/ must name.

use std::collections::BTreeSet;

use serde_json::Value;

/// The JSON of `status` as docs/commands.md shows it: the paths of its keys.
pub(super) fn documented_status() -> BTreeSet<String> {
    let page = include_str!("../../../docs/commands.md");
    let (_, block) = page.split_once("```json\n").unwrap();
    let (json, _) = block.split_once("```").unwrap();
    paths(&serde_json::from_str(json).unwrap())
}

/// The paths of all keys in a value, such as `groups.holders.id`.
pub(super) fn paths(value: &Value) -> BTreeSet<String> {
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
    use clap::CommandFactory as _;
    let commands = include_str!("../../../docs/commands.md");
    let configuration = include_str!("../../../docs/configuration.md");
    for command in pointsman::cli::Cli::command().get_subcommands() {
        let name = command.get_name();
        let mut rows = commands.lines().filter(|line| {
            line.starts_with(&format!("| `{name} ")) || line.starts_with(&format!("| `{name}`"))
        });
        let row = rows.next().unwrap_or_else(|| panic!("no row of {name}"));
        let (usage, _) = row[3..].split_once('`').unwrap();
        let flags = command.get_arguments().filter(|a| !a.is_global_set());
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
    for setting in pointsman::config::SETTINGS {
        let key = setting.key.rsplit('.').next().unwrap();
        assert!(
            configuration.contains(&format!("`{key}`")),
            "{}",
            setting.key
        );
        if let Some(variable) = setting.variable {
            assert!(
                configuration.contains(&format!("`{variable}`")),
                "{variable}"
            );
        }
    }
    for flag in pointsman::cli::Cli::command()
        .get_arguments()
        .filter_map(clap::Arg::get_long)
    {
        assert!(
            configuration.contains(&format!("`--{flag}`")) || ["help", "version"].contains(&flag),
            "--{flag}"
        );
    }
}
