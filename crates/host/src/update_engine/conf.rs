//! `update.conf`: the lines update_engine reads, changed one at a time with the rest kept.

use std::{io, os::unix::fs::PermissionsExt as _};

use crate::node::{Root, RootPath};

/// The value of a key, of several the last one, as update_engine takes it.
#[must_use]
pub fn get<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.trim().strip_prefix(key)?.strip_prefix('=');
    text.lines().filter_map(value).next_back().map(str::trim)
}

/// The text with this key set, or taken out; the place of its first line and all other lines stay.
#[must_use]
pub fn set(text: &str, key: &str, value: Option<&str>) -> String {
    let is_key = |line: &str| {
        let rest = line.trim().strip_prefix(key);
        rest.is_some_and(|rest| rest.starts_with('='))
    };
    let mut out = String::with_capacity(text.len() + 32);
    let mut line_of_it = value.map(|value| format!("{key}={value}\n"));
    for line in text.lines() {
        if is_key(line) {
            out.extend(line_of_it.take());
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out.extend(line_of_it);
    out
}

/// The operator's file: the one there is, else the one of the kind of system this is.
#[must_use]
pub fn path(root: &Root) -> RootPath {
    let [flatcar, coreos] =
        ["flatcar", "coreos"].map(|kind| root.path(format!("etc/{kind}/update.conf")));
    let is_coreos =
        || !root.path("usr/share/flatcar").exists() && root.path("usr/share/coreos").exists();
    if flatcar.exists() || !(coreos.exists() || is_coreos()) {
        flatcar
    } else {
        coreos
    }
}

/// What the file says; nothing where there is none.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &RootPath) -> io::Result<String> {
    match path.read_text() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    }
}

/// Sets keys in the file, which is made where there is none.
///
/// # Errors
/// When it cannot be read or written; it is then as it was.
pub fn change(path: &RootPath, changes: &[(&str, Option<&str>)]) -> io::Result<()> {
    let mut text = read(path)?;
    for (key, value) in changes {
        text = set(&text, key, *value);
    }
    // A link, as to a shared file, stays one.
    let path = path.without_links().unwrap_or_else(|_| path.clone());
    path.parent().make_folder()?;
    let mode = match path.metadata() {
        Ok(found) if !found.is_file() => return Err(io::Error::other("found no regular file")),
        Ok(found) => found.permissions().mode() & 0o7777,
        Err(_) => 0o644,
    };
    path.write_atomic(text.as_bytes(), mode)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn change_of_a_key_keeps_the_other_lines() {
        let text = "# mine\nGROUP=beta\n\nSERVER=https://x\n GROUP=lts \nREBOOT_STRATEGY=off";
        assert_eq!(get(text, "GROUP"), Some("lts"));
        assert_eq!(get(text, "GROU"), None);
        assert_eq!(
            set(text, "GROUP", Some("stable")),
            "# mine\nGROUP=stable\n\nSERVER=https://x\nREBOOT_STRATEGY=off\n"
        );
        assert_eq!(
            set(text, "SERVER", None),
            "# mine\nGROUP=beta\n\n GROUP=lts \nREBOOT_STRATEGY=off\n"
        );
        assert_eq!(set("", "A", Some("1")), "A=1\n");
        assert_eq!(set("A=1", "B", None), "A=1\n");
    }

    #[test]
    fn update_conf_of_the_system_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        assert!(path(&root).shown().ends_with("etc/flatcar/update.conf"));
        fs::create_dir_all(dir.path().join("usr/share/coreos")).unwrap();
        let file = path(&root);
        assert!(file.shown().ends_with("etc/coreos/update.conf"));
        change(&file, &[("GROUP", Some("beta"))]).unwrap();
        change(
            &file,
            &[("SERVER", Some("disabled")), ("GROUP", Some("lts"))],
        )
        .unwrap();
        assert_eq!(read(&file).unwrap(), "GROUP=lts\nSERVER=disabled\n");
        fs::create_dir_all(dir.path().join("etc/flatcar")).unwrap();
        let link = dir.path().join("etc/flatcar/update.conf");
        std::os::unix::fs::symlink("/etc/coreos/update.conf", &link).unwrap();
        change(&path(&root), &[("SERVER", None)]).unwrap();
        assert_eq!(read(&file).unwrap(), "GROUP=lts\n");
        assert!(link.symlink_metadata().unwrap().is_symlink());
    }

    #[test]
    fn only_a_regular_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        fs::create_dir_all(dir.path().join("etc/flatcar")).unwrap();
        let link = dir.path().join("etc/flatcar/update.conf");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        let error = change(&path(&root), &[("GROUP", Some("beta"))]).unwrap_err();
        assert!(error.to_string().contains("no regular file"), "{error}");
        assert!(link.symlink_metadata().unwrap().is_symlink());
    }
}
