//! `pointsman agent`.

use super::{Context, Failure};
use crate::agent::{self, driver::Mode};

/// Runs the agent until it is told to end.
///
/// # Errors
/// When it cannot start, or the system bus goes away.
pub async fn run(context: Context) -> Result<(), Failure> {
    agent::run(context.config, Mode::Service).await?;
    Ok(())
}
