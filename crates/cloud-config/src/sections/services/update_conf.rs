//! update.conf: what the updater and the reboot manager read when they start.

use super::variables::Variable;
use crate::{
    merge::merge,
    section::PlanContext,
    steps::{NewFile, Steps, UnitTask},
};

/// Where update.conf is looked for; the first is where it is written.
const PATHS: [&str; 4] = [
    "/etc/coreos/update.conf",
    "/etc/flatcar/update.conf",
    "/usr/share/flatcar/update.conf",
    "/usr/share/coreos/update.conf",
];

/// Adds the steps that write the variables and restart the services that read them.
pub(super) fn plan(variables: &[Variable], context: &PlanContext<'_>, steps: &mut Steps) {
    let before = PATHS.iter().find_map(|path| (context.text)(path));
    let pair = |variable: &Variable| (variable.name.clone(), variable.value.clone());
    let pairs: Vec<_> = variables.iter().map(pair).collect();
    let text = merge(&before.unwrap_or_default(), &pairs);
    steps.write(NewFile::plain(PATHS[0], text));
    let strategy = variables
        .iter()
        .find(|variable| variable.key == "reboot_strategy");
    if let Some(strategy) = strategy {
        let off = strategy.value == "off";
        steps.unit(UnitTask {
            name: "locksmithd.service".into(),
            runtime: true,
            mask: off,
            command: Some(if off { "stop" } else { "restart" }.into()),
            ..UnitTask::default()
        });
    }
    if variables
        .iter()
        .any(|variable| variable.key != "reboot_strategy")
    {
        steps.unit(UnitTask {
            name: "update-engine.service".into(),
            command: Some("restart".into()),
            ..UnitTask::default()
        });
    }
}
