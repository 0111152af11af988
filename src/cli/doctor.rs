//! `pointsman doctor`: what a person who helps would ask first, and what to do about each.

use std::collections::BTreeMap;

use host::{
    bus, etcd,
    hooks::{Hooks, available},
    systemd,
    update_engine::{self, UpdateEngine},
};
use jiff::Timestamp;
use serde::Serialize;
use settings::Strategy;
use slots::storage::Access;

use super::{Context, Exit, Failure, common::JsonArgs, output, slots as slots_command, status};
use crate::{
    agent::bus::{AgentClient, ClientError},
    notify::missing_programs,
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    json: JsonArgs,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// As it should be.
    Ok,
    /// Somebody should look at it.
    Warning,
    /// It does not work.
    Error,
}

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    /// What was looked at, in a word or two.
    about: &'static str,
    /// How bad it is.
    level: Level,
    /// What was found, in a sentence.
    found: String,
    /// What to do about it, a line each.
    to_do: Vec<String>,
}

/// What `--json` shows.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    /// The worst of all.
    level: Level,
    /// Each thing that was looked at.
    findings: &'a [Finding],
}

/// The findings, one after the other.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, about: &'static str, level: Level, found: impl Into<String>, to_do: &[&str]) {
        self.0.push(Finding {
            about,
            level,
            found: found.into(),
            to_do: to_do.iter().map(|&line| line.to_owned()).collect(),
        });
    }

    fn ok(&mut self, about: &'static str, found: impl Into<String>) {
        self.add(about, Level::Ok, found, &[]);
    }

    fn error(&mut self, about: &'static str, failure: impl Into<Failure>) {
        let failure = failure.into();
        self.0.push(Finding {
            about,
            level: Level::Error,
            to_do: failure.all_remedies().map(ToString::to_string).collect(),
            found: failure.message,
        });
    }
}

/// Looks at all of it. Nothing is changed.
///
/// # Errors
/// When something does not work, by the exit code; and when it cannot be printed.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let mut findings = Findings::default();
    configuration(context, &mut findings);
    if context.config.strategy == Strategy::EtcdLock {
        reach(context, &mut findings).await;
        fleet(context, &mut findings).await;
    }
    agent(context, &mut findings).await;
    slots(context, &mut findings);
    match bus::connect(&context.config.root).await {
        Ok(connection) => of_the_bus(context, &connection, &mut findings).await,
        Err(error) => findings.error("system bus", error),
    }
    hooks(context, &mut findings);
    let findings = findings.0;
    let level = findings.iter().map(|finding| finding.level).max();
    let level = level.unwrap_or(Level::Ok);
    if args.json.json {
        let findings = &findings;
        output::json(&Shown { level, findings })?;
    } else {
        findings.iter().try_for_each(print)?;
    }
    match level {
        Level::Error => Err(Failure::new(Exit::Failed, String::new())),
        Level::Ok | Level::Warning => Ok(()),
    }
}

fn print(finding: &Finding) -> Result<(), Failure> {
    let level = match finding.level {
        Level::Ok => "ok",
        Level::Warning => "WARNING",
        Level::Error => "ERROR",
    };
    let found = output::in_line(&finding.found);
    output::say(format!("{level:<8} {}: {found}", finding.about))?;
    let mut to_do = finding.to_do.iter();
    to_do.try_for_each(|line| output::say(format!("         {}", output::in_line(line))))
}

fn configuration(context: &Context, findings: &mut Findings) {
    const ABOUT: &str = "configuration";
    for fault in context.faults() {
        findings.add(ABOUT, Level::Error, fault.to_string(), &[]);
    }
    if context.is_not_configured() {
        let to_do = "write /etc/pointsman/config.yaml, and check it: pointsman config";
        findings.add(ABOUT, Level::Warning, status::NOT_CONFIGURED, &[to_do]);
    } else if context.faults().is_empty() {
        let strategy = context.config.strategy;
        findings.ok(ABOUT, format!("no fault; the strategy is {strategy}"));
    }
    if let Some(warning) = context.config.certificate_warning(Timestamp::now()) {
        let level = match warning.has_expired() {
            true => Level::Error,
            false => Level::Warning,
        };
        let to_do = "renew it; the agent reads the file again by itself";
        findings.add("certificate", level, warning.to_string(), &[to_do]);
    }
}

