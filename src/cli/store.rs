//! `pointsman store`: whether etcd was restored or exchanged, and a person's decision to continue with its present content.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use host::node;
use semaphore::{
    etcd::{Accept, Group, StoreLook},
    records::{Accepted, Known, NodeRecord, Pause},
};
use serde::Serialize;

use super::{
    Context, Exit, Failure,
    common::JsonArgs,
    names, output,
    pause::{person, sentence},
    table::{cells, table, trimmed},
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do. Without it: `show`.
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show which etcd answers, whether agents stopped because it changed, and what they knew before.
    Show(JsonArgs),
    /// Continue with the present content of etcd, and end the stop with this id. Without an id: only if no agent has stopped,
    /// as in a new cluster.
    Accept(AcceptArgs),
}

#[derive(Debug, clap::Args)]
struct AcceptArgs {
    /// Id of the stop, which `pointsman store` shows.
    id: Option<String>,
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
    /// The reason, which is kept in etcd.
    #[arg(long, value_parser = sentence)]
    reason: Option<String>,
}

/// What is shown.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    /// The id of the cluster, hexadecimal.
    cluster: String,
    /// Its revision.
    revision: i64,
    /// How it was accepted last.
    accepted: Option<&'a Accepted>,
    /// The pause that only `accept` ends.
    stopped: Option<&'a Pause>,
    /// What agents knew that stopped.
    nodes: &'a [NodeRecord],
}

/// Shows, or accepts.
///
/// # Errors
/// When etcd cannot be reached, the endpoints lead to several clusters, or the id is not that of the stop.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    match &args.command {
        None => show(context, JsonArgs::default()).await,
        Some(Command::Show(args)) => show(context, *args).await,
        Some(Command::Accept(args)) => accept(context, args).await,
    }
}

fn stopped(look: &StoreLook) -> Option<&Pause> {
    look.pause_all
        .as_ref()
        .filter(|pause| pause.store.is_some())
}

async fn show(context: &Context, args: JsonArgs) -> Result<(), Failure> {
    let look = context.semaphore()?.store().await?;
    if args.json {
        return output::json(&Shown {
            cluster: format!("{:x}", look.cluster),
            revision: look.revision,
            accepted: look.accepted.as_ref(),
            stopped: stopped(&look),
            nodes: &look.nodes,
        });
    }
    print(context, &look).await?;
    match stopped(&look).and_then(|pause| pause.store.as_ref()) {
        None => output::say("No agent has found that etcd was restored or exchanged."),
        Some(found) => output::say(format!(
            "\nNo node takes or releases the reboot lock until a person decides.\n\
             Which nodes are out of service now, but are not under OUT in the rows \"etcd says\"? Correct this first (lock, pause, \
             quarantine add, set-max).\n\
             Then continue: {}",
            context.command(&format!("store accept {}", output::word(&found.id)))
        )),
    }
}

