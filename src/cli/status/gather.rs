//! Reading what `status` shows: from etcd, from this node's agent, from systemd.

use cloud_config::boot::Outcome;
use host::{
    coordinator, node,
    systemd::{self, Trouble},
};
use semaphore::{etcd, file::FileGroup};

use super::{GroupStatus, HolderStatus, NodeStatus, Status, lost, progress::progress};
use crate::{
    agent::{
        bus::{AgentClient, ClientError},
        identity,
    },
    cli::{Context, Failure, policy},
};

/// All that `status` shows, and why etcd's part of it is missing where it is; a node that asks nobody misses nothing.
pub(in crate::cli) async fn gather(
    context: &Context,
    all_groups: bool,
) -> (Status, Option<Failure>) {
    match context.semaphore() {
        Ok(semaphore) => gather_over(context, Ok(&semaphore), all_groups).await,
        Err(failure) => gather_over(context, Err(failure), all_groups).await,
    }
}

/// The same over the connection of this reboot lock, which stays open.
pub(super) async fn gather_over(
    context: &Context,
    semaphore: Result<&etcd::Semaphore, Failure>,
    all_groups: bool,
) -> (Status, Option<Failure>) {
    let asked = async {
        let client = AgentClient::connect(&context.config.root).await?;
        client.properties().await
    };
    // Status is asked for on machines without an agent, or without a bus, as well.
    let (node, node_error) = match asked.await {
        Ok(said) => {
            let hostname = node::hostname(&context.config.root);
            let node = NodeStatus {
                hostname,
                ..NodeStatus::from(said)
            };
            (Some(node), None)
        }
        Err(ClientError::NotRunning) => (None, None),
        Err(error) => (None, Some(Failure::from(error).in_line())),
    };
    // A node that asks nobody has nothing in etcd to show.
    let alone = node
        .as_ref()
        .is_some_and(|node| node.strategy != "etcd-lock");
    let asked = match context.has_no_etcd() {
        true => Ok(Status::default()),
        false => ask_etcd(context, semaphore, all_groups).await,
    };
    let (mut status, failure) = match asked {
        Ok(status) => (status, None),
        Err(failure) => {
            let status = Status {
                etcd_error: Some(failure.to_string()),
                ..Status::default()
            };
            (status, Some(failure).filter(|_| !alone))
        }
    };
    let mut node = node;
    if let Some(node) = &mut node {
        look_for_others(context, node, &status.groups).await;
    }
    status.coordinator = match node {
        None => coordinator::seen(&context.config.root),
        Some(_) => None,
    };
    if node.is_none() && node_error.is_none() {
        status.unit_failed = unit_failed(context).await;
    }
    status.configured_group = node
        .as_ref()
        // With a fault, a reload would be refused.
        .filter(|_| context.faults().is_empty())
        .filter(|node| !context.names_the_group() && node.group != context.config.group.as_str())
        .map(|_| context.config.group.as_str().to_owned());
    status.only_node = context.has_no_etcd();
    status.node = node;
    status.node_error = node_error;
    status.cloud_config = Outcome::load(&context.config.root);
    (status, failure)
}

async fn group_status(semaphore: &etcd::Semaphore, read: etcd::Group) -> GroupStatus {
    let (document, error) = match read.document {
        None if read.holders.is_empty() => (None, None),
        None => {
            let ids: Vec<&str> = read.holders.iter().map(|held| held.id.as_str()).collect();
            let error = format!("it is missing, although it is held by {}", ids.join(", "));
            (None, Some(error))
        }
        Some(Ok(document)) => (Some(document), None),
        Some(Err(error)) => (None, Some(error.to_string())),
    };
    let (policy, policy_error) = match read.policy {
        None => (None, None),
        Some(Ok(policy)) => (Some(policy), None),
        Some(Err(error)) => (None, Some(error.to_string())),
    };
    let lost_policy = policy.as_ref().and_then(|policy| policy.lost.as_ref());
    let mut holders = Vec::new();
    for held in &read.holders {
        holders.push(HolderStatus {
            passed_over: lost::passed_over(semaphore, lost_policy, held).await,
            ..HolderStatus::from(held.clone())
        });
    }
    // Those of a release before policies: what the policy says does not keep them.
    let count = u64::try_from(read.nodes.len()).unwrap_or(u64::MAX);
    let may_be_old = policy.is_some() && count > read.members;
    let without_policy = match may_be_old {
        true => semaphore
            .without_policy(&read.nodes)
            .await
            .unwrap_or_default(),
        false => Vec::new(),
    };
    let mut shown = GroupStatus {
        rollout: None,
        group: semaphore.keys().group().as_str().to_owned(),
        members: read.members,
        without_policy: without_policy
            .into_iter()
            .map(|node| {
                if node.hostname.is_empty() {
                    node.id
                } else {
                    node.hostname
                }
            })
            .collect(),
        percentage: policy
            .as_ref()
            .and_then(|policy| policy::percentage(policy, read.members, document.as_ref())),
        policy,
        policy_error,
        max: document.as_ref().map(|d| d.max),
        available: document.as_ref().map(|d| d.available()),
        error,
        pause: read.pause,
        entries: read
            .holders
            .iter()
            .filter_map(|held| held.entry.clone())
            .collect(),
        holders,
        lost: lost::lost(read.lost),
        queue: read.queue,
        nodes: read.nodes,
    };
    shown.rollout = progress(&shown);
    shown
}

