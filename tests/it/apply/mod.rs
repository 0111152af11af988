//! `pointsman cloud-config plan`, `apply`, `revert` and `history` on trees of files.

mod cases;
pub(crate) mod container;
mod files;
mod keys;
mod old_name;
mod progress;
mod relations;
mod sources;
mod system;
mod systemd;
mod trouble;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use pointsman_testbed::process::{Output, call};

/// A machine that is only files.
pub(crate) struct Tree {
    dir: tempfile::TempDir,
}

/// What is at a path: kind, mode, owner and content.
type Seen = BTreeMap<PathBuf, (u32, u32, u32, Vec<u8>)>;

impl Tree {
    pub(crate) fn new() -> Self {
        let tree = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::set_permissions(tree.root(), fs::Permissions::from_mode(0o755)).unwrap();
        tree.write(
            "etc/passwd",
            "root:x:0:0::/root:/bin/sh\ncore:x:500:500::/home/core:/bin/sh\n",
        );
        tree.write("etc/group", "root:x:0:\ncore:x:500:\n");
        tree.write("etc/hostname", "was\n");
        tree
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub(crate) fn mode(&self, path: &str) -> u32 {
        fs::symlink_metadata(self.path(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        command
            .arg("cloud-config")
            .args(arguments)
            .arg("--root")
            .arg(self.root())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    pub(crate) fn call(&self, arguments: &[&str], document: &str) -> Output {
        call(&mut self.command(arguments), document.as_bytes())
    }

    /// The same, run by another program.
    pub(crate) fn call_by(&self, by: &[&str], arguments: &[&str], document: &[u8]) -> Output {
        let inner = self.command(arguments);
        let mut command = Command::new(by[0]);
        command
            .args(&by[1..])
            .arg(inner.get_program())
            .args(inner.get_args());
        call(&mut command, document)
    }

    pub(crate) fn plan(&self, document: &str) -> Output {
        self.call(&["plan", "-"], document)
    }

    pub(crate) fn apply(&self, document: &str) -> Output {
        self.call(&["apply", "-"], document)
    }

    pub(crate) fn revert(&self) -> Output {
        self.call(&["revert"], "")
    }

    /// Everything in the tree but for the records.
    pub(crate) fn seen(&self) -> Seen {
        self.seen_without(&[])
    }

    /// The same without what cannot be read.
    pub(crate) fn seen_without(&self, unread: &[&str]) -> Seen {
        let mut seen = Seen::new();
        let mut open = vec![self.root().to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.root()).unwrap().to_owned();
                if name.starts_with("var") || unread.iter().any(|unread| name == Path::new(unread))
                {
                    continue;
                }
                let meta = fs::symlink_metadata(&path).unwrap();
                let content = if meta.is_symlink() {
                    fs::read_link(&path)
                        .unwrap()
                        .into_os_string()
                        .into_encoded_bytes()
                } else if meta.is_dir() {
                    open.push(path);
                    Vec::new()
                } else {
                    fs::read(&path).unwrap()
                };
                seen.insert(name, (meta.mode(), meta.uid(), meta.gid(), content));
            }
        }
        seen
    }
}
