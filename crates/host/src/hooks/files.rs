//! Which files are hooks, and which of them may be run: as root, so nobody else may have a hand in them.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use super::{HookError, Hooks};
use crate::node::RootPath;

/// The moments at which hooks run, each a folder.
pub const MOMENTS: [&str; 6] = [
    "may-reboot.d",
    "pre-reboot.d",
    "post-boot.d",
    "health.d",
    "health-cluster.d",
    "health-wanted.d",
];

/// Where the package keeps hooks that an operator may link to.
pub(super) const AVAILABLE: &str = "available";

impl Hooks {
    /// The files of one moment, such as `pre-reboot.d`, in the order they run in: by name; of one name under both
    /// `/etc` and `/usr/lib` the one under `/etc`, which disables it when it is a link to `/dev/null`.
    ///
    /// # Errors
    /// When a folder is there and cannot be read, or is a link to nothing: what would have run is not known.
    pub fn list(&self, moment: &str) -> Result<Vec<RootPath>, HookError> {
        let mut hooks: BTreeMap<OsString, RootPath> = BTreeMap::new();
        for folder in &self.folders {
            let folder = folder.join(moment);
            let unreadable = |error: io::Error| HookError {
                what: match error.kind() {
                    io::ErrorKind::NotADirectory => {
                        format!("cannot be: {folder} is a file, expected a folder with hooks")
                    }
                    _ => format!("cannot be listed: {folder}: {error}"),
                },
                hook: folder.shown(),
                code: None,
            };
            let names = match folder.names() {
                Ok(names) => names,
                Err(error) if is_absent(&folder, &error) => continue,
                Err(error) => return Err(unreadable(error)),
            };
            for name in names {
                let text = name.to_string_lossy();
                if !is_left_over(&text) && text.ends_with(self.ending) {
                    let hook = folder.join(&name);
                    hooks.insert(name, hook);
                }
            }
        }
        let mut hooks: Vec<RootPath> = hooks.into_values().collect();
        hooks.retain(|hook| !hook.is_null());
        Ok(hooks)
    }

    /// Whether all hooks of one moment could be run.
    ///
    /// # Errors
    /// The first that could not, with its reason.
    pub fn check(&self, moment: &str) -> Result<(), HookError> {
        self.list(moment)?
            .iter()
            .try_for_each(|hook| self.usable(hook))
    }

    /// What an operator meant as a hook and that will not run: folders that no moment has, and hooks that cannot be run.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut found = Vec::new();
        for folder in &self.folders {
            // One that cannot be read is told of with its moments.
            for file in folder.names().unwrap_or_default() {
                let name = file.to_string_lossy().into_owned();
                if MOMENTS.contains(&name.as_str()) || name == AVAILABLE || name.starts_with('.') {
                    continue;
                }
                let near = MOMENTS
                    .iter()
                    .map(|moment| (strsim::damerau_levenshtein(&name, moment), moment))
                    .min()
                    .filter(|(apart, _)| *apart <= 3);
                let meant = match near {
                    Some((_, moment)) => format!("; did you mean {moment}?"),
                    None => format!("; expected {}", MOMENTS.join(", ")),
                };
                found.push(format!(
                    "{} is not used: no hooks have this name{meant}",
                    folder.join(&file)
                ));
            }
        }
        for moment in MOMENTS {
            match self.list(moment) {
                Ok(hooks) => found.extend(
                    hooks
                        .iter()
                        .filter_map(|hook| self.usable(hook).err())
                        .map(|error| error.to_string()),
                ),
                Err(error) => found.push(error.to_string()),
            }
        }
        found
    }

    /// Whether a hook is a program, or a text for an interpreter, that may be run as root.
    pub(super) fn usable(&self, hook: &RootPath) -> Result<(), HookError> {
        let what = match hook.metadata() {
            Ok(m) if m.is_file() && self.interpreter.is_some() => match others(hook) {
                None => return Ok(()),
                Some(what) => what,
            },
            Ok(m) if m.is_file() && m.permissions().mode() & 0o111 != 0 => {
                match others(hook).or_else(|| not_executable(hook)) {
                    None => return Ok(()),
                    Some(what) => what,
                }
            }
            Ok(_) => "is not executable; make it so (chmod +x), or remove it".into(),
            Err(error) if error.kind() == io::ErrorKind::NotFound && hook.dangles() => {
                match hook.link() {
                    Some(to) => format!(
                        "is a link to {}, which does not exist; remove the link, or put the hook there",
                        to.display()
                    ),
                    None => "is a link to nothing".into(),
                }
            }
            Err(error) => format!("cannot be read: {error}"),
        };
        Err(HookError {
            hook: hook.shown(),
            what,
            code: None,
        })
    }
}

