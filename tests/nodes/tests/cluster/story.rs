//! Three nodes from one cloud-config: cloud-config/three-nodes.yaml, as vagrant/ brings it up.

use std::fs;

use pointsman_nodes::{
    bed::{repository, skipped},
    cluster::Cluster,
    container::Container,
};

use crate::turns;

/// What each node has of the document, with its own address in it: paths, and words in them.
const LEAVES: [(&str, &str); 8] = [
    (
        "/run/systemd/system/etcd-member.service.d/20-cloudinit.conf",
        "ETCD_LISTEN_PEER_URLS=http://ADDRESS:2380",
    ),
    ("/run/flannel/options.env", "FLANNELD_IFACE=ADDRESS"),
    ("/run/flannel/options.env", "FLANNELD_IP_MASQ=true"),
    ("/etc/default/kubelet", "--node-ip=ADDRESS"),
    (
        "/etc/sysctl.d/60-kubernetes.conf",
        "net.ipv4.ip_forward = 1",
    ),
    ("/etc/docker/daemon.json", "journald"),
    (
        "/etc/systemd/system/docker.service.d/10-options.conf",
        "DOCKER_OPTS=--live-restore",
    ),
    ("/etc/pointsman/hooks/health.d/20-etcd", "src ADDRESS:2379"),
];

async fn has_the_document(node: &Container) {
    let address = node.port().address.to_string();
    for (path, words) in LEAVES {
        let words = words.replace("ADDRESS", &address);
        node.sh(&format!("grep -F -- '{words}' {path}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_document_makes_three_nodes_that_reboot_one_after_the_other() {
    if skipped("three nodes from one document") {
        return;
    }
    let cluster = Cluster::new(3).await;
    turns::note(&cluster);
    let document = repository().join("cloud-config/three-nodes.yaml");
    let document = fs::read_to_string(document).expect("it is in the repository");
    // Only the network is another one than Vagrant's.
    let document = document.replace("192.168.56.", "10.77.0.");
    let script = repository().join("vagrant/provision.sh");
    for node in &cluster.nodes {
        // Machines as the packages leave them: nothing configures etcd or the agent.
        for path in ["etc/default/etcd", "etc/pointsman/config.yaml"] {
            fs::remove_file(node.path(path)).expect("it was prepared");
        }
        node.write("root/three-nodes.yaml", &document);
        fs::copy(&script, node.path("root/provision.sh")).expect("room for a script");
        node.start();
    }
    for node in &cluster.nodes {
        node.up().await;
        let (name, address) = (node.name(), node.port().address);
        node.sh(&format!(
            "/root/provision.sh --name {name} --address {address} --cloud-config /root/three-nodes.yaml"
        ))
        .await;
    }
    let set = cluster.command(&["set-max", "1"]).await;
    assert_eq!(set.code, Some(0), "{set:?}");
    for node in &cluster.nodes {
        node.agent_is("idle").await;
        has_the_document(node).await;
        let config = node.sh("pointsman config").await;
        let of = |setting: &str| config.lines().find(|line| line.starts_with(setting));
        let endpoints = of("etcd.endpoints").expect("a setting");
        assert!(endpoints.contains("10.77.0.11:2379,"), "{config}");
        let strategy = of("strategy").expect("a setting");
        assert!(
            strategy.contains("etcd-lock") && !strategy.ends_with("default"),
            "{config}"
        );
    }

    for node in &cluster.nodes {
        node.stage("2").await;
    }
    for node in &cluster.nodes {
        node.booted(2).await;
    }
    cluster.free().await;
    turns::one_at_a_time(&cluster);
    // Each boot applies it again, also what is in memory only.
    for node in &cluster.nodes {
        node.agent_is("idle").await;
        has_the_document(node).await;
        let address = node.port().address;
        node.sh(&format!(
            "pointsman cloud-config plan --private-ipv4 {address} install"
        ))
        .await;
    }
}
