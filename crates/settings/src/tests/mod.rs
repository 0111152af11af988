//! Tables: what is taken from where, and which layer wins.

mod errors;
mod layers;

use std::{fs, path::Path};

use super::*;

/// The configuration file, under the root.
pub(super) const FILE: &str = "etc/pointsman/config.yaml";

/// A root, with this configuration file where there is one.
pub(super) fn root(file: Option<&[u8]>) -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path());
    fs::create_dir_all(root.path("etc/pointsman").shown()).unwrap();
    if let Some(bytes) = file {
        fs::write(root.path(FILE).shown(), bytes).unwrap();
    }
    (dir, root)
}

pub(super) type Pairs<'a> = &'a [(&'a str, &'a str)];

pub(super) fn load_at(
    root: &Root,
    flags: Pairs<'_>,
    environment: Pairs<'_>,
) -> Result<Config, ConfigError> {
    let mut layer = Partial::default();
    for (key, text) in flags {
        layer.set(key, text, Origin::Flag("--flag"))?;
    }
    sources(root, layer, environment).load()
}

/// The sources on this root, as a command has them.
pub(super) fn sources(root: &Root, flags: Partial, environment: Pairs<'_>) -> Sources {
    let environment = environment
        .iter()
        .map(|(name, text)| (name.into(), text.into()));
    Sources {
        root: root.clone(),
        file: None,
        flags,
        environment: environment.collect(),
        defaults: Partial::default(),
        as_the_agent: true,
    }
}

fn load(file: &str, flags: Pairs<'_>, environment: Pairs<'_>) -> Result<Config, ConfigError> {
    let (_dir, root) = root(Some(file.as_bytes()));
    load_at(&root, flags, environment)
}

#[test]
fn strategies_have_names() {
    for (strategy, name) in Strategy::ALL {
        assert_eq!(strategy.to_string(), name);
        assert_eq!(name.parse(), Ok(strategy));
        assert!(Strategy::NAMES.contains(name));
    }
    assert_eq!(
        "Off".parse::<Strategy>().unwrap_err().to_string(),
        "unknown strategy \"Off\", expected etcd-lock, fleet-lock, reboot or off"
    );
}

#[test]
fn defaults_apply_without_any_configuration() {
    let (_dir, root) = root(None);
    let config = load_at(&root, &[], &[]).unwrap();
    assert_eq!(config.strategy, Strategy::EtcdLock);
    assert!(config.group.is_default() && config.pin_booted_slot && config.window.is_none());
    assert_eq!(config.prefix, "coreos.com/updateengine/rebootlock");
    assert_eq!(config.restage_after, None);
    assert_eq!(
        config.sentinels,
        [
            Path::new("/run/reboot-required"),
            Path::new("/run/reboot-needed")
        ]
    );
    assert_eq!(
        config.etcd.endpoints,
        ["http://127.0.0.1:2379", "http://127.0.0.1:4001"]
    );
    assert_eq!(config.etcd.member, Local::Auto);
    assert_eq!(config.etcd.timeout, Duration::from_secs(5));
    assert_eq!(
        config.timings,
        Timings {
            reboot_deadline: Duration::from_secs(1800),
            hook_timeout: Duration::from_secs(300),
            proving: Duration::from_secs(600),
            login_grace: Duration::from_secs(300),
            ticket_lease: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(300),
            quarantine_reset: Duration::from_secs(12 * 3600),
            wave_retry: Duration::from_secs(12 * 3600),
            wave_spread: Duration::from_secs(30),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
        }
    );
    for empty in ["", "# nothing\n", "etcd:\ntimings:\n", "---\n"] {
        load(empty, &[], &[]).unwrap();
    }
}

