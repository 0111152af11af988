//! `pointsman import-locksmith`.

use host::{
    http::{Http, Limits},
    node::Group,
};
use semaphore::{document::Document, etcd::Imported, records::Holder, v2};

use super::{
    Context, Exit, Failure,
    lock::by_hand,
    names, output,
    table::{cells, table, trimmed},
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// URL of the etcd whose v2 API has locksmith's locks: http(s)://host:port. Without it: the configured etcd.
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// Copy them. Without it: only show them.
    #[arg(long)]
    yes: bool,
}

/// The reason that stands at the holders copied.
const WHY: &str = "held locksmith's lock when it was copied";

/// The most the whole tree of locks may take: a thousand groups of a thousand holders.
const MOST: usize = 64 << 20;

/// Copies the locks that are not there yet, after showing all of them.
///
/// # Errors
/// When either etcd cannot be read, or a group already has another reboot lock.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let locks = locksmiths(context, args.from.as_deref()).await?;
    if locks.is_empty() {
        return output::say("There are no locks of locksmith. Nothing to copy.");
    }
    let mut shown = table(&["GROUP", "MAX", "HOLDERS", "ACTION"]);
    let (mut new, mut others) = (Vec::new(), Vec::new());
    for (group, lock) in locks {
        let there = context.semaphore_of(group.clone())?.read().await?.document;
        let todo = match &there {
            None => "copy".to_owned(),
            Some(Ok(there)) if same(there, &lock) => "none, already copied".to_owned(),
            Some(Ok(there)) => {
                others.push(name(&group));
                format!("differs: max {}, held by {}", there.max, held_by(there))
            }
            Some(Err(error)) => {
                others.push(name(&group));
                format!("cannot be used: {error}")
            }
        };
        shown.add_row(cells(vec![
            name(&group),
            lock.max.to_string(),
            held_by(&lock),
            todo,
        ]));
        if there.is_none() {
            new.push((group, lock));
        }
    }
    output::say(trimmed(&shown))?;
    if !others.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "nothing is copied: the reboot lock of {} is already in use, and differs from locksmith's",
                others.join(", ")
            ),
        )
        .remedy("change it (also with `lock` and `unlock`)", context.command("set-max N")));
    }
    if new.is_empty() {
        return Ok(());
    }
    if !args.yes {
        let mut again = "import-locksmith --yes".to_owned();
        if let Some(from) = &args.from {
            again += &format!(" --from {}", output::word(from));
        }
        return output::say(format!(
            "\nNothing was changed. To copy: {}",
            context.command(&again)
        ));
    }
    for (group, lock) in new {
        let entries: Vec<Holder> = lock
            .holders
            .iter()
            .map(|id| by_hand(context, id, WHY.to_owned()))
            .collect::<Result<_, _>>()?;
        let imported = context
            .semaphore_of(group.clone())?
            .import(&lock, &entries)
            .await?;
        match imported {
            Imported::Copied => output::say(format!("Copied: {}", name(&group)))?,
            Imported::InUse => {
                return Err(Failure::new(
                    Exit::Failed,
                    format!(
                        "{} is not copied: its reboot lock was used meanwhile",
                        name(&group)
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// The locks, from the first endpoint that has the v2 API.
async fn locksmiths(
    context: &Context,
    from: Option<&str>,
) -> Result<Vec<(Group, Document)>, Failure> {
    let etcd = context.config.etcd_options()?;
    let unreachable = |error: String| Failure::new(Exit::Unreachable, error);
    let http = Http::new(etcd.tls.as_ref(), &Limits::one(etcd.timeout, MOST))
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let endpoints = match from {
        Some(url) => vec![url.trim_end_matches('/').to_owned()],
        None => etcd.endpoints.clone(),
    };
    let mut errors = Vec::new();
    for endpoint in endpoints {
        match v2::read(&http, &endpoint, etcd.user.as_ref()).await {
            Ok(locks) => return Ok(locks),
            // It is there and cannot be used: another member would say the same.
            Err(error @ (v2::V2Error::Document { .. } | v2::V2Error::Group { .. })) => {
                return Err(Failure::new(Exit::Failed, error.to_string()));
            }
            Err(error) => errors.push(error.to_string()),
        }
    }
    Err(unreachable(format!(
        "locksmith's locks cannot be read:\n  {}",
        errors.join("\n  ")
    )))
}

fn same(a: &Document, b: &Document) -> bool {
    (a.max, &a.holders) == (b.max, &b.holders)
}

fn name(group: &Group) -> String {
    names::group(group.as_str())
}

fn held_by(lock: &Document) -> String {
    match lock.holders.as_slice() {
        [] => "nobody".into(),
        holders => holders.join(", "),
    }
}
