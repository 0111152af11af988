//! Which units were in trouble before a reboot: the checks of the next boot count only what is new. Pure.

use host::systemd::{Trouble, Unsettled};
use serde::{Deserialize, Serialize};

/// The units that had failed, or were still to start, in the boot before: sampled before the drain, which may stop some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// The boot in which it was taken.
    pub boot_id: String,
    /// The boot that it is for, once that has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// The units.
    #[serde(default)]
    pub units: Vec<Unsettled>,
}

impl Baseline {
    /// This baseline in the boot `this`, which the reboot that began in the boot `from` led to, perhaps over others in between:
    /// the image may have failed there. None where another reboot did than the one before which it was taken.
    #[must_use]
    pub fn for_boot(mut self, this: &str, from: Option<&str>) -> Option<Self> {
        if self.boot_id == this || self.of.as_deref() == Some(this) {
            return Some(self);
        }
        from.filter(|from| *from == self.boot_id)?;
        self.of = Some(this.to_owned());
        Some(self)
    }

    /// Whether this unit was no better then. A unit that was merely starting excuses none that fails now.
    #[must_use]
    pub fn has(&self, now: &Unsettled) -> bool {
        let no_better =
            |then: &Unsettled| then.trouble == Trouble::Failed || then.trouble == now.trouble;
        self.units
            .iter()
            .any(|then| then.unit == now.unit && no_better(then))
    }
}
