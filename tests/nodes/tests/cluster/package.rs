//! The package comes and goes: no lock stays behind, no update is lost, nothing reboots.

use std::fs;

use pointsman_nodes::{
    bed::{Bed, sh, skipped},
    cluster::{Cluster, holders},
};
use pointsman_testbed::disk::Slot;

use crate::shutdown::{self, GOING_DOWN, delays};

#[tokio::test(flavor = "multi_thread")]
async fn package_removed_while_queued_or_on_trial_releases_and_purge_leaves_nothing() {
    if skipped("the package's removal") {
        return;
    }
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    node.hook(
        "health.d/20-wait",
        "[ -e /var/healthy ] || { echo not yet; exit 1; }",
    );
    node.write("var/healthy", "");
    cluster.up().await;

    // What the package brings.
    node.sh("for name in locksmithctl locksmithd coreos-cloudinit; do
                 [ \"$(readlink -f /usr/bin/$name)\" = /usr/bin/pointsman ]
             done
             locksmithctl status | grep -q '^Available: 1'
             systemctl is-enabled pointsman locksmithd
             test -s /usr/share/bash-completion/completions/pointsman
             test -x /usr/lib/pointsman/hooks/available/haproxy
             test ! -e /etc/pointsman/hooks/pre-reboot.d/50-haproxy")
        .await;

    // Queued, with the booted slot pinned: the update that waits becomes what boots next, as without the agent.
    cluster.command(&["lock", "--as", "operator"]).await;
    node.stage("2").await;
    node.agent_is("queued").await;
    node.until("test -e /var/lib/pointsman/points-held").await;
    node.sh("pointsman slots next | grep -qx USR-A").await;
    node.sh("pointsman slots next >/root/before; dpkg -r pointsman")
        .await;
    let (a, b) = (node.disk().bits(Slot::A), node.disk().bits(Slot::B));
    assert!(b.priority > a.priority, "{a:?} {b:?}");
    let group = cluster.group().await;
    assert_eq!(group["queue"], serde_json::json!([]));
    node.sh("test ! -e /usr/bin/locksmithctl && systemctl is-active update-engine")
        .await;

    // Back, and through: while it proves it holds, and is taken away then. The node goes on, nobody waits for it.
    node.sh("dpkg -i /root/pointsman.deb").await;
    node.agent_is("queued").await;
    node.sh("rm /var/healthy").await;
    cluster.command(&["unlock", "operator"]).await;
    node.booted(2).await;
    node.agent_is("proving").await;
    node.sh("test \"$(systemctl is-active update-engine)\" = inactive")
        .await;
    node.sh("dpkg -r pointsman").await;
    cluster.free().await;
    // Nobody else would let it in now.
    node.until("systemctl is-active --quiet update-engine")
        .await;
    node.sh("test -e /var/lib/pointsman/journal.json && dpkg --purge pointsman")
        .await;
    // What the operator wrote stays, and nothing else.
    let named = "find / /run /tmp /var/tmp -xdev \\( -path /var/lib/dpkg -o -path /root \\) -prune -o \
                 \\( -name '*pointsman*' -o -name '*locksmith*' -o -name coreos-cloudinit \\) -print | sort -u";
    assert_eq!(node.sh(named).await, "/etc/pointsman\n");
    node.sh("test -e /etc/pointsman/config.yaml").await;
    assert_eq!(node.boots(), 2);
}

/// What runs as the system's last, while it goes down.
const LAST_WORDS: &str = "[Unit]
After=pointsman.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/sh /root/last-words
";
const TRIES: &str = "systemctl is-system-running >/var/log/last-words
dpkg -r pointsman >>/var/log/last-words 2>&1; echo removal $? >>/var/log/last-words
dpkg -i /root/newer.deb >>/var/log/last-words 2>&1; echo upgrade $? >>/var/log/last-words
";

#[tokio::test(flavor = "multi_thread")]
async fn removal_during_shutdown_is_refused_and_an_upgrade_waits_for_the_boot() {
    if skipped("a package on a system that goes down") {
        return;
    }
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    let newer = cluster.bed.package("0.2.0").await;
    fs::copy(&newer, node.path("root/newer.deb")).expect("room for a package");
    shutdown::patient(node);
    node.write("etc/systemd/system/last-words.service", LAST_WORDS);
    node.write("root/last-words", TRIES);
    cluster.up().await;
    node.sh("systemctl start last-words").await;

    // Where logind has begun, and systemd not yet.
    delays(node).await;
    node.stage("2").await;
    node.until(GOING_DOWN).await;
    let removal = node.exec(&["dpkg", "-r", "pointsman"]).await;
    assert_eq!(removal.code, Some(1), "{removal:?}");
    assert!(
        removal.stderr.contains("the system is going down"),
        "{removal:?}"
    );
    assert_eq!(holders(&cluster.group().await).count(), 1);
    node.sh(
        "systemctl is-active pointsman && systemctl is-enabled pointsman && locksmithctl status",
    )
    .await;

    // And where systemd has.
    node.sh("touch /var/let-go").await;
    node.booted(2).await;
    cluster.free().await;
    let said = node.read("var/log/last-words");
    assert!(said.starts_with("stopping\n"), "{said}");
    assert!(said.contains("the system is going down"), "{said}");
    assert!(said.contains("\nremoval 1\n"), "{said}");
    assert!(said.ends_with("\nupgrade 0\n"), "{said}");
    node.sh("[ \"$(dpkg-query -W -f '${Status} ${Version}' pointsman)\" = 'install ok installed 0.2.0' ]")
        .await;
    assert_eq!(node.state().boots, [Slot::A, Slot::B]);
    assert!(node.disk().bits(Slot::B).successful);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_during_which_the_system_begins_to_go_down_is_refused_as_well() {
    if skipped("a removal that a reboot overtakes") {
        return;
    }
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    shutdown::patient(node);
    node.hook(
        "pre-reboot.d/20-wait",
        "touch /var/draining; until [ -e /var/drained ]; do sleep 0.1; done",
    );
    // In the drain's undoing, while the agent stops.
    node.hook(
        "post-boot.d/20-reboot",
        "[ ! -e /var/reboot ] || { rm /var/reboot; systemctl reboot; }",
    );
    node.write("var/reboot", "");
    cluster.up().await;
    delays(node).await;
    node.stage("2").await;
    node.until("test -e /var/draining").await;
    let removal = node.exec(&["dpkg", "-r", "pointsman"]).await;
    assert_eq!(removal.code, Some(1), "{removal:?}");
    assert!(
        removal.stderr.contains("the system is going down"),
        "{removal:?}"
    );
    node.sh(GOING_DOWN).await;
    assert_eq!(holders(&cluster.group().await).count(), 1);
    node.until("systemctl is-active pointsman && systemctl is-enabled pointsman")
        .await;
    node.sh("touch /var/let-go").await;
    node.booted(2).await;
    cluster.free().await;
    // Nobody had cleared the update.
    assert_eq!(node.state().boots, [Slot::A, Slot::A]);
}

#[tokio::test(flavor = "multi_thread")]
async fn update_engine_marks_boots_good_as_always_without_the_agent_and_locksmith_stays_in_charge()
{
    if skipped("a masked and an absent agent") {
        return;
    }
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    let quick = "[Service]\nEnvironment=MARK_GOOD_AFTER=1\n";
    node.write(
        "etc/systemd/system/update-engine.service.d/20-quick.conf",
        quick,
    );
    cluster.up().await;
    let boots_into = async |version: &str, slot: Slot| {
        node.stage(version).await;
        let boots = node.boots();
        node.sh("systemd-run -q --no-block systemctl reboot").await;
        node.booted(boots + 1).await;
        assert_eq!(node.slot(), slot);
        node.until("systemctl is-active --quiet update-engine")
            .await;
        cluster
            .until("it is marked good", |_| node.disk().bits(slot).successful)
            .await;
    };

    node.sh("systemctl disable --now pointsman && systemctl mask pointsman")
        .await;
    boots_into("2", Slot::B).await;
    node.sh("dpkg --purge pointsman; test ! -e /usr/bin/pointsman")
        .await;
    boots_into("3", Slot::A).await;

    // With locksmith on the node the package is installed, and nothing more.
    node.sh("systemctl unmask pointsman").await;
    node.write(
        "usr/lib/systemd/system/locksmithd.service",
        "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
    );
    node.sh("systemctl daemon-reload; systemctl enable --now locksmithd")
        .await;
    let said = node.exec(&["dpkg", "-i", "/root/pointsman.deb"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.contains("locksmithd is enabled"), "{said:?}");
    node.sh("[ \"$(systemctl is-enabled pointsman)\" = disabled ]
             [ \"$(systemctl is-active pointsman)\" = inactive ]
             systemctl is-active locksmithd
             [ \"$(systemctl show -P Id locksmithd)\" = locksmithd.service ]")
        .await;
    // An upgrade does not change that.
    node.sh("dpkg -i /root/pointsman.deb").await;
    node.sh(
        "[ \"$(systemctl is-enabled pointsman)\" = disabled ] && systemctl is-active locksmithd",
    )
    .await;
    // As the way over has it.
    node.sh("systemctl stop locksmithd; systemctl enable --now pointsman")
        .await;
    node.agent_is("idle").await;
    node.sh("[ \"$(systemctl show -P Id locksmithd)\" = pointsman.service ]")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn package_installs_without_a_running_system_and_purge_leaves_nothing() {
    if skipped("a package in an image") {
        return;
    }
    let bed = Bed::new().await;
    let package = bed.package("0.1.0").await;
    let root = bed.lay(&[], "bare").await;
    fs::copy(&package, root.join("root/pointsman.deb")).expect("room for a package");
    let root = root.display();
    // Without a network it cannot release what it holds either.
    let chroot = format!("unshare --net chroot {root}");
    // What dpkg itself notes is not the package's.
    let list = format!(
        "cd {root}; find . -path ./var/lib/dpkg -prune -o -path ./var/log -prune -o -printf '%p %y %l\\n' | sort"
    );
    let before = sh(&list).await;
    let install = format!("{chroot} dpkg -i /root/pointsman.deb");
    sh(&install).await;
    sh(&format!(
        "{chroot} systemctl is-enabled pointsman.service
         {chroot} locksmithctl --version
         test -h {root}/etc/systemd/system/multi-user.target.wants/pointsman.service"
    ))
    .await;
    let installed = sh(&list).await;
    assert!(installed.contains("usr/bin/pointsman"), "{installed}");

    sh(&format!(
        "mkdir -p {root}/var/lib/pointsman
         echo '{{\"nonce\": 1}}' >{root}/var/lib/pointsman/journal.json"
    ))
    .await;
    let said = sh(&format!("{chroot} dpkg --remove pointsman 2>&1")).await;
    assert!(said.contains("lock could not be released"), "{said}");
    // A later installation is a first one again.
    sh(&format!(
        "test -e {root}/var/lib/pointsman/journal.json
         test ! -h {root}/etc/systemd/system/multi-user.target.wants/pointsman.service
         {install}
         {chroot} systemctl is-enabled pointsman.service
         rm {root}/var/lib/pointsman/journal.json
         {chroot} dpkg --purge pointsman"
    ))
    .await;
    let after = sh(&list).await;
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let left: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
    assert!(left.is_empty(), "{left:#?}");
    let gone: Vec<_> = before.iter().filter(|line| !after.contains(line)).collect();
    assert!(gone.is_empty(), "{gone:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_installation_starts_the_agent_where_any_documented_place_configures_it() {
    if skipped("a package on a configured machine") {
        return;
    }
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    cluster.up().await;
    // A machine that never had the package.
    node.sh("dpkg --purge pointsman; rm -rf /etc/pointsman; ! systemctl cat pointsman")
        .await;
    let said = node.exec(&["dpkg", "-i", "/root/pointsman.deb"]).await;
    assert!(
        said.stderr
            .contains("the agent is not started, because it has no configuration"),
        "{said:?}"
    );
    node.sh("[ \"$(systemctl is-active pointsman)\" = inactive ]")
        .await;
    let places = [
        ("etc/pointsman/config.yaml", "strategy: reboot\n"),
        (
            "etc/pointsman/config.d/10-strategy.yaml",
            "strategy: reboot\n",
        ),
        ("run/pointsman/config.yaml", "strategy: reboot\n"),
        ("usr/lib/pointsman/config.yaml", "strategy: reboot\n"),
        (
            "etc/flatcar/update.conf",
            "GROUP=stable\nREBOOT_STRATEGY=reboot\n",
        ),
        (
            "etc/coreos/update.conf",
            "LOCKSMITHD_REBOOT_STRATEGY=reboot\n",
        ),
        (
            "etc/systemd/system/pointsman.service.d/10-strategy.conf",
            "[Service]\nEnvironment=POINTSMAN_STRATEGY=reboot\n",
        ),
    ];
    for (place, text) in places {
        node.sh("dpkg --purge pointsman; rm -rf /etc/pointsman")
            .await;
        node.sh(&format!(
            "mkdir -p \"$(dirname /{place})\"; printf '{}' >/{place}",
            text.replace('\n', "\\n")
        ))
        .await;
        let said = node.exec(&["dpkg", "-i", "/root/pointsman.deb"]).await;
        assert_eq!(said.code, Some(0), "{place}: {said:?}");
        assert!(
            !said.stderr.contains("because it has no configuration"),
            "{place}: {said:?}"
        );
        node.sh("systemctl is-active pointsman").await;
        node.agent_is("idle").await;
        node.sh(&format!("systemctl stop pointsman; rm /{place}"))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faulty_reload_fails_and_the_agent_keeps_its_configuration() {
    if skipped("a reload with a fault") {
        return;
    }
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    cluster.up().await;
    node.sh("systemctl reload pointsman").await;
    node.write(
        "etc/pointsman/config.d/90-fault.yaml",
        "window: {start: soon, length: 1h}\n",
    );
    let reload = node.exec(&["systemctl", "reload", "pointsman"]).await;
    assert_ne!(reload.code, Some(0), "{reload:?}");
    node.sh("systemctl is-active pointsman
             journalctl -u pointsman | grep -q '90-fault.yaml:1:17: .*window'
             systemctl show -P StatusText pointsman | grep -q 'not used: .*90-fault.yaml'
             [ \"$(systemctl show -P NRestarts pointsman)\" = 0 ]
             rm /etc/pointsman/config.d/90-fault.yaml
             systemctl reload pointsman")
        .await;
    node.until("[ \"$(systemctl show -P StatusText pointsman)\" = idle ]")
        .await;
}
