//! Addresses where something else listens than a good etcd.

use std::time::Duration;

use pointsman_testbed::{
    etcd::{Cluster, Tls, shared_cluster, unique_prefix},
    proxy::{Mode, Proxy},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

use super::pointsman;

/// A server that is not etcd; its URL, and what runs until it is dropped.
struct Stranger {
    url: String,
    task: JoinHandle<()>,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stranger {
    /// Reads something, answers so, and closes.
    async fn answering(answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    let read = client.read(&mut request).await;
                    if read.is_ok() && client.write_all(answer).await.is_ok() {
                        let _ = client.shutdown().await;
                        // Closed for good only when the client has gone, so that it gets the answer.
                        let _ = tokio::time::timeout(
                            Duration::from_secs(5),
                            tokio::io::copy(&mut client, &mut tokio::io::sink()),
                        )
                        .await;
                    }
                });
            }
        });
        Self { url, task }
    }

    /// Accepts and closes at once.
    async fn closing() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            while let Ok(client) = listener.accept().await {
                drop(client)
            }
        });
        Self { url, task }
    }
}

const V2_ETCD: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nX-Etcd-Cluster-Id: 7e27652122e8b2ae\r\n\
    Content-Length: 77\r\n\r\n{\"errorCode\":100,\"message\":\"Key not found\",\"cause\":\"/PRI * HTTP\",\"index\":1049}\n";
const WEB_SERVER: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn endpoints_that_are_not_etcd_are_named_and_skipped() {
    let secured = Cluster::builder(1).tls(Tls::ServerOnly).start().await;
    let silent = Proxy::start(shared_cluster().address(0)).await;
    silent.set(Mode::BlackHole).await;
    let (v2, web) = (
        Stranger::answering(V2_ETCD).await,
        Stranger::answering(WEB_SERVER).await,
    );
    let garbage = Stranger::answering(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n").await;
    let closing = Stranger::closing().await;
    let plain = shared_cluster().endpoint(0).replace("http:", "https:");
    let strangers = [
        (v2.url.clone(), "not as etcd's v3 API (gRPC) does"),
        (web.url.clone(), "not as etcd's v3 API (gRPC) does"),
        (garbage.url.clone(), "not as etcd's v3 API (gRPC) does"),
        (closing.url.clone(), "closed the connection"),
        (silent.url(), "no reply within"),
        (secured.endpoint(0).replace("https:", "http:"), "https://"),
        (plain, "http://"),
        (
            secured.endpoint(0),
            "the server's certificate is not signed by a trusted authority (UnknownIssuer); give the CA certificate",
        ),
    ];
    for (url, words) in &strangers {
        let prefix = unique_prefix("stranger");
        let done = pointsman(std::slice::from_ref(url), &prefix, &["lock", "--as", "n"]).await;
        assert_eq!(done.code, Some(4), "{done:?}");
        let (_, reason) = done.stderr.split_once(&format!("  {url}: ")).unwrap();
        assert!(reason.contains(words), "{done:?}");
        let endpoints = [url.clone(), shared_cluster().endpoint(1)];
        let done = pointsman(&endpoints, &prefix, &["lock", "--as", "n"]).await;
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    let mut all: Vec<String> = strangers.into_iter().map(|(url, _)| url).collect();
    let prefix = unique_prefix("strangers");
    let done = pointsman(&all, &prefix, &["lock", "--as", "n"]).await;
    for url in &all {
        assert!(done.stderr.contains(url), "{done:?}");
    }
    all.push(shared_cluster().endpoint(2));
    let done = pointsman(&all, &prefix, &["lock", "--as", "n"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
}

#[tokio::test]
async fn endpoints_come_as_lists_and_as_repeated_flags() {
    let [one, two, three] = shared_cluster().endpoints().try_into().unwrap();
    let dead = "http://127.0.0.1:1";
    let prefix = unique_prefix("lists");
    for endpoints in [
        format!("{dead}, {one} ,{two}"),
        format!(" {dead},\t{two}"),
        three.replace("http://", ""),
    ] {
        let args = ["lock", "--as", "n", "--endpoint", &endpoints];
        let done = pointsman(&[dead.to_owned()], &prefix, &args).await;
        assert_eq!(done.code, Some(0), "{endpoints}: {done:?}");
    }
    let done = pointsman(
        &["http://h:1, ,http://i:1".to_owned()],
        &prefix,
        &["status"],
    )
    .await;
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.contains("--endpoint"), "{done:?}");
}
