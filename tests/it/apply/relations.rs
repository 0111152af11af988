//! What holds for all documents, on trees of files: tried on many that get in each other's way.

use std::fs;

use cloud_config::{
    Addresses, Mode, Unknown,
    apply::Machine,
    plan::{self, Planned, Step},
};
use host::node::Root;
use proptest::prelude::*;

use super::Tree;

/// Few places, so that documents meet: through links, in folders that one makes and another leaves.
fn place() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "/etc/motd",
        "/etc/new",
        "/data/a",
        "/link/a",
        "/etc/link",
        "/data/sub/b",
        "/link/sub/b",
        "/x/y/z",
        "/x/y/w",
        "/x/v",
        "/etc/hostname",
        "/etc/systemd/system/a.service",
    ])
}

fn file() -> impl Strategy<Value = String> {
    let more = prop::sample::select(vec![
        "",
        ", append: true",
        ", permissions: '4711'",
        ", owner: core",
        ", permissions: '0600'",
    ]);
    (place(), "[ab]{0,3}", more).prop_map(|(path, content, more)| {
        format!("  - {{path: {path}, content: '{content}'{more}}}\n")
    })
}

fn unit() -> impl Strategy<Value = String> {
    let install = "content: \"[Service]\\nExecStart=/bin/true\\n[Install]\\nWantedBy=multi-user.target\\nAlias=b.service\\n\"";
    prop::sample::select(vec![
        format!("    - {{name: a.service, enable: true, {install}}}\n"),
        format!("    - {{name: a.service, {install}}}\n"),
        "    - {name: a.service, mask: true}\n".to_owned(),
        "    - {name: a.service, runtime: true}\n".to_owned(),
        "    - {name: a.service, runtime: true, mask: true}\n".to_owned(),
        "    - {name: c.service, drop_ins: [{name: 1.conf, content: x}]}\n".to_owned(),
        "    - {name: 1.network, content: x}\n".to_owned(),
    ])
}

fn document() -> impl Strategy<Value = String> {
    let keys = prop::sample::select(vec![
        "",
        "ssh_authorized_keys: [ssh-rsa AAAA1]\n",
        "ssh_authorized_keys: [ssh-rsa AAAA1, ssh-rsa AAAA2]\n",
    ]);
    let name = prop::sample::select(vec![
        "",
        "hostname: n1\n",
        "coreos: {update: {group: beta}}\n",
    ]);
    let files = prop::collection::vec(file(), 0..5);
    (keys, name, files, prop::option::of(unit())).prop_map(|(keys, name, files, unit)| {
        let files = files.concat();
        let files = if files.is_empty() {
            String::new()
        } else {
            format!("write_files:\n{files}")
        };
        let unit = unit.filter(|_| !name.starts_with("coreos"));
        let units = unit.map_or_else(String::new, |unit| format!("coreos:\n  units:\n{unit}"));
        format!("{name}{keys}{files}{units}")
    })
}

fn steps(text: &str, machine: &Machine) -> Option<Vec<Step>> {
    let addresses = Addresses::default();
    let reading = cloud_config::read(text, &addresses, Unknown::Error, Mode::Own);
    if !reading.is_sound() {
        return None;
    }
    let known = plan::Machine {
        addresses: &addresses,
        hostname: "x",
        text: &|path| machine.text(path),
    };
    Some(plan::plan(vec![Planned::Document(Box::new(reading.document))], &known).unwrap())
}

/// Applies documents one after the other, and takes all back again.
async fn there_and_back(documents: &[String]) {
    let tree = Tree::new();
    tree.write("etc/motd", "old");
    tree.write("data/a", "was");
    tree.write("etc/update.conf", "");
    fs::create_dir_all(tree.path("home/core")).unwrap();
    std::os::unix::fs::symlink("/data", tree.path("link")).unwrap();
    std::os::unix::fs::symlink("/data/a", tree.path("etc/link")).unwrap();
    let root = Root::new(tree.root());
    let mut machine = Machine::open(&root).unwrap();
    let first = tree.seen();
    let mut was = vec![];
    for text in documents {
        let Some(wanted) = steps(text, &machine) else {
            continue;
        };
        let before = tree.seen();
        let Ok(planned) = machine.outline(&wanted).await else {
            machine.apply(&wanted, "x").await.unwrap_err();
            assert_eq!(tree.seen(), before);
            continue;
        };
        assert_eq!(tree.seen(), before, "a plan changes nothing");
        let applied = machine.apply(&wanted, "x").await.unwrap();
        assert_eq!(applied.is_due(), planned.is_due());
        let again = machine
            .outline(&steps(text, &machine).unwrap())
            .await
            .unwrap();
        assert!(!again.is_due(), "{:?}", again.changes);
        if applied.is_due() {
            was.push(before);
        }
    }
    let last = tree.seen();
    // What no document names now is as it was before the first one.
    let mut gone = machine.apply(&[], "x").await.unwrap();
    assert_eq!(
        tree.seen(),
        first,
        "{:?}",
        std::mem::take(&mut gone.changes)
    );
    if gone.is_due() {
        was.push(last);
    }
    for before in was.into_iter().rev() {
        let past = machine.revert(false).await.unwrap();
        assert!(past.left.is_empty(), "{:?}", past.left);
        assert_eq!(tree.seen(), before);
    }
    machine.revert(false).await.unwrap_err();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn documents_come_and_go_without_a_trace(documents in prop::collection::vec(document(), 1..4)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(there_and_back(&documents));
    }
}
