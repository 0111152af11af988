//! The result of earlier looks of the same apply.

use std::collections::BTreeSet;

use super::act::Act;

/// The result of the looks before this one in the same apply.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    /// The paths that were named.
    pub(super) wanted: BTreeSet<String>,
    /// Which files and links were changed: any, those of units, those of networkd.
    pub(super) files: bool,
    pub(super) units: bool,
    pub(super) network: bool,
    /// A script has run.
    pub(super) script: bool,
    /// Users whose keys somebody has disabled.
    pub(super) disabled: BTreeSet<String>,
}

impl Earlier {
    /// Adds what was done.
    pub(super) fn take(&mut self, acts: &[Act<'_>]) {
        for act in acts.iter().filter(|act| act.is_due()) {
            match act {
                Act::Put(put) => {
                    // Keys matter to no unit.
                    self.files |= !put.place.path.contains("/.ssh/authorized_keys");
                    self.units |= is_systemds(&put.place.path, "system");
                    self.network |= is_systemds(&put.place.path, "network");
                }
                Act::Script { .. } => self.script = true,
                _ => {}
            }
        }
    }
}

/// Tells whether a path is a file of systemd of this kind (`system` or `network`).
pub(super) fn is_systemds(path: &str, kind: &str) -> bool {
    let tops = ["/etc/systemd/", "/run/systemd/"];
    let rest = tops.into_iter().find_map(|top| path.strip_prefix(top));
    let rest = rest.and_then(|rest| rest.strip_prefix(kind));
    rest.is_some_and(|rest| rest.starts_with('/'))
}
