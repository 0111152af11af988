//! Why a text cannot be read.

use std::fmt;

use crate::Span;

/// Why a text cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where the mistake is, if that is known; else where the parser stopped.
    pub at: Span,
    /// What is wrong there.
    pub fault: SyntaxFault,
}

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyntaxFault {
    /// The parser stopped.
    Parser {
        /// What was probably meant.
        hint: Option<String>,
        /// The parser's own words.
        said: String,
    },
    /// A line after the document belongs to no key.
    Unattached {
        /// What was probably meant.
        hint: Option<String>,
    },
    /// A second document begins, where one is expected.
    SecondDocument,
    /// There are more values than this.
    TooMany(usize),
    /// Lists and mappings are nested deeper than this.
    TooDeep(usize),
    /// Aliases repeat too much.
    TooLarge,
    /// An alias is inside its own anchor.
    AliasInItself,
    /// Something else than a word is used as a key.
    NoKey {
        /// What.
        found: String,
    },
    /// A mapping has a duplicate key.
    DuplicateKey(String),
}

impl std::error::Error for SyntaxError {}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            SyntaxFault::Parser {
                hint: Some(hint),
                said,
            } => write!(f, "{hint} ({said})"),
            SyntaxFault::Parser { hint: None, said } => f.write_str(said),
            SyntaxFault::Unattached { hint: Some(hint) } => {
                write!(
                    f,
                    "{hint} (found a line that does not belong to any key before it)"
                )
            }
            SyntaxFault::Unattached { hint: None } => f.write_str(
                "found a line that does not belong to any key before it, expected the next key",
            ),
            SyntaxFault::SecondDocument => {
                f.write_str("found a second document, expected one only")
            }
            SyntaxFault::TooMany(most) => write!(f, "found more than {most} values"),
            SyntaxFault::TooDeep(most) => write!(f, "found more than {most} nested levels"),
            SyntaxFault::TooLarge => f.write_str(
                "the aliases up to here make the document too large, expected few copies",
            ),
            SyntaxFault::AliasInItself => f.write_str("found an alias within its own anchor"),
            SyntaxFault::NoKey { found } => write!(f, "found {found} as a key, expected a word"),
            SyntaxFault::DuplicateKey(key) => {
                write!(f, "duplicate mapping key `{}`", key.escape_debug())
            }
        }
    }
}

impl SyntaxFault {
    pub(crate) fn at(self, at: Span) -> SyntaxError {
        SyntaxError { at, fault: self }
    }
}
