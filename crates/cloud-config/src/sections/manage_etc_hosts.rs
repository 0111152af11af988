//! `manage_etc_hosts`: /etc/hosts names this node.

use crate::{
    check::Item,
    diagnostic::Level,
    report::Report,
    schema::{Form, Key},
    section::{CheckContext, PlanContext, PlanError, Section},
    steps::{NewFile, Steps},
    values::{Text, text},
};

/// Whether /etc/hosts names this node.
#[derive(Debug, Default)]
pub(crate) struct ManageEtcHosts(Option<Text>);

impl Section for ManageEtcHosts {
    const KEY: Key = Key::text(
        "manage_etc_hosts",
        Form::OneOf(&["localhost"]),
        "Write /etc/hosts with the node's name: localhost.",
    );

    fn read(item: Item) -> Self {
        Self(text(item))
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn check(&self, context: &CheckContext<'_>, report: &mut Report) {
        if let Some(hosts) = &self.0
            && !context.has_hostname
        {
            let message = "the document has no hostname: /etc/hosts gets the name that the node has at that time";
            report.add(Level::Info, hosts.span, Self::KEY.name, message);
        }
    }

    fn plan(self, context: &PlanContext<'_>, steps: &mut Steps) -> Result<(), PlanError> {
        if self.0.is_some() {
            let line = format!("127.0.0.1 {}\n", context.hostname);
            steps.write(NewFile::plain("/etc/hosts", line));
        }
        Ok(())
    }
}
