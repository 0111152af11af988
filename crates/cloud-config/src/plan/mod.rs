//! What a document does to a machine, step by step, before anything is done.
//!
//! Pure: from documents and what the machine holds to steps. Looking at what each step changes, and doing it, is
//! for others.

mod from;
mod texts;
mod units;

use std::collections::HashMap;

use super::{
    content::DecodeError,
    document::{Document, Text},
    environment,
    substitute::{Addresses, VARIABLES, substitute},
};
use from::{new_file, new_user, oem_release};

/// One step. Steps are done in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Name the node.
    Hostname(String),
    /// Let these keys log in as this user; those of an earlier apply go.
    Keys {
        /// The user.
        user: String,
        /// The public keys, a line each.
        keys: Vec<String>,
        /// A platform alone gives them: a machine without that user goes without.
        optional: bool,
    },
    /// Create a user, or of one that exists set password and keys.
    User(NewUser),
    /// Write a file.
    File(NewFile),
    /// Put a link, in place of a file if need be.
    Link {
        /// Where.
        path: String,
        /// To what.
        target: &'static str,
    },
    /// Remove what masks a unit: an empty file or a link to /dev/null. Anything else stays.
    Unmask {
        /// Where it would be.
        path: String,
    },
    /// Enable a unit.
    Enable {
        /// The unit.
        unit: String,
        /// Until the next boot only.
        runtime: bool,
    },
    /// Run a script, once for each content.
    Script(Vec<u8>),
    /// Let systemd read its units again, if a step before this one changed any.
    Reload,
    /// Restart systemd-networkd, if a step before this one changed a file of its.
    RestartNetworkd,
    /// Tell systemd to do something with a unit, job mode `replace`.
    Command {
        /// The unit.
        unit: String,
        /// `start`, `stop` and so on.
        command: String,
    },
    /// Tell systemd to do something with a unit that ends this boot: once for each document, when all else is done and
    /// on record.
    EndBoot {
        /// The unit.
        unit: String,
        /// `start` and its kin.
        command: String,
    },
}

/// A file to write. Its parents are made as needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Where: absolute, without doubled slashes and dots.
    pub path: String,
    /// Permissions, setuid, setgid and sticky bit included.
    pub mode: u32,
    /// Whose it is; root's where not given.
    pub owner: NewOwner,
    /// What.
    pub content: NewContent,
}

/// Whose a file is to be, as chown(1) is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewOwner {
    /// The user by name or number; root where not given.
    pub user: Option<String>,
    /// The group.
    pub group: NewGroup,
}

/// Which group a file is to have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NewGroup {
    /// root's: `user`.
    #[default]
    Root,
    /// By name or number: `user:group`, `:group`.
    Named(String),
    /// The one that the user logs in with: `user:`.
    Login,
}

/// Where a file's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewContent {
    /// They are here.
    Bytes(Vec<u8>),
    /// They come after what the file holds, unless it ends with them.
    Append(Vec<u8>),
    /// They are fetched.
    Fetch {
        /// From here.
        url: String,
        /// And have this SHA-256, in hexadecimal.
        sha256: Option<String>,
        /// They are added to what the file holds.
        append: bool,
        /// They are packed so.
        encoding: Option<String>,
    },
}

/// A user to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewUser {
    /// The login name.
    pub name: String,
    /// The password's hash: `*`, no password, where none is given.
    pub passwd: Option<String>,
    /// Public keys.
    pub keys: Vec<String>,
    /// Arguments of `useradd` but for the name.
    pub arguments: Vec<String>,
}

/// What a plan needs to know of the machine.
pub struct Machine<'a> {
    /// The addresses that are known.
    pub addresses: &'a Addresses,
    /// The node's name, where the documents give none.
    pub hostname: &'a str,
    /// The text of a file by its absolute path, where it is there.
    pub text: &'a dyn Fn(&str) -> Option<String>,
}

/// A part of user data.
#[derive(Debug)]
pub enum Planned {
    /// A document, sound.
    Document(Box<Document>),
    /// A script. Addresses that are known are filled in; others may be variables of its own.
    Script(Vec<u8>),
    /// What the platform says of the node, wherever it stands among the parts.
    Platform(Platform),
}

/// What a platform says of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Platform {
    /// Its name, where no document gives one.
    pub hostname: Option<String>,
    /// Public keys that may log in as `core`, before those of the documents.
    pub keys: Vec<String>,
    /// Units of networkd that hold until the next boot: names and texts.
    pub network: Vec<(String, String)>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {error}")]
pub struct PlanError {
    /// The file.
    pub path: String,
    /// Why its content cannot be unpacked.
    pub error: DecodeError,
}

