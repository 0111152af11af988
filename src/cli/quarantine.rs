//! `pointsman quarantine`.

use host::node;
use jiff::Timestamp;
use semaphore::records::{ImageId, Quarantine};
use settings::Strategy;

use super::{
    Context, Exit, Failure,
    common::{JsonArgs, ReasonArgs},
    output,
    pause::{person, sentence},
    table::{cells, table, trimmed},
};
use crate::agent::{
    bus::{AgentClient, ClientError},
    failure::NOT_QUARANTINED,
    journal::Journal,
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what is quarantined, and why.
    List {
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Quarantine an image or version: no node reboots into it.
    Add {
        /// An image (sha256: and 64 hex digits, as `pointsman slots --json` shows it), or a version.
        #[arg(value_name = "IMAGE|VERSION", value_parser = image)]
        what: ImageId,
        /// The reason, which is shown wherever a node waits because of the quarantine.
        #[arg(long, value_parser = sentence)]
        reason: String,
    },
    /// End a quarantine: nodes may reboot into the image or version again.
    Clear {
        /// The image or version. If the quarantine names both, one of them is enough.
        #[arg(value_name = "IMAGE|VERSION", value_parser = listed)]
        what: ImageId,
        /// Clear an entry with a damaged name, which is neither an image nor a version. `quarantine list` shows it.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        reason: ReasonArgs,
    },
}

/// An image by its content, or by its version.
pub(super) fn image(text: &str) -> Result<ImageId, String> {
    let digest = text.split_once(':');
    if let Some((kind, digest)) = digest.filter(|(kind, _)| kind.eq_ignore_ascii_case("sha256")) {
        let hex = kind == "sha256"
            && digest.len() == 64
            && digest
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        return if hex {
            Ok(ImageId {
                digest: Some(text.to_owned()),
                version: None,
            })
        } else {
            Err("expected sha256: and 64 hex digits in lower case, as `pointsman slots --json` shows it".into())
        };
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._+~:".contains(&b);
    if text.is_empty() || !text.bytes().all(plain) {
        return Err("expected an image, sha256:…, or a version such as 4081.2.0".into());
    }
    Ok(ImageId {
        digest: None,
        version: Some(text.to_owned()),
    })
}

/// What `quarantine list` shows: an image or version, or the name of a damaged entry.
fn listed(text: &str) -> Result<ImageId, String> {
    if text.is_empty() {
        return Err("expected an image, sha256:…, or a version such as 4081.2.0".into());
    }
    Ok(image(text).unwrap_or_else(|_| {
        let damaged = Some(text.to_owned());
        match text.get(..7) {
            Some(kind) if kind.eq_ignore_ascii_case("sha256:") => ImageId {
                digest: damaged,
                version: None,
            },
            _ => ImageId {
                digest: None,
                version: damaged,
            },
        }
    }))
}

/// Whether an image or version is one that could be quarantined.
fn is_sound(what: &ImageId) -> Result<(), String> {
    let parts = [&what.digest, &what.version];
    let mut parts = parts.into_iter().flatten();
    parts.try_for_each(|part| image(part).map(drop))
}

/// Refuses the name of a damaged entry without `--force`.
fn sound_or_forced(context: &Context, what: &ImageId, force: bool) -> Result<(), Failure> {
    match is_sound(what) {
        Err(why) if !force => Err(Failure::new(
            Exit::Usage,
            format!("{}: {why}", output::in_line(&what.name())),
        )
        .remedy(
            "clear a damaged name that `quarantine list` shows",
            context.command(&format!(
                "quarantine clear --force {}",
                output::word(&what.name())
            )),
        )),
        _ => Ok(()),
    }
}

/// Of a quarantine to be cleared that does not stand.
fn not_quarantined(what: &ImageId) -> Failure {
    Failure::new(
        Exit::Nothing,
        format!("{} was not quarantined.", output::in_line(&what.name())),
    )
}

/// Does it: in etcd for all nodes, or, on a node that asks nobody, for that node alone.
///
/// # Errors
/// When etcd cannot be reached, or the agent of a node that asks nobody refuses.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    context.strategy_is_certain()?;
    if context.config.strategy == Strategy::EtcdLock {
        in_the_cluster(context, args).await
    } else {
        alone(context, args).await
    }
}

async fn in_the_cluster(context: &Context, args: &Args) -> Result<(), Failure> {
    if let Some(Command::Clear { reason, .. }) = &args.command {
        context.because(reason);
    }
    let semaphore = context.semaphore()?;
    match &args.command {
        None => list(semaphore.read_holders().await?.quarantine, false, context),
        Some(Command::List { json }) => list(
            semaphore.read_holders().await?.quarantine,
            json.json,
            context,
        ),
        Some(Command::Add { what, reason }) => {
            let quarantine = Quarantine {
                what: what.clone(),
                node: String::new(),
                hostname: person(context),
                reason: reason.clone(),
                since: Some(Timestamp::now()),
            };
            let done = if semaphore.quarantine(&quarantine).await? {
                "is quarantined. A node that is already rebooting is not stopped.".to_owned()
            } else {
                format!(
                    "is already quarantined, with the reason given then. To see it: {}",
                    context.command("quarantine")
                )
            };
            output::say(format!("{what} {done}"))
        }
        Some(Command::Clear { what, force, .. }) => {
            sound_or_forced(context, what, *force)?;
            let cleared = semaphore.clear_quarantine(what).await?;
            if cleared.is_empty() {
                return Err(not_quarantined(what));
            }
            for one in cleared {
                output::say(format!(
                    "{} is not quarantined any more (it was: {}).",
                    output::in_line(&one.what.to_string()),
                    output::in_line(&one.reason)
                ))?;
            }
            Ok(())
        }
    }
}

/// What this node has quarantined itself is in its agent's journal, and binds it until it is cleared.
async fn alone(context: &Context, args: &Args) -> Result<(), Failure> {
    let client = AgentClient::connect(&context.config.root);
    match &args.command {
        None => list(of_this_node(context)?, false, context),
        Some(Command::List { json }) => list(of_this_node(context)?, json.json, context),
        Some(Command::Add { what, reason }) => {
            client.await?.quarantine(what, reason).await?;
            output::say(format!("{what} is quarantined on this node."))
        }
        Some(Command::Clear { what, force, .. }) => {
            sound_or_forced(context, what, *force)?;
            match client.await?.clear_quarantine(what).await {
                Err(ClientError::Refused(why)) if why == NOT_QUARANTINED => {
                    Err(not_quarantined(what))
                }
                Err(error) => Err(error.into()),
                Ok(()) => output::say(format!("{what} is not quarantined any more.")),
            }
        }
    }
}

fn of_this_node(context: &Context) -> Result<Vec<Quarantine>, Failure> {
    let root = &context.config.root;
    let journal = Journal::load(&Journal::path(root))
        .map_err(|error| Failure::of_journal(Exit::Failed, &error))?;
    let (node, hostname) = (
        node::machine_id(root).unwrap_or_default(),
        node::hostname(root),
    );
    let quarantined = journal.quarantined.into_iter();
    let shown = quarantined.map(|quarantined| Quarantine {
        what: quarantined.what,
        node: node.clone(),
        hostname: hostname.clone(),
        reason: quarantined.reason,
        since: None,
    });
    Ok(shown.collect())
}

fn list(all: Vec<Quarantine>, json: bool, context: &Context) -> Result<(), Failure> {
    if json {
        return output::json(&all);
    }
    if all.is_empty() {
        return output::say("Nothing is quarantined.");
    }
    let mut shown = table(&["VERSION", "IMAGE", "FOUND BY", "SINCE", "REASON"]);
    for one in all {
        let since = one.since.map_or("-".into(), |since| context.time(since));
        shown.add_row(cells(vec![
            one.what.version.unwrap_or_else(|| "-".into()),
            one.what.digest.unwrap_or_else(|| "-".into()),
            one.hostname,
            since,
            one.reason,
        ]));
    }
    output::say(trimmed(&shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_upper() -> String {
        format!("SHA256:{}", "0A".repeat(32))
    }

    #[test]
    fn an_image_is_told_from_a_version() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(image(&digest).unwrap().digest, Some(digest));
        assert_eq!(image("4081.2.0").unwrap().version, Some("4081.2.0".into()));
        let upper = digest_upper();
        for bad in ["", "sha256:12", "a b", "a/b", "sha256:", &upper] {
            assert!(image(bad).is_err(), "{bad}");
        }
    }
}
