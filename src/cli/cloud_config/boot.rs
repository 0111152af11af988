//! `apply --at-boot`: what a boot names, else the last document that worked, and how it went where people look.

use tokio::signal::unix::{SignalKind, signal};

use super::{ApplyArgs, apply::Wanted};
use crate::{
    cli::{Exit, Failure, common::CommonArgs, output},
    cloud_config::{
        apply::{self, Outline},
        boot::{Ending, LastGood, Outcome, Whose},
        sources::{Absent, Fetched, NoneThere, Source},
    },
    node::Root,
};

pub(super) async fn apply(args: &ApplyArgs, common: &CommonArgs) -> Result<(), Failure> {
    let root = common.root();
    let sources = &args.sources;
    let wanted = |fetched: Fetched| {
        Wanted::at_boot(fetched, &args.addresses).strict(args.strict)
    };
    // Who may wait no longer is told so by systemd, at the unit's TimeoutStartSec=; from here on a signal is no end.
    let mut terminated = signal(SignalKind::terminate())
        .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let answer = tokio::select! {
        answer = sources.ask(common) => answer?,
        _ = terminated.recv() => {
            let failure = Failure::new(Exit::Terminated, "told to end before any source was there");
            return Err(fall_back(failure, None, wanted, &root, Whose::Machine).await);
        }
    };
    match answer {
        Ok(fetched) if lost_its_document(&fetched, &root) => {
            let text = format!(
                "{} has no document now, and had one: found nothing, expected user data; one that says nothing is `#cloud-config`",
                fetched.origin
            );
            let failure = Failure::new(Exit::Failed, text);
            Err(fall_back_for_now(failure, wanted, &root).await)
        }
        Ok(fetched) => {
            // Only for the document that is there: by the time the last one's turn comes, it has been waited enough.
            let fresh = wanted(fetched).waiting(sources.wait());
            carry_out(fresh, wanted, &root).await
        }
        Err(none) if !none.none_here() => {
            Err(fall_back(none.into(), None, wanted, &root, Whose::Machine).await)
        }
        Err(none) => match was_there(&none, &root) {
            // What such a document left under /run is gone with the last boot.
            Some(origin) => {
                let text = format!("{origin} was there once and is not now: {none}");
                let failure = Failure::new(Exit::Failed, text);
                Err(fall_back_for_now(failure, wanted, &root).await)
            }
            None => {
                output::note(format!("pointsman: nothing to apply: {none}"));
                Ok(())
            }
        },
    }
}

/// Whether a platform tells of the node alone that gave the last document that worked.
fn lost_its_document(fetched: &Fetched, root: &Root) -> bool {
    let blank = |fetched: &Fetched| fetched.user_data.trim_ascii().is_empty();
    let last = || LastGood::load(root, Whose::Machine).map(|last| last.fetched);
    blank(fetched) && last().is_some_and(|last| last.origin == fetched.origin && !blank(&last))
}

/// Which of these sources gave the last document that worked. A command line that names none any more was changed by
/// somebody.
fn was_there(none: &NoneThere, root: &Root) -> Option<String> {
    let origin = LastGood::load(root, Whose::Machine)?.fetched.origin;
    if origin == Source::Cmdline.to_string() {
        return None;
    }
    let named = |(name, _): &(String, Absent)| *name == origin;
    none.reasons.iter().any(named).then_some(origin)
}

/// Applies it, and keeps it for the next boot; where that fails, the last one that worked.
pub(in crate::cli) async fn carry_out(
    wanted: Wanted,
    again: impl Fn(Fetched) -> Wanted,
    root: &Root,
) -> Result<(), Failure> {
    let fetched = wanted.fetched.clone();
    // Documents that add up are each one's own, and say nothing of the one that the units apply.
    let whose = match wanted.adds {
        true => Whose::Source(&fetched.origin),
        false => Whose::Machine,
    };
    let found = whose == Whose::Machine;
    match wanted.carry_out(root).await {
        Ok(outline) => {
            if let Err(error) = LastGood::save(root, whose, &fetched) {
                output::note(format!(
                    "pointsman: the document cannot be kept for the next boot: {error}"
                ));
            }
            note_success(&fetched.origin, &outline, root, found);
            output::print(&apply::print(&outline, false))
        }
        // Nothing is wrong with the document: somebody else is at it.
        Err(failure) if failure.exit == Exit::Refused => {
            let outcome = Outcome::now(&fetched.origin, Ending::Failed, &failure.message);
            note(&outcome, root, false);
            Err(failure)
        }
        Err(failure) => Err(fall_back(failure, Some(&fetched), again, root, whose).await),
    }
}

/// Applies the last document that worked, unless that is the one that did not now. The failure to end with.
pub(in crate::cli) async fn fall_back(
    failure: Failure,
    tried: Option<&Fetched>,
    wanted: impl Fn(Fetched) -> Wanted,
    root: &Root,
    whose: Whose<'_>,
) -> Failure {
    let found = whose == Whose::Machine;
    last_good(failure, tried, wanted, root, (whose, found)).await
}

/// As [`fall_back`], until a source appears after all: a drive that is slow.
async fn fall_back_for_now(
    failure: Failure,
    wanted: impl Fn(Fetched) -> Wanted,
    root: &Root,
) -> Failure {
    last_good(failure, None, wanted, root, (Whose::Machine, false)).await
}

async fn last_good(
    failure: Failure,
    tried: Option<&Fetched>,
    wanted: impl Fn(Fetched) -> Wanted,
    root: &Root,
    (whose, found): (Whose<'_>, bool),
) -> Failure {
    let same = |one: &Fetched, other: &Fetched| {
        one.user_data == other.user_data && one.metadata == other.metadata
    };
    let last = LastGood::load(root, whose)
        .filter(|last| tried.is_none_or(|tried| !same(tried, &last.fetched)));
    let Some(last) = last else {
        let origin = tried.map_or("", |tried| &tried.origin);
        note(
            &Outcome::now(origin, Ending::Failed, &failure.message),
            root,
            found,
        );
        return failure;
    };
    let origin = last.fetched.origin.clone();
    let (ending, more) = match wanted(last.fetched).carry_out(root).await {
        Ok(outline) => {
            // What is said of a fallback is said to the journal; what it printed was the failure's.
            output::note_text(&apply::print(&outline, false));
            let text = format!("the last that worked stays, {origin} of {:.0}", last.at);
            (Ending::Kept, text)
        }
        Err(second) => {
            let text = format!(
                "nor can the last that worked be applied, {origin} of {:.0}: {}",
                last.at, second.message
            );
            (Ending::Failed, text)
        }
    };
    note(
        &Outcome::now(&origin, ending, &failure.message),
        root,
        found,
    );
    Failure::new(failure.exit, format!("{}\n{more}", failure.message))
}

/// Tells that a document was applied.
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
            "pointsman: how it went cannot be left for `status`: {error}"
        ));
    }
}
