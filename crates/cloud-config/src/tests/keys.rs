//! Every key there is, in both spellings, with what it becomes.

use super::{super::Document, *};

/// The services' keys by section and prefix: text unless marked as bool, int or float.
const SERVICES: [(&str, &str, &str); 5] = [
    (
        "locksmith",
        "LOCKSMITHD_",
        "endpoint etcd_cafile etcd_certfile etcd_keyfile etcd_username etcd_password group window_start window_length",
    ),
    (
        "flannel",
        "FLANNELD_",
        "etcd_endpoints etcd_cafile etcd_certfile etcd_keyfile etcd_prefix etcd_username etcd_password ip_masq \
         subnet_file interface public_ip",
    ),
    (
        "fleet",
        "FLEET_",
        "agent_ttl authorized_keys_file disable_engine:bool engine_reconcile_interval:float etcd_cafile etcd_certfile \
         etcd_keyfile etcd_key_prefix etcd_request_timeout:float etcd_servers etcd_username etcd_password metadata \
         public_ip token_limit:int verbosity:int verify_units:bool",
    ),
    (
        "etcd2",
        "ETCD_",
        "advertise_client_urls ca_file cert_file client_cert_auth:bool cors data_dir debug:bool discovery \
         discovery_fallback discovery_srv discovery_proxy election_timeout:int enable_pprof:bool \
         force_new_cluster:bool heartbeat_interval:int initial_advertise_peer_urls initial_cluster \
         initial_cluster_state initial_cluster_token key_file listen_client_urls listen_peer_urls \
         log_package_levels max_snapshots:int max_wals:int name peer_ca_file peer_cert_file peer_key_file \
         peer_client_cert_auth:bool peer_trusted_ca_file proxy proxy_dial_timeout:int proxy_failure_wait:int \
         proxy_read_timeout:int proxy_refresh_interval:int proxy_write_timeout:int snapshot_count:int \
         strict_reconfig_check:bool trusted_ca_file wal_dir",
    ),
    (
        "etcd",
        "ETCD_",
        "addr advertise_client_urls bind_addr ca_file cert_file cluster_active_size:int cluster_remove_delay:float \
         cluster_sync_interval:float cors data_dir discovery discovery_fallback discovery_srv discovery_proxy \
         election_timeout:int force_new_cluster:bool graphite_host heartbeat_interval:int http_read_timeout:float \
         http_write_timeout:float initial_advertise_peer_urls initial_cluster initial_cluster_state \
         initial_cluster_token key_file listen_client_urls listen_peer_urls max_result_buffer:int \
         max_retry_attempts:int max_snapshots:int max_wals:int name peer_addr peer_bind_addr peer_ca_file \
         peer_cert_file peer_election_timeout:int peer_heartbeat_interval:int peer_key_file peers peers_file proxy \
         retry_interval:float snapshot:bool snapshot_count:int trace:bool verbose:bool very_verbose:bool \
         very_very_verbose:bool",
    ),
];

/// Keys by place: what is written, and where a trace of it is in the document.
/// Keys and values.
type Pairs = &'static [(&'static str, &'static str)];

const PLAIN: [(&str, &str, Pairs); 9] = [
    (
        "",
        "",
        &[
            ("hostname", "h1"),
            ("manage_etc_hosts", "localhost"),
            ("ssh_authorized_keys", "[ssh-ed25519 AAAAx]"),
        ],
    ),
    (
        "",
        "- name: u1\n  ",
        &[
            ("passwd", "$6$s$h"),
            ("ssh_authorized_keys", "[ssh-rsa AAAAx]"),
            ("gecos", "Some One"),
            ("homedir", "/var/u"),
            ("no_create_home", "yes"),
            ("primary_group", "g"),
            ("groups", "[a, b]"),
            ("no_user_group", "on"),
            ("system", "true"),
            ("no_log_init", "y"),
            ("shell", "/bin/sh"),
            ("coreos_ssh_import_github", "x"),
            ("coreos_ssh_import_github_users", "[x]"),
            ("coreos_ssh_import_url", "http://x"),
        ],
    ),
    (
        "",
        "- path: /etc/f1\n  content: x\n  ",
        &[
            ("owner", "core:core"),
            ("permissions", "0600"),
            ("append", "true"),
        ],
    ),
    (
        "",
        "- path: /etc/f2\n  ",
        &[("encoding", "b64"), ("content", "eA==")],
    ),
    (
        "",
        "- path: /etc/f3\n  sha256: 0000000000000000000000000000000000000000000000000000000000000000\n  ",
        &[("source", "https://h/x")],
    ),
    (
        "units",
        "- name: a.service\n  ",
        &[
            ("mask", "true"),
            ("enable", "true"),
            ("runtime", "true"),
            ("command", "restart"),
        ],
    ),
    (
        "units",
        "- name: a.service\n  drop-ins:\n  - name: 10-a.conf\n    ",
        &[("content", "\"[Service]\\nUser=x\"")],
    ),
    (
        "update",
        "",
        &[
            ("reboot_strategy", "etcd-lock"),
            ("group", "beta"),
            ("server", "https://u/"),
        ],
    ),
    (
        "oem",
        "",
        &[
            ("id", "x"),
            ("name", "X"),
            ("version_id", "168.0.0"),
            ("home_url", "https://x"),
            ("bug_report_url", "https://y"),
        ],
    ),
];

