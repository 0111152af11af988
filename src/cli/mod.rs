//! The command line: one file a command.

pub mod agent;
pub mod cloud_config;
pub mod cloudinit;
pub mod common;
pub mod config;
mod exit;
mod go_flags;
pub mod import_locksmith;
pub mod lock;
pub mod locksmith;
pub mod output;
pub mod pause;
pub mod quarantine;
pub mod reboot;
pub mod rollback;
pub mod set_max;
pub mod slots;
pub mod sources;
pub mod status;
mod table;
pub mod unlock;
pub mod update;

use clap::{Parser, Subcommand};

pub use exit::{Exit, Failure};

use crate::{
    agent::world::World,
    cli::common::CommonArgs,
    config::{Config, Sources},
    node,
    semaphore::{etcd::Semaphore, keys::Keys},
};

/// Decides when this node may reboot into its new image: takes the group's semaphore in etcd first, and gives
/// it back when the node is up again.
#[derive(Debug, Parser)]
#[command(
    name = "pointsman",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 refused for now (semaphore full, \
                  paused, …), 4 etcd or the system bus out of reach."
)]
pub struct Cli {
    /// What all commands take.
    #[command(flatten)]
    pub common: CommonArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the node's agent (what pointsman.service does).
    Agent,
    /// Show who holds the semaphore, who waits, and how this node stands.
    Status(status::Args),
    /// Show the configuration in force, and where each value comes from.
    Config(config::Args),
    /// Take the semaphore for a node by hand; only `unlock` gives it back.
    Lock(lock::Args),
    /// Give the semaphore back for a node.
    Unlock(unlock::Args),
    /// Set how many nodes of the group may be out of service at a time.
    SetMax(set_max::Args),
    /// Show both system partitions, and what a reboot would do.
    Slots(slots::Args),
    /// Make the other system partition boot next; again, to undo that.
    Rollback(rollback::Args),
    /// Show and steer update_engine.
    Update(update::Args),
    /// Reboot this node: when the window, the people logged in and the semaphore allow it.
    Reboot(reboot::Args),
    /// Take back a reboot that was asked for on this node.
    Cancel,
    /// Show, add and clear the images and versions no node may reboot into.
    Quarantine(quarantine::Args),
    /// Copy locksmith's locks out of etcd's v2 key space, once.
    ImportLocksmith(import_locksmith::Args),
    /// Stop all reboots of the group, or of the whole cluster, until `resume`.
    Pause(pause::PauseArgs),
    /// End a pause.
    Resume(pause::ResumeArgs),
    /// Look at a cloud-config: what is wrong with it, what it would change; apply it, and take that back.
    CloudConfig(cloud_config::Args),
}

/// What a command works with.
pub struct Context {
    /// The configuration.
    pub config: Config,
    /// Where it came from, to be read again.
    pub sources: Sources,
}

impl Context {
    /// The group's semaphore.
    ///
    /// # Errors
    /// When a certificate or password cannot be read.
    pub fn semaphore(&self) -> Result<Semaphore, Failure> {
        self.semaphore_of(self.config.group.clone())
    }

    /// Another group's semaphore.
    ///
    /// # Errors
    /// When a certificate or password cannot be read.
    pub fn semaphore_of(&self, group: node::Group) -> Result<Semaphore, Failure> {
        Ok(Semaphore::new(
            self.config.etcd_options()?,
            Keys::new(&self.config.prefix, group),
            World::back_off(&self.config),
        ))
    }

    /// The id given, checked, or this node's.
    ///
    /// # Errors
    /// When the given one is no id, or this machine has none.
    pub fn id(&self, given: Option<&str>) -> Result<String, Failure> {
        match given {
            Some(id) => node::check_id(id).map(|()| id.to_owned()),
            None => node::machine_id(&self.config.root),
        }
        .map_err(|e| Failure::new(Exit::Usage, e.to_string()))
    }
}

/// Runs a command; the text for standard output.
///
/// # Errors
/// With the exit code and the text for standard error.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    // Documents are looked at wherever people write them: no node's configuration is needed.
    if let Command::CloudConfig(args) = &cli.command {
        return cloud_config::run(args, &cli.common).await;
    }
    let sources = cli.common.sources(matches!(cli.command, Command::Agent))?;
    let context = Context {
        config: sources.load()?,
        sources,
    };
    match cli.command {
        Command::Agent => agent::run(context).await,
        Command::Status(args) => status::run(&context, &args).await,
        Command::Config(args) => config::run(&context, &args),
        Command::Lock(args) => lock::run(&context, &args).await,
        Command::Unlock(args) => unlock::run(&context, &args).await,
        Command::SetMax(args) => set_max::run(&context, &args).await,
        Command::Slots(args) => slots::run(&context, &args).await,
        Command::Rollback(args) => rollback::run(context, args).await,
        Command::Update(args) => update::run(&context, &args).await,
        Command::Reboot(args) => reboot::run(context, args).await,
        Command::Cancel => reboot::cancel(&context).await,
        Command::Quarantine(args) => quarantine::run(&context, &args).await,
        Command::ImportLocksmith(args) => import_locksmith::run(&context, &args).await,
        Command::Pause(args) => pause::pause(&context, &args).await,
        Command::Resume(args) => pause::resume(&context, &args).await,
        Command::CloudConfig(args) => cloud_config::run(&args, &cli.common).await,
    }
}
