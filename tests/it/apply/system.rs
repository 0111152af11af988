//! Names, users, keys and units of a tree of files: by the system's own tools, and without any bus.

use std::{fs, os::unix::fs::symlink, process::Command};

use super::{Tree, call};

impl Tree {
    /// A tree in which the tools for users work.
    pub(super) fn with_users() -> Self {
        let tree = Self::new();
        tree.write("etc/shadow", "root:*:1::::::\ncore:$6$old:1::::::\n");
        tree.write("etc/gshadow", "root:*::\ncore:!::\n");
        tree.write("etc/login.defs", "UID_MIN 1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\nUSERGROUPS_ENAB yes\nENCRYPT_METHOD SHA512\n");
        tree.write("etc/skel/.profile", "# profile\n");
        fs::create_dir_all(tree.path("home/core")).unwrap();
        tree
    }

    pub(super) fn owner(&self, path: &str) -> (u32, u32) {
        use std::os::unix::fs::MetadataExt as _;
        let meta = fs::symlink_metadata(self.path(path)).unwrap();
        (meta.uid(), meta.gid())
    }

    /// What the lists of users say, but for the day of a password: it was changed today, twice.
    fn accounts(&self) -> Vec<Vec<String>> {
        let lines = ["passwd", "shadow", "group", "gshadow"].map(|file| {
            let text = self.text(&format!("etc/{file}"));
            text.lines()
                .map(
                    |line| match (file, line.splitn(4, ':').collect::<Vec<_>>().as_slice()) {
                        ("shadow", [name, hash, _, rest]) => format!("{name}:{hash}:{rest}"),
                        _ => line.to_owned(),
                    },
                )
                .collect()
        });
        lines.to_vec()
    }
}

const USERS: &str = "#cloud-config
hostname: n1.example.net
ssh_authorized_keys: [ssh-rsa AAAA1 one]
users:
  - {name: core, passwd: $6$new, ssh_authorized_keys: [ssh-rsa AAAA2 two]}
  - {name: ann, passwd: $6$secret, groups: [core], gecos: Ann, ssh_authorized_keys: [ssh-rsa AAAA3]}
  - {name: bob}
write_files:
  - {path: /srv/ann, content: hers, owner: 'ann:ann'}
";

