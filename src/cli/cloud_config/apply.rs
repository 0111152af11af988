//! `plan`, `apply`, `revert` and `history` of `pointsman cloud-config`.

use cloud_config::{
    apply::{self, ApplyError, End, Machine, Past},
    boot::{LastGood, Outcome, Whose},
};
use host::{
    node::{self, Root},
    time,
};

use super::{ApplyArgs, HistoryArgs, PlanArgs, RevertArgs, boot, counted, request::ApplyRequest};
use crate::cli::{Exit, Failure, common::CommonArgs, output};

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        let exit = match error {
            ApplyError::Root { .. } => Exit::Usage,
            ApplyError::Bus(_) => Exit::Unreachable,
            ApplyError::Terminated => Exit::Terminated,
            ApplyError::Busy | ApplyError::Changed(_) => Exit::Refused,
            _ => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

pub(super) async fn plan(args: &PlanArgs, common: &CommonArgs) -> Result<(), Failure> {
    let root = common.root();
    let fetched = args.sources.fetch(common).await?;
    let machine = Machine::open(&root)?.waiting(args.sources.wait());
    let mut machine = machine.of_document(&fetched.user_data);
    let request = ApplyRequest::new(fetched, &args.addresses).strict(args.strict);
    let steps = request.steps(&root, &machine)?;
    let outline = machine.outline(&steps).await?;
    if args.json {
        output::json(&outline)?;
    } else {
        output::print(&apply::print(&outline, true))?;
    }
    if outline.is_due() {
        return Err(Failure::new(Exit::Changes, ""));
    }
    Ok(())
}

pub(super) async fn apply(args: &ApplyArgs, common: &CommonArgs) -> Result<(), Failure> {
    let root = common.root();
    if args.at_boot {
        return boot::apply(args, common).await;
    }
    let fetched = args.sources.fetch(common).await?;
    let origin = fetched.origin.clone();
    // If the boot uses the same source, the document is what it falls back to. A document may be large, so it is copied only then.
    let last = LastGood::load(&root, Whose::Machine);
    let kept = last.is_some_and(|last| last.fetched.origin == origin);
    let kept = kept.then(|| fetched.clone());
    let request = ApplyRequest::new(fetched, &args.addresses)
        .waiting(args.sources.wait())
        .strict(args.strict);
    let outline = request.carry_out(&root).await?;
    if let Some(kept) = kept
        && let Err(error) = LastGood::save(&root, Whose::Machine, &kept)
    {
        output::note(format!(
            "pointsman: cannot keep the document for the next boot: {error}"
        ));
    }
    // A successful apply by hand corrects a failure at boot.
    if Outcome::load(&root).is_some_and(|outcome| !outcome.is_good()) {
        boot::note_success(&origin, &outline, &root, true);
    }
    output::print(&apply::print(&outline, false))?;
    Ok(Machine::open(&root)?.end_boot(&outline).await?)
}

pub(super) async fn revert(args: &RevertArgs, root: &Root) -> Result<(), Failure> {
    let past = Machine::open(root)?.revert(args.force).await?;
    // A reverted document must not be applied again at boot. An interrupted one was never kept.
    let from = |whose: &Whose<'_>| {
        let last = LastGood::load(root, *whose);
        past.end.is_some() && last.is_some_and(|last| last.fetched.origin == past.source)
    };
    let both = [Whose::Machine, Whose::Source(&past.source)];
    for whose in both.into_iter().filter(|whose| !past.failed && from(whose)) {
        if let Err(error) = LastGood::forget(root, whose) {
            output::note(format!(
                "pointsman: cannot forget the document that worked last: {error}"
            ));
        }
    }
    if past.failed {
        let text = format!(
            "the apply of {} ({}) is not completely reverted, and stays on record: `pointsman cloud-config revert` tries again\n\
             not reverted:\n{}",
            time::shown(past.at, &node::time_zone(root)),
            past.source,
            past.left.join("\n")
        );
        return Err(Failure::new(Exit::Failed, text));
    }
    output::say(format!(
        "reverted: the apply of {} ({})",
        time::shown(past.at, &node::time_zone(root)),
        past.source
    ))?;
    if past.left.is_empty() {
        return Ok(());
    }
    let text = format!("not reverted:\n{}", past.left.join("\n"));
    Err(Failure::new(Exit::Failed, text))
}

pub(super) fn history(args: &HistoryArgs, root: &Root) -> Result<(), Failure> {
    let past = Machine::open(root)?.history()?;
    if args.json {
        return output::json(&past);
    }
    let zone = node::time_zone(root);
    for Past {
        number,
        at,
        source,
        end,
        steps,
        left,
        ..
    } in past.iter().rev()
    {
        let end = match end {
            Some(End::Applied) => "applied",
            Some(End::Undone) => "failed and undone",
            Some(End::Reverted) => "reverted",
            None => "interrupted",
        };
        let changes = counted(*steps, "change");
        let at = time::shown(*at, &zone);
        output::say(format!("{number}  {at}  {end}, {changes}  {source}"))?;
        for left in left {
            output::say(format!("    stays: {}", output::in_line(left)))?;
        }
    }
    Ok(())
}
