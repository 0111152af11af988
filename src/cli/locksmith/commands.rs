//! `locksmithctl`'s commands.

use host::{node, remedy};
use semaphore::{
    document::Document,
    etcd::{self, Locked, Semaphore, Unlocked},
};

use super::{CompatMode, flags::Flags, reboot, said, sources};
use crate::{
    agent::bus::AgentClient,
    cli::{
        self, Context, Failure,
        common::CommonArgs,
        go_flags::{self, Wrong},
        output, pause,
    },
};

/// The commands, what follows each on the line, and what it does.
const COMMANDS: [(&str, &str, &str); 7] = [
    ("help", "[COMMAND]", "list the commands, or explain one"),
    (
        "lock",
        "[ID]",
        "take the reboot lock for this machine, or for the machine with this id",
    ),
    (
        "reboot",
        "",
        "reboot this machine when the reboot window and the lock allow it",
    ),
    (
        "send-need-reboot",
        "",
        "request a reboot from this machine's agent, as if an update were ready",
    ),
    (
        "set-max",
        "N",
        "set how many machines may hold the lock at the same time",
    ),
    (
        "status",
        "",
        "show how many places of the lock are free, and who holds it",
    ),
    (
        "unlock",
        "[ID]",
        "release the lock of this machine, or of the machine with this id",
    ),
];

const GLOBAL_FLAGS: &str = "  -debug                 log everything, to standard error
  -endpoint URLS         URLs of etcd, with commas between them
  -etcd-cafile FILE      CA certificates that etcd's certificate is checked with
  -etcd-certfile FILE    client certificate for etcd
  -etcd-keyfile FILE     key of the client certificate
  -etcd-password TEXT    password for etcd
  -etcd-username NAME    user name for etcd
  -group NAME            group of machines that share one lock
  -version               print the version and exit";

/// How a command ended, where not well: what locksmith says before the reason, and the reason.
struct Fault {
    before: &'static str,
    reason: String,
}

const INITIALIZING: &str = "Error initializing etcd client: ";

pub(super) fn flags_help(name: &str) -> String {
    format!("Usage of {name}:\n{GLOBAL_FLAGS}")
}

fn help(words: &[String]) -> u8 {
    let Some(name) = words.first() else {
        let mut text = "locksmithctl, a compatibility mode of pointsman\n\n\
                        USAGE:\n  locksmithctl [FLAGS] COMMAND [ARGUMENTS]\n\nCOMMANDS:\n"
            .to_owned();
        for (name, _, does) in COMMANDS {
            text += &format!("  {name:<18}{does}\n");
        }
        text += &format!("\nFLAGS:\n{GLOBAL_FLAGS}");
        return said(output::say(text));
    };
    match COMMANDS.iter().find(|(known, ..)| known == name) {
        Some((name, arguments, does)) => {
            let usage = format!("locksmithctl [FLAGS] {name} {arguments}");
            said(output::say(format!("{}\n  {does}", usage.trim_end())))
        }
        None => {
            said(output::say(format!("Unrecognized command: {name}")));
            1
        }
    }
}

/// Does what the line says; the exit code.
pub(super) async fn run(flags: &Flags) -> u8 {
    let (command, rest) = match flags.words.split_first() {
        None => ("help", &[][..]),
        Some((command, rest)) => (command.as_str(), rest),
    };
    if !COMMANDS.iter().any(|(known, ..)| *known == command) {
        return match output::say(format!(
            "locksmithctl: unknown subcommand: {command:?}\nRun 'locksmithctl help' for usage."
        )) {
            Ok(()) | Err(_) => 2,
        };
    }
    let words = match go_flags::arguments(rest) {
        Ok(words) => words,
        Err(wrong) => {
            let why = match wrong {
                Wrong::Help => "flag: help requested".to_owned(),
                Wrong::Usage(why) => why,
            };
            output::note(format!(
                "{why}\nUsage: locksmithctl [FLAGS] {command}; the flags come before it"
            ));
            said(output::say(why));
            return 2;
        }
    };
    let done = match command {
        "help" => return help(words),
        "status" => status(flags).await,
        "lock" => lock(flags, words.first()).await,
        "unlock" => unlock(flags, words.first()).await,
        "set-max" => set_max(flags, words).await,
        "reboot" => reboot_now(flags).await,
        _ => send_need_reboot(flags).await,
    };
    match done {
        Ok(()) => 0,
        Err(Fault { before, reason }) => {
            output::note(format!("{before}{reason}"));
            1
        }
    }
}

fn fault(before: &'static str) -> impl Fn(Failure) -> Fault {
    move |failure| Fault {
        before,
        reason: failure.to_string(),
    }
}

fn context(flags: &Flags) -> Result<Context, Fault> {
    let load = || {
        let sources = sources(CompatMode::Commands, flags)?;
        Ok::<_, Failure>(Context::strict(sources, CommonArgs::default())?)
    };
    load().map_err(fault(INITIALIZING))
}

fn semaphore(context: &Context) -> Result<Semaphore, Fault> {
    context.semaphore().map_err(fault(INITIALIZING))
}