async fn ask_etcd(
    context: &Context,
    semaphore: Result<&etcd::Semaphore, Failure>,
    all_groups: bool,
) -> Result<Status, Failure> {
    let semaphore = semaphore?;
    let own = context.config.group.clone();
    let groups = if all_groups {
        let mut groups = semaphore.groups().await?;
        // Also while no node of it has said anything yet.
        if !groups.contains(&own) {
            groups.push(own);
        }
        groups
    } else {
        vec![own]
    };
    Ok(of_groups(semaphore, groups).await?)
}

/// What etcd says of these groups; of no node of its own.
async fn of_groups(
    semaphore: &etcd::Semaphore,
    groups: Vec<node::Group>,
) -> Result<Status, etcd::Error> {
    let mut status = Status::default();
    for group in groups {
        let semaphore = semaphore.of_group(group);
        let read = semaphore.read().await?;
        status.pause_all.clone_from(&read.pause_all);
        status.quarantine.clone_from(&read.quarantine);
        status.member_out.clone_from(&read.member_out);
        status.member_before_accept = read.member_before_accept;
        status.groups.push(group_status(&semaphore, read).await);
    }
    Ok(status)
}

/// What etcd says of all groups that there are, for whoever looks from outside: of no node of its own.
///
/// # Errors
/// When etcd cannot be asked: what is left to show then.
pub(in crate::cli) async fn of_cluster(semaphore: &etcd::Semaphore) -> Result<Status, Status> {
    let asked = async {
        let groups = semaphore.groups().await?;
        of_groups(semaphore, groups).await
    };
    asked.await.map_err(|error| Status {
        etcd_error: Some(error.to_string()),
        ..Status::default()
    })
}

/// What a file with places says, as a status.
pub(in crate::cli) fn of_file(groups: Vec<FileGroup>) -> Status {
    let status = |found: FileGroup| GroupStatus {
        group: found.group.as_str().to_owned(),
        max: Some(found.document.max),
        available: Some(found.document.available()),
        holders: found.holders.into_iter().map(HolderStatus::from).collect(),
        ..GroupStatus::default()
    };
    Status {
        groups: groups.into_iter().map(status).collect(),
        ..Status::default()
    }
}

/// That pointsman.service has failed, and the configuration's faults if it has any; none where it has not, or systemd
/// cannot be asked.
async fn unit_failed(context: &Context) -> Option<String> {
    let bus = host::bus::connect(&context.config.root).await.ok()?;
    let failed = systemd::unsettled(&bus).await.ok()??;
    failed
        .iter()
        .find(|found| found.unit == "pointsman.service" && found.trouble == Trouble::Failed)?;
    let faults: Vec<String> = context.faults().iter().map(ToString::to_string).collect();
    Some(match faults.as_slice() {
        [] => "pointsman.service has failed. To see why: journalctl -u pointsman".to_owned(),
        faults => format!("pointsman.service has failed: {}", faults.join("; ")),
    })
}

/// Adds what etcd knows of this node and its agent does not: the agent sees it only when it tells etcd of itself.
async fn look_for_others(context: &Context, node: &mut NodeStatus, groups: &[GroupStatus]) {
    let Ok(boot) = node::boot_id(&context.config.root) else {
        return;
    };
    let group = groups.iter().find(|group| group.group == node.group);
    let Some(group) = group.filter(|_| node.strategy == "etcd-lock") else {
        return;
    };
    let record = group.nodes.iter().find(|record| record.id == node.id);
    if let Some(record) = record
        && node.recorded
        && node.warnings.is_empty()
        && !record.boot_id.is_empty()
        && record.boot_id != boot
    {
        node.warnings.push(identity::twin(record, &node.id));
    }
    let entry = group.entries.iter().find(|entry| entry.id == node.id);
    let quiet = |state: &str, holding: bool| matches!(state, "idle" | "waiting") && !holding;
    if let Some(lost) = entry.and_then(|entry| identity::lost_hold(entry, &node.id))
        && quiet(&node.state, node.holding)
    {
        // Meanwhile it may have taken it.
        let again = async {
            let client = AgentClient::connect(&context.config.root).await?;
            client.properties().await
        };
        if again
            .await
            .is_ok_and(|said| quiet(&said.state, said.holding))
        {
            node.warnings.push(lost);
        }
    }
}
