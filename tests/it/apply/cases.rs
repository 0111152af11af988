//! Documents of the wild that went wrong once: under our own commands and under the old name.

use std::{fs, process::Command};

use pointsman_testbed::process::{Output, call};

use super::Tree;

const MACHINE_USERS: &str = "root:x:0:0::/root:/bin/sh\ncore:x:500:501::/home/core:/bin/sh\n";

/// A tree with the users and groups that the documents name.
fn tree() -> Tree {
    let tree = Tree::with_users();
    tree.write("etc/passwd", MACHINE_USERS);
    tree.write(
        "etc/group",
        "root:x:0:\ncore:x:500:\nlogin:x:501:\ndocker:x:233:\nsudo:x:150:\n",
    );
    tree.write(
        "etc/gshadow",
        "root:*::\ncore:!::\nlogin:!::\ndocker:!::\nsudo:!::\n",
    );
    tree
}

/// `coreos-cloudinit` on a tree.
fn old(tree: &Tree, arguments: &[&str], document: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let (name, file) = (
        dir.path().join("coreos-cloudinit"),
        dir.path().join("user-data"),
    );
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pointsman"), &name).unwrap();
    fs::write(&file, document).unwrap();
    let mut command = Command::new(name);
    command
        .args(arguments)
        .arg("-from-file")
        .arg(file)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("POINTSMAN_ROOT", tree.root());
    call(&mut command, b"")
}

fn says(output: &Output, words: &[&str]) {
    let text = format!("{}{}", output.stdout, output.stderr);
    for word in words {
        assert!(text.contains(word), "{word}\n{text}");
    }
}

/// What is written, under both names, with a warning or an info that says these words.
fn applied(document: &str, words: &[&str], files: &[(&str, &str)]) {
    for compatible in [false, true] {
        let tree = tree();
        let output = match compatible {
            false => tree.apply(document),
            true => old(&tree, &[], document),
        };
        assert_eq!(output.code, Some(0), "{document}\n{}", output.stderr);
        let validated = tree.call(&["validate", "-"], document);
        assert_eq!(validated.code, Some(0), "{document}\n{}", validated.stdout);
        says(&validated, words);
        for (path, text) in files {
            assert_eq!(tree.text(path), *text, "{path}\n{document}");
        }
    }
}

/// What is refused under our own name, with these words, and applied with a warning under the old one.
fn refused(document: &str, words: &[&str], files: &[(&str, &str)]) {
    let ours = tree();
    let before = ours.seen();
    let output = ours.apply(document);
    assert_eq!(output.code, Some(1), "{document}\n{}", output.stderr);
    says(&output, words);
    assert_eq!(ours.seen(), before, "{document}");
    let theirs = tree();
    let output = old(&theirs, &[], document);
    assert_eq!(output.code, Some(0), "{document}\n{}", output.stderr);
    says(&output, words);
    for (path, text) in files {
        assert_eq!(theirs.text(path), *text, "{path}\n{document}");
    }
}

#[test]
fn percent_signs_are_not_escaped_in_variables() {
    applied(
        "#cloud-config\ncoreos:\n  etcd2:\n    name: \"%H\"\n    initial-cluster: \"%H=http://%H:2380\"\n  fleet:\n    metadata: \"disk=ssd,rate=50%\"\n",
        &[],
        &[
            (
                "run/systemd/system/etcd2.service.d/20-cloudinit.conf",
                "[Service]\nEnvironment=\"ETCD_INITIAL_CLUSTER=%H=http://%H:2380\"\nEnvironment=\"ETCD_NAME=%H\"\n",
            ),
            (
                "run/systemd/system/fleet.service.d/20-cloudinit.conf",
                "[Service]\nEnvironment=\"FLEET_METADATA=disk=ssd,rate=50%\"\n",
            ),
        ],
    );
    applied(
        "#cloud-config\ncoreos:\n  locksmith: {etcd_password: \"a%Hb\", etcd_cafile: \"/a%Hb\"}\n",
        &[
            "warning: coreos.locksmith.etcd_password: systemd reads % and the letter after it as a specifier",
        ],
        &[(
            "run/systemd/system/locksmithd.service.d/20-cloudinit.conf",
            "[Service]\nEnvironment=\"LOCKSMITHD_ETCD_CAFILE=/a%Hb\"\nEnvironment=\"LOCKSMITHD_ETCD_PASSWORD=a%Hb\"\n",
        )],
    );
}

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
fn path_that_only_begins_with_usr_is_written() {
    let document = "#cloud-config\nwrite_files: [{path: /usrlocal/x, content: hi}]\n";
    applied(document, &[], &[("usrlocal/x", "hi")]);
    assert_eq!(old(&tree(), &["-validate"], document).code, Some(0));
}

