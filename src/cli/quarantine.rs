//! `pointsman quarantine`.

use jiff::Timestamp;

use super::{
    Context, Failure, output,
    pause::{person, sentence},
    table::{cells, table, trimmed},
};
use crate::{
    node,
    semaphore::records::{Image, Quarantine},
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
        #[arg(value_name = "IMAGE|VERSION", value_parser = image)]
        what: Image,
    },
}

/// An image by its content, or by its version.
fn image(text: &str) -> Result<Image, String> {
    if let Some(digest) = text.strip_prefix("sha256:") {
        let hex = digest.len() == 64
            && digest
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        return if hex {
            Ok(Image {
                image: Some(text.to_owned()),
                version: None,
            })
        } else {
            Err("expected sha256: and 64 hex digits in lower case".into())
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

/// Does it.
///
/// # Errors
/// When etcd cannot be reached.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
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
                "is quarantined. A node that has committed to its reboot still goes."
            } else {
                "was quarantined already, and stays so for the reason given then: see pointsman quarantine."
            };
            output::say(format!("{what} {done}"))
        }
        Some(Command::Clear { what }) => {
            let cleared = semaphore.clear_quarantine(what).await?;
            if cleared.is_empty() {
                return output::say(format!("{what} was not quarantined."));
            }
            for one in cleared {
                output::say(format!(
                    "{} is not quarantined any more (it was: {}).",
                    one.what, one.reason
                ))?;
            }
            Ok(())
        }
    }
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

    #[test]
    fn an_image_is_told_from_a_version() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(image(&digest).unwrap().image, Some(digest));
        assert_eq!(image("4081.2.0").unwrap().version, Some("4081.2.0".into()));
        for bad in ["", "sha256:12", "a b", "a/b", "sha256:"] {
            assert!(image(bad).is_err(), "{bad}");
        }
    }
}
