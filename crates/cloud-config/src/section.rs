//! What a section of a document is.

use super::{
    check::Item,
    content::DecodeError,
    report::Report,
    schema::Key,
    steps::{NodeWide, Steps},
};

/// A section of a document.
pub(crate) trait Section: Default {
    /// Its key: the name, what it takes, and one line of help.
    const KEY: Key;

    /// Reads what fitted the key.
    fn read(item: Item) -> Self;

    /// Tells whether it asks for nothing.
    fn is_empty(&self) -> bool;

    /// Reports what contradicts itself or another section, though each value fits its key.
    fn check(&self, context: &CheckContext<'_>, report: &mut Report);

    /// Adds what the node has one of, whatever number of documents there are.
    fn describe(&self, _node: &mut NodeWide) {}

    /// Adds its steps.
    ///
    /// # Errors
    /// When a content cannot be unpacked.
    fn plan(self, context: &PlanContext<'_>, steps: &mut Steps) -> Result<(), PlanError>;
}

/// What a section is checked against.
pub(crate) struct CheckContext<'a> {
    /// The document gives a hostname.
    pub(crate) has_hostname: bool,
    /// The text that was parsed.
    pub(crate) source: &'a str,
}

/// What the steps of a section depend on.
pub(crate) struct PlanContext<'a> {
    /// The node's name, once all documents are applied.
    pub(crate) hostname: &'a str,
    /// Reads the text of a file of the machine by its absolute path; none where there is none.
    pub(crate) text: &'a dyn Fn(&str) -> Option<String>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {error}")]
pub struct PlanError {
    /// The file.
    pub path: String,
    /// Why its content cannot be unpacked.
    pub error: DecodeError,
}
