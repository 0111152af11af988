//! What is no document at all, and documents broken at random.

use std::fmt::Write as _;

use super::*;
use crate::plan::{Machine, Planned, Step, plan};

const DOCUMENTS: [&str; 4] = [
    include_str!("../../../../cloud-config/one-node.yaml"),
    include_str!("../../../../cloud-config/old-stack.yaml"),
    include_str!("../../../../cloud-config/etcd-cluster.yaml"),
    include_str!("../../../../cloud-config/updates-off.yaml"),
];

fn first(source: &str) -> String {
    let diagnostics = read(source).diagnostics;
    placed(source, &diagnostics);
    shown(&diagnostics).into_iter().next().unwrap_or_default()
}

#[test]
fn invalid_yaml_gives_one_diagnostic_with_its_position() {
    let deep = "[".repeat(10_000);
    let nested: String = (0..200).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    let bomb = (1..20).fold("a0: &a0 lol\n".to_owned(), |text, i| {
        let ten = vec![format!("*a{}", i - 1); 10].join(", ");
        format!("{text}a{i}: &a{i} [{ten}]\n")
    });
    let merges = (1..20).fold("a0: &a0 {x: lol}\n".to_owned(), |text, i| {
        let ten = vec![format!("*a{}", i - 1); 10].join(", ");
        format!("{text}a{i}: &a{i} {{k: [{ten}], <<: [{ten}]}}\n")
    });
    let texts = format!(
        "write_files:\n- &a {{path: /a, content: {}}}\n{}",
        "x".repeat(1 << 19),
        "- *a\n".repeat(1000)
    );
    for (source, expected) in [
        (
            "hostname: a: b",
            "error 1:12 : not valid YAML: mapping values are not allowed",
        ),
        (
            "coreos:\n\tupdate: 1",
            "error 2:1 : not valid YAML: …use spaces",
        ),
        ("hostname: \"a", "error 1:"),
        ("users: [a", "not valid YAML: unclosed bracket '['"),
        // To YAML a carriage return ends a line, to editors it does not.
        (
            "# a\rhostname: a: b",
            "error 1:16 : not valid YAML: mapping values",
        ),
        ("hostname: a\u{0}b", "error 1:12 : not valid YAML"),
        (
            "hostname: *a",
            "error 1:11 : not valid YAML: …unknown anchor",
        ),
        (
            "? [a]\n: b",
            "error 1:3 : not valid YAML: found a list as a key",
        ),
        (
            "hostname: &a [*a]",
            "error 1:15 : not valid YAML: found an alias within its own anchor",
        ),
        (&deep, "error 1:25 : not valid YAML: recursion limit"),
        (&nested, "error 25:25 : not valid YAML: recursion limit"),
        (
            &bomb,
            "error 7:…aliases up to here make the document too large",
        ),
        (
            &merges,
            "error 6:…aliases up to here make the document too large",
        ),
        (
            &texts,
            "error 3:3 …aliases up to here make the document too large",
        ),
    ] {
        let found = first(source);
        let mut rest = found.as_str();
        for piece in expected.split('…') {
            let at = rest
                .find(piece)
                .unwrap_or_else(|| panic!("{found}\n{expected}"));
            rest = &rest[at + piece.len()..];
        }
        assert!(!read(source).is_sound());
    }
}

#[test]
fn unusual_valid_documents_are_read() {
    for source in [
        "",
        "\n",
        "# only a comment\n",
        "#cloud-config\n",
        "---\n",
        "~",
        "{}",
        "\u{feff}",
        "--- # x\n...\n",
    ] {
        let reading = read(source);
        placed(source, &reading.diagnostics);
        assert!(reading.is_sound(), "{source:?} {:?}", reading.diagnostics);
    }
    for source in [
        "\u{feff}#cloud-config\nhostname: a1\n",
        "#cloud-config\r\nhostname: a1\r\n",
        "%YAML 1.1\n---\nhostname: a1\n",
        "hostname:\ta1\n",
        "{\"hostname\": \"a1\"}",
        "x-keys: &k {hostname: a1}\n<<: *k\n",
        "hostname: &h a1\nHOSTNAME: *h\n",
    ] {
        let reading = read(source);
        assert_eq!(
            reading.document.hostname.0.map(|text| text.text).as_deref(),
            Some("a1"),
            "{source:?}"
        );
        assert!(
            reading.diagnostics.iter().all(|f| f.level != Level::Error),
            "{source:?}"
        );
    }
    let crlf = "write_files:\r\n- path: /a\r\n  content: |\r\n    one\r\n    two\r\n";
    let reading = read(crlf);
    assert_eq!(
        reading.document.write_files.0[0].bytes().unwrap(),
        b"one\ntwo\n"
    );
    let long = format!("hostname: {}\n", "a".repeat(100_000));
    assert!(first(&long).starts_with("warning 1:11 hostname: a host name has at most 63 bytes"));
    let key = format!("{}: 1\n", "k".repeat(900));
    assert!(first(&key).starts_with("warning 1:1"));
}

