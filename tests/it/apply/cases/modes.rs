//! What is refused, skipped or accepted, by mode: without flags, with `--strict`, and in compatibility mode.

use super::*;

/// docs/reference/cloud-config-differences.md has a test for each line.
#[test]
fn every_difference_names_an_existing_test() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    let mut open = vec![root.join("src"), root.join("crates"), root.join("tests/it")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false if path.extension().is_some_and(|end| end == "rs") => {
                    sources += &fs::read_to_string(path).unwrap();
                }
                false => {}
            }
        }
    }
    let page = fs::read_to_string(root.join("docs/reference/cloud-config-differences.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let mut tests = 0;
    for row in rows.filter(|row| !row.ends_with("| test |")) {
        let last = row.trim_end_matches(" |").rsplit("| ").next().unwrap();
        for name in last.split(", ") {
            let name = name.trim_matches('`');
            assert!(
                sources.contains(&format!("fn {name}()")),
                "no test {name}:\n{row}"
            );
            tests += 1;
        }
    }
    assert!(tests > 40, "{tests}");
}

#[test]
fn document_without_any_effect_is_refused() {
    refused(
        "#cloud-config\nflatcar:\n  update:\n    reboot-strategy: \"off\"\n",
        &["2:1: ", "flatcar is not read here: did you mean coreos?"],
        &[],
    );
    refused(
        "#cloud-config\ncores:\n  update:\n    reboot-strategy: \"off\"\nhostname: h\n",
        &["unknown key \"cores\", it is not read; did you mean coreos?"],
        &[("etc/hostname", "h\n")],
    );
    for document in [
        "#cloud-config\nruncmd: [ls]\n",
        "#cloud-config\nusers: [default]\n",
    ] {
        refused(
            document,
            &["nothing of this document would take effect"],
            &[],
        );
    }
    assert_eq!(tree().apply("#cloud-config\n").must(0), "");
}

#[test]
fn parts_of_other_kinds_are_skipped() {
    let parts = |kinds: &[(&str, &str)]| {
        let mut text =
            "Content-Type: multipart/mixed; boundary=\"b\"\nMIME-Version: 1.0\n\n".to_owned();
        for (kind, body) in kinds {
            text += &format!("--b\nContent-Type: {kind}; charset=\"us-ascii\"\n\n{body}\n");
        }
        text + "--b--\n"
    };
    let config = (
        "text/cloud-config",
        "#cloud-config\nwrite_files:\n  - path: /etc/x\n    content: hi\n",
    );
    let mixed = parts(&[
        config,
        ("text/plain", "notes for the operator"),
        ("text/cloud-boothook", "#cloud-boothook\n#!/bin/sh"),
        ("text/upstart-job", "description \"x\""),
        ("text/plain", "{\"ignition\":{\"version\":\"3.0.0\"}}"),
    ]);
    applied(
        &mixed,
        &[
            ":15:1: warning: part 2 of type text/plain is skipped",
            "part 3 of type text/cloud-boothook is skipped",
            "part 4 of type text/upstart-job is skipped",
            "part 5 of type text/plain is skipped",
        ],
        &[("etc/x", "hi")],
    );
    applied(
        &("From nobody Wed Nov 25 10:00:00 2015\n".to_owned()
            + &parts(&[config, ("text/plain", "notes")])),
        &[
            ":1:1: warning: found \"From nobody Wed Nov 25 10:00:00 2015\", the separator of a mailbox",
            ":16:1: warning: part 2 of type text/plain is skipped",
        ],
        &[("etc/x", "hi")],
    );
    let none = parts(&[("text/plain", "notes")]);
    let output = tree().apply(&none);
    assert_eq!(output.code, Some(1));
    says(&output, &["no part that is applied here"]);
}

#[test]
fn strict_treats_warnings_as_errors() {
    let document = "#cloud-config\nwrite_files: [{path: etc/x, content: hi}]\n";
    let tree = tree();
    let before = tree.seen();
    for command in ["validate", "plan", "apply"] {
        let output = tree.call(&[command, "-", "--strict"], document);
        assert_eq!(output.code, Some(1), "{command}");
        says(&output, &["1 warning"]);
    }
    assert_eq!(tree.seen(), before);
    tree.call(
        &["apply", "-", "--strict"],
        &document.replace("etc/x", "/etc/x"),
    )
    .must(0);
    let mime = format!(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nx\n--b\nContent-Type: text/cloud-config\n\n#cloud-config\n{}--b--\n",
        "hostname: a\n"
    );
    assert_eq!(tree.call(&["apply", "-", "--strict"], &mime).code, Some(1));
}

#[test]
fn compatibility_validate_exit_code_counts_only_original_rules() {
    for (document, code) in [
        // What it has as well.
        ("hostnam: a", 1),
        ("hostname: [a]", 1),
        ("coreos: {etcd2: {name: a}}", 1),
        ("write_files: [{path: /a, permissions: '0999'}]", 1),
        ("write_files: [{path: /a, encoding: b64, content: '?'}]", 1),
        ("write_files: [{path: /usr/a}]", 1),
        ("coreos: {write_files: []}", 1),
        ("coreos: {update: {reboot_strategy: never}}", 1),
        (
            "coreos: {locksmith: {window_start: 25:00, window_length: 1h}}",
            1,
        ),
        ("coreos: {units: [{name: a.service, command: strat}]}", 1),
        ("coreos: {etcd2: {discovery: x}}", 1),
        ("hostname: a: b", 1),
        // What only this program reports.
        ("write_files: [{path: etc/x}, ~, {content: a}]", 0),
        ("hostname: ''", 0),
        ("hostname: a_b!", 0),
        ("coreos: {update: {reboot_strategy: best-effort}}", 0),
        (
            "coreos: {locksmith: {window_start: 04:00, window_length: 8d}}",
            0,
        ),
        ("coreos: {locksmith: {window_start: 04:00}}", 0),
        (
            "coreos: {units: [{name: a.service, content: x, command: start}]}",
            0,
        ),
        ("coreos: {units: [{name: a, command: start}]}", 0),
        ("hostname: a\nhostname: b", 0),
        ("ssh_authorized_keys: [nonsense]", 0),
        ("users: [{name: a}]", 0),
    ] {
        let output = old(
            &tree(),
            &["-validate"],
            &format!("#cloud-config\n{document}\n"),
        );
        assert_eq!(output.code, Some(code), "{document}\n{}", output.stderr);
        // All is said, counted or not, one line each.
        assert!(
            output.stderr.lines().all(|line| line.starts_with("line ")),
            "{}",
            output.stderr
        );
    }
    for (user_data, code) in [
        ("#!/bin/sh\n", 0),
        ("{\"ignition\":{\"version\":\"3.3.0\"}}", 0),
        ("nothing of ours\n", 1),
    ] {
        assert_eq!(
            old(&tree(), &["-validate"], user_data).code,
            Some(code),
            "{user_data}"
        );
    }
}

#[test]
fn invalid_values_are_written_in_compatibility_mode() {
    refused(
        "#cloud-config\nhostname: n 1\ncoreos: {update: {reboot_strategy: never}, locksmith: {window_start: 04:00}}\nwrite_files: [{path: /etc/x, content: hi}]\n",
        &[
            "hostname: found \"n 1\"",
            "reboot_strategy: found \"never\"",
            "without window_length there is no window",
        ],
        &[
            ("etc/hostname", "n 1\n"),
            ("etc/coreos/update.conf", "REBOOT_STRATEGY=never\n"),
            (
                "run/systemd/system/locksmithd.service.d/20-cloudinit.conf",
                "[Service]\nEnvironment=\"REBOOT_WINDOW_START=04:00\"\n",
            ),
            ("etc/x", "hi"),
        ],
    );
    refused(
        "#cloud-config\nwrite_files: [{path: /etc/x, content: hi}]\nhostname: [n1]\ncoreos: {units: [{name: docker, content: x}, {name: a.service, enable: maybe, drop_ins: [{name: x.cnf, content: y}]}]}\n",
        &[
            "hostname: found a list",
            "a name without a suffix",
            "expected a file name ending in .conf",
        ],
        &[("etc/x", "hi"), ("etc/hostname", "was\n")],
    );
}

#[test]
fn ignition_config_is_ignored_in_compatibility_mode() {
    let tree = tree();
    let before = tree.seen();
    let output = old(&tree, &[], "{\"ignition\":{\"version\":\"3.3.0\"}}");
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    says(&output, &["Ignition"]);
    assert_eq!(tree.seen(), before);
    assert_eq!(
        tree.apply("{\"ignition\":{\"version\":\"3.3.0\"}}").code,
        Some(1)
    );
}
