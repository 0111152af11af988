//! The units of a boot, in a container that the real systemd boots, twice.

use std::{fs, path::Path};

use crate::apply::container::Container;

const EARLY: &str = "pointsman-cloud-config-early.service";
const LATE: &str = "pointsman-cloud-config.service";

/// The files of a machine with both units wanted, and these.
fn files<'a>(
    units: &'a [(String, String)],
    more: &[(&'a str, &'a str, u32)],
) -> Vec<(&'a str, &'a str, u32)> {
    let units = units
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str(), 0o644));
    units.chain(more.iter().copied()).collect()
}

fn units() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let unit = |name: &str| {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        (format!("usr/lib/systemd/system/{name}"), text)
    };
    let wants = format!("[Unit]\nWants={EARLY} {LATE}\n");
    vec![
        unit(EARLY),
        unit(LATE),
        (
            "etc/systemd/system/multi-user.target.d/wants.conf".into(),
            wants,
        ),
    ]
}

/// A document that names the node, starts a unit that comes after the network, and leaves something under /run.
fn document(text: &str) -> String {
    format!(
        "#cloud-config\nhostname: {text}\nwrite_files:\n  - {{path: /etc/site, content: {text}}}\ncoreos:\n  \
         flannel: {{etcd_prefix: /{text}}}\n  units:\n    - name: site.service\n      command: start\n      content: |\n        \
         [Unit]\n        After=network.target multi-user.target\n        [Service]\n        Type=oneshot\n        \
         RemainAfterExit=yes\n        ExecStart=/bin/sh -c 'echo started >/run/site'\n"
    )
}

/// What the document has made of the machine.
fn check(node: &Container, text: &str) {
    assert_eq!(node.text("/etc/site"), text);
    assert_eq!(
        node.text("/run/flannel/options.env"),
        format!("FLANNELD_ETCD_PREFIX=/{text}\n")
    );
    assert_eq!(node.run(&["hostname"]).stdout.trim(), text);
    assert_eq!(node.text("/run/site"), "started\n");
    assert_eq!(node.show("site.service", "ActiveState"), "active");
}

/// How many applies changed something.
fn history(node: &Container) -> usize {
    node.cloud_config(&["history"], "").must(0).lines().count()
}

