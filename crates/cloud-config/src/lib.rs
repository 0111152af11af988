//! cloud-config: the document that configures a node.
//!
//! Pure, except [`sources`], [`apply`] and [`boot`]: from text and addresses to a [`Document`] and [`Diagnostic`]s.
//!
//! - `document`: the list of sections; `sections`: a module each, with keys, values, checks and steps; `section`: what they have in common
//! - `substitute`: `$private_ipv4` and similar variables; `unknown`: those whose address is not known
//! - `userdata`: user data, split into documents and scripts
//! - `schema`: the language of the tables of keys; `check`: a document compared with the tables; `values`: what fits, typed
//! - `diagnostic`, `report`: what is wrong with a document; `problem`: what is wrong with a source or a step
//! - [`plan`]: the steps that change a machine; `steps`: their types
//! - [`netconf`]: a platform's network, as units; [`apply`]: carrying steps out, and undoing them
//! - [`boot`]: the last document that worked, and the result of the last apply
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

/// Limits that no real document reaches.
const LIMITS: Limits = Limits {
    depth: 24,
    nodes: 1_000_000,
    copies: 1 << 20,
    duplicates: true,
};

/// A document, as far as it could be read, and its diagnostics.
#[derive(Debug)]
pub struct Reading {
    /// The document. If there is an error among the diagnostics, only a part of it.
    pub document: Document,
    /// In the order of the document.
    pub diagnostics: Vec<Diagnostic>,
}

impl Reading {
    /// Tells whether the document may be applied.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.diagnostics
            .iter()
            .all(|diagnostic| diagnostic.level != Level::Error)
    }
}

/// How an unknown address is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// As an error: the document cannot be applied here.
    Error,
    /// As an info: it may be known where the document is applied.
    Info,
}

/// The rules by which a document is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// This program's: what cannot work is an error.
    #[default]
    Own,
    /// coreos-cloudinit's: what that program applied nevertheless is applied, with a warning.
    Compatible,
}

/// Describes a cloud-config as a JSON Schema, for editors and for programs that write documents.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    schema::json_schema(&ROOT)
}

/// Reads a document and reports everything that is wrong with it.
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