/// Whether each endpoint of etcd answers, and whether all are of one cluster.
async fn reach(context: &Context, findings: &mut Findings) {
    let options = match context.config.etcd_options() {
        Ok(options) => options,
        Err(error) => return findings.error("etcd", error),
    };
    let keys = semaphore::keys::Keys::new(&context.config.prefix, context.config.group.clone());
    let key = keys.semaphore();
    let all = etcd::Connection::new(options);
    let mut answered = 0;
    let mut silent = Vec::new();
    let endpoints = &all.options().endpoints;
    for endpoint in endpoints {
        match all.to(vec![endpoint.clone()]).get(&key).await {
            Ok(_) => answered += 1,
            Err(etcd::Error::Unreachable { reasons, .. }) => {
                let each = reasons.into_iter();
                silent.extend(each.map(|(at, why)| format!("{at}: {why}")));
            }
            Err(error) => silent.push(format!("{endpoint}: {error}")),
        }
    }
    let level = match answered {
        0 => Level::Error,
        _ => Level::Warning,
    };
    for why in silent {
        let to_do =
            "check the address and the certificates (pointsman config), and that etcd runs there";
        findings.add("etcd", level, why, &[to_do]);
    }
    let clusters = all.clusters().await;
    let mut ids: Vec<u64> = clusters.iter().map(|(_, id)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() > 1 {
        let each = clusters.iter().map(|(at, id)| format!("{at} is of {id:x}"));
        let found = format!(
            "the endpoints are of different clusters: {}",
            each.collect::<Vec<_>>().join(", ")
        );
        let to_do = "name the endpoints of one cluster only, in etcd.endpoints";
        findings.add("etcd", Level::Error, found, &[to_do]);
    } else if answered > 0 {
        let all = endpoints.len();
        findings.ok("etcd", format!("{answered} of {all} endpoints answer"));
    }
}

/// What the group is in, and which agents are in it.
async fn fleet(context: &Context, findings: &mut Findings) {
    let group = match context.semaphore() {
        Ok(semaphore) => match semaphore.read().await {
            Ok(group) => group,
            // The endpoints have told why.
            Err(error) if error.is_unreachable() => return,
            Err(error) => return findings.error("group", error),
        },
        Err(error) => return findings.error("group", error),
    };
    if let Some(Err(error)) = &group.document {
        let to_do = context.command("set-max 1 --rebuild");
        findings.add("group", Level::Error, error.to_string(), &[&to_do]);
    }
    for holder in group.holders.iter().filter(|holder| holder.overdue) {
        let found = format!("{} holds the reboot lock and has not come back", holder.id);
        let to_do = format!("see: {}", context.command("status"));
        findings.add("group", Level::Warning, found, &[&to_do]);
    }
    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    for node in &group.nodes {
        *versions.entry(node.agent.as_str()).or_default() += 1;
    }
    let each = versions
        .iter()
        .map(|(agent, count)| format!("{count} with {agent}"));
    let each = each.collect::<Vec<_>>().join(", ");
    match versions.len() {
        0 => findings.ok("agents", "no node of the group has said anything yet"),
        1 => findings.ok("agents", each),
        _ => {
            let to_do = format!("see which: {}", context.command("status --nodes"));
            findings.add("agents", Level::Warning, each, &[&to_do]);
        }
    }
}

async fn agent(context: &Context, findings: &mut Findings) {
    const ABOUT: &str = "agent";
    let asked = async {
        AgentClient::connect(&context.config.root)
            .await?
            .properties()
            .await
    };
    let said = match asked.await {
        Ok(said) => said,
        Err(ClientError::NotRunning) => {
            let to_do =
                "start it: systemctl enable --now pointsman; why it ended: journalctl -u pointsman";
            return findings.add(ABOUT, Level::Error, "it does not run", &[to_do]);
        }
        Err(error) => return findings.error(ABOUT, error),
    };
    if !said.config_error.is_empty() {
        let to_do = "it goes on with the configuration before; repair the file, then: systemctl reload pointsman";
        findings.add(ABOUT, Level::Error, said.config_error, &[to_do]);
    }
    if !said.etcd_error.is_empty() {
        findings.add(ABOUT, Level::Error, said.etcd_error, &[]);
    }
    let own = env!("CARGO_PKG_VERSION");
    if said.version != own {
        let found = format!("it is {}, and this program {own}", said.version);
        findings.add(
            ABOUT,
            Level::Warning,
            found,
            &["systemctl restart pointsman"],
        );
    }
    let waits_for = match said.waits_for.as_str() {
        "" => String::new(),
        why => format!(": {why}"),
    };
    findings.ok(ABOUT, format!("it runs, {}{waits_for}", said.state));
}

fn slots(context: &Context, findings: &mut Findings) {
    const ABOUT: &str = "slots";
    let slots = match slots_command::find(context, Access::Read) {
        Ok(Ok(slots)) => slots,
        Ok(Err(_)) => return findings.ok(ABOUT, slots_command::NO_SLOTS),
        Err(error) => return findings.error(ABOUT, error),
    };
    let repair = context.command("slots repair");
    for finding in slots.findings() {
        findings.add(ABOUT, Level::Error, finding.to_string(), &[&repair]);
    }
    match slots.next() {
        None => findings.add(ABOUT, Level::Error, "no slot would boot", &[]),
        Some(next) => {
            let name = slots.slots()[next].name();
            findings.ok(ABOUT, format!("a reboot would boot {name}"));
        }
    }
}

/// What only the services of the node tell.
async fn of_the_bus(context: &Context, connection: &zbus::Connection, findings: &mut Findings) {
    const ABOUT: &str = "update_engine";
    if update_engine::installed(connection, &context.config.root).await {
        match UpdateEngine::new(connection).get_status().await {
            Ok(status) => findings.ok(ABOUT, status.operation.to_string()),
            Err(error) => findings.error(ABOUT, error),
        }
    } else {
        let file = context.config.sentinel.display();
        findings.ok(ABOUT, format!("there is none: {file} asks for reboots"));
    }
    // What else reboots nodes, and asks no reboot lock of this program.
    let link = context
        .config
        .root
        .path("etc/systemd/system/locksmithd.service")
        .link();
    let is_ours = link.is_some_and(|to| to.ends_with("pointsman.service"));
    for unit in ["locksmithd.service", "zincati.service", "rebootmgr.service"] {
        if unit == "locksmithd.service" && is_ours {
            continue;
        }
        if systemd::enabled(connection, unit)
            .await
            .is_ok_and(|enabled| enabled == Some(true))
        {
            let found = format!("{unit} is enabled, and takes no reboot lock of pointsman");
            let to_do = format!("systemctl disable --now {unit}");
            findings.add("other coordinators", Level::Warning, found, &[&to_do]);
        }
    }
}

fn hooks(context: &Context, findings: &mut Findings) {
    const ABOUT: &str = "hooks";
    let config = &context.config;
    let mut wrong = Hooks::new(&config.root, config.timings.hook_timeout).complaints();
    wrong.extend(missing_programs(config));
    let all = available::list(&config.root);
    for hook in all.iter().filter(|hook| hook.is_enabled_somewhere()) {
        wrong.extend(
            hook.missing
                .iter()
                .map(|why| format!("{}: {why}", hook.name)),
        );
        if !hook.is_enabled() {
            wrong.push(format!(
                "{} is enabled in some of its stages only",
                hook.name
            ));
        }
    }
    if wrong.is_empty() {
        findings.ok(
            ABOUT,
            "all that are there, and the programs of notify, can be run",
        );
    }
    for why in wrong {
        findings.add(ABOUT, Level::Error, why, &["see: pointsman hooks"]);
    }
}
