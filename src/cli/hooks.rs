//! `pointsman hooks`.

use host::{
    hooks::available::{self, Available, SwitchError},
    node::{Root, RootPath},
};
use serde::Serialize;

use super::{
    Exit, Failure,
    common::{CommonArgs, DryRunArgs, JsonArgs},
    output,
    table::{cells, table, trimmed},
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the installed hooks: what each does, whether it is enabled, its configuration file, and what is missing.
    List {
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Enable an installed hook: link to it from the folder of each of its stages.
    Enable {
        /// The name of the hook, as `hooks list` shows it.
        name: String,
        /// Enable the hook although something is missing. It fails until that is there.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        dry_run: DryRunArgs,
    },
    /// Disable a hook: remove the links to it below /etc/pointsman/hooks. The hook and its configuration stay.
    Disable {
        /// The name of the hook, as `hooks list` shows it.
        name: String,
        #[command(flatten)]
        dry_run: DryRunArgs,
    },
}

/// What `hooks list --json` shows of a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Shown {
    /// Its name.
    name: String,
    /// What it does.
    summary: String,
    /// Whether all its stages run it.
    enabled: bool,
    /// Its stages.
    stages: Vec<ShownStage>,
    /// Its configuration file.
    configuration: String,
    /// What is missing.
    missing: Vec<String>,
    /// The script.
    script: String,
}

/// A stage of a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ShownStage {
    /// Its folder.
    stage: String,
    /// The link that enables the hook there; null if there is none.
    link: Option<String>,
}

impl Shown {
    fn of(hook: &Available) -> Self {
        Self {
            name: hook.name.clone(),
            summary: hook.summary.clone(),
            enabled: hook.is_enabled(),
            stages: hook
                .stages
                .iter()
                .map(|stage| ShownStage {
                    stage: stage.folder.clone(),
                    link: stage.link.as_ref().map(RootPath::to_string),
                })
                .collect(),
            configuration: hook.configuration.to_string(),
            missing: hook.missing.clone(),
            script: hook.script.to_string(),
        }
    }
}

impl From<SwitchError> for Failure {
    fn from(error: SwitchError) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }
}

/// Does it. Neither etcd nor a configuration is needed.
///
/// # Errors
/// When no hook has the name, something is missing, or the links cannot be made or removed.
pub fn run(args: &Args, common: &CommonArgs) -> Result<(), Failure> {
    let root = common.root();
    match &args.command {
        None => list(&root, JsonArgs::default()),
        Some(Command::List { json }) => list(&root, *json),
        Some(Command::Enable {
            name,
            force,
            dry_run,
        }) => enable(&find(&root, name)?, *force, *dry_run, common),
        Some(Command::Disable { name, dry_run }) => disable(&root, &find(&root, name)?, *dry_run),
    }
}

fn all(root: &Root) -> Result<Vec<Available>, Failure> {
    Ok(available::list(root).map_err(SwitchError::from)?)
}

fn find(root: &Root, name: &str) -> Result<Available, Failure> {
    let all = all(root)?;
    let names: Vec<&str> = all.iter().map(|hook| hook.name.as_str()).collect();
    let known = match names.is_empty() {
        true => format!(
            "no hooks are installed in {}",
            root.path("usr/lib/pointsman/hooks/available")
        ),
        false => format!("expected {}", names.join(", ")),
    };
    let message = format!(
        "no installed hook is called {}; {known}",
        output::in_line(name)
    );
    let mut all = all.into_iter();
    all.find(|hook| hook.name == name)
        .ok_or_else(|| Failure::new(Exit::Nothing, message))
}

fn list(root: &Root, json: JsonArgs) -> Result<(), Failure> {
    let all = all(root)?;
    if json.json {
        let shown: Vec<Shown> = all.iter().map(Shown::of).collect();
        return output::json(&shown);
    }
    let mut shown = table(&["HOOK", "ENABLED", "STAGES", "DOES"]);
    for hook in &all {
        let enabled = match (hook.is_enabled(), hook.is_enabled_somewhere()) {
            (true, _) => "yes",
            (false, true) => "partly",
            (false, false) => "no",
        };
        let stages = hook.stages.iter();
        let stages: Vec<&str> = stages
            .map(|stage| stage.folder.trim_end_matches(".d"))
            .collect();
        shown.add_row(cells(vec![
            hook.name.clone(),
            enabled.into(),
            stages.join(" "),
            hook.summary.clone(),
        ]));
    }
    output::say(trimmed(&shown))?;
    for hook in &all {
        output::say(format!(
            "{}: configured by {}",
            hook.name, hook.configuration
        ))?;
        for missing in &hook.missing {
            output::say(format!("{}: missing: {missing}", hook.name))?;
        }
    }
    Ok(())
}

fn enable(
    hook: &Available,
    force: bool,
    dry_run: DryRunArgs,
    common: &CommonArgs,
) -> Result<(), Failure> {
    let name = &hook.name;
    let links = hook.links_to_make()?;
    if !hook.missing.is_empty() && !force {
        let missing = hook.missing.join("\n  ");
        let words = format!("hooks enable --force {name}");
        return Err(Failure::new(
            Exit::Failed,
            format!("the hook {name} is not enabled, because it would fail:\n  {missing}"),
        )
        .remedy(
            "enable it all the same",
            format!("pointsman {words}{}", common.again(&words)),
        ));
    }
    for missing in &hook.missing {
        output::note(format!("pointsman: warning: {name}: {missing}"));
    }
    if links.is_empty() {
        return output::say(format!("The hook {name} is enabled already."));
    }
    let verb = if dry_run.dry_run {
        "would link"
    } else {
        "linked"
    };
    let said: Vec<String> = links
        .iter()
        .map(|(link, target)| format!("{verb} {link} to {}", target.display()))
        .collect();
    if !dry_run.dry_run {
        hook.enable()?;
    }
    output::say(said.join("\n"))
}

fn disable(root: &Root, hook: &Available, dry_run: DryRunArgs) -> Result<(), Failure> {
    let links = hook.links_to_remove(root);
    let verb = if dry_run.dry_run {
        "would remove"
    } else {
        "removed"
    };
    if !dry_run.dry_run {
        hook.disable(root)?;
    }
    if links.is_empty() {
        return output::say(format!("The hook {} is not enabled.", hook.name));
    }
    let said: Vec<String> = links.iter().map(|link| format!("{verb} {link}")).collect();
    output::say(said.join("\n"))
}
