//! What a claim knows of its node's reboot windows and clock.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Zoned;
use windows::{WindowSpec, Windows};

use crate::gates::Moment;

/// When reboots may start on a node, beside what its group's policy says.
#[derive(Debug, Clone)]
pub struct NodeWindows {
    /// The node's own windows, with its id for random delays.
    pub own: Windows,
    /// How long its reboots usually take; none: not known.
    pub usual: Option<Duration>,
    /// The windows of the policy that the node knows of: it is told when they are others.
    pub known: Vec<WindowSpec>,
    /// The clock on its wall.
    pub clock: Clock,
}

/// Where the time comes from, in the zone of the node.
#[derive(Clone)]
pub struct Clock(pub Arc<dyn Fn() -> Zoned + Send + Sync>);

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl NodeWindows {
    /// Now, for a node that is about to take the reboot lock.
    pub(super) fn before_take(&self) -> Moment {
        Moment {
            own: self.own.clone(),
            usual: self.usual,
            now: (self.clock.0)(),
        }
    }

    /// Now, for a node that is drained: how long its reboots take does not matter any more.
    pub(super) fn before_reboot(&self) -> Moment {
        Moment {
            usual: None,
            ..self.before_take()
        }
    }
}
