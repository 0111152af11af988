//! A drive of OpenStack: `openstack/latest/` with `user_data` and `meta_data.json`. If nobody says where it is mounted,
//! it is found by its label.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use host::node::{Root, RootPath};
use tokio::{process::Command, time::timeout};

use super::{Found, Metadata, Retry, Unavailable, file, openstack};
use crate::problem::Problem;

/// Where it is mounted, as by coreos-cloudinit's units: units of a document may read more of it.
const FOLDER: &str = "media/configdrive";

/// Its label. FAT has capitals only.
const LABELS: [&str; 2] = ["config-2", "CONFIG-2"];

/// How long finding the drive, or mounting it, may take: an optical drive has to start.
const LIMIT: Duration = Duration::from_secs(30);

/// Reads the drive of this machine, and mounts it read-only if it is not mounted.
pub(super) async fn find(root: &Root) -> Result<Found, Unavailable> {
    let folder = root.path(FOLDER);
    if root.is_host() && !folder.join("openstack").exists() {
        let Some(device) = labelled().await else {
            let label = LABELS[0];
            let found = format!("no drive labelled {label}, and none mounted at {folder}");
            return Err(Unavailable::none_here(Retry::Later, Problem::found(found)));
        };
        mount(&device, &folder.shown()).await.map_err(|error| {
            let device = device.display();
            let what = format!("{device} could not be mounted at {folder}");
            Unavailable::new(Retry::Soon, Problem::said(what, error)).here()
        })?;
    }
    file::apart(move || read(&folder)).await
}

/// Finds the device with the label: by udev, else by reading all devices, which needs root.
async fn labelled() -> Option<PathBuf> {
    let known = LABELS.map(|label| Path::new("/dev/disk/by-label").join(label));
    if let Some(known) = known.into_iter().find(|path| path.exists()) {
        return Some(known);
    }
    for label in LABELS {
        let label = format!("LABEL={label}");
        if let Ok(found) = said(Command::new("findfs").arg(label)).await {
            return Some(found.trim().into());
        }
    }
    None
}

/// Why a program failed.
#[derive(Debug, thiserror::Error)]
enum ToolError {
    #[error("only root may mount; try sudo")]
    NotRoot,
    #[error("no answer within {LIMIT:?}")]
    Late,
    #[error("{0}")]
    System(#[from] io::Error),
    /// What it wrote to standard error.
    #[error("{0}")]
    Failed(String),
}

/// Mounts the drive for reading.
async fn mount(device: &Path, folder: &Path) -> Result<(), ToolError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(ToolError::NotRoot);
    }
    fs::create_dir_all(folder)?;
    let mut command = Command::new("mount");
    command.args(["--options", "ro,nosuid,nodev,noexec"]);
    said(command.arg(device).arg(folder)).await.map(drop)
}

/// Runs a program and returns what it prints.
async fn said(command: &mut Command) -> Result<String, ToolError> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(LIMIT, output)
        .await
        .map_err(|_| ToolError::Late)??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(ToolError::Failed(text(&output.stderr))),
    }
}

/// Reads the drive. If both files are missing, nothing is mounted there yet.
pub(super) fn read(folder: &RootPath) -> Result<Found, Unavailable> {
    let latest = folder.join("openstack/latest");
    let user_data = file::read_if_there(&latest.join("user_data"))?;
    let path = latest.join("meta_data.json");
    let said = file::read_if_there(&path)?;
    if user_data.is_none() && said.is_none() {
        let problem = Problem::found("neither user_data nor meta_data.json")
            .of(latest.to_string())
            .expected(format!("a config drive mounted at {folder}"));
        return Err(Unavailable::none_here(Retry::Later, problem));
    }
    let mut metadata = Metadata::default();
    if let Some(said) = said {
        let name = path.to_string();
        let (known, content) = openstack::meta_data(&said, &name).map_err(Unavailable::here)?;
        metadata = known;
        if let Some(content) = content {
            if !openstack::stays_below(&content) {
                let problem = Problem::found(format!("content_path {content:?}"))
                    .of(name)
                    .expected("a path on the drive");
                return Err(Unavailable::never(problem).here());
            }
            let path = folder
                .join("openstack")
                .join(content.trim_start_matches('/'));
            metadata.network = file::read_if_there(&path)?;
            if metadata.network.is_none() {
                metadata.network_lost = Some(format!(
                    "{path}: found no such file, expected the network's description, as content_path in {name} says"
                ));
            }
        }
    }
    Ok(Found {
        user_data: user_data.unwrap_or_default(),
        metadata,
        is_partial: false,
    })
}
