//! `hostname`: the node's name.

use crate::{
    check::Item,
    report::Report,
    schema::{Form, Key},
    section::{CheckContext, PlanContext, PlanError, Section},
    steps::{NodeWide, Steps},
    values::{Text, text},
};

/// The node's name.
#[derive(Debug, Default)]
pub(crate) struct Hostname(pub(crate) Option<Text>);

impl Section for Hostname {
    const KEY: Key = Key::text(
        "hostname",
        Form::Hostname,
        "The node's name, cut at the first dot.",
    );

    fn read(item: Item) -> Self {
        Self(text(item))
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn check(&self, _context: &CheckContext<'_>, _report: &mut Report) {}

    fn describe(&self, node: &mut NodeWide) {
        node.hostname = self
            .0
            .as_ref()
            .map(|name| name.text.clone())
            .or(node.hostname.take());
    }

    /// Adds nothing: the node has one name, see [`Self::describe`].
    fn plan(self, _context: &PlanContext<'_>, _steps: &mut Steps) -> Result<(), PlanError> {
        Ok(())
    }
}
