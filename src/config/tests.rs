//! Tables: which layer wins, and what every error says.

use std::{
    fs,
    os::unix::{ffi::OsStringExt as _, fs::PermissionsExt as _},
};

use super::*;

/// A root, with this configuration file where there is one.
fn root(file: Option<&[u8]>) -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path());
    fs::create_dir_all(root.path("etc/pointsman")).unwrap();
    if let Some(bytes) = file {
        fs::write(root.path(FILE), bytes).unwrap();
    }
    (dir, root)
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn load_at(root: &Root, flags: Pairs<'_>, environment: Pairs<'_>) -> Result<Config, ConfigError> {
    let mut layer = Partial::default();
    for (key, text) in flags {
        layer.set(key, text, Origin::Flag("--flag"))?;
    }
    let variable = |name: &str| {
        let found = environment.iter().find(|(known, _)| *known == name);
        found.map(|(_, text)| OsString::from(text))
    };
    Config::load(root, None, layer, &variable)
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
        "unknown strategy \"Off\", expected etcd-lock, reboot or off"
    );
}

#[test]
fn without_a_word_the_defaults_hold() {
    let (_dir, root) = root(None);
    let config = load_at(&root, &[], &[]).unwrap();
    assert_eq!(config.strategy, Strategy::EtcdLock);
    assert!(config.group.is_default() && config.hold_points && config.window.is_none());
    assert_eq!(config.prefix, "coreos.com/updateengine/rebootlock");
    assert_eq!(config.sentinel, Path::new("/run/reboot-required"));
    assert_eq!(
        config.etcd.endpoints,
        ["http://127.0.0.1:2379", "http://127.0.0.1:4001"]
    );
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
        "strategy: reboot\ngroup: 01\nkey-prefix: /a/b/\nhold-points: false\nsentinel: /s\n\
         etcd:\n  endpoints: [a:1, 'https://b']\n  cafile: /ca\n  certfile: /cert\n  keyfile: /key\n  \
         username: u\n  password-file: /p\n  timeout: 1s\nwindow: {start: 'Sun 04:00', length: 1h}\n\
         timings:\n  reboot-deadline: 2s\n  hook-timeout: 3s\n  proving: 4s\n  login-grace: 0s\n  \
         ticket-lease: 2s\n  shutdown-timeout: 5s\n  retry-min: 10ms\n  retry-max: 10ms\n",
        &[],
        &[],
    )
    .unwrap();
    assert_eq!(config.strategy, Strategy::Reboot);
    assert_eq!(config.group.as_str(), "01");
    assert_eq!(config.prefix, "a/b");
    assert!(!config.hold_points && config.window.is_some());
    assert_eq!(config.sentinel, Path::new("/s"));
    let etcd = config.etcd;
    assert_eq!(etcd.endpoints, ["https://a:1", "https://b:2379"]);
    assert_eq!(etcd.cafile, Some("/ca".into()));
    assert_eq!(etcd.identity, Some(("/cert".into(), "/key".into())));
    assert_eq!(etcd.user, Some(("u".into(), "/p".into())));
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
            retry_min: ms(10),
            retry_max: ms(10),
        }
    );
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

