//! A disk that takes long to answer: the watchdog is fed, D-Bus answers and the ticket's lease is kept meanwhile.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use etcd_client::KeyValue;
use nix::fcntl::{Flock, FlockArg};
use pointsman_testbed::{etcd::shared_cluster, node::Node};

use crate::agents::{Site, bin, machine};

/// How long each read of the disk takes, in microseconds.
const DELAY: &str = "200000";

const ENVIRONMENT: [(&str, &str); 4] = [
    // What systemd tells: the watchdog is fed twice in this time.
    ("WATCHDOG_USEC", "200000"),
    ("POINTSMAN_TICKET_LEASE", "2s"),
    ("POINTSMAN_RETRY_MIN", "20ms"),
    ("POINTSMAN_RETRY_MAX", "300ms"),
];

/// The program, with slow reads of the node's disk, and of nothing else.
fn slowly(node: &Node) -> PathBuf {
    let script = node.path("slow-pointsman");
    let text = format!(
        "#!/bin/sh\n\
         exec strace -D -f -qq -o /dev/null --seccomp-bpf -e trace=pread64 -P {} \
         -e inject=pread64:delay_enter={DELAY} {} \"$@\"\n",
        node.path("disk.img").display(),
        bin().display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// How often the agent answers on D-Bus until `done` ends.
async fn answers<T>(node: &Node, done: impl Future<Output = T>) -> (u32, T) {
    let bus = node.bus().connection().await;
    let mut count = 0;
    let asking = async {
        loop {
            let name = "org.pointsman.Agent1";
            bus.call_method(
                Some(name),
                "/org/pointsman/Agent1",
                Some("org.freedesktop.DBus.Properties"),
                "Get",
                &(name, "State"),
            )
            .await
            .unwrap();
            count += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let done = tokio::select! {
        done = done => done,
        never = asking => never,
    };
    (count, done)
}

/// Starts the node's agent.
async fn start(site: &Site, node: &Node, bin: &Path) {
    let endpoints = shared_cluster().endpoints().join(",");
    let args = ["--endpoint", &endpoints, "--key-prefix", &site.prefix];
    node.start(bin, &args, &ENVIRONMENT).await;
    node.wait_status(|status| status == "idle").await;
}

#[tokio::test]
async fn slow_reads_stop_neither_watchdog_nor_bus() {
    let site = Site::new("slow-disk");
    let node = machine("node-1").await;
    node.add_disk("1");
    start(&site, &node, &slowly(&node)).await;
    site.lock().await;
    // Several reads tell which image is staged.
    let fed = node.notified().watchdog;
    node.stage("2").await;
    let queued = site.until("a ticket", |group| group.queue.len() == 1);
    let (answered, _) = answers(&node, queued).await;
    let fed = node.notified().watchdog - fed;
    assert!(
        fed >= 10 && answered >= 10,
        "fed {fed} times, {answered} answers"
    );
    node.stop().await;
}

#[tokio::test]
async fn an_update_is_not_missed_for_a_login_during_slow_reads() {
    let site = Site::new("slow-disk-login");
    let node = machine("node-1").await;
    node.add_disk("1");
    start(&site, &node, &slowly(&node)).await;
    // Which image is staged takes several reads; meanwhile logind wakes for somebody.
    node.stage("2").await;
    node.update_engine().wait_for_calls("GetStatus", 2).await;
    node.logind().log_in("1", "core", "pts/0").await;
    node.wait_status(|status| status.contains("core (pts/0) logged in"))
        .await;
    node.stop().await;
}

#[tokio::test]
async fn a_ticket_outlives_a_wait_for_the_disk() {
    let site = Site::new("locked-disk");
    let node = machine("node-1").await;
    let disk = node.add_disk("1");
    start(&site, &node, bin()).await;
    site.lock().await;
    node.stage("2").await;
    site.until("a ticket", |group| group.queue.len() == 1).await;
    let mut client = shared_cluster().client().await;
    let key = format!("{}/queue/{}", site.prefix, node.machine_id());
    let created = client.get(key.clone(), None).await.unwrap().kvs()[0].create_revision();

    // Another program holds the disk's lock for longer than the ticket's lease is; the agent waits for it.
    let file = fs::File::open(disk.path()).unwrap();
    let lock = Flock::lock(file, FlockArg::LockExclusive).unwrap();
    node.update_engine().ready("2").await;
    let fed = node.notified().watchdog;
    node.wait_notified("three seconds", |told| told.watchdog >= fed + 30)
        .await;
    let during = client.get(key, None).await.unwrap();
    let during = during.kvs().first().map(KeyValue::create_revision);
    assert_eq!(during, Some(created));
    drop(lock);
    node.stop().await;
}
