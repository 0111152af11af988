//! Documents found in use that were once handled wrongly: by `pointsman cloud-config` and in compatibility mode.

mod files;
mod modes;
mod units;
mod yaml;

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
