//! Files in folders, locksmith's environment, update.conf, and what the agent leaves for the commands.

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

use super::*;

/// A machine with these files.
fn machine(files: Pairs<'_>) -> (tempfile::TempDir, Root) {
    let (dir, root) = root(None);
    for (name, text) in files {
        write(&root, name, text.as_bytes(), 0o644);
    }
    (dir, root)
}

fn write(root: &Root, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
    let path = root.path(name).shown();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn load(files: Pairs<'_>, variables: Pairs<'_>) -> Result<Config, ConfigError> {
    let (_dir, root) = machine(files);
    load_at(&root, &[], variables)
}

/// The group, which every layer may set.
fn group(files: Pairs<'_>, variables: Pairs<'_>) -> String {
    load(files, variables).unwrap().group.as_str().to_owned()
}

fn error(files: Pairs<'_>, variables: Pairs<'_>) -> String {
    load(files, variables).unwrap_err().to_string()
}

#[test]
fn each_layer_wins_over_the_ones_below_it() {
    let files = [
        (
            "usr/share/coreos/update.conf",
            "LOCKSMITHD_GROUP=usr-coreos",
        ),
        (
            "usr/share/flatcar/update.conf",
            "LOCKSMITHD_GROUP=usr-flatcar",
        ),
        ("etc/coreos/update.conf", "LOCKSMITHD_GROUP=etc-coreos"),
        ("etc/flatcar/update.conf", "LOCKSMITHD_GROUP=etc-flatcar"),
        ("usr/lib/pointsman/config.yaml", "group: usr"),
        ("run/pointsman/config.yaml", "group: run"),
        ("etc/pointsman/config.yaml", "group: etc"),
        ("usr/lib/pointsman/config.d/20-b.yaml", "group: usr-20"),
        ("run/pointsman/config.d/10-c.yaml", "group: run-10"),
        ("run/pointsman/config.d/30-a.yaml", "group: run-30"),
        ("etc/pointsman/config.d/30-a.yaml", "group: etc-30"),
        ("run/pointsman/agent.yaml", r#"{"group": "agent"}"#),
    ];
    let expected = [
        "usr-coreos",
        "usr-flatcar",
        "etc-coreos",
        "etc-flatcar",
        "usr",
        "run",
        "etc",
        "usr-20",
        // A name that sorts before one already there does not change it.
        "usr-20",
        "run-30",
        "etc-30",
        "agent",
    ];
    for (count, expected) in (1..).zip(expected) {
        assert_eq!(
            group(&files[..count], &[]),
            expected,
            "{:?}",
            files[count - 1]
        );
    }
    let daemon = ("LOCKSMITHD_GROUP", "daemon");
    assert_eq!(group(&files[..4], &[daemon]), "daemon");
    assert_eq!(group(&files[..5], &[daemon]), "usr");
    let own = ("POINTSMAN_GROUP", "own");
    assert_eq!(group(&files, &[daemon, own]), "own");
    let (_dir, root) = machine(&files);
    let config = load_at(&root, &[("group", "flag")], &[own]).unwrap();
    assert_eq!(config.group.as_str(), "flag");
    // The agent does not take its own word.
    let of_agent = Sources {
        as_the_agent: false,
        ..sources(&root, Partial::default(), &[])
    };
    assert_eq!(of_agent.load().unwrap().group.as_str(), "etc-30");
}

#[test]
fn a_drop_in_changes_what_it_names_and_may_be_masked() {
    let (_dir, root) = machine(&[
        (
            "etc/pointsman/config.yaml",
            "group: a\nkey-prefix: p\netcd: {timeout: 1s}",
        ),
        ("usr/lib/pointsman/config.d/10-vendor.yaml", "group: vendor"),
        (
            "etc/pointsman/config.d/20-more.yaml",
            "etcd: {endpoints: 'h:1'}",
        ),
        ("etc/pointsman/config.d/20-more.yaml~", "no: yaml: at all"),
        ("etc/pointsman/config.d/.20-more.yaml.swp", "\u{1}"),
        ("etc/pointsman/config.d/README", "none"),
    ]);
    let config = load_at(&root, &[], &[]).unwrap();
    assert_eq!(
        (config.group.as_str(), config.prefix.as_str()),
        ("vendor", "p")
    );
    assert_eq!(config.etcd.timeout, Duration::from_secs(1));
    assert_eq!(config.etcd.endpoints, ["http://h:1"]);
    let mask = root.path("etc/pointsman/config.d/10-vendor.yaml").shown();
    std::os::unix::fs::symlink("/dev/null", &mask).unwrap();
    assert_eq!(load_at(&root, &[], &[]).unwrap().group.as_str(), "a");
    // Instead of all of them.
    let other = write(&root, "other", b"group: other", 0o644);
    let alone = Sources {
        file: Some(other),
        ..sources(&root, Partial::default(), &[])
    };
    let config = alone.load().unwrap();
    assert_eq!(
        (config.group.as_str(), config.etcd.endpoints.len()),
        ("other", 2)
    );
}

#[test]
fn a_drop_in_that_cannot_be_read_is_named() {
    let name = "etc/pointsman/config.d/20-x.yaml";
    let long = format!("group: a # {0}\nstrategy: {0}", "x".repeat(100_000));
    for (text, message) in [
        (
            "grop: a",
            "20-x.yaml:1:1: unknown key \"grop\", expected one of strategy",
        ),
        (
            "\n\nstrategy: of",
            "20-x.yaml:3:11: strategy: found \"of\", expected etcd-lock",
        ),
        (
            "window: {start: 04:00}",
            "window.start: given without window.length",
        ),
        ("- a", "20-x.yaml:1:1: found a list"),
        (&long, "20-x.yaml:2:11: strategy: found \"xxx"),
    ] {
        let error = error(&[(name, text)], &[]);
        assert!(error.contains(message) && error.len() < 500, "{error}");
    }
    let (_dir, root) = machine(&[]);
    let refused = |root: &Root| load_at(root, &[], &[]).unwrap_err().to_string();
    let path = write(&root, name, b"group: \xff", 0o644);
    assert!(refused(&root).contains("20-x.yaml:1:8: found bytes that are not UTF-8"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(refused(&root).contains("20-x.yaml: found a directory, expected a file"));
    fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    assert!(refused(&root).contains("20-x.yaml: No such file"));
    fs::remove_file(&path).unwrap();
    for wrong in ["20-x.yml", "20-x.conf"] {
        let path = write(
            &root,
            &format!("etc/pointsman/config.d/{wrong}"),
            b"",
            0o644,
        );
        assert!(
            refused(&root).ends_with(&format!("{wrong} is not read; rename it to 20-x.yaml")),
            "{wrong}"
        );
        fs::remove_file(&path).unwrap();
    }
    fs::remove_dir(root.path("etc/pointsman/config.d").shown()).unwrap();
    write(&root, "etc/pointsman/config.d", b"", 0o644);
    assert!(
        refused(&root).contains("config.d: Not a directory"),
        "{}",
        refused(&root)
    );
}

#[test]
fn variables_of_locksmithd_are_read() {
    let config = load(
        &[],
        &[
            ("LOCKSMITHD_ENDPOINT", "http://h:1,i:2"),
            ("LOCKSMITHD_ETCD_CAFILE", "/ca"),
            ("LOCKSMITHD_ETCD_CERTFILE", "/cert"),
            ("LOCKSMITHD_ETCD_KEYFILE", "/key"),
            ("LOCKSMITHD_ETCD_USERNAME", "u"),
            ("LOCKSMITHD_ETCD_PASSWORD", "s3cret"),
            ("LOCKSMITHD_GROUP", "g"),
            ("LOCKSMITHD_DEBUG", "true"),
            ("LOCKSMITHD_REBOOT_WINDOW_START", "01:00"),
            ("LOCKSMITHD_REBOOT_WINDOW_LENGTH", "1h"),
            ("REBOOT_WINDOW_START", "Thu 04:00"),
            ("REBOOT_STRATEGY", "off"),
            ("REBOOT_REASON", "somebody else's"),
            ("LOCKSMITHCTL_GROUP", "of the commands"),
        ],
    )
    .unwrap();
    assert_eq!(config.etcd.endpoints, ["http://h:1", "https://i:2"]);
    assert_eq!(config.etcd.cafile, Some("/ca".into()));
    assert_eq!(config.etcd.identity, Some(("/cert".into(), "/key".into())));
    let password = Password::Text("s3cret".into());
    assert_eq!(config.etcd.user, Some(("u".into(), password)));
    assert_eq!(
        (config.group.as_str(), config.strategy),
        ("g", Strategy::Off)
    );
    // Of the two names the one with the prefix, as locksmith does.
    assert_eq!(config.given.given("window.start").unwrap().0, "01:00");
    assert!(!format!("{config:?}").contains("s3cret"));
    assert_eq!(
        config.given.given("etcd.password-file").unwrap().0,
        "(hidden)"
    );
    // What locksmith once had takes the reboot lock; a file of our own does not know it.
    let old = load(&[], &[("REBOOT_STRATEGY", "best-effort")]).unwrap();
    assert_eq!(old.strategy, Strategy::EtcdLock);
    let conf = ("etc/flatcar/update.conf", "REBOOT_STRATEGY=best-effort\n");
    assert_eq!(load(&[conf], &[]).unwrap().strategy, Strategy::EtcdLock);
    let own = ("etc/pointsman/config.yaml", "strategy: best-effort\n");
    assert!(error(&[own], &[]).contains("found \"best-effort\", expected etcd-lock"));
    // An empty one counts as none, as with locksmith.
    assert_eq!(group(&[], &[("LOCKSMITHD_GROUP", "")]), "");
    for (name, value, message) in [
        (
            "REBOOT_STRATEGY",
            "of",
            "REBOOT_STRATEGY: found \"of\", expected etcd-lock, fleet-lock, reboot or off",
        ),
        (
            "LOCKSMITHD_REBOOT_WINDOW_START",
            "04:00",
            "LOCKSMITHD_REBOOT_WINDOW_START: given without window.length, expected both or neither",
        ),
        (
            "LOCKSMITHD_ENDPOINTS",
            "h",
            "LOCKSMITHD_ENDPOINTS: unknown variable, expected one of LOCKSMITHD_ENDPOINT, ",
        ),
        (
            "POINTSMAN_ENDPOINTS",
            "h",
            "POINTSMAN_ENDPOINTS: unknown variable, expected one of POINTSMAN_STRATEGY",
        ),
        (
            "LOCKSMITHD_ETCD_PASSWORD",
            "s3\ncret",
            "expected a password on one line",
        ),
    ] {
        let error = error(&[], &[(name, value)]);
        assert!(error.contains(message) && !error.contains("s3"), "{error}");
    }
    // What hooks are told is no setting, and may be passed on.
    load(&[], &[("POINTSMAN_NODE", "n"), ("POINTSMAN_LOG", "debug")]).unwrap();
}

#[test]
fn update_conf_is_read_as_systemd_reads_it() {
    let file = "etc/flatcar/update.conf";
    let text = "# comment\n; comment\nGROUP=beta\nSERVER=disabled\n  REBOOT_STRATEGY = \"off\" \r\n\
                LOCKSMITHD_GROUP='db'\nREBOOT_WINDOW_START=Thu 04:00\nREBOOT_WINDOW_LENGTH=1h\n\
                LOCKSMITHD_REBOOT_WINDOW_LENGTH=5h\nLOCKSMITHD_ETCD_CAFILE=\nnothing\n";
    let config = load(&[(file, text)], &[]).unwrap();
    assert_eq!(
        (config.strategy, config.group.as_str()),
        (Strategy::Off, "db")
    );
    assert_eq!(config.given.given("window.length").unwrap().0, "5h");
    assert!(config.window.is_some() && config.etcd.cafile.is_none());
    for (text, message) in [
        (
            "\nREBOOT_STRATEGY=best",
            "update.conf:2:1: strategy: found \"best\", expected etcd-lock",
        ),
        (
            "REBOOT_STRATGY=off",
            "update.conf:1:1: unknown key \"REBOOT_STRATGY\", expected one of LOCKSMITHD_ENDPOINT",
        ),
        (
            "REBOOT_WINDOW_START=04:00",
            "update.conf:1:1: window.start: given without window.length",
        ),
        (
            "REBOOT_WINDOW_START=4\nREBOOT_WINDOW_LENGTH=1h",
            "update.conf:1:1: window.start: found \"4\", expected a time such as 04:00",
        ),
        (
            "LOCKSMITHD_ETCD_PASSWORD=s3cret\nLOCKSMITHD_ETCD_USERNAME=u",
            "mode 0644, with which other users can read the password",
        ),
    ] {
        let error = error(&[(file, text)], &[]);
        assert!(
            error.contains(message) && !error.contains("s3cret"),
            "{error}"
        );
    }
    let (_dir, root) = machine(&[]);
    let secret = b"LOCKSMITHD_ETCD_PASSWORD=s3cret\nLOCKSMITHD_ETCD_USERNAME=u";
    write(&root, file, secret, 0o600);
    let user = load_at(&root, &[], &[]).unwrap().etcd.user.unwrap();
    assert_eq!(user, ("u".into(), Password::Text("s3cret".into())));
    write(&root, file, b"GROUP=\xff\nREBOOT_STRATEGY=\xff", 0o644);
    let error = load_at(&root, &[], &[]).unwrap_err().to_string();
    assert!(error.contains("update.conf:2:1: found bytes that are not UTF-8 for REBOOT_STRATEGY"));
}

#[test]
fn a_list_of_windows_stands_beside_the_pair_and_is_replaced_as_a_whole() {
    let file = "window: {start: '04:00', length: 2 hours}\nwindows:\n  - {at: 'Sat 02:00', for: 1d, zone: UTC, except: 2026-12-26}\n  \
                - at: Sun 02:00\n    for: 4h\n";
    let config = load(&[(FILE, file)], &[]).unwrap();
    assert_eq!(
        config.windows.to_string(),
        "04:00 for 2h; or Sat 02:00 for 24h in UTC; or Sun 02:00 for 4h"
    );
    let text = config.given.given("windows").unwrap().0;
    assert_eq!(
        text,
        r#"[{"at":"Sat 02:00","for":"1d","zone":"UTC","except":["2026-12-26"]},{"at":"Sun 02:00","for":"4h"}]"#
    );
    // As it is shown it is read again.
    let other = [("POINTSMAN_WINDOWS", text)];
    assert_eq!(
        load(&[], &other).unwrap().windows.to_string(),
        "Sat 02:00 for 24h in UTC; or Sun 02:00 for 4h"
    );
    let other = [("POINTSMAN_WINDOWS", r#"[{"at":"Mon 02:00","for":"1h"}]"#)];
    let config = load(&[(FILE, file)], &other).unwrap();
    assert_eq!(
        config.windows.to_string(),
        "04:00 for 2h; or Mon 02:00 for 1h"
    );
    let error = load(
        &[],
        &[("POINTSMAN_WINDOWS", r#"[{"at":"Mon 02:00","for":"1"}]"#)],
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "POINTSMAN_WINDOWS: window 1: for: found \"1\", expected a unit after the number: 1s, 1m, 1h or 1d"
    );
}

#[test]
fn window_may_have_start_and_length_from_two_layers() {
    let half = ("etc/flatcar/update.conf", "REBOOT_WINDOW_LENGTH=2h");
    let config = load(&[half], &[("REBOOT_WINDOW_START", "04:00")]).unwrap();
    assert_eq!(config.window, Some(Window::parse("04:00", "2h").unwrap()));
    let both = (
        "etc/pointsman/config.yaml",
        "window: {start: '05:00', length: 1h}",
    );
    let config = load(&[half, both], &[]).unwrap();
    assert_eq!(config.window, Some(Window::parse("05:00", "1h").unwrap()));
}

#[test]
fn commands_use_the_settings_that_only_the_agent_was_given() {
    let (_dir, root) = machine(&[("etc/pointsman/config.yaml", "key-prefix: p\ngroup: file")]);
    let told: Pairs<'_> = &[
        ("REBOOT_STRATEGY", "off"),
        ("POINTSMAN_GROUP", "with \"quotes\" and: colons"),
        ("LOCKSMITHD_ENDPOINT", "h:1,i:2"),
        ("LOCKSMITHD_ETCD_USERNAME", "u"),
        ("LOCKSMITHD_ETCD_PASSWORD", "s3cret"),
    ];
    let agent = load_at(&root, &[], told).unwrap();
    let left = OfAgent::leave(&agent).unwrap();
    let command = load_at(&root, &[], &[]).unwrap();
    assert_eq!(command.strategy, Strategy::Off);
    assert_eq!(command.group, agent.group);
    assert_eq!(command.etcd.endpoints, agent.etcd.endpoints);
    let user = |config: &Config| config.etcd_options().unwrap().user;
    assert_eq!(user(&command), Some(("u".into(), "s3cret".into())));
    assert_eq!(user(&command), user(&agent));
    let mode = |name| {
        root.path(name)
            .shown()
            .metadata()
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode("run/pointsman/agent-password"), 0o600);
    let text = fs::read_to_string(root.path("run/pointsman/agent.yaml").shown()).unwrap();
    assert!(
        !text.contains("s3cret") && !text.contains("prefix"),
        "{text}"
    );
    drop(left);
    assert_eq!(load_at(&root, &[], &[]).unwrap().group.as_str(), "file");
    assert!(!root.path("run/pointsman/agent-password").shown().exists());
}
