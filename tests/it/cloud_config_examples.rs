//! The documents under cloud-config/, applied to a machine that is only files.

use std::{fs, path::Path};

use pointsman_testbed::{fakes::PATIENCE, process::run};

use crate::{agents::bin, apply::Tree};

/// The addresses that the examples leave open.
const ADDRESSES: [&str; 4] = ["--private-ipv4", "10.0.0.4", "--public-ipv4", "192.0.2.4"];

/// What each example must leave on the machine: a file, and words in it.
const LEAVES: [(&str, &str, &str); 11] = [
    (
        "coordinated-reboots.yaml",
        "etc/coreos/update.conf",
        "REBOOT_STRATEGY=etcd-lock",
    ),
    (
        "docker-registry.yaml",
        "etc/systemd/system/docker.service.d/10-options.conf",
        "--live-restore",
    ),
    (
        "etcd-cluster.yaml",
        "run/systemd/system/etcd-member.service.d/20-cloudinit.conf",
        "ETCD_LISTEN_CLIENT_URLS=http://10.0.0.4:2379,",
    ),
    (
        "flannel.yaml",
        "run/flannel/options.env",
        "FLANNELD_ETCD_PREFIX=/example.net/network",
    ),
    (
        "kubernetes-node.yaml",
        "etc/pointsman/hooks/pre-reboot.d/10-drain",
        "drain \"$POINTSMAN_HOSTNAME\"",
    ),
    (
        "old-stack.yaml",
        "run/flannel/options.env",
        "FLANNELD_IFACE=10.0.0.4",
    ),
    ("one-node.yaml", "etc/hostname", "gateway-1"),
    (
        "proxy-and-certificates.yaml",
        "etc/ssl/private/node.key",
        "hello",
    ),
    (
        "three-nodes.yaml",
        "run/flannel/options.env",
        "FLANNELD_IFACE=10.0.0.4",
    ),
    ("updates-off.yaml", "etc/oem-release", "VERSION_ID=12.0"),
    (
        "vagrant.yaml",
        "etc/pointsman/hooks/health.d/20-etcd",
        "src 10.0.0.4:2379",
    ),
];

#[tokio::test]
async fn every_example_is_applied_once_and_reverted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cloud-config");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    names.sort();
    assert_eq!(
        names,
        LEAVES.map(|(name, ..)| name),
        "each example is looked at"
    );
    for (name, path, words) in LEAVES {
        let tree = Tree::new();
        for (file, line) in [
            ("etc/group", "systemd-journal:x:101:\n"),
            ("etc/shadow", "root:*:1::::::\ncore:*:1::::::\n"),
            ("etc/gshadow", "root:*::\ncore:*::\n"),
        ] {
            let before = fs::read_to_string(tree.path(file)).unwrap_or_default();
            tree.write(file, &(before + line));
        }
        fs::create_dir_all(tree.path("home/core")).unwrap();
        // Units that the image has.
        for unit in [
            "etcd-member",
            "flanneld",
            "docker",
            "containerd",
            "pointsman",
        ] {
            let text = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";
            tree.write(&format!("usr/lib/systemd/system/{unit}.service"), text);
        }
        let document = folder.join(name).display().to_string();
        let with = |command: &str| {
            let args = [&[command, &document], &ADDRESSES[..]].concat();
            tree.call(&args, "")
        };
        with("plan").must(10);
        with("apply").must(0);
        let text =
            fs::read_to_string(tree.path(path)).unwrap_or_else(|e| panic!("{name}: {path}: {e}"));
        assert!(text.contains(words), "{name}: {path}: {text}");
        // Nothing is left to do.
        with("plan").must(0);
        // What it says to this program is understood.
        let root = tree.root().display().to_string();
        let config = run(bin(), ["config", "--root", &root], &[], PATIENCE).await;
        assert_eq!(config.code, Some(0), "{name}: {config:?}");
        tree.call(&["revert"], "").must(0);
        with("plan").must(10);
    }
}
