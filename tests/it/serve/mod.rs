//! `pointsman serve` as a process of its own, asked by clients of FleetLock over raw connections.

mod browser;
mod file;
mod limits;
mod page;
mod protocol;
mod status;
pub(crate) mod tls;
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
    pub(crate) address: SocketAddr,
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
        let listens = args.contains(&"--listen");
        let listen = if listens {
            &[][..]
        } else {
            &["--listen", "127.0.0.1:0"]
        };
        let own = if args.contains(&"--root") {
            &[][..]
        } else {
            &["--root", &root]
        };
        let spec = Spec::new(bin(), dir.path().join("log"))
            .arg("serve")
            .args(listen)
            .args(own)
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

    /// Releases, which always succeeds.
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

/// Where the places are that a server gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Store {
    Etcd,
    File,
}

/// The same test over each store.
macro_rules! on_both_stores {
    ($($test:ident),+ $(,)?) => {
        mod in_etcd {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::serve::Store::Etcd).await;
            })+
        }
        mod in_a_file {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::serve::Store::File).await;
            })+
        }
    };
}

use on_both_stores;

/// The default group in a store of its own, and a server for it.
pub(crate) struct Place {
    pub(crate) prefix: String,
    /// Asks etcd, also where the places are in a file.
    pub(crate) semaphore: Semaphore,
    pub(crate) server: Server,
    dir: tempfile::TempDir,
    store: Store,
}

impl Place {
    async fn new(name: &str, max: u32) -> Self {
        Self::within(Store::Etcd, name, max).await
    }

    pub(crate) async fn within(store: Store, name: &str, max: u32) -> Self {
        let prefix = unique_prefix(name);
        let semaphore = on(shared_cluster(), &prefix);
        let dir = scratch::dir("places");
        set_max(store, &semaphore, &dir, max).await;
        Self {
            server: serve(store, &prefix, &dir).await,
            prefix,
            semaphore,
            dir,
            store,
        }
    }

    /// Another server of the same places.
    async fn replica(&self) -> Server {
        serve(self.store, &self.prefix, &self.dir).await
    }

    async fn set_max(&self, max: u32) {
        set_max(self.store, &self.semaphore, &self.dir, max).await;
    }

    pub(crate) async fn holders(&self) -> Vec<String> {
        if self.store == Store::File {
            let places = read_places(&self.dir);
            let holders = places["groups"]["default"]["holders"].as_object().cloned();
            return holders.unwrap_or_default().keys().cloned().collect();
        }
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

async fn serve(store: Store, prefix: &str, dir: &tempfile::TempDir) -> Server {
    match store {
        Store::Etcd => Server::at(&shared_cluster().endpoints(), prefix, &[]).await,
        Store::File => {
            // Its path is below the server's root.
            let root = dir.path().display().to_string();
            Server::run(&["--root", &root, "--store", "file:/places.json"]).await
        }
    }
}

fn read_places(dir: &tempfile::TempDir) -> Value {
    let text = std::fs::read_to_string(dir.path().join("places.json")).unwrap_or("{}".into());
    serde_json::from_str(&text).unwrap()
}

/// Sets it as people do: by `set-max`, or with an editor.
async fn set_max(store: Store, semaphore: &Semaphore, dir: &tempfile::TempDir, max: u32) {
    match store {
        Store::Etcd => {
            found(semaphore).await;
            semaphore.set_max(max, false).await.unwrap();
        }
        Store::File => {
            let mut places = read_places(dir);
            places["groups"]["default"]["max"] = json!(max);
            let text = places.to_string();
            let path = dir.path().join("places.json");
            std::fs::write(path.with_extension("new"), text).unwrap();
            std::fs::rename(path.with_extension("new"), path).unwrap();
        }
    }
}
