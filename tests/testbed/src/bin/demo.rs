//! `make demo`: a real three-member etcd, five agents as processes of their own, an update for all of them.
//!
//! Each agent has a private system bus with a fake update_engine and a fake logind on it, its own `--root`, and the image
//! of a disk with two slots. A "reboot" is the death of the process and a start with a new boot id, from the slot that
//! `pointsman slots next --boot` names.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use pointsman_testbed::{
    etcd::Cluster,
    node::{AutoReboot, History, Kind, Node},
};

const NODES: usize = 5;
const VERSION: &str = "4230.2.0";

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
        node.add_disk("4230.1.0");
        node.auto_reboot(AutoReboot {
            delay: Duration::from_millis(1500),
            history: history.clone(),
            ..AutoReboot::default()
        });
        let env = [("POINTSMAN_RETRY_MAX", "2s"), ("POINTSMAN_LOG", "warn")];
        node.start(&bin, &["--endpoint", &endpoints], &env).await;
        node.wait_ready().await;
        nodes.push(node);
    }
    println!("All of them run 4230.1.0, and one may be out at a time (max 1).\n");
    println!("update_engine announces {VERSION} on every node's bus:\n");
    let began = Instant::now();
    let watchers: Vec<_> = nodes
        .iter()
        .map(|node| tokio::task::spawn_local(tell(node.clone(), began)))
        .collect();
    for node in &nodes {
        node.stage(VERSION).await;
    }
    // Half-way, what an operator sees on a node that still waits.
    history.wait_reboots(2, Duration::from_secs(60)).await;
    let gone = history.order();
    if let Some(waiting) = nodes
        .iter()
        .find(|node| !gone.contains(&node.name().to_owned()))
    {
        let status = waiting
            .run(&bin, &["status", "--endpoint", &endpoints])
            .await;
        println!("\n{}$ pointsman status\n{}", waiting.name(), status.stdout);
    }
    history.wait_reboots(NODES, Duration::from_secs(60)).await;
    for node in &nodes {
        node.wait_status(|status| status == "idle").await;
    }
    for watcher in watchers {
        watcher.abort();
    }
    if let Some(node) = nodes.first() {
        let slots = node.run(&bin, &["slots"]).await;
        println!("\n{}$ pointsman slots\n{}", node.name(), slots.stdout);
    }
    summary(&history, start)
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

fn summary(history: &History, start: Instant) -> ExitCode {
    let events = history.events();
    let order = history.order();
    let most = history.max_out_at_once();
    let mut hand_overs: Vec<Duration> = events
        .windows(2)
        .filter(|pair| (pair[0].kind, pair[1].kind) == (Kind::Up, Kind::Down))
        .map(|pair| pair[1].at - pair[0].at)
        .collect();
    hand_overs.sort();
    println!("\nSummary");
    println!("  order:                 {}", order.join(", "));
    println!("  most out at one time:  {most} (max is 1)");
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
    if most == 1 && order.len() == NODES {
        ExitCode::SUCCESS
    } else {
        eprintln!("That is not as it should be: {NODES} reboots, one at a time, were expected.");
        ExitCode::FAILURE
    }
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
