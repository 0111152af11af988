//! `pointsman serve` as a process of its own, asked by clients of FleetLock over raw connections.

mod limits;
mod protocol;
mod status;
mod trouble;
mod turns;

use std::{net::SocketAddr, time::Duration};

use pointsman_testbed::{
    etcd::{shared_cluster, unique_prefix},
    process::{Child, Spec},
    scratch,
};
use semaphore::etcd::Semaphore;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    agents::bin,
    support::{eventually, found, on},
};

/// The most that an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that ends with the test.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    status: u16,
    /// The head, in lower case.
    head: String,
    body: String,
}

impl Reply {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("no answer: {text:?}")),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    /// The status, the kind, and the text for people.
    fn refusal(&self) -> (u16, String, String) {
        let json: Value = serde_json::from_str(&self.body).unwrap_or_default();
        assert!(
            self.head.contains("content-type: application/json"),
            "{self:?}"
        );
        let text = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            json.as_object().map(serde_json::Map::len),
            Some(2),
            "{self:?}"
        );
        (self.status, text("kind"), text("value"))
    }

    pub(crate) fn kind(&self) -> (u16, String) {
        let (status, kind, _) = self.refusal();
        (status, kind)
    }
}

impl Server {
    /// A server on these endpoints of etcd.
    pub(crate) async fn at(endpoints: &[String], prefix: &str, more: &[&str]) -> Self {
        let endpoints = endpoints.join(",");
        let etcd = ["--endpoint", &endpoints, "--key-prefix", prefix];
        Self::run(&[&etcd[..], more].concat()).await
    }

    async fn run(args: &[&str]) -> Self {
        let dir = scratch::dir("serve");
        let root = dir.path().display().to_string();
        let spec = Spec::new(bin(), dir.path().join("log"))
            .args(["serve", "--listen", "127.0.0.1:0", "--root", &root])
            .args(args)
            .env("POINTSMAN_RETRY_MIN", "20ms")
            .env("POINTSMAN_RETRY_MAX", "200ms");
        let child = spec.spawn();
        let listening = |log: &String| {
            let (_, rest) = log.split_once("listening on http")?;
            let (_, rest) = rest.split_once("://")?;
            rest.split_whitespace().next()?.parse().ok()
        };
        let log = eventually(
            "the server listens",
            async || {
                let log = child.log();
                assert!(child.is_running(), "{log}");
                log
            },
            |log| listening(log).is_some(),
        )
        .await;
        Self {
            address: listening(&log).expect("just looked"),
            child,
            _dir: dir,
        }
    }

    /// Sends these bytes over a connection of their own, and reads to its end.
    async fn send(&self, bytes: &[u8]) -> Reply {
        send(self.address, bytes).await
    }

    async fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        self.send(request(method, path, headers, body).as_bytes())
            .await
    }

    /// A call as Zincati makes it.
    async fn call(&self, call: &str, id: &str, group: &str) -> Reply {
        let path = format!("/v1/{call}");
        let body = params(id, group);
        self.request("POST", &path, TRUE, &body).await
    }

    pub(crate) async fn pre_reboot(&self, id: &str) -> Reply {
        self.call("pre-reboot", id, "default").await
    }

    pub(crate) async fn steady_state(&self, id: &str) -> Reply {
        self.call("steady-state", id, "default").await
    }

    /// Takes a place that must be free.
    pub(crate) async fn takes(&self, id: &str) {
        let reply = self.pre_reboot(id).await;
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (200, ""),
            "{id}: {reply:?}"
        );
    }

    /// Gives back, which always succeeds.
    pub(crate) async fn releases(&self, id: &str) {
        let reply = self.steady_state(id).await;
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (200, ""),
            "{id}: {reply:?}"
        );
    }

    /// Asks in vain; the kind must be this one, and the text is returned.
    async fn refused(&self, id: &str, kind: &str) -> String {
        let (status, found, value) = self.pre_reboot(id).await.refusal();
        assert_eq!((status, found.as_str()), (423, kind), "{id}: {value}");
        value
    }
}

/// The header of the protocol.
const TRUE: &str = "fleet-lock-protocol: true\r\n";

fn params(id: &str, group: &str) -> String {
    json!({"client_params": {"id": id, "group": group}}).to_string()
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: locks.example\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends these bytes to whoever listens there, and reads to the end.
async fn send(address: SocketAddr, bytes: &[u8]) -> Reply {
    let asked = async {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        // A server that answers early need not read the rest.
        let _ = stream.write_all(bytes).await;
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text).await;
        String::from_utf8(text).expect("an answer is text")
    };
    let text = timeout(PATIENCE, asked).await.expect("answered in time");
    Reply::read(&text)
}

/// The default group on the shared etcd, with its document, and a server for it.
struct Place {
    prefix: String,
    semaphore: Semaphore,
    server: Server,
}

impl Place {
    async fn new(name: &str, max: u32) -> Self {
        let prefix = unique_prefix(name);
        let semaphore = on(shared_cluster(), &prefix);
        found(&semaphore).await;
        semaphore.set_max(max, false).await.unwrap();
        Self {
            server: Server::at(&shared_cluster().endpoints(), &prefix, &[]).await,
            prefix,
            semaphore,
        }
    }

    /// Another server of the same reboot locks.
    async fn replica(&self) -> Server {
        Server::at(&shared_cluster().endpoints(), &self.prefix, &[]).await
    }

    async fn holders(&self) -> Vec<String> {
        let group = self.semaphore.read().await.unwrap();
        let document = group.document.unwrap().unwrap();
        let entries: Vec<String> = group.holders.into_iter().map(|held| held.id).collect();
        assert_eq!(
            document.holders, entries,
            "document and entries say the same"
        );
        document.holders
    }
}
