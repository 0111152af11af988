//! What is said about a document, in full.

use super::*;

/// A document and all that is to be said about it.
fn says(source: &str, expected: &[&str]) {
    let reading = read(source);
    placed(source, &reading.findings);
    let found = shown(&reading.findings);
    let fits = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| {
            let mut rest = found.as_str();
            expected.split('…').all(|piece| match rest.find(piece) {
                Some(at) => {
                    rest = &rest[at + piece.len()..];
                    true
                }
                None => false,
            })
        });
    assert!(
        fits,
        "{source}\nfound    {found:#?}\nexpected {expected:#?}"
    );
}

#[test]
fn all_findings_come_at_once_in_the_order_of_the_document() {
    says(
        "#cloud-config
hostnam: a
write-files:
  - permissions: 0999
    path: usr/x
    content: [a]
coreos:
  units:
    - command: strat
      name: a.servce
    - {}
  update: yes
  update: {}
",
        &[
            "warning 2:1 hostnam: unknown key \"hostnam\"…did you mean hostname?",
            "error 4:18 write_files[0].permissions: found \"0999\", expected an octal mode such as 0644",
            "error 5:11 write_files[0].path: found \"usr/x\", expected an absolute path; did you mean \"/usr/x\"?",
            "error 6:14 write_files[0].content: found a list, expected text; text of several lines follows a |",
            "error 9:16 coreos.units[0].command: found \"strat\", expected start, stop,…did you mean start?",
            "error 10:13 coreos.units[0].name: unknown suffix \"servce\" in \"a.servce\"; did you mean \"a.service\"?",
            "error 11:7 coreos.units[1]: name is missing",
            "error 12:11 coreos.update: found \"yes\", expected a mapping with the keys reboot_strategy, group, server",
            "error 13:3 coreos.update: duplicate key, it is on line 12 already",
        ],
    );
}

#[test]
fn wrong_types_are_named_everywhere() {
    for (source, expected) in [
        (
            "- a",
            "1:1 : found a list, expected a mapping with the keys hostname, ",
        ),
        ("just text", "1:1 : found \"just text\", expected a mapping"),
        (
            "hostname: [a]",
            "1:11 hostname: found a list, expected a host name…several go into one text",
        ),
        (
            "hostname: {a: b}",
            "1:11 hostname: found a mapping, expected a host name…needs quotes",
        ),
        (
            "ssh_authorized_keys: ssh-rsa AAAA",
            "1:22 ssh_authorized_keys: found \"ssh-rsa AAAA\", expected a list; write it on a line of its own",
        ),
        (
            "users: {name: a}",
            "1:8 users: found a mapping, expected a list; put a hyphen",
        ),
        (
            "users: [a]",
            "1:9 users[0]: found \"a\", expected a mapping",
        ),
        (
            "users: [{name: a, passwd: '*', groups: a}]",
            "1:40 users[0].groups: found \"a\", expected a list",
        ),
        (
            "users: [{name: a, passwd: '*', system: maybe}]",
            "1:40 users[0].system: found \"maybe\", expected true or false",
        ),
        (
            "users: [{name: , passwd: '*'}]",
            "1:10 users[0].name: found nothing, expected a name",
        ),
        (
            "users: [~]",
            "1:9 users[0]: found nothing, expected a mapping",
        ),
        (
            "coreos: [a]",
            "1:9 coreos: found a list, expected a mapping with the keys units, etcd",
        ),
        (
            "coreos: {units: {name: a}}",
            "1:17 coreos.units: found a mapping, expected a list",
        ),
        (
            "coreos: {units: [{name: a.service, command: stop, drop-ins: a}]}",
            "1:61 coreos.units[0].drop_ins: found \"a\", expected a list",
        ),
        (
            "coreos: {units: [{name: a.service, command: stop, enable: 2}]}",
            "1:59 coreos.units[0].enable: found \"2\", expected true or false",
        ),
        (
            "coreos: {flannel: {interface: [a]}}",
            "1:31 coreos.flannel.interface: found a list, expected text of one line",
        ),
        (
            "coreos: {etcd_member: {x: {a: b}}}",
            "1:27 coreos.etcd_member.x: found a mapping, expected text",
        ),
        (
            "coreos: {etcd_member: {a b: c}}",
            "1:24 coreos.etcd_member.a b: \"a b\" is no name of a flag",
        ),
    ] {
        says(source, &[&format!("error {expected}")]);
    }
    for (key, wrong, expected) in [
        ("max_wals", "many", "a whole number"),
        ("max_wals", "1.5", "a whole number"),
        ("debug", "2", "true or false"),
    ] {
        let source = format!("coreos: {{etcd2: {{{key}: {wrong}}}}}");
        let found = shown(&read(&source).findings);
        assert!(
            found[1].contains(&format!("found \"{wrong}\", expected {expected}")),
            "{found:?}"
        );
    }
    says(
        "coreos: {fleet: {etcd_request_timeout: soon}}",
        &["deprecated", "found \"soon\", expected a number"],
    );
}

