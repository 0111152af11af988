use std::{
    os::unix::fs::symlink,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::*;

/// A root, and beside it a folder with the file `secret`; of its path there is nothing inside the root.
fn machine() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
    fs::create_dir_all(root.join("etc/real")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "outside").unwrap();
    (dir, root, outside)
}

#[test]
fn no_path_leaves_the_root() {
    let (_dir, root, outside) = machine();
    let inside = outside.strip_prefix("/").unwrap();
    fs::create_dir_all(root.join(inside)).unwrap();
    fs::create_dir(root.join("outside")).unwrap();
    for (link, target) in [
        ("etc/abs", outside.as_path()),
        ("etc/up", Path::new("../../../outside")),
        ("etc/in", Path::new("/etc/real")),
        ("etc/rel", Path::new("real/../real")),
        ("etc/loop", Path::new("loop")),
        ("etc/a", Path::new("/etc/b")),
        ("etc/b", Path::new("/etc/a")),
        ("etc/dangling", Path::new("/etc/none/x")),
    ] {
        symlink(target, root.join(link)).unwrap();
    }
    let machine = Root::new(&root);
    for (path, found) in [
        ("/etc/x", Path::new("etc/x")),
        ("../../etc/x", Path::new("etc/x")),
        ("etc/none/x/y", Path::new("etc/none/x/y")),
        ("etc/abs/f", &inside.join("f")),
        ("etc/up/f", Path::new("outside/f")),
        ("etc/in/f", Path::new("etc/real/f")),
        ("etc/in/none/f", Path::new("etc/real/none/f")),
        ("etc/rel/f", Path::new("etc/real/f")),
        ("", Path::new("")),
    ] {
        let resolved = machine.path(path).resolved().unwrap();
        assert_eq!(resolved, root.join(found), "{path}");
    }
    for (path, errno) in [
        ("etc/loop", Errno::ELOOP),
        ("etc/loop/f", Errno::ELOOP),
        ("etc/a", Errno::ELOOP),
        ("etc/a/none/f", Errno::ELOOP),
        ("etc/dangling", Errno::ENOENT),
        ("etc/dangling/f", Errno::ENOENT),
        ("etc/none/../../../x", Errno::ENOENT),
    ] {
        let path = machine.path(path);
        let code = |error: io::Error| error.raw_os_error();
        let errno = Some(errno as i32);
        assert_eq!(path.resolved().map_err(code), Err(errno), "{path}");
        let read = path.open_to_read().map(drop);
        assert_eq!(read.map_err(code), Err(errno), "{path}");
    }
    assert_eq!(
        Root::default().path("etc/x").resolved().unwrap(),
        Path::new("/etc/x")
    );
    let real = machine.path("etc/in").without_links().unwrap();
    assert_eq!(real, machine.path("etc/real"));
}

