//! The users and roles of docs/how-to/etcd-roles.md, on a real etcd with authentication.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use pointsman_testbed::{
    etcd::{Cluster, Version},
    fakes::PATIENCE,
    pages,
    process::{Output, run},
    scratch,
};

use crate::agents::bin;

const PAGE: &str = include_str!("../../../docs/how-to/etcd-roles.md");

/// Runs a script as the page's reader would.
async fn sh(folder: &Path, endpoints: &str, script: &str) -> Output {
    let env = [
        ("PATH", "/usr/bin:/bin"),
        ("ETCDCTL_API", "3"),
        ("ETCDCTL_ENDPOINTS", endpoints),
    ];
    let script = format!("set -e\ncd {}\n{script}", folder.display());
    run("/bin/sh", ["-c", &script], &env, PATIENCE).await
}

/// A machine with the configuration of the page, and this user's password.
fn machine(folder: &Path, user: &str, endpoints: &str) {
    let blocks = pages::blocks(PAGE);
    let yaml = blocks
        .iter()
        .find(|block| block.language == "yaml")
        .unwrap();
    let config = yaml.text().replace("pointsman-agent", user);
    let etc = folder.join(user).join("etc");
    fs::create_dir_all(etc.join("pointsman")).unwrap();
    fs::write(etc.join("machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
    let endpoints = format!("  endpoints: [\"{}\"]\n", endpoints.replace(',', "\", \""));
    fs::write(etc.join("pointsman/config.yaml"), config + &endpoints).unwrap();
    let file = format!("{}.password", user.trim_start_matches("pointsman-"));
    let password = etc.join("pointsman/etcd-password");
    fs::copy(folder.join(file), &password).unwrap();
    fs::set_permissions(password, fs::Permissions::from_mode(0o600)).unwrap();
}

async fn pointsman(folder: &Path, user: &str, args: &[&str]) -> Output {
    let root = folder.join(user).display().to_string();
    let args = [&["--root", &root], args].concat();
    run(bin(), args, &[], PATIENCE).await
}

async fn roles(version: Version) {
    let test = "roles_of_the_page_are_enough_and_no_more";
    let commands = pages::commands(PAGE, test);
    let [make, enable, list] = &commands[..] else {
        panic!("{commands:#?}");
    };
    let cluster = Cluster::builder(1).version(version).start().await;
    let endpoints = cluster.endpoints().join(",");
    let scratch = scratch::dir("roles");
    let folder = scratch.path();
    for (_, script) in [make, enable] {
        let said = sh(folder, &endpoints, script).await;
        assert_eq!(said.code, Some(0), "{script}: {said:?}");
    }
    // Nobody without a password any more.
    let said = sh(folder, &endpoints, "etcdctl get --prefix coreos.com/").await;
    assert_ne!(said.code, Some(0), "{said:?}");
    let said = sh(folder, &endpoints, &list.1).await;
    assert!(said.stdout.contains("pointsman-agent\n"), "{said:?}");

    for user in ["pointsman-agent", "pointsman-viewer"] {
        machine(folder, user, &endpoints);
    }
    let agent = async |args: &[&str]| {
        let said = pointsman(folder, "pointsman-agent", args).await;
        assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
    };
    agent(&["set-max", "2"]).await;
    agent(&["set-max", "2", "--new", "--group", "web"]).await;
    agent(&["lock", "--as", "disk-7", "--reason", "disk"]).await;
    agent(&["quarantine", "add", "1.2.3", "--reason", "bad"]).await;
    agent(&["pause", "--all", "--reason", "x", "--for", "1h"]).await;
    agent(&["policy", "set", "--max", "20%", "--new", "--group", "web"]).await;
    agent(&["waves"]).await;

    let viewer = async |args: &[&str]| pointsman(folder, "pointsman-viewer", args).await;
    for args in [
        &["status", "--all-groups"][..],
        &["waves"],
        &["acts"],
        &["quarantine"],
    ] {
        let said = viewer(args).await;
        assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
    }
    let said = viewer(&["status"]).await;
    assert!(said.stdout.contains("disk-7"), "{said:?}");
    for args in [
        &["unlock", "disk-7"][..],
        &["resume", "--all"],
        &["set-max", "9"],
    ] {
        let said = viewer(args).await;
        let refused = said.stderr.contains("permission denied");
        assert!(said.code == Some(1) && refused, "{args:?}: {said:?}");
    }
    // Neither reaches beyond the prefix, nor the users.
    for beyond in [
        "get coreos.com/other",
        "put coreos.com/updateengine/rebootlock-2/semaphore x",
        "user list",
    ] {
        let script = format!("etcdctl --user pointsman-agent:$(cat agent.password) {beyond}");
        let said = sh(folder, &endpoints, &script).await;
        assert!(
            said.stderr.contains("permission denied"),
            "{beyond}: {said:?}"
        );
    }
}

#[tokio::test]
async fn roles_of_the_page_are_enough_and_no_more() {
    roles(Version::Debian).await;
    roles(Version::V35).await;
}
