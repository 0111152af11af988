//! `status --watch`: what `status` shows, as it changes. One watch on etcd and the signals of this node's agent say when to read
//! again; nothing is asked while nothing changes.

mod lines;
mod screen;

use std::{io::IsTerminal as _, time::Duration};

use host::node;
use jiff::Timestamp;
use semaphore::etcd::{Changes, Semaphore};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::sleep,
};

use super::{Args, Status, gather::gather_over};
use crate::{
    agent::bus::{self, AgentClient},
    cli::{Context, Exit, Failure, output, waves},
};

/// How long changes are gathered before it is read again: a step of a node changes several keys one after another.
const SETTLE: Duration = Duration::from_millis(100);

/// What was read, and when.
struct Look {
    status: Status,
    /// The groups that open waves or wait for them, as people read them.
    waves: String,
    at: Timestamp,
}

/// Shows it until it is told to end.
pub(super) async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let semaphore = context.semaphore()?;
    let (looks, looked) = mpsc::channel(1);
    let feeding = feed(context, &semaphore, args.all_groups, looks);
    let showing = async {
        let on_a_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
        match (args.json.json, on_a_terminal) {
            (true, _) => json(looked).await,
            (false, false) => plain(context, looked).await,
            (false, true) => screen::show(context, looked).await,
        }
    };
    tokio::select! {
        () = feeding => Ok(()),
        shown = showing => shown,
    }
}

/// Reads whenever something has changed, for as long as somebody shows it.
async fn feed(
    context: &Context,
    semaphore: &Semaphore,
    all_groups: bool,
    looks: mpsc::Sender<Look>,
) {
    let mut changes = Changes::default();
    let mut agent = agent(context).await;
    loop {
        // Where it cannot be watched, it cannot be read either, and that says why.
        let _ = changes.begin(semaphore).await;
        let at = Timestamp::now();
        let (status, _) = gather_over(context, Ok(semaphore), all_groups).await;
        let in_waves = |group: &super::GroupStatus| {
            let policy = group.policy.as_ref();
            policy.is_some_and(|policy| policy.wave_soak.is_some() || !policy.after.is_empty())
        };
        let waves = match status.groups.iter().any(in_waves) {
            true => waves::read(context, semaphore).await.unwrap_or_default(),
            false => String::new(),
        };
        if looks.send(Look { status, waves, at }).await.is_err() {
            return;
        }
        tokio::select! {
            () = changes.next(semaphore) => {}
            gone = agent_changed(agent.as_mut()) => if gone { agent = None },
        }
        sleep(SETTLE).await;
        if agent.is_none() {
            agent = self::agent(context).await;
        }
    }
}

/// The doings of this node's agent; none where none runs.
async fn agent(context: &Context) -> Option<bus::Changes> {
    let client = AgentClient::connect(&context.config.root).await.ok()?;
    let mut changes = client.changes().await.ok()?;
    // What holds now is read anyhow.
    changes.next().await?;
    Some(changes)
}

/// Waits until the agent says something new; whether it is gone.
async fn agent_changed(agent: Option<&mut bus::Changes>) -> bool {
    match agent {
        Some(changes) => changes.next().await.is_none(),
        None => std::future::pending().await,
    }
}

/// A JSON object on each line.
async fn json(mut looks: mpsc::Receiver<Look>) -> Result<(), Failure> {
    while let Some(look) = looks.recv().await {
        if !output::json_line(&look.status)? {
            break;
        }
    }
    Ok(())
}

/// The status, and then a line for each change.
async fn plain(context: &Context, mut looks: mpsc::Receiver<Look>) -> Result<(), Failure> {
    let zone = node::time_zone(&context.config.root);
    let mut before: Option<Status> = None;
    while let Some(look) = looks.recv().await {
        let text = match &before {
            None => {
                let away = look
                    .status
                    .etcd_error
                    .as_deref()
                    .map(host::text::in_a_sentence);
                let away = away.map(|why| format!("{why}\n\n")).unwrap_or_default();
                away + &super::render(&look.status, super::Queue::Whole, &look.at, &zone)
            }
            Some(before) => {
                let at = host::time::shown(look.at, &zone);
                let lines = lines::changes(before, &look.status);
                lines
                    .iter()
                    .map(|line| format!("{at}  {}\n", output::in_line(line)))
                    .collect()
            }
        };
        if !text.is_empty() && !output::print_to_a_reader(&text)? {
            break;
        }
        before = Some(look.status);
    }
    Ok(())
}

/// Ends with the signals that end a command.
async fn ended() -> Result<(), Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::new(Exit::Failed, error.to_string()));
    let (mut terminate, mut interrupt, mut hangup) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
        listen(SignalKind::hangup())?,
    );
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}
