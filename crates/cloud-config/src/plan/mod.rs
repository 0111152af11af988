//! What a document does to a machine, step by step, before anything is done.
//!
//! Pure: from documents and what the machine holds to steps. `apply` looks at what each step changes, and does it.

use super::{
    document::Document,
    merge::merge,
    section::PlanContext,
    steps::{NodeWide, Steps},
    substitute::{Addresses, VARIABLES, substitute},
};

pub use super::{
    section::PlanError,
    steps::{NewContent, NewFile, NewGroup, NewOwner, NewUser, Step},
};

/// The environment of everything that a person starts.
const ENVIRONMENT: &str = "/etc/environment";

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

/// Plans documents and scripts, in their order.
///
/// # Errors
/// When a content does not unpack, which the diagnostics of its document have said.
pub fn plan(parts: Vec<Planned>, machine: &Machine<'_>) -> Result<Vec<Step>, PlanError> {
    let mut steps = Steps::default();
    let node = node_wide(&parts);
    let hostname = node.hostname.as_deref().map(short);
    let context = PlanContext {
        hostname: hostname.unwrap_or(machine.hostname),
        text: machine.text,
    };
    if let Some(name) = hostname {
        steps.push(Step::Hostname(name.to_owned()));
    }
    if !node.keys.is_empty() {
        steps.push(Step::Keys {
            user: "core".to_owned(),
            keys: node.keys,
            optional: node.keys_are_optional,
        });
    }
    // A platform may have no document, and tell the addresses all the same.
    let alone = parts
        .iter()
        .all(|part| matches!(part, Planned::Platform(_)));
    for part in parts {
        match part {
            Planned::Document(document) => {
                document.plan(&context, &mut steps)?;
                addresses(machine, &mut steps);
            }
            Planned::Script(bytes) => {
                steps.push(Step::Script(fill_in(bytes, machine.addresses)));
            }
            Planned::Platform(platform) => steps.network_units(platform.network),
        }
    }
    if alone {
        addresses(machine, &mut steps);
    }
    Ok(steps.finish())
}

/// What the node has one of: documents go before platforms for its name, and after them for keys.
fn node_wide(parts: &[Planned]) -> NodeWide {
    let mut node = NodeWide::new();
    for part in parts {
        if let Planned::Platform(platform) = part {
            node.hostname = node.hostname.or_else(|| platform.hostname.clone());
            platform.keys.iter().for_each(|key| node.add_key(key));
        }
    }
    for part in parts {
        if let Planned::Document(document) = part {
            document.describe(&mut node);
        }
    }
    node
}

/// Leaves the addresses that are known for all programs, and for the next boot.
fn addresses(machine: &Machine<'_>, steps: &mut Steps) {
    let known = known(machine.addresses);
    if !known.is_empty() && !steps.writes(ENVIRONMENT) {
        let before = (machine.text)(ENVIRONMENT).unwrap_or_default();
        steps.write(NewFile::plain(ENVIRONMENT, merge(&before, &known)));
    }
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
