//! The hook `kubernetes`, with the real kubectl.

use serde_json::json;

use super::{
    ID,
    api_server::{ApiServer, pod},
    *,
};
use crate::support::eventually;

/// The hook, and a cluster whose node-1 it is on.
async fn cluster(settings: &str) -> (Hook, ApiServer) {
    let server = ApiServer::start().await;
    let hook = Hook::new("kubernetes", "");
    fs::write(hook.path("kubeconfig"), server.kubeconfig()).unwrap();
    configure(&hook, settings);
    (hook, server)
}

fn configure(hook: &Hook, settings: &str) {
    let kubeconfig = hook.path("kubeconfig");
    let first = format!("KUBECONFIG={}\n", kubeconfig.display());
    hook.configure(&(first + "REQUEST_TIMEOUT=2\n" + settings));
}

fn ours() -> (bool, Option<String>) {
    (true, Some(ID.to_owned()))
}

const FREE: (bool, Option<String>) = (false, None);

#[tokio::test]
async fn a_drain_waits_for_budgets_and_leaves_daemon_sets_and_mirror_pods() {
    for evictions in ["v1", "v1beta1"] {
        let (hook, server) = cluster("TIMEOUT=30\n").await;
        {
            let mut cluster = server.cluster();
            cluster.evictions = evictions;
            cluster.budget_refuses = usize::from(evictions == "v1");
            cluster.pods = vec![
                pod("web", "ReplicaSet"),
                pod("logs", "DaemonSet"),
                pod("proxy", "Node"),
            ];
        }
        hook.says("pre-reboot", 0, "node-1 is drained").await;
        assert_eq!(server.cluster().cordon("node-1"), ours());
        let web = "POST /api/v1/namespaces/default/pods/web/eviction";
        let mut expected = vec!["PATCH /api/v1/nodes/node-1", web];
        if evictions == "v1" {
            expected.push(web);
        }
        assert_eq!(server.changes(), expected);
        hook.says("post-boot", 0, "node-1 is uncordoned").await;
        assert_eq!(server.cluster().cordon("node-1"), FREE);
        assert!(hook.says("post-boot", 0, "").await.is_empty());
    }
}

#[tokio::test]
async fn a_drain_that_does_not_end_is_called_off_or_passed_over() {
    let (hook, server) = cluster("TIMEOUT=2\n").await;
    server.cluster().pods = vec![pod("web", "ReplicaSet")];
    server.cluster().budget_refuses = usize::MAX;
    hook.says("pre-reboot", 1, "node-1 is not drained after 2 s")
        .await;
    // As the agent does when it steps back.
    hook.says("post-boot", 0, "node-1 is uncordoned").await;
    assert_eq!(server.cluster().cordon("node-1"), FREE);

    configure(&hook, "TIMEOUT=2\nON_TIMEOUT=proceed\n");
    hook.says("pre-reboot", 0, "it reboots all the same").await;
    assert_eq!(server.cluster().cordon("node-1"), ours());
    hook.says("post-boot", 0, "node-1 is uncordoned").await;

    // A pod that nothing would start again is no matter of time.
    server.cluster().budget_refuses = 0;
    server.cluster().pods = vec![pod("by-hand", "")];
    configure(&hook, "TIMEOUT=60\nON_TIMEOUT=proceed\n");
    let said = hook.says("pre-reboot", 1, "cannot be drained").await;
    assert!(said.contains("by-hand"), "{said}");
    configure(&hook, "TIMEOUT=60\nFORCE=yes\n");
    hook.says("pre-reboot", 0, "node-1 is drained").await;
    assert!(server.cluster().pods.is_empty());
}

#[tokio::test]
async fn a_cordon_of_somebody_else_stays() {
    let (hook, server) = cluster("").await;
    server
        .cluster()
        .change("node-1", &json!({"spec": {"unschedulable": true}}));
    hook.says("pre-reboot", 0, "is cordoned by somebody else")
        .await;
    hook.says("post-boot", 0, "").await;
    let theirs = (true, None);
    assert_eq!(server.cluster().cordon("node-1"), theirs);
    assert!(server.changes().is_empty());

    // Made between the hook's look and its change.
    for (race, left) in [
        (json!({"spec": {"unschedulable": true}}), theirs),
        (json!({"metadata": {"labels": {"a": "b"}}}), FREE),
    ] {
        server.cluster().race("node-1", race);
        hook.says("pre-reboot", 0, "the object has been modified")
            .await;
        assert!(server.cluster().cordon("node-1").0);
        hook.says("post-boot", 0, "").await;
        assert_eq!(server.cluster().cordon("node-1"), left);
    }
}

