//! Compatibility mode `coreos-cloudinit`: the program takes its flags (docs/how-to/cloud-config-boot.md), so that its units
//! continue to work.

mod flags;

use std::path::Path;

use cloud_config::{
    Addresses, UserDataError,
    boot::{LastGood, Whose},
    is_for_ignition, netconf,
    sources::Fetched,
};
use flags::{FLAGS, Line, Run};

use super::{
    Exit, Failure, Words,
    cloud_config::{
        boot, diagnostics,
        request::{ApplyRequest, BOOT_PATIENCE},
    },
    common::CommonArgs,
    go_flags::{Takes, Wrong},
    output,
    sources::SourceArgs,
};

const NAME: &str = "coreos-cloudinit";

/// A run, with its options.
pub struct Call(Run);

/// Tells whether the program is called by this name.
#[must_use]
pub fn called(program: &str) -> bool {
    Path::new(program)
        .file_name()
        .is_some_and(|name| name == NAME)
}

/// Reads the arguments.
#[must_use]
pub fn read(args: Vec<String>) -> Words<Call> {
    match flags::read(args) {
        Ok(Line::Run(run)) => Words::Do(Call(run)),
        Ok(Line::Version) => {
            let version = env!("CARGO_PKG_VERSION");
            match output::say(format!("{NAME} {version} (pointsman)")) {
                Ok(()) => Words::Said(0),
                Err(failure) => Words::Said(ended(&failure)),
            }
        }
        Err(Wrong::Help) => {
            output::note(help());
            Words::Said(0)
        }
        Err(Wrong::Usage(why)) => {
            output::note(format!("{why}\n`{NAME} -help` lists the flags"));
            Words::Said(2)
        }
    }
}

fn help() -> String {
    let mut text = format!("{NAME}, answered by pointsman\n\nFLAGS:");
    for (name, takes, about) in FLAGS {
        let (value, about) = match takes {
            Takes::Text => about.split_once("  ").unwrap_or_default(),
            Takes::Bool => ("", about),
        };
        let flag = format!("-{name} {value}");
        text += &format!("\n  {flag:<36}{about}");
    }
    text
}

/// Prints a failure and returns the exit code.
fn ended(failure: &Failure) -> u8 {
    output::note(format!("{NAME}: {failure}"));
    // coreos-cloudinit has only these exit codes.
    match failure.exit {
        Exit::Usage => 2,
        _ => 1,
    }
}

impl Call {
    /// Tells whether everything is logged.
    #[must_use]
    pub fn debug(&self) -> bool {
        self.0.debug
    }

    /// Runs it and returns the exit code.
    pub async fn run(self) -> u8 {
        let root = std::env::var_os("POINTSMAN_ROOT");
        let common = CommonArgs::below(root.map(Into::into));
        let sources = SourceArgs::new(self.0.sources, self.0.wait);
        let fetched = match sources.ask(&common).await {
            Err(failure) => return ended(&failure),
            Ok(fetched) => fetched,
        };
        if self.0.validate {
            return match fetched {
                Ok(fetched) => validate(fetched),
                Err(none) => ended(&none.into()).min(1),
            };
        }
        let root = common.root();
        let netconf = self.0.netconf;
        let again = |fetched: Fetched| {
            // The last document was applied, so its network can be converted.
            let network = network(netconf, &fetched).unwrap_or_default();
            wanted(fetched, network)
        };
        let fetched = match fetched {
            Ok(fetched) => fetched,
            // -ignore-failure does not apply: there is no document.
            Err(none) => {
                let names = none.reasons.iter().map(|(name, _)| name.clone());
                let kept = |name: &String| LastGood::load(&root, Whose::Source(name)).is_some();
                let name = names.clone().find(kept).or_else(|| names.clone().next());
                let name = name.unwrap_or_default();
                let whose = Whose::Source(&name);
                let failure = boot::fall_back(none.into(), None, again, &root, whose).await;
                return ended(&failure).min(1);
            }
        };
        if is_for_ignition(&fetched.user_data) {
            output::note(format!(
                "{NAME}: {}: {}",
                fetched.origin,
                UserDataError::Ignition
            ));
            return 0;
        }
        let done = match network(netconf, &fetched) {
            Ok(network) => {
                let fresh = wanted(fetched, network).waiting(sources.wait());
                boot::carry_out(fresh, again, &root).await
            }
            Err(failure) => {
                let whose = Whose::Source(&fetched.origin);
                Err(boot::fall_back(failure, Some(&fetched), again, &root, whose).await)
            }
        };
        match done {
            Ok(()) => 0,
            Err(failure) => {
                let code = ended(&failure).min(1);
                if self.0.ignore_failure { 0 } else { code }
            }
        }
    }
}

/// Prints one line for each diagnostic, in the format of coreos-cloudinit.
fn validate(fetched: Fetched) -> u8 {
    if is_for_ignition(&fetched.user_data) {
        return 0;
    }
    let diagnostics = diagnostics(fetched.user_data, &known(&fetched.metadata.addresses));
    for diagnostic in &diagnostics {
        let place = match diagnostic.path.as_str() {
            "" => String::new(),
            path => format!("{path}: "),
        };
        output::note(format!(
            "line {}: {}: {place}{}",
            diagnostic.line,
            diagnostic.original.unwrap_or(diagnostic.level).name(),
            output::in_line(&diagnostic.message)
        ));
    }
    // Only diagnostics of coreos-cloudinit's own rules count, at any level.
    u8::from(
        diagnostics
            .iter()
            .any(|diagnostic| diagnostic.original.is_some()),
    )
}

/// Returns the addresses from the platform, else from the environment.
fn known(platform: &Addresses) -> Addresses {
    let environment = Addresses::from_environment(|name| std::env::var(name).ok());
    platform.clone().or(environment)
}

fn wanted(fetched: Fetched, network: Vec<(String, String)>) -> ApplyRequest {
    ApplyRequest {
        addresses: known(&fetched.metadata.addresses),
        network,
        wait: None,
        // coreos-cloudinit removed nothing, and several of its units apply a document each, one after the other.
        adds: true,
        patience: BOOT_PATIENCE,
        strict: false,
        fetched,
    }
}

/// Converts the platform's network to units, if asked.
fn network(asked: bool, fetched: &Fetched) -> Result<Vec<(String, String)>, Failure> {
    if !asked {
        return Ok(Vec::new());
    }
    let failed = |why: String| {
        let text = format!("{}: the platform's network: {why}", fetched.origin);
        Failure::new(Exit::Failed, text)
    };
    let Some(bytes) = &fetched.metadata.network else {
        // A platform without a network description is normal; a drive that names one and does not have it is an error.
        let lost = fetched.metadata.network_lost.clone();
        return lost.map_or_else(|| Ok(Vec::new()), |why| Err(failed(why)));
    };
    let text = str::from_utf8(bytes).map_err(|error| failed(error.to_string()))?;
    let converted = netconf::debian(text).map_err(|error| failed(error.to_string()))?;
    for option in converted.skipped {
        output::note(format!("{NAME}: the platform's network: {option}"));
    }
    Ok(converted.units)
}
