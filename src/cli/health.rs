//! `pointsman health`: the checks of a boot, run by hand.

use host::{
    blocking, bus,
    hooks::{For, Hooks},
    node,
};
use serde::Serialize;
use settings::Strategy;

use super::{
    Context, Exit, Failure,
    common::JsonArgs,
    output,
    table::{cells, table, trimmed},
};
use crate::agent::{
    baseline::Baseline,
    checks::{self, Checks},
    effects::{EffectRunner, variables},
    health::{Judged, Round, Rules, Standing, Verdict},
    journal::{Entry, Journal, Stage},
    next_slot::{self, NextSlot},
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    json: JsonArgs,
}

/// All that is shown.
#[derive(Debug, Serialize)]
struct Shown {
    /// `pass`, `fail` or `unknown`.
    verdict: &'static str,
    /// Why not `pass`; empty where it is.
    reason: String,
    /// Whether the booted slot is on trial.
    trial: bool,
    /// Whether this boot was made while holding the lock, so that checks that need other nodes can fail it.
    held: bool,
    /// Whether somebody looked before the reboot at what had failed.
    baseline: bool,
    /// What does not pass, and what it counts.
    checks: Vec<Check>,
    /// What only warns.
    warnings: Vec<String>,
}

/// A check that does not pass.
#[derive(Debug, Serialize)]
struct Check {
    /// What fails.
    what: String,
    /// `new`, `before`, `ignored`, `exempt` or `unknown`.
    standing: Standing,
    /// Whether it needs other nodes.
    cluster: bool,
    /// Why it counts or does not.
    why: &'static str,
}

/// Runs them, and says what counts.
///
/// # Errors
/// When the boot would fail its checks (1), or that cannot be told (4).
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let root = &context.config.root;
    let boot_id = node::boot_id(root)?;
    let path = Journal::path(root);
    let journal = blocking::run(move || Journal::load(&path))
        .await
        .map_err(|error| Failure::of_journal(Exit::Unreachable, &error))?;
    let points = NextSlot::new(root.clone(), next_slot::location(&context.config), false);
    let survey = blocking::run(move || points.survey()).await;
    let survey = survey.map_err(|error| {
        Failure::new(
            Exit::Unreachable,
            format!("it is not known whether the running slot is on trial: {error}"),
        )
    })?;
    let bus = bus::connect(root).await?;
    let baseline = journal.baseline.as_ref();
    let baseline = baseline.filter(|baseline| baseline.of.as_ref() == Some(&boot_id));
    let held = journal
        .entry
        .as_ref()
        .is_some_and(|entry| holds(entry, &boot_id));
    let (round, warnings) = look(context, &bus, baseline).await?;
    let (verdict, reason) = match round.verdict_now(held) {
        Verdict::Passed(_) => ("pass", String::new()),
        Verdict::Failed(why) => ("fail", why),
        Verdict::Unknown(why) => ("unknown", why),
    };
    let shown = Shown {
        verdict,
        reason,
        trial: survey.boot.trial,
        held,
        baseline: baseline.is_some(),
        checks: failing(&round, held),
        warnings,
    };
    if args.json.json {
        output::json(&shown)?;
    } else {
        print(&shown)?;
    }
    match verdict {
        "pass" => Ok(()),
        "fail" => Err(Failure::new(
            Exit::Failed,
            format!("this boot would not pass: {}", shown.reason),
        )),
        _ => Err(Failure::new(
            Exit::Unreachable,
            format!(
                "it is not known whether this boot would pass: {}",
                shown.reason
            ),
        )),
    }
}

/// Whether the boot was made by a reboot that held the lock.
fn holds(entry: &Entry, boot_id: &str) -> bool {
    entry.claim.is_some() && entry.stage != Stage::Queued && entry.boot_id != boot_id
}