#[test]
fn values_not_of_their_form_are_named() {
    let file = |rest: &str| format!("write_files:\n- content: x\n  {rest}\n");
    for (source, expected) in [
        (
            "hostname: a b",
            "error 1:11 hostname: found \"a b\", expected a host name",
        ),
        (
            "hostname: a.b",
            "info 1:11 hostname: a host name ends at the first dot: \"a\" is kept",
        ),
        ("hostname: -a", "error 1:11"),
        (
            &format!("hostname: {}", "a".repeat(70)),
            "warning 1:11 hostname: a host name has at most 63 bytes",
        ),
        (
            "manage_etc_hosts: true\nhostname: a",
            "error 1:19 manage_etc_hosts: found \"true\", expected localhost",
        ),
        (
            "manage_etc_hosts: localhost",
            "info 1:19 manage_etc_hosts: the document gives no hostname",
        ),
        (
            "ssh_authorized_keys: [abc]",
            "warning 1:23 ssh_authorized_keys[0]: found \"abc\", expected a public key",
        ),
        (
            "ssh_authorized_keys: [\"-----BEGIN RSA PRIVATE KEY-----\"]",
            "error 1:23 ssh_authorized_keys[0]: this is a private key",
        ),
        (
            "users: [{name: 1a, passwd: '*'}]",
            "error 1:16 users[0].name: found \"1a\", expected a name",
        ),
        (
            "users: [{name: a, passwd: secret}]",
            "warning 1:27 users[0].passwd: found no hash of a password",
        ),
        (
            "users: [{name: a}]",
            "info 1:9 users[0]: without passwd and ssh_authorized_keys",
        ),
        (
            "users: [{name: a, passwd: '*', shell: sh}]",
            "error 1:39 users[0].shell: found \"sh\", expected an absolute path",
        ),
        (
            "users: [{name: a, passwd: '*', gecos: 'a:b'}]",
            "error 1:39 users[0].gecos: found \"a:b\", expected text of one line without a colon",
        ),
        (
            &file("path: a/b"),
            "error 3:9 write_files[0].path: found \"a/b\", expected an absolute path; did you mean \"/a/b\"?",
        ),
        (
            &file("path: /a/../b"),
            "error 3:9 write_files[0].path: found \"/a/../b\", expected a path without ..",
        ),
        (
            &file("path: /a/"),
            "error 3:9 write_files[0].path: found \"/a/\", the path of a directory",
        ),
        (
            &file("path: /usr/a"),
            "error 3:9 write_files[0].path: found \"/usr/a\": /usr is read-only",
        ),
        (
            &file("path: //usr/./a"),
            "error 3:9 write_files[0].path: found \"//usr/./a\": /usr is read-only",
        ),
        (
            &file("permissions: 0644"),
            "error 2:3 write_files[0]: path is missing, expected an absolute path",
        ),
        (
            &file("path: /a\n  permissions: 0o644"),
            "error 4:16 write_files[0].permissions: found \"0o644\"…did you mean 0644?",
        ),
        (
            &file("path: /a\n  permissions: rw-r--r--"),
            "error 4:16 write_files[0].permissions: found \"rw-r--r--\", expected an octal mode",
        ),
        (
            &file("path: /a\n  owner: a:b:c"),
            "error 4:10 write_files[0].owner: found \"a:b:c\", expected user or user:group",
        ),
        (
            &file("path: /a\n  owner: 'a b'"),
            "error 4:10 write_files[0].owner",
        ),
        (
            &file("path: /a\n  encoding: bas64"),
            "error 4:13 write_files[0].encoding: found \"bas64\", expected b64, base64,…did you mean base64?",
        ),
        (
            &file("path: /a\n  encoding: b64"),
            "error 2:12 write_files[0].content: the content is not base64",
        ),
        (
            &file("path: /a\n  encoding: gzip"),
            "error 2:12 write_files[0].content: the content is not gzip",
        ),
        (
            "coreos: {units: [{name: a, command: stop}]}",
            "error 1:25 coreos.units[0].name: found \"a\", a name without a suffix; did you mean \"a.service\"?",
        ),
        (
            "coreos: {units: [{name: a/b.service, command: stop}]}",
            "error 1:25 coreos.units[0].name: found \"a/b.service\", expected a unit's name without / and ..",
        ),
        (
            "coreos: {units: [{name: ..a.service, command: stop}]}",
            "error 1:25",
        ),
        (
            "coreos: {units: [{name: a.service, drop_ins: [{name: 1.cnf, content: ''}]}]}",
            "error 1:54 coreos.units[0].drop_ins[0].name: found \"1.cnf\", expected a file name ending in .conf",
        ),
        (
            "coreos: {units: [{name: a.service, drop_ins: [{name: ../1.conf, content: ''}]}]}",
            "error 1:54 coreos.units[0].drop_ins[0].name",
        ),
        (
            "coreos: {update: {reboot_strategy: etcd_lock}}",
            "error 1:36 coreos.update.reboot_strategy: found \"etcd_lock\", expected etcd-lock, reboot, off; did you mean etcd-lock?",
        ),
        (
            "coreos: {update: {group: \"a\\nb\"}}",
            "error 1:26 coreos.update.group",
        ),
        (
            "coreos: {flannel: {interface: \"a\\x07\"}}",
            "error 1:31 coreos.flannel.interface",
        ),
    ] {
        if source.contains("\\x07") || source.contains("\\nb") {
            assert!(
                shown(&read(source).findings)[0].starts_with(expected),
                "{source}"
            );
            continue;
        }
        says(source, &[expected]);
    }
}

