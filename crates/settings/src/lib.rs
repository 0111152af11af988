//! What the operator set: flags > environment > configuration files > locksmith's environment > update.conf >
//! defaults.
//!
//! Every source of settings is a layer, a [`Partial`]; [`Sources`] lays them over each other setting by setting,
//! and [`Config::resolve`] makes the whole of them. Each value remembers where it was given.

pub mod aliases;
mod certificates;
mod credentials;
mod endpoint;
mod environment;
mod error;
mod file;
mod fleet_lock;
mod notify_list;
mod of_agent;
mod settings;
mod sources;
mod update_conf;
mod window_list;

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

pub use certificates::{CertificateFile, CertificateWarning};
pub use environment::Environment;
pub use error::{At, ConfigError, Faults, Origin};
pub use fleet_lock::{FleetLock, fleet_lock_group};
pub use notify_list::{BodyFormat, NOTIFY_EVENTS, Receiver, ReceiverKind};
pub use of_agent::OfAgent;
pub use settings::{Given, Partial, SETTINGS, Setting};
pub use sources::Sources;
pub use window_list::window_of_flag;

use host::{
    duration,
    etcd::Local,
    node::{Group, Root, RootPath},
};

use windows::{Window, WindowError, Windows};

/// Where the slots are, as far as the operator says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotsLocation {
    /// The disk or image; none: found from what is mounted.
    pub disk: Option<RootPath>,
    /// The booted slot; none: found from what is mounted, where the disk is, too.
    pub booted: Option<String>,
}

/// What the agent asks before it reboots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// The reboot lock in etcd.
    EtcdLock,
    /// A FleetLock server.
    FleetLock,
    /// Nobody.
    Reboot,
    /// It does not reboot by itself.
    Off,
}

impl Strategy {
    const ALL: [(Self, &'static str); 4] = [
        (Self::EtcdLock, "etcd-lock"),
        (Self::FleetLock, "fleet-lock"),
        (Self::Reboot, "reboot"),
        (Self::Off, "off"),
    ];
    const NAMES: &'static str = "etcd-lock, fleet-lock, reboot or off";

    /// Whether others have to let the node go.
    #[must_use]
    pub fn is_coordinated(self) -> bool {
        match self {
            Self::EtcdLock | Self::FleetLock => true,
            Self::Reboot | Self::Off => false,
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::EtcdLock => "etcd-lock",
            Self::FleetLock => "fleet-lock",
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// How to reach the FleetLock server, where one is given; always with the strategy `fleet-lock`.
    pub fleet_lock: Option<FleetLock>,
    /// locksmith's reboot window; it is one of [`Self::windows`].
    pub window: Option<Window>,
    /// When reboots may start: in locksmith's window, and in those of the list `windows`.
    pub windows: Windows,
    /// How long things may take.
    pub timings: Timings,
    /// Whether the booted slot is kept first while an update waits for its turn.
    pub pin_booted_slot: bool,
    /// Whether shutdowns by others are blocked in logind, so that they are told of the agent.
    pub block_other_reboots: bool,
    /// How old a staged update may grow before update_engine looks for a newer one; none: as old as it gets.
    pub restage_after: Option<Duration>,
    /// The files by which other programs ask for a reboot: Debian's `/run/reboot-required`, and `/run/reboot-needed` of
    /// zypp-boot-plugin(8) and transactional-update(8).
    pub sentinels: Vec<PathBuf>,
    /// The units whose state says nothing of a boot.
    pub ignore_units: Vec<String>,
    /// The units that need other nodes.
    pub cluster_units: Vec<String>,
    /// Where the slots are, as far as it is said; the disk's path is complete.
    pub slots: SlotsLocation,
    /// How `pointsman serve` serves.
    pub serve: Serve,
    /// Where the agent's metrics can be read.
    pub metrics: Metrics,
    /// Who is told what happens on the node.
    pub notify: Vec<Receiver>,
    /// What it was made from: every setting, and where its value was given.
    pub given: Partial,
}

/// How `pointsman serve` serves. Files are only named here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serve {
    /// Where it listens, unless systemd gives it a socket.
    pub listen: SocketAddr,
    /// Where the places of its clients are.
    pub store: PlaceStore,
    /// The server's certificate and its key; without them it serves plain HTTP.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The authorities that sign the certificates of clients; none: clients need none.
    pub client_ca: Option<PathBuf>,
    /// Whether clients without a certificate may ask from other machines.
    pub allow_unauthenticated: bool,
    /// The most connections at a time.
    pub max_connections: usize,
    /// The most until a request's head has come, and again until its body has.
    pub request_timeout: Duration,
}

/// Where the agent's metrics can be read; nowhere, where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// The address of an HTTP server.
    pub listen: Option<SocketAddr>,
    /// The file for node_exporter's textfile collector.
    pub textfile: Option<RootPath>,
}

/// Where the places of clients that only poll are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceStore {
    /// In etcd: the reboot locks of the agents.
    Etcd,
    /// In this file.
    File(PathBuf),
}