#[test]
fn errors_in_the_file_name_place_and_expectation() {
    let long = format!("strategy: {}", "x".repeat(100_000));
    for (file, message) in [
        (
            "# a\netcd:\n timeout: 5 parsecs\n",
            ":3:11: etcd.timeout: found \"5 parsecs\", expected a duration such as 30s or 1h30m",
        ),
        (
            "grop: a\n",
            ":1:1: unknown key \"grop\", expected one of strategy, group, key-prefix, hold-points, \
             sentinel, etcd, window, timings",
        ),
        (
            "window:\n  begin: 1\n",
            ":2:3: unknown key \"window.begin\", expected one of start, length",
        ),
        (
            "window.start: 04:00\n",
            ":1:1: unknown key \"window.start\"",
        ),
        (
            "etcd: 5\n",
            ":1:7: found \"5\", expected under etcd: the keys endpoints, cafile",
        ),
        (
            "- a\n",
            ":1:1: found a list, expected the keys strategy, group",
        ),
        (
            "group: [a]\n",
            ":1:8: found a list for group, expected one value",
        ),
        (
            "group: {a: b}\n",
            ":1:8: found a mapping for group, expected one value",
        ),
        ("group:\n", ": found nothing for group, expected one value"),
        (
            "etcd:\n  endpoints:\n    - a:1\n    - [b]\n",
            ":4:7: found a list in etcd.endpoints, expected an endpoint",
        ),
        (
            "etcd:\n  endpoints: [a:1, 'ftp://b']\n",
            ":2:14: etcd.endpoints: found \"ftp://b\", expected http(s)://host[:port] or host:port",
        ),
        (
            "etcd: {endpoints: []}\n",
            ": etcd.endpoints: found \"\", expected http(s)://",
        ),
        (
            "hold-points: on\n",
            ":1:14: hold-points: found \"on\", expected true or false",
        ),
        (
            "strategy: of\n",
            ":1:11: strategy: found \"of\", expected etcd-lock, reboot or off",
        ),
        (&long, "xxx\"…, expected etcd-lock, reboot or off"),
        (
            "sentinel: run\n",
            ":1:11: sentinel: found \"run\", expected an absolute path",
        ),
        (
            "key-prefix: /\n",
            ":1:13: key-prefix: found \"/\", expected a prefix of keys",
        ),
        (
            "group: \"a\\nb\"\n",
            ": group: found \"a\\nb\", expected a name",
        ),
        (
            "timings: {ticket-lease: 1s}\n",
            ": timings.ticket-lease: found \"1s\", expected at least 2s",
        ),
        (
            "timings: {reboot-deadline: 1s}\n",
            ": timings.reboot-deadline: found \"1s\", expected at least 2s",
        ),
        (
            "timings: {retry-min: 9ms}\n",
            ": timings.retry-min: found \"9ms\", expected at least 10ms",
        ),
        (
            "timings: {proving: 9000h}\n",
            ": timings.proving: found \"9000h\", expected at most ",
        ),
        (
            "timings: {retry-min: 2m}\n",
            ":1:22: timings.retry-min: found 2m, expected at most timings.retry-max, which is 1m (default)",
        ),
        (
            "timings: {retry-max: 500ms}\n",
            ":1:22: timings.retry-max: found 500ms, expected at least timings.retry-min, which is 1s (default)",
        ),
        (
            "window: {start: 04:00}\n",
            ":1:17: window.start: given without window.length, expected both or neither",
        ),
        (
            "window: {length: 1h}\n",
            ": window.length: given without window.start",
        ),
        (
            "window: {start: noon, length: 1h}\n",
            ":1:17: window.start: ",
        ),
        (
            "etcd: {certfile: /c}\n",
            ": etcd.certfile: given without etcd.keyfile",
        ),
        (
            "etcd: {keyfile: /c}\n",
            ": etcd.keyfile: given without etcd.certfile",
        ),
        (
            "etcd: {username: u}\n",
            ": etcd.username: given without etcd.password-file",
        ),
        (
            "etcd: {password-file: /p}\n",
            ": etcd.password-file: given without etcd.username",
        ),
        (
            "etcd: {password: s3cret}\n",
            ":1:8: unknown key \"etcd.password\"",
        ),
        (
            "etcd: {endpoints: 'http://u:s3cret@h'}\n",
            ": etcd.endpoints: found \"…@h\" with a user in it",
        ),
        (
            "group: a\ngroup: b\n",
            ":2:1: not valid YAML: duplicate mapping key `group`",
        ),
        ("group: a: b\n", ":1:9: not valid YAML: mapping values"),
    ] {
        let error = load(file, &[], &[]).unwrap_err().to_string();
        assert!(error.contains(message), "{file:?}:\n{error}\n{message}");
        assert!(error.contains("/etc/pointsman/config.yaml:"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
        assert!(error.len() < 500 && !error.contains('\n'), "{error}");
    }
}

#[test]
fn errors_elsewhere_name_flag_or_variable() {
    for (file, flags, variables, message) in [
        (
            "",
            [].as_slice(),
            [("POINTSMAN_GROUP", "a\u{7}")].as_slice(),
            "POINTSMAN_GROUP: found \"a\\u{7}\", expected a name of at most 255 bytes",
        ),
        (
            "",
            &[("etcd.timeout", "soon")],
            &[],
            "--flag: found \"soon\", expected a duration such as 30s or 1h30m",
        ),
        (
            "",
            &[],
            &[("POINTSMAN_WINDOW_LENGTH", "1h")],
            "POINTSMAN_WINDOW_LENGTH: given without window.start, expected both or neither",
        ),
        (
            "timings: {retry-max: 30s}",
            &[],
            &[("POINTSMAN_RETRY_MIN", "31s")],
            "POINTSMAN_RETRY_MIN: found 31s, expected at most timings.retry-max, which is 30s (",
        ),
        // What a higher layer sets anew is not thereby right.
        (
            "",
            &[("group", "a")],
            &[("POINTSMAN_STRATEGY", "lock")],
            "POINTSMAN_STRATEGY: found \"lock\"",
        ),
        (
            "strategy: lock",
            &[("strategy", "off")],
            &[],
            "config.yaml:1:11: strategy",
        ),
    ] {
        let error = load(file, flags, variables).unwrap_err().to_string();
        assert!(error.contains(message), "{error}\n{message}");
    }
    let binary = |_: &str| Some(OsString::from_vec(vec![0xff]));
    let error = Partial::from_environment(&binary).unwrap_err().to_string();
    assert_eq!(
        error,
        "POINTSMAN_STRATEGY: found bytes that are not UTF-8, expected text"
    );
}

#[test]
fn a_file_that_is_none_is_an_error() {
    let large = vec![b'#'; (1 << 20) + 1];
    for (bytes, message) in [
        (
            b"group: a\n# \xc3\xa9 \xff\n".as_slice(),
            ":2:5: found bytes that are not UTF-8, expected text",
        ),
        (
            &large,
            "found more than 1048576 bytes, expected at most that",
        ),
    ] {
        let (_dir, root) = root(Some(bytes));
        let error = load_at(&root, &[], &[]).unwrap_err().to_string();
        assert!(error.contains(message) && error.contains(FILE), "{error}");
    }
    let (_dir, root) = root(None);
    let path = root.path(FILE);
    let error = |root: &Root| load_at(root, &[], &[]).unwrap_err().to_string();
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    assert!(
        error(&root).contains("config.yaml: No such file"),
        "{}",
        error(&root)
    );
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(
        error(&root).contains("found a directory, expected a file"),
        "{}",
        error(&root)
    );
    fs::remove_dir(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(error(&root).contains("found a pipe"), "{}", error(&root));
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    load_at(&root, &[], &[]).unwrap();
}

#[test]
fn another_file_by_flag_must_exist() {
    let (dir, root) = root(Some(b"group: usual"));
    let other = dir.path().join("other.yaml");
    let load = || Config::load(&root, Some(&other), Partial::default(), &|_| None);
    let error = load().unwrap_err().to_string();
    assert!(
        error.contains("other.yaml: ") && error.contains("not found"),
        "{error}"
    );
    fs::write(&other, "group: other").unwrap();
    assert_eq!(load().unwrap().group.as_str(), "other");
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n";

#[test]
fn certificates_and_passwords_are_read_under_the_root() {
    let (_dir, root) = root(Some(
        b"etcd: {endpoints: 'h:1', cafile: /ca, certfile: /cert, keyfile: /key, username: u, password-file: /p}",
    ));
    let config = load_at(&root, &[], &[]).unwrap();
    let write = |name: &str, text: &[u8], mode: u32| {
        fs::write(root.path(name), text).unwrap();
        fs::set_permissions(root.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let error = || config.etcd_options().err().unwrap().to_string();
    assert!(
        error().ends_with("/ca: No such file or directory (os error 2)"),
        "{}",
        error()
    );
    write("ca", KEY.as_bytes(), 0o644);
    assert!(
        error().contains("/ca: found no PEM block of a certificate, expected one"),
        "{}",
        error()
    );
    write("ca", CERTIFICATE.as_bytes(), 0o644);
    write("cert", CERTIFICATE.as_bytes(), 0o644);
    write("key", KEY.as_bytes(), 0o600);
    for (text, mode, message) in [
        (
            b"s3cret".as_slice(),
            0o640,
            "found mode 0640, which lets others at the password",
        ),
        (b"s3cret", 0o604, "expected mode 0600; `chmod 600 "),
        (b"", 0o600, "found nothing, expected a password"),
        (b"\n", 0o600, "found nothing, expected a password"),
        (
            b"s3cret\nmore\n",
            0o600,
            "found several lines, expected a password on one line",
        ),
        (
            b"s3cret\xff",
            0o600,
            "found bytes that are not UTF-8, expected a password",
        ),
    ] {
        write("p", text, mode);
        let error = error();
        assert!(error.contains(message) && error.contains("/p: "), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
    for text in ["s3 cret\n", "s3 cret", "s3 cret\r\n"] {
        write("p", text.as_bytes(), 0o400);
        let options = config.etcd_options().ok().unwrap();
        assert_eq!(options.user, Some(("u".into(), "s3 cret".into())));
        assert_eq!(options.endpoints, ["https://h:1"]);
        assert_eq!(options.timeout, Duration::from_secs(5));
        let tls = options.tls.unwrap();
        assert_eq!(tls.authorities.unwrap(), CERTIFICATE.as_bytes());
        assert_eq!(tls.identity.unwrap(), (CERTIFICATE.into(), KEY.into()));
    }
    assert!(!format!("{config:?}").contains("s3"));
    fs::remove_file(root.path("p")).unwrap();
    fs::create_dir(root.path("p")).unwrap();
    assert!(error().contains("/p: found no regular file"), "{}", error());
}
