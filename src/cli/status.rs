//! `pointsman status`.

mod check;
pub(super) mod gather;
mod lost;
mod nodes;
mod progress;
mod render;
mod watch;

use cloud_config::boot::Outcome;
use host::{duration, fleet_lock::client_id, node};
use jiff::Timestamp;
use semaphore::{
    etcd::{self, HolderState},
    policy::Policy,
    records::{Holder, ImageId, MemberOut, NodeRecord, Pause, Phase, Quarantine, Ticket},
};
use serde::Serialize;
use std::time::Duration;

use super::{Context, Exit, Failure, common::JsonArgs, output};
use crate::agent::bus::Published;

pub(in crate::cli) use gather::gather;
pub use lost::{LostStatus, PassedOver};
pub use progress::Progress;
pub use render::{Queue, render};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    json: JsonArgs,
    /// Every group under the key prefix, not only this node's.
    #[arg(long)]
    all_groups: bool,
    /// The whole queue, not only the first 20 nodes of it.
    #[arg(long, conflicts_with_all = ["json", "watch", "nodes", "check"])]
    all: bool,
    /// Show every node instead: host, group, version, kernel, state, agent, what it waits for
    #[arg(long)]
    nodes: bool,
    #[command(flatten)]
    filter: nodes::Filter,
    /// Show it until q is pressed, and each change as it happens: on a terminal over the whole screen, else a line for each
    #[arg(long, conflicts_with_all = ["nodes", "check"])]
    watch: bool,
    /// Answer a monitoring system: one line, exit 0 (ok), 1 (warning) or 2 (critical)
    #[arg(long, conflicts_with = "nodes")]
    check: bool,
    /// With --check: warn when the first in the queue has waited for this long although it could go
    #[arg(long, value_name = "DURATION", default_value = "1h", requires = "check", value_parser = duration::parse)]
    queue_age: Duration,
}

/// All that is shown.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Status {
    /// The whole cluster's pause.
    pub pause_all: Option<Pause>,
    /// The quarantined images and versions.
    pub quarantine: Vec<Quarantine>,
    /// The node with a member of etcd that is out, in whichever group.
    pub member_out: Option<MemberOut>,
    /// Whether that was written before a person accepted the store.
    pub member_before_accept: bool,
    /// The groups asked for.
    pub groups: Vec<GroupStatus>,
    /// Whether there is nothing to show but this node: it asks a FleetLock server, and has no etcd.
    #[serde(skip)]
    pub(crate) only_node: bool,
    /// This node, as its own agent says; null where none runs, or none could be asked.
    pub node: Option<NodeStatus>,
    /// Why the agent could not be asked, where it is not known whether one runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_error: Option<String>,
    /// Who coordinates this node's reboots where no agent runs, and what it is about to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coordinator: Option<String>,
    /// That the agent's unit has failed, and for which faults of the configuration, where it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_failed: Option<String>,
    /// That the agent works in another group than the configuration says, where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configured_group: Option<String>,
    /// How the last cloud-config at boot went, where there was one in this boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_config: Option<Outcome>,
    /// Why etcd's part is missing, where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_error: Option<String>,
}

/// One group.
#[derive(Debug, Clone, Default, Serialize)]
pub struct GroupStatus {
    /// Its name; the default group's is empty.
    pub group: String,
    /// How many may be out at a time; null where nobody has used the group, or the document cannot be used.
    pub max: Option<u32>,
    /// How many more may go now; negative after a lower `set-max`.
    pub available: Option<i64>,
    /// What is wrong with the document, where something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The group's policy, where it has one that can be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// What is wrong with the policy, where something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_error: Option<String>,
    /// How many members the group has.
    #[serde(skip)]
    pub(crate) members: u64,
    /// The nodes whose agents know nothing of policies, where the group has one; by host name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without_policy: Vec<String>,
    /// What the policy's percentage comes to, a sentence; none without one.
    #[serde(skip)]
    pub(crate) percentage: Option<String>,
    /// The roll-out that is under way, where one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Progress>,
    /// The group's pause.
    pub pause: Option<Pause>,
    /// Who holds the reboot lock.
    pub holders: Vec<HolderStatus>,
    /// The nodes that were passed over and are not back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LostStatus>,
    /// Who waits, the first in the queue first.
    pub queue: Vec<Ticket>,
    /// What the nodes of the group last said of themselves.
    pub nodes: Vec<NodeRecord>,
    /// The holders' entries as they stand in etcd.
    #[serde(skip)]
    pub(crate) entries: Vec<Holder>,
}

