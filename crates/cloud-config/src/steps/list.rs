//! The list of steps that a plan builds.

use std::collections::HashMap;

use super::{NewContent, NewFile, Step};

/// What the node has one of, from all documents and platforms together.
pub(crate) struct NodeWide {
    /// The node's name: the last document that gives one wins.
    pub(crate) hostname: Option<String>,
    /// Public keys of the user core.
    pub(crate) keys: Vec<String>,
    /// No document gives keys: on a machine without that user they are ignored.
    pub(crate) keys_are_optional: bool,
}

impl NodeWide {
    pub(crate) fn new() -> Self {
        Self {
            hostname: None,
            keys: Vec::new(),
            keys_are_optional: true,
        }
    }

    /// Adds a key, unless it is there already.
    pub(crate) fn add_key(&mut self, key: &str) {
        if !self.keys.iter().any(|known| known == key) {
            self.keys.push(key.to_owned());
        }
    }
}

/// The steps of a plan, while it is built.
#[derive(Default)]
pub(crate) struct Steps {
    /// With gaps where a later step replaced an earlier one.
    pub(super) all: Vec<Option<Step>>,
    /// Which step writes a file.
    files: HashMap<String, usize>,
    pub(super) commands: Vec<Step>,
    pub(super) last: Vec<Step>,
    /// A file of a unit may change.
    pub(super) units: bool,
    /// A file of networkd may change.
    pub(super) network: bool,
}

impl Steps {
    /// Adds units of networkd that last until the next boot: names and texts.
    pub(crate) fn network_units(&mut self, units: Vec<(String, String)>) {
        self.network |= !units.is_empty();
        for (name, text) in units {
            let path = format!("/run/systemd/network/{name}");
            self.write(NewFile::plain(path, text));
        }
    }

    pub(crate) fn push(&mut self, step: Step) {
        self.all.push(Some(step));
    }

    pub(crate) fn writes(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Adds a file. An earlier step for the same path is folded into it, so that doing all steps once
    /// more changes nothing.
    pub(crate) fn write(&mut self, mut file: NewFile) {
        let earlier = self
            .files
            .get(&file.path)
            .and_then(|at| self.all.get_mut(*at));
        match (&mut file.content, earlier) {
            (NewContent::Append(more), Some(Some(Step::File(earlier)))) => {
                if let NewContent::Bytes(bytes) | NewContent::Append(bytes) = &mut earlier.content {
                    bytes.append(more);
                    return;
                }
            }
            (NewContent::Bytes(_) | NewContent::Fetch { append: false, .. }, Some(earlier)) => {
                *earlier = None;
            }
            _ => {}
        }
        self.files.insert(file.path.clone(), self.all.len());
        self.push(Step::File(file));
    }

    pub(crate) fn finish(mut self) -> Vec<Step> {
        if self.units {
            self.push(Step::Reload);
        }
        if self.network {
            self.push(Step::RestartNetworkd);
        }
        self.all
            .into_iter()
            .flatten()
            .chain(self.commands)
            .chain(self.last)
            .collect()
    }
}
