//! `pointsman serve`.

use std::net::SocketAddr;

use super::{Context, Exit, Failure};
use crate::{
    agent::effects::EffectRunner,
    serve::{self, EtcdStore, ServeError},
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address and port to listen on.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9119")]
    listen: SocketAddr,
}

/// Serves until it is told to end.
///
/// # Errors
/// When it cannot listen, or etcd has a group called `default`.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let store = EtcdStore {
        semaphore: context.semaphore_of(host::node::Group::default())?,
        deadline: context.config.timings.reboot_deadline,
        root: context.config.root.clone(),
    };
    let back_off = EffectRunner::back_off(&context.config);
    let served = serve::run(args.listen, store, back_off).await;
    served.map_err(|error| match error {
        ServeError::GroupDefault => Failure::new(Exit::Usage, error.to_string()),
        _ => Failure::new(Exit::Failed, error.to_string()),
    })
}
