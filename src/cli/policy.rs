//! `pointsman policy`: what a group's operator sets for all its nodes.

mod effects;
mod windows;

use std::{collections::BTreeMap, time::Duration};

use host::{
    duration,
    node::{self, Group},
};
use jiff::Timestamp;
use semaphore::{
    document::Document,
    etcd::{PolicySet, PolicyState, Semaphore},
    policy::{Field, Lost, Policy, PolicyChange},
};
use serde::Serialize;

use windows::WindowArgs;

pub(super) use windows::line as windows_line;

use super::{
    Context, Exit, Failure,
    common::{DryRunArgs, JsonArgs, ReasonArgs},
    output,
    pause::person,
    set_max,
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the policy of the group.
    Show(JsonArgs),
    /// Change fields of the policy. Fields that are not named stay as they are.
    Set(SetArgs),
    /// Remove fields from the policy. A policy without fields is deleted.
    Unset(UnsetArgs),
}

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("field").required(true).multiple(true)))]
struct SetArgs {
    /// How many members of the group may be out of service at the same time, as a percentage such as 20%. At least one may.
    #[arg(long, value_name = "PERCENT", value_parser = percent, group = "field")]
    max: Option<u32>,
    /// How long a node that has proven a new image stays under observation before it releases the reboot lock, such as 30m.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, group = "field")]
    soak: Option<Duration>,
    /// How long the groups after this one wait, once all members of this group have proven an image, such as 2h. 0s will do.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, group = "field")]
    wave_soak: Option<Duration>,
    /// A group whose members must all have proven an image before the nodes of this group go to it. May be given several
    /// times; "" is the default group. Where that group has no --wave-soak, it gets 0s.
    #[arg(long, value_name = "GROUP", value_parser = group, group = "field")]
    after: Option<Vec<Group>>,
    /// Set --after although older agents run on some nodes of these groups. Waves do not wait for these nodes, and these nodes
    /// wait for no wave.
    #[arg(long, requires = "after")]
    force: bool,
    /// How long after its deadline a node that does not come back is passed over, such as 2h. Without it, a node that does not
    /// come back stops the group.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, group = "field")]
    lost_grace: Option<Duration>,
    /// How many nodes of the group may be passed over at a time (default 1). Then the group stops. At most max + this many
    /// nodes of the group are out of service.
    #[arg(long, value_name = "NUMBER", group = "field")]
    lost_budget: Option<u32>,
    #[command(flatten)]
    windows: WindowArgs,
    /// Allow a group given by --group that no node is in yet.
    #[arg(long)]
    new: bool,
    /// Replace a policy that cannot be used. Fields that a newer version wrote are lost.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    reason: ReasonArgs,
    #[command(flatten)]
    dry_run: DryRunArgs,
    #[command(flatten)]
    json: JsonArgs,
}

#[derive(Debug, clap::Args)]
struct UnsetArgs {
    /// The field, by the name of its flag: max, soak, wave-soak, after, lost-grace (the budget goes with it), lost-budget (back to 1), window (all of them).
    #[arg(required = true, value_name = "FIELD", value_parser = field)]
    fields: Vec<Field>,
    #[command(flatten)]
    reason: ReasonArgs,
    #[command(flatten)]
    dry_run: DryRunArgs,
    #[command(flatten)]
    json: JsonArgs,
}

