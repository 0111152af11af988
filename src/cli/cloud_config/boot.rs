//! `apply --at-boot`: the document of the boot, else the last one that worked; and the result for people.

use cloud_config::{
    UserDataError,
    apply::{self, Machine, Outline},
    boot::{Ending, LastGood, Outcome, Whose},
    sources::{Fetched, NoSource, Source, Unavailable},
};
use host::{
    node::{self, Root},
    time,
};
use tokio::signal::unix::{SignalKind, signal};

use super::{ApplyArgs, request::ApplyRequest};
use crate::cli::{Exit, Failure, common::CommonArgs, output};

pub(super) async fn apply(args: &ApplyArgs, common: &CommonArgs) -> Result<(), Failure> {
    let root = common.root();
    let sources = &args.sources;
    let wanted =
        |fetched: Fetched| ApplyRequest::at_boot(fetched, &args.addresses).strict(args.strict);
    // systemd sends SIGTERM at the unit's TimeoutStartSec=. From here on it ends the wait, not the process.
    let mut terminated = signal(SignalKind::terminate())
        .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let answer = tokio::select! {
        answer = sources.ask(common) => answer?,
        _ = terminated.recv() => {
            let failure = Failure::new(Exit::Terminated, "terminated before any source was available");
            return Err(fall_back(failure, None, wanted, &root, Whose::Machine).await);
        }
    };
    match answer {
        Ok(fetched) if cloud_config::is_for_ignition(&fetched.user_data) => {
            let text = format!("{}: {}", fetched.origin, UserDataError::Ignition);
            missed(Missed::NotForUs, text, &root, wanted).await
        }
        Ok(fetched) if lost_its_document(&fetched, &root) => {
            let text = format!(
                "{} has no document now, and had one before; an empty document is `#cloud-config`",
                fetched.origin
            );
            missed(Missed::Away(Exit::Failed), text, &root, wanted).await
        }
        Ok(fetched) => {
            if let Err(error) = cloud_config::boot::found(&root) {
                output::note(format!(
                    "pointsman: cannot record that the source is available: {error}"
                ));
            }
            // Only for the new document: when the last one is applied instead, the time to wait is over.
            let fresh = wanted(fetched).waiting(sources.wait());
            carry_out(fresh, wanted, &root).await
        }
        Err(none) if !none.may_return() => {
            Err(fall_back(none.into(), None, wanted, &root, Whose::Machine).await)
        }
        Err(none) if !none.none_here() => {
            let failure = Failure::from(none);
            missed(Missed::Away(failure.exit), failure.in_line(), &root, wanted).await
        }
        Err(none) => match LastGood::read(&root, Whose::Machine) {
            Ok(last)
                if !last
                    .as_ref()
                    .is_some_and(|last| names(&none, &last.fetched.origin)) =>
            {
                output::note(format!("pointsman: nothing to apply: {none}"));
                Ok(())
            }
            // What the last document wrote under /run is gone since the last boot, so it is applied again.
            _ => {
                let text = format!("the source of the last document is not available: {none}");
                missed(Missed::Away(Exit::Failed), text, &root, wanted).await
            }
        },
    }
}

/// Why there is no document for this program in this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missed {
    /// The user data is another program's.
    NotForUs,
    /// The source is not available; the exit code of a command that asks for it.
    Away(Exit),
}

/// Keeps the last document that worked. A source that is not available in one boot, or has user data for another
/// program, is a warning. It is a failure if the source stays unavailable, or if the last document
/// cannot be read.
async fn missed(
    why: Missed,
    text: String,
    root: &Root,
    wanted: impl Fn(Fetched) -> ApplyRequest,
) -> Result<(), Failure> {
    let exit = match why {
        Missed::NotForUs => Exit::Failed,
        Missed::Away(exit) => exit,
    };
    let failure = Failure::new(exit, text);
    let last = match LastGood::read(root, Whose::Machine) {
        Ok(last) => last,
        Err(spoilt) => {
            let message = format!(
                "{}\nthe last document that worked cannot be used either: {spoilt}",
                failure.in_line()
            );
            note(&Outcome::now("", Ending::Failed, &message), root, false);
            return Err(Failure::new(failure.exit, message));
        }
    };
    if last.is_none() && why == Missed::NotForUs {
        output::note(format!(
            "pointsman: nothing to apply: {}",
            failure.in_line()
        ));
        return Ok(());
    }
    let for_one_boot = why == Missed::NotForUs || cloud_config::boot::miss(root).unwrap_or(false);
    let (ending, failure) = last_good(failure, None, wanted, root, (Whose::Machine, false)).await;
    match ending {
        Ending::Kept if for_one_boot => {
            output::note(format!("pointsman: warning: {}", failure.in_line()));
            Ok(())
        }
        _ => Err(failure),
    }
}

