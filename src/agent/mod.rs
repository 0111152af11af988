//! The node's agent: a pure machine of states, and around it the driver that does what it says.

pub mod baseline;
pub mod bus;
pub mod checks;
pub mod driver;
pub mod effects;
mod facts;
pub mod failure;
pub mod gate;
pub mod health;
pub mod history;
pub mod identity;
pub mod journal;
pub mod journal_file;
pub mod machine;
pub mod machine_mark;
pub mod next_slot;
pub mod restage;
pub mod situation;

use std::{cell::RefCell, rc::Rc, sync::Arc};

use crate::metrics::publish::Publisher;
use bus::{AgentBus, AgentBusError};
use driver::{Driver, Ending, Mode, Outside, Reload};
use effects::{EffectRunner, Updates};
use failure::Refusal;
use history::{Ends, History};
use host::{
    blocking,
    bus::BusError,
    coordinator::{Coordinator, CoordinatorError},
    hooks::Hooks,
    node::{self, NodeError},
    remedy::Remedy,
    telemetry::notify,
    update_engine,
};
use journal::{Journal, JournalError};
use journal_file::JournalFile;
use machine::Event;
use machine_mark::MachineMark;
use next_slot::{NextSlot, NextSlotQueue, Survey};
use semaphore::{
    fleet_lock::Caller,
    keys::Keys,
    records::{ImageId, LastReboot},
};
use settings::{Config, ConfigError, OfAgent};
use slots::version;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::notify::{Notifier, missing_programs};

