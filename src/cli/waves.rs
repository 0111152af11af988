//! `pointsman waves`: how far each image has come in each group, and which groups it is open to.

pub(super) mod gather;

use std::collections::BTreeMap;

use host::{duration, node::Group};
use jiff::Timestamp;
use semaphore::{
    etcd::{Rollout, Semaphore},
    records::ImageId,
    rollout,
    waves::Wave,
};

use self::gather::{GroupShown, after};
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
    show: ShowArgs,
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct ShowArgs {
    /// All nodes that have not proven an image, not only the first 20.
    #[arg(long, conflicts_with = "json")]
    all: bool,
    #[command(flatten)]
    json: JsonArgs,
}

/// How many nodes are shown that have not proven an image: in a group that has just begun, these are all.
pub(super) const SHOWN: usize = 20;

impl Args {
    /// Whether the group matters: all are shown, and an image is opened after one.
    pub(super) fn is_about_one_group(&self) -> bool {
        matches!(self.command, Some(Command::Open(_)))
    }
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show for each group and image which nodes have not proven it yet, and why.
    Show(ShowArgs),
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
        None => show(context, &semaphore, args.show).await,
        Some(Command::Show(args)) => show(context, &semaphore, *args).await,
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
    let is_known = !digests.is_empty();
    semaphore.open_wave_by_hand(&digest, &wave).await?;
    if !is_known {
        output::note(format!(
            "warning: no node runs {digest} or waits for it yet. If the digest is wrong, this opens nothing"
        ));
    }
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

async fn show(context: &Context, semaphore: &Semaphore, args: ShowArgs) -> Result<(), Failure> {
    let shown = gathered(context, semaphore).await?;
    if args.json.json {
        return output::json(&shown);
    }
    if shown.is_empty() {
        return output::say("No group comes after another one: no policy has --after.");
    }
    output::say(texts(
        context,
        &shown,
        if args.all { usize::MAX } else { SHOWN },
    ))
}

/// The groups that open waves or wait for them, as people read them; empty where none does.
///
/// # Errors
/// When etcd cannot be asked.
pub(super) async fn read(context: &Context, semaphore: &Semaphore) -> Result<String, Failure> {
    Ok(texts(context, &gathered(context, semaphore).await?, SHOWN))
}

async fn gathered(context: &Context, semaphore: &Semaphore) -> Result<Vec<GroupShown>, Failure> {
    let command = |group: &Group, words: &str| context.command_in(group, words);
    Ok(gather::groups(semaphore, &command).await?)
}

fn texts(context: &Context, shown: &[GroupShown], nodes: usize) -> String {
    let texts = shown.iter().map(|group| text(context, group, nodes));
    let texts: Vec<String> = texts.collect();
    texts.join("\n\n")
}

fn text(context: &Context, shown: &GroupShown, nodes: usize) -> String {
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
        for missing in image.missing.iter().take(nodes) {
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
        if let more @ 1.. = image.missing.len().saturating_sub(nodes) {
            lines.push(format!("  {more} more. To see them: pointsman waves --all"));
        }
    }
    lines.join("\n")
}