impl SetArgs {
    /// The fields that are set, as they are given to the command.
    fn words(&self) -> String {
        let max = self.max.map(|max| format!(" --max {max}%"));
        let soak = self.soak.map(duration::print);
        let soak = soak.map(|soak| format!(" --soak {soak}"));
        let between = self.wave_soak.map(duration::print);
        let between = between.map(|soak| format!(" --wave-soak {soak}"));
        let after = self.after.iter().flatten();
        let after = after.map(|group| format!(" --after {}", output::word(group.as_str())));
        let after = Some(after.collect::<String>());
        let grace = self.lost_grace.map(duration::print);
        let grace = grace.map(|grace| format!(" --lost-grace {grace}"));
        let budget = self.lost_budget;
        let budget = budget.map(|budget| format!(" --lost-budget {budget}"));
        let windows = Some(self.windows.words());
        [max, soak, between, after, grace, budget, windows]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// Reads a percentage.
pub(super) fn percent(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').map(str::trim_end);
    let digits = number.filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    digits
        .and_then(|digits| digits.parse().ok())
        .filter(|percent| (1..=100).contains(percent))
        .ok_or_else(|| format!("found {text:?}, expected a percentage from 1% to 100%"))
}

fn group(text: &str) -> Result<Group, String> {
    Group::new(text).map_err(|error| error.to_string())
}

fn field(text: &str) -> Result<Field, String> {
    let named = Field::ALL.into_iter().find(|field| field.flag() == text);
    named.ok_or_else(|| {
        let names = Field::ALL.map(Field::flag);
        format!("found {text:?}, expected one of {}", names.join(", "))
    })
}

/// The policy as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    group: String,
    /// Null where the group has none, or it cannot be used.
    policy: Option<Policy>,
    /// What is wrong with it, where something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// How many members the group has.
    members: u64,
    /// How many may be out now; null where nobody has used the group.
    max: Option<u32>,
    /// Whether the percentage decides that: false where somebody wrote a number.
    max_follows_policy: bool,
    /// How long an image takes at least to reach all members, by the soak and by how many may be out; null without a soak.
    rollout_at_least_seconds: Option<u64>,
    /// With --dry-run: what the change would do to the nodes there are, a sentence each.
    #[serde(skip_serializing_if = "Option::is_none")]
    effects: Option<Vec<String>>,
    #[serde(skip)]
    percentage: Option<String>,
}

impl Shown {
    fn new(
        context: &Context,
        policy: Option<Policy>,
        error: Option<String>,
        members: u64,
        document: Option<&Document>,
    ) -> Self {
        let follows = document.is_some_and(Document::follows_percentage);
        let max = document.map(|document| document.max);
        let soak = policy.as_ref().and_then(|policy| policy.soak);
        Self {
            group: context.config.group.as_str().to_owned(),
            max_follows_policy: follows && policy.as_ref().is_some_and(|p| p.max_percent.is_some()),
            percentage: policy
                .as_ref()
                .and_then(|policy| percentage(policy, members, document)),
            policy,
            error,
            members,
            max,
            effects: None,
            rollout_at_least_seconds: effects::pace(soak, members, max).map(|pace| pace.as_secs()),
        }
    }
}

/// Shows or changes the policy.
///
/// # Errors
/// When etcd cannot be reached, or the policy or the document cannot be used.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let (change, reason, dry, json) = match &args.command {
        None => return show(context, JsonArgs::default()).await,
        Some(Command::Show(json)) => return show(context, *json).await,
        Some(Command::Set(args)) => (
            PolicyChange {
                max_percent: args.max,
                soak: args.soak,
                wave_soak: args.wave_soak,
                after: args.after.clone(),
                force: args.force,
                lost_grace: args.lost_grace,
                lost_budget: args.lost_budget,
                windows: args.windows.windows()?,
                replace: args.replace,
                ..PolicyChange::default()
            },
            &args.reason,
            args.dry_run,
            args.json,
        ),
        Some(Command::Unset(args)) => (
            PolicyChange {
                unset: args.fields.clone(),
                ..PolicyChange::default()
            },
            &args.reason,
            args.dry_run,
            args.json,
        ),
    };
    if let Some(Command::Set(args)) = &args.command
        && !args.new
    {
        set_max::known_or_new(context, &format!("policy set{} --new", args.words())).await?;
    }
    context.because(reason);
    let semaphore = context.semaphore()?;
    let set = semaphore
        .set_policy(&change, &person(context), dry.dry_run)
        .await?;
    let effects = match dry.dry_run {
        true => Some(effects(context, &semaphore, &set).await?),
        false => None,
    };
    changed(context, &set, effects, json)?;
    let kept = set.document.as_ref().map(|document| document.max);
    if let Some(max) = kept.filter(|_| change.unset.contains(&Field::MaxPercent) && !json.json) {
        output::say(format!("Max stays {max}, whatever the number of members."))?;
    }
    if change.after.is_some() && !dry.dry_run {
        let rollout = semaphore.rollout().await?;
        let group = semaphore.keys().group();
        if let Some(view) = rollout.groups.get(group) {
            for warning in super::waves::gather::warnings(&rollout, group, view) {
                output::note(format!("warning: {warning}"));
            }
        }
    }
    Ok(())
}

/// What the change would do to the nodes there are, a sentence each.
async fn effects(
    context: &Context,
    semaphore: &Semaphore,
    set: &PolicySet,
) -> Result<Vec<String>, Failure> {
    let after = set.policy.clone().unwrap_or_default();
    let group = semaphore.read_without_nodes().await?;
    let mut open = BTreeMap::new();
    for earlier in &after.after {
        open.insert(earlier.clone(), semaphore.open_images(earlier).await?);
    }
    let before = set
        .before
        .policy
        .as_ref()
        .and_then(|policy| policy.as_ref().ok());
    let lines = effects::on_nodes(before, &after, &group, &open);
    let zone = node::time_zone(&context.config.root);
    let now = Timestamp::now().to_zoned(zone);
    let windows = before.map_or(&[][..], |policy| &policy.windows);
    let mut all = windows::effects(windows, &after.windows, &group.queue, &now);
    all.extend(lines);
    Ok(all)
}

/// Sets the percentage, as `set-max` does.
///
/// # Errors
/// As [`run`].
pub(super) async fn set_percentage(context: &Context, percent: u32) -> Result<(), Failure> {
    let change = PolicyChange {
        max_percent: Some(percent),
        ..PolicyChange::default()
    };
    let semaphore = context.semaphore()?;
    let set = semaphore
        .set_policy(&change, &person(context), false)
        .await?;
    changed(context, &set, None, JsonArgs::default())
}