#[test]
fn users_keys_and_hostname_are_set_once_and_reverted() {
    let tree = Tree::with_users();
    tree.write("home/core/.ssh/authorized_keys", "ssh-rsa MINE\n");
    let (before, accounts) = (tree.seen(), tree.accounts());
    let plan = tree.plan(USERS).must(10);
    for line in [
        "~ file /etc/hostname: changed (content)\n    @@ -1 +1 @@\n    -was\n    +n1\n",
        "~ password core: changed\n",
        "+ user ann: new (--create-home, --comment, Ann, --groups, core)\n~ password ann: changed\n",
        "+ file /home/ann/.ssh/authorized_keys: new (mode 0600, owner ann, who is created first)\n",
        "+ user bob: new",
        "+ file /srv/ann: new (mode 0644, owner ann, who is created first)\n",
        "~ file /home/core/.ssh/authorized_keys: changed",
    ] {
        assert!(plan.contains(line), "{line}\n{plan}");
    }
    assert!(!plan.contains("secret") && !plan.contains("$6$"), "{plan}");
    assert_eq!(tree.seen(), before);

    tree.apply(USERS).must(0);
    assert_eq!(tree.text("etc/hostname"), "n1\n");
    assert_eq!(
        tree.text("home/core/.ssh/authorized_keys"),
        "ssh-rsa MINE\nssh-rsa AAAA1 one\nssh-rsa AAAA2 two\n"
    );
    let ann = tree.owner("home/ann");
    assert!(ann.0 >= 1000, "{ann:?}");
    for path in ["home/ann/.ssh", "home/ann/.ssh/authorized_keys", "srv/ann"] {
        assert_eq!(tree.owner(path), ann, "{path}");
    }
    assert_eq!(tree.mode("home/ann/.ssh"), 0o700);
    let shadow = tree.text("etc/shadow");
    for line in ["core:$6$new:", "ann:$6$secret:", "bob:*:"] {
        assert!(shadow.lines().any(|l| l.starts_with(line)), "{shadow}");
    }
    assert_eq!(tree.apply(USERS).must(0), "");
    assert_eq!(tree.plan(USERS).must(0), "");

    // A key that leaves the document leaves the machine, also from a file that others have added to.
    tree.write(
        "home/core/.ssh/authorized_keys",
        "ssh-rsa MINE\nssh-rsa AAAA1 one\nssh-rsa AAAA2 two\nssh-rsa LATER\n",
    );
    tree.apply(&USERS.replace("AAAA1 one", "AAAA9")).must(0);
    assert_eq!(
        tree.text("home/core/.ssh/authorized_keys"),
        "ssh-rsa MINE\nssh-rsa AAAA2 two\nssh-rsa LATER\nssh-rsa AAAA9\n"
    );
    tree.apply("#cloud-config\nhostname: n1\n").must(0);
    assert_eq!(
        tree.text("home/core/.ssh/authorized_keys"),
        "ssh-rsa MINE\nssh-rsa LATER\n"
    );
    assert!(tree.path("home/ann").exists() && !tree.path("home/ann/.ssh/authorized_keys").exists());

    tree.revert().must(0);
    tree.revert().must(0);
    tree.write(
        "home/core/.ssh/authorized_keys",
        "ssh-rsa MINE\nssh-rsa AAAA1 one\nssh-rsa AAAA2 two\n",
    );
    tree.revert().must(0);
    assert_eq!(tree.accounts(), accounts);
    let mut after = tree.seen();
    // The tools keep the lists as they were before they wrote them, and what they number.
    after.retain(|path, _| before.contains_key(path) || path.starts_with("home"));
    for (path, seen) in before.iter().filter(|(path, _)| !path.ends_with("shadow")) {
        assert_eq!(
            after.get(path).map(|s| &s.3),
            Some(&seen.3),
            "{}",
            path.display()
        );
    }
    assert_eq!(after.len(), before.len(), "{after:?}");
}

#[test]
fn relative_root_is_accepted() {
    let tree = Tree::with_users();
    let accounts = tree.accounts();
    let name = tree.root().file_name().unwrap();
    for (command, input) in [
        (
            &["apply", "-"][..],
            "#cloud-config\nusers: [{name: ann, passwd: '*'}]\n",
        ),
        (&["revert"], ""),
    ] {
        let mut inner = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        inner
            .arg("cloud-config")
            .args(command)
            .arg("--root")
            .arg(name);
        call(
            inner.current_dir(tree.root().parent().unwrap()),
            input.as_bytes(),
        )
        .must(0);
    }
    assert_eq!(tree.accounts(), accounts);
}

#[test]
fn home_with_content_is_not_removed() {
    let tree = Tree::with_users();
    tree.apply("#cloud-config\nusers: [{name: ann}]\n").must(0);
    tree.write("home/ann/work", "hers");
    let called = tree.revert();
    assert_eq!(called.code, Some(1), "{}", called.stderr);
    assert!(
        called
            .stderr
            .contains("/home/ann stays: it holds more than a new home does"),
        "{}",
        called.stderr
    );
    assert_eq!(tree.text("home/ann/work"), "hers");
    assert!(!tree.text("etc/passwd").contains("ann"));
}

