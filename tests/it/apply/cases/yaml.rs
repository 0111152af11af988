//! Documents whose YAML is unusual: what is read, what is a warning, and what is an error.

use super::*;

#[test]
fn several_keys_in_one_text_are_several_keys() {
    applied(
        "#cloud-config\nssh_authorized_keys:\n  - |\n    ssh-rsa AAAA1 one\n    ssh-rsa AAAA2 two\n",
        &[
            "warning: ssh_authorized_keys[0]: found more than one line",
            "each line is read as a key",
        ],
        &[(
            "home/core/.ssh/authorized_keys",
            "ssh-rsa AAAA1 one\nssh-rsa AAAA2 two\n",
        )],
    );
    let private = "#cloud-config\nssh_authorized_keys:\n  - |\n    -----BEGIN OPENSSH PRIVATE KEY-----\n    x\n";
    for output in [tree().apply(private), old(&tree(), &[], private)] {
        assert_eq!(output.code, Some(1));
        says(&output, &["found a private key, expected the public key"]);
    }
}

#[test]
fn empty_and_wrong_list_items_are_skipped() {
    applied(
        "#cloud-config\nusers:\n  - default\n  - name: ann\n    groups: [sudo, docker, ~]\nwrite_files:\n  - path: /etc/x\n    content: hi\n",
        &[
            "3:5: warning: users[0]: found \"default\"",
            "the entry is skipped",
            "users[1].groups[2]: found nothing",
        ],
        &[("etc/x", "hi")],
    );
    applied(
        "#cloud-config\nwrite_files:\n  -\n  - path: /etc/x\n    content: hi\n  - content: nowhere\n  - [a]\ncoreos:\n  units:\n    -\n    - content: \"[Unit]\\n\"\n    - name: a.service\n      drop-ins:\n        -\n        - content: \"[Unit]\\n\"\n        - name: 1.conf\n          content: \"[Service]\\nNice=1\\n\"\nusers:\n  - passwd: \"*\"\n",
        &[
            "write_files[0]: found nothing",
            "write_files[2]: path is missing",
            "write_files[3]: found a list",
            "coreos.units[0]: found nothing",
            "coreos.units[1]: name is missing",
            "coreos.units[2].drop_ins[0]: found nothing",
            "coreos.units[2].drop_ins[1]: name is missing",
            "users[0]: name is missing",
        ],
        &[
            ("etc/x", "hi"),
            (
                "etc/systemd/system/a.service.d/1.conf",
                "[Service]\nNice=1\n",
            ),
        ],
    );
    let tree = tree();
    let key = "#cloud-config\nssh_authorized_keys:\n  - \"\"\n  - ~\n  - {a: b}\n  - \"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBm a\"\n";
    let output = tree.apply(key);
    says(
        &output,
        &[
            "3:5: warning: ssh_authorized_keys[0]: found \"\", expected a public key",
            "ssh_authorized_keys[1]: found nothing",
            "ssh_authorized_keys[2]: found a mapping",
        ],
    );
    assert_eq!(
        tree.text("home/core/.ssh/authorized_keys"),
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBm a\n"
    );
}

#[test]
fn empty_text_counts_as_no_value() {
    applied(
        "#cloud-config\nhostname: \"\"\nwrite_files:\n  - path: /etc/x\n    content: hi\n",
        &["2:11: info: hostname: found an empty text, which counts as no value"],
        &[("etc/hostname", "was\n"), ("etc/x", "hi")],
    );
    let all = "#cloud-config\ncoreos:\n  update:\n    reboot-strategy: \"\"\n  locksmith:\n    window-start: \"\"\n    window-length: \"\"\n  units:\n    - name: docker.service\n      command: \"\"\n      content: \"\"\n      enable: \"\"\n      drop-ins: [{name: 1.conf, content: \"\"}]\nwrite_files:\n  - path: /etc/x\n    owner: \"\"\n    permissions: \"\"\n    encoding: \"\"\n    content: hi\n  - path: /etc/empty\n    content: \"\"\nusers: \"\"\n";
    let paths = [
        "coreos.update.reboot_strategy",
        "coreos.locksmith.window_start",
        "coreos.locksmith.window_length",
        "coreos.units[0].command",
        "coreos.units[0].content",
        "coreos.units[0].enable",
        "coreos.units[0].drop_ins[0].content",
        "write_files[0].owner",
        "write_files[0].permissions",
        "write_files[0].encoding",
        "users",
    ];
    let words: Vec<String> = paths
        .iter()
        .map(|path| format!("info: {path}: found an empty text, which counts as no value"))
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    applied(all, &words, &[("etc/x", "hi"), ("etc/empty", "")]);
    let tree = tree();
    tree.apply(all).must(0);
    assert_eq!(tree.mode("etc/x"), 0o644);
    assert!(!tree.path("etc/systemd").exists() && !tree.path("etc/coreos").exists());
    // That one is what the old name's `-validate` has no word on either.
    assert_eq!(old(&tree, &["-validate"], all).code, Some(0));
}

#[test]
fn key_without_a_value_gives_a_warning() {
    applied(
        "#cloud-config\ncoreos:\n  etcd2:\n    discovery: # put the URL here\n  units:\n",
        &[
            "4:5: warning: coreos.etcd2.discovery: found no value, so nothing is written for this key",
        ],
        &[],
    );
    applied(
        "#cloud-config\nhostname:\ncoreos:\n  etcd_member:\n    name:\n    other_flag:\n  fleet:\n    token_limit: ~\n    verify_units: null\nwrite_files:\n  - path: /etc/x\n    content:\n",
        &[
            "2:1: warning: hostname: found no value",
            "coreos.etcd_member.name: found no value",
            "coreos.etcd_member.other_flag: found no value",
            "coreos.fleet.token_limit: found no value",
            "coreos.fleet.verify_units: found no value",
            "write_files[0].content: found no value",
        ],
        &[("etc/x", "")],
    );
}

