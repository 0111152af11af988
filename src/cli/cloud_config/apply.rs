//! `plan`, `apply`, `revert` and `history` of `pointsman cloud-config`.

use super::{AddressArgs, ApplyArgs, HistoryArgs, PlanArgs, RevertArgs, counted};
use crate::{
    cli::{Exit, Failure, common::CommonArgs, output},
    cloud_config::{
        self, Level, PartContent, Unknown,
        apply::{self, ApplyError, End, Machine, Past},
        plan::{self, Planned, Step},
        sources::Fetched,
    },
    node::{self, Root},
};

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        let exit = match error {
            ApplyError::Root { .. } => Exit::Usage,
            ApplyError::Bus(_) => Exit::Unreachable,
            ApplyError::Busy | ApplyError::Changed(_) => Exit::Refused,
            _ => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

pub(super) async fn plan(args: &PlanArgs, common: &CommonArgs) -> Result<(), Failure> {
    let root = common.root();
    let mut machine = Machine::open(&root)?;
    let fetched = args.sources.fetch(common).await?;
    let steps = steps(fetched, &args.addresses, &root, &machine)?;
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
    let mut machine = Machine::open(&root)?;
    let fetched = args.sources.fetch(common).await?;
    let name = fetched.origin.clone();
    let steps = steps(fetched, &args.addresses, &root, &machine)?;
    let outline = machine.apply(&steps, &name).await?;
    output::print(&apply::print(&outline, false))
}

pub(super) async fn revert(args: &RevertArgs, root: &Root) -> Result<(), Failure> {
    let past = Machine::open(root)?.revert(args.force).await?;
    output::say(format!(
        "taken back: the apply of {} ({})",
        past.at, past.source
    ))?;
    if past.left.is_empty() {
        return Ok(());
    }
    let text = format!("not taken back:\n{}", past.left.join("\n"));
    Err(Failure::new(Exit::Failed, text))
}

pub(super) fn history(args: &HistoryArgs, root: &Root) -> Result<(), Failure> {
    let past = Machine::open(root)?.history()?;
    if args.json {
        return output::json(&past);
    }
    for Past {
        number,
        at,
        source,
        end,
        steps,
        ..
    } in past.iter().rev()
    {
        let end = match end {
            Some(End::Applied) => "applied",
            Some(End::Undone) => "failed and undone",
            Some(End::Reverted) => "reverted",
            None => "cut off",
        };
        let changes = counted(*steps, "change");
        output::say(format!("{number}  {at}  {end}, {changes}  {source}"))?;
    }
    Ok(())
}

/// The steps that user data amounts to on this machine.
fn steps(
    fetched: Fetched,
    addresses: &AddressArgs,
    root: &Root,
    machine: &Machine,
) -> Result<Vec<Step>, Failure> {
    let name = fetched.origin;
    let failed = |text: String| Failure::new(Exit::Failed, text);
    let addresses = addresses.addresses(fetched.metadata.addresses);
    let parts = cloud_config::parts(fetched.user_data)
        .map_err(|error| failed(format!("{name}: {error}")))?;
    let (mut planned, mut wrong) = (Vec::new(), 0);
    for part in parts {
        let text = match part.content {
            PartContent::Script(script) => {
                planned.push(Planned::Script(script));
                continue;
            }
            PartContent::CloudConfig(text) => text,
        };
        let mut reading = cloud_config::read(&text, &addresses, Unknown::Error);
        // What works, though perhaps not as meant, is for `validate` to say.
        reading
            .findings
            .retain(|finding| finding.level == Level::Error);
        for finding in &mut reading.findings {
            finding.line += part.lines_before;
        }
        wrong += reading.findings.len();
        let shown = match &part.name {
            Some(part) => format!("{name} ({part})"),
            None => name.clone(),
        };
        output::note_text(&cloud_config::print(
            &reading.findings,
            &shown,
            &text,
            part.lines_before,
        ));
        planned.push(Planned::Document(Box::new(reading.document)));
    }
    if wrong > 0 {
        return Err(failed(format!(
            "{name}: {}; nothing is done",
            counted(wrong, "error")
        )));
    }
    let hostname = node::hostname(root);
    let known = plan::Machine {
        addresses: &addresses,
        hostname: &hostname,
        text: &|path| machine.text(path),
    };
    plan::plan(planned, &known).map_err(|error| failed(format!("{name}: {error}")))
}
