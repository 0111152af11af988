//! `pointsman soak`: the time that this node stays under observation on a new image.

use super::{Context, Exit, Failure, output};
use crate::agent::{
    bus::{AgentClient, ClientError},
    failure::NOT_SOAKING,
    machine::StateName,
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show whether this node soaks, and until when.
    Show,
    /// End the soak of this node now. The node releases the reboot lock. A soak that has not failed counts as passed; an image
    /// that failed its soak stays quarantined.
    End,
}

/// Shows or ends the soak of this node.
///
/// # Errors
/// When no agent runs, or the node does not soak and the soak is to be ended.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let client = AgentClient::connect(&context.config.root).await?;
    let said = client.properties().await.map_err(|error| match error {
        ClientError::NotRunning => Failure::from(error).remedy(
            "end the soak of a node without an agent",
            context.command("unlock"),
        ),
        error => error.into(),
    })?;
    let failed = said.state == StateName::SoakFailed.word();
    let soaks = failed || said.state == StateName::Soaking.word();
    match &args.command {
        None | Some(Command::Show) if soaks => output::say(output::in_line(&said.waits_for)),
        None | Some(Command::Show) => output::say("This node is not soaking."),
        Some(Command::End) => match client.end_soak().await {
            Ok(()) if failed => output::say(
                "The soak is ended, and this node releases the reboot lock. Its image stays quarantined, and does not count as \
                 proven.",
            ),
            Ok(()) => output::say("The soak is ended, and this node releases the reboot lock."),
            Err(ClientError::Refused(why)) if why == NOT_SOAKING => Err(Failure::new(
                Exit::Nothing,
                format!("{why}: its state is {}", output::in_line(&said.state)),
            )),
            Err(error) => Err(error.into()),
        },
    }
}