#[test]
fn only_the_first_yaml_document_counts() {
    for end in [
        "---\nhostname: other\n",
        "...\n---\nhostname: other\n",
        "...\n}: no yaml\n",
    ] {
        applied(
            &format!("#cloud-config\nwrite_files:\n  - path: /etc/x\n    content: hi\n{end}"),
            &["warning: found a second YAML document; only the first is read"],
            &[("etc/x", "hi"), ("etc/hostname", "was\n")],
        );
    }
}

#[test]
fn unknown_address_in_a_comment_is_not_reported() {
    let document = "#cloud-config\n# multi-region clusters need $public_ipv4 here\ncoreos:\n  units:\n    - name: a.service\n      content: |\n        [Unit]\n        # reached at $private_ipv4 by the others\n        Description=a\n# $public_ipv6\nwrite_files:\n  - path: /etc/a # $private_ipv6\n    content: \"# at $private_ipv4\\nb\\n\"\n";
    applied(
        document,
        &["8:22: info: the address $private_ipv4 is not known; only a commented line names it"],
        &[
            (
                "etc/systemd/system/a.service",
                "[Unit]\n# reached at  by the others\nDescription=a\n",
            ),
            ("etc/a", "# at \nb\n"),
        ],
    );
    let said = tree().apply(document);
    says(
        &said,
        &[
            "8:22: warning: the address $private_ipv4 is not known; this commented line gets the empty text",
        ],
    );
    assert!(!said.stderr.contains("public_ip"), "{}", said.stderr);
    // Where it is used as well, the use is shown.
    let used = document.replace("Description=a", "Description=a $private_ipv4") + "hostname: h\n";
    for output in [tree().apply(&used), old(&tree(), &[], &used)] {
        assert_eq!(output.code, Some(1));
        says(
            &output,
            &["9:23: error: the address $private_ipv4 is not known"],
        );
    }
    // One that is known is filled in everywhere.
    let tree = tree();
    tree.call(&["apply", "-", "--private-ipv4", "10.0.0.4"], document)
        .must(0);
    assert!(tree.text("etc/a").starts_with("# at 10.0.0.4\n"));
}

#[test]
fn invalid_yaml_is_explained() {
    for (document, line, words) in [
        (
            "hostname: %HOST%\n",
            2,
            "a text that begins with % needs quotes",
        ),
        (
            "write_files:\n  - path: /etc/a\n    content: |\n\tx\n",
            5,
            "line 4 is indented by a tab; YAML does not allow tabs here; use spaces",
        ),
        (
            "coreos:\n  units:\n    - name: a.service\n      command: start\n     - name: b.service\n",
            6,
            "this list's entries begin in column 5",
        ),
        (
            "write_files:\n  - path: /etc/a\n     content: x\n",
            4,
            "this mapping's keys begin in column 5",
        ),
        (
            "hostname: \"core01\nusers:\n  - name: \"core\"\n",
            2,
            "the quote \" opened on line ",
        ),
    ] {
        let document = format!("#cloud-config\n{document}");
        let output = tree().apply(&document);
        assert_eq!(output.code, Some(1), "{document}");
        let place = format!("standard input:{line}:");
        says(
            &output,
            &[&place, words.replace("line 4", "line 5").as_str()],
        );
        assert_eq!(old(&tree(), &["-validate"], &document).code, Some(1));
    }
}

#[test]
fn diagnostic_in_a_folded_text_quotes_the_line() {
    for content in [
        ">\n        [Service]\n\n        ExecStart=/bin/true\n\n        no equals sign\n",
        "\"[Service]\\nExecStart=/bin/true\\nno equals sign\\n\"\n",
    ] {
        applied(
            &format!(
                "#cloud-config\ncoreos:\n  units:\n    - name: a.service\n      content: {content}"
            ),
            &[
                "warning: coreos.units[0].content: in the line \"no equals sign\": found a line without =",
            ],
            &[],
        );
    }
}

#[test]
fn duplicate_key_counts_once() {
    applied(
        "#cloud-config\nhostname: a\ncoreos:\n  units:\n    - name: a.service\n      command: start\n      runtime: true\n      command: start\nhost-name: a\nhostname: a\n",
        &[
            "8:7: warning: coreos.units[0].command: duplicate key, it is also on line 6, with the same value",
            "10:1: warning: hostname: duplicate key, it is also on line 2, with the same value",
        ],
        &[("etc/hostname", "a\n")],
    );
    refused(
        "#cloud-config\nhostname: a\nwrite-files: [{path: /etc/x, content: one}]\nhostname: b\nwrite_files: [{path: /etc/y, content: two}]\n",
        &[
            "4:1: ",
            "hostname: duplicate key, it is also on line 2, with another value",
            "write_files: duplicate key, it is also on line 3, with another value",
        ],
        &[("etc/hostname", "b\n"), ("etc/y", "two")],
    );
}

#[test]
fn misplaced_keys_are_warnings_that_name_the_right_place() {
    applied(
        "#cloud-config\ncoreos:\n  write_files:\n    - path: /etc/x\n      content: hi\n  hostname: n1\n  reboot_strategy: reboot\n  window_start: 04:00\n",
        &[
            "3:3: warning: coreos.write_files: write_files is not read here: it belongs at the top level",
            "6:3: warning: coreos.hostname: hostname is not read here: it belongs at the top level",
            "7:3: warning: coreos.reboot_strategy: reboot_strategy is not read here: it belongs under coreos.update",
            "8:3: warning: coreos.window_start: window_start is not read here: it belongs under coreos.locksmith",
        ],
        &[("etc/hostname", "was\n")],
    );
}
