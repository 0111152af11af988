//! The services whose keys become variables of their environment. A key without a line of its own here is the
//! service's flag of that name.

use super::{Form, Key, Kind, Section};

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
    key.deprecated("etcd2 options no longer work for etcd")
}

pub(super) static LOCKSMITH: Section = Section::service(
    "LOCKSMITHD_",
    &[
        Key::text("endpoint", LINE, "URLs of etcd, with commas."),
        text("etcd_cafile"),
        text("etcd_certfile"),
        text("etcd_keyfile"),
        text("etcd_username"),
        text("etcd_password"),
        Key::text(
            "group",
            LINE,
            "The group of nodes that shares one semaphore.",
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
            "How long they may: 1h30m.",
        )
        .variable("REBOOT_WINDOW_LENGTH"),
    ],
);

pub(super) static FLANNEL: Section = Section::service(
    "FLANNELD_",
    &[
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
    ],
);

/// Any flag of etcd 3.
pub(super) static ETCD_MEMBER: Section = Section {
    open: true,
    ..Section::service(
        "ETCD_",
        &[
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
        ],
    )
};

pub(super) static FLEET: Section = Section::service(
    "FLEET_",
    &[
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
    ],
);

pub(super) static ETCD2: Section = Section::service(
    "ETCD_",
    &[
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
    ],
);

pub(super) static ETCD: Section = Section::service(
    "ETCD_",
    &[
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
    ],
);
