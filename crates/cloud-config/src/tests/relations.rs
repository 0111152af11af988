//! What is said about parts that stand beside one another, and where.

use super::{diagnostics::says, *};

#[test]
fn windows_are_read_as_the_agent_reads_them() {
    let window = |start: &str, length: &str| {
        format!("coreos: {{locksmith: {{window-start: {start}, window-length: {length}}}}}")
    };
    for (start, length, expected) in [
        ("04:00", "1h30m", ""),
        ("Thu 4:00", "24h", ""),
        ("thursday 04:00", "168h", ""),
        ("25:00", "1h", "window_start: found \"25:00\""),
        ("Foo 04:00", "1h", "window_start: found \"Foo 04:00\""),
        ("04:00", "1d", "window_length: found \"1d\""),
        ("04:00", "-1h", "window_length: found \"-1h\""),
        ("04:00", "0s", "window_length: found 0s"),
        (
            "04:00",
            "25h",
            "window_length: found 25h, expected more than 0s and at most 24h",
        ),
        ("Thu 04:00", "169h", "window_length: found 169h"),
    ] {
        let found = shown(&read(&window(start, length)).diagnostics);
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
fn skipped_items_are_counted_in_paths() {
    says(
        "users:\n- core\n- {name: a, passwd: '*'}\n- {name: a, passwd: '*'}",
        &[
            "warning 2:3 users[0]: found \"core\"",
            "warning 4:10 users[2].name: the user \"a\" is also on line 3",
        ],
    );
    says(
        "coreos:\n  units:\n  - ''\n  - {name: a.service, mask: true, enable: true}",
        &[
            "warning 3:5 coreos.units[0]: found",
            "error 4:12 coreos.units[1].enable: the unit is masked",
        ],
    );
    says(
        "write_files:\n- ''\n- {path: /a}",
        &[
            "warning 2:3 write_files[0]: found",
            "info 3:3 write_files[1]: without content and source",
        ],
    );
}

#[test]
fn contradictions_between_parts_are_reported() {
    for (source, expected) in [
        (
            "users:\n- {name: a, passwd: '*'}\n- {name: a, passwd: '*'}",
            "warning 3:10 users[1].name: the user \"a\" is also on line 2",
        ),
        (
            "write_files:\n- {path: /a/b, content: x}\n- {path: //a/./b, content: x}",
            "warning 3:10 write_files[1].path: this file is also written on line 2",
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
            "info 4:12 coreos.units[1].name: the unit \"a.service\" is also on line 3",
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
            "warning 1:45 coreos.units[0].command: files of networkd take no commands",
        ),
        (
            "coreos: {units: [{name: a@.service, command: start}]}",
            "error 1:46 coreos.units[0].command: this unit is a template",
        ),
        (
            "coreos: {units: [{name: a.service}]}",
            "info 1:25 coreos.units[0].name: this unit has no effect",
        ),
        (
            "coreos: {units: [{name: a.service, drop_ins: [{name: a.conf}]}]}",
            "info 1:47 coreos.units[0].drop_ins[0]: a drop-in without content",
        ),
        (
            "coreos: {write_files: []}",
            "warning 1:10 coreos.write_files: write_files is not read here: it belongs at the top level",
        ),
        (
            "hostname: a\nruncmd: []",
            "warning 2:1 runcmd: runcmd is not read here: cloud-init's",
        ),
        (
            "hostname: a\npackages: [vim]",
            "warning 2:1 packages: packages is not read here: cloud-init's; here packages are in the image, or a unit of type oneshot installs them",
        ),
        (
            "hostname: a\nupdate: {}",
            "warning 2:1 update: update is not read here: it belongs under coreos",
        ),
        (
            "hostname: a\nreboot_strategy: off",
            "warning 2:1 reboot_strategy: reboot_strategy is not read here: it belongs under coreos.update",
        ),
        (
            "users: [{name: a, passwd: '*', coreos_ssh_import_github: x}]",
            "warning 1:32 users[0].coreos_ssh_import_github: deprecated: keys are not fetched",
        ),
        (
            "coreos: {etcd_member: {name: a, initial-advertise-peer-url: 'http://a', brand_new_flag: 1}}",
            "warning 1:61 coreos.etcd_member.initial_advertise_peer_url: \"initial_advertise_peer_url\" is not a flag of etcd that is known here; did you mean initial_advertise_peer_urls?",
        ),
        (
            "coreos: {update: {reboot_strategy: best-effort}}",
            "warning 1:36 coreos.update.reboot_strategy: deprecated: the agent reads best-effort as etcd-lock",
        ),
    ] {
        says(source, &[expected]);
    }
    says(
        "write_files: [{path: /a, content: x, sha256: 00}]",
        &[
            "error 1:46 write_files[0].sha256: found \"00\", expected 64 hexadecimal digits",
            "warning 1:46 write_files[0].sha256: sha256 has no effect without source",
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
            "warning 2:3 coreos.etcd2: deprecated: etcd 2 is obsolete",
            "warning 2:11 coreos.etcd2.ca_file: deprecated: obsolete: trusted_ca_file",
            "warning 2:35 coreos.etcd2.discovery: found \"none\", expected the URL",
            "warning 3:3 coreos.etcd: deprecated",
            "warning 3:10 coreos.etcd.election_timeout: deprecated: this option is for etcd2 and does not work here",
        ],
    );
    says(
        "write_files:\n- {path: /a, source: 'ftp://x', content: x, sha256: 1}\n",
        &[
            "error 2:22 write_files[0].source: found \"ftp://x\", expected a URL",
            "error 2:22 write_files[0].source: found both content and source",
            "error 2:53 write_files[0].sha256",
        ],
    );
}

#[test]
fn unit_text_mistakes_have_positions_in_the_document() {
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
            "error 14:13 coreos.units[0].drop_ins[0].content: found a section name without its closing bracket",
            "warning 16:16 coreos.units[1].content: systemd refuses it: [Timer] has none of OnCalendar=",
            "warning 19:9 coreos.units[2].content: systemd refuses it: [Mount] has none of What=",
            "warning 21:16 coreos.units[3].content: systemd treats an empty unit as masked",
        ],
    );
}

