//! What the operator set: flags > environment > `etc/pointsman/config.yaml` > defaults.
//!
//! Every source of settings is a layer, a [`Partial`]; layers are laid over each other setting by setting and
//! then [resolved](Config::resolve). Each value remembers where it was given.

mod credentials;
mod endpoint;
mod error;
mod file;
mod settings;
mod yaml;

use std::{ffi::OsString, fmt, path::Path, path::PathBuf, str::FromStr, time::Duration};

pub use error::{At, ConfigError, Origin};
pub use settings::{Given, Partial, SETTINGS, Setting};

use crate::{
    duration,
    node::{Group, Root},
    window::Window,
};

/// The configuration file, under the root.
pub const FILE: &str = "etc/pointsman/config.yaml";

/// What the agent asks before it reboots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// The semaphore in etcd.
    EtcdLock,
    /// Nobody.
    Reboot,
    /// It does not reboot by itself.
    Off,
}

impl Strategy {
    const ALL: [(Self, &'static str); 3] = [
        (Self::EtcdLock, "etcd-lock"),
        (Self::Reboot, "reboot"),
        (Self::Off, "off"),
    ];
    const NAMES: &'static str = "etcd-lock, reboot or off";
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::EtcdLock => "etcd-lock",
            Self::Reboot => "reboot",
            Self::Off => "off",
        })
    }
}

/// A name that no strategy has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown strategy {0:?}, expected {names}", names = Strategy::NAMES)]
pub struct UnknownStrategy(String);

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(name: &str) -> Result<Self, UnknownStrategy> {
        Self::ALL
            .into_iter()
            .find(|(_, known)| *known == name)
            .map(|(strategy, _)| strategy)
            .ok_or_else(|| UnknownStrategy(name.to_owned()))
    }
}

/// Everything the operator can set, complete and checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The machine it is for: the files named here lie under it.
    pub root: Root,
    /// What is asked before a reboot.
    pub strategy: Strategy,
    /// The node's group.
    pub group: Group,
    /// The prefix of all keys in etcd, without slashes at its ends.
    pub prefix: String,
    /// How to reach etcd.
    pub etcd: Etcd,
    /// When reboots may start; none: always.
    pub window: Option<Window>,
    /// How long things may take.
    pub timings: Timings,
    /// Whether the booted slot is kept first while an update waits for its turn.
    pub hold_points: bool,
    /// The file by which other programs ask for a reboot, such as Debian's `/run/reboot-required`.
    pub sentinel: PathBuf,
}

/// How to reach etcd. Files are only named here; [`Config::etcd_options`] reads them.
#[derive(Debug, Clone)]
pub struct Etcd {
    /// URLs, in the order in which they are tried; at least one.
    pub endpoints: Vec<String>,
    /// The authorities that sign etcd's certificate; none: the system's.
    pub cafile: Option<PathBuf>,
    /// The client's certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// User, and the file that holds the password.
    pub user: Option<(String, PathBuf)>,
    /// The most a request may take.
    pub timeout: Duration,
}

/// How long things may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timings {
    /// From the take to the proof that the node is back.
    pub reboot_deadline: Duration,
    /// One hook.
    pub hook_timeout: Duration,
    /// All checks of a boot.
    pub proving: Duration,
    /// What people logged in are given to leave.
    pub login_grace: Duration,
    /// How long a ticket stands after its agent was last heard of.
    pub ticket_lease: Duration,
    /// From the reboot call to the node being down.
    pub shutdown_timeout: Duration,
    /// The wait after the first failed try.
    pub retry_min: Duration,
    /// The longest wait between tries.
    pub retry_max: Duration,
}

impl Config {
    /// Reads every layer and lays them over each other: these flags, the environment as `variable` looks it
    /// up, and the file: `file`, which must exist and does not lie under the root, else [`FILE`] where there
    /// is one.
    ///
    /// # Errors
    /// The first thing that is wrong in any layer, also where a higher one has another value.
    pub fn load(
        root: &Root,
        file: Option<&Path>,
        flags: Partial,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let environment = Partial::from_environment(variable)?;
        let file = match file {
            Some(path) => file::read(path)?.ok_or_else(|| ConfigError::Read {
                path: path.to_owned(),
                error: std::io::ErrorKind::NotFound.into(),
            })?,
            None => file::read(&root.path(FILE))?.unwrap_or_default(),
        };
        Self::resolve(root, flags.over(environment).over(file))
    }

