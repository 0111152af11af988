//! `pointsman config`.

use host::hooks::Hooks;
use jiff::Timestamp;
use serde::Serialize;
use settings::{Config, Origin, SETTINGS};

use super::{
    Context, Failure,
    common::JsonArgs,
    output,
    table::{cells, table, trimmed},
};
use crate::notify::missing_programs;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    json: JsonArgs,
}

/// One setting, as it is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InForce {
    /// Its key.
    pub key: &'static str,
    /// Its value as it was written; null where it is not set. A password is never shown.
    pub value: Option<String>,
    /// Where the value comes from: a flag, a variable, `FILE:LINE:COLUMN`, or `default`.
    pub from: String,
}

/// Every setting as it is in force.
#[must_use]
pub fn in_force(config: &Config) -> Vec<InForce> {
    let all = SETTINGS.iter().map(|setting| {
        let found = config.given.given(setting.key);
        InForce {
            key: setting.key,
            value: found.map(|(text, _)| text.to_owned()),
            from: found
                .map_or(Origin::Default, |(_, origin)| origin.clone())
                .to_string(),
        }
    });
    all.collect()
}

/// Shows it.
///
/// # Errors
/// When it cannot be printed, or a file that a setting names cannot be used; a configuration with another fault has
/// ended the program before.
pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let all = in_force(&context.config);
    if args.json.json {
        output::json(&all)?;
        return files(context);
    }
    let mut shown = table(&["SETTING", "VALUE", "FROM"]);
    for setting in all {
        let value = match setting.value.as_deref() {
            None => "-",
            Some("") => "\"\"",
            Some(text) => text,
        };
        shown.add_row(cells(vec![setting.key.into(), value.into(), setting.from]));
    }
    output::say(trimmed(&shown))?;
    files(context)
}

/// Whether the files that settings name are there and can be used, as the agent finds them when it starts.
fn files(context: &Context) -> Result<(), Failure> {
    if context.is_not_configured() {
        let said = super::status::NOT_CONFIGURED;
        output::note(format!("pointsman: {said}"));
    }
    let config = &context.config;
    let hooks = Hooks::new(&config.root, config.timings.hook_timeout);
    for complaint in hooks
        .complaints()
        .into_iter()
        .chain(missing_programs(config))
    {
        output::note(format!("pointsman: warning: {complaint}"));
    }
    if let Some(warning) = context.config.certificate_warning(Timestamp::now()) {
        output::note(format!("pointsman: warning: {warning}"));
    }
    if let Some(warning) = config.fleet_lock_warning() {
        output::note(format!("pointsman: warning: {warning}"));
    }
    for looked in [
        config.etcd_options().map(drop),
        config.fleet_lock_tls().map(drop),
    ] {
        match looked {
            // The agent may read what this user may not.
            Err(error) if error.is_denied() && !nix::unistd::geteuid().is_root() => {
                output::note(format!("pointsman: not checked: {error}"));
            }
            looked => looked?,
        }
    }
    Ok(())
}
