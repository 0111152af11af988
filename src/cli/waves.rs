//! `pointsman waves`: how far each image has come in each group, and which groups it is open to.

use std::collections::BTreeMap;

use host::{duration, node::Group};
use jiff::Timestamp;
use semaphore::{
    etcd::{Rollout, Semaphore},
    records::ImageId,
    rollout::{self, GroupView, MissingBecause},
    waves::{Wave, upstream},
};
use serde::Serialize;

use super::{
    Context, Exit, Failure,
    common::JsonArgs,
    names, output,
    pause::{person, sentence},
    quarantine::image,
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    json: JsonArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show for each group and image which nodes have not proven it yet, and why.
    Show(JsonArgs),
    /// Open an image to the groups that come after the group of --group, whoever has proven it, and without the time between the
    /// groups. To stop an image again: `quarantine add`.
    Open(OpenArgs),
}

#[derive(Debug, clap::Args)]
struct OpenArgs {
    /// The image (sha256:…), or its version where a node of the cluster runs it or waits for it.
    #[arg(value_name = "IMAGE|VERSION", value_parser = image)]
    image: ImageId,
    /// The reason, which is shown beside the image.
    #[arg(long, value_parser = sentence)]
    reason: String,
}

/// Shows or opens waves.
///
/// # Errors
/// When etcd cannot be reached, or no digest is known of the version that is to be opened.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let semaphore = context.semaphore()?;
    match &args.command {
        None => show(context, &semaphore, args.json).await,
        Some(Command::Show(json)) => show(context, &semaphore, *json).await,
        Some(Command::Open(open)) => self::open(context, &semaphore, open).await,
    }
}

async fn open(context: &Context, semaphore: &Semaphore, args: &OpenArgs) -> Result<(), Failure> {
    let rollout = semaphore.rollout().await?;
    let known = known_images(&rollout);
    let found = known.iter().filter(|known| known.is_meant_by(&args.image));
    let digests: Vec<&ImageId> = found.collect();
    let image = match (digests.as_slice(), &args.image.digest) {
        ([one], _) => (*one).clone(),
        // Nobody has it yet.
        ([], Some(_)) => args.image.clone(),
        ([], None)
            if rollout
                .nodes
                .iter()
                .any(|node| node.runs.is_meant_by(&args.image)) =>
        {
            return Err(Failure::new(
                Exit::Nothing,
                format!(
                    "the nodes that run {} have no slots, and so no image that a wave could be about: they wait for no wave",
                    args.image
                ),
            ));
        }
        ([], None) => {
            return Err(Failure::new(
                Exit::Nothing,
                format!("no node runs {} or waits for it", args.image),
            )
            .remedy(
                "find its digest on a node that has it",
                "pointsman slots --json",
            ));
        }
        (several, _) => {
            let digests = several.iter().filter_map(|image| image.digest.clone());
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "{} images have the version {}: {}",
                    several.len(),
                    args.image,
                    digests.collect::<Vec<_>>().join(", ")
                ),
            ));
        }
    };
    let group = semaphore.keys().group();
    let in_use = rollout
        .groups
        .get(group)
        .is_some_and(|view| !view.members.is_empty());
    if !in_use {
        return Err(Failure::new(
            Exit::Nothing,
            format!(
                "no node is in the group {}: it has nothing to open",
                names::group(group.as_str())
            ),
        ));
    }
    let later = rollout
        .groups
        .iter()
        .filter(|(_, view)| after(view).contains(group));
    let later: Vec<String> = later.map(|(name, _)| names::group(name.as_str())).collect();
    let wave = Wave {
        version: image.version.clone(),
        since: Some(Timestamp::now()),
        by: person(context),
        reason: args.reason.clone(),
    };
    let digest = image.digest.clone().unwrap_or_default();
    semaphore.open_wave_by_hand(&digest, &wave).await?;
    if let Some(bad) = rollout::quarantine_of(&image, &rollout.quarantine) {
        output::note(format!(
            "warning: {image} is quarantined, and no node goes to it: {}",
            output::in_line(&bad.reason)
        ));
    }
    let later = match later.as_slice() {
        [] => "no group comes after it".to_owned(),
        later => format!("the groups after it: {}", later.join(", ")),
    };
    output::say(format!(
        "{image} is open after the group {}; {later}.",
        names::group(group.as_str())
    ))
}

/// Each image that a node runs, or goes to, or that was opened.
fn known_images(rollout: &Rollout) -> Vec<ImageId> {
    let mut known: BTreeMap<String, ImageId> = BTreeMap::new();
    let groups = rollout.groups.values();
    let of_groups = groups.flat_map(|view| rollout::images(view, &rollout.nodes));
    let runs = rollout.nodes.iter().map(|node| node.runs.clone());
    for image in of_groups.chain(runs) {
        if let Some(digest) = image.digest.clone() {
            let kept = known.entry(digest).or_insert_with(|| image.clone());
            kept.version = kept.version.take().or(image.version);
        }
    }
    known.into_values().collect()
}

fn after(view: &GroupView) -> &[Group] {
    match &view.policy {
        Some(Ok(policy)) => &policy.after,
        _ => &[],
    }
}

/// A group as it is shown.
#[derive(Debug, Serialize)]
struct GroupShown {
    group: String,
    /// The groups that must have proven an image before.
    after: Vec<String>,
    /// How long the groups after this one wait, once all members have proven an image; null where it opens none.
    wave_soak_seconds: Option<u64>,
    members: usize,
    images: Vec<ImageShown>,
    /// What keeps waves from opening here, whatever the nodes do.
    warnings: Vec<String>,
}