#[test]
fn no_operation_leaves_the_root() {
    let (_dir, root, outside) = machine();
    let untouched = || {
        let names = RootPath::named(&outside).names().unwrap();
        assert_eq!(names, ["secret"]);
        assert_eq!(
            fs::read_to_string(outside.join("secret")).unwrap(),
            "outside"
        );
    };
    let machine = Root::new(&root);
    for (link, target) in [
        ("etc/abs", outside.clone()),
        ("etc/up", "../../outside".into()),
    ] {
        symlink(target, root.join(link)).unwrap();
        let folder = machine.path(link);
        let file = folder.join("secret");
        let writable = Mode::from_bits_truncate(0o644);
        assert!(file.read_text().is_err() && file.names().is_err());
        assert!(!file.exists() && !file.is_there() && !folder.exists());
        assert!(folder.is_there() && folder.dangles() && !folder.is_folder());
        assert!(file.write_atomic(b"inside", 0o644).is_err());
        assert!(file.remove().is_err() && file.rename(OsStr::new("x")).is_err());
        assert!(file.open(OFlag::O_RDWR | OFlag::O_CREAT, writable).is_err());
        untouched();
        // The folder is made where the link leads.
        folder.make_folder().unwrap();
        file.write_atomic(b"inside", 0o644).unwrap();
        assert_eq!(file.read_text().unwrap(), "inside");
        assert_eq!(folder.names().unwrap(), ["secret"]);
        untouched();
        assert!(file.real().unwrap().starts_with(&root));
        file.rename(OsStr::new("x")).unwrap();
        folder.join("x").remove().unwrap();
        untouched();
    }
    // A file is replaced, or taken away, and not what a link at its place leads to.
    symlink(outside.join("secret"), root.join("etc/f")).unwrap();
    machine.path("etc/f").write_atomic(b"own", 0o644).unwrap();
    assert_eq!(fs::read_to_string(root.join("etc/f")).unwrap(), "own");
    symlink("/etc/f", root.join("etc/g")).unwrap();
    machine.path("etc/g").remove().unwrap();
    assert!(machine.path("etc/f").exists() && !machine.path("etc/g").is_there());
    symlink("loop", root.join("etc/loop")).unwrap();
    let error = machine.path("etc/loop/x").make_folder().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::ELOOP as i32));
    untouched();
}

#[test]
fn a_link_that_is_exchanged_for_a_folder_meanwhile_leads_no_write_out() {
    let (_dir, root, outside) = machine();
    let at = |name: &str| root.join("etc").join(name);
    symlink(&outside, at("link")).unwrap();
    let done = AtomicBool::new(false);
    let (mut written, mut refused) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for (from, to) in [
                    ("real", "aside"),
                    ("link", "real"),
                    ("real", "link"),
                    ("aside", "real"),
                ] {
                    fs::rename(at(from), at(to)).unwrap();
                }
            }
        });
        let path = Root::new(&root).path("etc/real/f");
        while written < 200 || refused < 200 {
            match path
                .parent()
                .metadata()
                .and_then(|_| path.write_atomic(b"f", 0o644))
            {
                Ok(()) => written += 1,
                Err(_) => refused += 1,
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(RootPath::named(&outside).names().unwrap(), ["secret"]);
    assert_eq!(fs::read_to_string(at("real/f")).unwrap(), "f");
}

#[test]
fn a_link_to_dev_null_masks_also_where_the_tree_has_none() {
    let (_dir, root, _) = machine();
    let machine = Root::new(&root);
    for (link, target, masks) in [
        ("etc/abs", "/dev/null", true),
        ("etc/rel", "../dev/null", true),
        ("etc/beyond", "../../../dev/null", true),
        ("etc/other", "/dev/zero", false),
        ("etc/here", "dev/null", false),
    ] {
        symlink(target, root.join(link)).unwrap();
        let path = machine.path(link);
        assert_eq!(path.is_null(), masks, "{link}");
        assert_eq!(
            path.read_text().ok().as_deref(),
            masks.then_some(""),
            "{link}"
        );
    }
    // An unpacked image has a file there.
    fs::create_dir(root.join("dev")).unwrap();
    fs::write(root.join("dev/null"), "").unwrap();
    assert!(machine.path("etc/abs").is_null());
    assert!(!machine.path("etc/other").is_null());
}

#[test]
fn a_path_of_this_machine_is_opened_as_it_is() {
    let (_dir, root, outside) = machine();
    symlink(&outside, root.join("etc/link")).unwrap();
    for path in [
        RootPath::named(root.join("etc/link/secret")),
        Root::default().path(root.join("etc/link/secret")),
    ] {
        assert_eq!(path.resolved().unwrap(), root.join("etc/link/secret"));
        assert_eq!(path.read_text().unwrap(), "outside");
        assert_eq!(path.real().unwrap(), outside.join("secret"));
    }
    assert!(RootPath::named("Cargo.toml").exists());
    assert_eq!(RootPath::named("x").to_string(), "x");
    assert!(RootPath::named("x").parent().is_folder());
    assert!(RootPath::named("/dev/null").is_null());
}
