//! `pointsman agent`.

use settings::{Config, ConfigError};

use super::{Context, Failure};
use crate::agent::{self, driver::Mode};

/// Runs the agent until it is told to end.
///
/// # Errors
/// When it cannot start, or the system bus goes away.
pub async fn run(context: Context) -> Result<(), Failure> {
    let Context {
        config, sources, ..
    } = context;
    let reload = Box::new(move || checked(sources.load()?));
    agent::run(config, Mode::Service, Some(reload)).await?;
    Ok(())
}

/// A configuration whose certificates and password can be read as well: what would end a start must not end an
/// agent that runs.
fn checked(config: Config) -> Result<Config, ConfigError> {
    config.etcd_options()?;
    config.fleet_lock_tls()?;
    Ok(config)
}
