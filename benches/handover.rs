//! `make bench`: what an etcd transaction, a hand-over and an idle agent cost, in one run, as ratios to one another.

use std::{
    cell::{Cell, RefCell},
    fs,
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};
use host::node::Group;
use pointsman_testbed::{etcd::Cluster, node::Node};
use semaphore::{
    etcd::{BackOff, Claim, Options, Semaphore, WaveWait},
    keys::Keys,
    records::{Holder, ImageId, Phase, new_nonce},
};
use tokio::{sync::mpsc, task::LocalSet, time::sleep};

/// Between one hand-over and the next.
const REST: Duration = Duration::from_millis(20);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    LocalSet::new().run_until(run()).await;
}

async fn run() {
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(3).await));
    println!("A three-member etcd on this machine, each endpoint reached over loopback.\n");
    let raw = raw_transaction(cluster).await;
    println!(
        "raw compare-and-swap        median {}  p99 {}",
        ms(median(&raw)),
        ms(p99(&raw))
    );
    parts(cluster).await;
    let mut requests = Vec::new();
    for waiters in [10, 100, 1000] {
        let (times, beside, each) = hand_overs(cluster, waiters, 100.min(waiters)).await;
        let over = |raw: &[Duration]| median(&times).as_secs_f64() / median(raw).as_secs_f64();
        // As quick after one another as can be: etcd and the processor are warm, which no hand-over finds them.
        let warm = over(&raw_transaction(cluster).await);
        let ratio = over(&beside);
        println!(
            "hand-over, {waiters:>4} waiting     median {}  p99 {}  = {ratio:.1} raw transactions in its place ({}; aim: under 3; {warm:.1} of those in quick succession)  {each:.1} requests ({}; aim: at most 6)",
            ms(median(&times)),
            ms(p99(&times)),
            verdict(ratio < 3.0),
            verdict(each <= 6.0)
        );
        requests.push(each);
    }
    println!();
    agent(cluster).await;
}

fn verdict(met: bool) -> &'static str {
    if met { "ok" } else { "MISSED" }
}

fn ms(time: Duration) -> String {
    format!("{:6.2} ms", time.as_secs_f64() * 1000.0)
}

fn sorted(times: &[Duration]) -> Vec<Duration> {
    let mut times = times.to_vec();
    times.sort();
    times
}

fn median(times: &[Duration]) -> Duration {
    sorted(times)[times.len() / 2]
}

fn p99(times: &[Duration]) -> Duration {
    sorted(times)[(times.len() * 99 / 100).min(times.len() - 1)]
}

/// A compare-and-swap of a document as long as the semaphore's, one after the other.
async fn raw_transaction(cluster: &Cluster) -> Vec<Duration> {
    let mut client: Client = cluster.client_of(0).await;
    let put = client
        .put("raw", "x".repeat(64), None)
        .await
        .expect("a put");
    let mut revision = put.header().expect("a header").revision();
    let mut times = Vec::new();
    for _ in 0..300 {
        let txn = Txn::new()
            .when(vec![Compare::mod_revision(
                "raw",
                CompareOp::Equal,
                revision,
            )])
            .and_then(vec![TxnOp::put("raw", "x".repeat(64), None)]);
        let began = Instant::now();
        let done = client.txn(txn).await.expect("a transaction");
        times.push(began.elapsed());
        assert!(done.succeeded());
        revision = done.header().expect("a header").revision();
    }
    times
}

/// What a hand-over is made of, each after a rest as long as a hand-over has before it: etcd and the processor answer
/// later out of the quiet than in the raw transactions' quick succession.
async fn parts(cluster: &Cluster) {
    let mut client: Client = cluster.client_of(0).await;
    let mut watcher: Client = cluster.client_of(0).await;
    let mut watch = watcher.watch("part", None).await.expect("a watch");
    let (mut writes, mut reads, mut events) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..100 {
        sleep(REST).await;
        let began = Instant::now();
        let txn = Txn::new().and_then(vec![TxnOp::put("part", "x".repeat(64), None)]);
        client.txn(txn).await.expect("a transaction");
        writes.push(began.elapsed());
        while watch
            .message()
            .await
            .expect("a watch")
            .is_none_or(|m| m.events().is_empty())
        {}
        events.push(began.elapsed());
        sleep(REST).await;
        let began = Instant::now();
        let txn = Txn::new().and_then(vec![TxnOp::get("part", None)]);
        client.txn(txn).await.expect("a transaction");
        reads.push(began.elapsed());
    }
    println!(
        "after a rest: a transaction {}, a read {}, a watch's event {} (medians)",
        ms(median(&writes)),
        ms(median(&reads)),
        ms(median(&events))
    );
}

fn semaphore(cluster: &Cluster, prefix: &str) -> Semaphore {
    let options = Options {
        endpoints: vec![cluster.endpoint(0)],
        timeout: Duration::from_secs(60),
        ..Options::default()
    };
    let back_off = BackOff {
        min: Duration::from_millis(100),
        max: Duration::from_secs(60),
    };
    Semaphore::new(options, Keys::new(prefix, Group::default()), back_off)
}

fn claim(id: &str) -> Claim {
    let version = |v: &str| ImageId {
        digest: None,
        version: Some(v.into()),
    };
    Claim {
        holder: Holder {
            id: id.into(),
            hostname: id.into(),
            nonce: new_nonce().expect("randomness"),
            boot_id: "boot".into(),
            since: None,
            from: version("1"),
            to: version("2"),
            phase: Phase::Draining,
            deadline: Some(1800),
            reason: None,
            agent: "bench".into(),
            grace: None,
            soaks_until: None,
            by_hand: None,
            unknown: serde_json::Map::new(),
        },
        // Renewals are no part of a hand-over.
        ticket_lease: 6000,
        member: false,
        by_person: false,
        new_image: false,
        waves: WaveWait::default(),
        windows: None,
        node: None,
    }
}

