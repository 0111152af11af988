//! The program: arguments, logs, dispatch, also by the name it was called.

use std::{future::Future, process::ExitCode, time::Duration};

use clap::FromArgMatches as _;
use host::{hooks, telemetry};
use pointsman::cli::{self, Words, cloudinit, locksmith, update_engine_client};

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    let program = program.to_string_lossy();
    if let Some(mode) = locksmith::CompatMode::called(&program) {
        return match mode.read(locksmith::words(args)) {
            Words::Do(call) => {
                telemetry::init(match (call.debug(), call.is_daemon()) {
                    (true, _) => "debug",
                    (false, true) => "info",
                    (false, false) => "warn",
                });
                to_its_end(async { ExitCode::from(call.run().await) })
            }
            Words::Said(code) => ExitCode::from(code),
        };
    }
    if cloudinit::called(&program) {
        return match cloudinit::read(locksmith::words(args)) {
            Words::Do(call) => {
                telemetry::init(if call.debug() { "debug" } else { "warn" });
                to_its_end(async { ExitCode::from(call.run().await) })
            }
            Words::Said(code) => ExitCode::from(code),
        };
    }
    if update_engine_client::called(&program) {
        return match update_engine_client::read(locksmith::words(args)) {
            Words::Do(asked) => {
                telemetry::init("warn");
                to_its_end(async { ExitCode::from(update_engine_client::run(asked).await) })
            }
            Words::Said(code) => ExitCode::from(code),
        };
    }
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == hooks::keeper::WORD)
        && let Some(hook) = words.next()
    {
        return hooks::keeper::run(hook, words);
    }
    let cli = read();
    let serves = matches!(cli.command, cli::Command::Agent | cli::Command::Serve(_));
    telemetry::init(if serves { "info" } else { "warn" });
    to_its_end(async {
        match cli::run(cli).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                // What has no message has said what it has to say: a plan with changes.
                if !failure.message.is_empty() {
                    cli::output::note(format!("pointsman: {failure}"));
                }
                ExitCode::from(failure.exit as u8)
            }
        }
    })
}

/// Reads the arguments. Never inlined: the agent uses the memory again that this takes.
#[inline(never)]
fn read() -> cli::Cli {
    let mut command = cli::command();
    let matches = command.get_matches_mut();
    cli::flags::check(&mut command, &matches)
        .and_then(|()| cli::Cli::from_arg_matches(&matches))
        .unwrap_or_else(|error| error.exit())
}

/// How long work for a disk that nobody waits for any more may still take at the end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs what the program is to do, on one thread.
fn to_its_end(doing: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let done = tokio::task::LocalSet::new().block_on(&runtime, doing);
            // A disk that does not answer keeps no program from its end.
            runtime.shutdown_timeout(PATIENCE);
            done
        }
        Err(error) => {
            cli::output::note(format!("pointsman: the program cannot start: {error}"));
            ExitCode::FAILURE
        }
    }
}