#[test]
fn windows_are_read_as_the_agent_reads_them() {
    let window = |start: &str, length: &str| {
        format!("coreos: {{locksmith: {{window-start: {start}, window-length: {length}}}}}")
    };
    for (start, length, expected) in [
        ("04:00", "1h30m", ""),
        ("Thu 4:00", "24h", ""),
        ("thursday 04:00", "168h", ""),
        (
            "25:00",
            "1h",
            "window_start: the window's start is \"25:00\"",
        ),
        (
            "Foo 04:00",
            "1h",
            "window_start: the window's start is \"Foo 04:00\"",
        ),
        (
            "04:00",
            "1d",
            "window_length: the window's length: found \"1d\"",
        ),
        (
            "04:00",
            "-1h",
            "window_length: the window's length: found \"-1h\"",
        ),
        ("04:00", "0s", "window_length: the window's length is 0s"),
        (
            "04:00",
            "25h",
            "window_length: the window's length is 25h, expected more than nothing and at most 24h",
        ),
        (
            "Thu 04:00",
            "169h",
            "window_length: the window's length is 169h",
        ),
    ] {
        let found = shown(&read(&window(start, length)).findings);
        assert_eq!(
            found.is_empty(),
            expected.is_empty(),
            "{start} {length}: {found:?}"
        );
        assert!(
            found
                .iter()
                .all(|f| f.starts_with("error") && f.contains(expected)),
            "{found:?}"
        );
    }
    says(
        "coreos: {locksmith: {window_start: '04:00'}}",
        &["error 1:36 coreos.locksmith.window_start: without window_length"],
    );
    says(
        "coreos: {locksmith: {window_length: 1h}}",
        &["error 1:37 coreos.locksmith.window_length: without window_start"],
    );
}

