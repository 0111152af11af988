//! `make bench`: what `pointsman serve` answers to a thousand clients, beside a plain handler of the same server library in the same
//! run; and how soon two hundred that follow hear of a change.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use axum::{Router, routing::post};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use pointsman_testbed::{
    etcd::Cluster,
    process::{Child, Spec, run},
    scratch,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

const CLIENTS: usize = 1000;
/// How often each of them asks.
const TIMES: usize = 5;
const STREAMS: usize = 200;
const CHANGES: usize = 10;
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let cluster = Cluster::start(3).await;
    let program = release();
    let endpoints = cluster.endpoints().join(",");
    let etcd = ["--endpoint", endpoints.as_str(), "--key-prefix", "bench"];
    let set = run(
        &program,
        [&["set-max", "1"][..], &etcd].concat(),
        &[],
        LIMIT,
    )
    .await;
    assert_eq!(set.code, Some(0), "{set:?}");
    let dir = scratch::dir("serve");
    let (_server, address) = serve(&program, dir.path(), &etcd).await;
    let plain = plain().await;

    println!(
        "{CLIENTS} clients at a time, each with a connection of its own, {TIMES} calls each; a three-member etcd on this machine.\n"
    );
    let beside = ask(plain, "pre-reboot").await;
    show("a plain handler", &beside, None);
    // One has the place, and the others are refused.
    show(
        "pre-reboot",
        &ask(address, "pre-reboot").await,
        Some(&beside),
    );
    show(
        "steady-state",
        &ask(address, "steady-state").await,
        Some(&beside),
    );
    println!();
    events(&cluster, address).await;
}

/// The release binary, which `make bench` builds.
fn release() -> std::path::PathBuf {
    let bench = std::env::current_exe().expect("a bench knows its file");
    let target = bench.ancestors().nth(3).expect("target/PROFILE/deps/bench");
    let program = target.join("release/pointsman");
    assert!(program.exists(), "{}: make build", program.display());
    program
}

async fn serve(program: &Path, dir: &Path, etcd: &[&str]) -> (Child, SocketAddr) {
    let server = Spec::new(program, dir.join("log"))
        .args(["serve", "--listen", "127.0.0.1:0", "--root"])
        .arg(dir)
        .args(etcd)
        .spawn();
    let begun = Instant::now();
    loop {
        let log = server.log();
        let address = log.split_once("listening on http://").map(|(_, rest)| rest);
        if let Some(address) = address.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        {
            return (server, address);
        }
        assert!(begun.elapsed() < LIMIT, "{log}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A handler that answers at once, on a thread of its own as the server has one.
async fn plain() -> SocketAddr {
    let (told, address) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime can be made").block_on(async {
            let router = Router::new().route("/v1/pre-reboot", post(async |_: String| "refused"));
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let _ = told.send(listener.local_addr().expect("a bound port"));
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(router.clone());
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
    });
    address.await.expect("it listens")
}

/// How long each call took, and all together.
struct Asked {
    each: Vec<Duration>,
    all: Duration,
}

impl Asked {
    fn per_second(&self) -> f64 {
        let calls = u32::try_from(self.each.len()).unwrap_or(u32::MAX);
        f64::from(calls) / self.all.as_secs_f64()
    }
}

async fn ask(address: SocketAddr, call: &str) -> Asked {
    let mut clients = Vec::new();
    for n in 0..CLIENTS {
        let stream = TcpStream::connect(address).await.expect("it listens");
        let body = format!(r#"{{"client_params":{{"id":"client-{n}","group":"default"}}}}"#);
        let request = format!(
            "POST /v1/{call} HTTP/1.1\r\nhost: x\r\nfleet-lock-protocol: true\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        clients.push((stream, request));
    }
    let begun = Instant::now();
    let mut asking = JoinSet::new();
    for (mut stream, request) in clients {
        asking.spawn(async move {
            let mut times = Vec::new();
            for _ in 0..TIMES {
                let begun = Instant::now();
                stream
                    .write_all(request.as_bytes())
                    .await
                    .expect("it reads");
                let status = timeout(LIMIT, answer(&mut stream))
                    .await
                    .expect("it answers");
                assert!([200, 423].contains(&status), "{status}");
                times.push(begun.elapsed());
            }
            times
        });
    }
    let mut each: Vec<Duration> = asking.join_all().await.into_iter().flatten().collect();
    each.sort();
    Asked {
        each,
        all: begun.elapsed(),
    }
}

/// The status of the next answer, which is read to its end.
async fn answer(stream: &mut TcpStream) -> u16 {
    let mut read = Vec::new();
    loop {
        stream.read_buf(&mut read).await.expect("an answer");
        let text = String::from_utf8_lossy(&read);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return head[9..12].parse().expect("a status");
        }
    }
}

fn show(what: &str, asked: &Asked, beside: Option<&Asked>) {
    let at = |part: usize| asked.each[(asked.each.len() * part / 100).min(asked.each.len() - 1)];
    let ratio = beside.map_or(String::new(), |beside| {
        format!(
            "  = 1/{:.1} of the plain handler",
            beside.per_second() / asked.per_second()
        )
    });
    println!(
        "{what:<16} {:>7.0} per second  median {}  p99 {}{ratio}",
        asked.per_second(),
        ms(at(50)),
        ms(at(99))
    );
}

fn ms(time: Duration) -> String {
    format!("{:6.1} ms", time.as_secs_f64() * 1000.0)
}

/// From a put until each of those who follow has heard of it.
async fn events(cluster: &Cluster, address: SocketAddr) {
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request = b"GET /api/v1/events HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all(request).await.expect("it reads");
        streams.push(stream);
    }
    // Until the watch has begun and all have been told so.
    sleep(Duration::from_secs(1)).await;
    for stream in &mut streams {
        let _ = stream.try_read_buf(&mut Vec::with_capacity(4096));
    }
    let mut client = cluster.client().await;
    let mut all = Vec::new();
    for n in 0..CHANGES {
        let begun = Instant::now();
        client
            .put("bench/changed", n.to_string(), None)
            .await
            .expect("a put");
        for stream in &mut streams {
            let mut heard = Vec::new();
            while !String::from_utf8_lossy(&heard).contains("data: ") {
                let read = timeout(LIMIT, stream.read_buf(&mut heard)).await;
                read.expect("it is told").expect("the stream goes on");
            }
            all.push(begun.elapsed());
        }
        sleep(Duration::from_millis(300)).await;
    }
    all.sort();
    println!(
        "{STREAMS} that follow hear of a change after  median {}  p99 {}  (200 ms of it gather changes)",
        ms(all[all.len() / 2]),
        ms(all[all.len() * 99 / 100])
    );
}
