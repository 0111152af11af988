//! What keeps a node up from the outside: somebody who is logged in, and a program that must not be interrupted.

use pointsman_nodes::{bed::skipped, cluster::Cluster};

#[tokio::test(flavor = "multi_thread")]
async fn logins_and_inhibitors_delay_the_reboot() {
    if skipped("people and inhibitors") {
        return;
    }
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    cluster.up().await;

    // logind itself would not care: root's reboot ignores a block.
    node.sh("systemd-run -q --unit=backup systemd-inhibit --what=shutdown --who=backup --why='writing a tape' sleep infinity")
        .await;
    node.until("systemd-inhibit --list | grep -q tape").await;
    node.stage("2").await;
    node.says("backup").await;
    assert_eq!(node.boots(), 1);
    assert_eq!(cluster.group().await["queue"], serde_json::json!([]));

    // Somebody logs in at a terminal, and the tape is done: the node waits for the person, as long as is configured.
    node.sh("systemd-run -q --unit=ann -p PAMName=login -p User=root -p TTYPath=/dev/console -p StandardInput=null \
             -p Environment=XDG_SESSION_CLASS=user sleep infinity")
        .await;
    node.until("loginctl list-sessions --no-legend | grep -q root")
        .await;
    node.sh("systemctl stop backup").await;
    let before = std::time::Instant::now();
    node.booted(2).await;
    assert!(
        before.elapsed() >= std::time::Duration::from_secs(4),
        "the login grace is 5 s, and it took {:?}",
        before.elapsed()
    );
    cluster.free().await;
    assert_eq!(node.boots(), 2);
}
