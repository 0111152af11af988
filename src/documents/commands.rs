//! Commands that the pages name, in the text and in blocks, are commands of the program, with flags that they have.

use std::collections::BTreeSet;

use clap::Command;
use pointsman_testbed::pages::blocks;

use super::{
    pages::{pages, prose},
    read,
};

/// What ends a command in a shell.
const ENDS: [&str; 8] = ["|", "||", "&&", "&", ";", "#", ">", "→"];

/// What begins as a command and is none: the author of a silence.
const NO_COMMAND: &str = "pointsman on MACHINE-ID";

/// The long flags of a command, with those that it has of the commands above it.
fn flags(command: &Command) -> impl Iterator<Item = &str> {
    command.get_arguments().filter_map(clap::Arg::get_long)
}

/// What is wrong with a command, given as the words after the program's name; none where nothing is.
fn fault(program: &Command, words: &[&str]) -> Option<String> {
    let mut command = program;
    let mut known: BTreeSet<&str> = ["help", "version"].into();
    known.extend(flags(command));
    let (mut named, mut positional) = (Vec::new(), None);
    let words = words.iter().take_while(|word| !ENDS.contains(word));
    for word in words.map(|word| word.trim_end_matches([';', ',', ')'])) {
        if let Some(flag) = word.strip_prefix("--") {
            named.push(flag.split('=').next().unwrap_or_default());
        } else if let Some(below) = command.find_subcommand(word) {
            command = below;
            known.extend(flags(command));
            positional = None;
        } else if positional.is_none() && named.is_empty() {
            positional = Some(word);
        }
    }
    let placeholder = |word: &str| word.chars().all(|c| !c.is_lowercase());
    if let Some(word) = positional
        && command.has_subcommands()
        && command.get_positionals().next().is_none()
        && !placeholder(word)
    {
        return Some(format!("{} has no command {word}", command.get_name()));
    }
    let unknown = |flag: &&str| !flag.is_empty() && !flag.contains('…') && !known.contains(*flag);
    let flag = named.into_iter().find(unknown)?;
    Some(format!("{} has no flag --{flag}", command.get_name()))
}

/// What is wrong with a text that may be a command.
fn fault_in(program: &Command, text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let words = words.strip_prefix(&["sudo"]).unwrap_or(&words);
    let (first, rest) = words.split_first()?;
    if *first == "pointsman" || *first == "target/debug/pointsman" {
        return fault(program, rest);
    }
    // `policy set --max 20%`: what has flags and begins as a command.
    let is_ours = program.find_subcommand(first).is_some();
    let has_flags = rest.iter().any(|word| word.starts_with("--"));
    (is_ours && has_flags)
        .then(|| fault(program, words))
        .flatten()
}

/// The texts in backticks of a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[test]
fn commands_in_the_pages_have_the_flags_that_are_named() {
    let mut program = crate::cli::command();
    program.build();
    let mut faults = Vec::new();
    let mut checked = 0;
    for page in pages() {
        // What is past is told as it was.
        if page.ends_with("CHANGELOG.md") {
            continue;
        }
        let text = read(&page);
        let lines = prose(&text);
        let inline = lines
            .iter()
            .flat_map(|(number, line)| quoted(line).map(move |text| (*number, text.to_owned())));
        let blocks = blocks(&text);
        let of_blocks = blocks
            .iter()
            .filter(|block| block.language == "sh")
            .flat_map(|block| block.lines.iter().map(|line| (block.line, line.clone())));
        for (line, text) in inline
            .chain(of_blocks)
            .filter(|(_, text)| text != NO_COMMAND)
        {
            checked += usize::from(text.starts_with("pointsman "));
            if let Some(fault) = fault_in(&program, &text) {
                faults.push(format!("{}:{line}: {text}: {fault}", page.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(checked > 150, "{checked}");
}

#[test]
fn wrong_commands_are_found() {
    let mut program = crate::cli::command();
    program.build();
    let fault = |text: &str| fault_in(&program, text);
    assert_eq!(fault("pointsman policy set --max 20% --group web"), None);
    assert_eq!(fault("sudo pointsman --group web status"), None);
    assert_eq!(fault("systemctl reboot --force"), None);
    assert!(
        fault("pointsman policy put")
            .unwrap()
            .contains("has no command put")
    );
    assert!(
        fault("pointsman unlock --drain")
            .unwrap()
            .contains("has no flag --drain")
    );
    assert!(
        fault("rollback --now")
            .unwrap()
            .contains("has no flag --now")
    );
}
