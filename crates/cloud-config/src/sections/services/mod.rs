//! Services whose keys under `coreos` become variables. `table.rs` has an entry for each.

mod check;
pub(crate) mod environment;
mod etcd_flags;
mod table;
mod update_conf;
mod variables;

use self::{
    table::{Destination, ServiceEntry},
    variables::Variable,
};
use crate::{
    check::Item,
    report::Report,
    section::PlanContext,
    steps::{NewFile, Steps, UnitTask},
    values::Fields,
};

pub(crate) use self::table::SERVICES;

/// A service and the variables that a document gives it.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) entry: &'static ServiceEntry,
    pub(crate) variables: Vec<Variable>,
}

impl Service {
    /// Reads what fitted a key of the section `coreos`; none where the key is no service's.
    pub(crate) fn read(key: &str, item: Item) -> Option<Self> {
        let entry = SERVICES.iter().find(|entry| entry.key == key)?;
        let variables = variables::read(&entry.keys, Fields::of(item));
        Some(Self { entry, variables })
    }

    /// Its index in the table.
    pub(crate) fn order(&self) -> Option<usize> {
        let this = self.entry.key;
        SERVICES.iter().position(|entry| entry.key == this)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.variables.is_empty()
    }

    pub(crate) fn check(&self, report: &mut Report) {
        check::check(self.entry, &self.variables, report);
    }

    /// Adds the steps that write its variables.
    pub(crate) fn plan(self, context: &PlanContext<'_>, steps: &mut Steps) {
        let Self { entry, variables } = self;
        if variables.is_empty() {
            return;
        }
        let secret = environment::holds_secret(&variables);
        match entry.destination {
            Destination::DropIn(unit) => steps.unit(UnitTask {
                name: unit.to_owned(),
                runtime: true,
                drop_ins: vec![(
                    "20-cloudinit.conf".to_owned(),
                    environment::drop_in(&variables),
                )],
                secret,
                ..UnitTask::default()
            }),
            Destination::EnvironmentFile(path) => {
                let text = environment::file(&variables);
                steps.write(NewFile::plain(path, text).secret(secret));
            }
            Destination::UpdateConf => update_conf::plan(&variables, context, steps),
        }
    }
}
