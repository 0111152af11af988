//! The services whose keys under `coreos` become variables: one entry each, which says all there is to it.
//!
//! To add a service, add its entry, and its rows to `docs/reference/cloud-config-keys.md`. A key without help here is the service's
//! flag of that name.

use crate::schema::{Form, Key, Kind, Mapping};

/// A service whose keys become variables.
#[derive(Debug)]
pub(crate) struct ServiceEntry {
    /// Its key under `coreos`.
    pub(crate) key: &'static str,
    /// One line for people.
    about: &'static str,
    /// Why it is deprecated, and what replaces it.
    deprecated: Option<&'static str>,
    /// Its keys, and the prefix of its variables.
    pub(crate) keys: Mapping,
    /// Where its variables are written.
    pub(crate) destination: Destination,
    /// What its values must agree on.
    pub(crate) rules: &'static [Rule],
}

/// Where the variables of a service are written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Destination {
    /// A drop-in of this unit, which lasts until the next boot.
    DropIn(&'static str),
    /// An environment file of their own.
    EnvironmentFile(&'static str),
    /// The updater's configuration, into which they are merged. The services that read it are restarted.
    UpdateConf,
}

/// What the values of a service must agree on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    /// A reboot window has a start and a length, which fit.
    WholeWindow,
    /// A flag that looks like a misspelled flag of etcd 3 is reported.
    KnownEtcdFlags,
    /// The reboot strategy `best-effort` is deprecated.
    NoBestEffort,
}

impl ServiceEntry {
    /// Its key, as the table of the section `coreos` has it.
    pub(crate) const fn key(&'static self) -> Key {
        let key = Key::new(self.key, Kind::Mapping(&self.keys), self.about);
        match self.deprecated {
            Some(why) => key.deprecated(why),
            None => key,
        }
    }

    /// The path of one of its keys in a document.
    pub(super) fn path(&self, key: &str) -> String {
        format!("coreos.{}.{key}", self.key)
    }
}

/// The services, in the order in which their variables are written.
pub(crate) static SERVICES: [ServiceEntry; 7] = [
    ServiceEntry {
        key: "etcd",
        about: "etcd before version 2.",
        deprecated: Some("etcd 0.4 is obsolete: etcd_member configures etcd 3"),
        keys: Mapping::variables("ETCD_", ETCD),
        destination: Destination::DropIn("etcd.service"),
        rules: &[],
    },
    ServiceEntry {
        key: "etcd2",
        about: "etcd 2.",
        deprecated: Some("etcd 2 is obsolete: etcd_member configures etcd 3"),
        keys: Mapping::variables("ETCD_", ETCD2),
        destination: Destination::DropIn("etcd2.service"),
        rules: &[],
    },
    ServiceEntry {
        key: "etcd_member",
        about: "etcd 3: any of its flags, with underscores.",
        deprecated: None,
        keys: Mapping::variables("ETCD_", ETCD_MEMBER).open(),
        destination: Destination::DropIn("etcd-member.service"),
        rules: &[Rule::KnownEtcdFlags],
    },
    ServiceEntry {
        key: "fleet",
        about: "fleet.",
        deprecated: Some("fleet is obsolete"),
        keys: Mapping::variables("FLEET_", FLEET),
        destination: Destination::DropIn("fleet.service"),
        rules: &[],
    },
    ServiceEntry {
        key: "flannel",
        about: "flannel, the overlay network.",
        deprecated: None,
        keys: Mapping::variables("FLANNELD_", FLANNEL),
        destination: Destination::EnvironmentFile("/run/flannel/options.env"),
        rules: &[],
    },
    ServiceEntry {
        key: "locksmith",
        about: "The reboot manager: the address of etcd, and when reboots may start.",
        deprecated: None,
        keys: Mapping::variables("LOCKSMITHD_", LOCKSMITH),
        destination: Destination::DropIn("locksmithd.service"),
        rules: &[Rule::WholeWindow],
    },
    ServiceEntry {
        key: "update",
        about: "The update server and channel, and how the node reboots into updates.",
        deprecated: None,
        keys: Mapping::variables("", UPDATE),
        destination: Destination::UpdateConf,
        rules: &[Rule::NoBestEffort],
    },
];

const LINE: Form = Form::Line;

