use std::{collections::HashMap, fmt::Write as _};

use super::*;
use crate::{Mode, Unknown, read};

/// The steps of documents, a line each; contents follow in brackets.
fn steps(sources: &[&str], files: &[(&str, &str)]) -> Vec<String> {
    let addresses = Addresses {
        private_ipv4: Some("10.0.0.1".into()),
        ..Addresses::default()
    };
    let parts = sources.iter().map(|source| {
        if source.starts_with("#!") {
            return Planned::Script(source.as_bytes().to_vec());
        }
        let reading = read(source, &addresses, Unknown::Error, Mode::Own);
        assert!(reading.is_sound(), "{:?}", reading.diagnostics);
        Planned::Document(Box::new(reading.document))
    });
    let files: HashMap<&str, &str> = files.iter().copied().collect();
    let machine = Machine {
        addresses: &Addresses::default(),
        hostname: "was",
        text: &|path| files.get(path).map(|text| (*text).to_owned()),
    };
    plan(parts.collect(), &machine)
        .unwrap()
        .iter()
        .map(shown)
        .collect()
}

fn shown(step: &Step) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match step {
        Step::Hostname(name) => format!("hostname {name}"),
        Step::Keys { user, keys, .. } => format!("keys {user} {keys:?}"),
        Step::User(user) => format!(
            "user {} {:?} {:?} {}",
            user.name,
            user.passwd.as_deref().unwrap_or("*"),
            user.keys,
            user.arguments.join(" ")
        ),
        Step::File(file) => {
            let mut line = format!("file {} {:04o}", file.path, file.mode);
            if let Some(user) = &file.owner.user {
                let group = match &file.owner.group {
                    NewGroup::Named(group) => group,
                    NewGroup::Root => "-",
                    NewGroup::Login => "",
                };
                let _ = write!(line, " {user}:{group}");
            }
            match &file.content {
                NewContent::Bytes(bytes) => line + " [" + &text(bytes) + "]",
                NewContent::Append(bytes) => line + " append [" + &text(bytes) + "]",
                other => format!("{line} {other:?}"),
            }
        }
        Step::Link { path, target } => format!("link {path} {target}"),
        Step::Unmask { path } => format!("unmask {path}"),
        Step::Enable { unit, runtime } => {
            format!("enable {unit}{}", if *runtime { " runtime" } else { "" })
        }
        Step::Script(bytes) => format!("script [{}]", text(bytes)),
        Step::Reload => "reload".into(),
        Step::RestartNetworkd => "restart-networkd".into(),
        Step::Command { unit, command } => format!("{command} {unit}"),
        Step::EndBoot { unit, command } => format!("last {command} {unit}"),
    }
}

