//! The shell scripts of the repository, by shellcheck.

use std::{
    fs,
    path::{Path, PathBuf},
};

use pointsman_testbed::process::run;

/// The folders that have scripts.
const FOLDERS: [&str; 6] = [".ci", "containers", "docs", "packaging", "tests", "vagrant"];

/// Whether a shell reads this file: it names one in its first line, or for shellcheck because other scripts source it.
fn is_script(path: &Path) -> bool {
    let Ok(text) = fs::read_to_string(path) else {
        return false;
    };
    let first = text.lines().next().unwrap_or_default();
    let interpreter = first.strip_prefix("#!").unwrap_or_default();
    interpreter.ends_with("sh") || text.contains("\n# shellcheck shell=")
}

/// Adds the scripts in a folder and below it.
fn scripts(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            scripts(&entry.path(), found);
        } else if kind.is_file() && is_script(&entry.path()) {
            found.push(entry.path());
        }
    }
}

#[tokio::test]
async fn shell_scripts_pass_shellcheck() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![];
    for folder in FOLDERS {
        scripts(&root.join(folder), &mut found);
    }
    let has = |name: &str| found.contains(&root.join(name));
    for name in [
        ".ci/run",
        "packaging/common.sh",
        "packaging/debian/prerm",
        "packaging/hooks/kubernetes",
        "tests/setup.sh",
    ] {
        assert!(has(name), "{name} is not among {found:#?}");
    }
    let args = [
        "--external-sources".into(),
        format!("--source-path={}", root.display()),
    ];
    let files = found.iter().map(|path| path.display().to_string());
    let said = run(
        "shellcheck",
        args.into_iter().chain(files),
        &[],
        std::time::Duration::from_secs(60),
    )
    .await;
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
}