/// Why the agent did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The system bus cannot be reached.
    #[error("{0}")]
    Bus(#[from] BusError),
    /// The system bus went away. What was under way is in the journal, for the next start.
    #[error("the system bus was lost; the next start continues what is under way")]
    BusLost,
    /// A certificate or password cannot be read.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The node has no id.
    #[error("{0}")]
    Node(#[from] NodeError),
    /// Another program coordinates this node's reboots.
    #[error("{0}")]
    Coordinator(#[from] CoordinatorError),
    /// The agent's own name cannot be had.
    #[error("{0}")]
    AgentBus(#[from] AgentBusError),
    /// The reboot asked for was refused.
    #[error("{0}")]
    Refused(Refusal),
    /// The reboot asked for in the foreground was taken back by a signal.
    #[error("the reboot request was cancelled")]
    TakenBack(SignalKind),
    /// The system refused something every program needs.
    #[error("the system refuses: {0}")]
    System(#[from] std::io::Error),
}

impl AgentError {
    /// What a person can do about it, where that is known.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Bus(error) => error.remedy(),
            Self::Node(error) => error.remedy(),
            Self::Coordinator(error) => error.remedy(),
            _ => None,
        }
    }
}

/// Runs the agent: as the node's service until it is told to end, or for one reboot. `reload` reads the
/// configuration again, for SIGHUP; without it that signal ends the agent as SIGTERM does.
///
/// # Errors
/// When it cannot start, or the system bus goes away.
pub async fn run(mut config: Config, mode: Mode, reload: Option<Reload>) -> Result<(), AgentError> {
    // Before anything is done that would have to be undone.
    let listen = |kind| Ok::<_, std::io::Error>((kind, signal(kind)?));
    let mut ends = vec![
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
    ];
    let hangup = listen(SignalKind::hangup())?;
    let reload = match reload {
        Some(reload) => Some((hangup.1, reload)),
        // The terminal it runs on is closed.
        None => {
            ends.push(hangup);
            None
        }
    };
    let root = config.root.clone();
    let strategy = config.strategy.to_string();
    let coordinator = match mode {
        Mode::Service => Coordinator::take(&root, &strategy)?,
        Mode::Once(_) => Coordinator::take_in_the_foreground(&root, &strategy)?,
    };
    let connection = host::bus::connect(&root).await?;
    let (calls, asked) = mpsc::channel(8);
    let bus = match mode {
        Mode::Service => Some(AgentBus::start(&connection, calls.clone()).await?),
        Mode::Once(_) => None,
    };
    let updates = if update_engine::installed(&connection, &root).await {
        Updates::Engine
    } else {
        let paths = config.sentinels.iter().map(|path| root.path(path));
        Updates::Sentinels(paths.collect())
    };
    let journal = Arc::new(JournalFile::new(&root, &node::machine_id(&root)?));
    let calls = Caller::default();
    let history = history::file::path(&root);
    let before = history::file::tail(&history);
    let mut outside = Outside {
        history: History::after(Ends::of(&before)),
        history_file: history::file::Writer::new(history),
        metrics: Publisher::start(settings::Metrics::default()),
        notifier: Notifier::new(&root, &node::machine_id(&root)?, &node::hostname(&root)),
        bus,
        coordinator,
        calls: asked,
        ends,
        reload,
    };
    loop {
        let _word = match mode {
            Mode::Service => Some(OfAgent::leave(&config)?),
            Mode::Once(_) => None,
        };
        outside
            .coordinator
            .set_strategy(&config.strategy.to_string())?;
        let hooks = Hooks::new(&root, config.timings.hook_timeout);
        for complaint in hooks
            .complaints()
            .into_iter()
            .chain(missing_programs(&config))
        {
            tracing::warn!("{complaint}");
        }
        outside.notifier.configure(&config);
        if let Some(warning) = config.certificate_warning(jiff::Timestamp::now()) {
            tracing::warn!("{warning}");
        }
        if let Some(warning) = config.fleet_lock_warning() {
            tracing::warn!("{warning}");
        }
        // An agent that runs for one reboot in the foreground has none.
        if mode == Mode::Service {
            outside.metrics.go_by(config.metrics.clone());
        }
        let (notes, noted) = mpsc::unbounded_channel();
        // Where the configuration has changed, the watchdog waits already.
        let last = outside.history.last().cloned();
        let (journal, calls) = (journal.clone(), calls.clone());
        // On the heap, for as long as it takes.
        let runner = Box::pin(runner(
            config,
            &connection,
            &updates,
            notes,
            journal,
            last,
            calls,
        ));
        let (runner, loaded) = notify::watched(runner).await?;
        let runner = Rc::new(runner);
        let facts = facts::watch(runner.clone());
        // The signals are listened to: whoever is told that the agent is ready may send one.
        notify::ready();
        if let Ok(journal) = &loaded {
            outside.history.begin(journal);
        }
        let driver = Driver::new(runner, mode.clone(), loaded);
        match driver.run(&mut outside, facts, noted).await {
            Ending::Stopped | Ending::Done => return Ok(()),
            Ending::TakenBack(signal) => return Err(AgentError::TakenBack(signal)),
            Ending::Refused(why) => return Err(AgentError::Refused(why)),
            Ending::BusLost => return Err(AgentError::BusLost),
            Ending::Reconfigured(changed) => config = *changed,
        }
    }
}

/// The real parts of the machine, and its journal.
async fn runner(
    config: Config,
    connection: &zbus::Connection,
    updates: &Updates,
    notes: mpsc::UnboundedSender<Event>,
    journal: Arc<JournalFile>,
    last: Option<LastReboot>,
    calls: Caller,
) -> Result<(EffectRunner, Result<Journal, JournalError>), AgentError> {
    let root = &config.root;
    let etcd = config.etcd_options()?;
    config.fleet_lock_tls()?;
    let keys = Keys::new(&config.prefix, config.group.clone());
    let next_slot = NextSlot::new(
        root.clone(),
        next_slot::location(&config),
        config.strategy.is_coordinated() && config.pin_booted_slot,
    );
    let next_slot = NextSlotQueue::new(next_slot);
    let survey = next_slot.run(NextSlot::survey).await.unwrap_or_else(|why| {
        // Unknown: it is taken for no trial, which could roll back; everything else goes on.
        tracing::error!("what the slots hold is not known: {why}");
        Survey::default()
    });
    let id = node::machine_id(root)?;
    let mark = MachineMark::of(root, &id, survey.disk);
    let file = journal.clone();
    let loaded = blocking::run(move || file.load(mark)).await;
    let runner = EffectRunner {
        id,
        hostname: node::hostname(root),
        boot_id: node::boot_id(root)?,
        runs: ImageId {
            digest: survey.runs,
            version: version::of_booted(root),
        },
        slot: survey.slot,
        boot: survey.boot,
        bus: connection.clone(),
        updates: updates.clone(),
        next_slot,
        semaphore: RefCell::default(),
        keys,
        etcd: RefCell::new(etcd),
        reached_by: RefCell::default(),
        newest: RefCell::default(),
        calls,
        answered: RefCell::default(),
        told: RefCell::default(),
        notes,
        journal,
        store_accepted: Arc::default(),
        unknown_boot: std::cell::Cell::default(),
        proven: RefCell::default(),
        last: RefCell::new(last),
        known_windows: RefCell::default(),
        block: RefCell::default(),
        ending: RefCell::default(),
        member: RefCell::default(),
        config,
    };
    runner.begin().await;
    Ok((runner, loaded))
}
