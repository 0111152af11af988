//! Where user data comes from: one file a source.
//!
//! - `source`: how people name sources
//! - [`resolve`]: all of them asked at once, the first that is there taken
//! - `unavailable`: why a source gave nothing, and whether to ask again; `retry`: for how long
//! - `metadata`: what a platform says of the node beside
//!
//! The sources know neither the semaphore nor its etcd: who asks for a key of etcd hands the way to read it in.

mod cmdline;
mod config_drive;
mod digitalocean;
mod ec2;
mod file;
mod gce;
mod metadata;
mod openstack;
mod ovf_env;
mod packet;
mod platforms;
mod resolve;
mod retry;
mod service;
mod source;
mod unavailable;
mod url;
mod waagent;

use std::{cell::OnceCell, time::Duration};

use futures_util::future::LocalBoxFuture;

pub use metadata::Metadata;
pub use resolve::{NoSource, resolve};
pub(crate) use retry::RetrySchedule;
pub use source::{Document, FORMS, Platform, Source, SourceError, SourceFault, UrlFault};
pub use unavailable::{Retry, SourceLocation, Unavailable};

use host::{
    http::{Http, Limits},
    node::{Root, RootPath},
};

use self::file::apart;
use super::{
    LARGEST,
    problem::{Fault, Problem},
};

/// What one request may cost: a document of the largest size comes through a slow line, and a server that stalls or
/// never ends is given up.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    idle: Duration::from_secs(10),
    total: Duration::from_secs(60),
    most: LARGEST as usize,
    redirects: 5,
    proxies: true,
};

/// Reads a key of etcd: its value, none if it does not exist, or why it cannot be read.
pub type Lookup = dyn Fn(String) -> LocalBoxFuture<'static, Result<Option<Vec<u8>>, Unavailable>>;

/// How sources are asked.
pub struct Options<'a> {
    /// The root of the machine's files. A file that a person names is not below it.
    pub root: Root,
    /// How long to wait for a source. Without it, only a problem that may pass soon is waited for.
    pub wait: Option<Duration>,
    /// The limits of one request.
    pub limits: Limits,
    /// The connection to etcd, if one of the sources needs it.
    pub etcd: Option<&'a Lookup>,
}

impl Options<'_> {
    /// Returns the default options for this machine.
    #[must_use]
    pub fn new(root: Root) -> Self {
        Self {
            root,
            wait: None,
            limits: LIMITS,
            etcd: None,
        }
    }
}

/// The user data of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The user data; empty where the platform has only metadata.
    pub user_data: Vec<u8>,
    /// What the platform says of the node.
    pub metadata: Metadata,
    /// The source, as people name it.
    pub origin: String,
    /// The sources before it that were not available.
    pub passed: Vec<(String, Unavailable)>,
}

/// What one source gives.
#[derive(Debug, Default)]
struct Found {
    user_data: Vec<u8>,
    metadata: Metadata,
    /// There may be user data later: a caller that waits for the source waits for it.
    is_partial: bool,
}

impl From<Vec<u8>> for Found {
    fn from(user_data: Vec<u8>) -> Self {
        Self {
            user_data,
            metadata: Metadata::default(),
            is_partial: false,
        }
    }
}

/// The clients for sources, each created when it is needed: reading a file needs no certificates.
struct Clients<'a> {
    root: &'a Root,
    limits: &'a Limits,
    documents: OnceCell<Http>,
    services: OnceCell<Http>,
    etcd: Option<&'a Lookup>,
}

impl<'a> Clients<'a> {
    fn new(options: &'a Options<'a>) -> Self {
        Self {
            root: &options.root,
            limits: &options.limits,
            documents: OnceCell::new(),
            services: OnceCell::new(),
            etcd: options.etcd,
        }
    }

    /// Returns the client for documents: with redirects, and with the proxy of the environment.
    fn documents(&self) -> Result<&Http, Unavailable> {
        made(&self.documents, self.limits)
    }

    /// Returns the client for platforms' services, which are on the node's network.
    fn services(&self) -> Result<&Http, Unavailable> {
        let near = Limits {
            redirects: 0,
            proxies: false,
            ..self.limits.clone()
        };
        made(&self.services, &near)
    }

    /// Asks a source once.
    async fn ask(&self, source: &Source) -> Result<Found, Unavailable> {
        let found = self.found(source).await?;
        // A server may be set up again, or a file be in the middle of a write: an empty document must not remove everything.
        if found.user_data.trim_ascii().is_empty() && !source.may_have_none() {
            return Err(Unavailable::empty(source, found.user_data.len()));
        }
        Ok(found)
    }

    async fn found(&self, source: &Source) -> Result<Found, Unavailable> {
        let root = self.root.clone();
        Ok(match source {
            Source::Stdin => apart(file::stdin).await?.into(),
            Source::File(path) => {
                let at = RootPath::named(path.clone());
                let read = apart(move || file::read(&at)).await;
                read.map_err(|unavailable| unavailable.named(path))?.into()
            }
            Source::Vagrant => apart(move || file::vagrant(&root)).await?.into(),
            Source::Install => apart(move || file::install(&root)).await?.into(),
            Source::Url(document) => url::fetch(document, self.documents()?).await?.into(),
            Source::Cmdline => {
                let document = apart(move || cmdline::read(&root)).await?;
                url::fetch(&document, self.documents()?).await?.into()
            }
            Source::ConfigDrive(Some(folder)) => {
                let folder = RootPath::named(folder.clone());
                apart(move || config_drive::read(&folder)).await?
            }
            Source::ConfigDrive(None) => config_drive::find(self.root).await?,
            Source::Service(platform, base) => {
                platforms::fetch(*platform, base, self.services()?).await?
            }
            Source::Waagent(folder) => {
                let folder = match folder {
                    Some(folder) => RootPath::named(folder.clone()),
                    None => waagent::usual(self.root),
                };
                apart(move || waagent::read(&folder)).await?
            }
            Source::OvfEnv(path) => ovf_env::read(path, || self.documents()).await?,
            Source::Etcd(key) => self.key(key).await?.into(),
        })
    }

    /// Reads a key of etcd.
    async fn key(&self, key: &str) -> Result<Vec<u8>, Unavailable> {
        let Some(lookup) = self.etcd else {
            return Err(Unavailable::never(Fault::Said(
                "no connection to etcd is configured".into(),
            )));
        };
        lookup(key.to_owned()).await?.ok_or_else(|| {
            let problem = Problem::found("no such key")
                .expected("a document")
                .remedy(format!("write one with `etcdctl put {key} <FILE`"));
            Unavailable::later(problem)
        })
    }
}

fn made<'a>(cell: &'a OnceCell<Http>, limits: &Limits) -> Result<&'a Http, Unavailable> {
    if cell.get().is_none() {
        // Nobody else can set it in between: there is no await.
        let _ = cell.set(Http::new(None, limits)?);
    }
    cell.get()
        .ok_or_else(|| Unavailable::never(Fault::Said("no HTTP client".into())))
}
