//! Watches what the node's reboots depend on, outside the agent.

use std::{rc::Rc, time::Duration};

use host::{
    bus::BusError,
    logind,
    sentinel::{SentinelError, Sentinels},
    update_engine::{self, Change, Operation, UpdateEngine},
};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::sleep,
};

use super::{
    effects::{EffectRunner, Updates},
    situation::{Facts, NoStatus, Update},
};

/// How long until it is looked again, where nothing wakes for it.
const AGAIN: Duration = Duration::from_secs(10);

/// Watches, as long as it lives.
pub(super) struct Watching {
    facts: mpsc::Receiver<Facts>,
    again: Rc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watching {
    /// The facts at once, and again whenever they change; none when the bus is lost.
    pub(super) async fn next(&mut self) -> Option<Facts> {
        self.facts.recv().await
    }

    /// Looks again: something changed of which nobody sends a signal.
    pub(super) fn again(&self) -> Rc<Notify> {
        self.again.clone()
    }
}

/// Begins to watch.
pub(super) fn watch(runner: Rc<EffectRunner>) -> Watching {
    let (tell, facts) = mpsc::channel(1);
    let again = Rc::new(Notify::new());
    let told = again.clone();
    let task = tokio::task::spawn_local(async move {
        if let Err(error) = run(&runner, &tell, &told).await {
            tracing::error!("{error}");
        }
    });
    Watching { facts, again, task }
}

async fn run(
    runner: &EffectRunner,
    tell: &mpsc::Sender<Facts>,
    told: &Notify,
) -> Result<(), WatchError> {
    // Both listen before the first look: what changes meanwhile is looked at again.
    let mut wakes = logind::Watch::new(&runner.bus).await?;
    let mut source = Source::new(runner)?;
    let Some(first) = source.next().await else {
        return Ok(());
    };
    let mut update = first.update(runner).await;
    let mut logind = runner.logins().await;
    loop {
        let facts = runner.facts(update.clone(), logind.clone()).await;
        // Also when nothing changed: the machine may have looked for itself meanwhile, and seen otherwise.
        if tell.send(facts).await.is_err() {
            return Ok(());
        }
        let unreadable = matches!(update, Update::Unusable(_));
        let again = unreadable || logind.as_ref().map_or(true, |now| now.going_down);
        tokio::select! {
            // What it means is read from the disk, which takes its time: not here, where another wake would drop it.
            next = source.next() => match next {
                Some(next) => update = next.update(runner).await,
                None => return Ok(()),
            },
            wake = wakes.next() => match wake {
                Some(()) => logind = runner.logins().await,
                None => return Ok(()),
            },
            () = told.notified() => update = runner.update().await,
            () = no_longer_staged(runner), if is_staged(runner, &update) => update = runner.update().await,
            // Nothing may wake for the next look: a failed one is no answer, and nobody signals that a shutdown which
            // only systemd knew of was called off.
            () = sleep(AGAIN), if again => {
                logind = runner.logins().await;
                if unreadable {
                    update = runner.update().await;
                }
            }
        }
    }
}

fn is_staged(runner: &EffectRunner, update: &Update) -> bool {
    runner.updates == Updates::Engine && matches!(update, Update::Staged(_))
}

/// Ends when update_engine says that nothing is staged any more: of a reset it sends no signal. Only the status is read for
/// this, not the slot.
async fn no_longer_staged(runner: &EffectRunner) {
    let engine = UpdateEngine::new(&runner.bus);
    let retry = runner.config.timings.retry_max;
    let period = retry.clamp(Duration::from_secs(1), AGAIN);
    loop {
        sleep(period).await;
        // One that does not answer is watched elsewhere.
        if let Ok(status) = engine.get_status().await
            && status.operation != Operation::UpdatedNeedReboot
        {
            return;
        }
    }
}

/// Why the facts cannot be watched.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Sentinel(#[from] SentinelError),
}

enum Source {
    Engine(update_engine::Watch),
    Sentinels(Sentinels, bool),
}

impl Source {
    fn new(runner: &EffectRunner) -> Result<Self, SentinelError> {
        Ok(match &runner.updates {
            Updates::Engine => Self::Engine(UpdateEngine::new(&runner.bus).watch()),
            Updates::Sentinels(paths) => Self::Sentinels(Sentinels::new(paths)?, false),
        })
    }

    /// What there is, at once the first time and then when it changes; none when the bus is lost. Nothing is lost when the
    /// future is dropped.
    async fn next(&mut self) -> Option<News> {
        match self {
            Self::Engine(watch) => watch.next().await.map(News::Engine),
            Self::Sentinels(sentinels, told) => {
                if !std::mem::replace(told, true) {
                    return Some(News::Sentinels(sentinels.exist()));
                }
                match sentinels.changed().await {
                    Ok(there) => Some(News::Sentinels(there)),
                    Err(error) => {
                        tracing::error!("{error}");
                        // Unknown from now on; the node stays up.
                        *told = false;
                        std::future::pending().await
                    }
                }
            }
        }
    }
}

/// What a source tells.
enum News {
    Engine(Change),
    /// Whether a file is there.
    Sentinels(bool),
}

impl News {
    /// What it means for this node.
    async fn update(self, runner: &EffectRunner) -> Update {
        match self {
            Self::Engine(Change::Status(status)) => runner.staged(&status).await,
            Self::Engine(Change::Gone) => Update::Unknown(NoStatus::Gone),
            Self::Engine(Change::Failed(error)) => Update::Unknown(NoStatus::Bus(error)),
            Self::Sentinels(exist) => runner.required(exist).await,
        }
    }
}
