//! Tables: what every error says.

use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt as _};

use super::*;

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
            ":1:1: unknown key \"grop\", expected one of strategy, group, key-prefix, pin-booted-slot, block-other-reboots, \
             updates, sentinel, checks, slots, etcd, fleet-lock, window, windows, notify, timings",
        ),
        (
            "notify: /bin/true\n",
            ":1:9: notify: found \"/bin/true\", expected a list of receivers such as {webhook: \"https://…\", events: [quarantined]}",
        ),
        (
            "notify:\n- /bin/true\n",
            ":2:3: found \"/bin/true\" in notify, expected a receiver with the keys events, command, webhook, format",
        ),
        (
            "notify:\n- {events: [proven]}\n",
            ":2:3: found a receiver without `command` and `webhook`, expected one of them",
        ),
        (
            "notify:\n- {command: /bin/true, webhook: 'http://a'}\n",
            ":2:3: found a receiver with `command` and `webhook`, expected one of them",
        ),
        (
            "notify:\n- {command: /bin/true, events: []}\n",
            ":2:32: found an empty list for notify.events, expected one event or more; without `events`, all",
        ),
        (
            "notify:\n- {command: /bin/true, format: slack}\n",
            ":2:3: found a receiver with `command` and `format`, expected `format` beside `webhook` only",
        ),
        (
            "notify:\n- {command: true}\n",
            ":2:13: found \"true\" for notify.command, expected the path of a program, from /",
        ),
        (
            "notify:\n- {webhook: 'ftp://ann:secret@a'}\n",
            ":2:13: found something else for notify.webhook, expected a URL that begins with https:// or http://",
        ),
        (
            "notify:\n- {webhook: 'http://a', format: html}\n",
            ":2:33: found \"html\" for notify.format, expected json or slack",
        ),
        (
            "notify:\n- {webhook: 'http://a', event: proven}\n",
            ":2:25: unknown key \"notify.event\", expected one of events, command, webhook, format",
        ),
        (
            "notify:\n- {webhook: 'http://a', events: proved}\n",
            ":2:33: found \"proved\" in notify.events, expected events of staged, requested, draining",
        ),
        (
            "windows: Sat 02:00\n",
            ":1:10: windows: found \"Sat 02:00\", expected a list of windows in JSON such as",
        ),
        (
            "windows: {at: 1}\n",
            ":1:10: found a mapping for windows, expected a list of windows such as {at: \"Sat 02:00\", for: 4h}",
        ),
        (
            "windows:\n  - Sat 02:00\n",
            ":2:5: found \"Sat 02:00\" in windows, expected a window with the keys at, for, zone, except, random-delay",
        ),
        (
            "windows:\n  - at: Sat 02:00\n",
            ":2:5: found a window without \"for\", expected `at` and `for` in every window",
        ),
        (
            "windows:\n  - at: Sat 02:00\n    length: 4h\n",
            ":3:5: unknown key \"windows.length\", expected one of at, for, zone, except, random-delay",
        ),
        (
            "windows:\n  - at: Sat 02:00\n    for: 4h\n    zone: Berlin\n",
            ":4:11: windows: zone: found \"Berlin\", expected a time zone of this system such as Europe/Berlin or UTC",
        ),
        (
            "windows:\n  - {at: Sat 02:00, for: [4h]}\n",
            ":2:26: found a list for windows.for, expected one value",
        ),
        (
            "timings: {proving: 90}\n",
            ":1:20: timings.proving: found \"90\", expected a unit after the number: 90s, 90m, 90h or 90d",
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
            ":1:7: found \"5\", expected the keys endpoints, member, cafile, certfile, keyfile, username, password-file, timeout \
             under etcd",
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
            "checks: {ignore-units: {a: b}}\n",
            ": found a mapping for checks.ignore-units, expected a list, or values with commas between them",
        ),
        (
            "checks:\n  cluster-units:\n    - a.service\n    - [b]\n",
            ":4:7: found a list in checks.cluster-units, expected the name of a unit",
        ),
        (
            "checks: {ignore-units: [a.service, b]}\n",
            ": checks.ignore-units: found \"a.service,b\", expected names of units such as foo.service",
        ),
        (
            "etcd: {endpoints: []}\n",
            ": found an empty list for etcd.endpoints, expected at least one endpoint",
        ),
        (
            "updates: {restage-after: 3}\n",
            ":1:26: updates.restage-after: found \"3\", expected off, or a unit after the number: 3s, 3m, 3h or 3d",
        ),
        (
            "hold-points: true\npin-booted-slot: true\n",
            ":1:1: found hold-points, which is the old name of pin-booted-slot, together with pin-booted-slot, expected \
             pin-booted-slot only",
        ),
        (
            "pin-booted-slot: on\n",
            ":1:18: pin-booted-slot: found \"on\", expected true or false",
        ),
        (
            "strategy: of\n",
            ":1:11: strategy: found \"of\", expected etcd-lock, fleet-lock, reboot or off",
        ),
        (
            &long,
            "xxx\"…, expected etcd-lock, fleet-lock, reboot or off",
        ),
        (
            "etcd: {member: non}\n",
            ":1:16: etcd.member: found \"non\", expected auto, none, or the client URL",
        ),
        (
            "etcd: {member: 'http://a:1,http://b:1'}\n",
            ": etcd.member: found \"http://a:1,http://b:1\", expected auto, none",
        ),
        (
            "sentinel: run\n",
            ":1:11: sentinel: found \"run\", expected an absolute path, or several with commas between them",
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
            ":1:17: window.start: found \"noon\", expected a time such as 04:00",
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
            "etcd: {username: u, password-file: s3cret}\n",
            ": etcd.password-file: found a value that is not shown, expected an absolute path of a file",
        ),
        (
            "etcd: {password: s3cret}\n",
            ":1:8: unknown key \"etcd.password\"",
        ),
        (
            "etcd: {endpoints: 'http://u:s3cret@h'}\n",
            ": etcd.endpoints: found \"…@h\" with a user name",
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
        // What a higher layer sets as well is not thereby right.
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
    let binary = [("POINTSMAN_STRATEGY".into(), OsString::from_vec(vec![0xff]))];
    let binary = Environment::from_iter(binary);
    let mut faults = Vec::new();
    binary.own(&mut faults);
    assert_eq!(faults.len(), 1);
    assert_eq!(
        faults[0].to_string(),
        "POINTSMAN_STRATEGY: found bytes that are not UTF-8, expected text"
    );
}

