//! `apply --at-boot`: what a boot names, else the last document that worked, and how it went where people look.

use tokio::signal::unix::{SignalKind, signal};

use super::{AddressArgs, apply::Wanted};
use crate::{
    cli::{Exit, Failure, common::CommonArgs, output, sources::SourceArgs},
    cloud_config::{
        apply::{self, Outline},
        boot::{Ending, LastGood, Outcome},
        sources::{Absent, Fetched, NoneThere},
    },
    node::Root,
};

pub(super) async fn apply(
    sources: &SourceArgs,
    addresses: &AddressArgs,
    common: &CommonArgs,
) -> Result<(), Failure> {
    let root = common.root();
    let wanted = |fetched: Fetched| Wanted::at_boot(fetched, addresses);
    // Who may wait no longer is told so by systemd, at the unit's TimeoutStartSec=; from here on a signal is no end.
    let mut terminated = signal(SignalKind::terminate())
        .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let answer = tokio::select! {
        answer = sources.ask(common) => answer?,
        _ = terminated.recv() => {
            let failure = Failure::new(Exit::Terminated, "told to end before any source was there");
            return Err(fall_back(failure, None, wanted, &root).await);
        }
    };
    match answer {
        Ok(fetched) => {
            // Only for the document that is there: by the time the last one's turn comes, it has been waited enough.
            let fresh = wanted(fetched).waiting(sources.wait());
            carry_out(fresh, wanted, &root).await
        }
        Err(none) if !none.none_here() => Err(fall_back(none.into(), None, wanted, &root).await),
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

/// Which of these sources gave the last document that worked.
fn was_there(none: &NoneThere, root: &Root) -> Option<String> {
    let origin = LastGood::load(root)?.fetched.origin;
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
    match wanted.carry_out(root).await {
        Ok(outline) => {
            if let Err(error) = LastGood::save(root, &fetched) {
                output::note(format!(
                    "pointsman: the document cannot be kept for the next boot: {error}"
                ));
            }
            note_success(&fetched.origin, &outline, root);
            output::print(&apply::print(&outline, false))
        }
        Err(failure) => Err(fall_back(failure, Some(&fetched), again, root).await),
    }
}

/// Applies the last document that worked, unless that is the one that did not now. The failure to end with.
pub(in crate::cli) async fn fall_back(
    failure: Failure,
    tried: Option<&Fetched>,
    wanted: impl Fn(Fetched) -> Wanted,
    root: &Root,
) -> Failure {
    last_good(failure, tried, wanted, root, true).await
}

/// As [`fall_back`], until a source appears after all: a drive that is slow.
async fn fall_back_for_now(
    failure: Failure,
    wanted: impl Fn(Fetched) -> Wanted,
    root: &Root,
) -> Failure {
    last_good(failure, None, wanted, root, false).await
}

async fn last_good(
    failure: Failure,
    tried: Option<&Fetched>,
    wanted: impl Fn(Fetched) -> Wanted,
    root: &Root,
    found: bool,
) -> Failure {
    let last = LastGood::load(root)
        .filter(|last| tried.is_none_or(|tried| tried.user_data != last.fetched.user_data));
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
pub(super) fn note_success(origin: &str, outline: &Outline, root: &Root) {
    let ending = match outline.is_due() {
        true => Ending::Applied,
        false => Ending::Unchanged,
    };
    note(&Outcome::now(origin, ending, ""), root, true);
}

fn note(outcome: &Outcome, root: &Root, found: bool) {
    if let Err(error) = outcome.save(root, found) {
        output::note(format!(
            "pointsman: how it went cannot be left for `status`: {error}"
        ));
    }
}
