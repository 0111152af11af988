//! What kind of cluster a test wants.

use std::path::{Path, PathBuf};

use super::Cluster;

/// Which generation of etcd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// `etcd` in PATH: Debian 12 has 3.4.
    #[default]
    Debian,
    /// The 3.5 binary that the variable `POINTSMAN_ETCD35` names, else `target/etcd35/etcd` in the workspace.
    V35,
}

impl Version {
    /// The etcd binary. Panics with what to do when it is missing.
    pub(super) fn etcd(self) -> PathBuf {
        match self {
            Self::Debian => "etcd".into(),
            Self::V35 => {
                let path = std::env::var_os("POINTSMAN_ETCD35").map_or_else(
                    || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/etcd35/etcd"),
                    PathBuf::from,
                );
                assert!(
                    path.is_file(),
                    "etcd 3.5 is not at {}: `make etcd35` fetches it, or let POINTSMAN_ETCD35 name the binary",
                    path.display()
                );
                path
            }
        }
    }

    /// The etcdctl of the same version where there is one: it restores backups.
    pub(super) fn etcdctl(self) -> PathBuf {
        let sibling = self.etcd().with_file_name("etcdctl");
        if sibling.is_absolute() && sibling.is_file() {
            sibling
        } else {
            "etcdctl".into()
        }
    }
}

/// How clients reach the members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// http.
    #[default]
    None,
    /// https; any client that trusts the CA is let in.
    ServerOnly,
    /// https; only clients with a certificate of the CA are let in.
    ClientCert,
}

/// Options of a cluster; made by [`Cluster::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) members: usize,
    pub(super) version: Version,
    pub(super) tls: Tls,
    pub(super) password: Option<String>,
    pub(super) fast_elections: bool,
    pub(super) snapshot_count: Option<u64>,
    pub(super) quota: Option<u64>,
    pub(super) v2: bool,
}

impl Builder {
    pub(super) fn new(members: usize) -> Self {
        assert!(members > 0, "a cluster has at least one member");
        Self {
            members,
            version: Version::default(),
            tls: Tls::default(),
            password: None,
            fast_elections: false,
            snapshot_count: None,
            quota: None,
            v2: false,
        }
    }

    /// Which etcd to run.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// http or https, with or without client certificates. Peers always talk plain http.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// Turns authentication on, with the user `root` and this password.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Heartbeats every 50 ms and elections after 500 ms instead of 100 ms and 1 s: for tests in which leaders are
    /// lost. On a busy machine the leader may then change for no other reason.
    #[must_use]
    pub fn fast_elections(mut self) -> Self {
        self.fast_elections = true;
        self
    }

    /// `--snapshot-count`: after how many raft entries a member writes a snapshot and forgets its log.
    #[must_use]
    pub fn snapshot_count(mut self, entries: u64) -> Self {
        self.snapshot_count = Some(entries);
        self
    }

    /// `--quota-backend-bytes`: beyond this size the store takes no more writes.
    #[must_use]
    pub fn quota(mut self, bytes: u64) -> Self {
        self.quota = Some(bytes);
        self
    }

    /// `--enable-v2`: serves the API that locksmith speaks as well.
    #[must_use]
    pub fn v2(mut self) -> Self {
        self.v2 = true;
        self
    }

    /// Starts it and waits until every member answers.
    pub async fn start(self) -> Cluster {
        Cluster::start_with(self).await
    }
}