#[test]
fn own_keys_override_keys_from_a_merge() {
    let source =
        "coreos:\n  update: &u {reboot_strategy: reboot, group: alpha}\n  oem: {}\nx: {<<: *u}\n";
    assert!(read(source).is_sound());
    let source = "x-base: &b {reboot-strategy: off, group: beta}\ncoreos:\n  update: {<<: *b, reboot_strategy: reboot}\n";
    let services = read(source).document.services;
    let variables: Vec<_> = services[0]
        .variables
        .iter()
        .map(|variable| format!("{}={}", variable.name, variable.value))
        .collect();
    assert_eq!(variables, ["GROUP=beta", "REBOOT_STRATEGY=reboot"]);
}

/// A small generator: the same documents in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }
}

/// A sound document has a plan, which writes each file whole at most once.
fn planned(reading: Reading, addresses: &Addresses) {
    let machine = Machine {
        addresses,
        hostname: "x",
        text: &|_| None,
    };
    let steps = plan(
        vec![Planned::Document(Box::new(reading.document))],
        &machine,
    )
    .unwrap();
    let mut paths: Vec<&str> = steps
        .iter()
        .filter_map(|step| match step {
            Step::File(file) => Some(file.path.as_str()),
            _ => None,
        })
        .collect();
    paths.sort_unstable();
    assert!(paths.windows(2).all(|pair| pair[0] != pair[1]), "{paths:?}");
}

#[test]
fn broken_documents_never_panic_and_every_diagnostic_has_a_position() {
    const PIECES: [&str; 30] = [
        "\t",
        "\n",
        "  ",
        "- ",
        ": ",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "'",
        "|",
        ">",
        "&a ",
        "*a",
        "!!binary ",
        "!x ",
        "<<: ",
        "#",
        "$private_ipv4",
        "\\$public_ipv4",
        "\u{0}",
        "é",
        "\u{feff}",
        "---\n",
        "%",
        "0x",
        "off",
        "\r\n",
        "mask: true",
    ];
    let addresses = Addresses {
        private_ipv4: Some("10.0.0.1".into()),
        ..Addresses::default()
    };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut diagnostics = 0;
    let mut sound = 0;
    for round in 0..6000 {
        let mut text: Vec<char> = DOCUMENTS[round / 2 % DOCUMENTS.len()].chars().collect();
        for _ in 0..=random.below(4) {
            let at = random.below(text.len());
            match random.below(4) {
                0 => {
                    let end = (at + 1 + random.below(20)).min(text.len());
                    text.drain(at..end);
                }
                1 => {
                    let end = (at + random.below(200)).min(text.len());
                    let copy: Vec<char> = text[at..end].to_vec();
                    let to = random.below(text.len());
                    text.splice(to..to, copy);
                }
                2 => text.truncate(at.max(1)),
                _ => {
                    let piece = PIECES[random.below(PIECES.len())];
                    text.splice(at..at, piece.chars());
                }
            }
            if text.is_empty() {
                text.push('a');
            }
        }
        let source: String = text.into_iter().collect();
        let unknown = if round % 3 == 0 {
            Unknown::Info
        } else {
            Unknown::Error
        };
        let mode = match round % 2 {
            0 => Mode::Own,
            _ => Mode::Compatible,
        };
        let reading = crate::read(&source, &addresses, unknown, mode);
        placed(&source, &reading.diagnostics);
        let mut printed = String::new();
        let _ = write!(
            printed,
            "{}",
            crate::print(&reading.diagnostics, "x", &source, 0)
        );
        diagnostics += reading.diagnostics.len();
        if reading.is_sound() {
            sound += 1;
            planned(reading, &addresses);
        }
    }
    // Both kinds come up: the documents are neither all broken nor all sound.
    assert!(diagnostics > 3000 && sound > 100, "{diagnostics} {sound}");
}
