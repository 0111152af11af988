//! `make demo`: a real three-member etcd, five agents as processes of their own, a bad update for all of them, then a good
//! one.
//!
//! Each agent has a private system bus with a fake update_engine and a fake logind on it, its own `--root`, and the image
//! of a disk with two slots. A "reboot" is the death of the process and a start with a new boot id, from the slot that
//! `pointsman slots next --boot` names.

use std::{
    fs,
    io::{IsTerminal as _, stdin, stdout},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use pointsman_testbed::{
    etcd::Cluster,
    fakes::PATIENCE,
    node::{AutoReboot, History, Kind, Node},
    process::{Child, Spec, run},
    scratch,
};

const NODES: usize = 5;
const OLD: &str = "4230.1.0";
/// An image that every node would find bad.
const BAD: &str = "4230.2.0";
const GOOD: &str = "4230.2.1";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tokio::task::LocalSet::new().run_until(demo()).await
}

async fn demo() -> ExitCode {
    let bin = match binary() {
        Ok(bin) => bin,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    let start = Instant::now();
    println!("Starting a three-member etcd and {NODES} agents …");
    let cluster = Cluster::start(3).await;
    let endpoints = cluster.endpoints().join(",");
    let history = History::new();
    let mut nodes = Vec::new();
    for i in 1..=NODES {
        let node = Node::new(&format!("node-{i}")).await;
        node.add_disk(OLD);
        check(&node);
        node.auto_reboot(AutoReboot {
            delay: Duration::from_millis(1500),
            history: history.clone(),
            ..AutoReboot::default()
        });
        let env = [
            ("POINTSMAN_RETRY_MAX", "2s"),
            ("POINTSMAN_PROVING", "1s"),
            ("POINTSMAN_LOG", "off"),
        ];
        node.start(&bin, &["--endpoint", &endpoints], &env).await;
        node.wait_ready().await;
        nodes.push(node);
    }
    // An agent by itself would wait for as long as its ticket lives before it creates the group's document.
    if let Some(node) = nodes.first() {
        show(node, &bin, &endpoints, &["set-max", "1"]).await;
    }
    println!(
        "All of them run {OLD}, and one of them may be out of service at the same time (max 1).\n"
    );
    let page = serve(&bin, &endpoints);
    println!(
        "To see it live, in a browser:    {}\n\
         Or in another terminal:          {} status --watch --endpoint {endpoints}\n",
        page.url,
        bin.display()
    );
    println!(
        "update_engine announces {BAD} on every node's bus. This image has no network, and the nodes' check fails:\n"
    );
    let began = Instant::now();
    let watchers: Vec<_> = nodes
        .iter()
        .map(|node| tokio::task::spawn_local(tell(node.clone(), began)))
        .collect();
    for node in &nodes {
        node.stage(BAD).await;
    }
    // The first to go comes back by itself, and the others stay.
    history.wait_reboots(2, Duration::from_secs(60)).await;
    for node in &nodes {
        let stays = |status: &str| status == "idle" || status.contains("is quarantined");
        node.wait_status(stays).await;
    }
    let order = history.order();
    let first = order.first().cloned().unwrap_or_default();
    if let Some(waiting) = nodes.iter().find(|node| node.name() != first) {
        show(waiting, &bin, &endpoints, &["status"]).await;
    }
    let followed = nodes.iter().filter(|node| node.reboots() > 0).count();
    println!("\nThen update_engine announces {GOOD}, which is good:\n");
    for node in &nodes {
        node.stage(GOOD).await;
    }
    history
        .wait_reboots(2 + NODES, Duration::from_secs(60))
        .await;
    for node in &nodes {
        node.wait_status(|status| status == "idle").await;
    }
    for watcher in watchers {
        watcher.abort();
    }
    if let Some(node) = nodes.first() {
        show(node, &bin, &endpoints, &["slots"]).await;
    }
    let good = nodes
        .iter()
        .filter(|node| {
            node.disk()
                .and_then(|disk| disk.version(node.booted()))
                .as_deref()
                == Some(GOOD)
        })
        .count();
    println!("\nSummary");
    println!(
        "  the bad image:         {followed} node booted it ({first}) and rolled back; no other node booted it"
    );
    println!("  the good image:        {good} of {NODES} nodes run it");
    let shown = page.shows_all(GOOD).await;
    println!(
        "  the live page:         {} of {NODES} nodes with the good image, at {}",
        shown, page.url
    );
    let well = summary(&history, start);
    if stdin().is_terminal() && stdout().is_terminal() {
        println!("\nThe page stays until you press Enter: {}", page.url);
        // Its server and the agents go on meanwhile.
        let read = tokio::task::spawn_blocking(|| stdin().read_line(&mut String::new()));
        let _ = read.await;
    }
    if well && followed == 1 && good == NODES && shown == NODES {
        ExitCode::SUCCESS
    } else {
        eprintln!("This is not the expected result.");
        ExitCode::FAILURE
    }
}

/// The live page.
struct Page {
    url: String,
    /// It ends with this.
    _server: Child,
    _folder: tempfile::TempDir,
}

/// Serves the live page.
fn serve(bin: &Path, endpoints: &str) -> Page {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = free.expect("127.0.0.1 has a free port").to_string();
    let folder = scratch::dir("page");
    let server = Spec::new(bin, folder.path().join("log")).args([
        "serve",
        "--listen",
        &address,
        "--endpoint",
        endpoints,
    ]);
    Page {
        url: format!("http://{address}/"),
        _server: server.spawn(),
        _folder: folder,
    }
}

impl Page {
    /// How many nodes it shows with this image, as soon as that is all of them: it reads once a second at most.
    async fn shows_all(&self, version: &str) -> usize {
        let limit = Instant::now() + Duration::from_secs(10);
        loop {
            let shown = self.shows(version).await;
            if shown == NODES || Instant::now() > limit {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// How many nodes it shows with this image: by its metrics, which say what the page says.
    async fn shows(&self, version: &str) -> usize {
        let url = format!("{}metrics", self.url);
        let args = [
            "--silent",
            "--fail",
            "--retry",
            "5",
            "--retry-connrefused",
            &url,
        ];
        let said = run(Path::new("curl"), args.map(str::to_owned), &[], PATIENCE).await;
        let line = format!("pointsman_group_nodes_running{{group=\"\",version=\"{version}\"}} ");
        let count = said
            .stdout
            .lines()
            .find_map(|found| found.strip_prefix(&line));
        count
            .and_then(|count| count.parse().ok())
            .unwrap_or_default()
    }
}

/// A node's health check: this image has no network.
fn check(node: &Node) {
    let path = "etc/pointsman/hooks/health.d/10-network";
    let release = node.path("etc/os-release");
    let script = format!(
        "#!/bin/sh\ngrep -qx VERSION_ID={BAD} {} || exit 0\necho no network; exit 1\n",
        release.display()
    );
    node.write(path, &script);
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(node.path(path), mode).expect("the check is ours");
}

/// Shows what an operator sees on this node.
async fn show(node: &Node, bin: &Path, endpoints: &str, command: &[&str]) {
    // The slots are the node's own, and no etcd is asked.
    let etcd: &[&str] = match command {
        ["slots"] => &[],
        _ => &["--endpoint", endpoints],
    };
    let shown = node.run(bin, &[command, etcd].concat()).await;
    assert_eq!(shown.code, Some(0), "{command:?}: {shown:?}");
    println!(
        "\n{}$ pointsman {}\n{}",
        node.name(),
        command.join(" "),
        shown.stdout
    );
}

/// Prints what a node says of itself, whenever that changes, across its reboots.
async fn tell(node: Node, began: Instant) {
    let mut last = String::new();
    loop {
        let before = last.clone();
        let status = node
            .wait_status(move |status| !status.is_empty() && status != before)
            .await;
        println!(
            "{:5.1}s  {}  {status}",
            began.elapsed().as_secs_f32(),
            node.name()
        );
        last = status;
    }
}

/// Prints it; whether never more than one node was out.
fn summary(history: &History, start: Instant) -> bool {
    let events = history.events();
    let order = history.order();
    let most = history.max_out_at_once();
    let mut hand_overs: Vec<Duration> = events
        .windows(2)
        .filter(|pair| (pair[0].kind, pair[1].kind) == (Kind::Up, Kind::Down))
        .map(|pair| pair[1].at - pair[0].at)
        .collect();
    hand_overs.sort();
    println!("  order:                 {}", order.join(", "));
    println!("  most out of service:   {most} at the same time (max is 1)");
    if let (Some(fastest), Some(slowest)) = (hand_overs.first(), hand_overs.last()) {
        println!(
            "  per hand-over:         {:.0} ms (fastest) to {:.0} ms (slowest), from one node's boot to the next one's reboot",
            fastest.as_secs_f32() * 1000.0,
            slowest.as_secs_f32() * 1000.0
        );
    }
    println!(
        "  in all:                {:.1} s",
        start.elapsed().as_secs_f32()
    );
    most == 1
}

/// The program, built beside this one.
fn binary() -> Result<PathBuf, String> {
    let beside = std::env::current_exe().map_err(|e| format!("where is this program? {e}"))?;
    let bin = beside.parent().unwrap_or(Path::new(".")).join("pointsman");
    if bin.exists() {
        Ok(bin)
    } else {
        Err(format!(
            "{} is not built; `make demo` builds it",
            bin.display()
        ))
    }
}
