//! `pointsman serve`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use host::{duration, node};

use super::{Context, Exit, Failure, output, status::gather};
use crate::{
    agent::effects::EffectRunner,
    serve::{self, EtcdStore, Limits, ServeError, Setup},
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address and port to listen on.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9119")]
    listen: SocketAddr,
    /// Most connections at a time; the others wait until one ends.
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = connections)]
    max_connections: usize,
    /// Longest time until the head of a request has come, and again until its body has; a client that is slower is disconnected.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = wait)]
    request_timeout: Duration,
}

fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=100_000) => Ok(number),
        _ => Err("expected a whole number from 1 to 100000".into()),
    }
}

fn wait(text: &str) -> Result<Duration, String> {
    let found = duration::parse(text).map_err(|error| format!("expected {}", error.expected()))?;
    let (least, most) = (Duration::from_millis(100), Duration::from_secs(600));
    match (least..=most).contains(&found) {
        true => Ok(found),
        false => Err(format!(
            "expected {} to {}",
            duration::print(least),
            duration::print(most)
        )),
    }
}

/// Serves until it is told to end.
///
/// # Errors
/// When it cannot listen, or etcd has a group called `default`.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let semaphore = context.semaphore()?;
    // Over the same connection, and without a memory: what is read of a restored store is shown as it is.
    let reader = semaphore.of_group(node::Group::default());
    let status = Box::new(move || {
        let reader = reader
            .of_group(node::Group::default())
            .with_memory(Arc::default());
        async move {
            match gather::of_cluster(&reader).await {
                Ok(status) => Ok(output::to_json(&status)),
                Err(status) => Err(output::to_json(&status)),
            }
        }
        .boxed_local()
    });
    let store = EtcdStore {
        semaphore,
        deadline: context.config.timings.reboot_deadline,
        root: context.config.root.clone(),
    };
    let setup = Setup {
        listen: args.listen,
        limits: Limits {
            connections: args.max_connections,
            wait: args.request_timeout,
        },
        back_off: EffectRunner::back_off(&context.config),
    };
    let served = serve::run(setup, store, status).await;
    served.map_err(|error| match error {
        ServeError::GroupDefault => Failure::new(Exit::Usage, error.to_string()),
        _ => Failure::new(Exit::Failed, error.to_string()),
    })
}
