//! Pages in docs/ whose commands need a whole system.

use std::fs;

use pointsman_nodes::{
    bed::{built, repository, sh, skipped},
    cluster::Cluster,
};
use pointsman_testbed::pages;

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
