//! Where all layers come from, and their order.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{
    Config, environment::Environment, error::ConfigError, file, of_agent, settings::Partial,
    update_conf,
};
use crate::node::Root;

/// The file of configuration, in each of [`FOLDERS`].
const FILE: &str = "config.yaml";
/// The folder of its drop-ins, in each of [`FOLDERS`].
const DROP_INS: &str = "config.d";
/// The vendor's, the boot's, the operator's: of files with one name the last one counts.
const FOLDERS: [&str; 3] = ["usr/lib/pointsman", "run/pointsman", "etc/pointsman"];

/// The sources of a configuration.
#[derive(Clone)]
pub struct Sources {
    /// The machine.
    pub root: Root,
    /// A file instead of all configuration files; it must exist, and does not lie under the root.
    pub file: Option<PathBuf>,
    /// The layer of the flags, and of what else comes before everything.
    pub flags: Partial,
    /// The variables.
    pub environment: Environment,
    /// Defaults of the name the program was called by.
    pub defaults: Partial,
    /// Whether what the node's agent was told by flags and environment counts here as well: so a command means
    /// what the agent means.
    pub as_the_agent: bool,
}

impl Sources {
    /// Reads every layer, lays them over each other, and makes the configuration of them.
    ///
    /// # Errors
    /// The first thing that is wrong in any layer, also where a higher one has another value.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let agents = if self.as_the_agent {
            of_agent::read(&self.root)?
        } else {
            Partial::default()
        };
        let given = self
            .flags
            .clone()
            .over(self.environment.own()?)
            .over(agents)
            .over(self.files()?)
            .over(self.environment.daemons()?)
            .over(update_conf::read(&self.root)?)
            .over(self.defaults.clone());
        Config::resolve(&self.root, given)
    }

    /// The layer of the configuration files: a drop-in over the ones before it in the order of the names, all of
    /// them over the main file.
    fn files(&self) -> Result<Partial, ConfigError> {
        if let Some(path) = &self.file {
            return file::read(path)?.ok_or_else(|| ConfigError::Read {
                path: path.clone(),
                error: std::io::ErrorKind::NotFound.into(),
            });
        }
        let mut main = None;
        let mut drop_ins = BTreeMap::new();
        for folder in FOLDERS {
            let folder = self.root.path(folder);
            let path = folder.join(FILE);
            if path.symlink_metadata().is_ok() {
                main = Some(path);
            }
            for (name, path) in in_folder(&folder.join(DROP_INS))? {
                drop_ins.insert(name, path);
            }
        }
        let mut layer = Partial::default();
        for path in main.into_iter().chain(drop_ins.into_values()) {
            layer = file::read(&path)?.unwrap_or_default().over(layer);
        }
        Ok(layer)
    }
}

/// The drop-ins of a folder by name; none where there is no such folder.
fn in_folder(folder: &Path) -> Result<Vec<(OsString, PathBuf)>, ConfigError> {
    let unreadable = |error| ConfigError::Read {
        path: folder.to_owned(),
        error,
    };
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        match path.extension().and_then(|e| e.to_str()) {
            Some("yaml") => found.push((entry.file_name(), path)),
            // Meant, and not read: worse than an error.
            Some("yml" | "conf") => {
                return Err(ConfigError::File {
                    path,
                    found: "a name that is not read".into(),
                    expected: "one that ends in .yaml".into(),
                });
            }
            // An editor's or a package manager's leavings.
            _ => {}
        }
    }
    Ok(found)
}
