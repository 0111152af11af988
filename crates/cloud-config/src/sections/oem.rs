//! `coreos.oem`: who made the image, in /etc/oem-release.

use super::services::environment::shell_escape;
use crate::{
    check::Item,
    report::Report,
    schema::{Form, Key, Kind, Mapping},
    section::{CheckContext, PlanContext, PlanError, Section},
    steps::{NewFile, Steps},
    values::{Fields, Text},
};

/// Who made the image.
#[derive(Debug, Default)]
pub(crate) struct Oem {
    id: Option<Text>,
    name: Option<Text>,
    pub(crate) version_id: Option<Text>,
    home_url: Option<Text>,
    bug_report_url: Option<Text>,
}

const OEM: Mapping = Mapping::of(&[
    Key::text(
        "id",
        Form::Line,
        "Short name; without it nothing is written.",
    ),
    Key::text("name", Form::Line, "Name for people."),
    Key::text("version_id", Form::Line, "Version."),
    Key::text("home_url", Form::Line, "Where to read more."),
    Key::text("bug_report_url", Form::Line, "Where to report bugs."),
]);

impl Section for Oem {
    const KEY: Key = Key::new(
        "oem",
        Kind::Mapping(&OEM),
        "Who made the image (/etc/oem-release).",
    );

    fn read(item: Item) -> Self {
        let mut fields = Fields::of(item);
        Self {
            id: fields.text("id"),
            name: fields.text("name"),
            version_id: fields.text("version_id"),
            home_url: fields.text("home_url"),
            bug_report_url: fields.text("bug_report_url"),
        }
    }

    /// Without an id nothing is written.
    fn is_empty(&self) -> bool {
        self.id.is_none()
    }

    fn check(&self, _context: &CheckContext<'_>, _report: &mut Report) {}

    fn plan(self, _context: &PlanContext<'_>, steps: &mut Steps) -> Result<(), PlanError> {
        if let Some(text) = self.release() {
            steps.write(NewFile::plain("/etc/oem-release", text));
        }
        Ok(())
    }
}

impl Oem {
    /// The text of /etc/oem-release, as os-release(5) is written; none without an id.
    fn release(&self) -> Option<String> {
        let text = |text: &Option<Text>| text.as_ref().map_or("", |text| &text.text).to_owned();
        let id = text(&self.id);
        (!id.is_empty()).then(|| {
            let quoted = |given| shell_escape(&text(given));
            format!(
                "ID={id}\nVERSION_ID={}\nNAME=\"{}\"\nHOME_URL=\"{}\"\nBUG_REPORT_URL=\"{}\"\n",
                text(&self.version_id),
                quoted(&self.name),
                quoted(&self.home_url),
                quoted(&self.bug_report_url),
            )
        })
    }
}
