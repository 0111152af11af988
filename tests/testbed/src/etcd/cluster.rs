//! The members: their ports, processes and lives.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use etcd_client::{Certificate, Client, ConnectOptions, GetOptions, Identity, TlsOptions};
use tempfile::TempDir;
use tokio::time::timeout;

use super::{Builder, Certificates, Tls};
use crate::process::{Child, Signal, Spec};

pub(super) const START_LIMIT: Duration = Duration::from_secs(60);
pub(super) const RETRY: Duration = Duration::from_millis(20);
const USER: &str = "root";

/// A running cluster. Its members are numbered from 0. Dropping it kills them and removes their data.
#[derive(Debug)]
pub struct Cluster {
    options: Builder,
    members: Vec<Member>,
    certificates: Option<Certificates>,
    tokens: AtomicUsize,
    /// Off while the user is being made.
    password: Option<String>,
    dir: TempDir,
}

#[derive(Debug)]
struct Member {
    client: SocketAddr,
    peer: SocketAddr,
    metrics: SocketAddr,
    process: Mutex<Process>,
}

#[derive(Debug, Default)]
struct Process {
    child: Option<Child>,
    stopped: bool,
}

impl Member {
    fn new() -> Self {
        let (client, peer, metrics) = (free_port(), free_port(), free_port());
        Self {
            client,
            peer,
            metrics,
            process: Mutex::default(),
        }
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Runs, and is not stopped.
    fn is_up(&self) -> bool {
        let process = self.process();
        !process.stopped && process.child.as_ref().is_some_and(Child::is_running)
    }
}

/// A port of 127.0.0.1 that nobody listens on. A connection through it is left in TIME_WAIT, so that for a minute the
/// kernel gives it to nobody who lets it choose, while a listener that names it can have it (SO_REUSEADDR).
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("127.0.0.1 has a free port");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    let client = TcpStream::connect(address).expect("a listening socket accepts");
    // The side that closes first keeps the TIME_WAIT.
    drop(listener.accept());
    drop(client);
    address
}

impl Cluster {
    /// A cluster with the default options: Debian's etcd over http.
    pub async fn start(members: usize) -> Self {
        Self::builder(members).start().await
    }

    /// Options first, then [`Builder::start`].
    pub fn builder(members: usize) -> Builder {
        Builder::new(members)
    }

    pub(super) async fn start_with(options: Builder) -> Self {
        let mut last = String::new();
        for _ in 0..5 {
            match Self::try_start(options.clone()).await {
                Ok(cluster) => return cluster,
                // Somebody was quicker with one of the ports: take others.
                Err(log) if log.contains("address already in use") => last = log,
                Err(log) => {
                    panic!("etcd does not start (Debian package etcd-server); its log ends:\n{log}")
                }
            }
        }
        panic!("etcd found its port taken five times; its log ends:\n{last}");
    }

    async fn try_start(options: Builder) -> Result<Self, String> {
        let dir = crate::scratch::dir("etcd");
        let certificates = (options.tls != Tls::None).then(|| Certificates::write(dir.path()));
        let members = (0..options.members).map(|_| Member::new()).collect();
        let mut cluster = Self {
            options,
            members,
            certificates,
            tokens: AtomicUsize::new(0),
            password: None,
            dir,
        };
        for i in 0..cluster.len() {
            cluster.spawn_member(i);
        }
        for i in 0..cluster.len() {
            cluster.await_member(i).await?;
        }
        if let Some(password) = cluster.options.password.clone() {
            cluster
                .enable_auth(&password)
                .await
                .unwrap_or_else(|e| panic!("cannot turn authentication on: {e}"));
            cluster.password = Some(password);
        }
        Ok(cluster)
    }

    async fn enable_auth(&self, password: &str) -> Result<(), etcd_client::Error> {
        let mut client = self.client().await;
        client.role_add(USER).await?;
        client.user_add(USER, password, None).await?;
        client.user_grant_role(USER, USER).await?;
        client.auth_enable().await?;
        Ok(())
    }

    /// How many members it has, whatever their state. Never zero.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// The directory with the members' data, logs and certificates.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The certificates of a cluster with TLS; panics without.
    pub fn certificates(&self) -> &Certificates {
        self.certificates
            .as_ref()
            .expect("this cluster was started without TLS")
    }

    /// The members that run and are not hung.
    pub(super) fn up(&self) -> Vec<usize> {
        (0..self.len())
            .filter(|&i| self.members[i].is_up())
            .collect()
    }

    pub(super) fn metrics_address(&self, i: usize) -> SocketAddr {
        self.members[i].metrics
    }

    pub(super) fn options(&self) -> &Builder {
        &self.options
    }