fn spellings(key: &str) -> Vec<String> {
    let mut all = vec![
        key.to_owned(),
        key.replace('_', "-"),
        key.replacen('_', "-", 1),
    ];
    all.dedup();
    all
}

/// What a sound document has: nothing but deprecations and notes.
fn sound(source: &str) -> Document {
    let reading = read(source);
    placed(source, &reading.diagnostics);
    let bad: Vec<_> = reading
        .diagnostics
        .iter()
        .filter(|f| f.level == Level::Error || f.message.contains("unknown key"))
        .collect();
    assert!(bad.is_empty(), "{source}\n{bad:?}");
    reading.document
}

#[test]
fn every_key_of_a_service_becomes_its_variable_in_either_spelling() {
    for (section, prefix, keys) in SERVICES {
        let mut all = Vec::new();
        for key in keys.split_whitespace() {
            let (key, kind) = key.split_once(':').unwrap_or((key, ""));
            let (written, expected) = match (kind, key) {
                ("bool", _) => ("yes", "true"),
                ("int", _) => ("17", "17"),
                ("float", _) => ("2.5", "2.5"),
                (_, "proxy") => ("off", "off"),
                (_, "window_start") => ("Thu 04:00", "Thu 04:00"),
                (_, "window_length") => ("1h30m", "1h30m"),
                (_, "discovery") => ("https://d/x", "https://d/x"),
                _ => ("0042", "0042"),
            };
            let name = match key {
                "window_start" => "REBOOT_WINDOW_START".to_owned(),
                "window_length" => "REBOOT_WINDOW_LENGTH".to_owned(),
                "interface" => "FLANNELD_IFACE".to_owned(),
                "snapshot_count" if section == "etcd" => "ETCD_SNAPSHOTCOUNT".to_owned(),
                _ => format!("{prefix}{}", key.to_uppercase()),
            };
            all.push(name.clone());
            for spelling in spellings(key) {
                // A window has two halves.
                let other = match key {
                    "window_start" => "    window_length: 1h\n",
                    "window_length" => "    window_start: '04:00'\n",
                    _ => "",
                };
                let document = sound(&format!(
                    "coreos:\n  {section}:\n    {spelling}: {written}\n{other}"
                ));
                let [service] = &document.services[..] else {
                    panic!("{spelling}")
                };
                let variable = service.variables.iter().find(|v| v.name == name);
                let variable = variable.unwrap_or_else(|| panic!("{section} {spelling}"));
                assert_eq!(
                    service.variables.len(),
                    if other.is_empty() { 1 } else { 2 }
                );
                assert_eq!(service.entry.key, section);
                assert_eq!(
                    (variable.name.as_str(), variable.value.as_str()),
                    (name.as_str(), expected),
                    "{section} {spelling}"
                );
            }
            let nought = match kind {
                "bool" => "false",
                "int" => "0",
                "float" => "0.0",
                _ => "''",
            };
            if key != "proxy" {
                let document =
                    read(&format!("coreos: {{{section}: {{{key}: {nought}}}}}")).document;
                assert!(document.services[0].variables.is_empty(), "{section} {key}");
            }
        }
        // Whatever their order in the document, they are written in the table's.
        let reversed: String = keys
            .split_whitespace()
            .rev()
            .map(|key| match key.split_once(':') {
                Some((key, "bool")) => format!("    {key}: yes\n"),
                Some((key, _)) => format!("    {key}: 1\n"),
                None => format!("    {key}: x\n"),
            })
            .collect();
        let document = read(&format!("coreos:\n  {section}:\n{reversed}")).document;
        let names: Vec<_> = document.services[0]
            .variables
            .iter()
            .map(|v| v.name.clone())
            .collect();
        assert_eq!(names, all);
    }
}

#[test]
fn any_flag_of_etcd_3_becomes_a_variable() {
    let document = sound(
        "coreos:\n  etcd-member:\n    initial-cluster: [a=http://a, b=http://b]\n    some_new_flag: 0\n    enable_v2: false\n    name: x\n",
    );
    let variables: Vec<_> = document.services[0]
        .variables
        .iter()
        .map(|v| format!("{}={}", v.name, v.value))
        .collect();
    assert_eq!(
        variables,
        [
            "ETCD_NAME=x",
            "ETCD_INITIAL_CLUSTER=a=http://a,b=http://b",
            "ETCD_ENABLE_V2=false",
            "ETCD_SOME_NEW_FLAG=0"
        ]
    );
}