#[test]
fn every_key_of_the_file_is_taken() {
    let config = load(
        "strategy: reboot\ngroup: 01\nkey-prefix: /a/b/\nhold-points: false\nsentinel: [/s, /t]\n\
         updates: {restage-after: 3d}\n\
         etcd:\n  endpoints: [a:1, 'https://b']\n  member: 'b:2'\n  cafile: /ca\n  certfile: /cert\n  keyfile: /key\n  \
         username: u\n  password-file: /p\n  timeout: 1s\nwindow: {start: 'Sun 04:00', length: 1h}\n\
         timings:\n  reboot-deadline: 2s\n  hook-timeout: 3s\n  proving: 4s\n  login-grace: 0s\n  \
         ticket-lease: 2s\n  quarantine-reset: 6s\n  shutdown-timeout: 5s\n  wave-retry: 7s\n  wave-spread: 0s\n  retry-min: 10ms\n  retry-max: 10ms\n",
        &[],
        &[],
    )
    .unwrap();
    assert_eq!(config.strategy, Strategy::Reboot);
    assert_eq!(config.group.as_str(), "01");
    assert_eq!(config.prefix, "a/b");
    assert!(!config.pin_booted_slot && config.window.is_some());
    assert_eq!(config.sentinels, [Path::new("/s"), Path::new("/t")]);
    assert_eq!(
        config.restage_after,
        Some(Duration::from_secs(3 * 24 * 3600))
    );
    let etcd = config.etcd;
    assert_eq!(etcd.endpoints, ["https://a:1", "https://b:2379"]);
    assert_eq!(etcd.member, Local::At("https://b:2".into()));
    assert_eq!(etcd.cafile, Some("/ca".into()));
    assert_eq!(etcd.identity, Some(("/cert".into(), "/key".into())));
    assert_eq!(etcd.user, Some(("u".into(), Password::File("/p".into()))));
    assert_eq!(etcd.timeout, Duration::from_secs(1));
    let ms = Duration::from_millis;
    assert_eq!(
        config.timings,
        Timings {
            reboot_deadline: ms(2000),
            hook_timeout: ms(3000),
            proving: ms(4000),
            login_grace: ms(0),
            ticket_lease: ms(2000),
            shutdown_timeout: ms(5000),
            quarantine_reset: ms(6000),
            wave_retry: ms(7000),
            wave_spread: ms(0),
            retry_min: ms(10),
            retry_max: ms(10),
        }
    );
}

#[test]
fn units_are_a_list_or_have_commas_between_them() {
    for file in [
        "checks: {ignore-units: 'a.service, b.mount'}",
        "checks: {ignore-units: [a.service, b.mount]}",
        "checks:\n  ignore-units:\n  - a.service\n  - b.mount\n",
    ] {
        let config = load(file, &[], &[]).unwrap();
        assert_eq!(config.ignore_units, ["a.service", "b.mount"], "{file}");
    }
    for none in ["checks: {cluster-units: []}", "checks: {cluster-units: ''}"] {
        assert!(load(none, &[], &[]).unwrap().cluster_units.is_empty());
    }
}

#[test]
fn layers_win_in_order_setting_by_setting() {
    let file = "group: file\nkey-prefix: file\nwindow:\n  length: 1h\netcd:\n  timeout: 1s\n";
    let variables: Pairs<'_> = &[
        ("POINTSMAN_GROUP", "variable"),
        ("POINTSMAN_TIMEOUT", "2s"),
        ("POINTSMAN_WINDOW_START", "04:00"),
    ];
    let flags: Pairs<'_> = &[("etcd.timeout", "3s")];
    let config = load(file, flags, variables).unwrap();
    assert_eq!(config.etcd.timeout, Duration::from_secs(3));
    assert_eq!(config.group.as_str(), "variable");
    assert_eq!(config.prefix, "file");
    assert!(config.window.is_some(), "half of it in each layer");
    let config = load(file, &[], &[("POINTSMAN_WINDOW_START", "04:00")]).unwrap();
    assert_eq!(config.etcd.timeout, Duration::from_secs(1));
    assert_eq!(config.group.as_str(), "file");
}

#[test]
fn every_setting_has_one_key_and_one_variable() {
    for (i, setting) in SETTINGS.iter().enumerate() {
        assert!(SETTINGS[..i].iter().all(|s| s.key != setting.key));
        if let Some(name) = setting.variable {
            assert!(name.starts_with("POINTSMAN_"), "{name}");
            assert!(SETTINGS[..i].iter().all(|s| s.variable != Some(name)));
        }
    }
}