/// How to reach etcd. Files are only named here; [`Config::etcd_options`] reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etcd {
    /// URLs, in the order in which they are tried; at least one.
    pub endpoints: Vec<String>,
    /// Which of its members this node hosts.
    pub member: Local,
    /// The authorities that sign etcd's certificate; none: the system's.
    pub cafile: Option<PathBuf>,
    /// The client's certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// User and password.
    pub user: Option<(String, Password)>,
    /// The most a request may take.
    pub timeout: Duration,
}

/// Where etcd's password is.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// In this file.
    File(PathBuf),
    /// Here, as locksmith took it.
    Text(String),
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Text(_) => f.write_str("Text(hidden)"),
        }
    }
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
    /// How long a quarantined update stays staged.
    pub quarantine_reset: Duration,
    /// How often a node that waits for a wave sees to it that it opens.
    pub wave_retry: Duration,
    /// Over how long the nodes that waited for a wave spread when it has opened.
    pub wave_spread: Duration,
    /// The wait after the first failed try.
    pub retry_min: Duration,
    /// The longest wait between tries.
    pub retry_max: Duration,
}

impl Config {
    /// Fills in the defaults and checks what takes more than one setting to see.
    ///
    /// # Errors
    /// Where settings do not go together.
    pub fn resolve(root: &Root, given: Partial) -> Result<Self, ConfigError> {
        let given = given.over(Partial::defaults());
        let window = both(
            &given,
            given.window_start.clone(),
            given.window_length.clone(),
            ["window.start", "window.length"],
        )?;
        let window = window.map(|(start, length)| {
            Window::parse(&start, &duration::print(length)).map_err(|error| {
                let key = match error {
                    WindowError::Start(_) => "window.start",
                    WindowError::Length(_) | WindowError::Span { .. } => "window.length",
                };
                ConfigError::Window {
                    at: at(&given, key),
                    error,
                }
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
            given.password.clone(),
            ["etcd.username", "etcd.password-file"],
        )?;
        let serve_identity = both(
            &given,
            given.serve_cert.clone(),
            given.serve_key.clone(),
            ["serve.tls-cert", "serve.tls-key"],
        )?;
        if let Some(authorities) = given
            .serve_clients
            .as_ref()
            .filter(|_| serve_identity.is_none())
        {
            return Err(ConfigError::Value {
                at: at(&given, "serve.client-ca"),
                found: format!("{:?} alone", authorities.text),
                expected: "serve.tls-cert and serve.tls-key beside it: clients have certificates only with TLS".into(),
            });
        }
        let client = both(
            &given,
            given.fleet_lock_certfile.clone(),
            given.fleet_lock_keyfile.clone(),
            ["fleet-lock.certfile", "fleet-lock.keyfile"],
        )?;
        let fleet_lock = fleet_lock::resolve(&given, client)?;
        let tls = given.cafile.is_some() || identity.is_some();
        let timings = Timings {
            reboot_deadline: value(&given.reboot_deadline),
            hook_timeout: value(&given.hook_timeout),
            proving: value(&given.proving),
            login_grace: value(&given.login_grace),
            ticket_lease: value(&given.ticket_lease),
            shutdown_timeout: value(&given.shutdown_timeout),
            quarantine_reset: value(&given.quarantine_reset),
            wave_retry: value(&given.wave_retry),
            wave_spread: value(&given.wave_spread),
            retry_min: value(&given.retry_min),
            retry_max: value(&given.retry_max),
        };
        retries(&given, &timings)?;
        let window = window.transpose()?;
        let specs = given.windows.as_ref().map(|given| given.value.as_slice());
        let windows = Windows::of(window.clone(), specs.unwrap_or_default());
        let windows = windows.map_err(|error| ConfigError::Windows {
            at: at(&given, "windows"),
            error,
        })?;
        Ok(Self {
            root: root.clone(),
            strategy: value(&given.strategy),
            group: value(&given.group),
            prefix: value(&given.prefix),
            etcd: Etcd {
                endpoints: value(&given.endpoints)
                    .iter()
                    .map(|one| one.url(tls))
                    .collect(),
                member: value(&given.member).local(tls),
                cafile: given.cafile.clone().map(|given| given.value),
                identity,
                user,
                timeout: value(&given.timeout),
            },
            fleet_lock,
            window,
            windows,
            timings,
            restage_after: value(&given.restage_after),
            pin_booted_slot: value(&given.pin_booted_slot),
            block_other_reboots: value(&given.block_other_reboots),
            sentinels: value(&given.sentinels),
            ignore_units: value(&given.ignore_units),
            cluster_units: value(&given.cluster_units),
            serve: Serve {
                listen: value(&given.serve_listen),
                store: value(&given.serve_store),
                identity: serve_identity,
                client_ca: given.serve_clients.clone().map(|given| given.value),
                allow_unauthenticated: value(&given.serve_anyone),
                max_connections: value(&given.serve_connections),
                request_timeout: value(&given.serve_wait),
            },
            metrics: Metrics {
                listen: given.metrics_listen.clone().map(|given| given.value),
                textfile: given
                    .metrics_textfile
                    .clone()
                    .map(|given| root.path(given.value)),
            },
            notify: given
                .notify
                .as_ref()
                .map(|given| given.value.clone())
                .unwrap_or_default(),
            slots: SlotsLocation {
                disk: given.disk.clone().map(|given| root.path(given.value)),
                booted: given.booted.clone().map(|given| given.value),
            },
            given,
        })
    }
}

/// The value of a setting that has a default.
pub(crate) fn value<T: Clone>(given: &Option<Given<T>>) -> T {
    let given = given.as_ref().expect("the lowest layer gives a value");
    given.value.clone()
}

/// The waits between tries grow.
fn retries(given: &Partial, timings: &Timings) -> Result<(), ConfigError> {
    let Timings {
        retry_min,
        retry_max,
        ..
    } = timings;
    if retry_min <= retry_max {
        return Ok(());
    }
    let (mine, other, found, limit, than) = match given.origin("timings.retry-min") {
        Origin::Default => (
            "timings.retry-max",
            "timings.retry-min",
            retry_max,
            retry_min,
            "at least",
        ),
        _ => (
            "timings.retry-min",
            "timings.retry-max",
            retry_min,
            retry_max,
            "at most",
        ),
    };
    Err(ConfigError::Value {
        at: at(given, mine),
        found: duration::print(*found),
        expected: format!(
            "{than} {other}, which is {} ({})",
            duration::print(*limit),
            given.origin(other)
        ),
    })
}

pub(crate) fn at(given: &Partial, key: &'static str) -> At {
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
