//! Files: one that a person names, standard input, and those that installers leave.

use std::{
    fs::File,
    io::{self, Read},
    sync::{Arc, Mutex},
    thread,
};

use host::node::{Root, RootPath};
use tokio::sync::oneshot;

use super::Absent;
use crate::LARGEST;

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

/// Does work that may wait for a disk, or for who writes into a pipe, for ever: on a thread of its own, which the end of
/// the program does not wait for.
pub(super) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Absent> + Send + 'static,
) -> Result<T, Absent> {
    let (send, answer) = oneshot::channel();
    let work = Arc::new(Mutex::new(Some(work)));
    let take = |work: &Mutex<Option<_>>| work.lock().ok().and_then(|mut work| work.take());
    let given = Arc::clone(&work);
    let read = move || {
        // Nobody waits any more for what comes too late.
        let _ = take(&given).map(|work| send.send(work()));
    };
    let thread = thread::Builder::new().name("source".into()).spawn(read);
    // Who entered the machine's space of processes from outside may have no threads.
    if thread.is_err()
        && let Some(work) = take(&work)
    {
        return work();
    }
    let ended = |_| Absent::never("the thread that was to read it has ended").here();
    answer.await.map_err(ended)?
}

/// What a file holds.
pub(super) fn read(at: &RootPath) -> Result<Vec<u8>, Absent> {
    whole(at, at.open_to_read())
}

/// What a file holds, none where it is not there.
pub(super) fn read_if_there(at: &RootPath) -> Result<Option<Vec<u8>>, Absent> {
    match at.open_to_read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => whole(at, opened).map(Some),
    }
}

fn whole(at: &RootPath, opened: io::Result<File>) -> Result<Vec<u8>, Absent> {
    let name = at.to_string();
    opened
        .and_then(|file| {
            let size = file.metadata()?.len();
            bounded(file, size)
        })
        .map_err(|error| Absent::file(&name, &error))
        .and_then(|bytes| small(bytes, &name))
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
fn first([newer, older]: [RootPath; 2]) -> Result<Vec<u8>, Absent> {
    match read_if_there(&newer)? {
        Some(bytes) => Ok(bytes),
        // Who has either system is told where it would be.
        None => read(&older).map_err(|absent| match absent.none_here {
            true => Absent {
                reason: format!("found neither {newer} nor {}", absent.reason),
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
