//! A load balancer in front of the nodes: whoever asks during a rolling reboot gets an answer, every time.

use std::{fs, time::Duration};

use pointsman_nodes::{bed::skipped, cluster::Cluster, container::PATIENCE};
use pointsman_testbed::process::{Spec, run};

use crate::turns;

/// A web server on each node that takes a moment for each answer.
const WEB: &str = "[Unit]
After=network.target
Before=pointsman.service
[Service]
ExecStart=/usr/bin/socat TCP-LISTEN:8080,reuseaddr,fork EXEC:/usr/local/bin/answer
[Install]
WantedBy=multi-user.target
";
const ANSWER: &str = "#!/bin/sh
while read -r line; do [ \"$line\" != \"$(printf '\\r')\" ] || break; done
sleep 0.2
printf 'HTTP/1.0 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\n%s\\n' \"$(cat /etc/hostname)\"
";

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_all_nodes_reboot_one_after_another() {
    if skipped("a load balancer") {
        return;
    }
    let cluster = Cluster::new(3).await;
    turns::note(&cluster);
    let mut servers = String::new();
    for node in &cluster.nodes {
        node.write("etc/systemd/system/web.service", WEB);
        node.write("usr/local/bin/answer", ANSWER);
        node.write(
            "etc/pointsman/haproxy.conf",
            "HAPROXY=10.77.0.1:9999\nSERVER=web/{hostname}\nWAIT=20\n",
        );
        let root = node.path("");
        let script = format!(
            "chmod 755 {root}/usr/local/bin/answer; chroot {root} systemctl --quiet enable web
             chroot {root} pointsman hooks enable haproxy",
            root = root.display()
        );
        pointsman_nodes::bed::sh(&script).await;
        // Not checked by HAProxy: only the hooks keep requests from a node that is away.
        servers += &format!(" server {} {}:8080\n", node.name(), node.port().address);
    }
    cluster.up().await;

    let file = cluster.bed.path("haproxy.cfg");
    let config = format!(
        "global\n stats socket ipv4@10.77.0.1:9999 level admin\n\
         defaults\n mode http\n retries 0\n timeout connect 2s\n timeout client 10s\n timeout server 10s\n\
         frontend web\n bind 10.77.0.1:80\n default_backend web\nbackend web\n balance roundrobin\n{servers}"
    );
    fs::write(&file, config).expect("room for a file");
    let hub = cluster.network.hub();
    let inside = ["netns", "exec", hub.as_str()];
    let log = cluster.bed.path("haproxy.log");
    let _haproxy = Spec::new("ip", log)
        .args(inside)
        .args(["haproxy", "-db", "-f"])
        .arg(&file)
        .spawn();
    // Several ask on and on, one answer a line: its code.
    let ask = "while :; do curl -s -o /dev/null -m 10 -w '%{http_code}\\n' http://10.77.0.1/; sleep 0.02; done";
    let ready = "until curl -sf http://10.77.0.1/ >/dev/null; do sleep 0.1; done";
    run(
        "ip",
        [&inside[..], &["sh", "-c", ready]].concat(),
        &[],
        PATIENCE,
    )
    .await;
    let ask = |number: usize| {
        let answers = cluster.bed.path(&format!("answers-{number}"));
        let client = Spec::new("ip", &answers).args(inside);
        (client.args(["sh", "-c", ask]).spawn(), answers)
    };
    let clients: Vec<_> = (0..4).map(ask).collect();

    for node in &cluster.nodes {
        node.sh("pointsman reboot --reason rolling").await;
    }
    for node in &cluster.nodes {
        node.booted(2).await;
    }
    cluster.free().await;
    // Some more, from all three of them.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut text = String::new();
    for (client, answers) in clients {
        client.kill().await;
        text += &fs::read_to_string(&answers).expect("answers");
    }
    let codes: Vec<&str> = text.lines().collect();
    let failed: Vec<_> = codes.iter().filter(|code| **code != "200").collect();
    assert!(
        failed.is_empty(),
        "{} of {}: {failed:?}",
        failed.len(),
        codes.len()
    );
    assert!(codes.len() > 20, "{codes:?}");
    turns::one_at_a_time(&cluster);
    for node in &cluster.nodes {
        assert_eq!(node.boots(), 2, "{}", node.name());
        let said = node.journal("pointsman").await;
        for moment in ["pre-reboot", "post-boot"] {
            let ran = format!("running the hook {moment}.d/50-haproxy");
            assert!(said.contains(&ran), "{said}");
        }
    }
}
