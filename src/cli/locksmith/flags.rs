//! Locksmith's flags.

use crate::cli::go_flags::{self, Takes, Wrong};

/// What stands before the command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// Names with values.
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

/// Reads the flags.
pub(super) fn parse(args: impl IntoIterator<Item = String>) -> Result<Flags, Wrong> {
    let texts = NAMES.map(|(name, _)| (name, Takes::Text));
    let bools = [("debug", Takes::Bool), ("version", Takes::Bool)];
    let mut given = go_flags::parse(args, &[&texts[..], &bools[..]].concat())?;
    let (debug, version) = (given.bool("debug"), given.bool("version"));
    given
        .flags
        .retain(|(name, _)| texts.iter().any(|(text, _)| text == name));
    Ok(Flags {
        values: given.flags,
        debug,
        version: version.unwrap_or_default(),
        words: given.words,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::go_flags::arguments;

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