    /// Fills in the defaults and checks what takes more than one setting to see.
    ///
    /// # Errors
    /// Where settings do not go together.
    pub fn resolve(root: &Root, given: Partial) -> Result<Self, ConfigError> {
        let seconds = Duration::from_secs;
        let window = both(
            &given,
            given.window_start.clone(),
            given.window_length.clone(),
            ["window.start", "window.length"],
        )?;
        let window = window.map(|(start, length)| {
            Window::parse(&start, &duration::print(length)).map_err(|error| ConfigError::Window {
                at: at(&given, "window.start"),
                error,
            })
        });
        let identity = both(
            &given,
            given.certfile.clone(),
            given.keyfile.clone(),
            ["etcd.certfile", "etcd.keyfile"],
        )?;
        let user = both(
            &given,
            given.username.clone(),
            given.password_file.clone(),
            ["etcd.username", "etcd.password-file"],
        )?;
        let tls = given.cafile.is_some() || identity.is_some();
        let endpoints = match &given.endpoints {
            Some(given) => given.value.iter().map(|one| one.url(tls)).collect(),
            None => ["http://127.0.0.1:2379", "http://127.0.0.1:4001"]
                .map(str::to_owned)
                .to_vec(),
        };
        let retry_min = value(given.retry_min.clone(), seconds(1));
        let retry_max = value(given.retry_max.clone(), seconds(60));
        if retry_min > retry_max {
            let (mine, other, found, than) = match given.retry_min {
                Some(_) => (
                    "timings.retry-min",
                    "timings.retry-max",
                    retry_min,
                    "at most",
                ),
                None => (
                    "timings.retry-max",
                    "timings.retry-min",
                    retry_max,
                    "at least",
                ),
            };
            let limit = if found == retry_min {
                retry_max
            } else {
                retry_min
            };
            return Err(ConfigError::Value {
                at: at(&given, mine),
                found: duration::print(found),
                expected: format!(
                    "{than} {other}, which is {} ({})",
                    duration::print(limit),
                    given.origin(other)
                ),
            });
        }
        Ok(Self {
            root: root.clone(),
            strategy: value(given.strategy, Strategy::EtcdLock),
            group: value(given.group, Group::default()),
            prefix: value(given.prefix, "coreos.com/updateengine/rebootlock".into()),
            etcd: Etcd {
                endpoints,
                cafile: given.cafile.map(|given| given.value),
                identity,
                user,
                timeout: value(given.timeout, seconds(5)),
            },
            window: window.transpose()?,
            timings: Timings {
                reboot_deadline: value(given.reboot_deadline, seconds(30 * 60)),
                hook_timeout: value(given.hook_timeout, seconds(5 * 60)),
                proving: value(given.proving, seconds(10 * 60)),
                login_grace: value(given.login_grace, seconds(5 * 60)),
                ticket_lease: value(given.ticket_lease, seconds(60)),
                shutdown_timeout: value(given.shutdown_timeout, seconds(5 * 60)),
                retry_min,
                retry_max,
            },
            hold_points: value(given.hold_points, true),
            sentinel: value(given.sentinel, "/run/reboot-required".into()),
        })
    }
}

fn value<T>(given: Option<Given<T>>, default: T) -> T {
    given.map_or(default, |given| given.value)
}

fn at(given: &Partial, key: &'static str) -> At {
    At {
        origin: given.origin(key),
        key,
    }
}

/// Two settings that mean something only together.
fn both<A, B>(
    given: &Partial,
    a: Option<Given<A>>,
    b: Option<Given<B>>,
    keys: [&'static str; 2],
) -> Result<Option<(A, B)>, ConfigError> {
    let half = |has, missing| {
        Err(ConfigError::Half {
            at: at(given, has),
            missing,
        })
    };
    match (a, b) {
        (Some(a), Some(b)) => Ok(Some((a.value, b.value))),
        (None, None) => Ok(None),
        (Some(_), None) => half(keys[0], keys[1]),
        (None, Some(_)) => half(keys[1], keys[0]),
    }
}

#[cfg(test)]
mod tests;
