//! The program: arguments, logs, dispatch.

use std::process::ExitCode;

use clap::Parser as _;
use pointsman::{cli, telemetry};

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    telemetry::init(if matches!(cli.command, cli::Command::Agent) {
        "info"
    } else {
        "warn"
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            cli::output::note(format!(
                "pointsman: the system refuses what every program needs: {error}"
            ));
            return ExitCode::FAILURE;
        }
    };
    let local = tokio::task::LocalSet::new();
    match local.block_on(&runtime, cli::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            cli::output::note(format!("pointsman: {}", failure.message));
            ExitCode::from(failure.exit as u8)
        }
    }
}