/// docs/cloud-config-differences.md has a test for each line.
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
    let page = fs::read_to_string(root.join("docs/cloud-config-differences.md")).unwrap();
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
fn owners_are_read_as_chown_reads_them() {
    let document = |owner: &str| {
        format!("#cloud-config\nwrite_files: [{{path: /etc/x, content: hi, owner: \"{owner}\"}}]\n")
    };
    for (owner, expected) in [
        (":docker", (0, 233)),
        ("core:", (500, 501)),
        ("500:", (500, 501)),
        ("core", (500, 0)),
        ("core:docker", (500, 233)),
        (":233", (0, 233)),
        (":", (0, 0)),
        ("root", (0, 0)),
        ("root:", (0, 0)),
        ("7:8", (7, 8)),
    ] {
        let tree = tree();
        tree.apply(&document(owner)).must(0);
        assert_eq!(tree.owner("etc/x"), expected, "{owner}");
    }
    let output = tree().apply(&document("77:"));
    assert_eq!(output.code, Some(1));
    says(
        &output,
        &["the user 77 does not exist; the owner `user:` takes the group from /etc/passwd"],
    );
    // In a tree without any list of users root is still number 0.
    for owner in ["root", "root:root", "root:", ":root", "0:"] {
        let empty = Tree::new();
        for file in ["etc/passwd", "etc/group"] {
            fs::remove_file(empty.path(file)).unwrap();
        }
        empty.apply(&document(owner)).must(0);
        assert_eq!(empty.owner("etc/x"), (0, 0), "{owner}");
        empty.write("etc/passwd", "root:x:77:0::/root:/bin/sh\n");
        assert_eq!(empty.plan(&document(owner)).must(0), "", "{owner}");
    }
}