#[test]
fn links_in_homes_are_not_followed_for_keys() {
    let tree = Tree::with_users();
    tree.write("etc/victim/authorized_keys", "secret\n");
    symlink("/etc/victim", tree.path("home/core/.ssh")).unwrap();
    let document = "#cloud-config\nssh_authorized_keys: [ssh-rsa AAAA1]\n";
    let called = tree.apply(document);
    assert_eq!(called.code, Some(1), "{}", called.stderr);
    assert_eq!(tree.text("etc/victim/authorized_keys"), "secret\n");
    // The file itself a link: it is replaced, and what it leads to neither read nor written.
    fs::remove_file(tree.path("home/core/.ssh")).unwrap();
    fs::create_dir(tree.path("home/core/.ssh")).unwrap();
    symlink(
        "/etc/victim/authorized_keys",
        tree.path("home/core/.ssh/authorized_keys"),
    )
    .unwrap();
    let called = tree.apply(document);
    assert!(!called.stdout.contains("secret"));
    assert_eq!(tree.text("etc/victim/authorized_keys"), "secret\n");
    if called.code == Some(0) {
        assert_eq!(
            tree.text("home/core/.ssh/authorized_keys"),
            "ssh-rsa AAAA1\n"
        );
    }
}

#[test]
fn links_in_homes_are_not_followed_for_files() {
    let tree = Tree::with_users();
    std::os::unix::fs::chown(tree.path("home/core"), Some(500), Some(500)).unwrap();
    let file = |path: &str, more: &str| {
        format!("#cloud-config\nwrite_files: [{{path: {path}, content: x, owner: core{more}}}]\n")
    };
    // A folder that its owner makes a link to another.
    symlink("/etc", tree.path("home/core/d")).unwrap();
    for document in [file("/home/core/d/f", ""), file("/home/core/d/new/f", "")] {
        let called = tree.apply(&document);
        assert_eq!(called.code, Some(1));
        assert!(
            called.stderr.contains(
                "found a link on the way to it, expected a folder; links in a home are not followed"
            ),
            "{}",
            called.stderr
        );
    }
    assert!(!tree.path("etc/f").exists() && !tree.path("etc/new").exists());
    // Nor is what a link leads to read, to be added to.
    tree.write("etc/secret", "secret\n");
    symlink("/etc/secret", tree.path("home/core/f")).unwrap();
    let called = tree.apply(&file("/home/core/f", ", append: true"));
    assert_eq!(called.code, Some(1));
    assert!(
        called
            .stderr
            .contains("found a link to /etc/secret, expected a file to append to"),
        "{}",
        called.stderr
    );
    // What is as it should be is written, and goes by itself once it is not wanted.
    fs::remove_file(tree.path("home/core/d")).unwrap();
    tree.apply(&file("/home/core/d/f", "")).must(0);
    assert_eq!(tree.owner("home/core/d/f"), (500, 0));
    fs::rename(tree.path("home/core/d"), tree.path("home/core/e")).unwrap();
    symlink("/etc", tree.path("home/core/d")).unwrap();
    tree.write("etc/f", "x");
    let called = tree.apply("#cloud-config\n");
    assert!(tree.path("etc/f").exists(), "{}", called.stdout);
}

#[test]
fn missing_users_and_groups_are_reported() {
    let tree = Tree::with_users();
    let before = tree.seen();
    let called = tree.apply(
        "#cloud-config\nwrite_files: [{path: /a, content: x, owner: nobody-here}, {path: /b, owner: 'core:no-group', content: y}]\n",
    );
    assert_eq!(called.code, Some(1));
    assert_eq!(
        called.stderr,
        "pointsman: /a: the user nobody-here does not exist\n/b: the group no-group does not exist\n"
    );
    assert_eq!(tree.seen(), before);
    // Groups: of files, of users who are made, and one that stands in the way of a user's own.
    tree.write("etc/group", "root:x:0:\ncore:x:500:\ndocker:x:233:\n");
    let groups = "#cloud-config
users:
  - {name: ann, passwd: '*', groups: [docker, wheel]}
  - {name: bob, passwd: '*', primary_group: staff, groups: [ann]}
  - {name: docker, passwd: '*'}
  - {name: eve, passwd: '*', no_user_group: true}
write_files: [{path: /a, content: x, owner: 'ann:ann'}, {path: /b, content: y, owner: 'eve:eve'}]
";
    for command in ["plan", "apply"] {
        let called = tree.call(&[command, "-"], groups);
        assert_eq!(called.code, Some(1));
        assert_eq!(
            called.stderr,
            "pointsman: users: ann: the group wheel does not exist\n\
             users: bob: the group staff does not exist\n\
             users: docker: the group docker exists already; give it as primary_group, or set no_user_group\n\
             /b: the group eve does not exist\n"
        );
    }
    let repaired = groups
        .replace(", wheel", "")
        .replace("staff", "core")
        .replace("docker, passwd", "docker, primary_group: docker, passwd")
        .replace("eve:eve", "eve");
    tree.apply(&repaired).must(0);
    assert!(
        tree.text("etc/group").contains("ann:x:1000:bob"),
        "{}",
        tree.text("etc/group")
    );
    tree.revert().must(0);
    tree.write("etc/group", "root:x:0:\ncore:x:500:\n");
    fs::remove_dir(tree.path("home/core")).unwrap();
    let called = tree.plan("#cloud-config\nssh_authorized_keys: [ssh-rsa AAAA1]\n");
    assert_eq!(called.code, Some(1));
    assert!(
        called
            .stderr
            .contains("/home/core, the home of core, does not exist; create it"),
        "{}",
        called.stderr
    );
    fs::create_dir(tree.path("home/core")).unwrap();
}

