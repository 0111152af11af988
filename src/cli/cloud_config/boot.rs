//! `apply --at-boot`: what a boot names, else the last document that worked, and how it went where people look.

use super::{AddressArgs, apply::Wanted};
use crate::{
    cli::{Failure, common::CommonArgs, output, sources::SourceArgs},
    cloud_config::{
        apply::{self, Outline},
        boot::{Ending, LastGood, Outcome},
        sources::Fetched,
    },
    node::Root,
};

pub(super) async fn apply(
    sources: &SourceArgs,
    addresses: &AddressArgs,
    common: &CommonArgs,
) -> Result<(), Failure> {
    let root = common.root();
    let wanted = |fetched: Fetched| Wanted::new(fetched, addresses);
    match sources.ask(common).await? {
        Ok(fetched) => {
            // Only for the document that is there: by the time the last one's turn comes, it has been waited enough.
            let fresh = wanted(fetched).waiting(sources.wait());
            carry_out(fresh, wanted, &root).await
        }
        Err(none) if none.none_here() => {
            output::note(format!("pointsman: nothing to apply: {none}"));
            Ok(())
        }
        Err(none) => Err(fall_back(none.into(), None, wanted, &root).await),
    }
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
    let last = LastGood::load(root)
        .filter(|last| tried.is_none_or(|tried| tried.user_data != last.fetched.user_data));
    let Some(last) = last else {
        let origin = tried.map_or("", |tried| &tried.origin);
        note(
            &Outcome::now(origin, Ending::Failed, &failure.message),
            root,
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
    note(&Outcome::now(&origin, ending, &failure.message), root);
    Failure::new(failure.exit, format!("{}\n{more}", failure.message))
}

/// Tells that a document was applied.
pub(super) fn note_success(origin: &str, outline: &Outline, root: &Root) {
    let ending = match outline.is_due() {
        true => Ending::Applied,
        false => Ending::Unchanged,
    };
    note(&Outcome::now(origin, ending, ""), root);
}

fn note(outcome: &Outcome, root: &Root) {
    if let Err(error) = outcome.save(root) {
        output::note(format!(
            "pointsman: how it went cannot be left for `status`: {error}"
        ));
    }
}