/// Tells whether a platform that gave the last document, or may have, now gives metadata only.
fn lost_its_document(fetched: &Fetched, root: &Root) -> bool {
    let blank = |fetched: &Fetched| fetched.user_data.trim_ascii().is_empty();
    if !blank(fetched) {
        return false;
    }
    match LastGood::read(root, Whose::Machine) {
        Ok(None) => false,
        Ok(Some(last)) => last.fetched.origin == fetched.origin && !blank(&last.fetched),
        Err(_) => true,
    }
}

/// Tells whether one of these sources gave the last document that worked. A command line that names none now was changed
/// by somebody.
fn names(none: &NoSource, origin: &str) -> bool {
    let named = |(name, _): &(String, Unavailable)| *name == origin;
    origin != Source::Cmdline.to_string() && none.reasons.iter().any(named)
}

/// Applies a document and keeps it for the next boot; if that fails, applies the last one that worked.
pub(in crate::cli) async fn carry_out(
    wanted: ApplyRequest,
    again: impl Fn(Fetched) -> ApplyRequest,
    root: &Root,
) -> Result<(), Failure> {
    let fetched = wanted.fetched.clone();
    // Documents that add up have a last document for each source, separate from that of the units.
    let whose = match wanted.adds {
        true => Whose::Source(&fetched.origin),
        false => Whose::Machine,
    };
    let found = whose == Whose::Machine;
    match wanted.carry_out(root).await {
        Ok(outline) => {
            if let Err(error) = LastGood::save(root, whose, &fetched) {
                output::note(format!(
                    "pointsman: cannot keep the document for the next boot: {error}"
                ));
            }
            note_success(&fetched.origin, &outline, root, found);
            output::print(&apply::print(&outline, false))?;
            for failed in &outline.failed {
                output::note(format!("pointsman: {failed}"));
            }
            Machine::open(root)?.end_boot(&outline).await?;
            match outline.fatal {
                true => Err(Failure::new(
                    Exit::Failed,
                    "some commands to units were not carried out",
                )),
                false => Ok(()),
            }
        }
        // Nothing is wrong with the document: another apply is running.
        Err(failure) if failure.exit == Exit::Refused => {
            let outcome = Outcome::now(&fetched.origin, Ending::Failed, failure.in_line());
            note(&outcome, root, false);
            Err(failure)
        }
        Err(failure) => Err(fall_back(failure, Some(&fetched), again, root, whose).await),
    }
}

/// Applies the last document that worked, unless it is the one that failed. Returns the failure to end with.
pub(in crate::cli) async fn fall_back(
    failure: Failure,
    tried: Option<&Fetched>,
    wanted: impl Fn(Fetched) -> ApplyRequest,
    root: &Root,
    whose: Whose<'_>,
) -> Failure {
    let found = whose == Whose::Machine;
    last_good(failure, tried, wanted, root, (whose, found))
        .await
        .1
}

/// Applies the last document that worked, and returns the result. If no document was found, one may still be found on a slow drive.
async fn last_good(
    failure: Failure,
    tried: Option<&Fetched>,
    wanted: impl Fn(Fetched) -> ApplyRequest,
    root: &Root,
    (whose, found): (Whose<'_>, bool),
) -> (Ending, Failure) {
    let same = |one: &Fetched, other: &Fetched| {
        one.user_data == other.user_data && one.metadata == other.metadata
    };
    let last = LastGood::load(root, whose)
        .filter(|last| tried.is_none_or(|tried| !same(tried, &last.fetched)));
    let Some(last) = last else {
        let origin = tried.map_or("", |tried| &tried.origin);
        note(
            &Outcome::now(origin, Ending::Failed, failure.in_line()),
            root,
            found,
        );
        return (Ending::Failed, failure);
    };
    let origin = last.fetched.origin.clone();
    let (ending, more) = match wanted(last.fetched).carry_out(root).await {
        Ok(outline) => {
            // The changes of a fallback go to the log; standard output belongs to the document that failed.
            output::note_text(&apply::print(&outline, false));
            let text = format!(
                "the last document that worked is kept: {origin} of {}",
                time::shown(last.at, &node::time_zone(root))
            );
            (Ending::Kept, text)
        }
        Err(second) => {
            let text = format!(
                "the last document that worked, {origin} of {}, cannot be applied either: {}",
                time::shown(last.at, &node::time_zone(root)),
                second.in_line()
            );
            (Ending::Failed, text)
        }
    };
    note(
        &Outcome::now(&origin, ending, failure.in_line()),
        root,
        found,
    );
    let message = format!("{}\n{more}", failure.in_line());
    (ending, Failure::new(failure.exit, message))
}

/// Records that a document was applied.
pub(super) fn note_success(origin: &str, outline: &Outline, root: &Root, found: bool) {
    let ending = match outline.is_due() {
        true => Ending::Applied,
        false => Ending::Unchanged,
    };
    note(&Outcome::now(origin, ending, ""), root, found);
}

fn note(outcome: &Outcome, root: &Root, found: bool) {
    if let Err(error) = outcome.save(root, found) {
        output::note(format!(
            "pointsman: cannot record the result for `status`: {error}"
        ));
    }
}
