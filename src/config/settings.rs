//! Every setting: its key in the file, its variable in the environment, what it takes. And a layer of them.

use std::{path::PathBuf, time::Duration};

use super::{
    Strategy,
    endpoint::{self, Endpoint},
    error::{At, Bad, ConfigError, Origin},
};
use crate::{duration, node::Group};

/// A value and where it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Where.
    pub origin: Origin,
}

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its key in the file, with the section before a dot.
    pub key: &'static str,
    /// Its variable in the environment, where it has one.
    pub variable: Option<&'static str>,
}

macro_rules! settings {
    ($($field:ident: $type:ty, $key:literal, $variable:expr, $parse:expr;)*) => {
        /// All settings there are.
        pub const SETTINGS: &[Setting] = &[$(Setting { key: $key, variable: $variable }),*];

        /// One layer of configuration, or several already laid over each other: what is given, and where.
        #[derive(Debug, Clone, Default)]
        pub struct Partial {
            $(pub(super) $field: Option<Given<$type>>,)*
        }

        impl Partial {
            /// Lays this layer over another: what is given here wins, setting by setting.
            #[must_use]
            pub fn over(self, lower: Self) -> Self {
                Self { $($field: self.$field.or(lower.$field),)* }
            }

            /// Gives a setting a value, replacing an earlier one. `key` is one of [`SETTINGS`].
            ///
            /// # Errors
            /// When the text is not what the setting takes, or there is no such key.
            pub fn set(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), ConfigError> {
                match key {
                    $($key => match $parse(text) {
                        Ok(value) => self.$field = Some(Given { value, origin }),
                        Err(bad) => return Err(Bad::from(bad).at(At { origin, key: $key }, text)),
                    },)*
                    _ => return Err(ConfigError::Unknown {
                        origin,
                        key: key.to_owned(),
                        expected: allowed(""),
                    }),
                }
                Ok(())
            }

            /// Where a setting got its value; [`Origin::Default`] where nobody gave one.
            #[must_use]
            pub fn origin(&self, key: &str) -> Origin {
                let given = match key {
                    $($key => self.$field.as_ref().map(|given| given.origin.clone()),)*
                    _ => None,
                };
                given.unwrap_or(Origin::Default)
            }
        }
    };
}

settings! {
    strategy: Strategy, "strategy", Some("POINTSMAN_STRATEGY"), strategy;
    group: Group, "group", Some("POINTSMAN_GROUP"), group;
    prefix: String, "key-prefix", Some("POINTSMAN_KEY_PREFIX"), prefix;
    hold_points: bool, "hold-points", None, boolean;
    sentinel: PathBuf, "sentinel", None, path;
    endpoints: Vec<Endpoint>, "etcd.endpoints", Some("POINTSMAN_ENDPOINT"), endpoint::list;
    cafile: PathBuf, "etcd.cafile", Some("POINTSMAN_ETCD_CAFILE"), path;
    certfile: PathBuf, "etcd.certfile", Some("POINTSMAN_ETCD_CERTFILE"), path;
    keyfile: PathBuf, "etcd.keyfile", Some("POINTSMAN_ETCD_KEYFILE"), path;
    username: String, "etcd.username", Some("POINTSMAN_ETCD_USERNAME"), username;
    password_file: PathBuf, "etcd.password-file", Some("POINTSMAN_ETCD_PASSWORD_FILE"), path;
    timeout: Duration, "etcd.timeout", Some("POINTSMAN_TIMEOUT"), at_least(Duration::from_millis(10));
    window_start: String, "window.start", Some("POINTSMAN_WINDOW_START"), text;
    window_length: Duration, "window.length", Some("POINTSMAN_WINDOW_LENGTH"), at_least(Duration::ZERO);
    reboot_deadline: Duration, "timings.reboot-deadline", Some("POINTSMAN_REBOOT_DEADLINE"),
        at_least(Duration::from_secs(2));
    hook_timeout: Duration, "timings.hook-timeout", Some("POINTSMAN_HOOK_TIMEOUT"),
        at_least(Duration::from_millis(10));
    proving: Duration, "timings.proving", None, at_least(Duration::ZERO);
    login_grace: Duration, "timings.login-grace", Some("POINTSMAN_LOGIN_GRACE"), at_least(Duration::ZERO);
    ticket_lease: Duration, "timings.ticket-lease", Some("POINTSMAN_TICKET_LEASE"),
        at_least(Duration::from_secs(2));
    shutdown_timeout: Duration, "timings.shutdown-timeout", Some("POINTSMAN_SHUTDOWN_TIMEOUT"),
        at_least(Duration::from_millis(10));
    retry_min: Duration, "timings.retry-min", Some("POINTSMAN_RETRY_MIN"),
        at_least(Duration::from_millis(10));
    retry_max: Duration, "timings.retry-max", Some("POINTSMAN_RETRY_MAX"),
        at_least(Duration::from_millis(10));
}

