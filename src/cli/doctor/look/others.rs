//! What else reboots this node, and takes no reboot lock of this program.

use std::{process::Stdio, time::Duration};

use host::{coordinator, node::Root, systemd};
use tokio::{process::Command, time::timeout};
use zbus::Connection;

use crate::cli::doctor::facts::Coordinator;

/// Units that reboot nodes when they are enabled.
const UNITS: [&str; 4] = [
    "locksmithd.service",
    "zincati.service",
    "rebootmgr.service",
    SYSUPDATE,
];
const SYSUPDATE: &str = "systemd-sysupdate-reboot.timer";

/// Programs of pods that reboot nodes, by the names of their processes, and whose they are.
const PROCESSES: [(&str, &str, &str); 2] = [
    (
        "kured",
        "kured",
        "keep its daemon set from this node; the how-to on kured has the steps",
    ),
    (
        "update-agent",
        "Flatcar Linux Update Operator's agent",
        "keep its daemon set from this node; the how-to on FLUO has the steps",
    ),
];

/// How long another program may take to say how it is configured.
const LIMIT: Duration = Duration::from_secs(10);

/// Those that systemd starts.
pub(super) async fn of_systemd(root: &Root, connection: &Connection) -> Vec<Coordinator> {
    // Our unit may be called as locksmith's is.
    let link = root.path("etc/systemd/system/locksmithd.service").link();
    let is_ours = link.is_some_and(|to| to.ends_with("pointsman.service"));
    let mut found = Vec::new();
    for unit in UNITS {
        if !(unit == "locksmithd.service" && is_ours) && is_enabled(connection, unit).await {
            let asks_instead = match unit {
                SYSUPDATE => " && systemctl enable --now pointsman-sysupdate.timer",
                _ => "",
            };
            found.push(Coordinator {
                found: format!("{unit} is enabled, and takes no reboot lock of pointsman"),
                to_do: format!("systemctl disable --now {unit}{asks_instead}"),
            });
        }
    }
    if is_enabled(connection, "transactional-update.timer").await {
        found.extend(transactional_update(root));
    }
    found
}

async fn is_enabled(connection: &Connection, unit: &str) -> bool {
    let enabled = systemd::enabled(connection, unit).await;
    enabled.is_ok_and(|enabled| enabled == Some(true))
}

/// Those that files tell of: who says that it coordinates, running processes, configurations.
pub(super) async fn of_files(root: &Root) -> Vec<Coordinator> {
    let mut found = Vec::new();
    if let Some(name) = coordinator::seen(root).filter(|name| !name.starts_with("pointsman")) {
        found.push(Coordinator {
            found: format!(
                "{name} coordinates this node's reboots (/run/update-engine/coordinator.conf)"
            ),
            to_do: "stop it, and disable its unit".into(),
        });
    }
    found.extend(processes(root));
    found.extend(unattended_upgrades(root).await);
    found
}

/// The processes of pods are the node's own.
fn processes(root: &Root) -> Vec<Coordinator> {
    let folder = root.path("proc");
    let ids = folder.names().unwrap_or_default().into_iter();
    let ids = ids.filter(|name| {
        name.to_string_lossy()
            .bytes()
            .all(|byte| byte.is_ascii_digit())
    });
    let mut found = Vec::new();
    for id in ids {
        let name = folder
            .join(&id)
            .join("comm")
            .read_text()
            .unwrap_or_default();
        let known = PROCESSES
            .iter()
            .find(|(process, ..)| *process == name.trim_end());
        if let Some((_, whose, to_do)) = known {
            found.push(Coordinator {
                found: format!(
                    "{whose} runs (process {}), and takes no reboot lock of pointsman",
                    id.to_string_lossy()
                ),
                to_do: (*to_do).to_owned(),
            });
        }
    }
    found
}

/// Debian's unattended-upgrades, where it reboots. APT itself reads its configuration.
async fn unattended_upgrades(root: &Root) -> Option<Coordinator> {
    const KEY: &str = "Unattended-Upgrade::Automatic-Reboot";
    if !root.path("usr/bin/unattended-upgrade").exists() {
        return None;
    }
    let mut dir = std::ffi::OsString::from("Dir=");
    dir.push(root.folder());
    let mut asked = Command::new("apt-config");
    asked
        .arg("-o")
        .arg(dir)
        .args(["shell", "reboots", &format!("{KEY}/b")]);
    asked.stdin(Stdio::null()).kill_on_drop(true);
    let said = timeout(LIMIT, asked.output()).await.ok()?.ok()?;
    let reboots = String::from_utf8_lossy(&said.stdout).trim() == "reboots='true'";
    reboots.then(|| Coordinator {
        found: "unattended-upgrades reboots the node by itself (Unattended-Upgrade::Automatic-Reboot \"true\")".into(),
        to_do: format!(
            "set {KEY} \"false\" in /etc/apt/apt.conf.d: it asks for reboots by /run/reboot-required all the same, which pointsman sees"
        ),
    })
}

/// openSUSE's transactional-update, where it reboots: its configuration files are shell assignments, and the last one counts
/// (transactional-update.conf(5)).
fn transactional_update(root: &Root) -> Option<Coordinator> {
    let vendor = root.path("usr/etc/transactional-update.conf.d");
    let mut snippets = vendor.names().unwrap_or_default();
    snippets.sort();
    let mut files = vec![root.path("usr/etc/transactional-update.conf")];
    files.extend(snippets.into_iter().map(|name| vendor.join(name)));
    files.push(root.path("etc/transactional-update.conf"));
    let mut method = "auto".to_owned();
    for file in files {
        for line in file.read_text().unwrap_or_default().lines() {
            if let Some(value) = line.trim().strip_prefix("REBOOT_METHOD=") {
                method = value.trim_matches(['"', '\'', ' ']).to_owned();
            }
        }
    }
    let only_asks = ["kured", "notify", "none"].contains(&method.as_str());
    (!only_asks).then(|| Coordinator {
        found: format!("transactional-update reboots the node by itself (REBOOT_METHOD={method})"),
        to_do: "set REBOOT_METHOD=kured in /etc/transactional-update.conf: it then only asks, by a file that pointsman sees"
            .into(),
    })
}
