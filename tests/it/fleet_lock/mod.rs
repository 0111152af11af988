//! Agents with the strategy `fleet-lock`: against a server as airlock is one, and against our own.

mod answers;
mod commands;
mod crashes;
mod life;
mod ours;

use pointsman_testbed::{airlock::Airlock, node::Node};

use crate::{
    agents::{bin, machine},
    support::eventually,
};

/// Starts the node's agent, which asks the server at this URL, often.
pub(crate) async fn start(node: &Node, url: &str, env: &[(&str, &str)]) {
    let quick = [
        ("POINTSMAN_STRATEGY", "fleet-lock"),
        ("POINTSMAN_FLEET_LOCK_URL", url),
        ("POINTSMAN_FLEET_LOCK_POLL_INTERVAL", "30ms"),
        ("POINTSMAN_RETRY_MIN", "20ms"),
        ("POINTSMAN_RETRY_MAX", "100ms"),
    ];
    let args: [&str; 0] = [];
    node.start(bin(), &args, &[&quick[..], env].concat()).await;
    node.wait_ready().await;
}

/// A node that runs version 1 and asks this server; its agent is idle.
async fn node(server: &Airlock, name: &str, env: &[(&str, &str)]) -> Node {
    let node = machine(name).await;
    start(&node, server.url(), env).await;
    node.wait_status(|status| status == "idle").await;
    node
}

/// The id under which the node asks.
pub(crate) fn id(node: &Node) -> String {
    host::fleet_lock::client_id(node.machine_id()).expect("a machine id")
}

/// Waits until these have a place, and no others.
async fn held_by(server: &Airlock, ids: &[&str]) {
    let mut ids: Vec<String> = ids.iter().map(|&id| id.to_owned()).collect();
    ids.sort();
    eventually(
        "who has a place",
        async || server.holders(),
        |found| *found == ids,
    )
    .await;
}

/// The names of the calls that came.
fn calls(server: &Airlock) -> Vec<String> {
    let calls = server.calls();
    calls.into_iter().map(|call| call.name).collect()
}
