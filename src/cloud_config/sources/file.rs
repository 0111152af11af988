//! Files: one that a person names, standard input, and those that installers leave.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::Absent;
use crate::{cloud_config::LARGEST, node::Root};

/// Where Vagrant leaves user data.
const VAGRANT: [&str; 2] = [
    "var/lib/flatcar-vagrant/vagrantfile-user-data",
    "var/lib/coreos-vagrant/vagrantfile-user-data",
];

/// Where the installer leaves it.
const INSTALL: [&str; 2] = [
    "var/lib/flatcar-install/user_data",
    "var/lib/coreos-install/user_data",
];

/// What a file holds.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Absent> {
    let open = || {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        bounded(file, size)
    };
    open()
        .map_err(|error| Absent::file(path, &error))
        .and_then(|bytes| small(bytes, &path.display().to_string()))
}

/// What a file holds, none where it is not there.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, Absent> {
    match path.try_exists() {
        Ok(false) => Ok(None),
        _ => read(path).map(Some),
    }
}

/// What standard input holds.
pub(super) fn stdin() -> Result<Vec<u8>, Absent> {
    bounded(io::stdin(), 0)
        .map_err(|error| Absent::never(error.to_string()).here())
        .and_then(|bytes| small(bytes, "standard input"))
}

pub(super) fn vagrant(root: &Root) -> Result<Vec<u8>, Absent> {
    first(VAGRANT.map(|path| root.path(path)))
}

pub(super) fn install(root: &Root) -> Result<Vec<u8>, Absent> {
    first(INSTALL.map(|path| root.path(path)))
}

/// The first of two files that is there.
fn first([newer, older]: [PathBuf; 2]) -> Result<Vec<u8>, Absent> {
    match read_if_there(&newer)? {
        Some(bytes) => Ok(bytes),
        // Who has either system is told where it would be.
        None => read(&older).map_err(|absent| match absent.none_here {
            true => Absent {
                reason: format!("found neither {} nor {}", newer.display(), absent.reason),
                ..absent
            },
            false => absent,
        }),
    }
}

/// All of it, one byte more than the most at most.
fn bounded(input: impl Read, size: u64) -> io::Result<Vec<u8>> {
    let size = usize::try_from(size.min(LARGEST)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(size + 1);
    input.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn small(bytes: Vec<u8>, name: &str) -> Result<Vec<u8>, Absent> {
    if bytes.len() as u64 > LARGEST {
        let reason = format!("{name}: found more than {LARGEST} bytes, expected at most that");
        return Err(Absent::never(reason).here());
    }
    Ok(bytes)
}
