//! What this node's services say over the bus.

use host::{
    clock,
    update_engine::{self, UpdateEngine as Client},
};
use jiff::Timestamp;
use zbus::Connection;

use crate::{
    agent::bus::{AgentClient, ClientError},
    cli::{
        Context,
        doctor::facts::{Agent, Clock, UpdateEngine},
    },
};

/// This node's agent.
pub(super) async fn agent(context: &Context) -> Agent {
    let asked = async {
        AgentClient::connect(&context.config.root)
            .await?
            .properties()
            .await
    };
    match asked.await {
        Ok(said) => Agent::Runs {
            version: said.version,
            state: said.state,
            waits_for: said.waits_for,
            config_error: said.config_error,
            etcd_error: said.etcd_error,
        },
        Err(ClientError::NotRunning) => Agent::Absent,
        Err(error) => Agent::Silent(error.into()),
    }
}

/// update_engine.
pub(super) async fn update_engine(context: &Context, connection: &Connection) -> UpdateEngine {
    if !update_engine::installed(connection, &context.config.root).await {
        let files = context.config.sentinels.iter();
        let files: Vec<_> = files.map(|file| file.display().to_string()).collect();
        return UpdateEngine::None(files.join(" or "));
    }
    match Client::new(connection).get_status().await {
        Ok(status) => {
            let checked = Timestamp::from_second(status.last_checked).ok();
            let checked = checked.filter(|_| status.last_checked > 0);
            UpdateEngine::Does(
                status.operation.to_string(),
                checked.map(|at| context.time(at)),
            )
        }
        Err(error) => UpdateEngine::Silent(error.into()),
    }
}

/// The clock.
pub(super) async fn clock(connection: &Connection) -> Clock {
    match clock::is_synchronised(connection).await {
        Ok(true) => Clock::Synchronised,
        Ok(false) => Clock::Adrift,
        Err(error) => Clock::Unknown(error.to_string()),
    }
}
