//! Files, links and folders: written, left unchanged, removed, and reverted.

use std::{fs, os::unix::fs::symlink};

use super::Tree;

const DOCUMENT: &str = "#cloud-config
write_files:
  - {path: /etc/motd, content: \"hello\\n\"}
  - {path: /opt/app/bin/run, content: \"#!/bin/sh\\n\", permissions: '4755', owner: 'core:500'}
  - {path: /etc/secret, content: hidden, permissions: '0600'}
  - {path: /etc/list, content: \"more\\n\", append: true}
coreos:
  units:
    - {name: masked.service, mask: true}
    - {name: own.service, content: \"[Service]\\nExecStart=/bin/true\\n\"}
";

#[test]
fn document_is_planned_applied_once_and_reverted() {
    let tree = Tree::new();
    tree.write("etc/motd", "old\n");
    tree.write("etc/secret", "was hidden");
    tree.write("etc/list", "one\n");
    symlink(
        "/usr/lib/systemd/system/masked.service",
        tree.path("masked"),
    )
    .unwrap();
    let before = tree.seen();

    let plan = tree.plan(DOCUMENT).must(10);
    assert_eq!(
        plan,
        "\
~ file /etc/motd: changed (content)
    @@ -1 +1 @@
    -old
    +hello
+ folder /opt: new
+ folder /opt/app: new
+ folder /opt/app/bin: new
+ file /opt/app/bin/run: new (mode 4755, owner 500:500)
~ file /etc/secret: changed (mode 0600, was 0644, content)
~ file /etc/list: changed (content)
    @@ -1 +1,2 @@
     one
    +more
+ folder /etc/systemd: new
+ folder /etc/systemd/system: new
+ link /etc/systemd/system/masked.service: new (link to /dev/null)
+ file /etc/systemd/system/own.service: new (mode 0644)
"
    );
    assert_eq!(tree.seen(), before, "a plan changes nothing");
    assert!(!tree.path("var").exists(), "and leaves nothing");

    let applied = tree.apply(DOCUMENT).must(0);
    assert!(
        applied.contains("~ file /etc/motd: changed (content)\n+ folder /opt: new\n"),
        "{applied}"
    );
    assert_eq!(tree.text("etc/motd"), "hello\n");
    assert_eq!(tree.mode("opt/app/bin/run"), 0o4755);
    assert_eq!(
        (tree.text("etc/secret").as_str(), tree.mode("etc/secret")),
        ("hidden", 0o600)
    );
    assert_eq!(tree.text("etc/list"), "one\nmore\n");
    assert_eq!(
        fs::read_link(tree.path("etc/systemd/system/masked.service"))
            .unwrap()
            .to_str(),
        Some("/dev/null")
    );
    let after = tree.seen();
    assert_eq!(after.len(), before.len() + 8, "and nothing is left beside");

    assert_eq!(tree.plan(DOCUMENT).must(0), "");
    assert_eq!(tree.apply(DOCUMENT).must(0), "");
    assert_eq!(tree.seen(), after);
    let history = tree.call(&["history"], "").must(0);
    assert_eq!(history.lines().count(), 1, "{history}");
    assert!(
        history.contains("applied, 11 changes  standard input"),
        "{history}"
    );

    tree.revert().must(0);
    assert_eq!(tree.seen(), before);
    assert_eq!(tree.revert().must(1), "");
    assert_eq!(tree.plan(DOCUMENT).must(10), plan);
}

#[test]
fn what_leaves_the_document_is_removed_from_the_machine() {
    let tree = Tree::new();
    tree.write("etc/motd", "old\n");
    let before = tree.seen();
    tree.apply(DOCUMENT).must(0);
    let second = "#cloud-config\nwrite_files: [{path: /opt/app/x, content: x}]\n";
    let applied = tree.apply(second).must(0);
    assert!(applied.contains("~ file /etc/motd: restored"), "{applied}");
    assert!(
        applied.contains("- file /opt/app/bin/run: removed"),
        "{applied}"
    );
    assert!(
        applied.contains("- folder /opt/app/bin: removed"),
        "{applied}"
    );
    assert!(!applied.contains("folder /opt/app: "), "{applied}");
    let mut expected = before.clone();
    expected.extend(
        tree.seen()
            .into_iter()
            .filter(|(path, _)| path.starts_with("opt")),
    );
    assert_eq!(tree.seen(), expected);
    assert!(tree.path("opt/app/x").exists());
    tree.revert().must(0);
    assert_eq!(tree.text("etc/motd"), "hello\n");
    assert_eq!(tree.apply(DOCUMENT).must(0), "");
    tree.revert().must(0);
    assert_eq!(tree.seen(), before);

    // What somebody has changed stays theirs.
    tree.apply(DOCUMENT).must(0);
    tree.write("etc/motd", "mine\n");
    let applied = tree.apply(second).must(0);
    assert!(applied.contains("! /etc/motd stays: "), "{applied}");
    assert_eq!(tree.text("etc/motd"), "mine\n");
}

#[test]
fn changed_files_are_reverted_only_with_force() {
    let tree = Tree::new();
    tree.write("etc/motd", "old\n");
    let before = tree.seen();
    tree.apply(DOCUMENT).must(0);
    tree.write("etc/motd", "mine\n");
    fs::remove_file(tree.path("etc/systemd/system/own.service")).unwrap();
    let called = tree.revert();
    assert_eq!(called.code, Some(3), "{}", called.stderr);
    assert!(
        called.stderr.contains("/etc/motd has been changed"),
        "{}",
        called.stderr
    );
    // Gone already, as it would be.
    assert!(!called.stderr.contains("own.service"), "{}", called.stderr);
    assert_eq!(tree.text("etc/motd"), "mine\n");
    tree.call(&["revert", "--force"], "").must(0);
    assert_eq!(tree.seen(), before);
}

#[test]
fn content_is_appended_once() {
    let tree = Tree::new();
    tree.write("etc/list", "one\n");
    fs::set_permissions(
        tree.path("etc/list"),
        std::os::unix::fs::PermissionsExt::from_mode(0o640),
    )
    .unwrap();
    let document = |more: &str| {
        format!(
            "#cloud-config\nwrite_files: [{{path: /etc/list, content: \"{more}\\n\", append: true}}]\n"
        )
    };
    tree.apply(&document("two")).must(0);
    assert_eq!(tree.text("etc/list"), "one\ntwo\n");
    assert_eq!(tree.apply(&document("two")).must(0), "");
    tree.apply(&document("three")).must(0);
    assert_eq!(tree.text("etc/list"), "one\nthree\n");
    assert_eq!(tree.mode("etc/list"), 0o640);
    tree.apply("#cloud-config\n{}\n").must(0);
    assert_eq!(tree.text("etc/list"), "one\n");
}

#[test]
fn links_are_replaced_and_never_lead_out_of_the_root() {
    let tree = Tree::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("shadow"), "theirs").unwrap();
    // Where a file should be; on the way, absolute and out of the root by dots.
    symlink(outside.path().join("shadow"), tree.path("etc/motd")).unwrap();
    symlink(outside.path(), tree.path("etc/out")).unwrap();
    symlink("../../../../../../../../..", tree.path("etc/up")).unwrap();
    symlink("/etc/real", tree.path("etc/coreos")).unwrap();
    fs::create_dir(tree.path("etc/real")).unwrap();
    let before = tree.seen();
    let apply = |path: &str| {
        tree.apply(&format!(
            "#cloud-config\nwrite_files: [{{path: {path}, content: ours}}]\n"
        ))
    };
    let applied = apply("/etc/motd").must(0);
    assert!(applied.contains("in place of a link to "), "{applied}");
    assert!(
        fs::symlink_metadata(tree.path("etc/motd"))
            .unwrap()
            .is_file()
    );
    apply("/etc/up/etc/inside").must(0);
    assert_eq!(
        tree.text("etc/inside"),
        "ours",
        "the root's parent is the root"
    );
    apply("/etc/coreos/x").must(0);
    assert_eq!(
        tree.text("etc/real/x"),
        "ours",
        "an absolute link is one of the root"
    );
    let called = apply("/etc/out/x");
    assert!(
        called.stderr.contains("/etc/out is a link to nothing"),
        "{}",
        called.stderr
    );
    assert_eq!(called.code, Some(1));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(
        fs::read_to_string(outside.path().join("shadow")).unwrap(),
        "theirs"
    );
    for _ in 0..3 {
        tree.revert().must(0);
    }
    assert_eq!(tree.seen(), before);
}

#[test]
fn old_records_are_removed_unless_still_needed() {
    let tree = Tree::new();
    tree.write("etc/motd", "old\n");
    let before = tree.seen();
    let document = |n: usize| {
        format!(
            "#cloud-config\nwrite_files: [{{path: /etc/motd, content: m}}, {{path: /etc/n, content: '{n}'}}]\n"
        )
    };
    for n in 0..25 {
        tree.apply(&document(n)).must(0);
    }
    let numbers = || {
        let records = fs::read_dir(tree.path("var/lib/pointsman/cloud-config")).unwrap();
        let folders = records.filter(|entry| entry.as_ref().unwrap().path().is_dir());
        folders.count()
    };
    // The first record keeps what was there before any apply, and the one before those that can be reverted says what is owned then.
    assert_eq!(numbers(), 22);
    // Failed and reverted applies do not displace those that are in force.
    for _ in 0..12 {
        tree.apply(&document(99)).must(0);
        tree.revert().must(0);
        let called = tree.apply("#cloud-config\nwrite_files: [{path: /etc/a, content: x}, {path: /etc/hostname/x, content: x}]\n");
        assert_eq!(called.code, Some(1));
    }
    assert!(numbers() <= 43, "{}", numbers());
    for n in (20..24).rev() {
        tree.revert().must(0);
        assert_eq!(tree.text("etc/n"), n.to_string());
    }
    tree.apply("#cloud-config\n{}\n").must(0);
    assert_eq!(tree.seen(), before);
}

#[test]
fn unreadable_parts_give_short_warnings() {
    let tree = Tree::new();
    let document =
        "#cloud-config\nhostnam: a\nwrite_files: [{path: /a, content: x, mode: '0600'}]\n";
    let said = "standard input:2:1: warning: hostnam: unknown key \"hostnam\", it is not read; did you mean hostname?\n\
                standard input:3:38: warning: write_files[0].mode: mode is not read here: it is called permissions\n";
    for (command, code) in [("plan", 10), ("apply", 0), ("apply", 0)] {
        let called = tree.call(&[command, "-"], document);
        assert_eq!(called.code, Some(code));
        assert_eq!(called.stderr, said);
    }
    // Of many only the first.
    let many: String = (0..25).map(|n| format!("key{n}: x\n")).collect();
    let called = tree.apply(&format!("#cloud-config\nhostname: a\n{many}"));
    let lines: Vec<&str> = called.stderr.lines().collect();
    assert_eq!((called.code, lines.len()), (Some(0), 11), "{lines:?}");
    assert_eq!(
        lines[10],
        "standard input: 15 warnings more; `pointsman cloud-config validate` shows all"
    );
}

#[test]
fn additions_of_others_to_an_appended_file_stay() {
    let tree = Tree::new();
    let append = |text: &str, more: &str| {
        format!(
            "#cloud-config\nwrite_files: [{{path: /etc/list, content: \"{text}\\n\", append: true}}{more}]\n"
        )
    };
    let (one, two) = (append("one", ""), append("two", ""));
    let other = append("two", ", {path: /etc/other, content: x}");
    tree.write("etc/list", "base\n");
    tree.apply(&one).must(0);
    tree.write("etc/list", "base\none\nmine\n");
    tree.apply(&two).must(0);
    assert_eq!(tree.text("etc/list"), "base\none\nmine\ntwo\n");
    assert_eq!(tree.apply(&two).must(0), "");
    // Before it: what is added is at the end still, and nothing is to be done.
    tree.write("etc/list", "base\nours\ntwo\n");
    for document in [&two, &other, &two] {
        tree.apply(document).must(0);
        assert_eq!(tree.text("etc/list"), "base\nours\ntwo\n");
    }
    let plan = tree.plan("#cloud-config\n").must(0);
    assert!(plan.contains("! /etc/list stays"), "{plan}");
    // A file to which only we have added is restored.
    tree.write("etc/list", "base\nours\n");
    tree.apply(&two).must(0);
    tree.apply("#cloud-config\n").must(0);
    assert_eq!(tree.text("etc/list"), "base\nours\n");
}

#[test]
fn appending_to_a_link_is_refused() {
    let tree = Tree::new();
    tree.write("usr/share/hosts", "127.0.0.1 localhost\n");
    symlink("../usr/share/hosts", tree.path("etc/hosts")).unwrap();
    let before = tree.seen();
    let append = "#cloud-config\nwrite_files: [{path: /etc/hosts, content: \"10.0.0.5 n5\\n\", append: true}]\n";
    let whole = append.replace(", append: true", "");
    let refused = |tree: &Tree| {
        let called = tree.apply(append);
        assert_eq!(called.code, Some(1));
        assert_eq!(
            called.stderr,
            "pointsman: /etc/hosts: found a link to ../usr/share/hosts, expected a file to append to; \
             append to the target, or write this file without append\n"
        );
    };
    refused(&tree);
    assert_eq!(tree.seen(), before);
    // Whatever was applied before.
    tree.apply(&whole).must(0);
    refused(&tree);
    tree.revert().must(0);
    assert_eq!(tree.seen(), before);
}

#[test]
fn ownership_is_known_after_reverting_all_kept_applies() {
    let tree = Tree::new();
    tree.write("etc/motd", "pristine");
    let document = |n: usize| {
        format!(
            "#cloud-config\nwrite_files: [{{path: /etc/motd, content: motd{n}}}, {{path: /etc/file{n}, content: x}}]\n"
        )
    };
    for n in 1..=24 {
        tree.apply(&document(n)).must(0);
    }
    for _ in 0..20 {
        tree.revert().must(0);
    }
    let called = tree.revert();
    assert_eq!(called.code, Some(1));
    assert!(
        called.stderr.contains("is the oldest on record"),
        "{}",
        called.stderr
    );
    assert_eq!(tree.text("etc/motd"), "motd4");
    assert_eq!(tree.plan(&document(4)).must(0), "");
    tree.apply("#cloud-config\n").must(0);
    assert_eq!(tree.text("etc/motd"), "pristine");
    assert!(!tree.path("etc/file4").exists());
}
