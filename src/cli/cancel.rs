//! `pointsman cancel`.

use ::slots::storage::Access;
use host::coordinator;

use super::{Context, Exit, Failure, common::DryRunArgs, output, reboot, rollback, slots};
use crate::agent::{
    bus::{AgentClient, ClientError},
    failure::NOTHING_ASKED,
};

/// Cancels a reboot request.
///
/// # Errors
/// When the agent cannot be reached, or says no.
pub async fn run(context: &Context) -> Result<(), Failure> {
    let client = AgentClient::connect(&context.config.root).await?;
    // What was asked for goes with its request; a slot that a rollback made next stays.
    let asked = client.properties().await.map(|said| said.request);
    match client.cancel().await {
        Ok(()) => {
            output::say("Reboot request cancelled.")?;
            if asked.is_ok_and(|reason| reason.starts_with(reboot::ROLLBACK)) {
                let mut slots = slots::open(context, Access::Write)?;
                return rollback::undo(&mut slots, DryRunArgs::default());
            }
            if let Some(line) = elsewhere(context) {
                output::say(line)?;
            }
        }
        Err(ClientError::Refused(why)) if why == NOTHING_ASKED => {
            output::say(format!("Nothing to cancel: {why}."))?
        }
        Err(error) => {
            let other = coordinator::in_the_foreground(&context.config.root);
            return Err(match (error, other) {
                (ClientError::NotRunning, Some(pid)) => Failure::new(
                    Exit::Refused,
                    format!(
                        "no agent runs on this node, but `pointsman reboot` runs in the foreground (process {pid}). Press Ctrl-C \
                         there"
                    ),
                )
                .remedy("end it from here", format!("kill {pid}")),
                (error, _) => error.into(),
            });
        }
    }
    Ok(())
}

/// What somebody who made the other slot next leaves behind.
fn elsewhere(context: &Context) -> Option<String> {
    let slots = slots::open(context, Access::Read).ok()?;
    let (booted, next) = (slots.booted()?, slots.next()?);
    (booted != next).then(|| {
        format!(
            "The next reboot still boots {}. To undo that: {}",
            slots.slots()[next].name(),
            context.command("rollback --undo")
        )
    })
}
