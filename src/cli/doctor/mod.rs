//! `pointsman doctor`: what a person who helps would ask first, and what to do about each.

mod bundle;
mod facts;
mod finding;
mod judge;
mod look;
mod redact;

use std::path::PathBuf;

use serde::Serialize;

use super::{Context, Exit, Failure, common::JsonArgs, config::InForce, output};
use facts::Facts;
use finding::{Finding, Level, render, worst};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    json: JsonArgs,
    /// Also write all that was found into this new tar archive, with status, history, journal and log, and without passwords,
    /// tokens, webhooks and keys
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

/// What `--json` shows.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    /// The worst of all.
    level: Level,
    /// Each thing that was looked at.
    findings: &'a [Finding],
    /// Every setting, its value and where that is from.
    configuration: &'a [InForce],
}

/// Looks at all of it. Nothing is changed.
///
/// # Errors
/// When something does not work, by the exit code; when it cannot be printed, or the archive cannot be written.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let mut archive = args
        .bundle
        .as_deref()
        .map(bundle::Archive::create)
        .transpose()?;
    let facts = look::look(context).await;
    let findings = judge::judge(&facts, &|words| context.command(words));
    let level = worst(&findings);
    let shown = Shown {
        level,
        findings: &findings,
        configuration: &facts.configuration.settings,
    };
    if let Some(archive) = &mut archive {
        fill(context, archive, &facts, &shown).await?;
    }
    match args.json.json {
        true => output::json(&shown)?,
        false => output::print(&render(&findings))?,
    }
    if let Some(archive) = archive {
        archive.finish()?;
    }
    match level {
        Level::Error => Err(Failure::new(Exit::Failed, String::new())),
        Level::Ok | Level::Warning => Ok(()),
    }
}

/// Writes what was found, and what a person who helps asks for next.
async fn fill(
    context: &Context,
    archive: &mut bundle::Archive,
    facts: &Facts,
    shown: &Shown<'_>,
) -> Result<(), Failure> {
    let redact = redact::Redactor::new(&bundle::secrets(&context.config));
    let mut files = vec![
        ("doctor.txt", render(shown.findings)),
        ("doctor.json", output::to_json(shown)),
    ];
    files.extend(bundle::collect(context, &facts.shown_now).await);
    let mut files = files.iter();
    files.try_for_each(|(name, text)| archive.add(name, &redact.file(name, text)))
}
