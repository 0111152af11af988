//! Pages in docs/ whose commands need a whole system.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use pointsman_nodes::{
    bed::{Bed, built, repository, sh, skipped},
    cluster::Cluster,
};
use pointsman_testbed::{pages, process::run};

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_the_install_page_install_upgrade_and_remove() {
    if skipped("the page about installation") {
        return;
    }
    let page = include_str!("../../../../docs/how-to/install.md");
    let test = "commands_of_the_install_page_install_upgrade_and_remove";
    let commands: Vec<String> = pages::commands(page, test)
        .into_iter()
        .map(|(_, text)| format!("cd /root\n{text}"))
        .collect();
    let [
        install,
        reload,
        upgrade,
        remove,
        by_hand,
        replace,
        remove_by_hand,
    ] = &commands[..]
    else {
        panic!("{commands:#?}");
    };
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    cluster.up().await;
    // A system that has a configuration, but never had the package.
    node.sh(
        "cp -r /etc/pointsman /root/etc; dpkg --purge pointsman; cp -r /root/etc/. /etc/pointsman/",
    )
    .await;
    node.sh("mv /root/pointsman.deb /root/pointsman_0.1.0_amd64.deb; ! systemctl cat pointsman")
        .await;

    node.sh(install).await;
    node.agent_is("idle").await;
    // What the pages name.
    node.sh("cd /usr/share/doc/pointsman && test -s examples/pointsman.yaml -a -s docs/how-to/install.md -a -s README.md
             test -s /usr/share/man/man5/pointsman.yaml.5.gz")
        .await;
    node.sh(reload).await;
    let newer = cluster.bed.package("0.2.0").await;
    fs::copy(&newer, node.path("root/pointsman_0.2.0_amd64.deb")).expect("room for a package");
    node.sh("rm /root/pointsman_0.1.0_amd64.deb").await;
    node.sh(upgrade).await;
    node.agent_is("idle").await;
    node.sh("[ \"$(dpkg-query -W -f '${Version}' pointsman)\" = 0.2.0 ]")
        .await;
    node.sh(remove).await;
    node.sh("! systemctl cat pointsman; test ! -e /usr/bin/pointsman -a ! -e /var/lib/pointsman -a -e /etc/pointsman/config.yaml")
        .await;

    sh(&format!(
        "cp {program} {to}/; cp -r {repository}/systemd {repository}/packaging {to}/",
        program = built().join("pointsman").display(),
        repository = repository().display(),
        to = node.path("root").display(),
    ))
    .await;
    node.sh(by_hand).await;
    node.agent_is("idle").await;
    node.sh("[ \"$(systemctl show -P Id locksmithd)\" = pointsman.service ]")
        .await;
    node.sh(replace).await;
    node.agent_is("idle").await;
    node.sh(remove_by_hand).await;
    node.sh(
        "! systemctl cat pointsman 2>/dev/null; ! busctl status org.pointsman.Agent1 2>/dev/null",
    )
    .await;
    cluster.free().await;
    assert_eq!(node.boots(), 1, "nothing has rebooted");
}

/// As one script in a shell, as a reader types them one after the other; in a network of its own, and with a sudo that is root
/// already.
#[tokio::test(flavor = "multi_thread")]
async fn tutorial_leads_from_nothing_to_three_nodes_drained_rolled_and_watched() {
    if skipped("the tutorial") {
        return;
    }
    let page = include_str!("../../../../docs/tutorial/three-nodes.md");
    let test = "tutorial_leads_from_nothing_to_three_nodes_drained_rolled_and_watched";
    let bed = Bed::new().await;
    // The system is downloaded, which the test's network could not.
    bed.lay(&[], "spare").await;
    // All of it has the bed's name, and goes with the bed where the script does not come to its end.
    let network = format!("{}-hub", bed.name());
    let nodes = bed.path("nodes").display().to_string();
    sh(&format!(
        "ip netns add {network}; ip -n {network} link set lo up"
    ))
    .await;
    fs::write(bed.path("sudo"), "#!/bin/sh\nexec \"$@\"\n").expect("room for a script");
    fs::set_permissions(bed.path("sudo"), fs::Permissions::from_mode(0o755)).expect("it is there");

    let blocks = pages::commands(page, test);
    let mut script = format!(
        "for tree in /sys/fs/cgroup/unified /sys/fs/cgroup/systemd /sys/fs/cgroup; do
             [ -e $tree/cgroup.procs ] || continue
             mkdir -p $tree/{name}-reader && echo $$ >$tree/{name}-reader/cgroup.procs
         done
         set -eu
         cd {repository}\n",
        name = bed.name(),
        repository = repository().display(),
    );
    for (line, commands) in &blocks {
        script += &format!("echo '=== line {line}' $(date +%s)\n{commands}");
    }
    let path = std::env::var("PATH").expect("a PATH");
    let path = format!("{}:{path}", bed.path("").display());
    // `make deb` makes it by the same script.
    let package = bed.package("0.2.0").await.display().to_string();
    let env = [
        ("PATH", path.as_str()),
        ("NODES_NAME", bed.name()),
        ("NODES_DIR", &nodes),
        ("NODES_PACKAGE", &package),
    ];
    let net = format!("--net=/run/netns/{network}");
    let limit = Duration::from_secs(400);
    let said = run("nsenter", [&net, "sh", "-c", &script], &env, limit).await;
    let out = &said.stdout;
    println!("{out}");
    assert_eq!(said.code, Some(0), "{said:?}");

    // Of each block what it printed.
    let printed: Vec<&str> = out.split("=== line ").skip(1).collect();
    assert_eq!(printed.len(), blocks.len());
    let of = |command: &str| {
        let at = blocks
            .iter()
            .position(|(_, commands)| commands.contains(command));
        printed[at.unwrap_or_else(|| panic!("no block has {command}"))]
    };
    let pages_served = |out: &str| {
        ["n1\n", "n2\n", "n3\n"]
            .iter()
            .all(|page| out.contains(page))
    };
    assert!(pages_served(of("systemctl start web")), "{out}");
    let rolling = of("touch /run/reboot-required");
    assert!(rolling.contains("QUEUE"), "one goes, others wait: {out}");
    let after = of("history --cluster");
    assert!(
        pages_served(after) && after.matches(" proven ").count() >= 4,
        "{out}"
    );
    let paused = of("pause --reason");
    assert!(
        paused.contains("launch day") && paused.contains("n3"),
        "{out}"
    );
    assert!(!fs::exists(&nodes).expect("a path"), "it is removed");
}