impl GroupStatus {
    /// Whether nobody has used the group: perhaps its name is a typing error.
    pub(crate) fn is_unused(&self) -> bool {
        self.max.is_none() && self.error.is_none() && self.nodes.is_empty()
    }
}

/// One holder.
#[derive(Debug, Clone, Serialize)]
pub struct HolderStatus {
    /// Its id.
    pub id: String,
    /// Its host name, where known.
    pub hostname: Option<String>,
    /// `draining`, `rebooting`, `proving`, `soaking`, `manual`; `foreign` where only the document names it; `leftover`
    /// where the document does not.
    pub phase: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// What it ran.
    pub from: ImageId,
    /// What it goes to.
    pub to: ImageId,
    /// Why.
    pub reason: Option<String>,
    /// The protocol by which it was taken, where no agent keeps it: `fleet-lock`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// Until when it soaks, by the clock of its node; only where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soaks_until: Option<Timestamp>,
    /// The deadline that it names, in seconds: no soak is longer.
    #[serde(skip)]
    pub deadline: Option<u64>,
    /// Whether it has not come back by the deadline it named.
    pub overdue: bool,
    /// Whether its entry is from before a person accepted the store; only where it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub before_accept: bool,
    /// Whether the policy passes over it; only where it is overdue and the policy passes over lost nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<PassedOver>,
}

/// This node's agent.
#[derive(Debug, Clone, Serialize)]
pub struct NodeStatus {
    /// The node's id.
    pub id: String,
    /// The state, one word.
    pub state: String,
    /// What it waits for; empty where it waits for nothing.
    #[serde(rename = "reason")]
    pub waits_for: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// `etcd-lock`, `fleet-lock`, `reboot`, `off`.
    pub strategy: String,
    /// The FleetLock server that it asks; only with the strategy `fleet-lock`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet_lock: Option<LockServer>,
    /// Its group.
    pub group: String,
    /// Whether it holds the reboot lock.
    pub holding: bool,
    /// The reason of a reboot that a person asked for; empty where none did.
    pub request: String,
    /// What update_engine does.
    pub update: String,
    /// The version it would reboot into; null where that is not known, or no reboot is under way.
    pub to: Option<String>,
    /// Why etcd cannot be asked, as the agent last found; empty where it answered, or is not asked.
    pub etcd_error: String,
    /// Why the configuration on disk is not the one in force; empty where it is.
    pub config_error: String,
    /// The units that fail in this boot as they did before the reboot, which proves nothing against the image.
    pub failed_before: Vec<String>,
    /// The member of etcd that is taken for this node's, by its name and id; empty where none is, or it was not asked yet.
    pub member: String,
    /// What somebody should look at: another machine with this machine id, a hold that the journal does not know.
    pub warnings: Vec<String>,
    /// Its host name.
    #[serde(skip)]
    hostname: String,
    #[serde(skip)]
    recorded: bool,
}

/// The FleetLock server that the agent asks.
#[derive(Debug, Clone, Serialize)]
pub struct LockServer {
    /// Its base URL.
    pub url: String,
    /// The node's id there.
    pub id: String,
    /// The node's group there.
    pub group: String,
    /// The last call, when that was, and what it answered; empty before the first.
    pub last_call: String,
    /// Why it does not answer as a FleetLock server does; empty where it does.
    pub error: String,
}

impl From<Published> for NodeStatus {
    fn from(said: Published) -> Self {
        let fleet_lock = (!said.lock_server.is_empty()).then(|| LockServer {
            url: said.lock_server.clone(),
            id: client_id(&said.node_id).unwrap_or_default(),
            group: match said.group.as_str() {
                "" => "default".to_owned(),
                group => group.to_owned(),
            },
            last_call: said.lock_server_last_call.clone(),
            error: said.lock_server_error.clone(),
        });
        Self {
            id: said.node_id,
            state: said.state,
            waits_for: said.waits_for,
            since: said.since,
            strategy: said.strategy,
            fleet_lock,
            group: said.group,
            holding: said.holding,
            request: said.request,
            update: said.update,
            to: Some(said.to).filter(|version| !version.is_empty()),
            etcd_error: said.etcd_error,
            config_error: said.config_error,
            failed_before: said.failed_before,
            member: said.member,
            warnings: Some(said.twin)
                .filter(|twin| !twin.is_empty())
                .into_iter()
                .collect(),
            hostname: String::new(),
            recorded: said.recorded,
        }
    }
}

