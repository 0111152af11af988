//! A transaction between a simulated node and its etcd.

use super::store::{Compare, Write};
use crate::agent::machine::Event;

/// A transaction that is on its way to etcd.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) compares: Vec<Compare>,
    pub(super) writes: Vec<Write>,
    /// What follows where it was done; else the operation looks again.
    pub(super) then: Then,
}

impl Flight {
    /// One after which the operation looks again, whether it was done or not.
    pub(super) fn new(compares: Vec<Compare>, writes: Vec<Write>) -> Self {
        Self {
            compares,
            writes,
            then: Then::Again,
        }
    }

    pub(super) fn then(self, then: Then) -> Self {
        Self { then, ..self }
    }
}

/// What follows a transaction.
#[derive(Debug, Clone)]
pub(super) enum Then {
    /// The operation looks again.
    Again,
    /// The cluster knows that the boot is being checked.
    Told,
    /// The operation has ended so.
    Ends(Event),
    /// As that, once it was seen to it that the wave of this image opens.
    Opens(String, Event),
}