#[test]
fn existing_user_keeps_its_settings_with_a_note() {
    let tree = Tree::with_users();
    let document = "#cloud-config\nusers: [{name: core, passwd: '*', shell: /bin/zsh, groups: [docker]}, {name: ann, passwd: '*', gecos: Ann}]\n";
    let said = "users: core exists already: only passwd and keys are applied, not what useradd would set (--groups, --shell)";
    let called = tree.apply(document);
    assert_eq!(called.code, Some(0), "{called:?}");
    assert!(called.stdout.contains(said), "{called:?}");
    // Who was made by the document has it all.
    let called = tree.plan(document);
    assert!(
        called.stdout.contains(said) && !called.stdout.contains("ann exists"),
        "{called:?}"
    );
    tree.revert().must(0);
}

#[test]
fn mask_of_an_earlier_document_does_not_prevent_enabling() {
    let tree = Tree::new();
    fs::create_dir_all(tree.path("usr/lib/systemd/system")).unwrap();
    let unit = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";
    tree.write("usr/lib/systemd/system/a.service", unit);
    let document =
        |what: &str| format!("#cloud-config\ncoreos: {{units: [{{name: a.service, {what}}}]}}\n");
    tree.apply(&document("mask: true")).must(0);
    assert!(tree.path("etc/systemd/system/a.service").is_symlink());
    tree.apply(&document("enable: true")).must(0);
    assert!(!tree.path("etc/systemd/system/a.service").is_symlink());
    let wants = "etc/systemd/system/multi-user.target.wants/a.service";
    assert!(tree.path(wants).is_symlink());
    tree.revert().must(0);
    assert!(tree.path("etc/systemd/system/a.service").is_symlink());
    assert!(!tree.path(wants).is_symlink());
}

#[test]
fn files_with_passwords_are_readable_for_root_only() {
    let tree = Tree::new();
    let document = "#cloud-config\ncoreos: {locksmith: {group: g}, flannel: {etcd_password: secret}, fleet: {etcd_password: secret}, etcd2: {discovery: \"https://u:p@h/x\"}}\n";
    tree.apply(document).must(0);
    let mode = |path: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let meta = fs::metadata(tree.path(path)).unwrap();
        meta.permissions().mode() & 0o777
    };
    for (path, expected) in [
        (
            "run/systemd/system/locksmithd.service.d/20-cloudinit.conf",
            0o644,
        ),
        (
            "run/systemd/system/fleet.service.d/20-cloudinit.conf",
            0o600,
        ),
        (
            "run/systemd/system/etcd2.service.d/20-cloudinit.conf",
            0o600,
        ),
        ("run/flannel/options.env", 0o600),
    ] {
        assert_eq!(mode(path), expected, "{path}");
    }
}

