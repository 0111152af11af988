//! `pointsman acts`.

use semaphore::acts::{Act, KEPT};

use super::{
    Context, Failure,
    common::JsonArgs,
    names, output,
    table::{cells, table, trimmed},
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show only the last N
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=MOST))]
    limit: u16,
    #[command(flatten)]
    json: JsonArgs,
}

/// As many as are kept.
const MOST: i64 = KEPT as i64;

/// Shows what people did, the latest last.
///
/// # Errors
/// When etcd cannot be reached.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let mut acts = context.semaphore()?.acts().await?;
    if context.names_the_group() {
        let group = context.config.group.as_str();
        // What is done to the whole cluster is done to the group.
        acts.retain(|act| act.group.as_deref().is_none_or(|name| name == group));
    }
    acts.drain(..acts.len().saturating_sub(usize::from(args.limit)));
    if args.json.json {
        return output::json(&acts);
    }
    if acts.is_empty() {
        return output::say("Nothing is recorded.");
    }
    let mut shown = table(&["WHEN", "BY", "ACT", "GROUP", "TARGET", "REASON"]);
    for act in acts {
        let Act {
            act,
            group,
            target,
            by,
            host,
            reason,
            since,
            ..
        } = act;
        let or_dash = |text: String| match text.as_str() {
            "" => "-".to_owned(),
            _ => text,
        };
        shown.add_row(cells(vec![
            since.map_or("-".into(), |since| context.time(since)),
            format!("{by}@{host}"),
            act,
            group.map_or("(all)".into(), |group| names::group(&group)),
            or_dash(target),
            or_dash(reason),
        ]));
    }
    output::say(trimmed(&shown))
}
