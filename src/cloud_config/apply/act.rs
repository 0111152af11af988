//! What is done to a machine.

use super::put::Put;

/// One thing that is done, or is as it should be.
#[derive(Debug)]
pub(super) enum Act<'a> {
    /// What is at a place changes.
    Put(Put<'a>),
}

impl Act<'_> {
    /// Whether anything is to be done.
    pub(super) fn is_due(&self) -> bool {
        match self {
            Self::Put(put) => put.is_due(),
        }
    }
}
