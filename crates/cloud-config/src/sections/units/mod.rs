//! `coreos.units`: units of systemd and of its networkd.

mod check;
mod directives;
mod text;
mod unit;
mod verify;

use self::unit::{UNIT, Unit};
use crate::{
    check::Item,
    report::Report,
    schema::{Key, Kind},
    section::{CheckContext, PlanContext, PlanError, Section},
    steps::{Steps, UnitTask},
    values::items,
};

/// The units, in the order of the document.
#[derive(Debug, Default)]
pub(crate) struct Units(pub(crate) Vec<Unit>);

impl Section for Units {
    const KEY: Key = Key::new(
        "units",
        Kind::List(&Kind::Mapping(&UNIT)),
        "Units of systemd, and of its networkd.",
    );

    fn read(item: Item) -> Self {
        Self(items(item).map(Unit::read).collect())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn check(&self, context: &CheckContext<'_>, report: &mut Report) {
        check::check(&self.0, context.source, report);
    }

    fn plan(self, _context: &PlanContext<'_>, steps: &mut Steps) -> Result<(), PlanError> {
        for task in self.0.into_iter().filter_map(task) {
            steps.unit(task);
        }
        Ok(())
    }
}

fn task(unit: Unit) -> Option<UnitTask> {
    let network = unit.is_network();
    let whole = !unit.is_drop_in;
    let drop_ins = unit.drop_ins.into_iter().filter_map(|drop_in| {
        // Without content it changes nothing.
        Some((drop_in.name?.text, drop_in.content?.text))
    });
    Some(UnitTask {
        network,
        runtime: unit.runtime,
        mask: unit.mask && whole,
        enable: unit.enable && whole,
        content: unit.content.map(|content| content.text),
        drop_ins: drop_ins.collect(),
        secret: false,
        command: unit
            .command
            .map(|command| command.text)
            .filter(|text| !text.is_empty() && whole),
        name: unit.name?.text,
    })
}