const UNITS: &str = "#cloud-config
coreos:
  units:
    - name: app.service
      enable: true
      content: |
        [Service]
        ExecStart=/bin/true
        [Install]
        WantedBy=multi-user.target other.target
        RequiredBy=x.target
        Alias=alias.service
        Also=app.socket
    - {name: app.socket, content: \"[Socket]\\nListenStream=/run/a\\n[Install]\\nWantedBy=sockets.target\\n\"}
    - name: inst@one.service
      enable: true
    - name: vendor.service
      enable: true
      drop_ins: [{name: 10-more.conf, content: \"[Install]\\nWantedBy=more.target\\n\"}]
    - {name: run.service, runtime: true, enable: true, content: \"[Service]\\nExecStart=/bin/true\\n[Install]\\nWantedBy=multi-user.target\\n\"}
";

/// The links below a folder, by where they lead to.
fn links(tree: &Tree) -> Vec<(String, String)> {
    let seen = tree.seen();
    let name = |text: &str| text.rsplit('/').next().unwrap().to_owned();
    seen.iter()
        .filter(|(_, (mode, ..))| mode & 0o170_000 == 0o120_000)
        .map(|(path, (.., target))| {
            let target = String::from_utf8(target.clone()).unwrap();
            (path.display().to_string(), name(&target))
        })
        .collect()
}

#[test]
fn units_are_enabled_as_systemctl_does() {
    let tree = Tree::new();
    let other = Tree::new();
    for tree in [&tree, &other] {
        tree.write(
            "usr/lib/systemd/system/inst@.service",
            "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
        );
        tree.write(
            "usr/lib/systemd/system/vendor.service",
            "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
        );
    }
    let before = tree.seen();
    let plan = tree.plan(UNITS).must(10);
    assert!(plan.contains("+ unit app.service: enabled\n"), "{plan}");
    tree.apply(UNITS).must(0);
    let ours = links(&tree);
    assert_eq!(ours.len(), 9, "{ours:?}");
    assert_eq!(tree.apply(UNITS).must(0), "");

    // The same files, enabled by systemd's own tool.
    other
        .apply(&UNITS.replace("enable: true", "enable: false"))
        .must(0);
    assert!(links(&other).is_empty());
    for (unit, runtime) in [
        ("app.service", false),
        ("inst@one.service", false),
        ("vendor.service", false),
        ("run.service", true),
    ] {
        let mut systemctl = Command::new("systemctl");
        systemctl
            .arg("--root")
            .arg(other.root())
            .arg("enable")
            .arg(unit);
        systemctl.args(runtime.then_some("--runtime"));
        call(&mut systemctl, b"").must(0);
    }
    assert_eq!(ours, links(&other));

    // A unit that the document does not enable now loses its links.
    tree.apply(&UNITS.replacen("enable: true", "enable: false", 1))
        .must(0);
    assert_eq!(links(&tree).len(), 4);
    tree.revert().must(0);
    assert_eq!(links(&tree), ours);
    tree.revert().must(0);
    assert_eq!(tree.seen(), before);
}

#[test]
fn commands_and_scripts_are_not_run_under_a_root() {
    let tree = Tree::new();
    let called = tree.plan(
        "#cloud-config\ncoreos: {units: [{name: a.service, command: start, enable: true}]}\n",
    );
    assert_eq!(called.code, Some(1));
    assert!(
        called
            .stderr
            .contains("a.service cannot be enabled: the unit does not exist"),
        "{}",
        called.stderr
    );
    let plan = tree
        .plan("#cloud-config\ncoreos: {units: [{name: a.service, command: start}]}\n")
        .must(0);
    assert_eq!(
        plan,
        "! 1 command to a unit is not run: systemd does not run here (start a.service)\n"
    );
    let plan = tree
        .plan(
            "#cloud-config\ncoreos: {units: [{name: a.service, command: start}, {name: b.socket, command: restart}]}\n",
        )
        .must(0);
    assert_eq!(
        plan,
        "! 2 commands to units are not run: systemd does not run here (start a.service, restart b.socket)\n"
    );
    let plan = tree.plan("#!/bin/sh\ntouch /tmp/never\n").must(0);
    assert!(
        plan.contains("is not run: systemd does not run here"),
        "{plan}"
    );
}
