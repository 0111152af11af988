//! The command line: one file a command.

pub mod agent;
pub mod cloud_config;
pub mod cloudinit;
pub mod common;
pub mod config;
mod context;
mod drain;
mod exit;
pub mod flags;
mod go_flags;
pub mod health;
pub mod import_locksmith;
pub mod lock;
pub mod locksmith;
mod names;
pub mod output;
pub mod pause;
pub mod quarantine;
pub mod reboot;
pub mod rollback;
pub mod set_max;
pub mod slots;
pub mod sources;
pub mod status;
pub mod store;
mod table;
pub mod unlock;
pub mod update;
pub mod update_engine_client;

use clap::{Parser, Subcommand};

pub use context::Context;
pub use exit::{Exit, Failure};
pub use flags::command;

use common::CommonArgs;

/// Decides when this node may reboot into its new image: takes the group's semaphore in etcd first, and gives
/// it back when the node is up again.
#[derive(Debug, Parser)]
#[command(
    name = "pointsman",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 refused for now (semaphore full, \
                  paused, …), 4 etcd or the system bus out of reach, 5 a check for updates that failed, 6 nothing has the \
                  name that was given."
)]
pub struct Cli {
    /// What several commands take.
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
    /// Take the semaphore for a node by hand, so that no other goes out beside it; only `unlock` gives it back. It drains
    /// nothing unless --drain says so.
    Lock(lock::Args),
    /// Give the semaphore back for a node.
    Unlock(unlock::Args),
    /// Set how many nodes of the group may be out of service at a time.
    SetMax(set_max::Args),
    /// Show both system partitions, and what a reboot would do.
    Slots(slots::Args),
    /// Boot the other system partition next time; --undo takes that back.
    Rollback(rollback::Args),
    /// Run the checks of a boot by hand: what fails, and whether it would count against a new image. Exit 0 where the boot
    /// would pass, 1 where it would fail, 4 where that cannot be told.
    Health(health::Args),
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
    /// Show whether etcd is the one it was, and accept it as it is after a restore.
    Store(store::Args),
    /// Look at a cloud-config: what is wrong with it, what it would change; apply it, and take that back.
    CloudConfig(cloud_config::Args),
}

/// What the words of a compatibility mode amount to.
pub enum Words<T> {
    /// This is to be done.
    Do(T),
    /// All there was to it was said: the exit code.
    Said(u8),
}

/// Runs a command; the text for standard output.
///
/// # Errors
/// With the exit code and the text for standard error.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    // Documents are looked at wherever people write them: no node's configuration is needed.
    if let Command::CloudConfig(args) = &cli.command {
        // But who names a file means that file.
        if cli.common.machine.config.is_some() {
            cli.common.sources(false)?.load()?;
        }
        return cloud_config::run(args, &cli.common).await;
    }
    let sources = cli.common.sources(matches!(cli.command, Command::Agent))?;
    let context = match &cli.command {
        // What reboots nodes does so only as everything it was told says; and who names a file means that file.
        Command::Agent | Command::Config(_) | Command::Reboot(_) => {
            Context::strict(sources, cli.common.clone())?
        }
        _ if sources.file.is_some() => Context::strict(sources, cli.common.clone())?,
        _ => Context::lenient(sources, cli.common.clone()),
    };
    let flags = context.flags_but_the_group("set-max");
    let done = match cli.command {
        Command::Agent => agent::run(context).await,
        Command::Status(args) => status::run(&context, &args).await,
        Command::Config(args) => config::run(&context, &args),
        Command::Lock(args) => lock::run(&context, &args).await,
        Command::Unlock(args) => unlock::run(&context, &args).await,
        Command::SetMax(args) => set_max::run(&context, &args).await,
        Command::Slots(args) => slots::run(&context, &args).await,
        Command::Rollback(args) => rollback::run(context, args).await,
        Command::Health(args) => health::run(&context, &args).await,
        Command::Update(args) => update::run(&context, &args).await,
        Command::Reboot(args) => reboot::run(context, args).await,
        Command::Cancel => reboot::cancel(&context).await,
        Command::Quarantine(args) => quarantine::run(&context, &args).await,
        Command::ImportLocksmith(args) => import_locksmith::run(&context, &args).await,
        Command::Pause(args) => pause::pause(&context, &args).await,
        Command::Resume(args) => pause::resume(&context, &args).await,
        Command::Store(args) => store::run(&context, &args).await,
        Command::CloudConfig(args) => cloud_config::run(&args, &cli.common).await,
    };
    done.map_err(|failure| failure.with_flags(&flags))
}
