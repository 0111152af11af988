//! `pointsman serve` as the package brings it: a socket that nobody enabled, and a service behind it.

use pointsman_nodes::{bed::skipped, cluster::Cluster, container::Container};

/// The status code of a call of FleetLock, made on the node.
async fn call(node: &Container, call: &str, id: &str) -> String {
    let body = format!(r#"{{"client_params":{{"id":"{id}","group":"default"}}}}"#);
    let head = format!(
        "POST /v1/{call} HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\nfleet-lock-protocol: true\\r\\ncontent-length: {}",
        body.len()
    );
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/9119; printf '%b' '{head}\\r\\n\\r\\n{body}' >&3; read -r _ code _ <&3; echo $code"
    );
    let said = node.exec(&["bash", "-c", &script]).await;
    said.stdout.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_started_by_its_socket_and_goes_with_the_package() {
    if skipped("the server's units") {
        return;
    }
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    cluster.up().await;
    node.sh("test \"$(systemctl is-enabled pointsman-serve.socket)\" = disabled")
        .await;
    node.sh("systemctl enable --now pointsman-serve.socket")
        .await;
    node.sh("test \"$(systemctl is-active pointsman-serve)\" = inactive")
        .await;
    assert_eq!(call(node, "pre-reboot", "a").await, "200");
    node.sh("systemctl is-active pointsman-serve").await;
    assert_eq!(call(node, "pre-reboot", "b").await, "423");
    // Nothing of it is lost with the process, and who asks meanwhile waits at the socket.
    node.sh("systemctl --no-block restart pointsman-serve")
        .await;
    assert_eq!(call(node, "pre-reboot", "a").await, "200");
    node.sh("systemctl reload pointsman-serve && systemctl is-active pointsman-serve")
        .await;
    assert_eq!(call(node, "steady-state", "a").await, "200");
    cluster.free().await;
    // Places in a file, which the sandbox lets it write.
    node.write(
        "var/lib/pointsman/places.json",
        r#"{"groups":{"default":{"max":1}}}"#,
    );
    node.write(
        "etc/pointsman/config.d/20-serve.yaml",
        "serve: {store: 'file:/var/lib/pointsman/places.json'}\n",
    );
    node.sh("systemctl restart pointsman-serve").await;
    assert_eq!(call(node, "pre-reboot", "c").await, "200");
    assert!(
        node.read("var/lib/pointsman/places.json")
            .contains("fleet-lock")
    );
    node.sh("dpkg -r pointsman").await;
    for unit in ["pointsman-serve.socket", "pointsman-serve.service"] {
        node.sh(&format!("! systemctl is-active --quiet {unit}"))
            .await;
    }
}
