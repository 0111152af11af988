//! Files: one that a person names, standard input, and those that installers leave.

use std::{
    fs::File,
    io::{self, Read},
    sync::{Arc, Mutex},
    thread,
};

use host::node::{Root, RootPath};
use tokio::sync::oneshot;

use super::Unavailable;
use crate::{
    LARGEST,
    problem::{Fault, Problem},
};

/// Where Vagrant leaves user data.
const VAGRANT: [&str; 2] = [
    "var/lib/flatcar-vagrant/vagrantfile-user-data",
    "var/lib/coreos-vagrant/vagrantfile-user-data",
];

/// Where the installer leaves user data.
const INSTALL: [&str; 2] = [
    "var/lib/flatcar-install/user_data",
    "var/lib/coreos-install/user_data",
];

/// Runs work that may wait for a disk or a pipe without end. It has its own thread, which the end of
/// the program does not wait for.
pub(super) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Unavailable> + Send + 'static,
) -> Result<T, Unavailable> {
    let (send, answer) = oneshot::channel();
    let work = Arc::new(Mutex::new(Some(work)));
    let take = |work: &Mutex<Option<_>>| work.lock().ok().and_then(|mut work| work.take());
    let given = Arc::clone(&work);
    let read = move || {
        // A late result has no receiver.
        let _ = take(&given).map(|work| send.send(work()));
    };
    let thread = thread::Builder::new().name("source".into()).spawn(read);
    // A process that entered the machine's namespace from outside may not be able to start threads.
    if thread.is_err()
        && let Some(work) = take(&work)
    {
        return work();
    }
    let ended =
        |_| Unavailable::never(Fault::Said("the thread that reads it has ended".into())).here();
    answer.await.map_err(ended)?
}

/// The content of the file.
pub(super) fn read(at: &RootPath) -> Result<Vec<u8>, Unavailable> {
    whole(at, at.open_to_read())
}

/// Reads a file; none if it does not exist.
pub(super) fn read_if_there(at: &RootPath) -> Result<Option<Vec<u8>>, Unavailable> {
    match at.open_to_read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => whole(at, opened).map(Some),
    }
}

fn whole(at: &RootPath, opened: io::Result<File>) -> Result<Vec<u8>, Unavailable> {
    let name = at.to_string();
    opened
        .and_then(|file| {
            let size = file.metadata()?.len();
            bounded(file, size)
        })
        .map_err(|error| Unavailable::file(&name, &error))
        .and_then(|bytes| small(bytes, &name))
}

/// Reads standard input.
pub(super) fn stdin() -> Result<Vec<u8>, Unavailable> {
    bounded(io::stdin(), 0)
        .map_err(|error| Unavailable::never(Fault::Said(error.to_string())).here())
        .and_then(|bytes| small(bytes, "standard input"))
}

pub(super) fn vagrant(root: &Root) -> Result<Vec<u8>, Unavailable> {
    first(VAGRANT.map(|path| root.path(path)))
}

pub(super) fn install(root: &Root) -> Result<Vec<u8>, Unavailable> {
    first(INSTALL.map(|path| root.path(path)))
}

/// Reads the first of two files that exists.
fn first([newer, older]: [RootPath; 2]) -> Result<Vec<u8>, Unavailable> {
    match read_if_there(&newer)? {
        Some(bytes) => Ok(bytes),
        // The error names both, because either system may be meant.
        None => read(&older).map_err(|unavailable| match unavailable.none_here {
            true => Unavailable {
                problem: Problem::found(format!("neither {newer} nor {older}")),
                ..unavailable
            },
            false => unavailable,
        }),
    }
}

/// Reads all of it, up to one byte more than the limit.
fn bounded(input: impl Read, size: u64) -> io::Result<Vec<u8>> {
    let size = usize::try_from(size.min(LARGEST)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(size + 1);
    input.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn small(bytes: Vec<u8>, name: &str) -> Result<Vec<u8>, Unavailable> {
    if bytes.len() as u64 > LARGEST {
        let problem = Problem::found(format!("more than {LARGEST} bytes"))
            .of(name)
            .expected("at most that");
        return Err(Unavailable::never(problem).here());
    }
    Ok(bytes)
}
