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
    #[command(flatten)]
    json: JsonArgs,
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
    /// Enable installed hooks: link to each from the folders of its stages.
    Enable {
        /// The names of the hooks, as `hooks list` shows them.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Enable the hook although something is missing. It fails until that is there.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        dry_run: DryRunArgs,
    },
    /// Disable hooks: remove the links to them below /etc/pointsman/hooks. The hooks and their configuration stay.
    Disable {
        /// The names of the hooks, as `hooks list` shows them.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
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
    /// Its configuration file; null if it has none.
    configuration: Option<String>,
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
            configuration: hook.configuration.as_ref().map(RootPath::to_string),
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
    let found = |names: &[String]| {
        let found = names.iter().map(|name| find(&root, name));
        found.collect::<Result<Vec<_>, _>>()
    };
    match &args.command {
        None => list(&root, args.json),
        Some(Command::List { json }) => {
            let json = json.json || args.json.json;
            list(&root, JsonArgs { json })
        }
        Some(Command::Enable {
            names,
            force,
            dry_run,
        }) => {
            let hooks = found(names)?;
            // Nothing is enabled where one of them would fail.
            for hook in &hooks {
                may_be_enabled(hook, *force, common)?;
            }
            hooks.iter().try_for_each(|hook| enable(hook, *dry_run))
        }
        Some(Command::Disable { names, dry_run }) => {
            let hooks = found(names)?;
            let mut hooks = hooks.iter();
            hooks.try_for_each(|hook| disable(&root, hook, *dry_run))
        }
    }
}

fn find(root: &Root, name: &str) -> Result<Available, Failure> {
    let all = available::list(root);
    let names: Vec<&str> = all.iter().map(|hook| hook.name.as_str()).collect();
    let known = match names.is_empty() {
        true => none_installed(root),
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

/// That there are no hooks, and where they come from.
fn none_installed(root: &Root) -> String {
    let folder = |under: &str| root.path(format!("{under}/pointsman/hooks/available"));
    format!(
        "no hooks are installed. The package brings some to {}; without it, copy packaging/hooks/ of the source to {}",
        folder("usr/lib"),
        folder("etc")
    )
}

fn list(root: &Root, json: JsonArgs) -> Result<(), Failure> {
    let all = available::list(root);
    if json.json {
        let shown: Vec<Shown> = all.iter().map(Shown::of).collect();
        return output::json(&shown);
    }
    if all.is_empty() {
        return output::say(none_installed(root));
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
        if let Some(file) = &hook.configuration {
            output::say(format!("{}: configured by {file}", hook.name))?;
        }
        for missing in &hook.missing {
            output::say(format!("{}: missing: {missing}", hook.name))?;
        }
    }
    Ok(())
}

/// Refuses a hook that would fail, unless that is wanted; then says why.
fn may_be_enabled(hook: &Available, force: bool, common: &CommonArgs) -> Result<(), Failure> {
    let name = &hook.name;
    hook.links_to_make()?;
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
    Ok(())
}

fn enable(hook: &Available, dry_run: DryRunArgs) -> Result<(), Failure> {
    let links = hook.links_to_make()?;
    if links.is_empty() {
        return output::say(format!("The hook {} is enabled already.", hook.name));
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