async fn show(context: &Context, json: JsonArgs) -> Result<(), Failure> {
    let PolicyState {
        policy,
        document,
        members,
    } = context.semaphore()?.policy().await?;
    let (policy, error) = match policy {
        None => (None, None),
        Some(Ok(policy)) => (Some(policy), None),
        Some(Err(error)) => (None, Some(error.to_string())),
    };
    let shown = Shown::new(context, policy, error, members, document.as_ref());
    if json.json {
        output::json(&shown)?;
    } else {
        output::say(text(context, &shown))?;
    }
    match shown.error {
        Some(_) => Err(Failure::new(
            Exit::Failed,
            "the group's policy cannot be used, and no node of the group reboots",
        )
        .remedy(
            "replace it (fields that a newer version wrote are lost)",
            context.command("policy set --replace --max PERCENT"),
        )),
        None => Ok(()),
    }
}

fn text(context: &Context, shown: &Shown) -> String {
    let mut lines = vec![format!("Group: {}", super::names::group(&shown.group))];
    match (&shown.policy, &shown.error) {
        (None, None) => lines.push("No policy.".into()),
        (None, Some(error)) => lines.push(format!(
            "Policy: cannot be used: {}",
            output::in_line(error)
        )),
        (Some(policy), _) => {
            let max = shown.max.map_or("-".into(), |max| max.to_string());
            let percentage = shown.percentage.iter();
            lines.extend(percentage.map(|percentage| format!("Max: {max} ({percentage})")));
            lines.extend(pace_lines(policy, shown.members, shown.max));
            let lost = policy.lost.iter();
            lines.extend(lost.map(|policy| format!("Lost nodes: {}", lost_nodes(policy))));
            let zone = node::time_zone(&context.config.root);
            let windows = windows_line(
                &policy.windows,
                &Timestamp::now().to_zoned(zone.clone()),
                &zone,
            );
            lines.extend(windows.lines().map(str::to_owned));
            let since = policy
                .since
                .map(|since| format!(", {}", context.time(since)));
            lines.push(format!(
                "Set by: {}{}",
                output::in_line(&policy.by),
                since.unwrap_or_default()
            ));
        }
    }
    lines.join("\n")
}

/// What the policy says of the time between nodes and between groups, a line each.
pub(super) fn pace_lines(policy: &Policy, members: u64, max: Option<u32>) -> Vec<String> {
    let pace = effects::pace(policy.soak, members, max).map(duration::print);
    let pace = pace
        .map(|pace| format!(" (an image takes at least {pace} to reach all {members} members)"));
    let pace = pace.unwrap_or_default();
    let soak = policy.soak.map(duration::print);
    let soak = soak.map(|soak| format!("Soak: {soak}{pace}"));
    let between = policy.wave_soak.map(duration::print);
    let between = between.map(|soak| format!("Time between its waves and later groups: {soak}"));
    let after = policy.after.iter();
    let after: Vec<String> = after
        .map(|group| super::names::group(group.as_str()))
        .collect();
    let after = (!after.is_empty()).then(|| format!("Comes after: {}", after.join(", ")));
    [soak, between, after].into_iter().flatten().collect()
}

/// When lost nodes are passed over, as part of a sentence.
pub(super) fn lost_nodes(policy: &Lost) -> String {
    format!(
        "passed over {} after their deadline, at most {} at a time",
        duration::print(policy.grace),
        policy.budget
    )
}

/// What the percentage comes to, as part of a sentence; none where the policy has none.
pub(super) fn percentage(
    policy: &Policy,
    members: u64,
    document: Option<&Document>,
) -> Option<String> {
    let percent = policy.max_percent?;
    let of = match members {
        1 => format!("{percent}% of 1 member"),
        many => format!("{percent}% of {many} members"),
    };
    match document {
        Some(document) if !document.follows_percentage() => Some(format!(
            "set by hand; {of} counts again after `set-max {percent}%`"
        )),
        _ => Some(of),
    }
}

fn changed(
    context: &Context,
    set: &PolicySet,
    effects: Option<Vec<String>>,
    json: JsonArgs,
) -> Result<(), Failure> {
    let (policy, members) = (set.policy.clone(), set.before.members);
    let shown = Shown {
        effects,
        ..Shown::new(context, policy, None, members, set.document.as_ref())
    };
    if json.json {
        output::json(&shown)?;
    } else {
        if shown.effects.is_some() {
            output::say("Nothing is written (--dry-run). It would be:")?;
        }
        output::say(text(context, &shown))?;
        for line in shown.effects.iter().flatten() {
            output::say(output::in_line(line))?;
        }
    }
    let holders = set
        .document
        .as_ref()
        .map_or(0, |document| document.holders.len());
    if let Some(max) = shown.max.filter(|max| holders > *max as usize) {
        output::note(format!(
            "{holders} nodes hold the reboot lock now. No other node takes it until fewer than {max} hold it."
        ));
    }
    Ok(())
}