#[test]
fn paths_are_normalized_and_never_leave_the_root() {
    applied(
        "#cloud-config\nwrite_files:\n  - path: etc/y\n    content: a\n  - path: /opt/../etc/z\n    content: b\n  - path: /../../etc/w\n    content: c\n  - path: ../etc/v/\n    content: d\n",
        &[
            "3:11: warning: write_files[0].path: found \"etc/y\", expected an absolute path; /etc/y is written",
            "5:11: warning: write_files[1].path: found \"/opt/../etc/z\", expected a path without ..; /etc/z is written",
            "7:11: warning: write_files[2].path: found \"/../../etc/w\", expected a path without ..; /etc/w is written",
            "9:11: warning: write_files[3].path: found \"../etc/v/\"",
        ],
        &[
            ("etc/y", "a"),
            ("etc/z", "b"),
            ("etc/w", "c"),
            ("etc/v", "d"),
        ],
    );
    for path in [
        "/opt/../usr/x",
        "../usr/x",
        "/",
        "/..",
        "/a/../proc/x",
        "/var/../var/lib/pointsman/x",
    ] {
        let tree = tree();
        let document = format!("#cloud-config\nwrite_files: [{{path: {path}, content: a}}]\n");
        assert_eq!(tree.apply(&document).code, Some(1), "{path}");
        assert_eq!(old(&tree, &[], &document).code, Some(1), "{path}");
    }
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
fn template_without_default_instance_gives_a_warning() {
    let document = "#cloud-config\ncoreos:\n  units:\n    - name: a@.service\n      enable: true\n      content: |\n        [Service]\n        ExecStart=/bin/true %i\n        [Install]\n        WantedBy=multi-user.target\n";
    applied(
        document,
        &["warning: coreos.units[0].enable: without DefaultInstance="],
        &[],
    );
    let done = tree().apply(document).must(0);
    assert!(
        done.contains("a@.service is a template without DefaultInstance= in [Install]"),
        "{done}"
    );
    assert!(!done.contains("no [Install]"), "{done}");
    let whole = document.to_owned() + "        DefaultInstance=x\n";
    let tree = tree();
    let done = tree.apply(&whole);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    assert!(
        tree.path("etc/systemd/system/multi-user.target.wants/a@x.service")
            .is_symlink()
    );
}

#[test]
fn unit_named_twice_is_accepted() {
    let document = "#cloud-config\ncoreos:\n  units:\n    - name: systemd-networkd.service\n      command: stop\n    - name: 00-eth0.network\n      runtime: true\n      content: |\n        [Match]\n        Name=eth0\n    - name: systemd-networkd.service\n      command: start\n";
    applied(
        document,
        &["info: coreos.units[2].name: the unit \"systemd-networkd.service\" is also on line 4"],
        &[],
    );
    assert_eq!(old(&tree(), &["-validate"], document).code, Some(0));
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
fn invalid_unit_is_refused_and_written_in_compatibility_mode() {
    let stop =
        "[Service]\nExecStart=/usr/bin/sleep 60\nExecStop=\"/bin/sh -c \"kill -15 $MAINPID\"\n";
    refused(
        "#cloud-config\ncoreos:\n  units:\n    - name: agent.service\n      command: start\n      content: |\n        [Service]\n        ExecStart=/usr/bin/sleep 60\n        ExecStop=\"/bin/sh -c \"kill -15 $MAINPID\"\n",
        &[
            "9:9: ",
            "ExecStop=: found a quote \" without its end; systemd refuses the whole unit",
        ],
        &[("etc/systemd/system/agent.service", stop)],
    );
    refused(
        "#cloud-config\ncoreos:\n  units:\n    - name: docker.service\n      content: |\n        .include /usr/lib/systemd/system/docker.service\n        [Service]\n        Restart=always\n",
        &[
            "6:9: ",
            "systemd does not read .include",
            "drop-ins: [{name: 10-own.conf",
        ],
        &[(
            "etc/systemd/system/docker.service",
            ".include /usr/lib/systemd/system/docker.service\n[Service]\nRestart=always\n",
        )],
    );
    refused(
        "#cloud-config\ncoreos:\n  units:\n    - name: a.service\n      command: start\n      content: |\n        [Unit]\n        Description=a\n",
        &["systemd refuses it: [Service] has no ExecStart="],
        &[],
    );
    applied(
        "#cloud-config\ncoreos:\n  units:\n    - name: a.service\n      content: |\n        [Service]\n        Environment=\"A=b\n        ExecStart=/bin/true\n",
        &[
            "7:9: warning: coreos.units[0].content: Environment=: found a quote \" without its end; systemd ignores the line",
        ],
        &[],
    );
}

#[test]
fn unit_named_by_a_drop_in_path_is_read_as_that_drop_in() {
    applied(
        "#cloud-config\ncoreos:\n  units:\n    - name: docker.service.d/60-opts.conf\n      command: restart\n      content: |\n        [Service]\n        Environment=DOCKER_OPTS=--debug\n    - name: etcd.service.d/1.conf\n      runtime: true\n      content: \"[Service]\\nNice=1\\n\"\n",
        &[
            "4:13: warning: coreos.units[0].name: found \"docker.service.d/60-opts.conf\", the path of a drop-in",
            "expected `name: docker.service` with `drop-ins: [{name: 60-opts.conf, content: …}]`",
            "command has no effect on a drop-in and is ignored",
        ],
        &[
            (
                "etc/systemd/system/docker.service.d/60-opts.conf",
                "[Service]\nEnvironment=DOCKER_OPTS=--debug\n",
            ),
            (
                "run/systemd/system/etcd.service.d/1.conf",
                "[Service]\nNice=1\n",
            ),
        ],
    );
    for name in [
        "a/b.service",
        "../a.service",
        "a.service.d/../../../x.conf",
        "x/a.service.d/1.conf",
        "a.service.d/1.txt",
    ] {
        let document =
            format!("#cloud-config\ncoreos: {{units: [{{name: {name}, content: \"[Unit]\"}}]}}\n");
        for output in [tree().apply(&document), old(&tree(), &[], &document)] {
            assert_eq!(output.code, Some(1), "{name}");
            says(&output, &["expected a unit's name without / and .."]);
        }
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
