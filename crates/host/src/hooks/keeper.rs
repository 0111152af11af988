//! The keeper of a hook: a process of this program between the agent and the hook, where no systemd runs it. When the agent
//! is gone, however it ended, the keeper kills the hook and all that it has started. A signal at the parent's death
//! (prctl(2)) would reach the script alone, and not what the script waits for.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    io::{self, Read as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Command, ExitCode, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use nix::{
    sys::{
        prctl,
        signal::{Signal, kill, raise},
    },
    unistd::{Pid, getpid},
};

/// The word by which the program is called as a keeper; what follows is the hook, and its arguments.
pub const WORD: &str = "hook-keeper";

/// What the agent writes when the hook's time is up: to all it keeps, SIGTERM. The end of the pipe means SIGKILL.
pub(super) const TERMINATE: u8 = b't';

/// Whether the hook's time is up.
static ENDING: AtomicBool = AtomicBool::new(false);

/// How long what is killed may take to be gone, before it is looked again.
const AGAIN: Duration = Duration::from_millis(10);

/// Runs the hook until it ends, and ends as it did. Standard input is the agent's.
#[must_use]
pub fn run(hook: OsString, args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // What loses its parent below here becomes this process's child, and is found.
    if let Err(error) = prctl::set_child_subreaper(true) {
        eprintln!("what the hook starts cannot be kept: {error}");
    }
    let child = Command::new(&hook)
        .args(args)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            eprintln!("{} cannot be started: {error}", hook.display());
            return ExitCode::from(126);
        }
    };
    thread::spawn(listen);
    match child.wait() {
        Ok(status) => {
            // What it leaves running when it ends by itself goes on, such as a service. When it is ended nothing does: should
            // some of it not end, the agent closes the pipe.
            while ENDING.load(Ordering::SeqCst) && signal_all(Signal::SIGTERM) {
                thread::sleep(AGAIN);
            }
            if let Some(signal) = status
                .signal()
                .and_then(|signal| Signal::try_from(signal).ok())
            {
                // So that the agent sees what it died of.
                let _ = raise(signal);
            }
            ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
        }
        Err(error) => {
            eprintln!("{} cannot be waited for: {error}", hook.display());
            ExitCode::FAILURE
        }
    }
}

/// Does what the agent says, until there is no agent.
fn listen() {
    let mut byte = [0];
    loop {
        match io::stdin().read(&mut byte) {
            Ok(1) if byte[0] == TERMINATE => {
                ENDING.store(true, Ordering::SeqCst);
                signal_all(Signal::SIGTERM);
            }
            Ok(1) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => break,
        }
    }
    ENDING.store(true, Ordering::SeqCst);
    // Until none is left: who is killed may just have started another.
    while signal_all(Signal::SIGKILL) {
        thread::sleep(AGAIN);
    }
    std::process::exit(1);
}

/// Signals all that descend from this process and live; whether there were any.
fn signal_all(signal: Signal) -> bool {
    let own = getpid().as_raw();
    let parents = parents();
    let mut any = false;
    for pid in parents.keys() {
        let mut at = *pid;
        // No further up than there are processes.
        for _ in 0..parents.len() {
            match parents.get(&at) {
                Some(parent) if *parent == own => {
                    any = true;
                    // Gone already is what is wanted.
                    let _ = kill(Pid::from_raw(*pid), signal);
                    break;
                }
                Some(parent) => at = *parent,
                None => break,
            }
        }
    }
    any
}

/// The parent of every process that lives, by proc_pid_stat(5).
fn parents() -> HashMap<i32, i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in brackets, may hold anything.
        let mut rest = stat.rsplit_once(')')?.1.split_whitespace();
        let (state, parent) = (rest.next()?, rest.next()?.parse().ok()?);
        (state != "Z").then_some((pid, parent))
    })
    .collect()
}
