//! Telling somebody how far an apply is.

use std::{fmt, rc::Rc};

/// Where an apply is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Contents of files are fetched.
    Fetching,
    /// A change is made.
    Changing {
        /// What: its kind, and its path or name.
        what: String,
        /// How many changes are made before it.
        done: usize,
        /// How many there are.
        of: usize,
    },
}

/// Who is told; nobody, where nobody asked.
#[derive(Clone, Default)]
pub(super) struct Follower(Option<Rc<dyn Fn(Stage)>>);

impl Follower {
    pub(super) fn new(tell: Rc<dyn Fn(Stage)>) -> Self {
        Self(Some(tell))
    }

    /// The text of a stage costs something, and nobody may want it.
    pub(super) fn tell(&self, stage: impl FnOnce() -> Stage) {
        if let Some(tell) = &self.0 {
            tell(stage());
        }
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Follower").field(&self.0.is_some()).finish()
    }
}
