//! The examples for Ignition in packaging/ignition, by ignition-validate.

use std::{fs, path::Path};

use pointsman_testbed::{fakes::PATIENCE, process::run, scratch};
use serde_json::Value;

use crate::agents::bin;

/// An example: what Ignition reads, and the Butane for it.
fn example(name: &str) -> (std::path::PathBuf, Value, String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/ignition");
    let path = folder.join(format!("{name}.ign"));
    let ignition = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let butane = fs::read_to_string(folder.join(format!("{name}.bu"))).unwrap();
    (path, ignition, butane)
}

/// The text of a file that is in the configuration itself.
fn text(source: &str) -> String {
    let encoded = source.strip_prefix("data:,").unwrap();
    percent_encoding::percent_decode_str(encoded)
        .decode_utf8()
        .unwrap()
        .into_owned()
}

#[tokio::test]
async fn examples_for_ignition_are_valid_and_what_their_butane_says() {
    for name in ["flatcar", "fedora-coreos"] {
        let (path, ignition, butane) = example(name);
        let said = run("ignition-validate", [&path], &[], PATIENCE).await;
        assert_eq!(
            (said.code, said.stdout.as_str(), said.stderr.as_str()),
            (Some(0), "", ""),
            "{name}"
        );
        for file in ignition["storage"]["files"].as_array().unwrap() {
            let path = file["path"].as_str().unwrap();
            assert!(butane.contains(&format!("- path: {path}\n")), "{path}");
            assert_eq!(file["mode"], 0o644, "{path}");
            let source = file["contents"]["source"].as_str().unwrap();
            let lines = match source.strip_prefix("data:") {
                Some(_) => text(source),
                None => source.to_owned(),
            };
            for line in lines.lines() {
                assert!(butane.contains(line), "{path}: {line}");
            }
            if let Some(hash) = file["contents"]["verification"]["hash"].as_str() {
                assert!(butane.contains(hash), "{path}");
            }
        }
        for unit in ignition["systemd"]["units"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let unit = unit["name"].as_str().unwrap();
            assert!(butane.contains(&format!("- name: {unit}\n")), "{unit}");
        }
    }
}

#[tokio::test]
async fn node_set_up_by_ignition_has_a_configuration_that_the_agent_takes() {
    let (_, ignition, _) = example("flatcar");
    let files = ignition["storage"]["files"].as_array().unwrap();
    let source = |path| {
        let file = files.iter().find(|file| file["path"] == path);
        file.unwrap()["contents"]["source"].as_str().unwrap()
    };
    let image = format!("pointsman-{}-x86-64.raw", env!("CARGO_PKG_VERSION"));
    assert!(source("/etc/extensions/pointsman.raw").ends_with(&image));
    let root = scratch::dir("ignition");
    let config = root.path().join("etc/pointsman/config.yaml");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    fs::write(&config, text(source("/etc/pointsman/config.yaml"))).unwrap();
    let root = root.path().display().to_string();
    let said = run(bin(), ["config", "--root", &root], &[], PATIENCE).await;
    assert_eq!(
        (said.code, said.stderr.as_str()),
        (Some(0), ""),
        "{}",
        said.stdout
    );
    assert!(said.stdout.contains("http://10.0.0.3:2379"), "{said:?}");
}
