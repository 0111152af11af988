//! `pointsman serve`.

mod page;
mod source;

use std::path::Path;

use host::node;
use semaphore::file::{FileError, FileStore};
use settings::{ConfigError, Origin, PlaceStore, Sources};

use super::{Context, Exit, Failure, output};
use source::{InEtcd, InFile};

use crate::{
    agent::effects::EffectRunner,
    serve::{self, Backend, EtcdStore, Limits, Places, ServeError, Setup, Source, Tls},
};

/// The arguments. Each is a setting of the configuration too, whose values count where a flag is not given.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address and port to listen on [default: 127.0.0.1:9119]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Where the places are: `etcd`, or `file:PATH` for one machine without etcd [default: etcd]
    #[arg(long, value_name = "etcd|file:PATH")]
    store: Option<String>,
    /// Certificate of the server (PEM), with those between it and its authority. It needs --tls-key
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// Key (PEM) of the server's certificate
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// CA certificates (PEM) that the certificates of clients are checked with. Clients without one are not served
    #[arg(long, value_name = "FILE")]
    client_ca: Option<String>,
    /// Listen on an address other than loopback although clients need no certificate: whoever reaches it may take and release places
    #[arg(long)]
    allow_unauthenticated: bool,
    /// Most connections at a time; the others wait until one ends [default: 2048]
    #[arg(long, value_name = "N")]
    max_connections: Option<String>,
    /// Longest time until the head of a request has come, and again until its body has; a client that is slower is
    /// disconnected [default: 10s]
    #[arg(long, value_name = "DURATION")]
    request_timeout: Option<String>,
}

impl Args {
    /// Lays these flags over the other settings.
    ///
    /// # Errors
    /// When a value is not what the setting takes.
    pub fn add_to(&self, sources: &mut Sources) -> Result<(), ConfigError> {
        let root = sources.root.clone();
        // A person names a file from where they stand.
        let here = |path: &String| match root.is_host() && !path.is_empty() {
            true => std::path::absolute(path)
                .map_or_else(|_| path.clone(), |path| path.display().to_string()),
            false => path.clone(),
        };
        let store = self
            .store
            .as_ref()
            .map(|store| match store.strip_prefix("file:") {
                Some(path) => format!("file:{}", here(&path.to_owned())),
                None => store.clone(),
            });
        let anyone = self.allow_unauthenticated.then(|| "true".to_owned());
        for (flag, key, given) in [
            ("--listen", "serve.listen", self.listen.clone()),
            ("--store", "serve.store", store),
            (
                "--tls-cert",
                "serve.tls-cert",
                self.tls_cert.as_ref().map(here),
            ),
            (
                "--tls-key",
                "serve.tls-key",
                self.tls_key.as_ref().map(here),
            ),
            (
                "--client-ca",
                "serve.client-ca",
                self.client_ca.as_ref().map(here),
            ),
            (
                "--allow-unauthenticated",
                "serve.allow-unauthenticated",
                anyone,
            ),
            (
                "--max-connections",
                "serve.max-connections",
                self.max_connections.clone(),
            ),
            (
                "--request-timeout",
                "serve.request-timeout",
                self.request_timeout.clone(),
            ),
        ] {
            if let Some(text) = given {
                sources.flags.set(key, &text, Origin::Flag(flag))?;
            }
        }
        Ok(())
    }
}

/// Serves until it is told to end.
///
/// # Errors
/// When it cannot listen, or etcd has a group called `default`.
pub async fn run(context: &Context) -> Result<(), Failure> {
    let config = &context.config;
    let (backend, source) = match &config.serve.store {
        PlaceStore::Etcd => in_etcd(context)?,
        PlaceStore::File(path) => in_file(context, path)?,
    };
    let setup = Setup {
        listen: config.serve.listen,
        limits: Limits {
            connections: config.serve.max_connections,
            wait: config.serve.request_timeout,
        },
        tls: Tls::of(config),
        allow_unauthenticated: config.serve.allow_unauthenticated,
        back_off: EffectRunner::back_off(config),
    };
    let served = serve::run(setup, backend, source).await;
    served.map_err(|error| match error {
        ServeError::Listen { .. } | ServeError::System(_) => {
            Failure::new(Exit::Failed, error.to_string())
        }
        _ => Failure::new(Exit::Usage, error.to_string()),
    })
}

/// The reboot locks in etcd, and what is shown of them.
fn in_etcd(context: &Context) -> Result<(Backend, Box<dyn Source>), Failure> {
    let semaphore = context.semaphore()?;
    let root = context.config.root.clone();
    let reader = semaphore.of_group(node::Group::default());
    let source = InEtcd::new(reader, root.clone());
    let store = EtcdStore {
        semaphore,
        deadline: context.config.timings.reboot_deadline,
        root,
    };
    Ok((Backend::Etcd(store), Box::new(source)))
}

/// The places in a file, and what is shown of them.
fn in_file(context: &Context, path: &Path) -> Result<(Backend, Box<dyn Source>), Failure> {
    if let Some(flag) = context.flag_of_etcd() {
        return Err(Failure::new(
            Exit::Usage,
            format!("{flag} cannot be used with --store file:PATH: it does not use etcd"),
        ));
    }
    let store = FileStore::new(context.config.root.path(path));
    store.groups().map_err(|error| {
        let missing = matches!(error, FileError::Missing(_));
        let failure = Failure::new(Exit::Usage, format!("serve.store: {error}"));
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
    let source = InFile::new(store.clone(), context.config.root.clone(), path);
    let places = Places::new(store, context.config.timings.reboot_deadline);
    Ok((Backend::File(places), Box::new(source)))
}
