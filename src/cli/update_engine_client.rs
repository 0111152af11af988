//! The old name `update_engine_client`: its flags, and its exit codes, 0 and 1 (Flatcar's update_engine_client.cc). What the
//! commands under `pointsman update` find is said in the same words.

use std::path::Path;

use host::{bus, node::Root, update_engine::UpdateEngine};

use super::{
    Failure, Words,
    go_flags::{self, Takes, Wrong},
    output, update,
};

/// The name.
const NAME: &str = "update_engine_client";

/// What the program does, in the order in which it looks for the flags; what each does.
const FLAGS: [(&str, &str); 5] = [
    (
        "reset_status",
        "Let update_engine forget the staged update.",
    ),
    ("status", "Print the status to stdout."),
    (
        "update",
        "Check for an update and wait for the result. Exit 0 if one is staged or there is none.",
    ),
    ("check_for_update", "Let update_engine check for an update."),
    (
        "watch_for_updates",
        "Print the status at each change, until interrupted.",
    ),
];

/// Whether the program was called so.
#[must_use]
pub fn called(program: &str) -> bool {
    let name = Path::new(program).file_name();
    name.is_some_and(|name| name == NAME)
}

/// Reads the words after the program's name: the flag to follow, none where nothing is asked for.
#[must_use]
pub fn read(args: Vec<String>) -> Words<Option<&'static str>> {
    let known = FLAGS.map(|(name, _)| (name, Takes::Bool));
    let given = match go_flags::parse(args, &known) {
        Ok(given) => given,
        Err(Wrong::Help) => {
            output::note(help());
            return Words::Said(1);
        }
        Err(Wrong::Usage(why)) => {
            output::note(format!("{NAME}: {why}\n{}", help()));
            return Words::Said(1);
        }
    };
    let mut names = FLAGS.iter().map(|(name, _)| *name);
    Words::Do(names.find(|name| given.bool(name) == Some(true)))
}

fn help() -> String {
    let lines = FLAGS.map(|(name, what)| format!("  -{name}: {what}\n"));
    format!("Usage: {NAME} FLAG\n{}", lines.concat())
}

/// Does what the flag asks for: the exit code.
pub async fn run(asked: Option<&str>) -> u8 {
    match act(asked).await {
        Ok(()) => 0,
        Err(failure) => {
            output::note(format!("{NAME}: {failure}"));
            1
        }
    }
}

async fn act(asked: Option<&str>) -> Result<(), Failure> {
    let Some(asked) = asked else {
        return Ok(());
    };
    let root = Root::default();
    let bus = bus::connect(&root).await?;
    let engine = UpdateEngine::new(&bus);
    match asked {
        "reset_status" => update::reset(&engine).await,
        "status" => update::status(&engine.get_status().await?, false),
        "check_for_update" => Ok(engine.attempt_update().await?),
        "update" => {
            let mut said = String::new();
            update::follow(&root, &engine, &mut said).await
        }
        _ => watch(&engine).await,
    }
}

async fn watch(engine: &UpdateEngine) -> Result<(), Failure> {
    let mut changes = engine.watch();
    loop {
        let status = update::status_of(changes.next().await)?;
        update::status(&status, false)?;
    }
}