/// What etcd, or nobody, answered; with locksmith's words where nobody did.
fn refused(context: &Context, before: &'static str) -> impl Fn(etcd::Error) -> Fault {
    let endpoints = context.config.given.given("etcd.endpoints");
    let tried: Vec<&str> = endpoints
        .map_or("", |(text, _)| text)
        .split(',')
        .map(str::trim)
        .collect();
    let tried = tried.join(",");
    move |error| {
        if error.is_unreachable() {
            let reason = format!("no etcd endpoints available, tried: {tried}\n{error}");
            let before = INITIALIZING;
            Fault { before, reason }
        } else {
            let reason = error.to_string();
            Fault { before, reason }
        }
    }
}

fn id(context: &Context, given: Option<&String>, before: &'static str) -> Result<String, Fault> {
    match given {
        Some(_) => context.id(given.map(String::as_str)).map_err(fault(before)),
        None => node::machine_id(&context.config.root).map_err(|error| Fault {
            before: "",
            reason: format!(
                "Cannot read machine-id\n{}",
                remedy::in_line(&error, &error.remedy())
            ),
        }),
    }
}

/// The document as it is now.
async fn document(
    context: &Context,
    semaphore: &Semaphore,
    before: &'static str,
) -> Result<Document, Fault> {
    let read = semaphore.read_holders().await;
    read.and_then(|read| semaphore.document(&read))
        .map_err(refused(context, before))
}

async fn status(flags: &Flags) -> Result<(), Fault> {
    let context = context(flags)?;
    // The words are locksmith's, though nothing is set here.
    let document = document(&context, &semaphore(&context)?, "Error setting value: ").await?;
    let mut text = format!(
        "Available: {}\nMax: {}\n",
        document.available(),
        document.max
    );
    if !document.holders.is_empty() {
        // An id that another tool wrote stays on its line: scripts read one id a line.
        let ids = document.holders.iter().map(|id| output::in_line(id));
        text += &format!("\nMACHINE ID\n{}\n", ids.collect::<Vec<_>>().join("\n"));
    }
    output::print(&text).map_err(fault(""))
}

async fn lock(flags: &Flags, given: Option<&String>) -> Result<(), Fault> {
    const BEFORE: &str = "Error locking: ";
    let context = context(flags)?;
    let semaphore = semaphore(&context)?;
    let id = id(&context, given, BEFORE)?;
    let failed = |reason: String| Fault {
        before: BEFORE,
        reason,
    };
    let reason = format!("locked by {}", pause::person(&context));
    let holder = cli::lock::by_hand(&context, &id, reason).map_err(fault(BEFORE))?;
    let locked = semaphore.lock(&holder).await;
    match locked.map_err(refused(&context, BEFORE))? {
        Locked::Taken => Ok(()),
        Locked::Full(document) => Err(failed(at(&document))),
        Locked::Paused(all, pause) => {
            let which = if all {
                "the whole cluster"
            } else {
                "the group"
            };
            Err(failed(format!(
                "{which} is paused by {}: {}",
                pause.author(),
                pause.reason
            )))
        }
        // Locksmith looks at what is left before it looks at who holds.
        Locked::AlreadyHeld(_) => {
            let document = document(&context, &semaphore, BEFORE).await?;
            Err(failed(if document.available() > 0 {
                "holder exists".into()
            } else {
                at(&document)
            }))
        }
    }
}

fn at(document: &Document) -> String {
    format!("semaphore is at {}", document.available())
}

async fn unlock(flags: &Flags, given: Option<&String>) -> Result<(), Fault> {
    const BEFORE: &str = "Error unlocking: ";
    let context = context(flags)?;
    let id = id(&context, given, BEFORE)?;
    // Locksmith asks nobody whether the machine is on its way; neither do its scripts.
    let unlocked = semaphore(&context)?.unlock(&id, true).await;
    match unlocked.map_err(refused(&context, BEFORE))? {
        Unlocked::Unlocked(_) | Unlocked::InUse(_) => Ok(()),
        Unlocked::NotHeld => Err(Fault {
            before: BEFORE,
            reason: "holder does not exist".into(),
        }),
    }
}

async fn set_max(flags: &Flags, words: &[String]) -> Result<(), Fault> {
    let [word] = words else {
        return Err(Fault {
            before: "",
            reason: "New maximum value must be set.".into(),
        });
    };
    let context = context(flags)?;
    // A sign before the number is taken, as by Go; a negative one would let nobody in, and be shown as nonsense.
    let max: u32 = word.parse().map_err(|_| Fault {
        before: "Invalid maximum value: ",
        reason: word.clone(),
    })?;
    let set = semaphore(&context)?.set_max(max, false).await;
    let set = set.map_err(refused(&context, "Error setting value: "))?;
    let old = set.old.unwrap_or(1);
    output::say(format!("Old-Max: {old}\nMax: {}", set.document.max)).map_err(fault(""))
}

fn must_be_root() -> Result<(), Fault> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Fault {
        before: "",
        reason: "Must be root to initiate reboot.".into(),
    })
}

async fn reboot_now(flags: &Flags) -> Result<(), Fault> {
    must_be_root()?;
    let context = context(flags)?;
    reboot(context, "locksmithctl reboot")
        .await
        .map_err(fault("Error rebooting: "))
}

async fn send_need_reboot(flags: &Flags) -> Result<(), Fault> {
    must_be_root()?;
    let context = context(flags)?;
    let ask = async {
        let client = AgentClient::connect(&context.config.root).await?;
        client
            .request_reboot("locksmithctl send-need-reboot")
            .await?;
        Ok::<_, Failure>(())
    };
    ask.await.map_err(fault("error emitting signal: "))
}
