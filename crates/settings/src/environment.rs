//! The environment as layers: `POINTSMAN_*`, and locksmith's own names.

use std::ffi::{OsStr, OsString};

use super::{
    error::{At, ConfigError, Faults, Origin, or_fault},
    settings::{Partial, SETTINGS},
};

/// Variables, as a process has them.
#[derive(Clone, Default)]
pub struct Environment(Vec<(OsString, OsString)>);

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<T: IntoIterator<Item = (OsString, OsString)>>(variables: T) -> Self {
        Self(variables.into_iter().collect())
    }
}

const PREFIX: &str = "POINTSMAN_";

/// Ours, but no settings: what says where the settings are, and what hooks are told.
const NO_SETTINGS: [&str; 12] = [
    "ROOT", "CONFIG", "LOG", "BOOT_ID", "NODE", "HOSTNAME", "FROM", "TO", "PHASE", "REASON",
    "STAGE", "DEADLINE",
];

/// What follows locksmith's prefix in its variables, and the key of the setting. `DEBUG` is none.
const LOCKSMITHS: [(&str, &str); 10] = [
    ("ENDPOINT", "etcd.endpoints"),
    ("ETCD_CAFILE", "etcd.cafile"),
    ("ETCD_CERTFILE", "etcd.certfile"),
    ("ETCD_KEYFILE", "etcd.keyfile"),
    ("ETCD_USERNAME", "etcd.username"),
    ("ETCD_PASSWORD", "etcd.password-file"),
    ("GROUP", "group"),
    ("REBOOT_STRATEGY", "strategy"),
    ("REBOOT_WINDOW_START", "window.start"),
    ("REBOOT_WINDOW_LENGTH", "window.length"),
];

/// What a variable of locksmith's daemon is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// None of its variables.
    Foreign,
    /// One it has, without a setting behind it.
    Nothing,
    /// This setting.
    Setting(&'static str),
    /// One it might have by its beginning, and has not.
    Unknown,
}

/// Prefix of the variables that set locksmith's commands.
const COMMANDS: &str = "LOCKSMITHCTL_";
/// Prefix of those that set its daemon.
const DAEMON: &str = "LOCKSMITHD_";

/// A strategy that locksmith once had: with the reboot lock where etcd runs on the node, else without asking. Nobody is not
/// asked because etcd happens to be down.
const BEST_EFFORT: &str = "best-effort";

/// What the daemon makes of this name.
pub(super) fn of_daemon(name: &str) -> Meaning {
    let bare = name.strip_prefix(DAEMON);
    match bare.unwrap_or(name) {
        // Without the prefix only these are the daemon's.
        rest if bare.is_none() && !rest.starts_with("REBOOT_") => Meaning::Foreign,
        "DEBUG" => Meaning::Nothing,
        rest => LOCKSMITHS
            .iter()
            .find(|(known, _)| *known == rest)
            .map_or(Meaning::Unknown, |(_, key)| Meaning::Setting(key)),
    }
}

/// The names [`of_daemon`] knows, for errors.
pub(super) fn daemons_names() -> String {
    let names: Vec<String> = LOCKSMITHS
        .iter()
        .map(|(name, _)| match name.strip_prefix("REBOOT_") {
            Some(_) => (*name).to_owned(),
            None => format!("{DAEMON}{name}"),
        })
        .collect();
    names.join(", ")
}

/// Gives a setting the value of a variable of locksmith's. An empty one counts as none, as with locksmith.
pub(super) fn set_locksmiths(
    layer: &mut Partial,
    name: &str,
    key: &'static str,
    text: &str,
    origin: Origin,
) -> Result<(), ConfigError> {
    if text.is_empty() {
        Ok(())
    } else if name.ends_with("ETCD_PASSWORD") {
        layer.set_password(text, origin)
    } else if key == "strategy" && text == BEST_EFFORT {
        layer.set(key, "etcd-lock", origin)
    } else {
        layer.set(key, text, origin)
    }
}

impl Environment {
    /// This process's own.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// The variables whose name begins so.
    fn beginning<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a OsStr)> {
        self.0.iter().filter_map(move |(name, value)| {
            let name = name.to_str()?;
            name.starts_with(prefix)
                .then_some((name, value.as_os_str()))
        })
    }

    /// The layer of `POINTSMAN_*`, without the variables that hold what their setting does not take, or that no
    /// setting has.
    pub(super) fn own(&self, faults: &mut Faults) -> Partial {
        let mut layer = Partial::default();
        for (name, value) in self.beginning(PREFIX) {
            let setting = SETTINGS.iter().find(|s| s.variable == Some(name));
            let origin = Origin::Environment(name.to_owned());
            match setting {
                Some(setting) => {
                    let set = text(value, name, setting.key)
                        .and_then(|text| layer.set(setting.key, text, origin));
                    or_fault(set, faults);
                }
                None if NO_SETTINGS.contains(&&name[PREFIX.len()..]) => {}
                None => {
                    let known = SETTINGS.iter().filter_map(|s| s.variable);
                    faults.push(ConfigError::UnknownVariable {
                        origin,
                        expected: known.collect::<Vec<_>>().join(", "),
                    });
                }
            }
        }
        layer
    }

    /// The layer of locksmith's commands: `LOCKSMITHCTL_*`.
    ///
    /// # Errors
    /// When a variable holds what its setting does not take.
    pub fn of_commands(&self) -> Result<Partial, ConfigError> {
        let mut layer = Partial::default();
        for (name, value) in self.beginning(COMMANDS) {
            let rest = &name[COMMANDS.len()..];
            // Its flags only: it knows nothing of strategy and windows, and ignored every other name.
            let known = LOCKSMITHS.iter().take(7).find(|(known, _)| *known == rest);
            if let Some((_, key)) = known {
                let origin = Origin::Environment(name.to_owned());
                set_locksmiths(&mut layer, name, key, text(value, name, key)?, origin)?;
            }
        }
        Ok(layer)
    }

    /// The layer of locksmith's daemon: `LOCKSMITHD_*` and `REBOOT_*`; of two names for one setting the one with the
    /// prefix. Without the variables that hold what their setting does not take, or that the daemon does not have.
    pub(super) fn daemons(&self, faults: &mut Faults) -> Partial {
        let mut layers = [Partial::default(), Partial::default()];
        for (layer, prefix) in layers.iter_mut().zip(["REBOOT_", DAEMON]) {
            for (name, value) in self.beginning(prefix) {
                let origin = Origin::Environment(name.to_owned());
                match of_daemon(name) {
                    Meaning::Setting(key) => {
                        let set = text(value, name, key)
                            .and_then(|text| set_locksmiths(layer, name, key, text, origin));
                        or_fault(set, faults);
                    }
                    Meaning::Unknown if prefix == DAEMON => {
                        faults.push(ConfigError::UnknownVariable {
                            origin,
                            expected: daemons_names(),
                        });
                    }
                    // REBOOT_ may begin anybody's variables.
                    Meaning::Unknown | Meaning::Nothing | Meaning::Foreign => {}
                }
            }
        }
        let [bare, prefixed] = layers;
        prefixed.over(bare)
    }
}

fn text<'a>(value: &'a OsStr, name: &str, key: &'static str) -> Result<&'a str, ConfigError> {
    value.to_str().ok_or_else(|| ConfigError::Value {
        at: At {
            origin: Origin::Environment(name.to_owned()),
            key,
        },
        found: "bytes that are not UTF-8".into(),
        expected: "text".into(),
    })
}