const fn text(name: &'static str) -> Key {
    Key::text(name, LINE, "")
}
const fn flag(name: &'static str) -> Key {
    Key::bool(name, "")
}
const fn int(name: &'static str) -> Key {
    Key::new(name, Kind::Integer, "")
}
const fn float(name: &'static str) -> Key {
    Key::new(name, Kind::Float, "")
}
/// An option of etcd 2 under etcd.
const fn etcd2(key: Key) -> Key {
    key.deprecated("this option is for etcd2 and does not work here")
}

const ETCD: &[Key] = &[
    text("addr"),
    etcd2(text("advertise_client_urls")),
    text("bind_addr"),
    text("ca_file"),
    text("cert_file"),
    int("cluster_active_size"),
    float("cluster_remove_delay"),
    float("cluster_sync_interval"),
    text("cors"),
    text("data_dir"),
    Key::text("discovery", Form::Discovery, ""),
    etcd2(text("discovery_fallback")),
    etcd2(text("discovery_srv")),
    etcd2(text("discovery_proxy")),
    etcd2(int("election_timeout")),
    etcd2(flag("force_new_cluster")),
    text("graphite_host"),
    etcd2(int("heartbeat_interval")),
    float("http_read_timeout"),
    float("http_write_timeout"),
    etcd2(text("initial_advertise_peer_urls")),
    etcd2(text("initial_cluster")),
    etcd2(text("initial_cluster_state")),
    etcd2(text("initial_cluster_token")),
    text("key_file"),
    etcd2(text("listen_client_urls")),
    etcd2(text("listen_peer_urls")),
    int("max_result_buffer"),
    int("max_retry_attempts"),
    etcd2(int("max_snapshots")),
    etcd2(int("max_wals")),
    text("name"),
    text("peer_addr"),
    text("peer_bind_addr"),
    text("peer_ca_file"),
    text("peer_cert_file"),
    int("peer_election_timeout"),
    int("peer_heartbeat_interval"),
    text("peer_key_file"),
    text("peers"),
    text("peers_file"),
    etcd2(Key::text(
        "proxy",
        Form::Setting(&["on", "off", "readonly"]),
        "",
    )),
    float("retry_interval"),
    flag("snapshot"),
    int("snapshot_count").variable("ETCD_SNAPSHOTCOUNT"),
    flag("trace"),
    flag("verbose"),
    flag("very_verbose"),
    flag("very_very_verbose"),
];

const ETCD2: &[Key] = &[
    text("advertise_client_urls"),
    text("ca_file").deprecated("obsolete: trusted_ca_file with client_cert_auth replaces it"),
    text("cert_file"),
    flag("client_cert_auth"),
    text("cors"),
    text("data_dir"),
    flag("debug"),
    Key::text("discovery", Form::Discovery, ""),
    text("discovery_fallback"),
    text("discovery_srv"),
    text("discovery_proxy"),
    int("election_timeout"),
    flag("enable_pprof"),
    flag("force_new_cluster"),
    int("heartbeat_interval"),
    text("initial_advertise_peer_urls"),
    text("initial_cluster"),
    text("initial_cluster_state"),
    text("initial_cluster_token"),
    text("key_file"),
    text("listen_client_urls"),
    text("listen_peer_urls"),
    text("log_package_levels"),
    int("max_snapshots"),
    int("max_wals"),
    text("name"),
    text("peer_ca_file")
        .deprecated("obsolete: peer_trusted_ca_file with peer_client_cert_auth replaces it"),
    text("peer_cert_file"),
    text("peer_key_file"),
    flag("peer_client_cert_auth"),
    text("peer_trusted_ca_file"),
    Key::text("proxy", Form::Setting(&["on", "off", "readonly"]), ""),
    int("proxy_dial_timeout"),
    int("proxy_failure_wait"),
    int("proxy_read_timeout"),
    int("proxy_refresh_interval"),
    int("proxy_write_timeout"),
    int("snapshot_count"),
    flag("strict_reconfig_check"),
    text("trusted_ca_file"),
    text("wal_dir"),
];