#[test]
fn steps_come_in_their_order() {
    let source = "
coreos:
  locksmith: {group: \"a 50% \\\"b\\\"\"}
  flannel: {interface: $private_ipv4, etcd_prefix: a b}
  update: {server: 'https://u', reboot-strategy: reboot}
  etcd-member: {name: n1}
  oem: {id: x, name: 'A \"b\"', version_id: 1.0}
  units:
    - {name: b.service, command: start, enable: yes, content: \"[Service]\\nExecStart=/b\\n[Install]\\nAlias=c.service\\n\"}
    - {name: a.service, command: try-restart, runtime: yes, drop-ins: [{name: 1.conf, content: x=1}]}
    - {name: 10.network, content: '[Match]'}
    - {name: m.service, mask: yes, command: stop}
manage_etc_hosts: localhost
write_files:
  - {path: //etc/./x, content: one, permissions: 4755, owner: 'core:100'}
users: [{name: u, groups: [a, b], gecos: U, no_create_home: on}, {name: s, system: yes, passwd: '*'}]
ssh_authorized_keys: ['ssh-rsa AAAA1']
hostname: n1.example.net
";
    assert_eq!(
        steps(&[source], &[]),
        [
            "hostname n1",
            "keys core [\"ssh-rsa AAAA1\"]",
            "user u \"*\" [] --no-create-home --comment U --groups a,b",
            "user s \"*\" [] --system",
            "file /etc/x 4755 core:100 [one]",
            "file /etc/hosts 0644 [127.0.0.1 n1\n]",
            "file /etc/systemd/system/b.service 0644 [[Service]\nExecStart=/b\n[Install]\nAlias=c.service\n]",
            "enable b.service",
            "file /run/systemd/system/a.service.d/1.conf 0644 [x=1]",
            "unmask /run/systemd/system/a.service",
            "file /etc/systemd/network/10.network 0644 [[Match]]",
            "link /etc/systemd/system/m.service /dev/null",
            "file /etc/oem-release 0644 [ID=x\nVERSION_ID=1.0\nNAME=\"A \\\"b\\\"\"\nHOME_URL=\"\"\nBUG_REPORT_URL=\"\"\n]",
            "file /run/systemd/system/etcd-member.service.d/20-cloudinit.conf 0644 [[Service]\nEnvironment=\"ETCD_NAME=n1\"\n]",
            "unmask /run/systemd/system/etcd-member.service",
            "file /run/flannel/options.env 0644 [FLANNELD_ETCD_PREFIX=\"a b\"\nFLANNELD_IFACE=10.0.0.1\n]",
            "file /run/systemd/system/locksmithd.service.d/20-cloudinit.conf 0644 [[Service]\nEnvironment=\"LOCKSMITHD_GROUP=a 50% \\\"b\\\"\"\n]",
            "unmask /run/systemd/system/locksmithd.service",
            "file /etc/coreos/update.conf 0644 [REBOOT_STRATEGY=reboot\nSERVER=https://u\n]",
            "unmask /run/systemd/system/locksmithd.service",
            "reload",
            "restart-networkd",
            "start b.service",
            "try-restart a.service",
            "stop m.service",
            "restart locksmithd.service",
            "restart update-engine.service",
        ]
    );
    assert_eq!(steps(&["hostname: a"], &[]), ["hostname a"]);
    assert_eq!(steps(&["", "{}"], &[]), [""; 0]);
}

#[test]
fn strategy_off_masks_the_reboot_manager_for_this_boot() {
    assert_eq!(
        steps(
            &["coreos: {update: {reboot-strategy: off, group: beta}}"],
            &[(
                "/usr/share/coreos/update.conf",
                "SERVER=v\n# GROUP=x\nGROUP=stable\n"
            )]
        ),
        [
            "file /etc/coreos/update.conf 0644 [SERVER=v\n# GROUP=x\nGROUP=beta\nREBOOT_STRATEGY=off\n]",
            "link /run/systemd/system/locksmithd.service /dev/null",
            "reload",
            "stop locksmithd.service",
            "restart update-engine.service",
        ]
    );
}

#[test]
fn update_conf_starts_from_what_is_there() {
    let conf =
        |files: &[(&str, &str)]| steps(&["coreos: {update: {group: beta}}"], files)[0].clone();
    let etc = ("/etc/coreos/update.conf", "GROUP=a\nSERVER=s\nGROUP=b");
    let vendor = ("/usr/share/flatcar/update.conf", "SERVER=v\n");
    let head = "file /etc/coreos/update.conf 0644 ";
    assert_eq!(
        conf(&[etc, vendor]),
        format!("{head}[GROUP=beta\nSERVER=s\n]")
    );
    assert_eq!(conf(&[vendor]), format!("{head}[SERVER=v\nGROUP=beta\n]"));
    assert_eq!(conf(&[]), format!("{head}[GROUP=beta\n]"));
}

#[test]
fn known_addresses_go_to_scripts_and_to_the_environment_unless_the_document_writes_it() {
    let addresses = Addresses {
        public_ipv6: Some("2001:db8::1".into()),
        private_ipv4: Some("10.0.0.1".into()),
        ..Addresses::default()
    };
    let plan = |source: &str| {
        let document = read(source, &addresses, Unknown::Error, Mode::Own).document;
        let machine = Machine {
            addresses: &addresses,
            hostname: "was",
            text: &|path| {
                (path == "/etc/environment").then(|| "A=1\nCOREOS_PRIVATE_IPV4=old\n".into())
            },
        };
        let steps = super::plan(vec![Planned::Document(Box::new(document))], &machine).unwrap();
        steps.iter().map(shown).collect::<Vec<_>>()
    };
    let machine = Machine {
        addresses: &addresses,
        hostname: "was",
        text: &|_| None,
    };
    let script = |text: &[u8]| {
        let steps = super::plan(vec![Planned::Script(text.to_vec())], &machine).unwrap();
        assert_eq!(steps.len(), 1);
        shown(&steps[0])
    };
    assert_eq!(
        script(b"#!/bin/sh\nx $private_ipv4 $public_ipv4"),
        "script [#!/bin/sh\nx 10.0.0.1 $public_ipv4]"
    );
    assert_eq!(
        script(b"#!/bin/sh\n\xff$private_ipv4"),
        "script [#!/bin/sh\n\u{fffd}$private_ipv4]"
    );
    assert_eq!(
        plan(""),
        [
            "file /etc/environment 0644 [A=1\nCOREOS_PRIVATE_IPV4=10.0.0.1\nCOREOS_PUBLIC_IPV6=2001:db8::1\n]"
        ]
    );
    assert_eq!(
        plan("write_files: [{path: /etc/environment, content: B=2}]"),
        ["file /etc/environment 0644 [B=2]"]
    );
}

#[test]
fn same_path_is_written_once() {
    let source = "write_files:
- {path: /a, content: one}
- {path: /b, content: two}
- {path: //a, content: three, permissions: 600}
- {path: /a, content: four, append: true}
- {path: /c, content: five, append: true}
- {path: /c, content: six, append: true}
- {path: /d, source: 'https://h/x', sha256: 5F70BF18A086007016E948B04AED3B82103A36BEA41755B6CDDFAF10ACE3C6EF}
";
    assert_eq!(
        steps(&[source], &[]),
        [
            "file /b 0644 [two]",
            "file /a 0600 [threefour]",
            "file /c 0644 append [fivesix]",
            "file /d 0644 Fetch { url: \"https://h/x\", sha256: Some(\"5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef\"), append: false, encoding: None }",
        ]
    );
}

#[test]
fn file_without_content_is_empty_with_any_encoding() {
    assert_eq!(
        steps(&["write_files: [{path: /a, encoding: gzip}]"], &[]),
        ["file /a 0644 []"]
    );
}

#[test]
fn parts_follow_one_another_and_commands_come_last() {
    let first = "hostname: a\nssh_authorized_keys: [ssh-rsa AAAA1]\ncoreos: {units: [{name: a.service, command: start}]}";
    let second = "hostname: b\nssh_authorized_keys: [ssh-rsa AAAA2]\nmanage_etc_hosts: localhost\nwrite_files: [{path: /a, content: x}]";
    assert_eq!(
        steps(&[first, "#!/bin/sh\ntrue", second], &[]),
        [
            "hostname b",
            "keys core [\"ssh-rsa AAAA1\", \"ssh-rsa AAAA2\"]",
            "script [#!/bin/sh\ntrue]",
            "file /etc/hosts 0644 [127.0.0.1 b\n]",
            "start a.service",
        ]
        .iter()
        .take(3)
        .chain(&[
            "file /a 0644 [x]",
            "file /etc/hosts 0644 [127.0.0.1 b\n]",
            "start a.service"
        ])
        .map(|line| (*line).to_owned())
        .collect::<Vec<_>>()
    );
}

#[test]
fn platform_fills_in_what_documents_do_not_say() {
    let platform = || {
        Planned::Platform(Platform {
            hostname: Some("n1.example.net".into()),
            keys: vec!["ssh-ed25519 A a".into(), "ssh-ed25519 B b".into()],
            network: vec![("00-eth0.network".into(), "[Match]\n".into())],
        })
    };
    let machine = Machine {
        addresses: &Addresses::default(),
        hostname: "was",
        text: &|_| None,
    };
    let all = |source: &str| {
        let document = read(source, &Addresses::default(), Unknown::Error, Mode::Own).document;
        let parts = vec![platform(), Planned::Document(Box::new(document))];
        let steps = plan(parts, &machine).unwrap();
        steps.iter().map(shown).collect::<Vec<_>>()
    };
    assert_eq!(
        all("#cloud-config\nmanage_etc_hosts: localhost\n"),
        [
            "hostname n1",
            "keys core [\"ssh-ed25519 A a\", \"ssh-ed25519 B b\"]",
            "file /run/systemd/network/00-eth0.network 0644 [[Match]\n]",
            "file /etc/hosts 0644 [127.0.0.1 n1\n]",
            "restart-networkd",
        ]
    );
    let steps = all(
        "#cloud-config\nhostname: mine\nssh_authorized_keys: [ssh-ed25519 B b, ssh-ed25519 C c]\n",
    );
    assert_eq!(
        steps[..2],
        [
            "hostname mine",
            "keys core [\"ssh-ed25519 A a\", \"ssh-ed25519 B b\", \"ssh-ed25519 C c\"]",
        ]
    );
}

#[test]
fn command_that_ends_the_boot_is_planned_last() {
    let unit = |name: &str, command: &str, content: &str| {
        format!("    - {{name: {name}, command: {command}, content: \"{content}\"}}\n")
    };
    let exec = |line: &str| format!("[Service]\\nType=oneshot\\nExecStart={line}\\n");
    for (name, command, content, ends) in [
        ("reboot.target", "start", String::new(), true),
        ("poweroff.target", "restart", String::new(), true),
        (
            "systemd-reboot.service",
            "reload-or-restart",
            String::new(),
            true,
        ),
        ("kexec.target", "start", String::new(), true),
        ("reboot.target", "stop", String::new(), false),
        (
            "update.service",
            "start",
            exec("/usr/bin/systemctl reboot"),
            true,
        ),
        (
            "update.service",
            "start",
            exec("-/sbin/shutdown -r now"),
            true,
        ),
        ("update.service", "start", exec("/sbin/reboot"), true),
        ("reboot.service", "start", exec("/opt/bin/watch"), false),
        (
            "update.service",
            "start",
            exec("/bin/sh -c 'while sleep 60; do check || reboot; done'"),
            false,
        ),
        ("multi-user.target", "start", String::new(), false),
    ] {
        let source = format!(
            "coreos:\n  units:\n{}    - {{name: z.service, command: start}}\n",
            unit(name, command, &content)
        );
        let steps = steps(&[&source], &[]);
        let told = match ends {
            true => vec![
                "start z.service".to_owned(),
                format!("last {command} {name}"),
            ],
            false => vec![format!("{command} {name}"), "start z.service".to_owned()],
        };
        assert!(steps.ends_with(&told), "{source}\n{steps:?}");
    }
}
