//! What the running agent was told by flags and environment, kept for the commands: `status` on a node means that
//! node's group and endpoints, also where they stand in the agent's unit only.

use std::io;

use host::node::{Root, RootPath};
use serde_json::{Map, Value};

use super::{
    Config, Password,
    error::{Faults, Origin},
    file,
    settings::{Partial, SETTINGS},
};

/// The layer, in the format of the configuration file.
const FILE: &str = "run/pointsman/agent.yaml";
/// The password it names, where that was given as text.
const PASSWORD: &str = "run/pointsman/agent-password";

/// The layer the agent left; none where no agent runs.
pub(super) fn read(root: &Root, faults: &mut Faults) -> Partial {
    file::read(&root.path(FILE), faults).unwrap_or_default()
}

/// The agent's word, as long as this lives.
#[derive(Debug)]
pub struct OfAgent {
    files: [RootPath; 2],
}

impl OfAgent {
    /// Writes what this configuration has from flags and environment.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn leave(config: &Config) -> io::Result<Self> {
        let root = &config.root;
        let [file, password] = [root.path(FILE), root.path(PASSWORD)];
        file.parent().make_folder()?;
        let this = Self {
            files: [file, password],
        };
        let [file, password] = &this.files;
        // JSON is YAML, and needs no quoting of our own.
        let mut top = Map::new();
        for setting in SETTINGS {
            let Some((given, origin)) = config.given.given(setting.key) else {
                continue;
            };
            if !matches!(origin, Origin::Flag(_) | Origin::Environment(_)) {
                continue;
            }
            let mut given = given.to_owned();
            if setting.key == "etcd.password-file"
                && let Some((_, Password::Text(secret))) = &config.etcd.user
            {
                password.write_atomic(secret.as_bytes(), 0o600)?;
                given = format!("/{PASSWORD}");
            }
            match setting.key.split_once('.') {
                Some((section, key)) => {
                    let section = top
                        .entry(section)
                        .or_insert_with(|| Value::Object(Map::new()));
                    section[key] = given.into();
                }
                None => {
                    top.insert(setting.key.to_owned(), given.into());
                }
            }
        }
        let text = serde_json::to_string_pretty(&top).map_err(io::Error::other)?;
        file.write_atomic(text.as_bytes(), 0o644)?;
        Ok(this)
    }
}

impl Drop for OfAgent {
    fn drop(&mut self) {
        for file in &self.files {
            // Gone already, or kept for the next agent to replace: nothing depends on it.
            let _ = file.remove();
        }
    }
}