#[test]
fn parts_that_do_not_go_together_are_named() {
    for (source, expected) in [
        (
            "users:\n- {name: a, passwd: '*'}\n- {name: a, passwd: '*'}",
            "warning 3:10 users[1].name: the user \"a\" is on line 2 already",
        ),
        (
            "write_files:\n- {path: /a/b, content: x}\n- {path: //a/./b, content: x}",
            "warning 3:10 write_files[1].path: this file is written on line 2 already",
        ),
        (
            "write_files:\n- {path: /a/b, content: x}\n- {path: /a, content: x}",
            "error 2:10 write_files[0].path: /a is a file on line 3",
        ),
        (
            "write_files:\n- {path: /a}",
            "info 2:3 write_files[0]: without content and source",
        ),
        (
            "write_files:\n- {path: /a, source: 'https://x/y'}",
            "warning 2:22 write_files[0].source: without sha256",
        ),
        (
            "coreos:\n  units:\n  - {name: a.service, command: start}\n  - {name: a.service, enable: true}",
            "warning 4:12 coreos.units[1].name: the unit \"a.service\" is on line 3 already",
        ),
        (
            "coreos: {units: [{name: a.service, mask: true, enable: true}]}",
            "error 1:25 coreos.units[0].enable: the unit is masked",
        ),
        (
            "coreos: {units: [{name: a.service, mask: true, command: start}]}",
            "error 1:57 coreos.units[0].command: the unit is masked",
        ),
        (
            "coreos: {units: [{name: a.network, command: start}]}",
            "warning 1:45 coreos.units[0].command: networkd's files take no commands",
        ),
        (
            "coreos: {units: [{name: a@.service, command: start}]}",
            "error 1:46 coreos.units[0].command: this is a template",
        ),
        (
            "coreos: {units: [{name: a.service}]}",
            "info 1:25 coreos.units[0].name: nothing is asked",
        ),
        (
            "coreos: {units: [{name: a.service, drop_ins: [{name: a.conf}]}]}",
            "info 1:47 coreos.units[0].drop_ins[0]: a drop-in without content",
        ),
        (
            "coreos: {write_files: []}",
            "info 1:10 coreos.write_files: write_files is not read here: it belongs at the top level",
        ),
        (
            "runcmd: []",
            "warning 1:1 runcmd: runcmd is not read here: cloud-init's",
        ),
        (
            "update: {}",
            "warning 1:1 update: update is not read here: it belongs under coreos",
        ),
        (
            "reboot_strategy: off",
            "warning 1:1 reboot_strategy: unknown key \"reboot_strategy\", it is not read; expected one of hostname",
        ),
        (
            "users: [{name: a, passwd: '*', coreos_ssh_import_github: x}]",
            "warning 1:32 users[0].coreos_ssh_import_github: deprecated: keys are not fetched",
        ),
    ] {
        says(source, &[expected]);
    }
    says(
        "write_files: [{path: /a, content: x, sha256: 00}]",
        &[
            "error 1:46 write_files[0].sha256: found \"00\", expected 64 hexadecimal digits",
            "warning 1:46 write_files[0].sha256: sha256 belongs to a source",
        ],
    );
    says(
        "write_files:\n- {path: /a, content: x}\n- {path: /a, content: y, append: true}",
        &[],
    );
    says(
        "coreos: {units: [{name: a.service, command: stop, mask: true}]}",
        &[],
    );
    says(
        "coreos:\n  etcd2: {ca_file: /x, discovery: none}\n  etcd: {election_timeout: 1}\n",
        &[
            "warning 2:3 coreos.etcd2: deprecated: etcd 2 is no longer shipped",
            "warning 2:11 coreos.etcd2.ca_file: deprecated: obsolete: trusted_ca_file",
            "warning 2:35 coreos.etcd2.discovery: found \"none\", expected the URL",
            "warning 3:3 coreos.etcd: deprecated",
            "warning 3:10 coreos.etcd.election_timeout: deprecated: etcd2 options no longer work for etcd",
        ],
    );
    says(
        "write_files:\n- {path: /a, source: 'ftp://x', content: x, sha256: 1}\n",
        &[
            "error 2:22 write_files[0].source: found \"ftp://x\", expected a URL",
            "error 2:22 write_files[0].source: content and source",
            "error 2:53 write_files[0].sha256",
        ],
    );
}