/// One round of the checks, without starting anything but the operator's own.
async fn look(
    context: &Context,
    bus: &zbus::Connection,
    baseline: Option<&Baseline>,
) -> Result<(Round, Vec<String>), Failure> {
    let config = &context.config;
    let id = node::machine_id(&config.root)?;
    let hostname = node::hostname(&config.root);
    let hooks = Hooks::new(&config.root, config.timings.hook_timeout).run_for(For::Health);
    let values = [
        ("NODE", id.as_str()),
        ("HOSTNAME", &hostname),
        ("GROUP", config.group.as_str()),
        ("FROM", ""),
        ("TO", ""),
        ("PHASE", "proving"),
        ("REASON", "pointsman health"),
    ];
    let variables = variables(config, values);
    let greenboot = checks::greenboot(&config.root, bus, config.timings.hook_timeout).await;
    let greenboot = greenboot.map(|hooks| hooks.run_for(For::Health));
    let checks = Checks {
        root: &config.root,
        bus,
        rules: Rules {
            ignore: &config.ignore_units,
            cluster: &config.cluster_units,
            baseline,
            // What counts against an image is what is asked for.
            trial: true,
        },
        hooks: &hooks,
        greenboot: greenboot.as_ref(),
        variables: &variables,
        limit: config.timings.proving,
        waits: EffectRunner::back_off(config),
    };
    let (mut round, gate) = checks.round().await;
    if let Some(gate) = gate {
        round.units.extend(checks.required_by(&gate).await?);
    }
    if config.strategy == Strategy::EtcdLock
        && let Ok(Err(why)) = context
            .semaphore()?
            .own_member(&config.etcd.member, &hostname, None)
            .await
    {
        round.others.push(why.to_string());
    }
    let warnings = checks.warnings().await;
    Ok((round, warnings))
}

fn failing(round: &Round, held: bool) -> Vec<Check> {
    let alone = if held {
        "the other nodes were in service at this boot"
    } else {
        "it needs other nodes, which may have been out of service: it does not count"
    };
    let own = round.own.iter().map(|what| (what, false, "it is required"));
    let others = round.others.iter().map(|what| (what, true, alone));
    let units = round.units.iter().map(|unit| Check {
        what: unit.what.to_string(),
        standing: unit.standing,
        cluster: unit.cluster,
        why: reason(unit, held),
    });
    own.chain(others)
        .map(|(what, cluster, why)| Check {
            what: what.clone(),
            standing: Standing::New,
            cluster,
            why,
        })
        .chain(units)
        .collect()
}

/// Why a unit counts, or does not.
fn reason(unit: &Judged, held: bool) -> &'static str {
    match unit.standing {
        Standing::New if unit.cluster && !held => {
            "it did not fail before this boot, but it needs other nodes, which may have been out of service"
        }
        Standing::New => "it did not fail before this boot",
        Standing::Before => "it also failed before this boot, on a proven image",
        Standing::Ignored => "checks.ignore-units lists it",
        Standing::Exempt => {
            "it never counts, because it waits for the proof or applies a cloud-config"
        }
        Standing::Unknown => {
            "it is not known whether it failed before this boot. At the next reboot it counts as failed before"
        }
    }
}

fn print(shown: &Shown) -> Result<(), Failure> {
    output::say(match shown.verdict {
        "pass" => "This boot would pass its checks.",
        "fail" => "This boot would not pass its checks.",
        _ => "It is not known whether this boot would pass its checks.",
    })?;
    if !shown.checks.is_empty() {
        let mut lines = table(&["CHECK", "STANDING", "REASON"]);
        for check in &shown.checks {
            let standing = serde_json::to_value(check.standing);
            let standing = standing
                .ok()
                .and_then(|word| Some(word.as_str()?.to_owned()));
            lines.add_row(cells(vec![
                check.what.clone(),
                standing.unwrap_or_default(),
                check.why.to_owned(),
            ]));
        }
        output::say(format!("\n{}", trimmed(&lines)))?;
    }
    for warning in &shown.warnings {
        output::say(format!("warning only: {}", output::in_line(warning)))?;
    }
    if shown.trial {
        output::say("\nThe running slot is on trial.")?;
    }
    Ok(())
}
