//! `pointsman cloud-config`: documents that configure a node.

mod apply;

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

use serde::Serialize;

use super::{Exit, Failure, common::CommonArgs, output};
use crate::cloud_config::{
    self, Addresses, Finding, LARGEST, Level, Part, PartContent, Unknown, UserDataError,
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say everything that is wrong with a document, each with its place. Exit 0 without errors, 1 with.
    Validate(ValidateArgs),
    /// Print a JSON Schema of the document, for editors.
    Schema,
    /// Show what a document would change on this machine. Exit 0 when there is nothing to do, 10 when there is.
    Plan(PlanArgs),
    /// Do what `plan` shows. If a step fails, what was done is undone.
    Apply(ApplyArgs),
    /// Take the last apply back.
    Revert(RevertArgs),
    /// List the applies there were, the last one first.
    History(HistoryArgs),
}

#[derive(Debug, clap::Args)]
struct ValidateArgs {
    /// The document, or user data that holds some: a file, or - for standard input.
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// Warnings are errors.
    #[arg(long)]
    strict: bool,
    /// Print JSON; its shape is in docs/commands.md and stays.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    addresses: AddressArgs,
}

#[derive(Debug, clap::Args)]
struct PlanArgs {
    /// The document, or user data that holds some: a file, or - for standard input.
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// Print JSON; its shape is in docs/commands.md and stays.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    addresses: AddressArgs,
}

#[derive(Debug, clap::Args)]
struct ApplyArgs {
    /// The document, or user data that holds some: a file, or - for standard input.
    #[arg(value_name = "SRC")]
    source: PathBuf,
    #[command(flatten)]
    addresses: AddressArgs,
}

#[derive(Debug, clap::Args)]
struct RevertArgs {
    /// Take back also what somebody has changed since.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
struct HistoryArgs {
    /// Print JSON; its shape is in docs/commands.md and stays.
    #[arg(long)]
    json: bool,
}

/// The addresses that a document may leave open.
#[derive(Debug, clap::Args)]
struct AddressArgs {
    /// What $public_ipv4 stands for [env: COREOS_PUBLIC_IPV4]
    #[arg(long, value_name = "ADDRESS")]
    public_ipv4: Option<String>,
    /// What $private_ipv4 stands for [env: COREOS_PRIVATE_IPV4]
    #[arg(long, value_name = "ADDRESS")]
    private_ipv4: Option<String>,
    /// What $public_ipv6 stands for [env: COREOS_PUBLIC_IPV6]
    #[arg(long, value_name = "ADDRESS")]
    public_ipv6: Option<String>,
    /// What $private_ipv6 stands for [env: COREOS_PRIVATE_IPV6]
    #[arg(long, value_name = "ADDRESS")]
    private_ipv6: Option<String>,
}

impl AddressArgs {
    /// The addresses from flags, else from the environment.
    fn addresses(&self) -> Addresses {
        let environment = Addresses::from_environment(|name| std::env::var(name).ok());
        Addresses {
            public_ipv4: self.public_ipv4.clone().or(environment.public_ipv4),
            private_ipv4: self.private_ipv4.clone().or(environment.private_ipv4),
            public_ipv6: self.public_ipv6.clone().or(environment.public_ipv6),
            private_ipv6: self.private_ipv6.clone().or(environment.private_ipv6),
        }
    }
}

/// Runs one of the commands.
///
/// # Errors
/// When the document has errors or cannot be read, or cannot be applied.
pub async fn run(args: &Args, common: &CommonArgs) -> Result<(), Failure> {
    match &args.command {
        Command::Validate(args) => validate(args),
        Command::Schema => output::json(&cloud_config::json_schema()),
        Command::Plan(args) => apply::plan(args, &common.root()).await,
        Command::Apply(args) => apply::apply(args, &common.root()).await,
        Command::Revert(args) => apply::revert(args, &common.root()).await,
        Command::History(args) => apply::history(args, &common.root()),
    }
}

/// A finding as JSON shows it.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    finding: &'a Finding,
    /// The file name of the part that it is in, in MIME.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<&'a str>,
}

#[derive(Serialize)]
struct Shape<'a> {
    findings: Vec<Shown<'a>>,
}

/// What was found in one part, and the text it stands in.
struct Checked {
    part: Option<String>,
    lines_before: u64,
    text: String,
    findings: Vec<Finding>,
}

/// What is to be read: its name for people, and its bytes.
fn take(source: &PathBuf) -> Result<(String, Vec<u8>), Failure> {
    let name = match source.to_str() {
        Some("-") => "standard input".to_owned(),
        _ => source.display().to_string(),
    };
    match content(source) {
        Ok(bytes) => Ok((name, bytes)),
        Err(error) => Err(Failure::new(Exit::Usage, format!("{name}: {error}"))),
    }
}

fn validate(args: &ValidateArgs) -> Result<(), Failure> {
    let (name, bytes) = take(&args.source)?;
    let addresses = args.addresses.addresses();
    let checked = match cloud_config::parts(bytes) {
        Ok(parts) => parts
            .into_iter()
            .map(|part| check(part, &addresses))
            .collect(),
        Err(error) => vec![refused(&error)],
    };
    let shown = || {
        checked
            .iter()
            .flat_map(|c| c.findings.iter().map(move |f| (c, f)))
    };
    if args.json {
        let findings = shown().map(|(c, finding)| Shown {
            finding,
            part: c.part.as_deref(),
        });
        let shape = Shape {
            findings: findings.collect(),
        };
        output::json(&shape)?;
    } else {
        for one in &checked {
            let name = match &one.part {
                Some(part) => format!("{name} ({part})"),
                None => name.clone(),
            };
            output::print(&cloud_config::print(
                &one.findings,
                &name,
                &one.text,
                one.lines_before,
            ))?;
        }
    }
    let count = |level| {
        shown()
            .filter(|(_, finding)| finding.level == level)
            .count()
    };
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    if errors > 0 || (args.strict && warnings > 0) {
        let text = format!(
            "{name}: {}, {}",
            counted(errors, "error"),
            counted(warnings, "warning")
        );
        return Err(Failure::new(Exit::Failed, text));
    }
    Ok(())
}

fn check(part: Part, addresses: &Addresses) -> Checked {
    let (text, mut findings) = match part.content {
        PartContent::CloudConfig(text) => {
            let findings = cloud_config::read(&text, addresses, Unknown::Info).findings;
            (text, findings)
        }
        // What a script does is not for us to say.
        PartContent::Script(_) => (String::new(), Vec::new()),
    };
    for finding in &mut findings {
        finding.line += part.lines_before;
    }
    Checked {
        part: part.name,
        lines_before: part.lines_before,
        text,
        findings,
    }
}

/// User data that could not be taken apart.
fn refused(error: &UserDataError) -> Checked {
    Checked {
        part: None,
        lines_before: 0,
        text: String::new(),
        findings: vec![error.finding()],
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// What a file or standard input holds, one byte more than the most at most.
fn content(source: &PathBuf) -> io::Result<Vec<u8>> {
    let (input, size): (Box<dyn Read>, u64) = match source.to_str() {
        Some("-") => (Box::new(io::stdin()), 0),
        _ => {
            let file = File::open(source)?;
            let size = file.metadata()?.len();
            (Box::new(file), size)
        }
    };
    let size = usize::try_from(size.min(LARGEST)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(size + 1);
    input.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