#[test]
fn unit_text_is_read_as_systemd_reads_it_and_placed_in_the_document() {
    says(
        "coreos:
  units:
    - name: a.service
      enable: true
      content: |

        [Unit]
        Descripton=é
        [Servce]
        ExecStart=/bin/true
      drop-ins:
        - name: 10.conf
          content: |
            [Service
    - name: b.timer
      content: \"[Timer]\\nUnit=a.service\"
    - name: c.mount
      content: >-
        [Mount]
    - name: d.service
      content: ' '
",
        &[
            "error 7:9 coreos.units[0].content: systemd refuses it: [Service] has no ExecStart=",
            "warning 7:9 coreos.units[0].enable: without an [Install] section",
            "warning 8:9 coreos.units[0].content: systemd does not know Descripton= in [Unit]…did you mean Description=?",
            "warning 9:9 coreos.units[0].content: systemd does not know the section [Servce]…did you mean [Service]?",
            "error 14:13 coreos.units[0].drop_ins[0].content: a section's name without its closing bracket",
            "error 16:16 coreos.units[1].content: systemd refuses it: [Timer] has none of OnCalendar=",
            "error 19:9 coreos.units[2].content: systemd refuses it: [Mount] has none of What=",
            "warning 21:16 coreos.units[3].content: an empty unit is a masked one",
        ],
    );
}

#[test]
fn addresses_are_asked_for_and_may_come_later() {
    let source = "hostname: a\ncoreos: {flannel: {public_ip: $public_ipv4, interface: \"$private_ipv4_x\"}} # $private_ipv6\n";
    says(
        source,
        &[
            "info 2:31 : the address $public_ipv4 is not known",
            "info 2:78 : the address $private_ipv6 is not known",
        ],
    );
    let addresses = Addresses {
        public_ipv4: Some("192.0.2.1".into()),
        ..Addresses::default()
    };
    let reading = crate::cloud_config::read(source, &addresses, Unknown::Error);
    assert!(!reading.is_sound());
    assert_eq!(
        shown(&reading.findings),
        [
            "error 2:78 : the address $private_ipv6 is not known; give it with --private-ipv6 or in COREOS_PRIVATE_IPV6"
        ]
    );
    let values: Vec<_> = reading.document.services[0]
        .variables
        .iter()
        .map(|v| v.value.as_str())
        .collect();
    assert_eq!(values, ["$private_ipv4_x", "192.0.2.1"]);
    // Places after a filled-in address are those of the text as written, and what is looked at is the address.
    let source = "coreos: {flannel: {public_ip: $public_ipv4, interfaces: x}, unit: [$public_ipv4], etcd2: {}}";
    let reading = crate::cloud_config::read(source, &addresses, Unknown::Error);
    assert_eq!(
        reading
            .findings
            .iter()
            .map(|f| (f.column, f.length))
            .collect::<Vec<_>>(),
        [(45, 10), (61, 4), (83, 5)]
    );
}

#[test]
fn the_offending_text_is_underlined() {
    let source = "é: 1\nhostname:   a b   # no\n";
    let findings = read(source).findings;
    let text = crate::cloud_config::print(&findings, "f", source, 0);
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("f:1:1: warning: é: unknown key"),
        "{text}"
    );
    assert_eq!(lines[1..3], ["1 | é: 1", "  | ^"]);
    assert_eq!(
        lines[4..],
        ["2 | hostname:   a b   # no", "  |             ^^^"]
    );
    // Of a long line the part around the finding is shown.
    let source = format!("[{}x, {{hostname: a b}}]", "x, ".repeat(40_000));
    let reading = read(&format!("users: {source}"));
    let text = crate::cloud_config::print(
        &reading.findings[40_001..],
        "f",
        &format!("users: {source}"),
        0,
    );
    assert!(text.len() < 2000 && text.contains("^"), "{text}");
}