const ETCD_MEMBER: &[Key] = &[
    text("name"),
    text("data_dir"),
    text("wal_dir"),
    text("snapshot_count"),
    text("heartbeat_interval"),
    text("election_timeout"),
    text("listen_peer_urls"),
    text("listen_client_urls"),
    text("listen_client_http_urls"),
    text("listen_metrics_urls"),
    text("max_snapshots"),
    text("max_wals"),
    text("quota_backend_bytes"),
    text("backend_batch_limit"),
    text("backend_batch_interval"),
    text("max_txn_ops"),
    text("max_request_bytes"),
    text("max_concurrent_streams"),
    text("grpc_keepalive_min_time"),
    text("grpc_keepalive_interval"),
    text("grpc_keepalive_timeout"),
    text("initial_advertise_peer_urls"),
    text("advertise_client_urls"),
    text("initial_cluster"),
    text("initial_cluster_state"),
    text("initial_cluster_token"),
    Key::text("discovery", Form::Discovery, ""),
    text("discovery_srv"),
    text("discovery_srv_name"),
    text("discovery_fallback"),
    text("discovery_proxy"),
    text("discovery_token"),
    text("discovery_endpoints"),
    text("strict_reconfig_check"),
    text("pre_vote"),
    text("auto_compaction_mode"),
    text("auto_compaction_retention"),
    text("enable_v2"),
    text("cors"),
    text("host_whitelist"),
    text("cert_file"),
    text("key_file"),
    text("client_cert_auth"),
    text("client_crl_file"),
    text("client_cert_allowed_hostname"),
    text("trusted_ca_file"),
    text("auto_tls"),
    text("peer_cert_file"),
    text("peer_key_file"),
    text("peer_client_cert_auth"),
    text("peer_trusted_ca_file"),
    text("peer_auto_tls"),
    text("peer_cert_allowed_cn"),
    text("peer_cert_allowed_hostname"),
    text("peer_crl_file"),
    text("cipher_suites"),
    text("tls_min_version"),
    text("tls_max_version"),
    text("self_signed_cert_validity"),
    text("auth_token"),
    text("auth_token_ttl"),
    text("bcrypt_cost"),
    text("enable_pprof"),
    text("metrics"),
    text("logger"),
    text("log_level"),
    text("log_outputs"),
    text("log_format"),
    text("enable_log_rotation"),
    text("force_new_cluster"),
    text("unsafe_no_fsync"),
    text("initial_corrupt_check"),
    text("corrupt_check_time"),
    text("compaction_batch_limit"),
    text("socket_reuse_port"),
    text("socket_reuse_address"),
    text("image_tag"),
    text("image_url"),
    text("user"),
    text("ssl_dir"),
];

const FLEET: &[Key] = &[
    text("agent_ttl"),
    text("authorized_keys_file"),
    flag("disable_engine"),
    float("engine_reconcile_interval"),
    text("etcd_cafile"),
    text("etcd_certfile"),
    text("etcd_keyfile"),
    text("etcd_key_prefix"),
    float("etcd_request_timeout"),
    text("etcd_servers"),
    text("etcd_username"),
    text("etcd_password"),
    text("metadata"),
    text("public_ip"),
    int("token_limit"),
    int("verbosity"),
    flag("verify_units"),
];

const FLANNEL: &[Key] = &[
    text("etcd_endpoints"),
    text("etcd_cafile"),
    text("etcd_certfile"),
    text("etcd_keyfile"),
    text("etcd_prefix"),
    text("etcd_username"),
    text("etcd_password"),
    text("ip_masq"),
    text("subnet_file"),
    text("interface").variable("FLANNELD_IFACE"),
    text("public_ip"),
];

const LOCKSMITH: &[Key] = &[
    Key::text("endpoint", LINE, "URLs of etcd, with commas."),
    text("etcd_cafile"),
    text("etcd_certfile"),
    text("etcd_keyfile"),
    text("etcd_username"),
    text("etcd_password"),
    Key::text(
        "group",
        LINE,
        "The group of nodes that share one reboot lock.",
    ),
    Key::text(
        "window_start",
        Form::WindowStart,
        "When reboots may start: 04:00, or Thu 04:00.",
    )
    .variable("REBOOT_WINDOW_START"),
    Key::text(
        "window_length",
        Form::WindowLength,
        "How long after that they may start: 1h30m.",
    )
    .variable("REBOOT_WINDOW_LENGTH"),
];

const UPDATE: &[Key] = &[
    Key::text("group", LINE, "The channel, such as stable."),
    Key::text(
        "reboot_strategy",
        Form::Setting(&["etcd-lock", "reboot", "off", "best-effort"]),
        "What the agent asks before the node reboots into an update.",
    ),
    Key::text("server", LINE, "URL of the update server."),
];
