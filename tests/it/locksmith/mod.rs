//! Locksmith's face: one table of command lines and what comes of them, which holds for any `locksmithctl`, and what
//! of it is only ours.
//!
//! The table runs against this program, called by that name; with the path of another one in the variable
//! `LOCKSMITHCTL`, against that. Whatever a case needs it makes with the tool itself, in a group of its own, on an etcd
//! that serves both generations of the API.

mod agent;
mod cases;
mod import;
mod own_cases;

use std::path::{Path, PathBuf};

use pointsman_testbed::{
    etcd::{Cluster, unique_prefix},
    fakes::PATIENCE,
    process::{Output, run},
    scratch,
};

use crate::agents::bin;

/// One command line and what must come of it.
pub(super) struct Line {
    /// The words; `ETCD` stands for an endpoint that answers, `GROUP` for the case's own group.
    args: &'static str,
    code: i32,
    stdout: &'static str,
    /// Where it ends with `…`, only the beginning.
    stderr: &'static str,
}

/// A line of the table.
pub(super) const fn line(
    args: &'static str,
    code: i32,
    stdout: &'static str,
    stderr: &'static str,
) -> Line {
    Line {
        args,
        code,
        stdout,
        stderr,
    }
}

/// The program under its old name, on a machine of its own.
pub(super) struct Old {
    link: tempfile::TempDir,
    program: PathBuf,
}

impl Old {
    /// This program, called so.
    pub(super) fn ours(name: &str) -> Self {
        let link = scratch::dir("locksmith");
        let program = link.path().join(name);
        std::os::unix::fs::symlink(bin(), &program).unwrap();
        let id = link.path().join("etc/machine-id");
        std::fs::create_dir_all(id.parent().unwrap()).unwrap();
        std::fs::write(id, "0123456789abcdef0123456789abcdef\n").unwrap();
        Self { link, program }
    }

    /// The one the table is to be run against.
    fn under_test() -> Self {
        let mut this = Self::ours("locksmithctl");
        if let Some(other) = std::env::var_os("LOCKSMITHCTL") {
            this.program = other.into();
        }
        this
    }

    fn root(&self) -> &Path {
        self.link.path()
    }

    pub(super) async fn run(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        let root = self.root().display().to_string();
        let env = [&[("POINTSMAN_ROOT", root.as_str())], env].concat();
        run(&self.program, args, &env, PATIENCE).await
    }
}

/// Runs the lines one after the other and compares.
pub(super) async fn check(cluster: &Cluster, old: &Old, lines: &[Line]) {
    let group = unique_prefix("case");
    let endpoint = cluster.endpoint(0);
    for line in lines {
        let fill = |text: &str| text.replace("ETCD", &endpoint).replace("GROUP", &group);
        let args = fill(line.args);
        let words: Vec<&str> = args.split(' ').filter(|word| !word.is_empty()).collect();
        // Two single quotes stand for the empty word.
        let words: Vec<&str> = words
            .into_iter()
            .map(|w| if w == "''" { "" } else { w })
            .collect();
        let done = old.run(&words, &[]).await;
        let said = || format!("locksmithctl {args}: {done:?}");
        assert_eq!(done.code, Some(line.code), "{}", said());
        assert_eq!(done.stdout, fill(line.stdout), "{}", said());
        let stderr = fill(line.stderr);
        match stderr.strip_suffix('…') {
            Some(beginning) => assert!(done.stderr.starts_with(beginning), "{}", said()),
            None => assert_eq!(done.stderr, stderr, "{}", said()),
        }
    }
}
