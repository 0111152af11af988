//! How far each image has come in each group: read from etcd, for people, programs and the page.

use host::{node::Group, text::shell_word};
use jiff::Timestamp;
use semaphore::{
    etcd::{self, Rollout, Semaphore},
    records::ImageId,
    rollout::{self, GroupView, MissingBecause},
    waves::upstream,
};
use serde::Serialize;

use crate::cli::names;

pub(super) fn after(view: &GroupView) -> &[Group] {
    match &view.policy {
        Some(Ok(policy)) => &policy.after,
        _ => &[],
    }
}

/// A group as it is shown.
#[derive(Debug, Clone, Serialize)]
pub(in crate::cli) struct GroupShown {
    pub(in crate::cli) group: String,
    /// The groups that must have proven an image before.
    pub(in crate::cli) after: Vec<String>,
    /// How long the groups after this one wait, once all members have proven an image; null where it opens none.
    pub(in crate::cli) wave_soak_seconds: Option<u64>,
    pub(in crate::cli) members: usize,
    pub(in crate::cli) images: Vec<ImageShown>,
    /// What keeps waves from opening here, whatever the nodes do.
    pub(in crate::cli) warnings: Vec<String>,
}

/// An image in a group.
#[derive(Debug, Clone, Serialize)]
pub(in crate::cli) struct ImageShown {
    #[serde(flatten)]
    pub(in crate::cli) image: ImageId,
    /// `open`, `soaking` (open once that time has passed), or `shut`.
    pub(in crate::cli) wave: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) since: Option<Timestamp>,
    /// Who opened it; empty where all members had proven it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::cli) by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::cli) reason: String,
    /// What is left of the time between the groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) soak_left_seconds: Option<u64>,
    /// Why no node goes to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) quarantined: Option<String>,
    /// How many members have proven it.
    pub(in crate::cli) proven: usize,
    pub(in crate::cli) missing: Vec<MissingShown>,
}

/// A node that has not proven an image.
#[derive(Debug, Clone, Serialize)]
pub(in crate::cli) struct MissingShown {
    pub(in crate::cli) id: String,
    pub(in crate::cli) hostname: String,
    pub(in crate::cli) since: Option<Timestamp>,
    pub(in crate::cli) why: String,
    /// The command that ends its membership, where it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) command: Option<String>,
}

/// The groups that open waves or wait for them. `command` makes a command line from its group and its words.
///
/// # Errors
/// When etcd cannot be asked.
pub(in crate::cli) async fn groups(
    semaphore: &Semaphore,
    command: &dyn Fn(&Group, &str) -> String,
) -> Result<Vec<GroupShown>, etcd::Error> {
    let rollout = semaphore.rollout().await?;
    let mut shown = Vec::new();
    for (name, view) in &rollout.groups {
        let named = rollout
            .groups
            .values()
            .any(|other| after(other).contains(name));
        let opens = matches!(&view.policy, Some(Ok(policy)) if policy.wave_soak.is_some());
        if !named && !opens && after(view).is_empty() {
            continue;
        }
        shown.push(group(command, semaphore, &rollout, name, view).await?);
    }
    Ok(shown)
}

