//! Planning: from documents to steps, before anything is done.
//!
//! Pure. `apply` looks at what each step changes on the machine, and does it.

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

/// The environment of login sessions.
const ENVIRONMENT: &str = "/etc/environment";

/// What a plan needs to know of the machine.
pub struct Machine<'a> {
    /// The addresses that are known.
    pub addresses: &'a Addresses,
    /// The node's name, where the documents give none.
    pub hostname: &'a str,
    /// Reads a text file by its absolute path; none if it does not exist.
    pub text: &'a dyn Fn(&str) -> Option<String>,
}

/// A part of user data.
#[derive(Debug)]
pub enum Planned {
    /// A document without errors.
    Document(Box<Document>),
    /// A script. Known addresses are filled in; other variables may be the script's own.
    Script(Vec<u8>),
    /// What the platform says about the node; its position among the parts does not matter.
    Platform(Platform),
}

/// What a platform says about the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Platform {
    /// Its host name, if no document gives one.
    pub hostname: Option<String>,
    /// Public keys that may log in as `core`, before those of the documents.
    pub keys: Vec<String>,
    /// Units of networkd that last until the next boot: names and texts.
    pub network: Vec<(String, String)>,
}

/// Plans documents and scripts, in their order.
///
/// # Errors
/// When a content cannot be unpacked, which the diagnostics of its document have reported.
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
    // A platform may give addresses without a document.
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

/// Collects what the node has one of. A document's host name goes before a platform's; keys of platforms come first.
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

/// Writes the known addresses for all programs, and for the next boot.
fn addresses(machine: &Machine<'_>, steps: &mut Steps) {
    let known = known(machine.addresses);
    if !known.is_empty() && !steps.writes(ENVIRONMENT) {
        let before = (machine.text)(ENVIRONMENT).unwrap_or_default();
        steps.write(NewFile::plain(ENVIRONMENT, merge(&before, &known)));
    }
}

/// Fills the known addresses into a script.
fn fill_in(script: Vec<u8>, addresses: &Addresses) -> Vec<u8> {
    match std::str::from_utf8(&script) {
        Ok(text) => substitute(text, addresses).text.into_owned().into_bytes(),
        // It is not text, so it has no variables.
        Err(_) => script,
    }
}

/// Cuts a host name at the first dot, and at 63 bytes.
fn short(name: &str) -> &str {
    let name = name.split('.').next().unwrap_or_default();
    &name[..name.len().min(63)]
}

/// Lists the known addresses as variables of /etc/environment.
fn known(addresses: &Addresses) -> Vec<(String, String)> {
    let variable = |name: &str| {
        let address = addresses.get(name)?.to_owned();
        Some((format!("COREOS_{}", name.to_ascii_uppercase()), address))
    };
    VARIABLES.into_iter().filter_map(variable).collect()
}

#[cfg(test)]
mod tests;
