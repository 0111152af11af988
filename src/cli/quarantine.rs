//! `pointsman quarantine`.

use host::node;
use jiff::Timestamp;
use semaphore::records::{Image, Quarantine};
use settings::Strategy;

use super::{
    Context, Exit, Failure, output,
    pause::{person, sentence},
    table::{cells, table, trimmed},
};
use crate::agent::{
    bus::{AgentClient, ClientError},
    journal::Journal,
    machine::NOT_QUARANTINED,
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what no node may reboot into, and why.
    List {
        /// Print JSON: the list that `status --json` has.
        #[arg(long)]
        json: bool,
    },
    /// Keep every node from rebooting into this image or version.
    Add {
        /// `sha256:` and 64 hex digits, as `pointsman slots --json` shows them, or a version.
        #[arg(value_name = "IMAGE|VERSION", value_parser = image)]
        what: Image,
        /// Why; shown wherever a node waits for it.
        #[arg(long, value_parser = sentence)]
        reason: String,
    },
    /// Let nodes reboot into it again.
    Clear {
        /// The image or version; a quarantine that names both ends as a whole.
        #[arg(value_name = "IMAGE|VERSION", value_parser = listed)]
        what: Image,
        /// Also one whose name is damaged: neither an image nor a version, as `quarantine list` shows it.
        #[arg(long)]
        force: bool,
    },
}

/// An image by its content, or by its version.
fn image(text: &str) -> Result<Image, String> {
    let digest = text.split_once(':');
    if let Some((kind, digest)) = digest.filter(|(kind, _)| kind.eq_ignore_ascii_case("sha256")) {
        let hex = kind == "sha256"
            && digest.len() == 64
            && digest
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        return if hex {
            Ok(Image {
                image: Some(text.to_owned()),
                version: None,
            })
        } else {
            Err("expected sha256: and 64 hex digits in lower case, as `pointsman slots --json` shows them".into())
        };
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._+~:".contains(&b);
    if text.is_empty() || !text.bytes().all(plain) {
        return Err("expected an image, sha256:…, or a version such as 4081.2.0".into());
    }
    Ok(Image {
        image: None,
        version: Some(text.to_owned()),
    })
}

/// What `quarantine list` shows: an image or version, or the name of a damaged entry.
fn listed(text: &str) -> Result<Image, String> {
    if text.is_empty() {
        return Err("expected an image, sha256:…, or a version such as 4081.2.0".into());
    }
    Ok(image(text).unwrap_or_else(|_| {
        let damaged = Some(text.to_owned());
        match text.get(..7) {
            Some(kind) if kind.eq_ignore_ascii_case("sha256:") => Image {
                image: damaged,
                version: None,
            },
            _ => Image {
                image: None,
                version: damaged,
            },
        }
    }))
}

/// Whether an image or version is one that could be quarantined.
fn is_sound(what: &Image) -> Result<(), String> {
    let parts = [&what.image, &what.version];
    let mut parts = parts.into_iter().flatten();
    parts.try_for_each(|part| image(part).map(drop))
}

/// Refuses the name of a damaged entry without `--force`.
fn sound_or_forced(context: &Context, what: &Image, force: bool) -> Result<(), Failure> {
    match is_sound(what) {
        Err(why) if !force => Err(Failure::new(
            Exit::Usage,
            format!(
                "{}: {why}. If it is the damaged name that `quarantine list` shows: {}",
                output::in_line(&what.name()),
                context.command(&format!(
                    "quarantine clear --force {}",
                    output::word(&what.name())
                ))
            ),
        )),
        _ => Ok(()),
    }
}

/// Of a quarantine to be cleared that does not stand.
fn not_quarantined(what: &Image) -> Failure {
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
    let semaphore = context.semaphore()?;
    match &args.command {
        None => list(semaphore.read().await?.quarantine, false, context),
        Some(Command::List { json }) => list(semaphore.read().await?.quarantine, *json, context),
        Some(Command::Add { what, reason }) => {
            let quarantine = Quarantine {
                what: what.clone(),
                node: String::new(),
                hostname: person(context),
                reason: reason.clone(),
                since: Some(Timestamp::now()),
            };
            let done = if semaphore.quarantine(&quarantine).await? {
                "is quarantined. A node that has committed to its reboot still goes.".to_owned()
            } else {
                format!(
                    "was quarantined already, and stays so for the reason given then: see {}.",
                    context.command("quarantine")
                )
            };
            output::say(format!("{what} {done}"))
        }
        Some(Command::Clear { what, force }) => {
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

/// What this node has found to be bad is in its agent's journal, and binds it until it is cleared.
async fn alone(context: &Context, args: &Args) -> Result<(), Failure> {
    let client = AgentClient::connect(&context.config.root);
    match &args.command {
        None => list(of_this_node(context)?, false, context),
        Some(Command::List { json }) => list(of_this_node(context)?, *json, context),
        Some(Command::Add { what, reason }) => {
            client.await?.quarantine(what, reason).await?;
            output::say(format!("{what} is quarantined on this node."))
        }
        Some(Command::Clear { what, force }) => {
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
        .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
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
    let zone = node::time_zone(&context.config.root);
    let mut shown = table(&["VERSION", "IMAGE", "FOUND BY", "SINCE", "WHY"]);
    for one in all {
        let since = one.since.map_or("-".into(), |since| {
            since
                .to_zoned(zone.clone())
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string()
        });
        shown.add_row(cells(vec![
            one.what.version.unwrap_or_else(|| "-".into()),
            one.what.image.unwrap_or_else(|| "-".into()),
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
        assert_eq!(image(&digest).unwrap().image, Some(digest));
        assert_eq!(image("4081.2.0").unwrap().version, Some("4081.2.0".into()));
        let upper = digest_upper();
        for bad in ["", "sha256:12", "a b", "a/b", "sha256:", &upper] {
            assert!(image(bad).is_err(), "{bad}");
        }
    }
}
