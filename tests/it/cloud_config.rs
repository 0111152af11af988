//! `pointsman cloud-config` as people call it.

use std::process::Command;

use pointsman_testbed::process::{self, Output};
use serde_json::Value;

use crate::agents::bin;

/// Calls it with this text on standard input, and no address known.
fn call(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(bin());
    command
        .arg("cloud-config")
        .args(arguments)
        .env_clear()
        // Documents are looked at without this node's configuration, however wrong it is.
        .env("POINTSMAN_TIMEOUT", "never");
    process::call(&mut command, input)
}

const WARNED: &str = "#cloud-config\nhostnam: a\nhostname: a\n";
const WRONG: &str =
    "#cloud-config\nhostnam: a\ncoreos:\n  units:\n    - name: a.service\n      command: strat\n";

#[test]
fn exit_code_tells_whether_there_are_errors() {
    for (arguments, input, code) in [
        (&["validate", "-"][..], "#cloud-config\nhostname: a\n", 0),
        (&["validate", "-"], "", 2),
        (&["validate", "-"], "#cloud-config", 0),
        (&["validate", "-"], "#!/bin/sh\n", 0),
        (&["validate", "-"], WARNED, 0),
        (&["validate", "--strict", "-"], WARNED, 1),
        (&["validate", "-"], WRONG, 1),
        (&["validate", "-"], "hostname: a\n", 1),
        (&["validate", "/no/such/file"], "", 2),
        (&["validate"], "", 2),
    ] {
        let called = call(arguments, input.as_bytes());
        assert_eq!(
            called.code,
            Some(code),
            "{arguments:?} {input:?} {}",
            called.stderr
        );
        assert_eq!(called.stderr.is_empty(), code == 0, "{}", called.stderr);
    }
}

#[test]
fn validate_prints_lines_for_people_and_numbers_in_json() {
    let called = call(&["validate", "-"], WRONG.as_bytes());
    let lines: Vec<&str> = called.stdout.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "standard input:2:1: warning: hostnam: unknown key \"hostnam\", it is not read; did you mean hostname?",
            "2 | hostnam: a",
            "  | ^^^^^^^",
        ]
    );
    assert!(lines[3].starts_with(
        "standard input:6:16: error: coreos.units[0].command: found \"strat\", expected start, "
    ));
    assert_eq!(
        lines[4..],
        ["6 |       command: strat", "  |                ^^^^^"]
    );
    assert_eq!(
        called.stderr,
        "pointsman: standard input: 1 error, 1 warning\n"
    );

    let called = call(&["validate", "--json", "-"], WRONG.as_bytes());
    let shown: Value = serde_json::from_str(&called.stdout).unwrap();
    let diagnostics = shown["findings"].as_array().unwrap();
    assert_eq!(diagnostics.len(), 2);
    assert_eq!(
        diagnostics[0],
        serde_json::json!({
            "level": "warning", "line": 2, "column": 1, "path": "hostnam",
            "message": "unknown key \"hostnam\", it is not read; did you mean hostname?",
        })
    );
    assert_eq!(diagnostics[1]["path"], "coreos.units[0].command");
    let called = call(&["validate", "--json", "-"], b"#cloud-config\n\xff");
    let shown: Value = serde_json::from_str(&called.stdout).unwrap();
    assert_eq!(
        (shown["findings"][0]["line"].as_u64(), called.code),
        (Some(2), Some(1))
    );
    let called = call(
        &["validate", "--json", "-"],
        b"#cloud-config\nhostname: a\n",
    );
    let shown: Value = serde_json::from_str(&called.stdout).unwrap();
    assert_eq!(shown, serde_json::json!({ "findings": [] }));
}

#[test]
fn diagnostics_of_a_mime_part_have_lines_of_the_whole_text() {
    let mime = format!(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/cloud-config; name=one\n\n{WARNED}--b\n\n{WRONG}--b--\n"
    );
    let called = call(&["validate", "-"], mime.as_bytes());
    let heads: Vec<&str> = called
        .stdout
        .lines()
        .filter(|line| line.starts_with("standard"))
        .collect();
    assert!(
        heads[0].starts_with("standard input (one):7:1: warning: hostnam"),
        "{heads:?}"
    );
    assert!(
        heads[1].starts_with("standard input:12:1: warning: hostnam"),
        "{heads:?}"
    );
    assert!(
        heads[2].starts_with("standard input:16:16: error:"),
        "{heads:?}"
    );
    assert!(
        called.stdout.contains("16 |       command: strat"),
        "{}",
        called.stdout
    );
    let called = call(&["validate", "--json", "-"], mime.as_bytes());
    let shown: Value = serde_json::from_str(&called.stdout).unwrap();
    assert_eq!(
        (
            shown["findings"][0]["part"].as_str(),
            shown["findings"][0]["line"].as_u64()
        ),
        (Some("one"), Some(7))
    );
}

