//! Where all layers come from, and their order.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use host::node::{Root, RootPath};

use super::{
    Config,
    environment::Environment,
    error::{ConfigError, Faults, or_fault},
    file, of_agent,
    settings::Partial,
    update_conf,
};

/// The file of configuration, in each of [`FOLDERS`].
const FILE: &str = "config.yaml";
/// What others call such a file.
const MISNAMED: &str = "config.yml";
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
        let (given, faults) = self.read();
        match faults.into_iter().next() {
            Some(fault) => Err(fault),
            None => Config::resolve(&self.root, given),
        }
    }

    /// The configuration without what is wrong in it, and all that is wrong: for a person who must act before it is
    /// repaired. What is not certain then, [`ConfigError::concerns`] tells.
    #[must_use]
    pub fn load_what_is_right(&self) -> (Config, Faults) {
        let (mut given, mut faults) = self.read();
        loop {
            match Config::resolve(&self.root, given.clone()) {
                Ok(config) => return (config, faults),
                Err(fault) => {
                    // It is always of settings that somebody gave: the defaults go together.
                    given = given.without(|key| fault.concerns(key) == Some(true));
                    faults.push(fault);
                }
            }
        }
    }

    /// Every layer, laid over each other, without what is wrong in them.
    fn read(&self) -> (Partial, Faults) {
        let mut faults = Faults::new();
        let agents = if self.as_the_agent {
            of_agent::read(&self.root, &mut faults)
        } else {
            Partial::default()
        };
        let given = self
            .flags
            .clone()
            .over(self.environment.own(&mut faults))
            .over(agents)
            .over(self.files(&mut faults))
            .over(self.environment.daemons(&mut faults))
            .over(update_conf::read(&self.root, &mut faults))
            .over(self.defaults.clone());
        (given, faults)
    }

    /// The layer of the configuration files: a drop-in over the ones before it in the order of the names, all of
    /// them over the main file.
    fn files(&self, faults: &mut Faults) -> Partial {
        if let Some(path) = &self.file {
            return file::read(&RootPath::named(path), faults).unwrap_or_else(|| {
                faults.push(ConfigError::Read {
                    path: path.clone(),
                    error: std::io::Error::from_raw_os_error(nix::libc::ENOENT),
                });
                Partial::default()
            });
        }
        let mut main = None;
        let mut drop_ins = BTreeMap::new();
        for folder in FOLDERS {
            let folder = self.root.path(folder);
            let path = folder.join(FILE);
            if path.is_there() {
                main = Some(path);
            }
            let path = folder.join(MISNAMED);
            if path.is_there() {
                faults.push(not_read(&path, FILE));
            }
            for (name, path) in in_folder(&folder.join(DROP_INS), faults) {
                drop_ins.insert(name, path);
            }
        }
        let mut layer = Partial::default();
        for path in main.into_iter().chain(drop_ins.into_values()) {
            let read = file::read(&path, faults);
            layer = read.unwrap_or_default().over(layer);
        }
        layer
    }
}

/// Of a file that somebody meant, and that would not be read.
fn not_read(path: &RootPath, rename_to: &str) -> ConfigError {
    ConfigError::NotRead {
        path: path.shown(),
        rename_to: rename_to.into(),
    }
}

/// The drop-ins of a folder by name; none where there is no such folder.
fn in_folder(folder: &RootPath, faults: &mut Faults) -> Vec<(OsString, RootPath)> {
    let unreadable = |error| ConfigError::Read {
        path: folder.shown(),
        error,
    };
    let names = match folder.names() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    };
    let names = or_fault(names.map_err(unreadable), faults);
    let mut found = Vec::new();
    for name in names {
        let path = folder.join(&name);
        match Path::new(&name).extension().and_then(|e| e.to_str()) {
            Some("yaml") => found.push((name, path)),
            // Meant, and not read: worse than an error.
            Some("yml" | "conf") => {
                let named = Path::new(&name).with_extension("yaml");
                faults.push(not_read(&path, &named.to_string_lossy()));
            }
            // What an editor or a package manager has left behind.
            _ => {}
        }
    }
    found
}