#[test]
fn every_other_key_is_known_in_either_spelling() {
    for (section, start, keys) in PLAIN {
        for (key, value) in keys {
            for spelling in spellings(key) {
                let (list, indent) = match (section, start.is_empty()) {
                    ("", true) => (String::new(), ""),
                    ("", false) if start.starts_with("- name") => ("users:\n".into(), ""),
                    ("", false) => ("write-files:\n".into(), ""),
                    (section, true) => (format!("coreos:\n  {section}:\n    "), ""),
                    (section, false) => (format!("coreos:\n  {section}:\n"), "  "),
                };
                let body = format!("{start}{spelling}: {value}");
                let source = format!(
                    "{list}{indent}{}\n",
                    body.replace('\n', &format!("\n{indent}"))
                );
                let document = format!("{:?}", sound(&source));
                // A deprecated key leaves no trace, every other one does.
                let empty = format!(
                    "{:?}",
                    sound(&source.replace(&format!("{spelling}: {value}"), ""))
                );
                assert_eq!(document == empty, key.contains("import"), "{source}");
            }
        }
    }
}

#[test]
fn scalars_mean_what_yaml_1_1_means() {
    for (written, strategy) in [
        ("off", "off"),
        ("false", "off"),
        ("no", "off"),
        ("'off'", "off"),
        ("reboot", "reboot"),
    ] {
        let document = sound(&format!(
            "coreos: {{update: {{reboot-strategy: {written}}}}}"
        ));
        assert_eq!(document.services[0].variables[0].value, strategy);
    }
    for (written, mode) in [
        ("0644", 0o644),
        ("644", 0o644),
        ("'0644'", 0o644),
        ("\"755\"", 0o755),
        ("04755", 0o4755),
        ("1777", 0o1777),
        ("0400", 0o400),
    ] {
        let document = sound(&format!(
            "write_files: [{{path: /a, content: x, permissions: {written}}}]"
        ));
        assert_eq!(document.write_files.0[0].mode(), mode, "{written}");
    }
    for written in [
        "yes", "Yes", "YES", "on", "y", "Y", "true", "True", "TRUE", "'true'",
    ] {
        let document = sound(&format!(
            "coreos: {{units: [{{name: a.service, command: stop, mask: {written}}}]}}"
        ));
        assert!(document.units.0[0].mask, "{written}");
    }
    for (written, text) in [
        ("12345", "12345"),
        ("168.0.0", "168.0.0"),
        ("yes", "yes"),
        ("1_0", "1_0"),
        ("2001-01-01", "2001-01-01"),
    ] {
        let document = sound(&format!("coreos: {{oem: {{version_id: {written}}}}}"));
        assert_eq!(document.oem.version_id.unwrap().text, text);
    }
    for (written, number) in [
        ("5", "5"),
        ("'5'", "5"),
        ("0x10", "16"),
        ("010", "8"),
        ("0o10", "8"),
        ("1_000", "1000"),
        ("-3", "-3"),
    ] {
        let document = sound(&format!("coreos: {{etcd2: {{max_wals: {written}}}}}"));
        assert_eq!(document.services[0].variables[0].value, number, "{written}");
    }
}

#[test]
fn contents_are_unpacked() {
    let zip = "H4sIAAAAAAAC/8tIzcnJBwCGphA2BQAAAA==";
    for (keys, bytes) in [
        ("content: hello", "hello"),
        ("content: 0644", "0644"),
        ("content: |\n    hello", "hello\n"),
        ("encoding: b64\n  content: aGVsbG8=", "hello"),
        ("encoding: base64\n  content: |\n    aGVs\n    bG8", "hello"),
        ("content: !!binary aGVsbG8=", "hello"),
        ("content: !!binary |\n    aGVs\n    bG8=", "hello"),
        (
            &format!("encoding: gzip\n  content: !!binary {zip}"),
            "hello",
        ),
        (&format!("encoding: gz\n  content: !!binary {zip}"), "hello"),
        (&format!("encoding: gz+b64\n  content: {zip}"), "hello"),
        (&format!("encoding: gzip+base64\n  content: {zip}"), "hello"),
        (&format!("encoding: gzip+b64\n  content: {zip}"), "hello"),
        (&format!("encoding: gz+base64\n  content: {zip}"), "hello"),
    ] {
        let source = format!("write_files:\n- path: /a\n  {keys}\n");
        let document = sound(&source);
        assert_eq!(
            document.write_files.0[0].bytes().unwrap(),
            bytes.as_bytes(),
            "{source}"
        );
    }
}
