//! The program of the release before, built from the commit that `tests/release-before` names.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The program; none in a source archive or a shallow clone, which have no history to build it from. That is said on standard
/// error.
///
/// # Panics
/// When it cannot be built.
pub fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        build(&top.canonicalize().expect("the repository is there"))
    });
    if program.is_none() {
        eprintln!("not run: without the history there is no release before to build");
    }
    program.as_deref()
}

fn build(top: &Path) -> Option<PathBuf> {
    let file = fs::read_to_string(top.join("tests/release-before")).expect("it is there");
    let named = file.lines().find(|line| !line.starts_with('#'));
    let (_, commit) = named
        .and_then(|named| named.split_once(' '))
        .expect("a version and a commit");
    let has_commit = git(top, &["cat-file", "-e", commit]).status();
    if !has_commit.is_ok_and(|status| status.success()) {
        return None;
    }
    let target = top.join("target/before");
    let program = target.join(commit);
    if program.exists() {
        return Some(program);
    }
    let source = target.join("source");
    let _ = fs::remove_dir_all(&source);
    fs::create_dir_all(&source).expect("target can be written");
    let mut archive = git(top, &["archive", commit])
        .stdout(Stdio::piped())
        .spawn()
        .expect("git runs");
    let content = archive.stdout.take().expect("it is piped");
    let unpacked = Command::new("tar")
        .arg("x")
        .current_dir(&source)
        .stdin(content)
        .status();
    assert!(
        unpacked.is_ok_and(|status| status.success()),
        "the source is not unpacked"
    );
    archive.wait().expect("git ends");
    // What it is built of is the same as today for the most part, and was built already.
    let own = target.join("debug");
    fs::create_dir_all(&own).expect("target can be written");
    for part in ["deps", "build", ".fingerprint"] {
        let built = top.join("target/debug").join(part);
        let _ = Command::new("cp")
            .arg("-aln")
            .arg(built)
            .arg(&own)
            .stderr(Stdio::null())
            .status();
    }
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let done = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "pointsman",
            "--bin",
            "pointsman",
        ])
        .current_dir(&source)
        .env("CARGO_TARGET_DIR", &target)
        .status();
    assert!(
        done.is_ok_and(|status| status.success()),
        "the release before is not built"
    );
    // Complete or not there.
    fs::rename(own.join("pointsman"), &program).expect("it was built");
    for part in [&source, &own] {
        let _ = fs::remove_dir_all(part);
    }
    Some(program)
}

fn git(top: &Path, args: &[&str]) -> Command {
    let mut git = Command::new("git");
    git.current_dir(top).args(args).stderr(Stdio::null());
    git
}