/// Prints which store it is, and what agents knew beside what it says.
async fn print(context: &Context, look: &StoreLook) -> Result<(), Failure> {
    output::say(format!(
        "etcd: cluster {:x}, revision {}",
        look.cluster, look.revision
    ))?;
    if let Some(accepted) = &look.accepted {
        let since = accepted.since.map_or(String::new(), |since| {
            format!(" at {}", context.time(since))
        });
        output::say(format!(
            "Accepted by {}{since}: {}",
            output::in_line(&accepted.by),
            output::in_line(&accepted.reason)
        ))?;
    }
    let Some(found) = stopped(look).and_then(|pause| pause.store.as_ref()) else {
        return Ok(());
    };
    output::say(format!(
        "STOPPED ({}), found by {}: {}\n",
        output::in_line(&found.id),
        output::in_line(&found.hostname),
        output::in_line(&found.reason)
    ))?;
    let mut shown = table(&["", "GROUP", "MAX", "OUT", "PAUSED", "QUARANTINED"]);
    let mut groups = context.semaphore()?.groups().await?;
    for node in &look.nodes {
        let group = node::Group::new(&node.group).unwrap_or_default();
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    for group in groups {
        let read = context.semaphore_of(group.clone())?.read().await?;
        shown.add_row(cells(now(&group, &read)));
        let of_group = |node: &&NodeRecord| node.group == group.as_str();
        for node in look.nodes.iter().filter(of_group) {
            shown.add_row(cells(knew(node, &read.nodes)));
        }
    }
    output::say(trimmed(&shown))
}

fn or_none(list: &[String]) -> String {
    if list.is_empty() {
        "-".into()
    } else {
        list.join(", ")
    }
}

/// A node by its host name and id, where the name is known.
fn named(id: &str, nodes: &[NodeRecord]) -> String {
    let record = nodes.iter().find(|node| node.id == id);
    names::named(record.map_or("", |node| &node.hostname), id)
}

/// What the store says of a group now.
fn now(group: &node::Group, read: &Group) -> Vec<String> {
    let max = match &read.document {
        Some(Ok(document)) => document.max.to_string(),
        Some(Err(_)) => "unreadable".into(),
        None => "no document".into(),
    };
    let out: Vec<String> = read
        .holders
        .iter()
        .map(|held| named(&held.id, &read.nodes))
        .collect();
    let pauses = [&read.pause_all, &read.pause];
    let pauses: Vec<String> = pauses.into_iter().flatten().map(paused).collect();
    let quarantined: Vec<String> = read
        .quarantine
        .iter()
        .map(|one| one.what.to_string())
        .collect();
    vec![
        "etcd says".into(),
        names::group(group.as_str()),
        max,
        or_none(&out),
        or_none(&pauses),
        or_none(&quarantined),
    ]
}

/// What a node knew before.
fn knew(node: &NodeRecord, nodes: &[NodeRecord]) -> Vec<String> {
    let known = node.knew.clone().unwrap_or_default();
    let Known {
        holding,
        max,
        mut holders,
        pause_all,
        pause,
        quarantines,
    } = known;
    if holding && !holders.contains(&node.id) {
        holders.push(node.id.clone());
    }
    let holders: Vec<String> = holders.iter().map(|id| named(id, nodes)).collect();
    let pauses: Vec<String> = [pause_all, pause].iter().flatten().map(paused).collect();
    vec![
        format!("{} knew", node.hostname),
        names::group(&node.group),
        max.map_or("-".into(), |max| max.to_string()),
        or_none(&holders),
        or_none(&pauses),
        or_none(&quarantines),
    ]
}

fn paused(pause: &Pause) -> String {
    format!("by {}: {}", pause.author(), pause.reason)
}

async fn accept(context: &Context, args: &AcceptArgs) -> Result<(), Failure> {
    let semaphore = context.semaphore()?;
    let look = semaphore.store().await?;
    print(context, &look).await?;
    let found = stopped(&look).and_then(|pause| pause.store.as_ref());
    let again = |id: &str| {
        let id = if id.is_empty() {
            String::new()
        } else {
            format!(" {}", output::word(id))
        };
        context.command(&format!("store accept{id}"))
    };
    match (found, &args.id) {
        (Some(found), Some(id)) if found.id == *id => {}
        (None, None) => output::say("No agent has stopped.")?,
        (Some(found), Some(id)) => {
            return Err(Failure::new(
                Exit::Refused,
                format!(
                    "not accepted: the id of the stop is {}, not {}",
                    output::in_line(&found.id),
                    output::in_line(id),
                ),
            )
            .remedy("accept", again(&found.id)));
        }
        (Some(found), None) => {
            return Err(
                Failure::new(Exit::Usage, "not accepted: the id of the stop is missing")
                    .remedy("accept", again(&found.id)),
            );
        }
        (None, Some(id)) => {
            return Err(Failure::new(
                Exit::Refused,
                format!(
                    "not accepted: no agent has stopped with the id {}",
                    output::in_line(id)
                ),
            )
            .remedy("accept this etcd before the first agent starts", again("")));
        }
    }
    let answer = if args.yes { Some(true) } else { asked()? };
    if answer != Some(true) {
        let why = match answer {
            Some(_) => "",
            None => ": standard input is not a terminal, so nobody can confirm",
        };
        return Err(
            Failure::new(Exit::Refused, format!("not accepted{why}")).remedy(
                "accept without confirmation",
                format!("{} --yes", again(args.id.as_deref().unwrap_or_default())),
            ),
        );
    }
    let by = person(context);
    let reason = args
        .reason
        .clone()
        .unwrap_or_else(|| format!("accepted by {by}"));
    match semaphore.accept(args.id.as_deref(), &by, &reason).await? {
        Accept::Done(_) => {
            output::say("Accepted. The agents continue with the present content of etcd.")?
        }
        Accept::NotThat(_) => {
            return Err(Failure::new(
                Exit::Refused,
                "not accepted: the stop has changed meanwhile",
            )
            .remedy("look again", context.command("store")));
        }
    }
    let left = semaphore.read_holders().await?;
    if let Some(pause) = &left.pause_all {
        output::say(format!(
            "The whole cluster is still paused {}. To end that pause: {}",
            output::in_line(&paused(pause)),
            context.command("resume --all")
        ))?;
    }
    Ok(())
}

/// Whether the person says yes.
fn asked() -> Result<Option<bool>, Failure> {
    if !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, error.to_string());
    let mut err = std::io::stderr().lock();
    write!(err, "\nContinue with the present content of etcd? [y/N] ")
        .and_then(|()| err.flush())
        .map_err(failed)?;
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(failed)?;
    Ok(Some(matches!(line.trim(), "y" | "Y" | "yes")))
}
