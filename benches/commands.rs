//! `make bench`: what the operators' commands cost where a group has ten thousand nodes, a thousand of which wait: requests and bytes by
//! etcd's own count, and memory and time of the release binary.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use etcd_client::{Txn, TxnOp};
use nix::sys::resource::{UsageWho, getrusage};
use pointsman_testbed::etcd::Cluster;

const NODES: usize = 10_000;
const WAITING: usize = 1_000;
const PREFIX: &str = "bench";
/// What an act on one node may read, however many others there are.
const BOUND: f64 = 20_000.0;

/// Commands, and whether what they read is to be bounded. `ID` is a node's.
const COMMANDS: [(&[&str], bool); 16] = [
    (&["status"], false),
    (&["status", "--nodes"], false),
    (&["status", "--check"], false),
    (&["waves"], false),
    (&["waves", "--all"], false),
    (&["policy", "set", "--soak", "1h", "--dry-run"], false),
    (
        &[
            "--group",
            "later",
            "policy",
            "set",
            "--soak",
            "1h",
            "--dry-run",
        ],
        true,
    ),
    (&["set-max", "2"], true),
    (&["lock", "ID"], true),
    (&["unlock", "ID"], true),
    (&["quarantine", "add", "9.9.9", "--reason", "bench"], true),
    (&["quarantine", "clear", "9.9.9"], true),
    (&["pause", "--reason", "bench"], true),
    (&["resume"], true),
    (&["forget", "ID"], true),
    (&["history", "--cluster"], false),
];

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == "--measure") {
        return measure(args.collect());
    }
    let cluster = Cluster::start(1).await;
    fill(&cluster).await;
    println!(
        "{NODES} nodes, {WAITING} of which wait for the reboot lock; etcd with one member on this machine.\n"
    );
    println!(
        "command                                              requests      bytes   memory      time"
    );
    for (words, bounded) in COMMANDS {
        let before = sent(&cluster).await;
        let requests = cluster.requests().await;
        let (memory, time) = run(&cluster, words);
        let requests = cluster.requests().await.since(&requests).total();
        let bytes = sent(&cluster).await - before;
        let verdict = match (bounded, bytes < BOUND) {
            (false, _) => "",
            (true, true) => "  (ok; aim: under 20 kB)",
            (true, false) => "  (MISSED; aim: under 20 kB)",
        };
        println!(
            "{:<52} {requests:>8} {bytes:>10.0} {memory:>4} MiB {:>6} ms{verdict}",
            words.join(" "),
            time.as_millis()
        );
    }
}

/// The records of nodes that run one image, have proven it, and of which some wait for the next one.
async fn fill(cluster: &Cluster) {
    let keys = semaphore::keys::Keys::new(PREFIX, host::node::Group::default());
    let later = keys.of_group(host::node::Group::new("later").expect("a name"));
    let image = |version: &str| format!("sha256:{version:0>64}");
    let mut ops = vec![
        TxnOp::put(
            keys.semaphore(),
            r#"{"semaphore":0,"max":1,"holders":["holder"]}"#,
            None,
        ),
        TxnOp::put(keys.policy(), r#"{"wave_soak":"1h"}"#, None),
        TxnOp::put(
            later.semaphore(),
            r#"{"semaphore":1,"max":1,"holders":[]}"#,
            None,
        ),
        TxnOp::put(later.policy(), r#"{"after":[""]}"#, None),
    ];
    for i in 0..NODES {
        let (id, host) = (format!("{i:032x}"), format!("node-{i}.example"));
        let record = serde_json::json!({
            "id": id, "hostname": host, "state": "idle", "since": "2026-11-30T04:00:00Z", "group": "",
            "image": image("1"), "version": "4152.2.3", "agent": "0.1.0", "kernel": "6.6.74-flatcar",
        });
        ops.push(TxnOp::put(keys.node(&id), record.to_string(), None));
        ops.push(TxnOp::put(keys.member(&id), image("1"), None));
        if i < WAITING {
            let ticket = serde_json::json!({
                "version": 1, "id": id, "hostname": host, "nonce": i.to_string(), "since": "2026-11-30T04:00:00Z",
                "to": {"image": image("2"), "version": "4230.2.0"},
            });
            ops.push(TxnOp::put(keys.ticket(&id), ticket.to_string(), None));
        }
    }
    let mut client = cluster.client().await;
    for ops in ops.chunks(100) {
        client
            .txn(Txn::new().and_then(ops))
            .await
            .expect("etcd takes them");
    }
}

/// How many bytes etcd has sent to clients.
async fn sent(cluster: &Cluster) -> f64 {
    cluster.metrics(0).await["etcd_network_client_grpc_sent_bytes_total"]
}

/// Runs one command; the most memory that it had, in MiB, and how long it took.
fn run(cluster: &Cluster, words: &[&str]) -> (u64, Duration) {
    let endpoint = cluster.endpoint(0);
    let id = format!("{:032x}", NODES - 1);
    let words = words
        .iter()
        .map(|word| if *word == "ID" { &id } else { *word });
    // Only of all ended children together is it told how much memory they had: each command gets a parent of its own.
    let measure = Command::new(std::env::current_exe().expect("a bench knows its file"))
        .arg("--measure")
        .arg(program())
        .args(["--endpoint", &endpoint, "--key-prefix", PREFIX])
        .args(words)
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&measure.stdout).into_owned();
    let mut numbers = text
        .split_whitespace()
        .map(|number| number.parse().expect("a number"));
    let (memory, time) = (numbers.next(), numbers.next());
    assert!(measure.status.success(), "{measure:?}");
    (
        memory.expect("a first number"),
        Duration::from_micros(time.expect("a second one")),
    )
}

/// Runs a command, and prints the most memory that it had, in MiB, and how many microseconds it took.
fn measure(command: Vec<std::ffi::OsString>) {
    let began = Instant::now();
    let status = Command::new(&command[0])
        .args(&command[1..])
        .stdout(Stdio::null())
        .status();
    let took = began.elapsed().as_micros();
    let status = status.expect("the program runs");
    // `status --check` warns by its exit status.
    let warns = command.iter().any(|word| word == "--check");
    assert!(status.success() || warns, "{command:?}: {status}");
    let used = getrusage(UsageWho::RUSAGE_CHILDREN).expect("a number");
    println!("{} {took}", used.max_rss() >> 10);
}

/// The release binary, which `make bench` builds.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("a bench knows its file");
    let built = own
        .ancestors()
        .nth(3)
        .map(Path::to_owned)
        .expect("BUILT/PROFILE/deps/bench");
    let program = built.join("release/pointsman");
    assert!(
        program.exists(),
        "{} is not built; `make bench` builds it",
        program.display()
    );
    program
}