/// An image in a group.
#[derive(Debug, Serialize)]
struct ImageShown {
    #[serde(flatten)]
    image: ImageId,
    /// `open`, `soaking` (open once that time has passed), or `shut`.
    wave: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    /// Who opened it; empty where all members had proven it.
    #[serde(skip_serializing_if = "String::is_empty")]
    by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    /// What is left of the time between the groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    soak_left_seconds: Option<u64>,
    /// Why no node goes to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    quarantined: Option<String>,
    /// How many members have proven it.
    proven: usize,
    missing: Vec<MissingShown>,
}

/// A node that has not proven an image.
#[derive(Debug, Serialize)]
struct MissingShown {
    id: String,
    hostname: String,
    since: Option<Timestamp>,
    why: String,
    /// The command that ends its membership, where it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
}

async fn show(context: &Context, semaphore: &Semaphore, json: JsonArgs) -> Result<(), Failure> {
    let shown = groups(context, semaphore).await?;
    if json.json {
        return output::json(&shown);
    }
    if shown.is_empty() {
        return output::say("No group comes after another one: no policy has --after.");
    }
    output::say(texts(context, &shown))
}

/// The groups that open waves or wait for them, as people read them; empty where none does.
///
/// # Errors
/// When etcd cannot be asked.
pub(super) async fn read(context: &Context, semaphore: &Semaphore) -> Result<String, Failure> {
    Ok(texts(context, &groups(context, semaphore).await?))
}

fn texts(context: &Context, shown: &[GroupShown]) -> String {
    let texts: Vec<String> = shown.iter().map(|group| text(context, group)).collect();
    texts.join("\n\n")
}

async fn groups(context: &Context, semaphore: &Semaphore) -> Result<Vec<GroupShown>, Failure> {
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
        shown.push(group(context, semaphore, &rollout, name, view).await?);
    }
    Ok(shown)
}

async fn group(
    context: &Context,
    semaphore: &Semaphore,
    rollout: &Rollout,
    name: &Group,
    view: &GroupView,
) -> Result<GroupShown, Failure> {
    let policy = view.policy.as_ref().and_then(|policy| policy.as_ref().ok());
    let mut images = Vec::new();
    for image in rollout::images(view, &rollout.nodes) {
        let digest = image.digest.clone().unwrap_or_default();
        let wave = view.waves.get(&digest);
        let left = semaphore.soak_left(view, &digest).await?;
        let missing = match wave {
            Some(_) => Vec::new(),
            None => rollout::missing(name.as_str(), view, &rollout.nodes, &digest),
        };
        let forget = |missing: &rollout::Missing| match missing.why {
            MissingBecause::Replaced { .. } | MissingBecause::Unknown => {
                Some(context.command_in(name, &format!("forget {}", output::word(&missing.id))))
            }
            _ => None,
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

/// What keeps waves from opening, whatever the nodes do.
pub(super) fn warnings(rollout: &Rollout, name: &Group, view: &GroupView) -> Vec<String> {
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

fn text(context: &Context, shown: &GroupShown) -> String {
    let mut lines = vec![format!(
        "Group: {} ({})",
        names::group(&shown.group),
        match shown.members {
            1 => "1 member".to_owned(),
            many => format!("{many} members"),
        }
    )];
    if !shown.after.is_empty() {
        let names: Vec<String> = shown.after.iter().map(|name| names::group(name)).collect();
        lines.push(format!("Comes after: {}", names.join(", ")));
    }
    if let Some(soak) = shown.wave_soak_seconds {
        let soak = duration::print(std::time::Duration::from_secs(soak));
        lines.push(format!("Time between its waves and later groups: {soak}"));
    }
    lines.extend(
        shown
            .warnings
            .iter()
            .map(|warning| format!("warning: {}", output::in_line(warning))),
    );
    for image in &shown.images {
        let digest = image.image.digest.as_deref().unwrap_or_default();
        let version = image
            .image
            .version
            .as_deref()
            .unwrap_or("an unknown version");
        let since = image
            .since
            .map(|since| format!(" since {}", context.time(since)));
        let by = match (image.by.as_str(), image.reason.as_str()) {
            ("", _) => String::new(),
            (by, reason) => format!(", by {}: {}", output::in_line(by), output::in_line(reason)),
        };
        let state = match (image.wave, image.soak_left_seconds) {
            ("shut", _) => format!("proven by {} of {}", image.proven, shown.members),
            (_, Some(left)) => {
                let left = duration::print(std::time::Duration::from_secs(left));
                format!(
                    "proven by all{}; open to later groups in {left}",
                    since.unwrap_or_default()
                )
            }
            _ => format!("open to later groups{}{by}", since.unwrap_or_default()),
        };
        lines.push(format!(
            "{} ({}): {state}",
            output::in_line(version),
            output::in_line(digest)
        ));
        if let Some(reason) = &image.quarantined {
            lines.push(format!("  quarantined: {}", output::in_line(reason)));
        }
        for missing in &image.missing {
            let host = names::named(&missing.hostname, &missing.id);
            let since = missing
                .since
                .map(|since| format!(", since {}", context.time(since)));
            lines.push(format!(
                "  {host}: {}{}",
                output::in_line(&missing.why),
                since.unwrap_or_default()
            ));
            if let Some(command) = &missing.command {
                lines.push(format!("    if it is gone for good: {command}"));
            }
        }
    }
    lines.join("\n")
}
