//! What goes wrong on a machine: no room, no right, what is in the way, documents that are none, and sudden death.

use std::{fs, process::Command};

use nix::fcntl::{Flock, FlockArg};

use pointsman_testbed::process::{Output, call};

use super::Tree;

const DOCUMENT: &str = "#cloud-config
write_files:
  - {path: /etc/motd, content: \"hello\\n\"}
  - {path: /data/a, content: AAAA}
  - {path: /data/b, content: BBBB}
  - {path: /opt/new/c, content: c}
coreos: {units: [{name: m.service, mask: true}]}
";

/// Applies a document where this shell script has mounted things below `$ROOT`, then says what is in `data`.
fn mounted(tree: &Tree, script: &str, document: &str) -> Output {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-euc"])
        .arg(format!(
            "{script}\n\"$PROGRAM\" cloud-config apply --root \"$ROOT\" - || echo \"code $?\"\nls -A \"$ROOT/data\"; cat \"$ROOT\"/data/a 2>&1 | head -c 4"
        ))
        .env("ROOT", tree.root())
        .env("PROGRAM", env!("CARGO_BIN_EXE_pointsman"));
    call(&mut command, document.as_bytes())
}

#[test]
fn full_disk_is_left_unchanged() {
    let tree = Tree::new();
    fs::create_dir(tree.path("data")).unwrap();
    fs::create_dir_all(tree.path("var")).unwrap();
    let large = DOCUMENT.replace("BBBB", &"B".repeat(90_000));
    let before = tree.seen();
    let called = mounted(
        &tree,
        "mount -t tmpfs -o size=64k none \"$ROOT/data\"; echo -n old1 >\"$ROOT/data/a\"",
        &large,
    );
    assert_eq!(called.stdout, "code 1\na\nold1", "{}", called.stderr);
    assert_eq!(
        called.stderr,
        "pointsman: /data/b: No space left on device (os error 28); make room and apply again; what was done before it is undone\n"
    );
    assert_eq!(tree.seen(), before);
    // No room for the record: then nothing is begun.
    let called = mounted(
        &tree,
        "mount -t tmpfs -o size=8k none \"$ROOT/var\"; head -c 8192 /dev/zero >\"$ROOT/var/full\" || true",
        &large,
    );
    assert_eq!(called.stdout.lines().next(), Some("code 1"));
    assert!(
        called.stderr.contains("No space left on device"),
        "{}",
        called.stderr
    );
    assert_eq!(tree.seen(), before);
    let called = mounted(
        &tree,
        "mount -t tmpfs -o size=32k none \"$ROOT/var\"; mkdir -p \"$ROOT/var/lib/pointsman/cloud-config\"; head -c 32768 /dev/zero >\"$ROOT/var/full\" || true",
        DOCUMENT,
    );
    assert_eq!(called.stdout.lines().next(), Some("code 1"));
    assert!(
        called.stderr.contains("No space left on device"),
        "{}",
        called.stderr
    );
    assert_eq!(tree.seen(), before);
    tree.apply(&large).must(0);
}

#[test]
fn read_only_file_system_is_left_unchanged() {
    let tree = Tree::new();
    fs::create_dir(tree.path("data")).unwrap();
    fs::create_dir_all(tree.path("var")).unwrap();
    let before = tree.seen();
    let called = mounted(&tree, "mount -t tmpfs -o ro none \"$ROOT/data\"", DOCUMENT);
    assert_eq!(called.stdout.lines().next(), Some("code 1"));
    assert!(
        called.stderr.contains("/data/a: Read-only file system (os error 30); it is on a file system that is mounted read-only; what was done before it is undone"),
        "{}",
        called.stderr
    );
    assert_eq!(tree.seen(), before);
    let called = mounted(&tree, "mount -t tmpfs -o ro none \"$ROOT/var\"", DOCUMENT);
    assert_eq!(called.stdout.lines().next(), Some("code 1"));
    assert!(
        called.stderr.contains("nothing is done without it"),
        "{}",
        called.stderr
    );
    assert_eq!(tree.seen(), before);
    // Not allowed to.
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let called = tree.call_by(&nobody, &["apply", "-"], DOCUMENT.as_bytes());
    assert_eq!(called.code, Some(1));
    assert!(
        called.stderr.contains("Permission denied") && called.stderr.contains("run as root"),
        "{}",
        called.stderr
    );
    assert_eq!(tree.seen(), before);
}

#[test]
fn obstacles_are_reported_before_anything_is_done() {
    let tree = Tree::new();
    fs::create_dir_all(tree.path("etc/motd/d")).unwrap();
    fs::create_dir_all(tree.path("etc/systemd/system/m.service")).unwrap();
    tree.write("opt/new", "a file\n");
    nix::unistd::mkfifo(&tree.path("etc/pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let before = tree.seen_without(&["etc/pipe"]);
    let document = DOCUMENT.replace("/data/a", "/etc/pipe");
    for command in ["plan", "apply"] {
        let called = tree.call(&[command, "-"], &document);
        assert_eq!(called.code, Some(1));
        assert_eq!(
            called.stderr,
            "pointsman: /etc/motd: found a folder, expected a file or nothing; move it away\n\
             /etc/pipe: found a device, a socket or a pipe, expected a file or nothing; move it away\n\
             /opt/new/c: Not a directory (os error 20)\n\
             /etc/systemd/system/m.service: found a folder, expected a link or nothing; move it away\n"
        );
        assert_eq!(tree.seen_without(&["etc/pipe"]), before);
    }
}

#[test]
fn documents_of_all_kinds_are_read_or_refused() {
    let tree = Tree::new();
    let body = "write_files: [{path: /etc/motd, content: x}]";
    let bomb = (1..30).fold("#cloud-config\na0: &a0 lol\n".to_owned(), |text, i| {
        let ten = vec![format!("*a{}", i - 1); 10].join(", ");
        format!("{text}a{i}: &a{i} [{ten}]\n")
    });
    for (input, code, said) in [
        (format!("#cloud-config\r\n{body}\r\n").into_bytes(), 0, ""),
        (
            format!("\u{feff}#cloud-config\n{body}\n").into_bytes(),
            0,
            "",
        ),
        (Vec::new(), 2, "found nothing, expected a document"),
        (b"#cloud-config\n".to_vec(), 0, ""),
        (b"#cloud-config\n---\n...\n".to_vec(), 0, ""),
        (
            b"#cloud-config\nhostname: \xff\n".to_vec(),
            1,
            "bytes that are not UTF-8",
        ),
        (
            b"#cloud-config\nwrite_files:\n\t- {path: /a}\n".to_vec(),
            1,
            ":3:",
        ),
        (
            format!("#cloud-config\n{body}\n---\n{body}\n").into_bytes(),
            0,
            ":3:1: warning: found a second YAML document",
        ),
        (b"#cloud-config\n- a\n".to_vec(), 1, ":2:1: error:"),
        (b"#cloud-config\nscalar\n".to_vec(), 1, ":2:1: error:"),
        (
            b"{\"ignition\": {\"version\": \"3.0.0\"}}".to_vec(),
            1,
            "Ignition",
        ),
        (
            format!("{bomb}{}", "x: *a29\n".repeat(130_000)).into_bytes(),
            1,
            ": error:",
        ),
        (
            format!("#cloud-config\n{}", "[".repeat(10_000)).into_bytes(),
            1,
            ": error:",
        ),
    ] {
        // Little memory has to do.
        let little = ["prlimit", "--data=100000000"];
        let called = tree.call_by(&little, &["apply", "-"], &input);
        let shown = String::from_utf8_lossy(&input[..input.len().min(60)]).into_owned();
        assert_eq!(called.code, Some(code), "{shown:?}: {}", called.stderr);
        assert!(
            called.stderr.contains(said) && called.stderr.len() < 2000,
            "{shown:?}: {}",
            called.stderr
        );
        if code == 0 && input.len() > 30 {
            assert_eq!(tree.text("etc/motd"), "x");
        }
    }
}

#[test]
fn concurrent_apply_and_unreadable_records_are_reported() {
    let tree = Tree::new();
    tree.apply(DOCUMENT).must(0);
    let records = tree.path("var/lib/pointsman/cloud-config");
    let lock = fs::File::open(records.join("lock")).unwrap();
    let lock = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, e)| e)
        .unwrap();
    for arguments in [&["apply", "-"][..], &["revert"]] {
        let called = tree.call(arguments, DOCUMENT);
        assert_eq!(
            (called.code, called.stderr.as_str()),
            (
                Some(3),
                "pointsman: another apply or revert is running; try again when it has ended\n"
            )
        );
    }
    tree.plan(DOCUMENT).must(0);
    drop(lock);
    let journal = records.join("000001/journal");
    let text = fs::read_to_string(&journal).unwrap();
    for damaged in [
        text.replacen("\"version\":1", "\"version\":2", 1),
        text.replacen("{\"will\"", "{\"wont\"", 1),
        text.replacen("{\"begin\"", "x", 1),
    ] {
        assert_ne!(damaged, text);
        fs::write(&journal, &damaged).unwrap();
        for command in ["plan", "apply", "revert", "history"] {
            let called = tree.call(
                &[command, "-"][..if command == "plan" || command == "apply" {
                    2
                } else {
                    1
                }],
                DOCUMENT,
            );
            assert_eq!(called.code, Some(1), "{command}");
            assert!(
                called.stderr.contains("000001/journal cannot be used"),
                "{}",
                called.stderr
            );
        }
    }
    fs::write(&journal, &text).unwrap();
    tree.revert().must(0);
}

/// The system calls that change or sync something: before each of them the program may die.
const STEPS: [&str; 13] = [
    "openat",
    "write",
    "linkat",
    "renameat",
    "symlinkat",
    "mkdirat",
    "unlinkat",
    "fchown",
    "fchmod",
    "fchownat",
    "fsync",
    "fdatasync",
    "syncfs",
];

#[test]
fn apply_killed_at_any_step_is_undone() {
    let first = "#cloud-config\nwrite_files: [{path: /etc/gone, content: g}]\n";
    let mut kills = 0;
    for step in STEPS {
        for n in 1.. {
            let tree = Tree::new();
            tree.write("etc/motd", "old\n");
            tree.write("data/a", "was");
            tree.write("etc/systemd/system/m.service", "[Service]\n");
            tree.apply(first).must(0);
            let before = tree.seen();
            let trace = format!("--trace={step}");
            let inject = format!("--inject={step}:signal=KILL:when={n}");
            let strace = ["strace", "-qq", "-o", "/dev/null", &trace, &inject];
            let called = tree.call_by(&strace, &["apply", "-"], DOCUMENT.as_bytes());
            if called.code.is_some() {
                assert_eq!(called.code, Some(0), "{step} {n}: {}", called.stderr);
                break;
            }
            kills += 1;
            if kills % 2 == 0 {
                tree.apply(DOCUMENT).must(0);
                assert_eq!(tree.text("etc/motd"), "hello\n", "{step} {n}");
                assert_eq!(tree.plan(DOCUMENT).must(0), "", "{step} {n}");
                assert!(!tree.path("etc/gone").exists(), "{step} {n}");
                let names: Vec<_> = tree
                    .seen()
                    .into_keys()
                    .filter(|path| path.to_string_lossy().contains(".pointsman"))
                    .collect();
                assert!(names.is_empty(), "{step} {n}: {names:?}");
                tree.revert().must(0);
            } else {
                tree.revert().must(0);
                // Before its record began, the apply before is the one that is reverted.
                if !tree.path("etc/gone").exists() {
                    tree.apply(first).must(0);
                }
            }
            assert_eq!(tree.seen(), before, "{step} {n}");
        }
    }
    assert!(kills > 60, "{kills}");
}