impl Partial {
    /// The layer of the environment: `POINTSMAN_…`, where `variable` looks one up.
    ///
    /// # Errors
    /// When a variable holds what its setting does not take.
    pub fn from_environment(
        variable: &dyn Fn(&str) -> Option<std::ffi::OsString>,
    ) -> Result<Self, ConfigError> {
        let mut layer = Self::default();
        for Setting {
            key,
            variable: name,
        } in SETTINGS
        {
            let Some(name) = name else { continue };
            let Some(found) = variable(name) else {
                continue;
            };
            let origin = Origin::Environment(name);
            match found.to_str() {
                Some(text) => layer.set(key, text, origin)?,
                None => {
                    return Err(ConfigError::Value {
                        at: At { origin, key },
                        found: "bytes that are not UTF-8".into(),
                        expected: "text".into(),
                    });
                }
            }
        }
        Ok(layer)
    }
}

/// The keys of a section, or with "" those at the top and the names of the sections.
pub(super) fn allowed(section: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for Setting { key, .. } in SETTINGS {
        let (own, name) = key.split_once('.').unwrap_or(("", key));
        let name = if own == section { name } else { own };
        if (own == section || section.is_empty()) && !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}

fn text(text: &str) -> Result<String, &'static str> {
    Ok(text.to_owned())
}

fn strategy(name: &str) -> Result<Strategy, &'static str> {
    name.parse().map_err(|_| Strategy::NAMES)
}

fn username(name: &str) -> Result<String, &'static str> {
    if name.is_empty() || name.chars().any(char::is_control) {
        Err("a user of etcd")
    } else {
        Ok(name.to_owned())
    }
}

fn group(name: &str) -> Result<Group, &'static str> {
    Group::new(name).map_err(|_| "a name of at most 255 bytes without control characters")
}

/// A prefix of keys, without slashes at its ends.
fn prefix(prefix: &str) -> Result<String, &'static str> {
    let inner = prefix.trim_matches('/');
    if inner.is_empty() || inner.chars().any(char::is_control) {
        Err("a prefix of keys such as coreos.com/updateengine/rebootlock")
    } else {
        Ok(inner.to_owned())
    }
}

fn boolean(text: &str) -> Result<bool, &'static str> {
    text.parse().map_err(|_| "true or false")
}

/// A path of the machine. A relative one would depend on who asks.
fn path(text: &str) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(text);
    if path.is_absolute() && !text.contains('\0') {
        Ok(path)
    } else {
        Err("an absolute path")
    }
}

/// The longest span anything waits: more is a typing error, and would overflow clocks.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A duration within limits.
fn at_least(least: Duration) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        let found =
            duration::parse(text).map_err(|_| "a duration such as 30s or 1h30m".to_owned())?;
        if found < least {
            Err(format!("at least {}", duration::print(least)))
        } else if found > LONGEST {
            Err(format!("at most {}", duration::print(LONGEST)))
        } else {
            Ok(found)
        }
    }
}
