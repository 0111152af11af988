//! Whatever a sound document says, on a tree of files: what is planned is applied (or refused, with nothing done), is
//! planned again without a change, and is taken back to what was there.
#![no_main]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use cloud_config::{
    Addresses, Mode, Unknown,
    apply::Machine,
    plan::{self, Planned, Step},
};
use host::node::Root;
use libfuzzer_sys::fuzz_target;

/// Everything below a folder, but for the records.
fn seen(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut seen = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path == root.join("var") {
                continue;
            }
            let meta = fs::symlink_metadata(&path).expect("an entry");
            let content = if meta.is_symlink() {
                fs::read_link(&path)
                    .expect("a link")
                    .into_os_string()
                    .into_encoded_bytes()
            } else if meta.is_dir() {
                open.push(path.clone());
                Vec::new()
            } else {
                fs::read(&path).expect("a file")
            };
            seen.insert(path, (meta.mode(), content));
        }
    }
    seen
}

fuzz_target!(|text: &str| {
    let addresses = Addresses::default();
    let reading = cloud_config::read(text, &addresses, Unknown::Error, Mode::Own);
    if !reading.is_sound() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    for folder in ["etc", "data", "home/core"] {
        fs::create_dir_all(dir.path().join(folder)).expect("a folder");
    }
    let write = |path: &str, text: &str| fs::write(dir.path().join(path), text).expect("a file");
    write(
        "etc/passwd",
        "root:x:0:0::/root:/bin/sh\ncore:x:500:500::/home/core:/bin/sh\n",
    );
    write("etc/group", "root:x:0:\n");
    write("data/a", "was");
    std::os::unix::fs::symlink("/data", dir.path().join("link")).expect("a link");
    let root = Root::new(dir.path());
    let mut machine = Machine::open(&root).expect("a root");
    let known = plan::Machine {
        addresses: &addresses,
        hostname: "x",
        text: &|_| None,
    };
    let steps =
        plan::plan(vec![Planned::Document(Box::new(reading.document))], &known).expect("a plan");
    // Users are other programs' to make, and servers are not there.
    let ours = |step: &Step| match step {
        Step::User(_) => false,
        Step::File(file) => {
            !matches!(file.content, plan::NewContent::Fetch { .. })
                && !file.path.starts_with("/var")
        }
        _ => true,
    };
    let steps: Vec<Step> = steps.into_iter().filter(ours).collect();
    let before = seen(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let Ok(planned) = machine.outline(&steps).await else {
            assert!(machine.apply(&steps, "x").await.is_err());
            assert_eq!(seen(dir.path()), before);
            return;
        };
        assert_eq!(seen(dir.path()), before, "a plan changes nothing");
        match machine.apply(&steps, "x").await {
            Ok(applied) => {
                assert_eq!(applied.is_due(), planned.is_due());
                let again = machine.outline(&steps).await.expect("a plan");
                assert!(!again.is_due(), "{:?}", again.changes);
                if applied.is_due() {
                    let past = machine.revert(false).await.expect("a way back");
                    assert!(past.left.is_empty(), "{:?}", past.left);
                }
            }
            // What nobody could foresee, such as a name that is too long.
            Err(_) => {}
        }
        assert_eq!(seen(dir.path()), before);
    });
});
