//! The node's agent: a pure machine of states, and around it the driver that does what it says.

pub mod bus;
pub mod driver;
mod facts;
pub mod gate;
pub mod journal;
pub mod machine;
pub mod world;

use std::rc::Rc;

use tokio::sync::mpsc;

use crate::{
    bus::BusError,
    config::{Config, ConfigError, Strategy},
    coordinator::{Coordinator, CoordinatorError},
    node::{self, NodeError, Root},
    semaphore::{etcd::Semaphore, keys::Keys, records::Image},
    update_engine,
};
use bus::{AgentBus, AgentBusError};
use driver::{Driver, Ending, Mode};
use world::{Updates, World};

/// Why the agent did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The system bus cannot be reached.
    #[error("{0}")]
    Bus(#[from] BusError),
    /// The system bus went away. What was under way is in the journal, for the next start.
    #[error("the system bus went away; what is under way is taken up at the next start")]
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
    Refused(String),
    /// The system refused something every program needs.
    #[error("the system refuses: {0}")]
    System(#[from] std::io::Error),
}

/// Runs the agent: as the node's service until it is told to end, or for one reboot.
///
/// # Errors
/// When it cannot start, or the system bus goes away.
pub async fn run(config: Config, mode: Mode) -> Result<(), AgentError> {
    let root = config.root.clone();
    let coordinator = Coordinator::take(&root, &config.strategy.to_string())?;
    let connection = crate::bus::connect(&root).await?;
    let (calls, asked) = mpsc::channel(8);
    let bus = match mode {
        Mode::Service => Some(AgentBus::start(&connection, calls.clone()).await?),
        Mode::Once(_) => None,
    };
    let (notes, noted) = mpsc::unbounded_channel();
    let updates = if update_engine::installed(&connection, &root).await {
        Updates::Engine
    } else {
        Updates::Sentinel(root.path(&config.sentinel))
    };
    let etcd = config.etcd_options()?;
    let keys = Keys::new(&config.prefix, config.group.clone());
    let semaphore = (config.strategy == Strategy::EtcdLock).then(|| {
        Rc::new(Semaphore::new(
            etcd.clone(),
            keys.clone(),
            World::back_off(&config),
        ))
    });
    let world = Rc::new(World {
        id: node::machine_id(&root)?,
        hostname: node::hostname(&root),
        boot_id: node::boot_id(&root)?,
        runs: running_image(&root),
        bus: connection,
        updates,
        semaphore,
        keys,
        etcd,
        notes,
        config,
    });
    let facts = facts::watch(world.clone());
    let driver = Driver::new(world, mode);
    match driver.run(bus, coordinator, facts, noted, asked).await? {
        Ending::Stopped | Ending::Done => Ok(()),
        Ending::Refused(why) => Err(AgentError::Refused(why)),
        Ending::BusLost => Err(AgentError::BusLost),
    }
}

/// What runs, by the version in os-release(5); update_engine names versions as its `VERSION` does.
fn running_image(root: &Root) -> Image {
    let text = ["etc/os-release", "usr/lib/os-release"]
        .iter()
        .find_map(|file| std::fs::read_to_string(root.path(file)).ok())
        .unwrap_or_default();
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches(['"', '\'']).to_owned())
    };
    Image {
        image: None,
        version: field("VERSION_ID").or_else(|| field("VERSION")),
    }
}
