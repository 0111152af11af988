//! `ssh_authorized_keys`: who may log in as the user core.

use crate::{
    check::Item,
    report::Report,
    schema::{Form, Key, Kind},
    section::{CheckContext, PlanContext, PlanError, Section},
    steps::{NodeWide, Steps},
    values::{Text, public_keys},
};

/// Public keys of the user core, one a text.
#[derive(Debug, Default)]
pub(crate) struct SshAuthorizedKeys(Vec<Text>);

impl Section for SshAuthorizedKeys {
    const KEY: Key = Key::new(
        "ssh_authorized_keys",
        Kind::List(&Kind::Text(Form::SshKey)),
        "Public keys that may log in as the user core.",
    );

    fn read(item: Item) -> Self {
        Self(public_keys(item))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn check(&self, _context: &CheckContext<'_>, _report: &mut Report) {}

    fn describe(&self, node: &mut NodeWide) {
        node.keys_are_optional &= self.0.is_empty();
        for key in &self.0 {
            node.add_key(key.text.trim());
        }
    }

    /// Adds nothing: the keys of all documents are one list, see [`Self::describe`].
    fn plan(self, _context: &PlanContext<'_>, _steps: &mut Steps) -> Result<(), PlanError> {
        Ok(())
    }
}