impl From<HolderState> for HolderStatus {
    fn from(state: HolderState) -> Self {
        let Some(entry) = state.entry else {
            return Self {
                id: state.id,
                hostname: None,
                phase: "foreign".into(),
                since: None,
                from: ImageId::default(),
                to: ImageId::default(),
                reason: None,
                via: None,
                soaks_until: None,
                deadline: None,
                overdue: false,
                before_accept: false,
                passed_over: None,
            };
        };
        let via = entry.via();
        Self {
            id: state.id,
            hostname: Some(entry.hostname).filter(|name| !name.is_empty()),
            phase: if state.listed || matches!(entry.phase, Phase::Other(_)) {
                entry.phase.to_string()
            } else {
                "leftover".into()
            },
            since: entry.since,
            via,
            from: entry.from,
            to: entry.to,
            reason: entry.reason,
            deadline: entry.deadline,
            soaks_until: entry.soaks_until.filter(|_| entry.phase == Phase::Soaking),
            overdue: state.overdue,
            before_accept: state.before_accept,
            passed_over: None,
        }
    }
}

/// Said before anything else that a node without a configuration shows: it may be the reason of all of it.
pub(super) const NOT_CONFIGURED: &str = "no configuration found (/etc/pointsman/config.yaml, config.d/*.yaml, \
     variables, flags). The defaults are used, with etcd at 127.0.0.1";

/// Shows it.
///
/// # Errors
/// When etcd cannot be reached, after showing what this node's agent says; when the document cannot be used,
/// after showing it.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    if context.is_not_configured() {
        output::note(format!("pointsman: {NOT_CONFIGURED}"));
    }
    if args.check {
        return answer(context, args).await;
    }
    if args.watch {
        return watch::run(context, args).await;
    }
    // What there is to show of others is in etcd.
    if context.has_no_etcd() && (args.nodes || args.all_groups) {
        context.semaphore()?;
    }
    let (status, failure) = gather(context, args.all_groups).await;
    let (now, zone) = (Timestamp::now(), node::time_zone(&context.config.root));
    match (args.nodes, args.json.json) {
        (false, true) => output::json(&status)?,
        (false, false) => {
            let queue = if args.all { Queue::Whole } else { Queue::Near };
            output::print(&render(&status, queue, &now, &zone))?;
        }
        // There are none to show.
        (true, _) if failure.is_some() => {}
        (true, true) => output::json(&args.filter.nodes(&status))?,
        (true, false) => {
            let shown = args.filter.nodes(&status);
            output::print(&nodes::render(&shown, &status, &now, &zone))?;
        }
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    let broken = |group: &GroupStatus| Some((group.error.clone()?, group.group.clone()));
    match status.groups.iter().find_map(broken) {
        Some((error, group)) => {
            let group = node::Group::new(&group).unwrap_or_default();
            Err(Failure::new(
                Exit::Failed,
                format!("the semaphore document cannot be used: {error}"),
            )
            .remedy(
                "repair it, where N nodes may be out of service at the same time",
                etcd::rebuild(&group) + &context.flags_but_the_group("set-max"),
            ))
        }
        None => Ok(()),
    }
}

/// How long the queue is given to move by itself before it counts as one that does not.
const A_MOMENT: Duration = Duration::from_secs(5);

/// Answers a monitoring system.
async fn answer(context: &Context, args: &Args) -> Result<(), Failure> {
    let zone = node::time_zone(&context.config.root);
    let look = async || {
        let (status, _) = gather(context, args.all_groups).await;
        let found = check::findings(&status, args.queue_age, Timestamp::now(), &zone);
        (status, found)
    };
    let (mut status, mut found) = look().await;
    // The place may have become free just now.
    if found
        .iter()
        .any(|finding| finding.kind == check::Kind::Queue)
    {
        tokio::time::sleep(A_MOMENT).await;
        (status, found) = look().await;
    }
    let faults = context.faults().iter();
    found.extend(
        faults.map(|fault| check::Finding::critical(check::Kind::Configuration, fault.to_string())),
    );
    if let Some(warning) = context.config.certificate_warning(Timestamp::now()) {
        let text = warning.to_string();
        found.push(match warning.has_expired() {
            true => check::Finding::critical(check::Kind::Certificate, text),
            false => check::Finding::warning(check::Kind::Certificate, text),
        });
    }
    check::sort(&mut found);
    if args.json.json {
        output::json(&found)?;
    } else {
        output::print(&check::render(&found, &status))?;
    }
    // It has been said.
    match found.first().map(|worst| worst.level) {
        None => Ok(()),
        Some(check::Level::Warning) => Err(Failure::new(Exit::Failed, "")),
        Some(check::Level::Critical) => Err(Failure::new(Exit::Usage, "")),
    }
}