/// The steps that documents and scripts amount to, in their order.
///
/// # Errors
/// When a content does not unpack, which the findings of its document have said.
pub fn plan(parts: Vec<Planned>, machine: &Machine<'_>) -> Result<Vec<Step>, PlanError> {
    let mut steps = Steps::default();
    let documents = || {
        parts.iter().filter_map(|part| match part {
            Planned::Document(document) => Some(document),
            Planned::Script(_) | Planned::Platform(_) => None,
        })
    };
    let platforms = || {
        parts.iter().filter_map(|part| match part {
            Planned::Platform(platform) => Some(platform),
            Planned::Script(_) | Planned::Document(_) => None,
        })
    };
    let given = documents().filter_map(|d| d.hostname.as_ref());
    let given = given.map(|text| &text.text).next_back();
    let given = given.or_else(|| platforms().find_map(|platform| platform.hostname.as_ref()));
    let hostname = given.map(|name| short(name).to_owned());
    steps
        .all
        .extend(hostname.clone().map(|name| Some(Step::Hostname(name))));
    let mut keys: Vec<String> = Vec::new();
    let of_platforms = platforms().flat_map(|platform| platform.keys.iter().cloned());
    for key in of_platforms.chain(documents().flat_map(|d| &d.keys).map(line)) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    if !keys.is_empty() {
        let optional = documents().all(|document| document.keys.is_empty());
        steps.push(Step::Keys {
            user: "core".to_owned(),
            keys,
            optional,
        });
    }
    let hostname = hostname.as_deref().unwrap_or(machine.hostname);
    // A platform may have no document, and tell the addresses all the same.
    let alone = parts
        .iter()
        .all(|part| matches!(part, Planned::Platform(_)));
    for part in parts {
        match part {
            Planned::Document(document) => steps.document(*document, hostname, machine)?,
            Planned::Script(bytes) => {
                steps.push(Step::Script(fill_in(bytes, machine.addresses)));
            }
            Planned::Platform(platform) => steps.network_of(platform),
        }
    }
    if alone {
        steps.addresses(machine);
    }
    Ok(steps.finish())
}

/// A script with the addresses that are known.
fn fill_in(script: Vec<u8>, addresses: &Addresses) -> Vec<u8> {
    match std::str::from_utf8(&script) {
        Ok(text) => substitute(text, addresses).text.into_owned().into_bytes(),
        // No text: nothing of ours is in it.
        Err(_) => script,
    }
}

/// A host's name up to the first dot, at most 63 bytes.
fn short(name: &str) -> &str {
    let name = name.split('.').next().unwrap_or_default();
    &name[..name.len().min(63)]
}

fn line(text: &Text) -> String {
    text.text.trim().to_owned()
}

#[derive(Default)]
struct Steps {
    /// With gaps where a later step took the place of an earlier one.
    all: Vec<Option<Step>>,
    /// Which step writes a file.
    files: HashMap<String, usize>,
    commands: Vec<Step>,
    last: Vec<Step>,
    /// A unit's file may change.
    units: bool,
    /// A file of networkd may.
    network: bool,
}

impl Steps {
    fn document(
        &mut self,
        document: Document,
        hostname: &str,
        machine: &Machine<'_>,
    ) -> Result<(), PlanError> {
        let Document {
            users,
            files,
            hosts,
            units,
            services,
            update,
            oem,
            ..
        } = document;
        for user in users.into_iter().filter_map(new_user) {
            self.push(Step::User(user));
        }
        for file in files {
            if let Some(file) = new_file(file)? {
                self.write(file);
            }
        }
        if let Some(text) = oem_release(&oem) {
            self.write(NewFile::plain("/etc/oem-release", text));
        }
        if let Some((path, text)) = texts::update_conf(&update, machine.text) {
            self.write(NewFile::plain(path, text));
        }
        if hosts.is_some() {
            self.write(NewFile::plain(
                "/etc/hosts",
                format!("127.0.0.1 {hostname}\n"),
            ));
        }
        let flannel = services.iter().find(|service| service.key == "flannel");
        if let Some(service) = flannel.filter(|service| !service.variables.is_empty()) {
            let text = environment::file(&service.variables);
            let secret = environment::holds_secret(&service.variables);
            self.write(NewFile::plain("/run/flannel/options.env", text).secret(secret));
        }
        self.addresses(machine);
        self.units(units, &services, &update);
        Ok(())
    }

    /// Leaves the addresses that are known for all programs, and for the next boot.
    fn addresses(&mut self, machine: &Machine<'_>) {
        let known = known(machine.addresses);
        if !known.is_empty() && !self.writes(texts::ENVIRONMENT) {
            let before = (machine.text)(texts::ENVIRONMENT).unwrap_or_default();
            let text = texts::merge(&before, &known);
            self.write(NewFile::plain(texts::ENVIRONMENT, text));
        }
    }

    fn network_of(&mut self, platform: Platform) {
        self.network |= !platform.network.is_empty();
        for (name, text) in platform.network {
            let path = format!("/run/systemd/network/{name}");
            self.write(NewFile::plain(path, text));
        }
    }

    fn push(&mut self, step: Step) {
        self.all.push(Some(step));
    }

    fn writes(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Adds a file. What an earlier step writes at the same place is folded into it, so that doing all steps once
    /// more changes nothing.
    fn write(&mut self, mut file: NewFile) {
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

    fn finish(mut self) -> Vec<Step> {
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

impl NewFile {
    /// A file that all may read, root's.
    fn plain(path: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            mode: 0o644,
            owner: NewOwner::default(),
            content: NewContent::Bytes(text.into()),
        }
    }

    /// For nobody but its owner, if it is a secret.
    fn secret(mut self, secret: bool) -> Self {
        if secret {
            self.mode = 0o600;
        }
        self
    }
}

/// The addresses that are known, as lines of /etc/environment name them.
fn known(addresses: &Addresses) -> Vec<(String, String)> {
    let variable = |name: &str| {
        let address = addresses.get(name)?.to_owned();
        Some((format!("COREOS_{}", name.to_ascii_uppercase()), address))
    };
    VARIABLES.into_iter().filter_map(variable).collect()
}

#[cfg(test)]
mod tests;
