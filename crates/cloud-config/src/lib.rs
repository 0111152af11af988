//! cloud-config, the document that configures a node when it boots: what is in it, what is wrong with it.
//!
//! Pure, but for [`sources`], [`apply`] and [`boot`]: from text and addresses to a [`Document`] and [`Diagnostic`]s.
//!
//! - `schema`: the keys there are, as data
//! - `substitute`: `$private_ipv4` and its kin; `unknown`: those whose address is not known
//! - `userdata`: what a node is given, taken apart into documents and scripts
//! - `check`: the document walked by the tables; `document`: what is left, typed
//! - `lint`: what is wrong between its parts
//! - [`plan`]: what it does to a machine
//! - [`netconf`]: a platform's network, as units
//! - [`boot`]: the last document that worked, and how it went
//! - [`sources`]: where user data comes from

pub mod apply;
pub mod boot;
mod check;
mod content;
mod diagnostic;
mod document;
mod merge;
pub mod netconf;
pub mod plan;
mod problem;
mod report;
mod schema;
mod section;
mod sections;
pub mod sources;
mod steps;
mod substitute;
mod unknown;
mod userdata;
mod values;

pub use content::{DecodeError, LARGEST};
pub use diagnostic::{Diagnostic, Level, print};
pub use document::Document;
pub use problem::{Fault, Problem};
pub use substitute::{Addresses, VARIABLES};
pub use userdata::{Part, PartContent, UserDataError, is_for_ignition, parts};

use check::{Content, Path};
use document::ROOT;
use report::Report;
use schema::Kind;
use yaml::{self, Limits, Value};

/// Limits that no honest document meets.
const LIMITS: Limits = Limits {
    depth: 24,
    nodes: 1_000_000,
    copies: 1 << 20,
    duplicates: true,
};

/// A document as far as it could be understood, and all there is to say about it.
#[derive(Debug)]
pub struct Reading {
    /// What the document says. With an error among the diagnostics, only a part of it.
    pub document: Document,
    /// In the order of the document.
    pub diagnostics: Vec<Diagnostic>,
}

impl Reading {
    /// Whether the document may be applied.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.diagnostics
            .iter()
            .all(|diagnostic| diagnostic.level != Level::Error)
    }
}

/// What an address that is not known amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// The document cannot be applied here.
    Error,
    /// It may be known elsewhere: the text is looked at as it is.
    Info,
}

/// Whose rules a document is read by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// This program's: what would certainly not work is an error.
    #[default]
    Own,
    /// Called as coreos-cloudinit: what that program applied all the same is applied, with a warning.
    Compatible,
}

/// Describes a cloud-config as a JSON Schema, for editors and for programs that write documents.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    schema::json_schema(&ROOT)
}

/// Reads a document and looks for everything that is wrong with it.
#[must_use]
pub fn read(source: &str, addresses: &Addresses, unknown: Unknown, mode: Mode) -> Reading {
    let mut text = substitute::substitute(source, addresses);
    let mut report = Report::new(mode);
    let mut parsed = yaml::parse_first(&text.text, LIMITS);
    let root = parsed.as_ref().ok().map(|(root, _)| root);
    let blank = unknown::report(&text, root, &ROOT, unknown, &mut report);
    if !blank.is_empty() {
        text = substitute::without(source, addresses, &blank);
        parsed = yaml::parse_first(&text.text, LIMITS);
    }
    let document = match parsed {
        Ok((root, next)) => {
            if let Some(span) = next {
                let message = "found a second YAML document; only the first is read";
                report.add(Level::Warning, span, "", message);
            }
            let span = root.span;
            let document = Document::new(root_fields(root, &mut report));
            if report.left_out && !report.has_errors() && document.is_empty() {
                let message =
                    "nothing of this document would take effect: every part is skipped or not read";
                report.refuse(span, "", message);
            }
            document
        }
        Err(error) => {
            let message = format!("not valid YAML: {error}");
            report.original(Level::Error, error.at, "", message);
            Document::default()
        }
    };
    document.check(&text.text, &mut report);
    let diagnostics = report.finish(&text);
    Reading {
        document,
        diagnostics,
    }
}

fn root_fields(root: yaml::Node, report: &mut Report) -> Vec<check::Field> {
    if root.value == Value::Null {
        report.add(
            Level::Info,
            root.span,
            "",
            "the document is empty: it writes nothing, and what an earlier document wrote is removed",
        );
    }
    match check::read(root, Kind::Mapping(&ROOT), Path::Root(&ROOT), report) {
        Some(check::Item {
            content: Content::Map(fields),
            ..
        }) => fields,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
