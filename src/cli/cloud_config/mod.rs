//! `pointsman cloud-config`: documents that configure a node.

mod apply;
pub(super) mod boot;
pub(super) mod request;

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use cloud_config::{
    self, Addresses, Diagnostic, Level, Mode, Part, PartContent, Unknown, UserDataError,
};
use serde::Serialize;

use super::{Exit, Failure, common::CommonArgs, output, sources::SourceArgs};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The command.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Report every mistake in a document, with line and column. Exit 0 without errors, 1 with errors.
    Validate(ValidateArgs),
    /// Print a JSON Schema of the document, for editors.
    Schema,
    /// Show what a document would change on this machine. Exit 0 when there is nothing to do, 10 when there is.
    Plan(PlanArgs),
    /// Make the changes that `plan` shows. If a step fails, undo what was done.
    Apply(ApplyArgs),
    /// Undo the last apply.
    Revert(RevertArgs),
    /// List the applies, the last one first.
    History(HistoryArgs),
}

#[derive(Debug, clap::Args)]
struct ValidateArgs {
    #[command(flatten)]
    sources: SourceArgs,
    /// Treat warnings as errors.
    #[arg(long)]
    strict: bool,
    /// Print JSON. Its format is in docs/reference/commands.md and does not change.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    addresses: AddressArgs,
}

#[derive(Debug, clap::Args)]
struct PlanArgs {
    #[command(flatten)]
    sources: SourceArgs,
    /// Treat warnings as errors.
    #[arg(long)]
    strict: bool,
    /// Print JSON. Its format is in docs/reference/commands.md and does not change.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    addresses: AddressArgs,
}

#[derive(Debug, clap::Args)]
struct ApplyArgs {
    #[command(flatten)]
    sources: SourceArgs,
    /// Apply as at boot: if no source is available, or its document cannot be applied, keep the last document that worked;
    /// show the result in `status` and at login. Exit 0 if this machine has none of the sources
    #[arg(long)]
    at_boot: bool,
    /// Treat warnings as errors: a document with a warning is not applied.
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    addresses: AddressArgs,
}

#[derive(Debug, clap::Args)]
struct RevertArgs {
    /// Undo it although somebody has changed something since.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
struct HistoryArgs {
    /// Print JSON. Its format is in docs/reference/commands.md and does not change.
    #[arg(long)]
    json: bool,
}

/// The addresses that replace variables of a document.
#[derive(Debug, clap::Args)]
struct AddressArgs {
    /// The value of $public_ipv4 [env: COREOS_PUBLIC_IPV4]
    #[arg(long, value_name = "ADDRESS", value_parser = ipv4)]
    public_ipv4: Option<String>,
    /// The value of $private_ipv4 [env: COREOS_PRIVATE_IPV4]
    #[arg(long, value_name = "ADDRESS", value_parser = ipv4)]
    private_ipv4: Option<String>,
    /// The value of $public_ipv6 [env: COREOS_PUBLIC_IPV6]
    #[arg(long, value_name = "ADDRESS", value_parser = ipv6)]
    public_ipv6: Option<String>,
    /// The value of $private_ipv6 [env: COREOS_PRIVATE_IPV6]
    #[arg(long, value_name = "ADDRESS", value_parser = ipv6)]
    private_ipv6: Option<String>,
}

fn ipv4(text: &str) -> Result<String, String> {
    address::<Ipv4Addr>(text, "an IPv4 address such as 10.0.0.4")
}

fn ipv6(text: &str) -> Result<String, String> {
    address::<Ipv6Addr>(text, "an IPv6 address such as 2001:db8::4")
}

/// Checks an address, and keeps its spelling.
fn address<A: FromStr>(text: &str, expected: &str) -> Result<String, String> {
    match text.parse::<A>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("found {text:?}, expected {expected}")),
    }
}

impl AddressArgs {
    /// Returns the addresses from flags, else from the platform, else from the environment.
    fn addresses(&self, platform: Addresses) -> Addresses {
        let given = Addresses {
            public_ipv4: self.public_ipv4.clone(),
            private_ipv4: self.private_ipv4.clone(),
            public_ipv6: self.public_ipv6.clone(),
            private_ipv6: self.private_ipv6.clone(),
        };
        let environment = Addresses::from_environment(|name| std::env::var(name).ok());
        given.or(platform).or(environment)
    }
}

/// Runs one of the commands.
///
/// # Errors
/// When the document has errors or cannot be read, or cannot be applied.
pub async fn run(args: &Args, common: &CommonArgs) -> Result<(), Failure> {
    match &args.command {
        Command::Validate(args) => validate(args, common).await,
        Command::Schema => output::json(&cloud_config::json_schema()),
        Command::Plan(args) => apply::plan(args, common).await,
        Command::Apply(args) => apply::apply(args, common).await,
        Command::Revert(args) => apply::revert(args, &common.root()).await,
        Command::History(args) => apply::history(args, &common.root()),
    }
}