async fn group(
    command: &dyn Fn(&Group, &str) -> String,
    semaphore: &Semaphore,
    rollout: &Rollout,
    name: &Group,
    view: &GroupView,
) -> Result<GroupShown, etcd::Error> {
    let policy = view.policy.as_ref().and_then(|policy| policy.as_ref().ok());
    let mut images = Vec::new();
    for image in rollout::images(view, &rollout.nodes) {
        let digest = image.digest.clone().unwrap_or_default();
        let wave = view.waves.get(&digest);
        let left = semaphore.soak_left(view, &digest).await?;
        let mut missing = match wave {
            Some(_) => Vec::new(),
            None => rollout::missing(name.as_str(), view, &rollout.nodes, &digest),
        };
        // First those that a person must look after.
        missing.sort_by_key(|missing| !may_be_gone(&missing.why));
        let forget = |missing: &rollout::Missing| {
            let forget = || command(name, &format!("forget {}", shell_word(&missing.id)));
            may_be_gone(&missing.why).then(forget)
        };
        images.push(ImageShown {
            wave: match (wave, left) {
                (None, _) => "shut",
                (Some(_), Some(_)) => "soaking",
                (Some(_), None) => "open",
            },
            since: wave.and_then(|wave| wave.since),
            by: wave.map(|wave| wave.by.clone()).unwrap_or_default(),
            reason: wave.map(|wave| wave.reason.clone()).unwrap_or_default(),
            soak_left_seconds: left.map(|left| left.as_secs()),
            quarantined: rollout::quarantine_of(&image, &rollout.quarantine)
                .map(|bad| bad.reason.clone()),
            proven: view
                .members
                .values()
                .filter(|proven| **proven == digest)
                .count(),
            missing: missing
                .iter()
                .map(|missing| MissingShown {
                    command: forget(missing),
                    id: missing.id.clone(),
                    hostname: missing.hostname.clone(),
                    since: missing.since,
                    why: missing.why.to_string(),
                })
                .collect(),
            image,
        });
    }
    Ok(GroupShown {
        group: name.as_str().to_owned(),
        after: after(view)
            .iter()
            .map(|group| group.as_str().to_owned())
            .collect(),
        wave_soak_seconds: policy
            .and_then(|policy| policy.wave_soak)
            .map(|soak| soak.as_secs()),
        members: view.members.len(),
        images,
        warnings: warnings(rollout, name, view),
    })
}

/// Whether a member that has not proven an image may be gone for good.
fn may_be_gone(why: &MissingBecause) -> bool {
    matches!(
        why,
        MissingBecause::Replaced { .. } | MissingBecause::Unknown
    )
}

/// What keeps waves from opening, whatever the nodes do.
pub(in crate::cli) fn warnings(rollout: &Rollout, name: &Group, view: &GroupView) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(Err(error)) = &view.policy {
        warnings.push(format!("its policy cannot be used: {error}"));
    }
    let named = |group: &Group| names::group(group.as_str());
    let policies = rollout
        .groups
        .iter()
        .map(|(group, view)| (group.as_str().to_owned(), after(view).to_vec()));
    if upstream(after(view), &policies.collect()).contains(name.as_str()) {
        warnings.push(
            "it comes after itself, by way of other groups: no image is ever open to it".into(),
        );
    }
    if !after(view).is_empty() {
        match without_slots(rollout, view) {
            0 => {}
            1 => warnings.push("1 of its nodes has no slots: it waits for no wave".into()),
            many => warnings.push(format!(
                "{many} of its nodes have no slots: they wait for no wave"
            )),
        }
    }
    for before in after(view) {
        let Some(there) = rollout
            .groups
            .get(before)
            .filter(|there| !there.members.is_empty())
        else {
            warnings.push(format!(
                "it comes after {}, where no node is",
                named(before)
            ));
            continue;
        };
        if let Some(Err(_)) = &there.policy {
            warnings.push(format!(
                "it comes after {}, whose policy cannot be used: it opens no waves",
                named(before)
            ));
            continue;
        }
        match without_slots(rollout, there) {
            0 => {}
            1 => warnings.push(format!(
                "it comes after {}, where 1 node has no slots: no image is ever proven on it, and no wave opens",
                named(before)
            )),
            many => warnings.push(format!(
                "it comes after {}, where {many} nodes have no slots: no image is ever proven on them, and no wave opens",
                named(before)
            )),
        }
        let opens = matches!(&there.policy, Some(Ok(policy)) if policy.wave_soak.is_some());
        if !opens {
            warnings.push(format!(
                "it comes after {}, whose policy has no --wave-soak: it opens no waves",
                named(before)
            ));
        }
    }
    warnings
}

/// How many members of a group have no slots, and so no image with a digest: waves go by that.
fn without_slots(rollout: &Rollout, view: &GroupView) -> usize {
    let member = |node: &&semaphore::records::NodeRecord| view.members.contains_key(&node.id);
    let nodes = rollout.nodes.iter().filter(member);
    nodes.filter(|node| node.runs.digest.is_none()).count()
}
