//! The command line: one file a command.

pub mod acts;
pub mod agent;
pub mod cancel;
pub mod cloud_config;
pub mod cloudinit;
pub mod common;
pub mod config;
mod context;
pub mod doctor;
mod drain;
mod exit;
pub mod flags;
pub mod forget;
mod go_flags;
pub mod health;
pub mod history;
pub mod hooks;
pub mod import_locksmith;
pub mod lock;
pub mod locksmith;
mod names;
pub mod output;
pub mod pause;
pub mod policy;
mod progress;
pub mod quarantine;
pub mod reboot;
pub mod rollback;
pub mod serve;
pub mod set_max;
pub mod slots;
pub mod soak;
pub mod sources;
pub mod status;
pub mod store;
mod table;
pub mod unlock;
pub mod update;
pub mod update_engine_client;
pub mod waves;
pub mod windows;

use std::{
    future::{Future, ready},
    pin::Pin,
};

use clap::{Parser, Subcommand};

pub use context::Context;
pub use exit::{Exit, Failure};
pub use flags::command;

use common::CommonArgs;

/// Decides when this node may reboot into its new image. It takes the group's reboot lock in etcd before the reboot, and
/// releases it after the reboot.
#[derive(Debug, Parser)]
#[command(
    name = "pointsman",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 refused for now (no free place, paused, …), \
                  4 etcd or the system bus cannot be reached, 5 the check for updates failed, 6 nothing has the given name, 10 a plan has changes, \
                  130 and 143 ended by a signal. `status --check`: 1 warning, 2 critical."
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
    /// Run this node's agent (pointsman.service does this).
    Agent,
    /// Show who holds the reboot lock, who waits for it, and what this node does.
    Status(status::Args),
    /// Show the configuration in use, and where each value comes from.
    Config(config::Args),
    /// Look at all that this node needs (configuration, etcd, agent, slots, hooks, …), and say what to do about each fault. Exit 1
    /// if something does not work.
    Doctor(doctor::Args),
    /// Take the reboot lock for a node by hand. It stays until `unlock`. No hooks run without --drain.
    Lock(lock::Args),
    /// Release the reboot lock of a node. If `lock --drain` drained it, its post-boot.d hooks run on it.
    Unlock(unlock::Args),
    /// Set how many nodes of the group may be out of service at the same time.
    SetMax(set_max::Args),
    /// Show and change the policy of the group: what holds for all its nodes.
    Policy(policy::Args),
    /// Show whether this node soaks (stays under observation on a new image), and end that.
    Soak(soak::Args),
    /// Show which nodes have not proven an image yet, and which images are open to the groups that come after others; open an
    /// image by hand.
    Waves(waves::Args),
    /// Remove a node that is gone for good from etcd: what it said, its membership, its ticket.
    Forget(forget::Args),
    /// Show both system partitions, and which one a reboot would boot.
    Slots(slots::Args),
    /// Boot the other system partition next time. --undo cancels that.
    Rollback(rollback::Args),
    /// Run the checks of a boot now, and show which failures would count against a new image. Exit 0 if this boot would
    /// pass, 1 if it would fail, 4 if that is not known.
    Health(health::Args),
    /// Show what update_engine does, and control it.
    Update(update::Args),
    /// Request a reboot of this node. It waits for the reboot window, for logged-in people and for the reboot lock.
    Reboot(reboot::Args),
    /// Cancel the reboot request of this node.
    Cancel,
    /// Show whether reboots may start now or at another time, and the next reboot windows. Exit 0 inside a window, 3 outside.
    Windows(windows::Args),
    /// Show the hooks that are installed (drain Kubernetes, HAProxy, containers, …), and enable and disable them.
    Hooks(hooks::Args),
    /// Show, add and clear quarantined images and versions. No node reboots into one of them.
    Quarantine(quarantine::Args),
    /// Show what people did to the reboot locks of all groups, the latest last: unlock, set-max, pause and the like. With
    /// --group: to that group, and to the whole cluster.
    Acts(acts::Args),
    /// Show what happened on this node: updates, reboots, proofs, rollbacks. With --cluster: how the last reboot of every node
    /// ended, and what people did.
    History(history::Args),
    /// Serve over HTTP: a live page of the cluster, its status in JSON, its metrics, and FleetLock, by which nodes without an
    /// agent (Fedora CoreOS) take turns with the others.
    Serve(serve::Args),
    /// Copy locksmith's locks from etcd's v2 API into the reboot lock, once.
    ImportLocksmith(import_locksmith::Args),
    /// Stop all reboots of the group, or of the whole cluster, until `resume`.
    Pause(pause::PauseArgs),
    /// End a pause.
    Resume(pause::ResumeArgs),
    /// Show whether etcd was restored or exchanged, and accept its present content.
    Store(store::Args),
    /// Check a cloud-config, show what it would change, apply it, and revert it.
    CloudConfig(cloud_config::Args),
}