    /// The URLs of all members.
    pub fn endpoints(&self) -> Vec<String> {
        (0..self.len()).map(|i| self.endpoint(i)).collect()
    }

    /// The URL of one member.
    pub fn endpoint(&self, i: usize) -> String {
        let scheme = if self.certificates.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.members[i].client)
    }

    /// The address of one member, for a [`crate::proxy::Proxy`].
    pub fn address(&self, i: usize) -> SocketAddr {
        self.members[i].client
    }

    /// A client of all members, with the certificates and the password the cluster asks for. It picks a member for
    /// each request: use it only while all are up, else [`Self::client_of`].
    pub async fn client(&self) -> Client {
        self.connect(&self.endpoints())
            .await
            .unwrap_or_else(|e| panic!("no client for {:?}: {e}", self.endpoints()))
    }

    /// A client of one member.
    pub async fn client_of(&self, i: usize) -> Client {
        self.connect(&[self.endpoint(i)])
            .await
            .unwrap_or_else(|e| panic!("no client for {}: {e}", self.endpoint(i)))
    }

    pub(super) async fn connect(&self, endpoints: &[String]) -> Result<Client, etcd_client::Error> {
        let mut options = ConnectOptions::new().with_connect_timeout(Duration::from_secs(5));
        if let Some(files) = &self.certificates {
            let read = |path: &Path| {
                std::fs::read(path)
                    .unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
            };
            let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(read(&files.ca)));
            if self.options.tls == Tls::ClientCert {
                tls = tls.identity(Identity::from_pem(
                    read(&files.client_cert),
                    read(&files.client_key),
                ));
            }
            options = options.with_tls(tls);
        }
        if let Some(password) = &self.password {
            options = options.with_user(USER, password);
        }
        Client::connect(endpoints, Some(options)).await
    }

    /// Hangs a member (SIGSTOP): its connections stay open and nothing answers.
    pub fn stop_member(&self, i: usize) {
        let mut process = self.members[i].process();
        process
            .child
            .as_ref()
            .unwrap_or_else(|| panic!("member {i} is not running"))
            .signal(Signal::SIGSTOP);
        process.stopped = true;
    }

    /// Lets a hung member go on (SIGCONT).
    pub fn cont_member(&self, i: usize) {
        let mut process = self.members[i].process();
        process
            .child
            .as_ref()
            .unwrap_or_else(|| panic!("member {i} is not running"))
            .signal(Signal::SIGCONT);
        process.stopped = false;
    }

    /// Kills a member (SIGKILL) and waits for its end. Connections to it are refused from then on.
    pub async fn kill_member(&self, i: usize) {
        let process = std::mem::take(&mut *self.members[i].process());
        if let Some(child) = process.child {
            child.kill().await;
        }
    }

    /// Starts a killed member on its data and its address again and waits until it answers. A member serves only
    /// once it has found a quorum: where there is none yet, use [`Self::spawn_member`].
    pub async fn restart_member(&self, i: usize) {
        self.kill_member(i).await;
        self.spawn_member(i);
        self.wait_member(i).await;
    }

    /// Starts a killed member without waiting for it.
    pub fn spawn_member(&self, i: usize) {
        self.spawn_member_in(i, "new");
    }

    /// Starts a member of a cluster in this state.
    fn spawn_member_in(&self, i: usize, state: &str) {
        let member = &self.members[i];
        let mut spec = Spec::new(self.options.version.etcd(), self.log(i))
            .arg(format!("--data-dir={}", self.data_dir(i).display()))
            .arg(format!("--listen-client-urls={}", self.endpoint(i)))
            .arg(format!("--advertise-client-urls={}", self.endpoint(i)))
            .arg(format!("--listen-peer-urls=http://{}", member.peer))
            .arg(format!("--listen-metrics-urls=http://{}", member.metrics))
            .arg(format!("--initial-cluster-state={state}"))
            .args(["--logger=zap", "--log-level=warn"])
            .args(self.identity_args(i, &self.token()));
        if let Some(files) = &self.certificates {
            spec = spec
                .arg(format!("--cert-file={}", files.server_cert.display()))
                .arg(format!("--key-file={}", files.server_key.display()));
            if self.options.tls == Tls::ClientCert {
                spec = spec
                    .arg("--client-cert-auth")
                    .arg(format!("--trusted-ca-file={}", files.ca.display()));
            }
        }
        if self.options.fast_elections {
            spec = spec.args(["--heartbeat-interval=50", "--election-timeout=500"]);
        }
        if let Some(entries) = self.options.snapshot_count {
            spec = spec.arg(format!("--snapshot-count={entries}"));
        }
        if self.options.v2 {
            spec = spec.arg("--enable-v2=true");
        }
        if let Some(bytes) = self.options.quota {
            spec = spec.arg(format!("--quota-backend-bytes={bytes}"));
        }
        let old = std::mem::replace(
            &mut *member.process(),
            Process {
                child: Some(spec.spawn()),
                stopped: false,
            },
        );
        assert!(
            old.child.is_none_or(|c| !c.is_running()),
            "member {i} runs already"
        );
    }

    /// Takes a member out of the cluster, and a new one with nothing in at its addresses.
    pub async fn replace_member(&self, i: usize) {
        let name = format!("m{i}");
        let peer = format!("http://{}", self.members[i].peer);
        let old = self.ask_other(i, async |client| {
            let list = client.member_list().await?;
            let old = list.members().iter().find(|member| member.name() == name);
            Ok(old.map(etcd_client::Member::id))
        });
        let old = old.await.unwrap_or_else(|| panic!("{name} is no member"));
        self.ask_other(i, async |client| {
            let list = client.member_list().await?;
            if list.members().iter().any(|member| member.id() == old) {
                client.member_remove(old).await?;
            }
            Ok(())
        })
        .await;
        self.kill_member(i).await;
        self.ask_other(i, async |client| {
            let list = client.member_list().await?;
            let there = |member: &etcd_client::Member| member.peer_urls().contains(&peer);
            if !list.members().iter().any(there) {
                client.member_add([peer.clone()], None).await?;
            }
            Ok(())
        })
        .await;
        let data = self.data_dir(i);
        std::fs::remove_dir_all(&data)
            .unwrap_or_else(|e| panic!("cannot remove {}: {e}", data.display()));
        self.spawn_member_in(i, "existing");
        self.wait_member(i).await;
    }

    /// Asks another member than this one, again and again: a cluster that has just lost one refuses to be changed for a moment,
    /// and may not answer at all.
    async fn ask_other<T>(
        &self,
        i: usize,
        ask: impl AsyncFn(&mut Client) -> Result<T, etcd_client::Error>,
    ) -> T {
        let deadline = Instant::now() + START_LIMIT;
        for other in (0..self.len()).cycle().filter(|&other| other != i) {
            let mut client = self.client_of(other).await;
            match timeout(Duration::from_secs(3), ask(&mut client)).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(error)) => assert!(Instant::now() < deadline, "refused: {error}"),
                Err(_) => assert!(Instant::now() < deadline, "no answer"),
            }
            tokio::time::sleep(RETRY).await;
        }
        unreachable!("the members are asked in turn for ever")
    }

    /// The arguments that say who the member is and who belongs to the cluster; etcdctl restore takes the same.
    pub(super) fn identity_args(&self, i: usize, token: &str) -> Vec<String> {
        let all: Vec<String> = self
            .members
            .iter()
            .enumerate()
            .map(|(i, m)| format!("m{i}=http://{}", m.peer))
            .collect();
        vec![
            format!("--name=m{i}"),
            format!(
                "--initial-advertise-peer-urls=http://{}",
                self.members[i].peer
            ),
            format!("--initial-cluster={}", all.join(",")),
            format!("--initial-cluster-token={token}"),
        ]
    }

    pub(super) fn token(&self) -> String {
        format!(
            "{}-{}",
            self.members[0].peer,
            self.tokens.load(Ordering::SeqCst)
        )
    }

    /// Another token, and so another cluster id.
    pub(super) fn next_token(&self) -> String {
        self.tokens.fetch_add(1, Ordering::SeqCst);
        self.token()
    }

    pub(super) fn data_dir(&self, i: usize) -> PathBuf {
        self.dir.path().join(format!("m{i}"))
    }

    fn log(&self, i: usize) -> PathBuf {
        self.dir.path().join(format!("m{i}.log"))
    }

    /// Waits until a member answers a read that needs a quorum; panics with its log after a minute.
    pub async fn wait_member(&self, i: usize) {
        self.await_member(i)
            .await
            .unwrap_or_else(|log| panic!("etcd member {i} does not answer; its log ends:\n{log}"));
    }

    /// The error is the end of the member's log.
    async fn await_member(&self, i: usize) -> Result<(), String> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let mut problem = String::from("timed out");
            let ask = async {
                let mut client = self.connect(&[self.endpoint(i)]).await?;
                client
                    .get("ready", Some(GetOptions::new().with_keys_only()))
                    .await
            };
            match timeout(Duration::from_secs(2), ask).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(e)) => problem = e.to_string(),
                Err(_) => {}
            }
            {
                let process = self.members[i].process();
                let child = process.child.as_ref().ok_or("it was not started")?;
                if !child.is_running() || Instant::now() > deadline {
                    return Err(format!("{}\nlast answer: {problem}", child.log_tail(20)));
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}
