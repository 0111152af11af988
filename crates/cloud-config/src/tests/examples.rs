//! The documents under cloud-config/ are sound.

use std::{fs, path::Path};

use super::*;
use crate::{PartContent, parts};

#[test]
fn every_example_has_no_warnings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cloud-config");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        for part in parts(fs::read(&path).unwrap()).unwrap() {
            let PartContent::CloudConfig(text) = part.content else {
                panic!("{path:?}")
            };
            let diagnostics = read(&text).diagnostics;
            placed(&text, &diagnostics);
            let bad: Vec<_> = diagnostics
                .iter()
                .filter(|f| f.level != Level::Info)
                .collect();
            // The old stack is there to be moved away from.
            let old = path.ends_with("old-stack.yaml");
            assert!(
                bad.iter().all(|f| old && f.message.contains("deprecated")),
                "{path:?}: {bad:#?}"
            );
            assert_eq!(old, !bad.is_empty(), "{path:?}");
            seen += 1;
        }
    }
    assert!(seen >= 9, "{seen} examples");
}