#[test]
fn unknown_address_is_an_info_until_the_document_is_applied() {
    let source = "hostname: a\ncoreos: {flannel: {public_ip: $public_ipv4, interface: \"$private_ipv4_x\"}} # $private_ipv6\n";
    says(
        source,
        &["info 2:31 : the address $public_ipv4 is not known"],
    );
    let addresses = Addresses {
        public_ipv4: Some("192.0.2.1".into()),
        ..Addresses::default()
    };
    let reading = crate::read(source, &addresses, Unknown::Error, Mode::Own);
    assert!(reading.is_sound());
    assert_eq!(shown(&reading.diagnostics), [""; 0]);
    let values: Vec<_> = reading.document.services[0]
        .variables
        .iter()
        .map(|v| v.value.as_str())
        .collect();
    assert_eq!(values, ["$private_ipv4_x", "192.0.2.1"]);
    // Places after a filled-in address are those of the text as written, and what is looked at is the address.
    let source = "coreos: {flannel: {public_ip: $public_ipv4, interfaces: x}, unit: [$public_ipv4], etcd2: {}}";
    let reading = crate::read(source, &addresses, Unknown::Error, Mode::Own);
    assert_eq!(
        reading
            .diagnostics
            .iter()
            .map(|f| (f.column, f.length))
            .collect::<Vec<_>>(),
        [(45, 10), (61, 4), (83, 5)]
    );
}

#[test]
fn diagnostic_underlines_its_text() {
    let source = "é: 1\nhostname:   a b   # no\n";
    let diagnostics = read(source).diagnostics;
    let text = crate::print(&diagnostics, "f", source, 0);
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
    // Of a long line the part around the diagnostic is shown.
    let source = format!("[{}x, {{hostname: a b}}]", "x, ".repeat(40_000));
    let reading = read(&format!("users: {source}"));
    let text = crate::print(
        &reading.diagnostics[40_001..],
        "f",
        &format!("users: {source}"),
        0,
    );
    assert!(text.len() < 2000 && text.contains("^"), "{text}");
}
