//! `pointsman reboot`.

use host::{coordinator, systemd};
use settings::Strategy;

use super::{Context, Exit, Failure, output, progress::Progress};
use crate::agent::{
    self,
    bus::{AgentClient, ClientError},
    driver::Mode,
    situation::Request,
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The reason, which is shown to logged-in people and by `status`. [default: requested by hand]
    #[arg(long, value_parser = super::pause::sentence)]
    reason: Option<String>,
    /// Do not wait for the reboot windows, neither the node's nor the policy's: a security fix. The queue, the reboot lock, the
    /// drain, pauses, quarantines, and the time of logged-in people stand. It needs --reason, which is shown as urgent.
    #[arg(long, requires = "reason")]
    urgent: bool,
    /// Wait until the node goes down, and show what it waits for.
    #[arg(long)]
    wait: bool,
    /// Allow this although no agent will start after the reboot. You must run `pointsman unlock` yourself.
    #[arg(long)]
    without_agent: bool,
}

/// What is asked for.
pub struct Asking {
    request: Request,
    wait: bool,
    without_agent: bool,
}

impl Asking {
    /// A reboot for this reason, that is not followed.
    #[must_use]
    pub fn once(reason: String) -> Self {
        Self {
            request: Request::new(reason),
            wait: false,
            without_agent: true,
        }
    }
}

/// `pointsman reboot`.
///
/// # Errors
/// As [`ask`].
pub async fn run(context: Context, args: Args) -> Result<(), Failure> {
    let Args {
        reason,
        urgent,
        wait,
        without_agent,
    } = args;
    let reason = reason.unwrap_or_else(|| "requested by hand".into());
    let asking = Asking {
        request: Request { reason, urgent },
        wait,
        without_agent,
    };
    ask(context, asking).await
}

/// Asks the agent for a reboot; where none runs, does what it would do, here.
///
/// # Errors
/// When it is refused, or the bus or the agent cannot be reached.
pub async fn ask(context: Context, args: Asking) -> Result<(), Failure> {
    let client = AgentClient::connect(&context.config.root).await?;
    let mut changes = match client.changes().await {
        Err(ClientError::NotRunning) => {
            return here(context, args.request, args.without_agent).await;
        }
        changes => changes?,
    };
    let reason = &args.request.reason;
    match args.request.urgent {
        true => client.request_urgent_reboot(reason).await?,
        false => client.request_reboot(reason).await?,
    }
    if !args.wait {
        output::say(format!(
            "Reboot requested. To see what it waits for: {}\nTo cancel it: {}",
            context.command("status"),
            context.command("cancel")
        ))?;
        return Ok(());
    }
    // What the agent says first may be from before it was asked.
    let mut noted = false;
    let mut said = String::new();
    let progress = Progress::new();
    while let Some(now) = changes.next().await {
        let line = format!(
            "{}{}{}",
            now.state,
            if now.waits_for.is_empty() { "" } else { ": " },
            now.waits_for
        );
        noted |= !now.request.is_empty();
        if noted && now.request.is_empty() {
            return Err(Failure::new(
                Exit::Refused,
                "the reboot request was cancelled",
            ));
        }
        if line == said {
            continue;
        }
        match progress.is_on() {
            true => progress.doing(&line),
            false => output::say(&line)?,
        }
        said = line;
    }
    Ok(())
}

/// Does what the agent would do, in this process, until the node goes down.
///
/// # Errors
/// When the caller is not root, the reboot is refused (also where no agent will release the reboot lock), or the bus cannot be
/// reached.
pub(super) async fn here(
    context: Context,
    request: Request,
    without_agent: bool,
) -> Result<(), Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::new(Exit::Failed, "only root may reboot this node"));
    }
    if let Some(pid) = coordinator::in_the_foreground(&context.config.root) {
        return Err(coordinator::CoordinatorError::Foreground(pid).into());
    }
    if context.config.strategy.is_coordinated() {
        let connection = host::bus::connect(&context.config.root).await?;
        let release = match context.config.strategy {
            // An agent tells the server at its start that it holds nothing.
            Strategy::FleetLock => "systemctl start pointsman".to_owned(),
            _ => context.command("unlock"),
        };
        let enabled = systemd::enabled(&connection, "pointsman.service").await?;
        if enabled != Some(true) && !without_agent {
            let found = match enabled {
                Some(_) => "pointsman.service is not enabled",
                None => {
                    "it is not known whether pointsman.service is enabled, because systemd is not on the bus"
                }
            };
            return Err(Failure::new(
                Exit::Refused,
                format!(
                    "{found}: perhaps no agent releases the reboot lock after the reboot, and then no other node of the group \
                     can reboot"
                ),
            )
            .remedy("start the agent at boot", "systemctl enable pointsman")
            .remedy(
                "reboot without an agent",
                context.command("reboot --without-agent"),
            )
            .remedy("release the reboot lock after such a reboot", release));
        }
        if enabled != Some(true) {
            output::note(format!(
                "No agent will start after the reboot. Enable it now (systemctl enable pointsman), or release the reboot lock \
                 yourself after the reboot: {release}"
            ));
        }
    }
    output::note(
        "No agent runs on this node, so this command does its work. Ctrl-C cancels the request.",
    );
    Ok(agent::run(context.config, Mode::Once(request), None).await?)
}

/// What the reason of a rollback's reboot begins with.
pub(super) const ROLLBACK: &str = "rollback to ";
