//! The container scenario of the quick suite: one booted system with the package as users have it.

use pointsman_nodes::{bed::skipped, cluster::Cluster, container::Container};
use pointsman_testbed::{disk::Slot, pages};

#[tokio::test(flavor = "multi_thread")]
async fn a_booted_node_reboots_when_asked_and_into_an_update_it_then_proves() {
    if skipped("a booted node") {
        return;
    }
    let cluster = Cluster::idle_alone().await;
    let node = &cluster.nodes[0];
    node.sh("systemctl is-active etcd update-engine").await;

    // What the workload is, as the hook stops and starts it around the drain.
    node.write("etc/systemd/system/workload.target", "[Unit]\n");
    let conf = "etc/pointsman/systemd-target.conf";
    node.write(conf, "STOP=workload.target\n");
    node.sh("systemctl daemon-reload && systemctl start workload.target && pointsman hooks enable systemd-target")
        .await;

    // Whoever reboots the node by hand is told of the agent, which its own block does not keep.
    let config = "etc/pointsman/config.d/20-block.yaml";
    node.write(config, "block-other-reboots: true\n");
    node.sh("systemctl reload pointsman").await;
    node.until("systemd-inhibit --list --no-legend | grep -q '^pointsman '")
        .await;
    for who in ["setpriv --reuid 65534 --clear-groups", ""] {
        let by_hand =
            format!("{who} systemctl reboot --check-inhibitors=yes 2>&1 && echo went || true");
        let said = node.sh(&by_hand).await;
        let told = said.contains("inhibited by \"pointsman\"")
            && said.contains("instead: pointsman reboot");
        assert!(told && !said.contains("went"), "{who}: {said}");
    }

    // By a person, through the agent and logind.
    node.sh("pointsman reboot --reason 'new disk'").await;
    node.booted(2).await;
    node.up().await;
    node.agent_is("idle").await;
    assert_eq!(node.slot(), Slot::A);
    // Stopped by the hook, and not only by the shutdown; nothing but the hook starts it again.
    let first = "journalctl -b -1 -o cat | grep -m 1 -E '^Stopped target workload|rebooting: ' | grep -q workload";
    node.sh(first).await;
    node.sh("systemctl is-active workload.target").await;
    // Blocked again in the new boot, until it is switched off.
    node.until("systemd-inhibit --list --no-legend | grep -q '^pointsman '")
        .await;
    node.write(config, "block-other-reboots: false\n");
    node.sh("systemctl reload pointsman").await;
    node.until("! systemd-inhibit --list --no-legend | grep -q '^pointsman '")
        .await;
    uncordons_later(node).await;
    enable_hooks_as_the_page_says(node).await;
    node.sh("pointsman hooks disable systemd-target").await;
    assert!(node.read("var/log/fake-update-engine").lines().count() == 2);

    // Into an update; the boot is a trial until the agent has proven it, and update_engine comes only then.
    node.stage("2").await;
    node.booted(3).await;
    assert_eq!(node.slot(), Slot::B);
    node.up().await;
    node.agent_is("idle").await;
    assert!(node.disk().bits(Slot::B).successful);
    node.until("systemctl is-active --quiet update-engine")
        .await;

    // The journal has what happened, over all boots, under fixed ids that the catalog explains.
    let of = async |id: &str| {
        let json = node
            .sh(&format!("journalctl -o json MESSAGE_ID={id}"))
            .await;
        json.lines().count()
    };
    let (proven, staged) = (
        "92f6911ef32f547e80832466f3dca634",
        "b5d355fe81d759538baf5d2a0eafc22e",
    );
    // Both reboots were proven.
    assert_eq!((of(proven).await, of(staged).await), (2, 1));
    let fields = node
        .sh(&format!("journalctl -o json MESSAGE_ID={proven} -n 1"))
        .await;
    for field in [
        r#""POINTSMAN_EVENT":"proven""#,
        r#""POINTSMAN_TO":"2""#,
        r#""_SYSTEMD_UNIT":"pointsman.service""#,
    ] {
        assert!(fields.contains(field), "{field} in {fields}");
    }
    let explained = node
        .sh(&format!("journalctl -x --no-pager MESSAGE_ID={proven}"))
        .await;
    assert!(
        explained.contains("The node runs 2, and all checks of the boot have passed."),
        "{explained}"
    );
    node.sh("pointsman history | grep -q ' proven '").await;
    // The node is well, also by a look at the real systemd; our alias of locksmithd is no other coordinator.
    let said = node.sh("pointsman doctor").await;
    let begins = |line: &&str| line.starts_with("WARNING") || line.starts_with("ERROR");
    let faults: Vec<&str> = said.lines().filter(begins).collect();
    // The clock is the machine's under the container.
    let synchronised = node
        .sh("timedatectl show --property=NTPSynchronized --value")
        .await;
    match (synchronised.trim(), &faults[..]) {
        ("yes", []) => {}
        ("no", [clock]) if clock.starts_with("WARNING  clock: it is not synchronised") => {}
        _ => panic!("{synchronised}{said}"),
    }
    assert!(said.contains("ok       agent: it runs, idle"), "{said}");
}

/// A node whose API server was away when the drain was undone is uncordoned when it is back.
async fn uncordons_later(node: &Container) {
    // What kubectl says of a node that the hook has cordoned, once the server is there.
    let kubectl = "#!/bin/sh\necho \"$*\" >>/run/kubectl\n[ -e /run/server ] || { echo away >&2; exit 1; }\necho '7 c=true m=x b= r=True'\n";
    node.write("usr/local/bin/kubectl", kubectl);
    let conf = "etc/pointsman/kubernetes.conf";
    node.write(conf, "KUBECONFIG=/etc/kubeconfig\nRETRY=1\n");
    node.sh("chmod 755 /usr/local/bin/kubectl").await;
    let hook = "POINTSMAN_STAGE=post-boot POINTSMAN_HOSTNAME=n1 /usr/lib/pointsman/hooks/available/kubernetes";
    node.sh(&format!("! {hook}")).await;
    node.sh("systemctl cat pointsman-kubernetes-uncordon >/dev/null")
        .await;
    node.sh("! grep -q patch /run/kubectl && touch /run/server")
        .await;
    node.until("grep -q 'patch node n1 .*\"unschedulable\":null' /run/kubectl")
        .await;
    node.until("! systemctl cat pointsman-kubernetes-uncordon >/dev/null 2>&1")
        .await;
    node.sh("! ls /var/lib/pointsman/hooks/kubernetes-uncordon")
        .await;
}

/// The commands of the page, with an editor that fills in the example.
async fn enable_hooks_as_the_page_says(node: &Container) {
    let page = include_str!("../../../docs/reference/hooks.md");
    let test = "a_booted_node_reboots_when_asked_and_into_an_update_it_then_proves";
    let commands = pages::commands(page, test);
    assert_eq!(commands.len(), 1);
    let (before, after) = commands[0]
        .1
        .split_once("pointsman hooks disable")
        .expect("it is disabled");
    node.sh(&format!("export EDITOR='sed -i s/^#\\(HAPROXY\\|SERVER\\)/\\1/'\n{before}\ntest -L /etc/pointsman/hooks/pre-reboot.d/50-haproxy")).await;
    node.sh(&format!(
        "pointsman hooks disable{after}\ntest ! -e /etc/pointsman/hooks/pre-reboot.d/50-haproxy"
    ))
    .await;
}