/// So many wait; this many times the holder releases and the next takes. The time of each; that of a raw
/// transaction after the same rest, one beside each; and the requests per hand-over by etcd's own count.
async fn hand_overs(
    cluster: &'static Cluster,
    waiters: usize,
    rounds: usize,
) -> (Vec<Duration>, Vec<Duration>, f64) {
    let prefix = format!("bench-{waiters}");
    let first = claim("first");
    let releaser = semaphore(cluster, &prefix);
    releaser.set_max(1, false).await.expect("a document");
    releaser.acquire(&first, |_| {}).await;
    let settled = Rc::new(Cell::new(0));
    let (taken, mut takes) = mpsc::unbounded_channel();
    let gates: Rc<RefCell<Vec<tokio::task::JoinHandle<()>>>> = Rc::default();
    for i in 0..waiters {
        let claim = claim(&format!("n{i:04}"));
        let (semaphore, settled, taken) =
            (semaphore(cluster, &prefix), settled.clone(), taken.clone());
        let said = Cell::new(false);
        let joined = settled.clone();
        let task = tokio::task::spawn_local(async move {
            let note = |_| {
                if !said.replace(true) {
                    joined.set(joined.get() + 1);
                }
            };
            semaphore.acquire(&claim, note).await;
            let _ = taken.send((Instant::now(), claim));
        });
        gates.borrow_mut().push(task);
        // Joining all at once would measure the crowd, not the hand-over.
        while i + 1 - settled.get() > 20 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    while settled.get() < waiters {
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_millis(500)).await;
    let before = cluster.requests().await;
    let mut holder = first;
    let (mut times, mut beside) = (Vec::new(), Vec::new());
    let mut client: Client = cluster.client_of(0).await;
    for _ in 0..rounds {
        sleep(REST).await;
        let began = Instant::now();
        let txn = Txn::new().and_then(vec![TxnOp::put("raw", "x".repeat(64), None)]);
        client.txn(txn).await.expect("a transaction");
        beside.push(began.elapsed());
        sleep(REST).await;
        // As an agent does while its node is proving.
        releaser
            .proving(&holder.holder.id, &holder.holder.nonce, 1800, None)
            .await
            .unwrap();
        let began = Instant::now();
        releaser
            .release(&holder.holder.id, &holder.holder.nonce, None, None)
            .await
            .expect("a release");
        let (at, next) = takes.recv().await.expect("the next one takes");
        times.push(at.duration_since(began));
        holder = next;
        // The one behind looks, and watches; then it is quiet again.
        sleep(REST).await;
    }
    let spent = cluster.requests().await.since(&before);
    for task in gates.borrow().iter() {
        task.abort();
    }
    // Without the raw one beside it, and without the word that the node is proving, which comes before.
    #[allow(clippy::cast_precision_loss, reason = "small counts")]
    let each = spent.total() as f64 / rounds as f64 - 2.0;
    (times, beside, each)
}

/// What an agent costs that has nothing to do.
async fn agent(cluster: &Cluster) {
    // Not the one built along with the bench, which is linked otherwise.
    let own = std::env::current_exe().expect("a bench knows its file");
    let built = own.ancestors().nth(3).expect("BUILT/PROFILE/deps/bench");
    let bin = built.join("release/pointsman");
    assert!(
        bin.exists(),
        "{} is not built; `make bench` builds it",
        bin.display()
    );
    let size = fs::metadata(&bin).map_or(0, |m| m.len());
    let endpoints = cluster.endpoints().join(",");
    let args = ["--endpoint", &endpoints, "--key-prefix", "bench-agent"];
    let mut starts = Vec::new();
    let node = Node::new("bench").await;
    for round in 0..20 {
        let began = Instant::now();
        node.start(&bin, &args, &[]).await;
        node.wait_ready().await;
        starts.push(began.elapsed());
        node.wait_status(|status| status == "idle").await;
        if round < 19 {
            node.stop().await;
        }
    }
    // Its own state has been said; from here on nothing is.
    sleep(Duration::from_secs(2)).await;
    let before = cluster.requests().await;
    sleep(Duration::from_secs(20)).await;
    let idle = cluster.requests().await.since(&before).total();
    let pid = node.child().pid();
    let (rss, pss) = (
        memory(pid, "status", "VmRSS:"),
        memory(pid, "smaps_rollup", "Pss:"),
    );
    let mib = |kib: u64| format!("{:.1} MiB", kib as f64 / 1024.0);
    println!(
        "idle agent, etcd requests in 20 s:  {idle}  ({}; aim: 0)",
        verdict(idle == 0)
    );
    println!(
        "idle agent, resident memory:        {}, proportional share {}  ({}; aim: under 12 MiB)",
        mib(rss),
        mib(pss),
        verdict(rss < 12 * 1024)
    );
    println!(
        "start to READY:                     median {}  ({}; aim: under 50 ms)",
        ms(median(&starts)),
        verdict(median(&starts) < Duration::from_millis(50))
    );
    println!(
        "release binary:                     {}  ({}; aim: under 10 MiB)",
        mib(size / 1024),
        verdict(size < 10 * 1024 * 1024)
    );
    node.stop().await;
}

fn memory(pid: u32, file: &str, field: &str) -> u64 {
    let text =
        fs::read_to_string(Path::new("/proc").join(pid.to_string()).join(file)).unwrap_or_default();
    text.lines()
        .find_map(|line| {
            line.strip_prefix(field)?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(0)
}
