//! The gate of the group's policy: it can be used, and its reboot windows are open.

use std::{fmt, time::Duration};

use host::{duration, time};
use jiff::Zoned;
use windows::{Start, WindowSpec, Windows};

use super::{Closed, ClosedBy, Gate};
use crate::{
    policy::Policy,
    stored::{Found, KeyRange},
};

/// A moment at which a node asks whether its reboot may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// The node's own windows, with its id for random delays: those of the policy must be open as well.
    pub own: Windows,
    /// How long the node's reboots usually take; none: not known, or it does not matter any more.
    pub usual: Option<Duration>,
    /// The time. Windows without a zone are in its zone.
    pub now: Zoned,
}

impl Moment {
    /// Whether a reboot may start now, by these windows of a policy together with the node's own; none where the policy has none.
    #[must_use]
    pub fn decide(&self, policy: &[WindowSpec]) -> Option<Start> {
        // What was read as a policy has only windows that are valid.
        let policy = Windows::of(None, policy).ok()?;
        let both = || self.own.clone().and(policy.clone());
        (!policy.is_empty()).then(|| windows::decide(&both(), self.usual, &self.now))
    }

    /// What keeps the node from its reboot now, by the windows of a policy.
    #[must_use]
    pub fn closed(&self, policy: &[WindowSpec]) -> Option<ClosedWindow> {
        let start = self.decide(policy)?;
        (!matches!(start, Start::Open { .. })).then(|| ClosedWindow {
            start,
            usual: self.usual,
            own: !self.own.is_empty(),
        })
    }
}

/// The reboot windows of a policy that are closed, or too short for the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedWindow {
    /// When they open.
    pub start: Start,
    /// How long the node's reboots usually take.
    pub usual: Option<Duration>,
    /// Whether the node has windows of its own, which must be open as well.
    pub own: bool,
}

impl fmt::Display for ClosedWindow {
    /// As a sentence for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |at: &Zoned| time::shown(at.timestamp(), at.time_zone());
        match (&self.start, self.own) {
            (Start::Closed { opens: Some(opens) }, false) => write!(
                f,
                "outside the reboot window of the group's policy; it opens {}",
                shown(opens)
            ),
            (Start::Closed { opens: None }, false) => f.write_str(
                "outside the reboot window of the group's policy, and none is to come",
            ),
            (Start::Closed { opens: Some(opens) }, true) => write!(
                f,
                "the reboot windows of this node and of the group's policy are not both open; they are from {}",
                shown(opens)
            ),
            (Start::Closed { opens: None }, true) => f.write_str(
                "the reboot windows of this node and of the group's policy are not both open, and as far as is known they \
                 never are",
            ),
            (Start::TooShort { closes, opens }, _) => write!(
                f,
                "a reboot of this node takes {}, and the reboot window of the group's policy closes {}; waiting for the \
                 one that opens {}",
                duration::print(self.usual.unwrap_or_default()),
                shown(closes),
                shown(opens)
            ),
            (Start::Open { .. }, _) => f.write_str("the reboot window of the group's policy is open"),
        }
    }
}

/// The group's policy: where it cannot be read, or its windows are closed.
pub(super) struct PolicyGate {
    key: String,
    /// None where nobody reboots.
    moment: Option<Moment>,
}

impl PolicyGate {
    pub(super) fn new(key: String, moment: Option<&Moment>) -> Self {
        Self {
            key,
            moment: moment.cloned(),
        }
    }
}

impl Gate for PolicyGate {
    fn keys(&self) -> Vec<KeyRange> {
        vec![KeyRange::One(self.key.clone())]
    }

    fn closed(&self, found: &[Vec<Found>], _accepted: i64) -> Option<Closed> {
        let found = found[0].first()?;
        let by = match Policy::parse(&found.stored.value) {
            Err(error) => ClosedBy::Policy(error),
            Ok(policy) => ClosedBy::Window(self.moment.as_ref()?.closed(&policy.windows)?),
        };
        Some(Closed {
            key: found.key.clone(),
            by,
        })
    }
}
