//! The configuration files of installed hooks: `NAME=VALUE` lines, as sh reads them. Only looked at here, and never run.

use std::io;

use super::files;
use crate::node::RootPath;

/// What a configuration file lacks: the settings that it has to set and does not, or why it must not be used.
pub(super) fn unset(file: &RootPath, example: &RootPath, required: &[String]) -> Option<String> {
    // A script reads it as root.
    let paths = [file.parent(), file.clone()];
    if let Some(why) = files::written_by_others(&paths).filter(|_| file.exists()) {
        return Some(format!("its configuration is read by root, and {why}"));
    }
    let text = match file.read_text() {
        Ok(text) => text,
        Err(_) if required.is_empty() && !file.is_there() => return None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let hint = match example.exists() {
                true => format!("an example is {example}"),
                false => format!("it has to set {}", required.join(", ")),
            };
            return Some(format!(
                "the configuration file {file} does not exist; {hint}"
            ));
        }
        Err(error) => return Some(format!("the configuration file {file}: {error}")),
    };
    let unset: Vec<&str> = required
        .iter()
        .filter(|name| !is_set(&text, name))
        .map(String::as_str)
        .collect();
    if unset.is_empty() {
        return None;
    }
    let has_blank = |name: &&&str| {
        let lines = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix(**name));
        lines.into_iter().any(|rest| {
            let after = rest.trim_start();
            after.starts_with('=') && (after != rest || after[1..].starts_with(' '))
        })
    };
    let hint = match unset.iter().find(has_blank) {
        Some(name) => format!("; write {name}=VALUE, without blanks around =, as sh reads it"),
        None => String::new(),
    };
    Some(format!("{file} does not set {}{hint}", unset.join(", ")))
}

/// Whether a text of `NAME=VALUE` lines for sh gives this name a value.
fn is_set(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let value = line
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('='));
        value.is_some_and(|value| {
            // What follows a blank is a command to sh, and no value.
            let value = if value.starts_with(' ') { "" } else { value };
            let value = value.split(" #").next().unwrap_or_default();
            !value.trim_matches(['"', '\'', ' ']).is_empty()
        })
    })
}

/// The value that a line for sh gives this name, without quotes and what follows it; none for another line.
fn of_line<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let value = line.strip_prefix(name)?.strip_prefix('=')?;
    let value = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].split(quote).next()?,
        _ => value.split([' ', '\t', ';', '#']).next()?,
    };
    Some(value).filter(|value| !value.is_empty())
}

/// The value that a configuration gives this name: that of the last line.
pub(super) fn value(text: &str, name: &str) -> Option<String> {
    let mut values = text.lines().filter_map(|line| of_line(line, name));
    values.next_back().map(str::to_owned)
}

/// The value that stands in a comment, `#NAME=VALUE`, as examples show what holds where nothing is set.
pub(super) fn value_in_comment(text: &str, name: &str) -> Option<String> {
    let comments = text.lines().filter_map(|line| line.strip_prefix('#'));
    let mut values = comments.filter_map(|line| of_line(line, name));
    values.next_back().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_set_by_a_line_of_its_own_with_a_value() {
        for (text, set) in [
            ("NODE=n1", true),
            ("  export NODE=\"n1\" # this one", true),
            ("#NODE=n1", false),
            ("NODE=", false),
            ("NODE=\"\"", false),
            ("NODE= # none", false),
            ("NODE = n1", false),
            ("THIS_NODE=n1\nNODE2=x", false),
        ] {
            assert_eq!(is_set(text, "NODE"), set, "{text:?}");
        }
    }

    #[test]
    fn the_last_line_with_a_value_counts_as_sh_reads_it() {
        for (text, expected) in [
            ("TIMEOUT=600", Some("600")),
            ("TIMEOUT=600\n export TIMEOUT=\"60\" # less\n", Some("60")),
            ("TIMEOUT='7' ", Some("7")),
            ("TIMEOUT=7;X=1", Some("7")),
            ("STOP_TIMEOUT=7\n#TIMEOUT=8\nTIMEOUT=", None),
        ] {
            assert_eq!(value(text, "TIMEOUT").as_deref(), expected, "{text:?}");
        }
        let example = "# The most.\n#TIMEOUT=240\n#STOP_TIMEOUT=10\n";
        assert_eq!(value_in_comment(example, "TIMEOUT").as_deref(), Some("240"));
    }
}