/// The result in this boot.
fn outcome(node: &Container) -> String {
    let text = node.text("/run/pointsman/cloud-config.json");
    let outcome: serde_json::Value = serde_json::from_str(&text).unwrap();
    outcome["result"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn local_document_is_applied_before_the_network() {
    let units = units();
    let first = document("one");
    let mut node = Container::boot(&files(
        &units,
        &[("var/lib/flatcar-install/user_data", &first, 0o644)],
    ))
    .await;
    check(&node, "one");
    assert_eq!(outcome(&node), "applied");
    assert_eq!(node.show(EARLY, "Result"), "success");
    // It was done before the network's units could start.
    let at = |unit: &str, property: &str| -> u64 { node.show(unit, property).parse().unwrap() };
    let done = at(EARLY, "ExecMainExitTimestampMonotonic");
    assert!(done > 0);
    assert!(done < at("network-pre.target", "ActiveEnterTimestampMonotonic"));
    assert!(done < at("site.service", "ExecMainStartTimestampMonotonic"));
    // One document is enough.
    assert_eq!(node.show(LATE, "ConditionResult"), "no");
    assert_eq!(history(&node), 1);

    // A second boot: the same, what is under /run made again and nothing else touched.
    let inode = |node: &Container| node.run(&["stat", "-c", "%i %Z", "/etc/site"]).must(0);
    let before = inode(&node);
    node.reboot("running").await;
    check(&node, "one");
    assert_eq!(inode(&node), before);
    assert_eq!(node.show(EARLY, "Result"), "success");

    // It became invalid: the node keeps what worked, and says so.
    node.write(
        "/var/lib/flatcar-install/user_data",
        "#cloud-config\nhostname: [two]\n",
    );
    node.reboot("degraded").await;
    check(&node, "one");
    assert_eq!(outcome(&node), "kept");
    assert_eq!(node.show(EARLY, "Result"), "exit-code");
    let status = node
        .run(&["systemctl", "status", "--no-pager", "--lines=50", EARLY])
        .stdout;
    assert!(
        status.contains("nothing is done")
            && status.contains("the last document that worked is kept"),
        "{status}"
    );
    let told = node.text("/run/motd.d/50-pointsman-cloud-config");
    assert!(told.contains("NOT up to date"), "{told}");

    // It changed.
    node.write("/var/lib/flatcar-install/user_data", &document("three"));
    node.reboot("running").await;
    check(&node, "three");
    assert_eq!(outcome(&node), "applied");
}

#[tokio::test]
async fn drive_that_appears_after_the_boot_is_not_read() {
    let all = units();
    let drive = "media/configdrive/openstack/latest/user_data";
    let mut node = Container::boot(&files(&all, &[])).await;
    let document = "#cloud-config\nwrite_files: [{path: /etc/x, content: drive}]\n";
    node.run(&["mkdir", "-p", "/media/configdrive/openstack/latest"])
        .must(0);
    node.write(&format!("/{drive}"), document);
    node.run(&["systemctl", "start", EARLY]).must(0);
    assert_eq!(node.show(EARLY, "Result"), "exec-condition");
    assert_eq!(node.run(&["test", "-e", "/etc/x"]).code, Some(1));
    // At the next boot it is there.
    node.reboot("running").await;
    assert_eq!(node.text("/etc/x"), "drive");
}

/// A server in the machine itself, that takes a while to come up and answers every request alike.
const SERVER: &str = r#"use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1:8000', Listen => 5, ReuseAddr => 1) or die;
while (my $client = $server->accept) {
    while (<$client>) { last if /^\r?\n$/ }
    local $/; open(my $file, '<', '/srv/node.yaml'); my $body = <$file>;
    print $client "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
    close $client;
}
"#;

#[tokio::test]
async fn remote_document_is_applied_after_the_network() {
    let units = units();
    let first = document("one");
    let serve = "[Unit]\nAfter=basic.target\n[Service]\nExecStart=/usr/bin/perl /srv/server\n";
    let also = "[Unit]\nWants=server.service\n";
    let env = "CLOUD_CONFIG=http://127.0.0.1:8000/node\nCLOUD_CONFIG_WAIT=20s\n";
    let mut node = Container::boot(&files(
        &units,
        &[
            ("srv/node.yaml", &first, 0o644),
            ("srv/server", SERVER, 0o644),
            ("etc/systemd/system/server.service", serve, 0o644),
            (
                "etc/systemd/system/multi-user.target.d/server.conf",
                also,
                0o644,
            ),
            ("etc/pointsman/cloud-config.env", env, 0o644),
        ],
    ))
    .await;
    check(&node, "one");
    assert_eq!(outcome(&node), "applied");
    assert_eq!(node.show(LATE, "Result"), "success");
    // The early one had nothing to do.
    assert_eq!(node.show(EARLY, "Result"), "success");
    let before = history(&node);
    node.run(&["systemctl", "restart", LATE]).must(0);
    assert_eq!(history(&node), before, "a second time changes nothing");

    node.reboot("running").await;
    check(&node, "one");

    // The server is away: the node is as it was. For one boot that is a warning, from the second on the unit has failed.
    node.write("/etc/pointsman/cloud-config.env", &env.replace("20s", "1s"));
    node.write(
        "/etc/systemd/system/server.service",
        "[Service]\nExecStart=/bin/sleep infinity\n",
    );
    for (state, result) in [("running", "success"), ("degraded", "exit-code")] {
        node.reboot(state).await;
        check(&node, "one");
        assert_eq!(outcome(&node), "kept");
        assert_eq!(node.show(LATE, "Result"), result);
    }
}
