//! Every setting: its key in the file, its variable in the environment, what it takes. And a layer of them.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use host::{duration, http::Url, node::Group};
use windows::WindowSpec;

use super::{
    Password, PlaceStore, Receiver, Strategy,
    endpoint::{self, Endpoint, Member},
    error::{At, Bad, ConfigError, Origin},
    fleet_lock,
};

/// A value and where it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// The value as it was written, or `(hidden)`.
    pub text: String,
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
    /// Its value where nobody gives one, as it would be written; none where it then is not set at all.
    pub default: Option<&'static str>,
}

macro_rules! settings {
    ($($field:ident: $type:ty, $key:literal, $variable:expr, $parse:expr, $default:expr;)*) => {
        /// All settings there are.
        pub const SETTINGS: &[Setting] =
            &[$(Setting { key: $key, variable: $variable, default: $default }),*];

        /// One layer of configuration, or several already laid over each other: what is given, and where.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Partial {
            $(pub(super) $field: Option<Given<$type>>,)*
        }

        impl Partial {
            /// Lays this layer over another: what is given here wins, setting by setting.
            #[must_use]
            pub fn over(self, lower: Self) -> Self {
                Self { $($field: self.$field.or(lower.$field),)* }
            }

            /// This layer without the settings of which this is true.
            #[must_use]
            pub fn without(self, left_out: impl Fn(&str) -> bool) -> Self {
                Self { $($field: self.$field.filter(|_| !left_out($key)),)* }
            }

            /// Gives a setting a value, replacing an earlier one. `key` is one of [`SETTINGS`].
            ///
            /// # Errors
            /// When the text is not what the setting takes, or there is no such key.
            pub fn set(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), ConfigError> {
                match key {
                    $($key => match $parse(text) {
                        Ok(value) => {
                            let text = text.to_owned();
                            self.$field = Some(Given { value, text, origin });
                        }
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

            /// The value of a setting as it was written, and where; none where nobody gave one.
            #[must_use]
            pub fn given(&self, key: &str) -> Option<(&str, &Origin)> {
                match key {
                    $($key => self.$field.as_ref().map(|given| (given.text.as_str(), &given.origin)),)*
                    _ => None,
                }
            }
        }
    };
}

/// At least this long, in milliseconds.
const fn least(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

settings! {
    strategy: Strategy, "strategy", Some("POINTSMAN_STRATEGY"), strategy, Some("etcd-lock");
    group: Group, "group", Some("POINTSMAN_GROUP"), group, Some("");
    prefix: String, "key-prefix", Some("POINTSMAN_KEY_PREFIX"), prefix,
        Some("coreos.com/updateengine/rebootlock");
    pin_booted_slot: bool, "pin-booted-slot", None, boolean, Some("true");
    block_other_reboots: bool, "block-other-reboots", Some("POINTSMAN_BLOCK_OTHER_REBOOTS"), boolean, Some("false");
    restage_after: Option<Duration>, "updates.restage-after", Some("POINTSMAN_RESTAGE_AFTER"),
        off_or(at_least(least(10))), Some("off");
    sentinels: Vec<PathBuf>, "sentinel", None, paths, Some("/run/reboot-required,/run/reboot-needed");
    ignore_units: Vec<String>, "checks.ignore-units", Some("POINTSMAN_IGNORE_UNITS"), units, Some("");
    cluster_units: Vec<String>, "checks.cluster-units", Some("POINTSMAN_CLUSTER_UNITS"), units,
        Some("etcd.service,etcd2.service,etcd-member.service,flanneld.service,kubelet.service");
    disk: PathBuf, "slots.disk", Some("POINTSMAN_DISK"), path, None;
    booted: String, "slots.booted", Some("POINTSMAN_BOOTED"), text, None;
    endpoints: Vec<Endpoint>, "etcd.endpoints", Some("POINTSMAN_ENDPOINT"), endpoint::list,
        Some("http://127.0.0.1:2379,http://127.0.0.1:4001");
    member: Member, "etcd.member", Some("POINTSMAN_ETCD_MEMBER"), endpoint::member, Some("auto");
    cafile: PathBuf, "etcd.cafile", Some("POINTSMAN_ETCD_CAFILE"), path, None;
    certfile: PathBuf, "etcd.certfile", Some("POINTSMAN_ETCD_CERTFILE"), path, None;
    keyfile: PathBuf, "etcd.keyfile", Some("POINTSMAN_ETCD_KEYFILE"), path, None;
    username: String, "etcd.username", Some("POINTSMAN_ETCD_USERNAME"), username, None;
    password: Password, "etcd.password-file", Some("POINTSMAN_ETCD_PASSWORD_FILE"), password_file, None;
    timeout: Duration, "etcd.timeout", Some("POINTSMAN_TIMEOUT"), at_least(least(10)), Some("5s");
    fleet_lock_url: Url, "fleet-lock.url", Some("POINTSMAN_FLEET_LOCK_URL"), fleet_lock::base_url, None;
    fleet_lock_cafile: PathBuf, "fleet-lock.cafile", Some("POINTSMAN_FLEET_LOCK_CAFILE"), path, None;
    fleet_lock_certfile: PathBuf, "fleet-lock.certfile", Some("POINTSMAN_FLEET_LOCK_CERTFILE"), path, None;
    fleet_lock_keyfile: PathBuf, "fleet-lock.keyfile", Some("POINTSMAN_FLEET_LOCK_KEYFILE"), path, None;
    fleet_lock_poll: Duration, "fleet-lock.poll-interval", Some("POINTSMAN_FLEET_LOCK_POLL_INTERVAL"),
        at_least(least(10)), Some("5m");
    fleet_lock_timeout: Duration, "fleet-lock.timeout", Some("POINTSMAN_FLEET_LOCK_TIMEOUT"),
        at_least(least(10)), Some("30s");
    window_start: String, "window.start", Some("POINTSMAN_WINDOW_START"), text, None;
    window_length: Duration, "window.length", Some("POINTSMAN_WINDOW_LENGTH"), at_least(least(0)), None;
    windows: Vec<WindowSpec>, "windows", Some("POINTSMAN_WINDOWS"), windows, None;
    notify: Vec<Receiver>, "notify", None, notify, None;
    reboot_deadline: Duration, "timings.reboot-deadline", Some("POINTSMAN_REBOOT_DEADLINE"),
        at_least(least(2000)), Some("30m");
    hook_timeout: Duration, "timings.hook-timeout", Some("POINTSMAN_HOOK_TIMEOUT"), at_least(least(10)),
        Some("5m");
    proving: Duration, "timings.proving", Some("POINTSMAN_PROVING"), at_least(least(0)), Some("10m");
    login_grace: Duration, "timings.login-grace", Some("POINTSMAN_LOGIN_GRACE"), at_least(least(0)),
        Some("5m");
    ticket_lease: Duration, "timings.ticket-lease", Some("POINTSMAN_TICKET_LEASE"), at_least(least(2000)),
        Some("60s");
    shutdown_timeout: Duration, "timings.shutdown-timeout", Some("POINTSMAN_SHUTDOWN_TIMEOUT"),
        at_least(least(10)), Some("5m");
    quarantine_reset: Duration, "timings.quarantine-reset", Some("POINTSMAN_QUARANTINE_RESET"),
        at_least(least(10)), Some("12h");
    retry_min: Duration, "timings.retry-min", Some("POINTSMAN_RETRY_MIN"), at_least(least(10)), Some("1s");
    wave_retry: Duration, "timings.wave-retry", Some("POINTSMAN_WAVE_RETRY"), at_least(least(10)), Some("12h");
    wave_spread: Duration, "timings.wave-spread", Some("POINTSMAN_WAVE_SPREAD"), at_least(least(0)), Some("30s");
    retry_max: Duration, "timings.retry-max", Some("POINTSMAN_RETRY_MAX"), at_least(least(10)), Some("60s");
    metrics_listen: SocketAddr, "metrics.listen", Some("POINTSMAN_METRICS_LISTEN"), address, None;
    metrics_textfile: PathBuf, "metrics.textfile", Some("POINTSMAN_METRICS_TEXTFILE"), textfile, None;
    serve_listen: SocketAddr, "serve.listen", Some("POINTSMAN_SERVE_LISTEN"), address, Some("127.0.0.1:9119");
    serve_store: PlaceStore, "serve.store", Some("POINTSMAN_SERVE_STORE"), place_store, Some("etcd");
    serve_cert: PathBuf, "serve.tls-cert", Some("POINTSMAN_SERVE_TLS_CERT"), path, None;
    serve_key: PathBuf, "serve.tls-key", Some("POINTSMAN_SERVE_TLS_KEY"), path, None;
    serve_clients: PathBuf, "serve.client-ca", Some("POINTSMAN_SERVE_CLIENT_CA"), path, None;
    serve_anyone: bool, "serve.allow-unauthenticated", Some("POINTSMAN_SERVE_ALLOW_UNAUTHENTICATED"), boolean,
        Some("false");
    serve_connections: usize, "serve.max-connections", Some("POINTSMAN_SERVE_MAX_CONNECTIONS"), connections,
        Some("2048");
    serve_wait: Duration, "serve.request-timeout", Some("POINTSMAN_SERVE_REQUEST_TIMEOUT"),
        at_least(least(100)), Some("10s");
}

impl Partial {
    /// The lowest layer: what holds where nobody says anything.
    #[must_use]
    pub fn defaults() -> Self {
        let mut layer = Self::default();
        for setting in SETTINGS {
            if let Some(text) = setting.default {
                layer
                    .set(setting.key, text, Origin::Default)
                    .expect("the table's defaults are what the table takes");
            }
        }
        layer
    }

    /// Where a setting got its value; [`Origin::Default`] where nobody gave one.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.given(key)
            .map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    /// Gives the password itself, where it is not in a file of its own.
    ///
    /// # Errors
    /// When it is empty or has several lines; the error does not show it.
    pub fn set_password(&mut self, text: &str, origin: Origin) -> Result<(), ConfigError> {
        if text.is_empty() || text.contains('\n') {
            let key = "etcd.password-file";
            return Err(ConfigError::Value {
                at: At { origin, key },
                found: "nothing, or several lines".into(),
                expected: "a password on one line".into(),
            });
        }
        self.password = Some(Given {
            value: Password::Text(text.to_owned()),
            text: "(hidden)".into(),
            origin,
        });
        Ok(())
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

fn password_file(text: &str) -> Result<Password, Bad> {
    path(text).map(Password::File).map_err(|expected| Bad {
        // People put the password itself there.
        found: Some("a value that is not shown".into()),
        expected: format!("{expected} of a file with the password"),
    })
}

/// Names of units, with commas between them.
fn units(text: &str) -> Result<Vec<String>, &'static str> {
    let names = text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(str::to_owned).collect();
    let good = |name: &String| name.contains('.') && !name.contains(['/', ' ']);
    if names.iter().all(good) {
        Ok(names)
    } else {
        Err("names of units such as foo.service, with commas between them")
    }
}

/// A list of windows in JSON. Whether they are valid is seen when all settings are known.
fn windows(text: &str) -> Result<Vec<WindowSpec>, String> {
    serde_json::from_str(text).map_err(|error| {
        format!(
            "a list of windows in JSON such as [{{\"at\":\"Sat 02:00\",\"for\":\"4h\"}}] ({error})"
        )
    })
}

/// Receivers are a list, and only in a file.
fn notify(_: &str) -> Result<Vec<Receiver>, &'static str> {
    Err("a list of receivers such as {webhook: \"https://…\", events: [quarantined]}")
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

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse()
        .map_err(|_| "an IP address and a port, such as 127.0.0.1:9120 or [::1]:9120")
}

/// node_exporter reads only files with this ending.
fn textfile(text: &str) -> Result<PathBuf, &'static str> {
    const EXPECTED: &str = "an absolute path that ends with .prom";
    let path = path(text).map_err(|_| EXPECTED)?;
    let ending = path.extension().is_some_and(|ending| ending == "prom");
    ending.then_some(path).ok_or(EXPECTED)
}

fn place_store(text: &str) -> Result<PlaceStore, &'static str> {
    const EXPECTED: &str = "etcd, or file: and an absolute path";
    match text.strip_prefix("file:") {
        Some(file) => path(file).map(PlaceStore::File).map_err(|_| EXPECTED),
        None if text == "etcd" => Ok(PlaceStore::Etcd),
        None => Err(EXPECTED),
    }
}

fn connections(text: &str) -> Result<usize, &'static str> {
    match text.parse() {
        Ok(number @ 1..=100_000) => Ok(number),
        _ => Err("a whole number from 1 to 100000"),
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

/// Paths of the machine, with commas between them.
fn paths(text: &str) -> Result<Vec<PathBuf>, &'static str> {
    let paths = text.split(',').map(|one| path(one.trim()));
    paths
        .collect::<Result<_, _>>()
        .map_err(|_| "an absolute path, or several with commas between them")
}

/// `off`, or what this takes.
fn off_or<T>(
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&str) -> Result<Option<T>, String> {
    move |text| match text {
        "off" => Ok(None),
        text => parse(text)
            .map(Some)
            .map_err(|expected| format!("off, or {expected}")),
    }
}

/// The longest span anything waits: more is a typing error, and would overflow clocks.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A duration within limits.
fn at_least(least: Duration) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        let found = duration::parse(text).map_err(|error| error.expected())?;
        if found < least {
            Err(format!("at least {}", duration::print(least)))
        } else if found > LONGEST {
            Err(format!("at most {}", duration::print(LONGEST)))
        } else {
            Ok(found)
        }
    }
}
