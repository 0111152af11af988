//! `pointsman history`.

pub(super) mod cluster;
pub(super) mod timeline;

use std::time::Duration;

use host::{duration, node};
use jiff::Timestamp;
use semaphore::records::ImageId;

use super::{
    Context, Exit, Failure,
    common::JsonArgs,
    output,
    table::{cells, table, trimmed},
};
use crate::agent::history::file::{self, Read};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show only the last N
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Show only what happened in this time, such as 12h
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    since: Option<Duration>,
    /// Show what happened in the cluster: how the last reboot of every node ended, and what people did
    #[arg(long)]
    cluster: bool,
    /// With --cluster: every group under the key prefix, not only this node's
    #[arg(long, requires = "cluster")]
    all_groups: bool,
    /// With --cluster: write it to this file as a picture (SVG)
    #[arg(
        long,
        value_name = "FILE",
        requires = "cluster",
        conflicts_with = "json"
    )]
    svg: Option<std::path::PathBuf>,
    #[command(flatten)]
    json: JsonArgs,
}

/// Shows what happened on this node, or in the cluster; the latest last.
///
/// # Errors
/// When the file cannot be read; with `--cluster`, when etcd cannot be reached.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let now = Timestamp::now();
    let from = args
        .since
        .map(|since| now.saturating_sub(since).unwrap_or(Timestamp::MIN));
    if args.cluster {
        return cluster::run(context, args, from).await;
    }
    let path = file::path(&context.config.root);
    let Read {
        mut events,
        damaged,
    } = file::read(&path).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("{path}: the history cannot be read: {error}"),
        )
    })?;
    for line in damaged {
        output::note(format!(
            "pointsman: {path}:{line}: found no event, expected a JSON object; the line is left out"
        ));
    }
    events.retain(|happened| from.is_none_or(|from| happened.time >= from));
    latest(&mut events, args.limit);
    if args.json.json {
        return output::json(&events);
    }
    if events.is_empty() {
        return output::say("Nothing is recorded.");
    }
    let zone = node::time_zone(&context.config.root);
    let mut shown = table(&["WHEN", "EVENT", "FROM", "TO", "TOOK", "REASON"]);
    for happened in &events {
        shown.add_row(cells(vec![
            host::time::shown(happened.time, &zone),
            happened.event.word().replace('-', " "),
            image(happened.from.as_ref()),
            image(happened.to.as_ref()),
            happened.took().map_or("-".into(), duration::print),
            or_dash(&happened.reason),
        ]));
    }
    output::say(trimmed(&shown))
}

/// Keeps so many, the last ones.
fn latest<T>(all: &mut Vec<T>, limit: u32) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    all.drain(..all.len().saturating_sub(limit));
}

fn image(image: Option<&ImageId>) -> String {
    let known = image.filter(|image| **image != ImageId::default());
    known.map_or("-".into(), ToString::to_string)
}

fn or_dash(text: &str) -> String {
    if text.is_empty() {
        "-".into()
    } else {
        text.to_owned()
    }
}