impl Command {
    /// Whether it is about all groups, so that it does not matter which is this node's.
    fn is_about_all_groups(&self) -> bool {
        match self {
            Self::Quarantine(_) | Self::Store(_) => true,
            Self::Waves(args) => !args.is_about_one_group(),
            Self::Pause(args) => args.all,
            Self::Resume(args) => args.all,
            _ => false,
        }
    }
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
    // Documents are checked wherever people write them: no node's configuration is needed.
    if let Command::CloudConfig(args) = &cli.command {
        // But who names a file means that file.
        if cli.common.machine.config.is_some() {
            cli.common.sources(false)?.load()?;
        }
        return boxed(|| cloud_config::run(args, &cli.common)).await;
    }
    // A machine is prepared before it has a configuration.
    if let Command::Hooks(args) = &cli.command {
        return hooks::run(args, &cli.common);
    }
    if let Command::Windows(args) = &cli.command
        && args.names_a_window()
    {
        return windows::of_flags(args, &cli.common.sources(false)?.root);
    }
    let mut sources = cli.common.sources(matches!(cli.command, Command::Agent))?;
    if let Command::Serve(args) = &cli.command {
        args.add_to(&mut sources)?;
    }
    let context = match &cli.command {
        // What reboots nodes does so only as everything it was told says; and who names a file means that file.
        Command::Agent
        | Command::Serve(_)
        | Command::Config(_)
        | Command::Reboot(_)
        | Command::Windows(_) => Context::strict(sources, cli.common.clone())?,
        _ if sources.file.is_some() => Context::strict(sources, cli.common.clone())?,
        command => Context::lenient(sources, cli.common.clone(), command.is_about_all_groups()),
    };
    let flags = context.flags_but_the_group("set-max");
    let done = match cli.command {
        Command::Agent => boxed(|| agent::run(context)),
        Command::Status(ref args) => boxed(|| status::run(&context, args)),
        Command::Config(ref args) => boxed(|| ready(config::run(&context, args))),
        Command::Doctor(ref args) => boxed(|| doctor::run(&context, args)),
        Command::Lock(ref args) => boxed(|| lock::run(&context, args)),
        Command::Unlock(ref args) => boxed(|| unlock::run(&context, args)),
        Command::SetMax(ref args) => boxed(|| set_max::run(&context, args)),
        Command::Policy(ref args) => boxed(|| policy::run(&context, args)),
        Command::Waves(ref args) => boxed(|| waves::run(&context, args)),
        Command::Soak(ref args) => boxed(|| soak::run(&context, args)),
        Command::Forget(ref args) => boxed(|| forget::run(&context, args)),
        Command::Slots(ref args) => boxed(|| slots::run(&context, args)),
        Command::Rollback(args) => boxed(|| rollback::run(context, args)),
        Command::Health(ref args) => boxed(|| health::run(&context, args)),
        Command::Update(ref args) => boxed(|| update::run(&context, args)),
        Command::Reboot(args) => boxed(|| reboot::run(context, args)),
        Command::Cancel => boxed(|| cancel::run(&context)),
        Command::Windows(ref args) => boxed(|| ready(windows::run(&context, args))),
        Command::Quarantine(ref args) => boxed(|| quarantine::run(&context, args)),
        Command::Acts(ref args) => boxed(|| acts::run(&context, args)),
        Command::History(ref args) => boxed(|| history::run(&context, args)),
        Command::Serve(_) => boxed(|| serve::run(&context)),
        Command::ImportLocksmith(ref args) => boxed(|| import_locksmith::run(&context, args)),
        Command::Pause(ref args) => boxed(|| pause::pause(&context, args)),
        Command::Resume(ref args) => boxed(|| pause::resume(&context, args)),
        Command::Store(ref args) => boxed(|| store::run(&context, args)),
        Command::CloudConfig(ref args) => boxed(|| cloud_config::run(args, &cli.common)),
        Command::Hooks(ref args) => boxed(|| ready(hooks::run(args, &cli.common))),
    };
    done.await.map_err(|failure| failure.with_flags(&flags))
}

/// A command's work, on the heap: the program needs room for what it does, not for the largest command there is. It is never
/// inlined, because the frame of its caller would have room for all of them at once, and each page of a large frame is touched.
#[inline(never)]
fn boxed<'a, W>(
    begin: impl FnOnce() -> W,
) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>
where
    W: Future<Output = Result<(), Failure>> + 'a,
{
    Box::pin(begin())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    /// It was 384 KiB, and three times that with the copies on the stack: a fifth of an idle agent's memory.
    #[test]
    fn agent_has_no_room_for_the_work_of_other_commands() {
        let cli = Cli::try_parse_from(["pointsman", "agent"]).unwrap();
        let size = size_of_val(&run(cli));
        assert!(size < 32 * 1024, "{size} bytes");
    }
}