#[tokio::test]
async fn a_hook_that_is_killed_leaves_a_cordon_that_is_known_as_its_own() {
    let (hook, server) = cluster("").await;
    server.cluster().stalls = Some("/api/v1/pods");
    let drain = hook.start("pre-reboot");
    let cordon = async || server.cluster().cordon("node-1");
    eventually("it is cordoned", cordon, |cordon| *cordon == ours()).await;
    drain.kill().await;
    hook.says("post-boot", 0, "node-1 is uncordoned").await;
    assert_eq!(server.cluster().cordon("node-1"), FREE);
}

#[tokio::test]
async fn a_node_stays_while_another_one_is_out_for_another_reason() {
    let (hook, server) = cluster("").await;
    hook.says("may-reboot", 0, "").await;
    let not_ready = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
    let ours = json!({"metadata": {"annotations": {"pointsman.org/cordoned": "x"}}});
    let cordoned = json!({"spec": {"unschedulable": true}});
    server.cluster().change("node-2", &cordoned);
    hook.says("may-reboot", 75, "node-2 is cordoned, and not by pointsman")
        .await;
    // Itself, and those that take turns with it.
    server.cluster().change("node-1", &cordoned);
    server.cluster().change("node-2", &ours);
    hook.says("may-reboot", 0, "").await;
    server.cluster().change("node-2", &not_ready);
    hook.says("may-reboot", 0, "").await;
    server.cluster().change("node-3", &not_ready);
    hook.says("may-reboot", 75, "node-3 is not ready").await;
    configure(&hook, "OTHERS=ignore\n");
    hook.says("may-reboot", 0, "").await;

    configure(&hook, "");
    for (only, says) in [(401, "Unauthorized"), (500, "the server is ill")] {
        server.cluster().only = Some(only);
        hook.says("may-reboot", 1, "cannot be listed").await;
        hook.says("pre-reboot", 1, says).await;
    }
    server.cluster().only = None;
    server.cluster().stalls = Some("/nodes");
    hook.says("may-reboot", 1, "cannot be listed").await;
}

#[tokio::test]
async fn an_uncordon_that_fails_is_made_up_for() {
    let (hook, server) = cluster("").await;
    hook.says("pre-reboot", 0, "node-1 is drained").await;
    server.cluster().only = Some(503);
    hook.says("post-boot", 1, "node-1 stays cordoned for now")
        .await;
    hook.says("may-reboot", 1, "node-1 is still cordoned").await;
    server.cluster().only = None;
    hook.says("may-reboot", 0, "node-1 is uncordoned").await;
    assert_eq!(server.cluster().cordon("node-1"), FREE);
    // Of a person who drained the node, nothing is owed.
    hook.says("pre-reboot", 0, "node-1 is drained").await;
    hook.says("may-reboot", 0, "").await;
    assert_eq!(server.cluster().cordon("node-1"), ours());
    // A node that is no node any more.
    server.cluster().nodes.clear();
    hook.says("post-boot", 0, "(NotFound)").await;
}

#[tokio::test]
async fn a_node_is_well_when_kubernetes_says_so_of_this_boot() {
    let (hook, server) = cluster("").await;
    hook.says("health-cluster", 1, "has not reported this boot")
        .await;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let boot = json!({"status": {"nodeInfo": {"bootID": boot.trim()}}});
    server.cluster().change("node-1", &boot);
    hook.says("health-cluster", 0, "").await;
    let not_ready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    server.cluster().change("node-1", &not_ready);
    hook.says("health-cluster", 1, "is not ready").await;
    server.cluster().nodes.clear();
    hook.says("health-cluster", 1, "cannot be read").await;
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_named() {
    let hook = Hook::new("kubernetes", "");
    for (text, says) in [
        ("", "does not set KUBECONFIG="),
        (
            "KUBECONFIG=x\nON_TIMEOUT=maybe\n",
            "ON_TIMEOUT is \"maybe\", expected abort or proceed",
        ),
        (
            "KUBECONFIG=x\nTIMEOUT=4m\n",
            "found \"4m\", expected a number of seconds",
        ),
        (
            "KUBECONFIG=x\nNODE='a\"b'\n",
            "NODE is \"a\"b\", expected the name of a node",
        ),
    ] {
        hook.configure(text);
        hook.says("pre-reboot", 1, says).await;
    }
}
