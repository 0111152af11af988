//! Flags by the rules of Go's package `flag` (its documentation, "Command line flag syntax"), as the old programs read
//! theirs: one dash or two, a value after `=` or as the next word, no value for booleans but after `=`, the end at the
//! first word that is no flag or after `--`; of a repeated flag the last one counts.

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// A text.
    Text,
    /// Yes or no; given alone it means yes.
    Bool,
}

/// What stands on a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Given {
    /// The flags that were given, each once; booleans are `true` or `false`.
    pub(super) flags: Vec<(&'static str, String)>,
    /// The words after the flags.
    pub(super) words: Vec<String>,
}

/// Why words are no flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Help was asked for.
    Help,
    /// Go's words for what is wrong.
    Usage(String),
}

impl Given {
    /// The text of a flag, where it was given.
    #[must_use]
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let mut flags = self.flags.iter();
        flags
            .find(|(known, _)| *known == name)
            .map(|(_, text)| text.as_str())
    }

    /// Yes or no of a flag, where it was given.
    #[must_use]
    pub(super) fn bool(&self, name: &str) -> Option<bool> {
        self.text(name).map(|text| text == "true")
    }

    /// Sets a flag; what was given before no longer counts.
    pub(super) fn set(&mut self, name: &'static str, text: String) {
        self.flags.retain(|(known, _)| *known != name);
        self.flags.push((name, text));
    }
}

/// Reads the flags of this table.
///
/// # Errors
/// When a word is no flag of it, or has a value that it does not take.
pub(super) fn parse(
    args: impl IntoIterator<Item = String>,
    known: &[(&'static str, Takes)],
) -> Result<Given, Wrong> {
    let mut given = Given::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let Some(rest) = flag(&arg)? else {
            if arg != "--" {
                given.words.push(arg);
            }
            break;
        };
        let (name, value) = match rest.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (rest, None),
        };
        let Some((name, takes)) = known.iter().find(|(known, _)| *known == name) else {
            return Err(unknown(name));
        };
        let text = match takes {
            Takes::Text => value
                .or_else(|| args.next())
                .ok_or_else(|| Wrong::Usage(format!("flag needs an argument: -{name}")))?,
            Takes::Bool => {
                let text = value.as_deref().unwrap_or("true");
                let set = boolean(text).ok_or_else(|| {
                    Wrong::Usage(format!(
                        "invalid boolean value {text:?} for -{name}: parse error"
                    ))
                })?;
                set.to_string()
            }
        };
        given.set(name, text);
    }
    given.words.extend(args);
    Ok(given)
}

/// Reads the words after a command, none of which has flags; what is left are its arguments.
///
/// # Errors
/// When the first of them looks like a flag.
pub(super) fn arguments(args: &[String]) -> Result<&[String], Wrong> {
    let Some(first) = args.first() else {
        return Ok(args);
    };
    match flag(first)? {
        Some(rest) => Err(unknown(rest.split('=').next().unwrap_or(rest))),
        None if first == "--" => Ok(&args[1..]),
        None => Ok(args),
    }
}

/// The flag without its dashes; none where it is no flag.
fn flag(arg: &str) -> Result<Option<&str>, Wrong> {
    let rest = match arg.strip_prefix('-') {
        None | Some("") => return Ok(None),
        Some("-") => return Ok(None),
        Some(rest) => rest.strip_prefix('-').unwrap_or(rest),
    };
    if rest.starts_with(['-', '=']) {
        return Err(Wrong::Usage(format!("bad flag syntax: {arg}")));
    }
    Ok(Some(rest))
}

fn unknown(name: &str) -> Wrong {
    match name {
        "h" | "help" => Wrong::Help,
        _ => Wrong::Usage(format!("flag provided but not defined: -{name}")),
    }
}

/// What Go's strconv.ParseBool takes.
#[must_use]
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