#[test]
fn addresses_come_from_flags() {
    let source = b"#cloud-config\ncoreos: {flannel: {public_ip: $private_ipv4}}\n";
    assert!(
        call(&["validate", "-"], source)
            .stdout
            .contains("the address $private_ipv4 is not known")
    );
    let called = call(&["validate", "--private-ipv4", "10.0.0.1", "-"], source);
    assert_eq!((called.stdout.as_str(), called.code), ("", Some(0)));
}

#[test]
fn alias_bombs_are_refused_with_a_position() {
    let bomb = (1..30).fold("#cloud-config\na0: &a0 lol\n".to_owned(), |text, i| {
        let ten = vec![format!("*a{}", i - 1); 10].join(", ");
        format!("{text}a{i}: &a{i} [{ten}]\n")
    });
    let megabyte = format!("{bomb}{}", "x: *a29\n".repeat(130_000));
    for input in [megabyte, format!("#cloud-config\n{}", "[".repeat(10_000))] {
        let called = call(&["validate", "-"], input.as_bytes());
        assert_eq!(called.code, Some(1));
        assert_eq!(
            called
                .stdout
                .lines()
                .filter(|line| line.contains(": error: "))
                .count(),
            1
        );
        assert!(called.stdout.len() < 1000, "{}", called.stdout);
    }
}

#[test]
fn schema_references_resolve() {
    let called = call(&["schema"], b"");
    let schema: Value = serde_json::from_str(&called.stdout).unwrap();
    let mut open = vec![&schema];
    let mut pointers = 0;
    while let Some(value) = open.pop() {
        if let Some(target) = value.get("$ref").and_then(Value::as_str) {
            let target = schema.pointer(target.strip_prefix('#').unwrap());
            assert!(
                target.is_some_and(|t| t.get("description").is_some()),
                "{value}"
            );
            pointers += 1;
        }
        match value {
            Value::Object(map) => open.extend(map.values()),
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    assert!(pointers > 100, "{pointers}");
    let strategy =
        schema.pointer("/properties/coreos/properties/update/properties/reboot_strategy/enum");
    assert_eq!(
        strategy,
        Some(&serde_json::json!([
            "etcd-lock",
            "reboot",
            "off",
            "best-effort",
            null,
            false
        ]))
    );
}

#[test]
fn each_of_several_files_is_validated() {
    let folder = pointsman_testbed::scratch::dir("several");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let good = file("good.yaml", "#cloud-config\nhostname: a\n");
    let warned = file("warned.yaml", WARNED);
    let wrong = file("wrong.yaml", WRONG);
    let missing = folder.path().join("missing.yaml").display().to_string();
    call(&["validate", &good, &warned], b"").must(0);
    let called = call(&["validate", &good, &wrong, &warned], b"");
    assert_eq!(called.code, Some(1), "{called:?}");
    for place in [
        format!("{wrong}:6:16: error"),
        format!("{warned}:2:1: warning"),
    ] {
        assert!(called.stdout.contains(&place), "{place}: {called:?}");
    }
    assert_eq!(
        called.stderr,
        format!("pointsman: {wrong}: 1 error, 1 warning\n")
    );
    let called = call(&["validate", "--json", &warned, &missing, &wrong], b"");
    assert_eq!(called.code, Some(2), "{called:?}");
    assert!(
        called.stderr.contains("missing.yaml: No such file"),
        "{called:?}"
    );
    assert!(
        called
            .stderr
            .contains(&format!("pointsman: {wrong}: 1 error")),
        "{called:?}"
    );
    let shown: Value = serde_json::from_str(&called.stdout).unwrap();
    let sources: Vec<_> = shown["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["source"])
        .collect();
    assert_eq!(sources, [&warned, &wrong, &wrong]);
}