#[test]
fn configuration_path_that_is_no_file_is_an_error() {
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
    let path = root.path(FILE).shown();
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
fn config_yml_is_reported_as_not_read() {
    for folder in ["etc", "run", "usr/lib"] {
        let (_dir, root) = root(None);
        let path = root.path(format!("{folder}/pointsman/config.yml")).shown();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "group: a").unwrap();
        let error = load_at(&root, &[], &[]).unwrap_err().to_string();
        let expected = format!("{} is not read; rename it to config.yaml", path.display());
        assert_eq!(error, expected);
    }
}

/// What is right in this configuration, and its faults.
fn what_is_right(file: &str, flags: Pairs<'_>, variables: Pairs<'_>) -> (Config, Vec<String>) {
    let (_dir, root) = root(Some(file.as_bytes()));
    let mut layer = Partial::default();
    for (key, text) in flags {
        layer.set(key, text, Origin::Flag("--flag")).unwrap();
    }
    let (config, faults) = sources(&root, layer, variables).load_what_is_right();
    (config, faults.iter().map(ToString::to_string).collect())
}

#[test]
fn valid_settings_stay_and_every_fault_is_reported() {
    let file = "group: blue\nwindw: 1\nslots: {disk: rel, booted: B}\nwindow: {start: noon, length: 1h}\n\
                timings: {proving: 1m, retry-min: 2m, retry-max: 1m}\netcd: {timeout: never, cafile: /ca, certfile: /c}\n";
    let variables = [("POINTSMAN_GRUP", "a"), ("LOCKSMITHD_X", "1")];
    let (config, faults) = what_is_right(file, &[("etcd.username", "u")], &variables);
    assert_eq!(config.group.as_str(), "blue");
    assert_eq!(config.slots.disk, None);
    assert_eq!(config.slots.booted.as_deref(), Some("B"));
    assert_eq!(config.etcd.cafile, Some("/ca".into()));
    assert_eq!((config.etcd.identity, config.etcd.user), (None, None));
    assert_eq!(config.timings.proving, Duration::from_secs(60));
    assert_eq!(config.timings.retry_min, Duration::from_secs(1));
    assert!(config.window.is_none());
    let parts = [
        "POINTSMAN_GRUP: unknown variable",
        "unknown key \"windw\"",
        "slots.disk: found \"rel\"",
        "etcd.timeout: found \"never\"",
        "LOCKSMITHD_X: unknown variable",
        "etcd.certfile: given without etcd.keyfile",
        "--flag: given without etcd.password-file",
        "timings.retry-min: found 2m",
        "window.start: ",
    ];
    assert_eq!(faults.len(), parts.len(), "{faults:#?}");
    for (fault, part) in faults.iter().zip(parts) {
        assert!(fault.contains(part), "{fault}\n{part}");
    }
    for (none, part) in [
        ("group: blue\n\tx: 1\n", "not valid YAML"),
        ("- a\n", "found a list"),
    ] {
        let (config, faults) = what_is_right(none, &[("key-prefix", "p")], &[]);
        assert_eq!((config.group.as_str(), config.prefix.as_str()), ("", "p"));
        assert!(faults.len() == 1 && faults[0].contains(part), "{faults:?}");
    }
}

#[test]
fn fault_names_the_settings_it_leaves_unknown() {
    for (file, key, concerned) in [
        ("timings: {proving: x}", "timings.proving", Some(true)),
        ("timings: {proving: x}", "timings.retry-min", Some(false)),
        ("timings: {provng: 1m}", "timings.retry-min", Some(true)),
        ("timings: {provng: 1m}", "group", Some(false)),
        (
            "window: {start: noon, length: 1h}",
            "window.length",
            Some(true),
        ),
        ("window: {start: noon, length: 1h}", "group", Some(false)),
        ("etcd: {certfile: /c}", "etcd.keyfile", Some(true)),
        ("etcd: {certfile: /c}", "etcd.endpoints", Some(false)),
        // It may be meant to be any.
        ("windw: 1", "group", None),
        ("timings: 5", "group", None),
        ("a: b: c", "group", None),
    ] {
        let error = load(file, &[], &[]).unwrap_err();
        assert_eq!(error.concerns(key), concerned, "{file}: {key}");
    }
}

#[test]
fn another_file_by_flag_must_exist() {
    let (dir, root) = root(Some(b"group: usual"));
    let other = dir.path().join("other.yaml");
    let sources = Sources {
        file: Some(other.clone()),
        ..sources(&root, Partial::default(), &[])
    };
    let load = || sources.load();
    let error = load().unwrap_err().to_string();
    assert!(error.contains("other.yaml: No such file"), "{error}");
    fs::write(&other, "group: other").unwrap();
    assert_eq!(load().unwrap().group.as_str(), "other");
}