/// A diagnostic in JSON.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    diagnostic: Diagnostic,
    /// The file, if several are validated.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// The file name of its MIME part.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<String>,
}

#[derive(Serialize)]
struct Shape {
    #[serde(rename = "findings")]
    diagnostics: Vec<Shown>,
}

/// The diagnostics of one part, and its text.
struct Checked {
    part: Option<String>,
    lines_before: u64,
    text: String,
    diagnostics: Vec<Diagnostic>,
}

/// Validates all files that a person names; of other sources, the first one that is available.
async fn validate(args: &ValidateArgs, common: &CommonArgs) -> Result<(), Failure> {
    let all = args.sources.files_apart();
    let mut checked = Vec::new();
    let mut failures = Vec::new();
    for sources in &all {
        let fetched = match sources.fetch(common).await {
            Ok(fetched) => fetched,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        let addresses = args.addresses.addresses(fetched.metadata.addresses);
        let these = check_all(fetched.user_data, &addresses, Mode::Own);
        let count = |level| {
            let diagnostics = these.iter().flat_map(|one| &one.diagnostics);
            diagnostics
                .filter(|diagnostic| diagnostic.level == level)
                .count()
        };
        let (errors, warnings) = (count(Level::Error), count(Level::Warning));
        if errors > 0 || (args.strict && warnings > 0) {
            let text = format!(
                "{}: {}, {}",
                fetched.origin,
                counted(errors, "error"),
                counted(warnings, "warning")
            );
            failures.push(Failure::new(Exit::Failed, text));
        }
        checked.extend(these.into_iter().map(|one| (fetched.origin.clone(), one)));
    }
    if checked.is_empty() && !failures.is_empty() {
        // There is no document to report about.
    } else if args.json {
        let shown = |(name, one): &'_ (String, Checked)| {
            let source = (all.len() > 1).then(|| name.clone());
            let part = one.part.clone();
            let diagnostics = one.diagnostics.iter().cloned();
            diagnostics
                .map(|diagnostic| Shown {
                    diagnostic,
                    source: source.clone(),
                    part: part.clone(),
                })
                .collect::<Vec<_>>()
        };
        output::json(&Shape {
            diagnostics: checked.iter().flat_map(shown).collect(),
        })?;
    } else {
        for (name, one) in &checked {
            let name = match &one.part {
                Some(part) => format!("{name} ({part})"),
                None => name.clone(),
            };
            output::print(&cloud_config::print(
                &one.diagnostics,
                &name,
                &one.text,
                one.lines_before,
            ))?;
        }
    }
    // A file that cannot be read is worse than errors.
    let exit = failures.iter().map(|failure| failure.exit).max();
    let Some(exit) = exit else { return Ok(()) };
    let texts: Vec<String> = failures.iter().map(Failure::to_string).collect();
    Err(Failure::new(exit, texts.join("\npointsman: ")))
}

/// Validates user data, part by part.
fn check_all(user_data: Vec<u8>, addresses: &Addresses, mode: Mode) -> Vec<Checked> {
    match cloud_config::parts(user_data) {
        Ok(parts) => parts
            .into_iter()
            .map(|part| check(part, addresses, mode))
            .collect(),
        Err(error) => vec![refused(&error)],
    }
}

/// Returns the diagnostics of user data in compatibility mode, in order.
pub(super) fn diagnostics(user_data: Vec<u8>, addresses: &Addresses) -> Vec<Diagnostic> {
    let checked = check_all(user_data, addresses, Mode::Compatible);
    checked
        .into_iter()
        .flat_map(|one| one.diagnostics)
        .collect()
}

fn check(part: Part, addresses: &Addresses, mode: Mode) -> Checked {
    let mut diagnostics: Vec<Diagnostic> = part.skipped().into_iter().collect();
    let text = match part.content {
        PartContent::CloudConfig(text) => {
            diagnostics = cloud_config::read(&text, addresses, Unknown::Info, mode).diagnostics;
            for diagnostic in &mut diagnostics {
                diagnostic.line += part.lines_before;
            }
            text
        }
        // Scripts are not validated.
        PartContent::Script(_) | PartContent::Skipped(_) => String::new(),
    };
    Checked {
        part: part.name,
        lines_before: part.lines_before,
        text,
        diagnostics,
    }
}

/// Reports user data that could not be read.
fn refused(error: &UserDataError) -> Checked {
    Checked {
        part: None,
        lines_before: 0,
        text: String::new(),
        diagnostics: vec![error.diagnostic()],
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
