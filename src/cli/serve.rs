//! `pointsman serve`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt as _;
use host::{blocking, duration, node};
use semaphore::file::{FileError, FileStore};

use super::{
    Context, Exit, Failure, output,
    status::{Status, gather},
};
use crate::{
    agent::effects::EffectRunner,
    serve::{self, Backend, EtcdStore, Limits, Places, ReadStatus, ServeError, Setup},
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address and port to listen on.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9119")]
    listen: SocketAddr,
    /// Where the places are: `etcd`, or `file:PATH` for one machine without etcd.
    #[arg(long, value_name = "etcd|file:PATH", default_value = "etcd", value_parser = place)]
    store: Place,
    /// Most connections at a time; the others wait until one ends.
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = connections)]
    max_connections: usize,
    /// Longest time until the head of a request has come, and again until its body has; a client that is slower is disconnected.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = wait)]
    request_timeout: Duration,
}

/// Where the places are.
#[derive(Debug, Clone)]
enum Place {
    Etcd,
    File(PathBuf),
}

fn place(text: &str) -> Result<Place, String> {
    match text.strip_prefix("file:") {
        Some(path) if !path.is_empty() => Ok(Place::File(path.into())),
        None if text == "etcd" => Ok(Place::Etcd),
        _ => Err("expected `etcd`, or `file:` and a path".into()),
    }
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
    let (backend, status) = match &args.store {
        Place::Etcd => in_etcd(context)?,
        Place::File(path) => in_file(context, path)?,
    };
    let setup = Setup {
        listen: args.listen,
        limits: Limits {
            connections: args.max_connections,
            wait: args.request_timeout,
        },
        back_off: EffectRunner::back_off(&context.config),
    };
    let served = serve::run(setup, backend, status).await;
    served.map_err(|error| match error {
        ServeError::GroupDefault => Failure::new(Exit::Usage, error.to_string()),
        _ => Failure::new(Exit::Failed, error.to_string()),
    })
}

/// The reboot locks in etcd, and how their status is read.
fn in_etcd(context: &Context) -> Result<(Backend, ReadStatus), Failure> {
    let semaphore = context.semaphore()?;
    // Over the same connection, and without a memory: what is read of a restored store is shown as it is.
    let reader = semaphore.of_group(node::Group::default());
    let status = Box::new(move || {
        let reader = reader.of_group(node::Group::default());
        let reader = reader.with_memory(Arc::default());
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
    Ok((Backend::Etcd(store), status))
}

/// The places in a file, and how their status is read.
fn in_file(context: &Context, path: &Path) -> Result<(Backend, ReadStatus), Failure> {
    if let Some(flag) = context.flag_of_etcd() {
        return Err(Failure::new(
            Exit::Usage,
            format!("{flag} cannot be used with --store file:PATH: it does not use etcd"),
        ));
    }
    let root = &context.config.root;
    let absolute = match root.is_host() {
        true => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        false => path.to_owned(),
    };
    let store = FileStore::new(root.path(absolute));
    store.groups().map_err(|error| {
        let missing = matches!(error, FileError::Missing(_));
        let failure = Failure::new(Exit::Usage, format!("--store: {error}"));
        match missing {
            false => failure,
            true => failure.remedy(
                "create it, where one node may be out of service at a time",
                format!(
                    "echo '{{\"groups\":{{\"default\":{{\"max\":1}}}}}}' >{}",
                    output::word(&path.display().to_string())
                ),
            ),
        }
    })?;
    let reader = store.clone();
    let status = Box::new(move || {
        let reader = reader.clone();
        async move {
            match blocking::run(move || reader.groups()).await {
                Ok(groups) => Ok(output::to_json(&gather::of_file(groups))),
                Err(error) => Err(output::to_json(&Status {
                    etcd_error: Some(error.to_string()),
                    ..Status::default()
                })),
            }
        }
        .boxed_local()
    });
    let places = Places::new(store, context.config.timings.reboot_deadline);
    Ok((Backend::File(places), status))
}
