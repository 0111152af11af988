//! What is said about a document, in full.

use super::*;

/// A document and all that is to be said about it.
pub(super) fn says(source: &str, expected: &[&str]) {
    let reading = read(source);
    placed(source, &reading.diagnostics);
    let found = shown(&reading.diagnostics);
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
fn all_diagnostics_come_at_once_in_the_order_of_the_document() {
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
            "error 5:11 write_files[0].path: found \"usr/x\", expected a path elsewhere, such as /opt or /etc; /usr is read-only",
            "error 6:14 write_files[0].content: found a list, expected text; text of several lines follows a |",
            "error 9:16 coreos.units[0].command: found \"strat\", expected start, stop,…did you mean start?",
            "error 10:13 coreos.units[0].name: found the unknown suffix \"servce\" in \"a.servce\", expected one of service, socket,…; did you mean a.service?",
            "warning 11:7 coreos.units[1]: name is missing, expected a unit's name such as docker.service; the entry is skipped",
            "error 12:11 coreos.update: found \"yes\", expected a mapping with the keys group, reboot_strategy, server",
            "error 13:3 coreos.update: duplicate key, it is also on line 12",
        ],
    );
}

#[test]
fn wrong_types_are_reported_everywhere() {
    for (source, expected) in [
        (
            "- a",
            "1:1 : found a list, expected a mapping with the keys hostname, ",
        ),
        ("just text", "1:1 : found \"just text\", expected a mapping"),
        (
            "hostname: [a]",
            "1:11 hostname: found a list, expected a host name…write several values as one text",
        ),
        (
            "hostname: {a: b}",
            "1:11 hostname: found a mapping, expected a host name…needs quotes",
        ),
        (
            "ssh_authorized_keys: ssh-rsa AAAA",
            "1:22 ssh_authorized_keys: found \"ssh-rsa AAAA\", expected a list; write it on its own line",
        ),
        (
            "users: {name: a}",
            "1:8 users: found a mapping, expected a list; put a hyphen",
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
            "coreos: [a]",
            "1:9 coreos: found a list, expected a mapping with the keys units, oem, etcd",
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
            "1:24 coreos.etcd_member.a b: found \"a b\", expected the name of a flag",
        ),
    ] {
        let found = shown(&read(source).diagnostics);
        let expected: Vec<&str> = expected.split('…').collect();
        assert!(found[0].starts_with("error "), "{found:?}");
        assert!(
            expected.iter().all(|words| found[0].contains(words)),
            "{found:?}"
        );
    }
    for (key, wrong, expected) in [
        ("max_wals", "many", "a whole number"),
        ("max_wals", "1.5", "a whole number"),
        ("debug", "2", "true or false"),
    ] {
        let source = format!("coreos: {{etcd2: {{{key}: {wrong}}}}}");
        let found = shown(&read(&source).diagnostics);
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
fn values_of_the_wrong_form_are_reported() {
    let file = |rest: &str| format!("write_files:\n- content: x\n  {rest}\n");
    for (source, expected) in [
        (
            "hostname: a b",
            "error 1:11 hostname: found \"a b\", expected a host name",
        ),
        (
            "hostname: a.b",
            "info 1:11 hostname: a host name ends at the first dot; \"a\" is used",
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
            "info 1:19 manage_etc_hosts: the document has no hostname",
        ),
        (
            "ssh_authorized_keys: [abc]",
            "warning 1:23 ssh_authorized_keys[0]: found \"abc\", expected a public key",
        ),
        (
            "ssh_authorized_keys: [\"-----BEGIN RSA PRIVATE KEY-----\"]",
            "error 1:23 ssh_authorized_keys[0]: found a private key, expected the public key (the file ending in .pub)",
        ),
        (
            "users: [{name: 1a, passwd: '*'}]",
            "error 1:16 users[0].name: found \"1a\", expected a name",
        ),
        (
            "users: [{name: a, passwd: secret}]",
            "warning 1:27 users[0].passwd: found text that is no hash of a password, expected a hash",
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
            "warning 3:9 write_files[0].path: found \"a/b\", expected an absolute path; /a/b is written",
        ),
        (
            &file("path: /a/../b"),
            "warning 3:9 write_files[0].path: found \"/a/../b\", expected a path without ..; /b is written",
        ),
        (
            &file("path: /a/"),
            "warning 3:9 write_files[0].path: found \"/a/\", expected the path of a file, without a slash at its end; /a is written",
        ),
        (
            &file("path: /usr/a"),
            "error 3:9 write_files[0].path: found \"/usr/a\", expected a path elsewhere, such as /opt or /etc; /usr is read-only",
        ),
        (
            &file("path: /proc/sys/vm/x"),
            "error 3:9 write_files[0].path: found \"/proc/sys/vm/x\", expected a file under /etc/sysctl.d or /etc/tmpfiles.d that sets the value; /proc belongs to the kernel",
        ),
        (
            &file("path: /var/./lib/pointsman/cloud-config/lock"),
            "error 3:9 write_files[0].path: found \"/var/./lib/pointsman/cloud-config/lock\", expected a path elsewhere; /var/lib/pointsman holds what is needed to revert",
        ),
        (
            &file("path: //usr/./a"),
            "error 3:9 write_files[0].path: found \"//usr/./a\", expected a path elsewhere, such as /opt or /etc; /usr is read-only",
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
            "error 4:10 write_files[0].owner: found \"a:b:c\", expected user, user:group, user: or :group",
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
            "error 1:25 coreos.units[0].name: found \"a\", a name without a suffix, expected a unit's name such as docker.service; did you mean a.service?",
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
            "coreos: {units: [{name: a.service, drop_ins: [{name: 1.cnf, content: '[Unit]'}]}]}",
            "error 1:54 coreos.units[0].drop_ins[0].name: found \"1.cnf\", expected a file name ending in .conf",
        ),
        (
            "coreos: {units: [{name: a.service, drop_ins: [{name: ../1.conf, content: '[Unit]'}]}]}",
            "error 1:54 coreos.units[0].drop_ins[0].name",
        ),
        (
            "coreos: {update: {reboot_strategy: etcd_lock}}",
            "error 1:36 coreos.update.reboot_strategy: found \"etcd_lock\", expected etcd-lock, reboot, off, best-effort; did you mean etcd-lock?",
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
                shown(&read(source).diagnostics)[0].starts_with(expected),
                "{source}"
            );
            continue;
        }
        says(source, &[expected]);
    }
}
