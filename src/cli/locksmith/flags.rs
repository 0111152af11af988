//! Locksmith's flags, by the rules of Go's package `flag` (its documentation, "Command line flag syntax"): one dash
//! or two, a value after `=` or as the next word, no value for booleans but after `=`, the end at the first word that
//! is no flag or after `--`; of a repeated flag the last one counts.

/// What stands before the command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// Names with values, in the order of [`NAMES`].
    pub(super) values: Vec<(&'static str, String)>,
    /// None where it is not given, so that the environment may say it.
    pub(super) debug: Option<bool>,
    pub(super) version: bool,
    /// The words after the flags.
    pub(super) words: Vec<String>,
}

/// The flags that take a value, and the keys of their settings.
pub(super) const NAMES: [(&str, &str); 7] = [
    ("endpoint", "etcd.endpoints"),
    ("etcd-cafile", "etcd.cafile"),
    ("etcd-certfile", "etcd.certfile"),
    ("etcd-keyfile", "etcd.keyfile"),
    ("etcd-username", "etcd.username"),
    (PASSWORD, "etcd.password-file"),
    ("group", "group"),
];

/// The flag whose value must not be seen.
pub(super) const PASSWORD: &str = "etcd-password";

/// Why the words before the command are no flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Help was asked for.
    Help,
    /// Go's words for what is wrong.
    Usage(String),
}

/// Reads the flags.
pub(super) fn parse(args: impl IntoIterator<Item = String>) -> Result<Flags, Wrong> {
    let mut flags = Flags::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let Some(rest) = flag(&arg)? else {
            if arg != "--" {
                flags.words.push(arg);
            }
            break;
        };
        let (name, value) = match rest.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (rest, None),
        };
        if let Some((name, _)) = NAMES.iter().find(|(known, _)| *known == name) {
            let value = value
                .or_else(|| args.next())
                .ok_or_else(|| Wrong::Usage(format!("flag needs an argument: -{name}")))?;
            flags.values.retain(|(known, _)| known != name);
            flags.values.push((name, value));
            continue;
        }
        if !["debug", "version"].contains(&name) {
            return Err(unknown(name));
        }
        let set = match value.as_deref() {
            None => true,
            Some(text) => boolean(text).ok_or_else(|| {
                Wrong::Usage(format!(
                    "invalid boolean value {text:?} for -{name}: parse error"
                ))
            })?,
        };
        match name {
            "debug" => flags.debug = Some(set),
            _ => flags.version = set,
        }
    }
    flags.words.extend(args);
    Ok(flags)
}

/// Reads the words after a command, none of which has flags; what is left are its arguments.
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
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Flags, Wrong> {
        parse(line.split(' ').filter(|w| !w.is_empty()).map(str::to_owned))
    }

    fn values(line: &str) -> Vec<(&'static str, String)> {
        read(line).unwrap().values
    }

    #[test]
    fn both_dashes_and_both_ways_to_give_a_value() {
        for line in [
            "-group g status",
            "--group g status",
            "-group=g status",
            "--group=g status",
        ] {
            let flags = read(line).unwrap();
            assert_eq!(flags.values, [("group", "g".to_owned())], "{line}");
            assert_eq!(flags.words, ["status"], "{line}");
        }
        assert_eq!(values("-group a --group=b"), [("group", "b".to_owned())]);
        assert_eq!(values("-group= x"), [("group", String::new())]);
        assert_eq!(values("-group a=b"), [("group", "a=b".to_owned())]);
        // A value may look like a flag.
        assert_eq!(values("-group -debug"), [("group", "-debug".to_owned())]);
        let flags = read("-debug --version=false -- -group lock").unwrap();
        assert_eq!((flags.debug, flags.version), (Some(true), false));
        assert_eq!(flags.words, ["-group", "lock"]);
        // The first word that is no flag ends them; a dash alone is none.
        assert_eq!(
            read("lock -group g").unwrap().words,
            ["lock", "-group", "g"]
        );
        assert_eq!(read("- lock").unwrap().words, ["-", "lock"]);
    }

    #[test]
    fn what_is_wrong_is_said_as_go_says_it() {
        for (line, words) in [
            ("-groups g", "flag provided but not defined: -groups"),
            ("--timeout=5s", "flag provided but not defined: -timeout"),
            ("-group", "flag needs an argument: -group"),
            (
                "-debug=maybe",
                "invalid boolean value \"maybe\" for -debug: parse error",
            ),
            ("---group g", "bad flag syntax: ---group"),
            ("-=x", "bad flag syntax: -=x"),
        ] {
            assert_eq!(read(line), Err(Wrong::Usage(words.into())), "{line}");
        }
        assert_eq!(read("-h"), Err(Wrong::Help));
        assert_eq!(read("--help"), Err(Wrong::Help));
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert_eq!(arguments(&words(&["a", "-b"])).unwrap().len(), 2);
        assert_eq!(arguments(&words(&["--", "-b"])).unwrap(), ["-b"]);
        let error = arguments(&words(&["-1"])).unwrap_err();
        assert_eq!(
            error,
            Wrong::Usage("flag provided but not defined: -1".into())
        );
    }
}
