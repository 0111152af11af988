//! Flags of etcd 3: any is passed on, as releases add some; one that looks misspelled is reported.

use super::{table::ServiceEntry, variables::Variable};
use crate::{diagnostic::Level, report::Report};

/// The stable flags: those of `etcd --help` of 3.4 and 3.5 without the experimental ones, and some later ones.
const FLAGS: [&str; 84] = [
    "advertise_client_urls",
    "auth_token",
    "auth_token_ttl",
    "auto_compaction_mode",
    "auto_compaction_retention",
    "auto_tls",
    "backend_batch_interval",
    "backend_batch_limit",
    "backend_bbolt_freelist_type",
    "bcrypt_cost",
    "cert_file",
    "cipher_suites",
    "client_cert_allowed_hostname",
    "client_cert_auth",
    "client_crl_file",
    "cors",
    "data_dir",
    "debug",
    "discovery",
    "discovery_fallback",
    "discovery_proxy",
    "discovery_srv",
    "discovery_srv_name",
    "election_timeout",
    "enable_log_rotation",
    "enable_pprof",
    "enable_v2",
    "force_new_cluster",
    "grpc_keepalive_interval",
    "grpc_keepalive_min_time",
    "grpc_keepalive_timeout",
    "heartbeat_interval",
    "host_whitelist",
    "initial_advertise_peer_urls",
    "initial_cluster",
    "initial_cluster_state",
    "initial_cluster_token",
    "initial_election_tick_advance",
    "key_file",
    "listen_client_http_urls",
    "listen_client_urls",
    "listen_metrics_urls",
    "listen_peer_urls",
    "log_format",
    "log_level",
    "log_outputs",
    "log_package_levels",
    "log_rotation_config_json",
    "logger",
    "max_concurrent_streams",
    "max_learners",
    "max_request_bytes",
    "max_snapshots",
    "max_txn_ops",
    "max_wals",
    "metrics",
    "name",
    "peer_auto_tls",
    "peer_cert_allowed_cn",
    "peer_cert_allowed_hostname",
    "peer_cert_file",
    "peer_client_cert_auth",
    "peer_crl_file",
    "peer_key_file",
    "peer_trusted_ca_file",
    "pre_vote",
    "proxy",
    "proxy_dial_timeout",
    "proxy_failure_wait",
    "proxy_read_timeout",
    "proxy_refresh_interval",
    "proxy_write_timeout",
    "quota_backend_bytes",
    "self_signed_cert_validity",
    "snapshot_count",
    "socket_reuse_address",
    "socket_reuse_port",
    "strict_reconfig_check",
    "tls_max_version",
    "tls_min_version",
    "trusted_ca_file",
    "unsafe_no_fsync",
    "v2_deprecation",
    "wal_dir",
];

/// How many letters apart a flag may be from a known one to be taken for a misspelled one.
const NEAR: usize = 2;

/// Reports flags that look like misspelled ones.
pub(super) fn check(entry: &ServiceEntry, variables: &[Variable], report: &mut Report) {
    for variable in variables {
        let key = variable.key.replace('-', "_");
        if FLAGS.contains(&key.as_str()) {
            continue;
        }
        let apart = |flag: &&str| strsim::damerau_levenshtein(&key, flag);
        let near = FLAGS.into_iter().min_by_key(apart);
        if let Some(near) = near.filter(|near| apart(near) <= NEAR) {
            let message =
                format!("{key:?} is not a flag of etcd that is known here; did you mean {near}?");
            report.add(
                Level::Warning,
                variable.span,
                entry.path(&variable.key),
                message,
            );
        }
    }
}