/// The folders that hooks are in: `X.d`, `hooks` and `pointsman`.
fn above(hook: &RootPath) -> impl Iterator<Item = RootPath> {
    std::iter::successors(Some(hook.parent()), |path| Some(path.parent())).take(3)
}

/// Whether there is no such folder of a moment, and neither it nor one above it is a link that leads to nothing.
fn is_absent(folder: &RootPath, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        && !above(&folder.join("hook")).any(|path| path.dangles())
}

/// Whether a file of this name is what an editor or a package manager left behind, and no hook.
pub(super) fn is_left_over(name: &str) -> bool {
    name.starts_with('.') || name.ends_with('~') || name.contains(".dpkg-")
}

/// Whether it is a file that may be executed.
pub(super) fn is_executable(file: &RootPath) -> bool {
    file.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Who else could put a program in the hook's place, as a sentence: whoever owns, or may write to, the file or a folder
/// from `pointsman` down, and the same of the file and folder that a link leads to.
fn others(hook: &RootPath) -> Option<String> {
    // X.d, hooks, pointsman.
    let mut paths: Vec<RootPath> = above(hook).collect();
    if let Ok(target) = hook.without_links() {
        paths.extend([target.parent(), target]);
    }
    written_by_others(&paths).map(|why| format!("is not run, because hooks run as root: {why}"))
}

/// The first of these that others than root own or may write to, as part of a sentence.
pub(super) fn written_by_others(paths: &[RootPath]) -> Option<String> {
    let own = nix::unistd::geteuid().as_raw();
    paths.iter().find_map(|path| {
        let found = path.metadata().ok()?;
        let kind = if found.is_dir() { "folder" } else { "file" };
        let mode = found.mode() & 0o7777;
        // The group root has root alone.
        let writable = mode & 0o002 != 0 || (mode & 0o020 != 0 && found.gid() != 0);
        let why = if found.uid() != 0 && found.uid() != own {
            format!("belongs to user {}, expected root", found.uid())
        } else if writable {
            format!(
                "has mode {mode:04o}, with which other users than root may write to it, expected {:04o}",
                mode & !0o022
            )
        } else {
            return None;
        };
        Some(format!("the {kind} {path} {why}"))
    })
}

/// Why the kernel would not execute the file, where that can be seen: a text without `#!`, or with one that names no
/// program (execve(2)).
fn not_executable(hook: &RootPath) -> Option<String> {
    let mut start = Vec::new();
    let file = hook.open_to_read().ok()?;
    file.take(256).read_to_end(&mut start).ok()?;
    let Some(line) = start.strip_prefix(b"#!") else {
        // Binary formats have other marks, and none is a text.
        let text = !start.contains(&0) && !start.starts_with(b"\x7fELF");
        return text.then(|| {
            "cannot be executed: no interpreter line; the first line must begin with #!, as in #!/bin/sh".into()
        });
    };
    let line = line.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).into_owned();
    let interpreter = line.split_whitespace().next().unwrap_or_default();
    // As an editor of another system leaves it.
    let ends = line.ends_with('\r');
    (ends || !Path::new(interpreter).exists()).then(|| {
        let hint = if ends {
            " (the line ends with a carriage return)"
        } else {
            ""
        };
        format!("cannot be executed: its interpreter {interpreter:?} does not exist{hint}")
    })
}
